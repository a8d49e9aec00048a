"""Plan targets as another machine built them, from its ``results.json``.

That file hides secrets. For those the plan of this machine counts, and a note says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ConfigError, Problem, clipped
from orchestrator.models.json_form import HIDDEN
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.reading import parse
from orchestrator.models.secret_names import is_secret
from orchestrator.models.target import (
    OWN_LISTS,
    BackendName,
    CompilerKind,
    EmulationMode,
    TargetSteps,
)
from orchestrator.models.untrusted import RelativePath
from orchestrator.report import results
from orchestrator.report.schemas import Result, to_json_value
from orchestrator.report.text import one_line
from orchestrator.run.cache_diff import ABSENT, InputChange, flat
from orchestrator.run.reproduce import RecordedWheel
from orchestrator.wheel.requires import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.models.target import EnvVar, Target, TargetId
    from orchestrator.report.schemas import Request

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """Targets as they were built elsewhere.

    What differs from the plan here (``version 1.0 -> 1.1``) is `taken` from there. The notes say
    what could not be used, and what counts instead. What a target of the file runs and the plan
    does not is `foreign`: only a container may run it, or the user has to allow it. What is
    `exposed` even a container may not: it would be prepared on this host, or see secrets of here.
    """

    targets: tuple[Target, ...]
    taken: tuple[str, ...]
    notes: tuple[str, ...]
    foreign: Mapping[TargetId, tuple[str, ...]]
    exposed: Mapping[TargetId, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The ``results.json`` of another run."""

    file: Path
    results: Mapping[TargetId, Result]

    @classmethod
    def read(cls, place: Path) -> Recorded:
        """Read a file, or the one in a directory; see `orchestrator.report.results.read`."""
        file = place / results.NAME if place.is_dir() else place
        return cls(file=file, results={each.target_id: each for each in results.read(file).results})

    def wheel(self, target_id: TargetId) -> RecordedWheel | None:
        """Return what the file says of a target's wheel; None if it has none."""
        result = self.results.get(target_id)
        if result is None or result.wheel is None:
            return None
        folder = self.file.absolute().parent
        return RecordedWheel(facts=result.wheel, origin=str(self.file), folder=folder)

    def request(self, target_id: TargetId) -> Request:
        """Return what was built.

        Raises:
            ConfigError: the file does not say it.
        """
        result = self.results.get(target_id)
        if result is None:
            raise ConfigError.of(
                f"it has no target {target_id!r}",
                where=str(self.file),
                hint="`orchestrator report` makes one file of the results of many jobs",
            )
        if result.request is None:
            why = f": {result.failure.message}" if result.failure is not None else ""
            raise ConfigError.of(
                f"it does not say how {target_id} was to be built ({result.status}{why})",
                where=str(self.file),
                hint="leave --from out to build it as matrix.toml says",
            )
        return result.request

    def take(self, targets: Iterable[Target], *, secrets: Collection[str] = ()) -> RecordedRun:
        """Return targets, the libraries first, as the file has them.

        Args:
            targets: as planned here.
            secrets: variables with secrets of this machine, which every container gets.

        Raises:
            ConfigError: an ID stands for something else there.
        """
        made: list[Target] = []
        taken: list[str] = []
        notes: list[str] = []
        foreign: dict[TargetId, tuple[str, ...]] = {}
        exposed: dict[TargetId, tuple[str, ...]] = {}
        for target in targets:
            result = self.results.get(target.id)
            if result is None or result.request is None:
                notes.append(f"{target.id}: not in {self.file}, built as planned here")
                made.append(target)
                continue
            found, kept = _as_recorded(target, result, result.request, where=str(self.file))
            made.append(found)
            notes += [f"{target.id}: {each}" for each in kept]
            taken += [f"{target.id}: {each}" for each in _changed(target, found)]
            if whats := tuple(_foreign(target, found)):
                foreign[target.id] = whats
            if whats := tuple(_exposed(target, found, whats, secrets)):
                exposed[target.id] = whats
        return RecordedRun(
            targets=tuple(made),
            taken=tuple(taken),
            notes=tuple(notes),
            foreign=foreign,
            exposed=exposed,
        )


def backend_of(result: Result) -> BackendName | None:
    """Return the backend that built a result; None if that is unknown.

    Whether it is used is not the file's choice where it is `direct`, which leaves the container.
    """
    if result.backend == BackendName.CIBUILDWHEEL:
        return BackendName.CIBUILDWHEEL
    # One from the store does not say whether it was built in a container.
    here = result.backend == BackendName.DIRECT and result.container is None and not result.cached
    return BackendName.DIRECT if here else None


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
    _check(found, where=where)
    return found, notes


_RUNS_NOTHING = frozenset(
    {"repair_refused", "external", "normalise", "smoke", "timeout", "timeouts"}
)
"""The steps that run no program and install nothing."""


def _foreign(mine: Target, theirs: Target) -> Iterator[str]:
    """Yield what a recorded target runs, and the plan here does not."""
    nothing = TargetSteps()
    for name in (each.name for each in fields(TargetSteps) if each.name not in _RUNS_NOTHING):
        value = getattr(theirs.steps, name)
        if value not in {getattr(mine.steps, name), getattr(nothing, name)}:
            yield f"{name.replace('_', '-')}: {_short(value)}"
    if theirs.library != mine.library:
        yield f"library: {_short(theirs.library)}"
    if theirs.compiling != mine.compiling and _leaves_container(theirs):
        yield f"compiling: {theirs.compiling.emulation} by {theirs.compiling.compiler}"
    ours = {each.name: each for each in mine.env}
    for each in theirs.env:
        own = ours.get(each.name)
        # A version is one (PEP 440), so that it may stand where the plan has its own.
        versions = (
            own is not None and mine.version and own.value.replace(mine.version, theirs.version)
        )
        if own is None or each.value not in {own.value, versions} or each.shell > own.shell:
            yield f"env {each.name}={_short(each.value)}"


def _leaves_container(target: Target) -> bool:
    compiling = target.compiling
    return compiling.emulation is EmulationMode.CROSS or compiling.compiler is CompilerKind.ZIG


def _exposed(
    mine: Target, theirs: Target, foreign: Sequence[str], given: Iterable[str]
) -> Iterator[str]:
    """Yield what not even a container may do unasked."""
    if theirs.steps.environment not in {mine.steps.environment, TargetSteps().environment}:
        yield f"environment: {_short(theirs.steps.environment)}"  # this host resolves it
    secrets = [each.name for each in theirs.env if each in mine.env and is_secret(each.name)]
    whats = list(foreign)
    if _repository(theirs) not in {_repository(mine), ""}:
        whats.append(f"image {theirs.image}")
    if whats and (names := [*secrets, *given]):
        yield f"{'; '.join(whats)}, with {', '.join(names)} of this machine"


def _repository(target: Target) -> str:
    """Return where a target's image comes from: an alias stands for an image of PyPA."""
    place, _, _ = target.image.partition("@")
    folder, slash, name = place.rpartition("/")
    name = name.partition(":")[0]
    return f"{folder}{slash}{name}" if slash or not name else f"quay.io/pypa/{name}_{target.arch}"


def _short(value: object) -> str:
    return clipped(one_line(value if isinstance(value, str) else repr(value)))


def _check(target: Target, *, where: str) -> None:
    """Refuse recorded facts that no plan has, before a program gets them."""
    outputs = () if target.library is None else target.library.outputs
    memory = () if target.resources.memory is None else (target.resources.memory,)
    facts: tuple[tuple[str, Iterable[str], Callable[[str], object]], ...] = (
        ("image", (target.image,), _IMAGE.fullmatch),
        ("abi3", filter(None, (target.abi3,)), PythonTag.match),
        ("baseline", (target.baseline, target.compiling.baseline), _GLIBC.fullmatch),
        ("memory", memory, _MEMORY.fullmatch),
        ("test_pythons", target.test_pythons, PythonTag.match),
        ("pins", target.pins, parsed),
        ("emptied", target.steps.emptied, OWN_LISTS.__contains__),
        ("test_sources", target.steps.test_sources, RelativePath.match),
        ("outputs", outputs, RelativePath.match),
    )
    problems = [
        Problem(what=f"{name} cannot be {_short(repr(value))}", where=f"{where}: {target.id}")
        for name, values, is_right in facts
        for value in values
        if not is_right(value)
    ]
    if problems:
        raise ConfigError(*problems)


_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*|")
_GLIBC = re.compile(r"(\d{1,3}\.\d{1,3})?")
_MEMORY = re.compile(r"\d{1,18}b")


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
