"""Collect what many jobs built: every planned wheel once, byte for byte as its job made it.

The plan says which job builds a target; no other job has a say about it, whatever it claims. See
`orchestrator.ci.artefacts`.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from orchestrator.ci.artefacts import Owners, Standing, listed
from orchestrator.errors import BadWheelError, Problem, clipped
from orchestrator.fsutil import copy_beneath, file_sha256, remove_partial, replacing
from orchestrator.models.result import Failure, FailureKind, SdistFacts, Status
from orchestrator.models.target import TargetId
from orchestrator.models.wheel_name import WheelName
from orchestrator.models.words import count_of
from orchestrator.report import serialize as documents
from orchestrator.report.schemas import Result, to_json_value
from orchestrator.report.text import one_line
from orchestrator.run.finish import expected
from orchestrator.source.sdist import SDIST, SdistName, sdist_problems
from orchestrator.wheel.verify import check_contents, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.ci.artefacts import Artefact, Candidate
    from orchestrator.models.wheel_name import WheelFilename
    from orchestrator.report.schemas import PlanDocument, PlannedTarget

_Name = tuple[object, ...]

_Raw = dict[str, Any]
"""A result of a results.json, with what a later version may have added to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """All that was built of a plan.

    Attributes:
        document: the ``results.json`` of all; a planned wheel that no job has is a failure in it.
        lacking: the missing wheels.
        spoiled: those of them whose file or result is not what it has to be.
        notes: what else was found, and left out.
        problems: what this machine could not do.
        without_sdist: whether a job should have made the sdist, and none has a good one.
    """

    document: _Raw
    lacking: tuple[TargetId, ...]
    spoiled: tuple[TargetId, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    without_sdist: bool


def collect(plan: PlanDocument, found: Sequence[Artefact], output: Path) -> Collected:
    """Put all good wheels into one directory, and say what is missing.

    Only artefacts of the job that builds a target count (`Owners`), and of these only results whose
    key is the plan's, or which have none because their run never got to the target. If the names of
    the directories say whose they are, the one that started last counts: so a re-run replaces a
    failure. Otherwise nobody knows who says the truth: a wheel counts more than a failure, and
    different wheels are refused. Each wheel is there whole or not at all.

    Raises:
        OSError: ``output`` cannot be made.
    """
    output.mkdir(parents=True, exist_ok=True)
    remove_partial(output)
    table = _Table(plan=plan, output=output)
    table.sort(found)
    claims = table.claims()
    results = [table.settle(target_id, claims) for target_id in table.planned]
    made = [each for each in results if each is not None]
    sdist = table.take_sdist(found)
    good = [each["wheel"]["filename"] for each in made if each["wheel"] is not None]
    libraries = {target.id for target in plan.targets if target.library is not None}
    without = (each["id"] for each in made if each["wheel"] is None)
    return Collected(
        document=documents.results_document(made, table.runs, earlier={}, sdist=sdist),
        lacking=tuple(target_id for target_id in without if target_id not in libraries),
        spoiled=tuple(dict.fromkeys(table.spoiled)),
        notes=(
            *table.notes,
            *_others(output, "wheel", good),
            *_others(output, "sdist", [] if sdist is None else [sdist["filename"]]),
        ),
        problems=tuple(table.problems),
        without_sdist=bool(plan.sdist) and (sdist is None or sdist["failure"] is not None),
    )


@dataclass(slots=True, kw_only=True)
class _Table:
    """Settles, target by target, what there is of a plan.

    Attributes:
        chosen: the one result that counts for a target.
        reasons: why a target has none.
        runs: the runs of the chosen results.
    """

    plan: PlanDocument
    output: Path
    planned: dict[TargetId, PlannedTarget | None] = field(default_factory=dict)
    chosen: dict[TargetId, Candidate] = field(default_factory=dict)
    reasons: dict[TargetId, tuple[FailureKind, str]] = field(default_factory=dict)
    runs: list[_Raw] = field(default_factory=list)
    spoiled: list[TargetId] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def sort(self, artefacts: Sequence[Artefact]) -> None:
        """Choose the result of each target."""
        self.planned |= {target.id: target for target in self.plan.targets}
        self.planned |= {target.id: None for target in self.plan.undetermined}
        candidates, notes = Owners(self.plan.jobs).candidates(artefacts)
        self.notes += notes
        unknown: dict[str, list[str]] = {}
        for target_id in candidates.keys() - self.planned.keys():
            for each in candidates.pop(target_id):
                unknown.setdefault(each.artefact.shown, []).append(target_id)
        for where, ids in sorted(unknown.items()):
            self.notes.append(f"{listed(sorted(ids))} in {where} is not in the plan: left out")
        for artefact in artefacts:
            for name, error in artefact.contents.refused:
                why = f"the result that a job has of it cannot be: {error.what}"
                self.reasons[TargetId(name)] = (FailureKind.BAD_WHEEL, why)
        for target_id, some in candidates.items():
            self._choose(target_id, some)
        for each in self.chosen.values():
            run = each.artefact.contents.runs.get(each.recorded.result.run or "")
            self.runs += [] if run is None else [run]

    def _choose(self, target_id: TargetId, candidates: Iterable[Candidate]) -> None:
        """Choose one of the results that artefacts have of a target."""
        target = self.planned[target_id]
        right = []
        for each in candidates:
            if _is_of(each.recorded.result, target):
                right.append(each)
            else:
                where, key = each.artefact.shown, one_line(each.recorded.result.key)
                why = f"no job has it as planned; {where} has it with the key {clipped(key)}"
                self.reasons.setdefault(target_id, (FailureKind.MISSING, why))
        best = max((each.standing for each in right), default=Standing.STRAY)
        weaker = [each.artefact.shown for each in right if each.standing < best]
        if weaker:
            what = f"{listed(weaker)}: has {target_id} and is of no job, or not by its name"
            self.notes.append(f"{what}: left out")
        right = [each for each in right if each.standing is best]
        wheels = {_wheel_of(each): each for each in right if _wheel_of(each) is not None}
        if best is not Standing.NAME and len(wheels) > 1:
            where = listed([each.artefact.shown for each in wheels.values()])
            why = f"there are different wheels of it, and the directories do not say whose: {where}"
            self.reasons[target_id] = (FailureKind.BAD_WHEEL, why)
        elif best is not Standing.NAME and wheels:
            self.chosen[target_id] = next(iter(wheels.values()))
        elif right:
            self.chosen[target_id] = _last(right)

    def take_sdist(self, artefacts: Iterable[Artefact]) -> _Raw | None:
        """Put the sdist of the job that makes it in place; return what is known of it."""
        makers = [job.id for job in self.plan.jobs if job.sdist] if self.plan.sdist else []
        owners = Owners(self.plan.jobs)
        claims: dict[Standing, list[tuple[Artefact, SdistFacts]]] = {}
        for artefact in artefacts:
            sdist = artefact.contents.sdist
            standing = owners.standing(artefact, makers)
            if sdist is not None and standing is not None:
                claims.setdefault(standing, []).append((artefact, sdist))
            elif sdist is not None and makers:
                self.notes.append(f"{artefact.shown} is of no job that makes the sdist: left out")
        if not claims:
            return None
        best = max(claims)
        made = [each for each in claims[best] if each[1].filename is not None]
        if best is not Standing.NAME and len({each.sha256 for _, each in made}) > 1:
            where = listed([artefact.shown for artefact, _ in made])
            why = f"there are different ones, and the directories do not say whose: {where}"
            return to_json_value(_no_sdist(why, made[0][1]))
        found = (self._take_sdist(*each) for each in (made or claims[best]))
        first = next(found)
        return to_json_value(next((each for each in (first, *found) if not each.failure), first))

    def _take_sdist(self, artefact: Artefact, sdist: SdistFacts) -> SdistFacts:
        """Put an sdist in place; return what is known of it, or why there is none."""
        if sdist.filename is None:
            return sdist
        try:
            self._check_sdist_name(sdist.filename)
            if (artefact.folder / sdist.filename).lstat().st_size > sdist.size:
                raise BadWheelError.of("it has more bytes than its result says")
            _install(artefact.folder, self.output / sdist.filename, sdist.sha256, _check_sdist)
        except (BadWheelError, OSError) as error:
            why = error.what if isinstance(error, BadWheelError) else str(error.strerror)
            return _no_sdist(f"{sdist.filename}: {clipped(one_line(why))}", sdist)
        return sdist

    def _check_sdist_name(self, filename: str) -> None:
        """Raise BadWheelError unless an sdist may be the planned one."""
        name = SdistName.match(filename)
        project = "" if self.plan.inputs is None else self.plan.inputs.name
        wheels = [target for target in self.plan.targets if target.library is None]
        versions = {Version(each.version).public for each in wheels if each.version}
        if name is None or (project and name.name != project):
            raise BadWheelError.of(f"it is not named like an sdist of {project or 'a project'}")
        if versions and not self.plan.undetermined and str(name.version) not in versions:
            raise BadWheelError.of(f"the wheels have the version {', '.join(sorted(versions))}")

    def claims(self) -> dict[_Name, dict[str, TargetId]]:
        """Return the name of each chosen wheel -> digest -> the first target that has it.

        Names that differ only in spelling are one. A target whose version was not planned has no
        claim to a name that a planned one has.
        """
        found: dict[_Name, dict[str, TargetId]] = {}
        for target_id in sorted(self.chosen, key=lambda each: self.planned[each] is None):
            wheel = self.chosen[target_id].recorded.result.wheel
            if wheel is None or self._flaw(target_id, wheel.filename):
                continue
            owners = found.setdefault(_same_name(wheel.filename), {})
            if not owners or self.planned[target_id] is not None:
                owners.setdefault(wheel.sha256, target_id)
        return found

    def settle(
        self, target_id: TargetId, claims: Mapping[_Name, Mapping[str, TargetId]]
    ) -> _Raw | None:
        """Return a target's result, its wheel in place; None for a library that nobody needed."""
        candidate, target = self.chosen.get(target_id), self.planned[target_id]
        if candidate is None:
            is_library = target is not None and target.library is not None
            return None if is_library else self._missing(target_id)
        result, raw = candidate.recorded.result, candidate.recorded.raw
        if target is not None:  # what is planned is no job's to say
            nothing = Result(**_NOTHING, target_id=target_id, failure=None, target=target)
            known = to_json_value(nothing)
            raw = raw | {"target": (raw.get("target") or {}) | known["target"]}
        if result.wheel is None or result.status is not Status.OK:
            return raw | {"wheel": None} | self._without(result, target)
        flaw = self._flaw(target_id, result.wheel.filename)
        if not flaw:
            rivals = claims.get(_same_name(result.wheel.filename), {}).items()
            others = [owner for digest, owner in rivals if digest != result.wheel.sha256]
            flaw = f"{others[0]} has another wheel of this name" if others else ""
        if flaw:
            failure: Failure | None = self._refusal(result, flaw)
        else:
            failure = self._take(candidate)
        return raw if failure is None else raw | _failed(failure)

    def _without(self, result: Result, target: PlannedTarget | None) -> _Raw:
        """Return what a result without a wheel has to say that does not."""
        is_library = target is not None and target.library is not None
        if is_library or result.status is not Status.OK:
            return {}
        what = "its result says that it was built, and names no wheel"
        hint = self._again(result.target_id)
        return _failed(Failure(kind=FailureKind.MISSING, message=what, hint=hint))

    def _flaw(self, target_id: TargetId, filename: WheelFilename) -> str:
        """Return why a file name is not that of a target's wheel; empty if it may be."""
        target = self.planned[target_id]
        project = "" if self.plan.inputs is None else self.plan.inputs.name
        try:
            name = WheelName.parse(filename)
            if target is not None:
                check_name(name, expected(target, project))
        except BadWheelError as error:
            return error.what
        return ""

    def _take(self, candidate: Candidate) -> Failure | None:
        """Put a wheel in place; return why that cannot be."""
        result, folder = candidate.recorded.result, candidate.artefact.folder
        wheel = result.wheel
        assert wheel is not None  # noqa: S101 - for the type checker
        source = folder / wheel.filename
        try:
            info = source.lstat()
        except OSError:
            where = candidate.artefact.shown
            return Failure(
                kind=FailureKind.MISSING,
                message=f"{wheel.filename} is not in {where}, which says that it was built",
                hint="upload the whole output directory of each job",
            )
        if info.st_size > wheel.size and stat.S_ISREG(info.st_mode):
            what = f"it has {count_of(info.st_size, 'byte')}, and its result says {wheel.size}"
            return self._refusal(result, what)  # it is not even copied
        try:
            _install(folder, self.output / wheel.filename, wheel.sha256)
        except BadWheelError as error:
            return self._refusal(result, error.what)
        except OSError as error:
            reason = error.strerror or str(error)
            names = [str(name) for name in (error.filename, error.filename2) if name]
            if names == [str(source)]:
                return self._refusal(result, reason)
            problem = Problem(what=reason, where=" -> ".join(names) or str(self.output))
            self.problems.append(problem)
            return Failure(kind=FailureKind.DISK, message=str(problem), hint="run collect again")
        return None

    def _refusal(self, result: Result, what: str) -> Failure:
        self.spoiled.append(result.target_id)
        name = "" if result.wheel is None else f"{result.wheel.filename}: "
        message = clipped(f"{name}{one_line(what)}")
        return Failure(kind=FailureKind.BAD_WHEEL, message=message, hint="build it again")

    def _again(self, target_id: TargetId) -> str:
        jobs = (f"job {job.id} ({job.name})" for job in self.plan.jobs if target_id in job.targets)
        return f"run {next(jobs, 'the job that builds it')} again"

    def _missing(self, target_id: TargetId) -> _Raw:
        kind, message = self.reasons.get(
            target_id, (FailureKind.MISSING, "no job has a result of it")
        )
        hint = self._again(target_id)
        if target_id not in self.reasons:
            hint += ", or see why it ended early"
        elif kind is FailureKind.MISSING:
            hint += ", with the source and the orchestrator of the plan"
        else:
            self.spoiled.append(target_id)
        failure = Failure(kind=kind, message=message, hint=hint)
        result = Result(
            **_NOTHING, target_id=target_id, failure=failure, target=self.planned[target_id]
        )
        document: _Raw = to_json_value(result)
        return document


_NOTHING: dict[str, Any] = {
    "key": "",
    "status": Status.FAILED,
    "backend": None,
    "backend_reason": "",
    "wheel": None,
    "log": None,
    "duration": 0.0,
}


def _is_of(result: Result, target: PlannedTarget | None) -> bool:
    """Whether a result is of what was planned."""
    if target is None:  # its version was not known yet when it was planned
        return True
    if not result.key:  # nobody got so far as to ask for it
        return result.wheel is None
    return result.key in {target.key, target.host_key}


def _wheel_of(candidate: Candidate) -> tuple[str, str] | None:
    wheel = candidate.recorded.result.wheel
    is_ok = candidate.recorded.result.status is Status.OK
    return (wheel.filename, wheel.sha256) if wheel is not None and is_ok else None


def _last(candidates: Sequence[Candidate]) -> Candidate:
    """Return what was started last; a run that did not reach the target replaces nothing."""
    order = sorted(candidates, key=lambda each: each.artefact.contents.began(each.recorded))
    kept = order[0]
    for each in order[1:]:
        reached = each.recorded.result.status in {Status.OK, Status.FAILED}
        if reached or kept.recorded.result.status is not Status.OK:
            kept = each
    return kept


def _same_name(filename: WheelFilename) -> _Name:
    """Return a key that is equal for names that installers, or file systems, take for one."""
    name = WheelName.parse(filename)
    return (name.name, name.version, name.build.casefold(), name.tags, name.label)


def _no_sdist(why: str, claimed: SdistFacts) -> SdistFacts:
    failure = Failure(kind=FailureKind.BAD_WHEEL, message=why, step="collect")
    return SdistFacts(version=claimed.version, failure=failure)


def _check_sdist(path: Path, filename: str) -> None:
    if wrong := sdist_problems(path, filename=filename):
        raise BadWheelError.of("; ".join(wrong))


def _failed(failure: Failure) -> _Raw:
    return {"status": Status.FAILED, "wheel": None, "failure": to_json_value(failure)}


def _others(output: Path, kind: str, names: Iterable[str | None]) -> Iterator[str]:
    """Yield what is wrong with the files that lie beside those that were put in place."""
    ends = {"wheel": ".whl", "sdist": SDIST}
    others = sorted({path.name for path in output.glob(f"*{ends[kind]}")} - {*names})
    if others:
        yield f"{output} has other {kind}s beside the collected ones: {listed(others)}"


def _install(
    folder: Path, place: Path, sha256: str, check: Callable[[Path, str], object] = check_contents
) -> None:
    """Put a file to its place; raises BadWheelError if it is not the one that was built."""
    if place.is_file() and not place.is_symlink() and file_sha256(place) == sha256:
        check(place, place.name)
        return
    with replacing(place) as partial:
        copy_beneath(folder, place.name, partial)
        # What is checked is the copy: nothing can come between that and its name.
        found = file_sha256(partial)
        if found != sha256:
            raise BadWheelError.of(f"its SHA-256 is {found}, and its result says {sha256}")
        check(partial, place.name)
