"""A build request read back out of ``results.json``: what another machine built, to build it here.

The reverse of `orchestrator.report.serialize.result`. What that file hides, secrets, cannot be read
back: there the plan of this machine counts, and it is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ConfigError
from orchestrator.host.redaction import HIDDEN
from orchestrator.models.target import (
    BackendName,
    CompilePlan,
    CompilerKind,
    EmulationMode,
    EnvVar,
    LibraryStep,
    OnMismatch,
    OnRefusal,
    TargetSteps,
    VersionAnswer,
    VersionPart,
)
from orchestrator.report.results import NAME
from orchestrator.report.schemas import read_results
from orchestrator.run.cache_diff import ABSENT, InputChange, flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.models.target import Target
    from orchestrator.report import schemas
    from orchestrator.report.schemas import Commands, Request, Result, Variable

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """Targets as they were built elsewhere.

    Attributes:
        targets: what to build.
        taken: what is not as the plan here says: ``version 1.0 -> 1.1``.
        notes: what of the file could not be used, and what counts instead.
    """

    targets: tuple[Target, ...]
    taken: tuple[str, ...]
    notes: tuple[str, ...]


def read(place: Path) -> dict[str, Result]:
    """Read a ``results.json``: target ID -> result.

    Args:
        place: the file, or a directory that has it.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    file = place / NAME if place.is_dir() else place
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(file)) from None
    return {each.id: each for each in read_results(data, where=str(file)).results}


def request_of(results: Mapping[str, Result], target_id: str, *, where: str) -> Request:
    """Return what was built.

    Args:
        results: from `read`.
        target_id: the target.
        where: the file, for messages.

    Raises:
        ConfigError: the file does not say it.
    """
    result = results.get(target_id)
    if result is None:
        raise ConfigError.of(
            f"it has no target {target_id!r}",
            where=where,
            hint="`orchestrator report` makes one file of the results of many jobs",
        )
    if result.request is None:
        why = f": {result.failure.message}" if result.failure is not None else ""
        raise ConfigError.of(
            f"it does not say how {target_id} was to be built ({result.status}{why})",
            where=where,
            hint="leave --from out to build it as matrix.toml says",
        )
    return result.request


def backend_of(result: Result) -> BackendName | None:
    """Return the backend to ask for, so that a target is built where it was built; None for any."""
    if result.backend == BackendName.CIBUILDWHEEL:
        return BackendName.CIBUILDWHEEL
    # One from the store does not say whether it was built in a container.
    here = result.backend == BackendName.DIRECT and result.container is None and not result.cached
    return BackendName.DIRECT if here else None


def as_recorded(
    targets: Iterable[Target], results: Mapping[str, Result], *, where: str
) -> RecordedRun:
    """Return targets as a ``results.json`` says that they were built.

    Args:
        targets: as planned here, the libraries first.
        results: from `read`; must have the last target's request (`request_of`).
        where: the file, for messages.

    Raises:
        ConfigError: an ID stands for something else there, or the file names what is not known.
    """
    made: list[Target] = []
    taken: list[str] = []
    notes: list[str] = []
    for target in targets:
        result = results.get(target.id)
        if result is None or result.request is None:
            notes.append(f"{target.id}: not in {where}, built as planned here")
            made.append(target)
            continue
        found, kept = _as_recorded(target, result, result.request, where=where)
        notes += [f"{target.id}: {each}" for each in kept]
        taken += [f"{target.id}: {_arrow(each)}" for each in _changed(target, found)]
        made.append(found)
    return RecordedRun(targets=tuple(made), taken=tuple(taken), notes=tuple(notes))


def differing(before: Result, now: Mapping[str, Any]) -> tuple[InputChange, ...]:
    """Return the facts about two builds that differ.

    Args:
        before: the one.
        now: the other, as `orchestrator.report.serialize.result` gives it.
    """
    after = type(before).model_validate(now)
    return (*flat(_facts(before), _facts(after)), *_variables(_values(before), _values(after)))


def _as_recorded(
    target: Target, result: Result, request: Request, *, where: str
) -> tuple[Target, list[str]]:
    facts = result.target
    if facts is None or (facts.python, facts.arch, facts.libc) != (
        target.python,
        target.arch,
        target.libc,
    ):
        raise ConfigError.of(
            f"{target.id} is for another Python or platform there",
            where=where,
            hint="plan with the matrix.toml of that run",
        )
    notes: list[str] = []
    try:
        steps = _steps(target.steps, request.commands, notes)
        compiling = _compiling(target.compiling, request.compiling)
        on_mismatch = OnMismatch(request.on_mismatch)
    except ValueError as error:
        raise ConfigError.of(f"{target.id}: {error}", where=where) from None
    image = facts.image
    if result.container is not None:
        image = result.container.digest or result.container.image or image
    resources = replace(target.resources, cpus=request.cpus, memory=request.memory)
    found = replace(
        target,
        version=facts.version,
        build_tag=facts.build_tag,
        parts=tuple(map(_part, result.version_parts)) or target.parts,
        image=image,
        abi3=facts.abi3,
        baseline=facts.baseline,
        test_pythons=facts.test_pythons,
        env=_env(target, request.env, notes),
        steps=steps,
        compiling=compiling,
        pins=request.pins,
        on_mismatch=on_mismatch,
        resources=resources,
        library=_library(target, request, notes),
    )
    return found, notes


def _env(target: Target, recorded: Sequence[Variable], notes: list[str]) -> tuple[EnvVar, ...]:
    mine = {each.name: each for each in target.env}
    found = []
    for each in recorded:
        if each.value is not None and HIDDEN not in each.value:
            origin, shell = each.origin, each.shell
            found.append(EnvVar(name=each.name, value=each.value, origin=origin, shell=shell))
        elif each.name in mine:
            notes.append(f"{each.name} is secret there, and as planned here")
            found.append(mine[each.name])
        else:
            notes.append(f"{each.name} is secret there, and not set here")
    return tuple(found)


def _steps(mine: TargetSteps, recorded: Commands, notes: list[str]) -> TargetSteps:
    given = recorded.model_dump() | {"repair_refused": OnRefusal(recorded.repair_refused)}
    # A limit changes nothing in the wheel, and another machine may be slower.
    given |= {"timeout": mine.timeout, "timeouts": mine.timeouts}
    return TargetSteps(
        **{
            each.name: _open(getattr(mine, each.name), given[each.name], each.name, notes)
            for each in fields(TargetSteps)
        }
    )


def _compiling(mine: CompilePlan, recorded: schemas.Compiling | None) -> CompilePlan:
    if recorded is None:
        return mine
    return CompilePlan(
        emulation=EmulationMode(recorded.emulation),
        compiler=CompilerKind(recorded.compiler),
        baseline=recorded.baseline,
        why="as recorded",
    )


def _library(target: Target, request: Request, notes: list[str]) -> LibraryStep | None:
    if request.library is None or target.library is None:
        return target.library
    theirs = LibraryStep(**request.library.model_dump())
    return _open(target.library, theirs, "library", notes)


def _open(mine: _T, theirs: _T, what: str, notes: list[str]) -> _T:
    """Return what the file says, but for what it hides."""
    if HIDDEN in repr(theirs):
        notes.append(f"{what} has a secret in it there, and is as planned here")
        return mine
    return theirs


def _part(part: Any) -> VersionPart:
    answers = tuple(VersionAnswer(**each.model_dump()) for each in part.sources)
    return VersionPart(name=part.name, value=part.value, source=part.source or "", answers=answers)


_COMPARED = ("version", "build_tag", "image", "abi3", "baseline", "pins", "on_mismatch")


def _changed(planned: Target, found: Target) -> Iterator[InputChange]:
    """Return what of a target is not as planned."""
    yield from flat(_shown(planned), _shown(found))
    yield from _variables(*({v.name: v.value for v in each.env} for each in (planned, found)))


def _variables(
    old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> Iterator[InputChange]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            before, now = (each.get(name) or ABSENT for each in (old, new))
            yield InputChange(what=f"env {name}", before=before, now=now)


def _shown(target: Target) -> dict[str, Any]:
    return {
        **{name: _listed(getattr(target, name)) for name in _COMPARED},
        **{name: _listed(value) for name, value in asdict(target.steps).items()},
        **{name: value for name, value in asdict(target.compiling).items() if name != "why"},
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _arrow(change: InputChange) -> str:
    return f"{change.what}: {change.before} -> {change.now}"


def _values(result: Result) -> dict[str, str | None]:
    return {each.name: each.value for each in result.request.env} if result.request else {}


_WHEEL_FACTS = {"filename", "size", "version", "declared_tags", "observed_tag", "isa", "abi3"}


def _facts(result: Result) -> dict[str, Any]:
    """Return what may explain that two wheels differ, and how they do."""
    request, wheel, planned = result.request, result.wheel, result.target
    asked: dict[str, Any] = {}
    if request is not None:
        asked = request.model_dump(mode="json", include={"source", "commands", "pins"})
        asked |= request.model_dump(mode="json", include={"on_mismatch", "toolchain", "builder"})
        asked["commands"] = {k: v for k, v in asked["commands"].items() if "timeout" not in k}
    return {
        "backend": result.backend,
        "container": None if result.container is None else result.container.model_dump(),
        "planned": {"version": planned.version, "build_tag": planned.build_tag} if planned else {},
        **asked,
        "wheel": {} if wheel is None else wheel.model_dump(mode="json", include=_WHEEL_FACTS),
    }
