"""The way from matrix.toml to a plan, and to this machine, which several commands share."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.cli.find_matrix import find_matrix, use_matrix
from orchestrator.cli.output import WORK_DIR, print_text, say, stderr
from orchestrator.config.sources import VersionSourceKind, parse
from orchestrator.errors import (
    ConfigError,
    EnvironmentProblemError,
    NothingSelectedError,
    OrchestratorError,
    Problem,
    closest,
)
from orchestrator.fsutil import read_file
from orchestrator.host.program_tables import builder_facts, builtin_table
from orchestrator.models.reading import toml_text
from orchestrator.models.target import Plan, Target, UnresolvedVersion
from orchestrator.plan.impossible import RULES
from orchestrator.plan.matrix import needs_torch_table, outside_sources, valid_settings
from orchestrator.plan.other_systems import in_words, other_system
from orchestrator.plan.own_table import own_table_notes
from orchestrator.plan.plan import find_exclusion, make_plan
from orchestrator.plan.selection import means_any, select, select_exclusions, shard, with_needs
from orchestrator.plan.torch_table import load_table
from orchestrator.plan.version import VersionContext
from orchestrator.source.locate import SourceKind, SourceLocation, locate, sdist_says

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.config.settings import EngineSettings, Settings, TorchTable
    from orchestrator.models.target import (
        BuildRequest,
        CibuildwheelCatalog,
        Exclusion,
        TargetId,
        VersionAnswer,
    )
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs, LockFile
    from orchestrator.source.version_sources import HostSources, ImageSources
    from orchestrator.wheel import Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """matrix.toml, read and planned.

    Attributes:
        matrix: matrix.toml.
        named: the same, as the user named it or as it was found from the working directory.
        text: what it says.
        settings: the validated file.
        facts: what the locked cibuildwheel knows.
        origin: the source, not fetched yet.
        table: what torch was published for; None if the matrix has no such axis.
        outside: what the version's sources said.
        plan: all targets.
        unasked: image or source -> why it could not be asked for a version.
        beside: files that may lie inside the source without being a part of it.
    """

    matrix: Path
    named: Path
    text: str
    settings: Settings
    facts: CibuildwheelCatalog
    origin: SourceLocation
    table: TorchTable | None
    outside: VersionContext
    plan: Plan
    unasked: dict[str, OrchestratorError] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()

    @property
    def root(self) -> Path:
        """The directory of matrix.toml; relative paths start here."""
        return self.matrix.parent

    @property
    def written(self) -> tuple[Path, Path]:
        """The directories that a build writes to by default; they are no part of the source."""
        return self.root / "dist", self.root / WORK_DIR

    @property
    def lock_file(self) -> Path:
        """The lock of requirements, for this channel."""
        return self._lock_of(self.plan.channel)

    def _lock_of(self, channel: str) -> Path:
        return self.matrix.with_suffix(f".{channel}.lock" if channel else ".lock")

    def find_lock(self) -> LockFile | None:
        """Return the lock of requirements; None if there is none. Raises ConfigError."""
        from orchestrator.config.lock_file import read_lock
        from orchestrator.report.layout import near
        from orchestrator.run.inputs import LockFile

        if not self.lock_file.exists():
            return None
        where = near(self.lock_file)
        data = read(self.lock_file, hint="`orchestrator lock` writes it")
        return LockFile(lock=read_lock(data, where=where), where=where)

    def lock_for(self, plan: Plan) -> LockFile:
        """Return the lock of requirements, which has every target of a plan.

        Raises:
            ConfigError: there is none, or a target is not locked.
        """
        found = self.find_lock()
        if found is None:
            what, hint = "there is no lock", "`orchestrator lock` writes it"
            raise ConfigError.of(what, where=str(self.lock_file), hint=hint)
        wheels = [each.id for each in plan.targets if each.library is None]
        missing = [each for each in wheels if each not in found.lock.targets]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            hint = "`orchestrator lock` locks them, or says why it cannot"
            raise ConfigError.of(f"{missing[0]}{more} not locked", where=found.where, hint=hint)
        return found

    @property
    def sdist(self) -> bool | None:
        """Whether the project's sdist is made; None if the matrix does not say."""
        is_tree = self.origin.kind is SourceKind.DIRECTORY
        return self.settings.project.sdist if is_tree else False

    def inputs(self, plan: Plan) -> Inputs:
        """Return what a run needs to build ``plan``, which is this one or a part of it."""
        from orchestrator.run.inputs import Inputs

        locks = (self._lock_of(channel) for channel in ("", *self.settings.channel))
        return Inputs(
            targets=plan.targets,
            origin=self.origin,
            matrix=self.matrix,
            engine=self.settings.engine,
            compiler_cache=self.settings.compiler_cache,
            run=self.settings.run,
            facts=self.facts,
            store=self.settings.store,
            beside=(*self.beside, *locks),
        )

    def requests(self, plan: Plan) -> tuple[BuildRequest, ...]:
        """Return the requests of a plan's targets, as planned; this needs the source's digest."""
        from orchestrator.run.planned import planned_requests

        inputs = self.inputs(plan)
        return planned_requests(inputs, skip=self.written, environ=os.environ, say=say)


def open_workspace(matrix: Path | None, channel: str = "", *, fetch: bool = False) -> Workspace:
    """Read matrix.toml and plan it for a channel; empty for none.

    Args:
        matrix: the file; None for the nearest matrix.toml, see `find_matrix`.
        channel: the channel of the matrix.
        fetch: whether a pinned requirement is fetched, for what it declares.

    Raises:
        ConfigError: the file is missing or wrong; the error has all problems, with their lines.
        SourceError: the source is wrong.
    """
    named = use_matrix(matrix)
    data = read(named, hint="run this in the directory of matrix.toml, or say --matrix FILE")
    with errors_with_lines(named, data):
        return plan_matrix(named, data, channel, fetch=fetch)


@contextmanager
def errors_with_lines(named: Path, data: bytes) -> Iterator[None]:
    """Say in which line of the matrix file something is wrong."""
    try:
        yield
    except ConfigError as error:
        from orchestrator.config.lines import with_lines

        text = toml_text(data.decode("utf-8", "replace"))
        raise with_lines(error, text, file=str(named)) from None


def open_if_exists(matrix: Path | None, channel: str) -> Workspace | None:
    """Open the matrix file; without ``--matrix`` there may be none."""
    return None if matrix is None and find_matrix() is None else open_workspace(matrix, channel)


def read(path: Path, *, hint: str) -> bytes:
    """Read a file that the user named, or say what to do about it."""
    try:
        return read_file(path)
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(path), hint=hint) from None


def plan_matrix(named: Path, data: bytes, channel: str = "", *, fetch: bool = False) -> Workspace:
    """Plan what a matrix.toml says; raises as `open_workspace` does, without lines."""
    matrix = named.resolve()
    facts = builder_facts()
    table = partial(_table, root=matrix.parent)
    settings = valid_settings(data, facts=facts, channel=channel, table=table)
    project = settings.project
    origin = locate(project.source, base=matrix.parent, exclude=project.exclude)
    unread: tuple[str, ...] = ()
    if origin.kind is SourceKind.REQUIREMENT:
        origin, unread = _read_requirement(origin, fetch=fetch)
    torch = table(settings)
    outside = _outside(settings, channel, origin)
    plan = make_plan(settings, facts=facts, outside=outside, channel=channel, table=torch)
    notes = own_table_notes(origin.declared.table, plan, facts)
    plan = replace(plan, notes=(*unread, *plan.notes, *notes))
    return Workspace(
        matrix=matrix,
        named=named,
        text=toml_text(data),
        settings=settings,
        facts=facts,
        origin=origin,
        table=torch,
        outside=outside,
        plan=plan,
    )


def _read_requirement(
    origin: SourceLocation, *, fetch: bool
) -> tuple[SourceLocation, tuple[str, ...]]:
    """Return what a requirement's sdist declares, and a note if it is not on this machine yet."""
    from orchestrator.host.network import HostNetwork, base_env
    from orchestrator.provision.cache_dir import default_cache_dir
    from orchestrator.source.stage import cached_sdist, fetch_sdist

    env = {**base_env(os.environ), **HostNetwork.detect(os.environ).child_env()}
    sdist = cached_sdist(origin.text, env=env, cache_dir=default_cache_dir(os.environ))
    if sdist is None and fetch:
        sdist = fetch_sdist(origin.text, host=open_host())
    if sdist is None:
        note = (
            f"{origin.text} is not on this machine yet, so the Pythons that it supports and its "
            "[tool.cibuildwheel] are not known; `orchestrator plan --format json` fetches it"
        )
        return origin, (note,)
    return replace(origin, declared=sdist_says(sdist)), ()


def _sources(origin: SourceLocation) -> HostSources:
    from orchestrator.source.version_sources import HostSources

    root = origin.path if origin.kind is SourceKind.DIRECTORY else None
    return HostSources(root=root, environ=os.environ)


def _outside(settings: Settings, channel: str, origin: SourceLocation) -> VersionContext:
    """Ask the sources of the version that take no more than a look."""
    own = (origin.declared.version,) if origin.declared.version else ()
    declared = (*outside_sources(settings, channel), *own)
    # Most files declare none, and the module that asks them takes a while to import.
    answers = _sources(origin).answers(declared) if declared else {}
    return VersionContext(
        project=origin.name,
        version=origin.version,
        declared=origin.declared.version,
        preset=origin.declared.preset,
        requires_python=origin.declared.requires_python,
        answers=answers,
    )


def _table(settings: Settings, root: Path) -> TorchTable | None:
    """Read the torch table if the matrix has such an axis at all."""
    if not needs_torch_table(settings):
        return None
    if settings.compat.file is None:
        return builtin_table()
    path = root / settings.compat.file
    try:
        return load_table(read_file(path), where=str(path))
    except OSError as error:
        raise ConfigError.of(
            f"{path}: {error.strerror}",
            where="compat.file",
            hint="`orchestrator compat refresh` writes such a file",
        ) from None


def open_host() -> Host:
    """Return what is needed of this machine; the toolchain is made first if it is missing."""
    from orchestrator.run import inputs

    return inputs.open_host(os.environ, say)


def load_policies(host: Host | None = None) -> Policies:
    """Load auditwheel's policies from the locked toolchain."""
    from orchestrator.wheel import Policies

    return Policies.from_json(*(host or open_host()).toolchain.policy_texts())


def resolve_versions(
    workspace: Workspace, wanted: Collection[TargetId], *, pull: bool
) -> Workspace:
    """Ask setuptools-scm, and images, for the versions that only they know, and plan again.

    Only the images of wanted targets are asked, and pulled where that is allowed. Targets that
    still have no version stay undetermined, with the reason.
    """
    if not workspace.plan.undetermined:
        return workspace
    images = _image_sources(workspace.settings.engine, pull=pull)
    while questions := [
        question
        for unknown in workspace.plan.undetermined
        if unknown.id in wanted
        for question in unknown.questions
        if (question.image or question.source) not in workspace.unasked
    ]:
        answers, errors = images.answers(each for each in questions if each.image)
        for question in questions:
            if question.image:
                continue
            try:
                answers[question] = _ask_here(workspace, question.source, run=pull)
            except EnvironmentProblemError as error:
                errors[question.source] = error
        known = {**workspace.outside.answers, **answers}
        outside = replace(workspace.outside, answers=known)
        plan = make_plan(
            workspace.settings,
            facts=workspace.facts,
            outside=outside,
            channel=workspace.plan.channel,
            table=workspace.table,
        )
        unasked = {**workspace.unasked, **errors}
        workspace = replace(workspace, outside=outside, plan=plan, unasked=unasked)
    return workspace


def _ask_here(workspace: Workspace, source: str, *, run: bool) -> VersionAnswer:
    """Ask setuptools-scm, or the build backend, which runs code of the project.

    Raises:
        EnvironmentProblemError: nothing of the project may run.
    """
    sources = _sources(workspace.origin)
    if parse(source).kind is VersionSourceKind.SCM:
        return sources.scm(source, open_host())
    if not run:
        what = "it is code of the project, which is not run before something is built"
        raise EnvironmentProblemError.of(what, hint="`orchestrator build` asks it")
    say("asking the project's build backend for the version")
    return sources.backend(source, open_host())


def _image_sources(engine: EngineSettings, *, pull: bool) -> ImageSources:
    from orchestrator.host.network import HostNetwork, base_env
    from orchestrator.source.version_sources import ImageSources

    return ImageSources(
        preference=engine.name,
        create_args=engine.create_args,
        pull=pull and engine.pull != "never",
        env={**base_env(os.environ), **HostNetwork.detect(os.environ).child_env()},
        host=open_host,
        log=say,
    )


def version_problems(
    workspace: Workspace, undetermined: Iterable[UnresolvedVersion]
) -> tuple[Problem, ...]:
    """Say why versions are unknown, each reason once for all its targets."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for unknown in undetermined:
        first = unknown.questions[0]
        groups[unknown.reason, first.image or first.source].append(unknown.id)
    problems = []
    for (reason, asked), ids in groups.items():
        why = workspace.unasked.get(asked)
        what = f"{', '.join(ids)}: {reason}" + (f": {why.what}" if why else "")
        advice = "list a source before it that is known here, such as env:NAME"
        hint = f"{why.hint}; or {advice}" if why and why.hint else advice
        problems.append(Problem(what=what, where="version", hint=hint))
    return tuple(problems)


def require_versions(workspace: Workspace, undetermined: Iterable[UnresolvedVersion]) -> None:
    """Raise EnvironmentProblemError if an image that knows a version cannot be asked here."""
    problems = version_problems(workspace, undetermined)
    if problems:
        raise EnvironmentProblemError(*problems)


def print_notes(plan: Plan) -> None:
    """Print what a plan has to say beside its targets."""
    for note in plan.notes:
        print_text(stderr(), f"note: {note}")


_RULES = 3
"""Rules that are named where they exclude everything: those with the most cells."""


def selected(plan: Plan, expressions: Sequence[str], part: str | None = None) -> Plan:
    """Keep the targets that ``--select`` and ``--shard`` mean, and what they need.

    Raises:
        NothingSelectedError: none is left.
    """
    elsewhere = tuple(each for each in plan.elsewhere if means_any(expressions, each))
    if elsewhere and (not plan.ids or not any(means_any(expressions, e) for e in plan.everything)):
        raise NothingSelectedError.of(
            f"nothing here builds what is selected: {in_words(elsewhere)}",
            where="--select" if expressions else "axes",
            hint="wheels are built for Linux; for others, a plan only counts them",
        )
    if not plan.ids:
        rules = Counter(f"{each.rule}: {each.reason}" for each in plan.exclusions)
        raise NothingSelectedError.of(
            "every cell of the matrix is excluded",
            where="exclude",
            hint="; ".join(rule for rule, _ in rules.most_common(_RULES)),
        )
    chosen = select(plan.everything, expressions)
    if part is not None:
        chosen = shard(chosen, part)
    exclusions = select_exclusions(plan.exclusions, expressions)
    return replace(only(plan, chosen), exclusions=exclusions, elsewhere=elsewhere)


def only(plan: Plan, chosen: Iterable[Target | UnresolvedVersion]) -> Plan:
    """Keep some targets of a plan, and no exclusions."""
    chosen = tuple(chosen)
    return replace(
        plan,
        exclusions=(),
        elsewhere=(),
        targets=tuple(each for each in chosen if isinstance(each, Target)),
        undetermined=tuple(each for each in chosen if isinstance(each, UnresolvedVersion)),
    )


def select_with_versions(
    workspace: Workspace, expressions: Sequence[str], part: str | None, *, pull: bool
) -> tuple[Workspace, Plan]:
    """Keep the targets that ``--select`` and ``--shard`` mean, with what their images know.

    If images may be pulled, every version must become known.

    Raises:
        NothingSelectedError: none is left.
        EnvironmentProblemError: an image that knows a version cannot be asked here.
    """
    plan = selected(workspace.plan, expressions, part)
    if plan.undetermined:
        workspace = resolve_versions(workspace, plan.ids, pull=pull)
        plan = selected(workspace.plan, expressions, part)
    if pull:
        require_versions(workspace, plan.undetermined)
    return workspace, plan


def find_target(workspace: Workspace, target_id: str, *, pull: bool) -> tuple[Workspace, Plan]:
    """Return a plan whose last target has this ID, or covers a cell of this ID.

    The targets that it needs come first, and the workspace has all that its image knows.

    Raises:
        ConfigError: it does not exist; the error names the closest one.
        EnvironmentProblemError: the image that knows its version cannot be asked here.
    """

    def named(plan: Plan) -> list[Target | UnresolvedVersion]:
        return [each for each in plan.everything if target_id in {each.id, *each.aliases}]

    wanted = [each.id for each in named(workspace.plan)]
    workspace = resolve_versions(workspace, wanted, pull=pull)
    plan = workspace.plan
    for target in named(plan):
        if isinstance(target, UnresolvedVersion):
            require_versions(workspace, [target])
        return workspace, only(plan, with_needs([target.id], plan.targets))
    away = next((e for e in plan.elsewhere if target_id in {e.id, *e.aliases}), None)
    if away is not None:
        what = f"{target_id!r} is for {other_system(away)}, which nothing here builds for"
        raise ConfigError.of(what, hint="wheels are built for Linux; a plan only counts others")
    exclusion = find_excluded(workspace, target_id)
    if exclusion is not None:
        raise ConfigError.of(
            f"{target_id} is excluded: {exclusion.reason}",
            where=exclusion.rule,
            hint=f"`orchestrator explain {target_id}` shows its cell",
        )
    raise ConfigError.of(
        f"there is no target {target_id!r}",
        hint=closest(target_id, plan.ids)
        + "; `orchestrator plan --excluded` shows what is excluded",
    )


def find_excluded(workspace: Workspace, target_id: str) -> Exclusion | None:
    """Return why the cell that would have this ID is not built; None if there is no such cell."""
    if any(target_id in {each.id, *each.aliases} for each in workspace.plan.everything):
        return None
    plan = workspace.plan
    impossible = (each for each in plan.exclusions if each.rule in RULES)
    return find_exclusion(
        workspace.settings,
        target_id,
        channel=plan.channel,
        table=workspace.table,
        impossible=impossible,
    )
