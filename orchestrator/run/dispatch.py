"""From assignments to a run: what each target takes of this machine, in which order, how often."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.result import Failure, FailureKind, Status
from orchestrator.models.words import count_of
from orchestrator.plan.resolve import EMULATED_COST
from orchestrator.run import resources, scheduler
from orchestrator.run.executors.local import LocalRun
from orchestrator.run.finish import bug, result_without_build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.config.settings import RunSettings
    from orchestrator.host.capacity import Capacity
    from orchestrator.host.process import Cancel
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Target, TargetId
    from orchestrator.run.backends import Assignment
    from orchestrator.run.executors.local import Listener
    from orchestrator.run.scheduler import Resources
    from orchestrator.run.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a run goes about it; its deadline is one of `time.monotonic`, None for never."""

    machine: Capacity
    jobs: int | None
    settings: RunSettings
    fail_fast: bool
    seconds: Mapping[TargetId, float]
    deadline: float | None = None

    @property
    def retries(self) -> scheduler.Retries:
        """How often what failed for the moment is tried again."""
        return scheduler.Retries(limit=self.settings.retries)

    def budget(self, count: int) -> Resources:
        """Return what ``count`` targets may take together."""
        return resources.budget(
            self.machine,
            self.settings,
            jobs=self.jobs,
            count=count,
            limited=self.deadline is not None,
        )


def parallel(target: Target, budget: Resources) -> dict[str, str]:
    """Return the variables that tell a build how many programs it may run beside all others."""
    share = resources.takes(target.resources, budget, emulated=is_emulated(target))
    jobs = resources.compilers(target.resources, share, budget)
    return resources.variables(jobs, target.env)


def is_emulated(target: Target) -> bool:
    """Whether a target runs under emulation on this machine."""
    return how(host_arch(), target.arch) is Execution.EMULATED


def dispatch(  # noqa: PLR0913 - keyword-only
    assignments: Mapping[TargetId, Assignment],
    worker: Worker,
    *,
    pace: Pace,
    listener: Listener,
    cancel: Cancel,
    say: Callable[[str], object],
) -> Mapping[TargetId, BuildResult]:
    """Build everything, in plan order if nothing else counts, and return every target's result."""
    targets = {each: assignment.target for each, assignment in assignments.items()}
    budget = pace.budget(len(targets))
    state = scheduler.first_state(
        _tasks(targets, budget, pace.seconds),
        budget,
        fail_fast=pace.fail_fast,
        retries=pace.retries,
    )
    if targets:
        say(describe_budget(budget))
    for each in state.oversized:
        say(f"{each} takes more than there is: it will run alone")
    shares = resources.CompilerShares(budget)
    calls = _Calls(worker=worker, assignments=dict(assignments), shares=shares)
    run = LocalRun(state, calls, listener=listener, cancel=cancel, deadline=pace.deadline)
    return run.run()


def _tasks(
    targets: Mapping[TargetId, Target], budget: Resources, seconds: Mapping[TargetId, float]
) -> list[scheduler.Task]:
    cost = estimates(targets, seconds)
    known = any(each in seconds for each in targets)
    return [
        scheduler.Task(
            target_id=each,
            takes=resources.takes(target.resources, budget, emulated=is_emulated(target)),
            # The others' outputs came from the store.
            needs=frozenset(target.needs) & targets.keys(),
            cost=cost[each],
            seconds=cost[each] if known else None,
        )
        for each, target in targets.items()
    ]


def describe_budget(budget: Resources) -> str:
    """Say in words what all targets take together."""
    share = f"{budget.millicpus / 1000:g} CPUs and {budget.memory / resources.GIB:.1f} GiB"
    if budget.slots == 1:
        return f"one target at a time, with {share}"
    return f"up to {count_of(budget.slots, 'target')} at once, together {share}"


def estimates(
    targets: Mapping[TargetId, Target], seconds: Mapping[TargetId, float]
) -> dict[TargetId, float]:
    """Return how long each target takes on this machine; see `resources.estimate_seconds`."""
    costs = {
        each: (target.resources.cost or 1.0) * (EMULATED_COST if is_emulated(target) else 1.0)
        for each, target in targets.items()
    }
    return resources.estimate_seconds(costs, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """What the executor calls."""

    worker: Worker
    assignments: dict[TargetId, Assignment]
    shares: resources.CompilerShares

    def share(self, target_id: TargetId, beside: int) -> None:
        target, whole = self.assignments[target_id].target, self.shares.whole
        own = resources.takes(target.resources, whole, emulated=is_emulated(target))
        count = self.shares.take(target_id, target.resources, own, beside)
        variables = resources.variables(count, target.env)
        self.assignments[target_id] = replace(self.assignments[target_id], parallel=variables)

    def release(self, target_id: TargetId, *, starved: bool) -> None:
        self.shares.release(target_id, starved=starved)

    def execute(self, target_id: TargetId, attempt: int) -> BuildResult:
        return self.worker.execute(self.assignments[target_id], attempt)

    def abandon(self, target_id: TargetId, because: TargetId | None) -> BuildResult:
        if because is None:
            failure = Failure(kind=FailureKind.CANCELLED, message="the run ended before it started")
            return self._without_build(target_id, Status.CANCELLED, failure)
        message = f"it needs {because}, which has no result"
        failure = Failure(kind=FailureKind.NEEDS, message=message)
        return self._without_build(target_id, Status.FAILED, failure)

    def crashed(self, target_id: TargetId, error: BaseException) -> BuildResult:
        log = self.worker.places.log(target_id)
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as stream:
            stream.writelines(traceback.format_exception(error))
        return replace(self._without_build(target_id, Status.FAILED, bug(error)), log=log)

    def _without_build(self, target_id: TargetId, status: Status, failure: Failure) -> BuildResult:
        assignment = self.assignments[target_id]
        return result_without_build(
            assignment.target,
            status,
            backend=assignment.backend.name,
            reason=assignment.reason,
            failure=failure,
        )
