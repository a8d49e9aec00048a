"""Cells to targets to build requests: libraries and wheels, equal cells as one, keys. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.config import condition
from orchestrator.config.destinations import refusals
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.python_tag import PythonTag, stable_tag
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    Digest,
    Exclusion,
    OnRefusal,
    Plan,
    Target,
    TargetId,
    UnresolvedVersion,
)
from orchestrator.plan.build_environment import index_notes
from orchestrator.plan.cibuildwheel_selection import options_for
from orchestrator.plan.expand import as_mapping, expand
from orchestrator.plan.layers import channel_matrix, of_library
from orchestrator.plan.ordering import CircularDependency, in_order
from orchestrator.plan.other_systems import split, system_of
from orchestrator.plan.renames import idle_axis_notes, rename_problems
from orchestrator.plan.resolve import Resolver
from orchestrator.plan.stable_abi import check_pins, idle_notes, lowest_cells, with_lowest
from orchestrator.plan.torch_table import RULE, TorchSupport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import LibrarySettings, Settings, TorchTable
    from orchestrator.models.target import (
        CibuildwheelCatalog,
        CompilePlan,
        FurtherTest,
        Source,
        TargetSteps,
    )
    from orchestrator.plan.expand import Cell, Pairs
    from orchestrator.plan.layers import ChannelMatrix, MatrixGrid
    from orchestrator.plan.version import UnansweredSource, VersionContext

MANY = 10
"""Problems of one kind that are reported at once."""


def make_plan(
    settings: Settings,
    *,
    facts: CibuildwheelCatalog,
    outside: VersionContext,
    channel: str = "",
    table: TorchTable | None = None,
) -> Plan:
    """Resolve the whole matrix.

    A cell whose version only its image or setuptools-scm knows becomes an `UnresolvedVersion`;
    with the answers to its questions in `outside` it becomes a target.

    Args:
        settings: the validated file.
        facts: what the locked cibuildwheel knows, for images.
        outside: the project's name and version, and what the version's sources said.
        channel: the channel to plan for, empty for none.
        table: what torch was published for; None leaves that out.

    Raises:
        ConfigError: a rule matches nothing, IDs collide, a version is invalid, an image is missing.
    """
    file = channel_matrix(settings, channel)
    torch = _torch_support(settings, file.grid, table)
    expansion = expand(file.grid, table=torch)
    resolver = Resolver(file, outside, facts, torch)
    libraries = _libraries(file, resolver)
    cells, impossible = resolver.possible.divide(expansion.cells)
    resolved = [libraries.feed(resolver.target(cell), cell) for cell in cells]
    libraries.check()
    every = _collapse([each for each in resolved if isinstance(each, Target)], expansion.name)
    _check_ids((*libraries.targets, *every))
    built, elsewhere = split((*libraries.targets, *every))
    libraries.targets, every = _apart(built)
    undetermined, unknown = split(each for each in resolved if isinstance(each, UnresolvedVersion))
    targets, more = _divide(every, resolver.unanswered)
    undetermined += more
    _check_distinct(targets)
    check_pins(targets)
    _check_renames(every, libraries.targets, file.grid, resolver)
    check_destinations(targets)
    return Plan(
        targets=(*libraries.targets, *targets),
        exclusions=(*expansion.exclusions, *impossible, *libraries.exclusions),
        undetermined=tuple(undetermined),
        channel=channel,
        notes=(
            *resolver.notes,
            *resolver.possible.notes,
            *index_notes(every),
            *idle_axis_notes(every, file.grid.axes),
            *idle_notes(resolver.floors, every),
        ),
        elsewhere=(*elsewhere, *unknown),
    )


def _check_renames(
    targets: Sequence[Target], libraries: Sequence[Target], grid: MatrixGrid, resolver: Resolver
) -> None:
    fixed, inputs = resolver.fixed, resolver.inputs
    _refuse(rename_problems(targets, libraries, grid=grid, fixed=fixed, inputs=inputs))


def find_exclusion(
    settings: Settings,
    target_id: str,
    *,
    channel: str = "",
    table: TorchTable | None = None,
    impossible: Iterable[Exclusion] = (),
) -> Exclusion | None:
    """Return why the cell that would have this ID is not built; None if there is no such cell.

    `impossible` are cells that no rule of the matrix excludes.
    """
    grid = channel_matrix(settings, channel).grid
    expansion = expand(grid, table=_torch_support(settings, grid, table))
    for exclusion in (*expansion.exclusions, *impossible):
        with suppress(ConfigError):  # its label may need what this cell does not have
            if expansion.name(exclusion.cell) == target_id:
                return exclusion
    return None


def _torch_support(
    settings: Settings, grid: MatrixGrid, table: TorchTable | None
) -> TorchSupport | None:
    axes = {*grid.axes, *(axis for _, rows in grid.rows for axis in rows.axes)}
    if table is None or not settings.compat.torch or "torch" not in axes:
        return None
    return TorchSupport(table, settings.compat)


def _apart(targets: Iterable[Target]) -> tuple[list[Target], tuple[Target, ...]]:
    """Return the libraries and the wheels among some targets."""
    every = tuple(targets)
    wheels = tuple(each for each in every if each.library is None)
    return [each for each in every if each.library is not None], wheels


def _divide(
    every: Iterable[Target], unanswered: Mapping[TargetId, UnansweredSource]
) -> tuple[list[Target], list[UnresolvedVersion]]:
    """Return the targets whose version is known, and what is known of the others."""
    targets, undetermined = [], []
    for target in every:
        missing = next(filter(None, map(unanswered.get, target.aliases)), None)
        if missing is None:
            targets.append(target)
        else:
            undetermined.append(_undetermined(target, missing))
    return targets, undetermined


def _undetermined(target: Target, missing: UnansweredSource) -> UnresolvedVersion:
    """Return what is known of a target whose version was only supposed."""
    names = (each.name for each in fields(UnresolvedVersion))
    known = {name: getattr(target, name) for name in names if hasattr(target, name)}
    return UnresolvedVersion(part=missing.part, questions=missing.questions, **known)


def _check_distinct(targets: Iterable[Target]) -> None:
    """Refuse two wheels of one name, which would overwrite each other."""
    seen: dict[tuple[str, ...], Target] = {}
    problems = []
    for target in targets:
        python = stable_tag(target.abi3) if target.abi3 else target.python
        name = (python, target.platform, target.version, target.build_tag)
        first = seen.setdefault(name, target)
        if first is target:
            continue
        what = f"{first.id} and {target.id} would make wheels of one name: both are "
        what += f"{target.version} for {python}-{target.platform}"
        if target.release:
            problems.append(Problem(what=what, where="version.release", hint=_DROPPED))
        else:
            axes = (axis for axis, value in target.variant if (axis, value) not in first.variant)
            hint = f'name the variant, for instance local = "{{{next(axes, "axis")}}}"'
            problems.append(Problem(what=what, where="version.local", hint=hint))
    _refuse(problems)


def _refuse(problems: Iterable[Problem]) -> None:
    """Raise ConfigError if there are problems; of many of one kind the first are reported."""
    if found := tuple(problems):
        raise ConfigError(*found[:MANY])


_DROPPED = (
    "a release for a public index has neither local part nor build tag: set version.release in an "
    "[[override]] for the one variant that goes there, or exclude the others"
)


def check_destinations(targets: Iterable[Target], named: Sequence[str] = ()) -> None:
    """Refuse now what an upload would refuse hours later.

    Args:
        targets: what would be uploaded.
        named: destinations of all of them; each goes to its own ones if there are none.

    Raises:
        ConfigError: a destination refuses a wheel.
    """
    refused: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        for name in named or target.publish:
            for tag, hint in _tags(target):
                for why in refusals(name, tag=tag, version=target.version):
                    refused.setdefault((why, hint), []).append(target)
    problems = []
    for (why, hint), group in tuple(refused.items())[:MANY]:
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        where = "--publish" if named else dict(group[0].origins).get("publish.to", "publish.to")
        problems.append(Problem(what=f"{why}: {group[0].id}{more}", where=where, hint=hint))
    _refuse(problems)


def _tags(target: Target) -> Iterator[tuple[str, str]]:
    """Return the platform tags that a target's wheel may have, each with what would prevent it."""
    elsewhere = "an [[override]] for these targets with publish = { to = [] }, or another place"
    if "+" in target.version:
        elsewhere += ", or version.release = true there"
    baseline = target.baseline or "2.17"
    yield f"{target.libc}_{baseline.replace('.', '_')}_{target.arch}", elsewhere
    if target.steps.repair_refused is OnRefusal.KEEP:
        yield f"linux_{target.arch}", 'build.repair-refused = "fail" for these targets'


def _check_ids(targets: Iterable[Target]) -> None:
    """Refuse equal IDs of different matrices: a library may be named like another, or a Python."""
    seen: dict[TargetId, Target] = {}
    for target in targets:
        first = seen.setdefault(target.id, target)
        if first is not target:
            raise ConfigError.of(
                f"two targets have the ID {target.id!r}",
                where=_place(first if first.library else target),
                hint="give the library another name",
            )


def make_request(  # noqa: PLR0913 - keyword-only, and each is a part of the key
    target: Target,
    *,
    source: Source,
    backend: BackendName,
    toolchain: Digest,
    builder: str,
    needs: Sequence[Digest] = (),
    in_container: bool = True,
) -> BuildRequest:
    """Freeze everything that can influence the wheel's bytes, and compute its key.

    Presentation (ID, variant, runner, where a variable came from) is not part of the key.

    Args:
        target: the resolved cell.
        source: what is built.
        backend: what builds it.
        toolchain: digest of the locked toolchain.
        builder: version of this program.
        needs: the keys of the requests whose outputs go into the source.
        in_container: whether it is built in a container of the target's image.
    """
    own = options_for(source, target.build_identifier)
    request = BuildRequest(
        target=target,
        source=replace(source, own_options=own, own_overrides=()),
        backend=backend,
        toolchain_digest=toolchain,
        builder_version=builder,
        needs=tuple(needs),
        in_container=in_container,
        key=Digest(""),
    )
    return replace(request, key=digest(request_content(request)))


def on_host(request: BuildRequest) -> BuildRequest:
    """Return a request as the direct backend would carry it out on the host."""
    there = replace(request, backend=BackendName.DIRECT, in_container=False)
    return replace(there, key=digest(request_content(there)))


def request_content(request: BuildRequest) -> dict[str, Any]:
    """Return what a request's key is the digest of, for `explain --why-rebuild` to compare."""
    target, source = request.target, request.source
    in_image = request.in_container or target.library
    content: dict[str, Any] = {
        "identifier": target.build_identifier or target.platform,
        "baseline": target.baseline,
        "abi3": target.abi3,
        "library": None if target.library is None else asdict(target.library),
        "needs": list(request.needs),
        "version": target.version,
        "build_tag": target.build_tag,
        "on_mismatch": target.on_mismatch,
        "pins": target.pins,
        "image": target.image if in_image else "",
        "env": [(each.name, each.value, each.shell) for each in target.env],
        "steps": _what_is_run(target.steps),
        "compiling": _what_compiles(target.compiling),
        "source": [source.name, source.digest, source.epoch],
        "backend": request.backend,
        "toolchain": request.toolchain_digest,
        "builder": request.builder_version,
    }
    if target.stable_abi:
        tests = [asdict(each) for each in target.further_tests]
        content |= {"stable_abi": target.stable_abi, "further_tests": tests}
    return content


@lru_cache(maxsize=4096)  # many cells have the same
def _what_is_run(steps: TargetSteps) -> dict[str, Any]:
    """Return the commands, without the limits of their time."""
    names = (each.name for each in fields(steps) if "timeout" not in each.name)
    found = {name: getattr(steps, name) for name in names}
    return found | {"environment": asdict(steps.environment)}


def _what_compiles(compiling: CompilePlan) -> tuple[str, str, str]:
    return compiling.emulation, compiling.compiler, compiling.baseline


def digest(content: Any) -> Digest:
    """SHA-256 of the canonical JSON of ``content``."""
    return Digest(hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest())


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def planned_backend(target: Target, facts: CibuildwheelCatalog) -> BackendName:
    """The backend a target is planned for: cibuildwheel where it knows the identifier."""
    known = target.build_identifier in facts.identifiers
    return BackendName.CIBUILDWHEEL if known else BackendName.DIRECT


# Fan-in


class _Libraries:
    """The libraries' targets, and which wheels need which of them."""

    def __init__(self, file: ChannelMatrix) -> None:
        self.targets: list[Target] = []
        self.exclusions: list[Exclusion] = []
        self._file = file
        self._conditions = {
            name: condition.from_when(each.when, where=f"library.{name}.when")
            for name, each in file.settings.library.items()
            if each.when is not None
        }
        self._needed: set[TargetId] = set()

    def feed(self, target: Target | UnresolvedVersion, cell: Cell) -> Target | UnresolvedVersion:
        """Return a cell's target with those whose outputs go into its source."""
        values = as_mapping(cell) if self.targets else {}
        needs = tuple(each.id for each in self.targets if self._feeds(each, values))
        self._needed.update(needs)
        return replace(target, needs=needs) if needs else target

    def _feeds(self, target: Target, values: Mapping[str, str]) -> bool:
        name = target.library.name if target.library is not None else ""
        node = self._conditions.get(name)
        if node is not None and not condition.holds(node, values):
            return False
        return _agree(dict(target.covers[0]), values)

    def check(self) -> None:
        """Refuse what would be built for nothing; a channel, which may be narrower, excludes it."""
        needed = set(self._needed)
        for target in reversed(self.targets):  # what is needed comes before what needs it
            needed.update(target.needs if target.id in needed else ())
        unused = [target for target in self.targets if target.id not in needed]
        if self._file.channel:
            self.targets = [target for target in self.targets if target.id in needed]
            reason = "feeds no wheel of this channel"
            self.exclusions += (
                Exclusion(cell=target.covers[0], rule=_place(target), reason=reason)
                for target in unused
            )
        elif unused:
            hint = "exclude it, or give the wheels an axis with its values"
            _refuse(
                Problem(what=f"{target.id} feeds no wheel", where=_place(target), hint=hint)
                for target in unused
            )


def _place(target: Target) -> str:
    return f"library.{target.library.name}" if target.library else "axes"


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two cells have equal values on the axes that both have."""
    return all(other.get(axis, value) == value for axis, value in one.items())


def _libraries(file: ChannelMatrix, resolver: Resolver) -> _Libraries:
    """Resolve the libraries in an order in which each comes after those it needs."""
    libraries = _Libraries(file)
    made: dict[str, list[Target]] = {}
    for name in _in_dependency_order(file.settings.library):
        library = file.settings.library[name]
        expansion = expand(of_library(name, file), prefix=f"{name}-")
        made[name] = []
        for cell in expansion.cells:
            target = resolver.library(name, library, cell)
            needs = (
                each.id
                for other in sorted(library.needs)
                for each in made[other]
                if _agree(dict(each.covers[0]), dict(cell.values))
            )
            made[name].append(replace(target, needs=tuple(needs)))
        libraries.targets += made[name]
        libraries.exclusions += expansion.exclusions
    return libraries


def _in_dependency_order(libraries: Mapping[str, LibrarySettings]) -> list[str]:
    try:
        return in_order({name: set(library.needs) for name, library in libraries.items()})
    except CircularDependency as error:
        raise ConfigError.of(
            f"circular dependency of libraries: {', '.join(error.members)}",
            where=f"library.{error.members[0]}.needs",
        ) from None


# Collapse


def _collapse(found: Iterable[Target], name: Callable[[Pairs], TargetId]) -> tuple[Target, ...]:
    """Make one target of the cells that would build the same; it names all it covers."""
    groups: dict[Any, list[Target]] = {}
    for target in found:
        groups.setdefault(_identity(target), []).append(target)
    shared = {key: _shared(group, name) for key, group in groups.items()}
    # What cells have in common may be the name of other groups too, or of one of their cells: then
    # the first cell tells them apart, whose ID is nobody else's.
    taken = Counter(each.id for each in shared.values())
    owner = {each.id: key for key, group in groups.items() for each in group}
    return tuple(
        each
        if taken[each.id] == 1 and owner.get(each.id, key) == key
        else replace(each, id=groups[key][0].id)
        for key, each in shared.items()
    )


def _identity(target: Target) -> Any:
    """Everything that decides about the wheel's bytes, the source and the host left out."""
    return (
        target.abi3 or target.python,
        bool(target.abi3),
        target.stable_abi,
        target.platform,
        target.baseline,
        target.version,
        target.build_tag,
        target.on_mismatch,
        target.pins,
        target.demands,
        target.publish,
        target.image,
        # What the torch table adds does not tell cells apart that are equal without it.
        tuple((each.name, each.value, each.shell) for each in target.env if each.origin != RULE),
        _without_timeouts(target.steps),
        _what_compiles(target.compiling),
        target.needs,
        system_of(target),
        # What tells released variants apart has been dropped: they are not the same for that.
        target.variant if target.release else (),
    )


def _without_timeouts(steps: TargetSteps) -> TargetSteps:
    timed = steps.timeout is not None or steps.timeouts
    return replace(steps, timeout=None, timeouts=()) if timed else steps


def _shared(group: Sequence[Target], name: Callable[[Pairs], TargetId]) -> Target:
    """Return the one target of a group: built with the lowest of its cells' Pythons."""
    able = lowest_cells(group)
    if len(group) == 1 and not group[0].abi3:
        return group[0]
    first = min(able, key=lambda target: PythonTag.parse(target.python))
    cells = [_built_as(each) for each in group]
    common = tuple(pair for pair in cells[0] if all(pair in other for other in cells[1:]))
    covered = dict.fromkeys(each.python for each in group)
    return replace(
        first,
        id=_named(common, name) or group[0].id,
        variant=common[3:],
        derived=tuple(
            pair for pair in first.derived if all(pair in each.derived for each in group)
        ),
        cost=max(each.cost for each in group),
        covers=tuple(cell for each in group for cell in each.covers),
        aliases=tuple(alias for each in group for alias in each.aliases),
        test_pythons=tuple(
            dict.fromkeys(each for each in (*covered, *first.test_pythons) if each != first.python)
        )
        if first.abi3
        else (),
        further_tests=_further_tests(group),
    )


def _further_tests(group: Sequence[Target]) -> tuple[FurtherTest, ...]:
    """Return one test for each value of the axes with a stable ABI."""
    found: dict[Pairs, FurtherTest] = {}
    for test in (test for each in group for test in each.further_tests):
        found.setdefault(test.values, test)
    return tuple(found.values())


def _built_as(target: Target) -> Pairs:
    """A cell's values with the Python, and the lowest other values, that its wheel is for."""
    values = (("python", target.python_value), *target.covers[0][1:])
    return with_lowest(values, target.stable_abi)


def _named(common: Pairs, name: Callable[[Pairs], TargetId]) -> TargetId | None:
    try:
        return name(common)
    except ConfigError:  # a label that needs one of the axes that are gone
        return None
