"""The way from matrix.toml to a plan, which several commands share."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.config.load import examine
from orchestrator.config.sources import parse
from orchestrator.errors import (
    ConfigError,
    EnvironmentProblemError,
    NothingSelectedError,
    OrchestratorError,
    Problem,
    closest,
)
from orchestrator.models.target import CibuildwheelCatalog, Plan, Target, UnresolvedVersion
from orchestrator.plan.expand import expand
from orchestrator.plan.layers import channel_matrix
from orchestrator.plan.plan import make_plan
from orchestrator.plan.selection import select, select_exclusions, shard, with_needs
from orchestrator.plan.torch_table import TorchSupport, load_table
from orchestrator.plan.version import VersionContext, rankings
from orchestrator.source.locate import SourceKind, SourceLocation, locate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.config.settings import Channel, Settings, TorchTable
    from orchestrator.models.target import TargetId
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs
    from orchestrator.source.version_sources import HostSources


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """matrix.toml, read and planned.

    Attributes:
        matrix: matrix.toml.
        root: its directory; relative paths start here.
        settings: the validated file.
        facts: what the locked cibuildwheel knows.
        origin: the source, not fetched yet.
        table: what torch was published for, None where the matrix has no such axis.
        outside: what the version's sources said.
        plan: all targets.
        unasked: image -> why it could not be asked for a version.
        beside: files that may lie inside the source without being a part of it.
    """

    matrix: Path
    root: Path
    settings: Settings
    facts: CibuildwheelCatalog
    origin: SourceLocation
    table: TorchTable | None
    outside: VersionContext
    plan: Plan
    unasked: dict[str, OrchestratorError] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()

    def inputs(self, plan: Plan) -> Inputs:
        """Return what a run needs to build ``plan``, which is this one or a part of it."""
        from orchestrator.run.inputs import Inputs

        return Inputs(
            targets=plan.targets,
            origin=self.origin,
            matrix=self.matrix,
            engine=self.settings.engine,
            compiler_cache=self.settings.compiler_cache,
            run=self.settings.run,
            facts=self.facts,
            store=self.settings.store,
            beside=self.beside,
        )


def open_workspace(matrix: Path, channel: str = "") -> Workspace:
    """Read matrix.toml and plan it.

    Args:
        matrix: the file.
        channel: the channel to plan for, empty for none.

    Raises:
        ConfigError: there is no such file, or it is wrong: all that is wrong, with its lines.
        SourceError: the source is wrong.
    """
    data = read(matrix, hint="run this in the directory of matrix.toml, or say --matrix FILE")
    try:
        return _planned(matrix, data, channel)
    except ConfigError as error:
        from orchestrator.config.lines import with_lines

        raise with_lines(error, data.decode("utf-8", "replace"), file=str(matrix)) from None


def read(path: Path, *, hint: str) -> bytes:
    """Read a file that the user named, or say what to do about it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(path), hint=hint) from None


def _planned(matrix: Path, data: bytes, channel: str) -> Workspace:
    facts = builder_facts()
    root = matrix.resolve().parent
    loaded = examine(data, facts=facts)
    settings = loaded.settings
    if settings is None or loaded.problems:
        problems = list(loaded.problems)
        if settings is not None and loaded.whole:
            problems += _problems_of_cells(settings, channel, _table(settings, root))
        raise ConfigError(*problems)
    origin = locate(settings.project.source, base=root)
    table = _table(settings, root)
    outside = _outside(settings, channel, origin)
    plan = make_plan(settings, facts=facts, outside=outside, channel=channel, table=table)
    _check_external(plan)
    return Workspace(
        matrix=matrix.resolve(),
        root=root,
        settings=settings,
        facts=facts,
        origin=origin,
        table=table,
        outside=outside,
        plan=plan,
    )


def _sources(origin: SourceLocation) -> HostSources:
    from orchestrator.source.version_sources import HostSources

    root = origin.path if origin.kind is SourceKind.DIRECTORY else None
    return HostSources(root=root, environ=os.environ)


def _outside(settings: Settings, channel: str, origin: SourceLocation) -> VersionContext:
    """Ask the sources of the version that take no more than a look."""
    file = channel_matrix(settings, channel)
    tables = [part.version for _, part in file.layers]
    tables += [rule.version for _, rule in file.grid.override]
    rankings_of = (ranking for table in tables for ranking in rankings(table))
    declared = [source for ranking in rankings_of for source in ranking]
    # Most files declare none; what asks them takes a while to import.
    asked = any(parse(source).kind.outside for source in declared)
    answers = _sources(origin).answers(declared) if asked else {}
    return VersionContext(project=origin.name, version=origin.version, answers=answers)


def _check_external(plan: Plan) -> None:
    """Make an unknown preset an error now, not after the build."""
    named = {target.steps.external for target in plan.targets} - {()}
    if named:
        from orchestrator.wheel.external import resolve

        for external in named:
            resolve(external)


def _problems_of_cells(
    settings: Settings, channel: str, table: TorchTable | None
) -> tuple[Problem, ...]:
    """What is wrong with the cells of a file that has wrong settings elsewhere."""
    try:
        file = channel_matrix(settings, channel)
        expand(file.grid, table=None if table is None else TorchSupport(table, settings.compat))
    except ConfigError as error:
        return error.problems
    return ()


def _table(settings: Settings, root: Path) -> TorchTable | None:
    """Read the torch table, if the matrix has such an axis at all."""
    parts: tuple[Settings | Channel, ...] = (settings, *settings.channel.values())
    axes = {axis for part in parts for axis in part.axes}
    axes |= {axis for part in parts for rows in part.rows for axis in rows.axes}
    if "torch" not in axes or not settings.compat.torch:
        return None
    if settings.compat.file is not None:
        path = root / settings.compat.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError.of(
                f"{path}: {error.strerror}",
                where="compat.file",
                hint="`orchestrator compat refresh` writes such a file",
            ) from None
        return load_table(data, where=str(path))
    return builtin_table()


def builtin_table() -> TorchTable:
    """Read the torch table that comes with the program."""
    data = (files("orchestrator.plan") / "torch_table.toml").read_bytes()
    return load_table(data, where="the built-in table")


def determined(workspace: Workspace, wanted: Collection[TargetId], *, pull: bool) -> Workspace:
    """Ask setuptools-scm, and images, for the versions that only they know, and plan anew.

    Args:
        workspace: from `open_workspace`.
        wanted: the targets that matter; the images of others are left alone.
        pull: whether an image that is not here may be pulled.

    Returns:
        The workspace; targets that still have no version stay undetermined, with the reason.
    """
    if not workspace.plan.undetermined:
        return workspace
    from orchestrator.host.network import HostNetwork, base_env
    from orchestrator.source.version_sources import ImageSources

    environ = {**base_env(os.environ), **HostNetwork.detect(os.environ).child_env()}
    images = ImageSources(
        preference=workspace.settings.engine.name,
        create_args=workspace.settings.engine.create_args,
        pull=pull and workspace.settings.engine.pull != "never",
        env=environ,
        host=_open_host,
        log=_say,
    )
    while questions := [
        question
        for each in workspace.plan.undetermined
        if each.id in wanted
        for question in each.questions
        if question.image not in workspace.unasked
    ]:
        answers, errors = images.answers(each for each in questions if each.image)
        for each in questions:
            if not each.image:
                answers[each] = _sources(workspace.origin).scm(each.source, _open_host())
        known = {**workspace.outside.answers, **answers}
        outside = replace(workspace.outside, answers=known)
        plan = make_plan(
            workspace.settings,
            facts=workspace.facts,
            outside=outside,
            channel=workspace.plan.channel,
            table=workspace.table,
        )
        workspace = replace(
            workspace, outside=outside, plan=plan, unasked={**workspace.unasked, **errors}
        )
    return workspace


def undetermined_problems(
    workspace: Workspace, undetermined: Iterable[UnresolvedVersion]
) -> tuple[Problem, ...]:
    """Say why versions are not known, each reason once for all the targets it holds for."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in undetermined:
        groups[each.reason, each.questions[0].image].append(each.id)
    problems = []
    for (reason, image), ids in groups.items():
        why = workspace.unasked.get(image)
        what = f"{', '.join(ids)}: {reason}" + (f": {why.what}" if why else "")
        advice = "put a source before it that is known here, such as env:NAME"
        hint = f"{why.hint}; or {advice}" if why and why.hint else advice
        problems.append(Problem(what=what, where="version", hint=hint))
    return tuple(problems)


def _open_host() -> Host:
    from orchestrator.run.inputs import open_host

    return open_host(os.environ, _say)


def _say(line: str) -> None:
    stderr().print(line, markup=False)


def builder_facts() -> CibuildwheelCatalog:
    """Read what the locked cibuildwheel knows; ``tools/cibuildwheel_facts.py`` writes it."""
    text = (files("orchestrator.plan") / "cibuildwheel.json").read_text("utf-8")
    data = json.loads(text)
    return CibuildwheelCatalog(
        version=data["version"],
        identifiers=frozenset(data["identifiers"]),
        aliases={arch: tuple(names) for arch, names in data["aliases"].items()},
        default_images=data["default_images"],
    )


def selected(plan: Plan, expressions: Sequence[str], part: str | None = None) -> Plan:
    """Keep the targets that ``--select`` and ``--shard`` mean, and what they need.

    Raises:
        NothingSelectedError: none is left.
    """
    if not plan.ids:
        raise NothingSelectedError.of("every cell of the matrix is excluded", where="exclude")
    chosen = select(plan.everything, expressions)
    if part is not None:
        chosen = shard(chosen, part)
    return replace(
        plan,
        exclusions=select_exclusions(plan.exclusions, expressions),
        targets=tuple(each for each in chosen if isinstance(each, Target)),
        undetermined=tuple(each for each in chosen if isinstance(each, UnresolvedVersion)),
    )


def selected_to_build(
    workspace: Workspace, expressions: Sequence[str], part: str | None = None
) -> tuple[Workspace, Plan]:
    """Keep the targets that ``--select`` and ``--shard`` mean, with all that their images know.

    Raises:
        NothingSelectedError: none is left.
        EnvironmentProblemError: an image that knows a version cannot be asked here.
    """
    wanted = selected(workspace.plan, expressions, part).ids
    workspace = determined(workspace, wanted, pull=True)
    plan = selected(workspace.plan, expressions, part)
    if plan.undetermined:
        raise EnvironmentProblemError(*undetermined_problems(workspace, plan.undetermined))
    return workspace, plan


def find_target(workspace: Workspace, target_id: str, *, pull: bool) -> tuple[Workspace, Plan]:
    """Return a plan of one target by its exact ID, or that of a cell it covers.

    Args:
        workspace: from `open_workspace`.
        target_id: the ID.
        pull: whether an image that knows its version may be pulled.

    Returns:
        The workspace with all that the target's image knows, and a plan whose last target it is,
        after those that it needs.

    Raises:
        ConfigError: there is none, with the closest one, or with why it is excluded.
        EnvironmentProblemError: the image that knows its version cannot be asked here.
    """
    every = workspace.plan.everything
    known = [each.id for each in every if target_id in {each.id, *each.aliases}]
    workspace = determined(workspace, known, pull=pull)
    plan = workspace.plan
    for target in plan.targets:
        if target_id in {target.id, *target.aliases}:
            targets = with_needs([target.id], plan.targets)
            return workspace, replace(plan, targets=targets, exclusions=(), undetermined=())
    unknown = [each for each in plan.undetermined if target_id in {each.id, *each.aliases}]
    if unknown:
        raise EnvironmentProblemError(*undetermined_problems(workspace, unknown))
    raise ConfigError.of(
        f"there is no target {target_id!r}",
        hint=closest(target_id, plan.ids)
        + "; `orchestrator plan --excluded` shows what is excluded",
    )


def stop_as_ctrl_c_does() -> None:
    """A CI system stops a job with SIGTERM, a terminal that closes sends SIGHUP: both mean that."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)


NO_TERMINAL_WIDTH = 240
"""Columns where nobody looks at a terminal: in a log file a folded table is unreadable."""


def stdout() -> Console:
    """Where data goes."""
    from rich.console import Console

    return _wide(Console(highlight=False))


def stderr() -> Console:
    """Where everything goes that is not data."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            """Stop the run as Ctrl-C does: nobody reads any more how it goes."""
            raise KeyboardInterrupt

    return _wide(Stderr(stderr=True, highlight=False))


def _wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = max(console.width, NO_TERMINAL_WIDTH)
    return console
