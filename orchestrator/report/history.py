"""Compare runs: how the time, wheel and tag of each target changed from one to the next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.models.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.target import TargetId
    from orchestrator.models.wheel import WheelFacts
    from orchestrator.report.schemas import Result, ResultsDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResult:
    """How a target ended once.

    Attributes:
        began: when it was started, else when its run was, in seconds since the epoch; 0 if unknown.
        status: how it ended.
        version: the wheel's, or the planned one; empty if unknown.
        seconds: how long it took; None where nothing was built.
        wheel: what is known of its wheel; None without one.
        identity: equal for the same result in two documents.
    """

    began: float
    status: Status
    version: str
    seconds: float | None
    wheel: WheelFacts | None
    identity: tuple[object, ...]

    @property
    def whole_seconds(self) -> float | None:
        """How long a whole build took; one that failed may have ended early, and has none."""
        return self.seconds if self.status is Status.OK else None

    @property
    def size(self) -> int | None:
        """Bytes of the wheel; None without one."""
        return None if self.wheel is None else self.wheel.size

    @property
    def tag(self) -> str:
        """Platform tag that the wheel needs; empty without one."""
        return "" if self.wheel is None else self.wheel.observed_tag


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """The results of one run, of all its jobs."""

    programs: frozenset[str]
    results: Mapping[TargetId, PastResult]

    @cached_property
    def began(self) -> float:
        """When its last target was started."""
        return max((each.began for each in self.results.values()), default=0.0)

    @cached_property
    def versions(self) -> frozenset[str]:
        """The versions of its wheels, without their local parts."""
        return frozenset(e.version.partition("+")[0] for e in self.results.values() if e.version)

    @property
    def counts(self) -> Mapping[Status, int]:
        """Status -> number of targets, without zeros."""
        counted = Counter(each.status for each in self.results.values())
        return {status: counted[status] for status in Status if counted[status]}

    @property
    def seconds(self) -> float:
        """Time of all builds."""
        return sum(each.seconds or 0.0 for each in self.results.values())

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(each.size or 0 for each in self.results.values())

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags of its wheels."""
        return tuple(sorted({each.tag for each in self.results.values() if each.tag}))

    def sizes(self, before: PastRun) -> tuple[int, int]:
        """Return the bytes of the wheels that an earlier run has too, here and there."""
        both = [
            (each.size, earlier.size)
            for target_id, each in self.results.items()
            if (earlier := before.results.get(target_id)) and each.size and earlier.size
        ]
        return sum(now for now, _ in both), sum(then for _, then in both)

    def joined(self, other: PastRun) -> PastRun:
        """Return this run with the results of another of its jobs."""
        return PastRun(
            programs=self.programs | other.programs, results={**self.results, **other.results}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Runs in the order of their start, and the targets of which there is more than one result."""

    runs: tuple[PastRun, ...] = ()
    targets: Mapping[TargetId, Sequence[PastResult]] = field(default_factory=dict)

    def before(self, result: Result) -> WheelFacts | None:
        """Return the last wheel that a target had before the one of this result."""
        if result.wheel is None:
            return None
        past = (each.wheel for each in reversed(self.targets.get(result.target_id, ())))
        return next((each for each in past if each and each.sha256 != result.wheel.sha256), None)


def history(documents: Iterable[ResultsDocument]) -> History:
    """Return the history that documents tell together, in whatever order they are given."""
    runs: list[PastRun] = []
    for run in sorted(map(_run, documents), key=lambda each: each.began):
        if runs and _are_jobs(runs[-1], run):
            runs[-1] = runs[-1].joined(run)
        else:
            runs.append(run)
    targets: dict[TargetId, dict[object, PastResult]] = {}
    for run in runs:
        for target_id, each in run.results.items():
            targets.setdefault(target_id, {}).setdefault(each.identity, each)
    return History(
        runs=tuple(runs),
        targets={
            target_id: sorted(found.values(), key=lambda each: each.began)
            for target_id, found in sorted(targets.items())
            if len(found) > 1
        },
    )


def _are_jobs(one: PastRun, other: PastRun) -> bool:
    """Whether two documents are of jobs of one run: of one version, with no target in common."""
    versions = one.versions, other.versions
    same = not all(versions) or bool(versions[0] & versions[1])
    return same and one.results.keys().isdisjoint(other.results)


def _run(document: ResultsDocument) -> PastRun:
    began = {run.id: run.began for run in document.runs}
    return PastRun(
        programs=frozenset(run.orchestrator for run in document.runs),
        results={e.target_id: _result(e, began.get(e.run or "", 0.0)) for e in document.results},
    )


def _result(result: Result, run_began: float) -> PastResult:
    wheel, target = result.wheel, result.target
    planned = "" if target is None else target.version
    ran = result.status in {Status.OK, Status.FAILED} and not result.cached
    return PastResult(
        began=result.started or run_began,
        status=result.status,
        version=planned if wheel is None else wheel.version,
        seconds=result.duration if ran else None,
        wheel=wheel,
        identity=(result.run, result.started, result.key, None if wheel is None else wheel.sha256),
    )
