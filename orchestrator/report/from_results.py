"""Plan targets as another machine built them, from its ``results.json``.

That file hides secrets. For those the plan of this machine counts, and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ConfigError
from orchestrator.models.json_form import HIDDEN
from orchestrator.models.reading import parse
from orchestrator.models.target import BackendName, TargetSteps
from orchestrator.report import results
from orchestrator.report.schemas import Result, to_json_value
from orchestrator.run.cache_diff import ABSENT, InputChange, flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.models.target import EnvVar, Target, TargetId
    from orchestrator.report.schemas import Request

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """Targets as they were built elsewhere.

    What differs from the plan here (``version 1.0 -> 1.1``) is `taken` from there. The notes say
    what could not be used, and what counts instead.
    """

    targets: tuple[Target, ...]
    taken: tuple[str, ...]
    notes: tuple[str, ...]


def read(place: Path) -> dict[TargetId, Result]:
    """Return target ID -> result of a ``results.json``; see `orchestrator.report.results.read`."""
    return {each.target_id: each for each in results.read(place).results}


def request_of(recorded: Mapping[TargetId, Result], target_id: TargetId, *, where: str) -> Request:
    """Return what was built.

    Raises:
        ConfigError: the file, ``where``, does not say it.
    """
    result = recorded.get(target_id)
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
    """Return the backend that built a result; None if that is unknown."""
    if result.backend == BackendName.CIBUILDWHEEL:
        return BackendName.CIBUILDWHEEL
    # One from the store does not say whether it was built in a container.
    here = result.backend == BackendName.DIRECT and result.container is None and not result.cached
    return BackendName.DIRECT if here else None


def as_recorded(
    targets: Iterable[Target], recorded: Mapping[TargetId, Result], *, where: str
) -> RecordedRun:
    """Return targets, the libraries first, as the ``results.json`` at `where` recorded them.

    The last target's request must be there (`request_of`).

    Raises:
        ConfigError: an ID stands for something else there.
    """
    made: list[Target] = []
    taken: list[str] = []
    notes: list[str] = []
    for target in targets:
        result = recorded.get(target.id)
        if result is None or result.request is None:
            notes.append(f"{target.id}: not in {where}, built as planned here")
            made.append(target)
            continue
        found, kept = _as_recorded(target, result, result.request, where=where)
        notes += [f"{target.id}: {each}" for each in kept]
        taken += [f"{target.id}: {each}" for each in _changed(target, found)]
        made.append(found)
    return RecordedRun(targets=tuple(made), taken=tuple(taken), notes=tuple(notes))


def differing(before: Result, now: Mapping[str, Any]) -> tuple[InputChange, ...]:
    """Return what differs between two builds, the second of them given as JSON data."""
    after = parse(Result, now)
    envs = (() if each.request is None else each.request.env for each in (before, after))
    return (*flat(_facts(before), _facts(after)), *_variables(*envs))


def _as_recorded(
    target: Target, result: Result, request: Request, *, where: str
) -> tuple[Target, list[str]]:
    facts, place = result.target, (target.python, target.arch, target.libc)
    if facts is None or (facts.python, facts.arch, facts.libc) != place:
        raise ConfigError.of(
            f"{target.id} is for another Python or platform there",
            where=where,
            hint="plan with the matrix.toml of that run",
        )
    notes: list[str] = []
    image = facts.image
    if result.container is not None:
        image = result.container.digest or result.container.image or image
    found = replace(
        target,
        version=facts.version,
        build_tag=facts.build_tag,
        parts=result.parts or target.parts,
        image=image,
        abi3=facts.abi3,
        stable_abi=facts.stable_abi,
        baseline=facts.baseline,
        test_pythons=facts.test_pythons,
        env=_env(target, request.env, notes),
        steps=_steps(target.steps, request.commands, notes),
        compiling=target.compiling
        if request.compiling is None
        else replace(request.compiling, why="as recorded"),
        pins=request.pins,
        on_mismatch=request.on_mismatch,
        resources=replace(target.resources, cpus=request.cpus, memory=request.memory),
        library=target.library
        if request.library is None or target.library is None
        else _open(target.library, request.library, "library", notes),
    )
    return found, notes


def _env(target: Target, recorded: Sequence[EnvVar], notes: list[str]) -> tuple[EnvVar, ...]:
    mine = {each.name: each for each in target.env}
    found = []
    for each in recorded:
        if HIDDEN not in each.value:
            found.append(each)
        elif each.name in mine:
            notes.append(f"{each.name} is secret there, and as planned here")
            found.append(mine[each.name])
        else:
            notes.append(f"{each.name} is secret there, and not set here")
    return tuple(found)


def _steps(mine: TargetSteps, recorded: TargetSteps, notes: list[str]) -> TargetSteps:
    # A limit changes nothing in the wheel, and another machine may be slower.
    recorded = replace(recorded, timeout=mine.timeout, timeouts=mine.timeouts)
    names = [each.name for each in fields(TargetSteps)]
    return TargetSteps(
        **{n: _open(getattr(mine, n), getattr(recorded, n), n, notes) for n in names}
    )


def _open(mine: _T, theirs: _T, what: str, notes: list[str]) -> _T:
    """Return the recorded value, or ours if the recorded one hides a secret."""
    if HIDDEN in repr(theirs):
        notes.append(f"{what} has a secret in it there, and is as planned here")
        return mine
    return theirs


_COMPARED = ("version", "build_tag", "image", "abi3", "stable_abi", "baseline")
_REQUEST_FACTS = ("source", "commands", "pins", "on_mismatch", "toolchain", "builder")
_WHEEL_FACTS = ("filename", "size", "version", "declared_tags", "observed_tag", "isa", "abi3")


def _changed(planned: Target, found: Target) -> Iterator[str]:
    """Say how a target differs from the planned one."""
    changes = (*flat(_shown(planned), _shown(found)), *_variables(planned.env, found.env))
    return (f"{each.what}: {each.before} -> {each.now}" for each in changes)


def _shown(target: Target) -> dict[str, Any]:
    facts = {name: getattr(target, name) for name in _COMPARED}
    parts = (target.steps, replace(target.compiling, why=""))
    more = {"pins": list(target.pins), "on_mismatch": target.on_mismatch}
    return facts | more | {k: v for each in parts for k, v in to_json_value(each).items()}


def _variables(old: Iterable[EnvVar], new: Iterable[EnvVar]) -> Iterator[InputChange]:
    before, now = ({each.name: each.value for each in env} for env in (old, new))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            then, today = (each.get(name) or ABSENT for each in (before, now))
            yield InputChange(what=f"env {name}", before=then, now=today)


def _facts(result: Result) -> dict[str, Any]:
    """Return facts that may explain why two wheels differ."""
    document = to_json_value(result)
    planned, request = document["target"] or {}, document["request"] or {}
    commands = request.get("commands", {})
    return {
        **{name: document[name] for name in ("backend", "container")},
        "planned": {name: planned.get(name) for name in ("version", "build_tag")},
        **{name: request.get(name) for name in _REQUEST_FACTS},
        "commands": {k: v for k, v in commands.items() if "timeout" not in k},
        "wheel": {name: (document["wheel"] or {}).get(name) for name in _WHEEL_FACTS},
    }
