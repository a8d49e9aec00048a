"""Which target runs when: a pure state machine, ``step(state, event) -> (state, instructions)``.

It knows no clock, no thread and no process. An executor carries out the instructions and reports
back with events, so every race is a unit test. States are values: `step` never changes the state
that it is given. Sets of targets are the bits of an integer, and phases are one byte each, so
copying them costs microseconds even for 50,000 targets.

The longest target starts first: a target's rank follows from its cost plus the cost of the longest
chain of targets that wait for it. A target that does not fit into the budget lets others pass, but
at most as many as there are slots; then the room it needs is kept free.

A run may have a limit. At the limit nothing more is started and running targets are cancelled.
Before the limit, a target that takes longer than the time left starts only if no other is ready.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.result import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from orchestrator.models.target import TargetId


class Resources(NamedTuple):
    """What a target takes while it runs, or the budget. Whole numbers, so that sums are exact."""

    slots: int
    millicpus: int
    memory: int
    emulated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the scheduler knows of a target.

    Attributes:
        target_id: the target.
        needs: the targets that must have succeeded before it may start.
        takes: what it takes while it runs. A target that takes more than the budget runs alone.
        cost: how long it takes, in a unit that all targets share.
        seconds: how long it takes, for a run with a limit; None if unknown.
    """

    target_id: TargetId
    takes: Resources
    needs: frozenset[TargetId] = frozenset()
    cost: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often, and how soon, a target is tried again after a transient failure.

    Attributes:
        limit: attempts after the first one.
        first: seconds before the second attempt; each further attempt waits twice as long.
        most: the longest wait, in seconds.
    """

    limit: int = 0
    first: float = 5.0
    most: float = 300.0

    def wait(self, attempt: int, jitter: float) -> float:
        """Return the seconds between an attempt that failed, counted from 1, and the next one.

        Half of the wait is random, so that targets that failed together do not come back together:
        `jitter` is a new random number between 0 and 1.
        """
        whole = min(self.first * 2.0 ** min(attempt - 1, 60), self.most)
        return whole * (0.5 + jitter / 2)


class TargetPhase(IntEnum):
    """Where a target is."""

    PENDING = auto()
    RUNNING = auto()
    WAITING = auto()
    """An attempt failed, and the next one is due later."""
    OK = auto()
    FAILED = auto()
    SKIPPED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed:
    """What never changes in a run.

    Attributes:
        tasks: the targets in plan order; a target's number is its place here.
        index: target -> number.
        needs: what each target waits for.
        dependents: the numbers of the targets that wait for each target.
        classes: the different resources that targets take, and the budget. There are as many as
            the matrix has rules for resources, so looking at the first ready target of each class
            is cheap.
        whole: the class of those that take the budget.
        class_of: each target's class.
        rank: each target's place in the order of starts.
        ranked: rank -> number.
        slow: (seconds, rank) of the targets whose duration is known, the longest first.
        budget: what all running targets may take together.
        fail_fast: whether the first failure stops the run.
        retries: when failures are tried again.
    """

    tasks: tuple[Task, ...]
    index: Mapping[TargetId, int]
    needs: tuple[frozenset[TargetId], ...]
    dependents: tuple[tuple[int, ...], ...]
    classes: tuple[Resources, ...]
    whole: int
    class_of: tuple[int, ...]
    rank: tuple[int, ...]
    ranked: tuple[int, ...]
    slow: tuple[tuple[float, int], ...]
    budget: Resources
    fail_fast: bool
    retries: Retries


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState:
    """Everything the scheduler knows; made by `first_state`.

    Attributes:
        fixed: what never changes.
        phases: the `TargetPhase` of each target.
        failures: number of a target -> its attempts that failed; only those that are tried again.
        alone: the numbers of targets that ran out of memory, and run alone since.
        ready: for each class the ranks of the targets that may start now, as bits.
        late: the ranks of the targets that take longer than the time left, as bits.
        time: seconds until the run's limit; infinite without one.
        free: what the running targets leave of the budget.
        passed: rank of the target that others have passed, and how many have; -1 for none.
        begun: whether the run has begun, or was stopped before it could.
        stopping: whether nothing more may start.
        over: whether there is nothing left to wait for.
    """

    fixed: _Fixed
    phases: bytes
    failures: Mapping[int, int]
    ready: tuple[int, ...]
    late: int = 0
    time: float = math.inf
    free: Resources
    alone: frozenset[int] = frozenset()
    passed: tuple[int, int] = (-1, 0)
    begun: bool = False
    stopping: bool = False
    over: bool = False

    @property
    def running(self) -> int:
        """How many targets run."""
        return self.phases.count(TargetPhase.RUNNING)

    @property
    def left(self) -> int:
        """How many targets have not started, or wait for their next attempt."""
        return self.phases.count(TargetPhase.PENDING) + self.phases.count(TargetPhase.WAITING)

    @property
    def unfilled(self) -> int:
        """How many targets may still start beside those that run."""
        return 0 if self.stopping else min(self.free.slots, self.left)

    @property
    def out_of_time(self) -> bool:
        """Whether the run's limit stopped it."""
        return self.time <= 0

    @property
    def oversized(self) -> tuple[TargetId, ...]:
        """The targets that take more than the budget, and so will run alone."""
        budget = self.fixed.budget
        return tuple(task.target_id for task in self.fixed.tasks if not _fits(task.takes, budget))

    def targets(self, *phases: TargetPhase) -> tuple[TargetId, ...]:
        """Return the targets in one of these phases, in plan order."""
        pairs = zip(self.fixed.tasks, self.phases, strict=True)
        return tuple(task.target_id for task, phase in pairs if phase in phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetEnded:
    """A running target ended.

    Attributes:
        target_id: the target.
        status: how.
        transient: whether its failure may have passed by the next attempt.
        starved: whether memory ran out; it is tried again once, alone.
        jitter: a random number between 0 and 1 for the wait before that.
    """

    target_id: TargetId
    status: Status
    transient: bool = False
    starved: bool = False
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue:
    """The wait before a target's next attempt is over."""

    target_id: TargetId


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """Seconds until the run's limit: sent before every other event, and while nothing happens.

    More than before is ignored.
    """

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted:
    """The user stopped the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTarget:
    """Start this target now; attempts count from 1."""

    target_id: TargetId
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Send `RetryDue` for this target after so many seconds."""

    target_id: TargetId
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRunning:
    """Cancel everything that runs; each target still sends its `TargetEnded`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """This target will not start, or not again.

    It needs another that failed or was skipped; when the run stops, that is None.
    """

    target_id: TargetId
    because: TargetId | None = None


Event = RunStarted | TargetEnded | RetryDue | TimeLeft | RunInterrupted
Instruction = StartTarget | RetryLater | CancelRunning | Skip


def first_state(
    tasks: Sequence[Task],
    budget: Resources,
    *,
    done: Collection[TargetId] = (),
    fail_fast: bool = False,
    retries: Retries | None = None,
) -> SchedulerState:
    """Return the first state of a run; the order of tasks decides between equal costs.

    Targets that are `done` are outside this run and have their results: nothing waits for them.

    Raises:
        ValueError: two tasks have the same ID, or tasks depend on each other in a circle.
    """
    index = {task.target_id: number for number, task in enumerate(tasks)}
    if len(index) != len(tasks):
        raise ValueError("two tasks have the same ID")
    needs = tuple(task.needs - frozenset(done) for task in tasks)
    dependents: list[list[int]] = [[] for _ in tasks]
    for number, wanted in enumerate(needs):
        for needed in wanted & index.keys():
            dependents[index[needed]].append(number)
    lengths = _chain_lengths(tasks, needs, index, dependents)
    ranked = sorted(range(len(tasks)), key=lambda number: (-lengths[number], number))
    timed = ((tasks[number].seconds, rank) for rank, number in enumerate(ranked))
    takes = [task.takes if _fits(task.takes, budget) else budget for task in tasks]
    kinds = dict.fromkeys((*takes, budget))
    classes = {resources: number for number, resources in enumerate(kinds)}
    fixed = _Fixed(
        tasks=tuple(tasks),
        index=index,
        needs=needs,
        dependents=tuple(map(tuple, dependents)),
        classes=tuple(classes),
        whole=classes[budget],
        class_of=tuple(classes[resources] for resources in takes),
        rank=tuple(sorted(range(len(ranked)), key=ranked.__getitem__)),
        ranked=tuple(ranked),
        slow=tuple(sorted(((s, rank) for s, rank in timed if s is not None), reverse=True)),
        budget=budget,
        fail_fast=fail_fast,
        retries=retries or Retries(),
    )
    return SchedulerState(
        fixed=fixed,
        phases=bytes([TargetPhase.PENDING] * len(tasks)),
        failures={},
        ready=(0,) * len(classes),
        free=budget,
        over=not tasks,
    )


def _chain_lengths(
    tasks: Sequence[Task],
    needs: Sequence[frozenset[TargetId]],
    index: Mapping[TargetId, int],
    dependents: Sequence[Sequence[int]],
) -> list[float]:
    """Return each task's cost plus the cost of the longest chain that waits for it."""
    lengths = [task.cost for task in tasks]
    waiting = [len(numbers) for numbers in dependents]
    ends = [number for number, count in enumerate(waiting) if not count]
    seen = 0
    while ends:
        number = ends.pop()
        seen += 1
        for needed in needs[number] & index.keys():
            before = index[needed]
            lengths[before] = max(lengths[before], tasks[before].cost + lengths[number])
            waiting[before] -= 1
            if not waiting[before]:
                ends.append(before)
    if seen < len(tasks):
        raise ValueError("tasks depend on each other in a circle")
    return lengths


def step(state: SchedulerState, event: Event) -> tuple[SchedulerState, tuple[Instruction, ...]]:
    """Return the state after an event, and what to do, in order.

    An event that cannot have happened is ignored, such as the end of a target that does not run.
    """
    draft = _Draft(state)
    if not draft.apply(event):
        return state, ()
    draft.start_what_fits()
    return draft.finish(), tuple(draft.instructions)


class _Draft:
    """The next state in the making, and the instructions. An event returns whether it counts."""

    def __init__(self, state: SchedulerState) -> None:
        self.fixed = state.fixed
        self.phases = bytearray(state.phases)
        self.failures = state.failures
        self.alone = state.alone
        self.ready = list(state.ready)
        self.late = state.late
        self.time = state.time
        self.free = state.free
        self.passed = state.passed
        self.begun = state.begun
        self.stopping = state.stopping
        self.instructions: list[Instruction] = []

    def finish(self) -> SchedulerState:
        phases = bytes(self.phases)
        return SchedulerState(
            fixed=self.fixed,
            phases=phases,
            failures=self.failures,
            alone=self.alone,
            ready=tuple(self.ready),
            late=self.late,
            time=self.time,
            free=self.free,
            passed=self.passed,
            begun=self.begun,
            stopping=self.stopping,
            over=not (
                TargetPhase.RUNNING in phases
                or TargetPhase.PENDING in phases
                or TargetPhase.WAITING in phases
            ),
        )

    def apply(self, event: Event) -> bool:
        match event:
            case RunStarted():
                return self.begin()
            case TargetEnded():
                return self.end(event)
            case RetryDue(target_id=target_id):
                return self.retry(target_id)
            case TimeLeft(seconds=seconds):
                return self.set_time(seconds)
            case RunInterrupted():
                return self.stop()

    def begin(self) -> bool:
        if self.begun:
            return False
        self.begun = True
        needs, known = self.fixed.needs, self.fixed.index.keys()
        self._skip(number for number, wanted in enumerate(needs) if not wanted <= known)
        for number, wanted in enumerate(needs):
            if not wanted:
                self._make_ready(number)
        return True

    def end(self, event: TargetEnded) -> bool:
        number = self._number_in(TargetPhase.RUNNING, event.target_id)
        if number is None:
            return False
        takes = self.fixed.classes[self._class_of(number)]
        self.free = Resources(*map(int.__add__, self.free, takes))
        attempt = self.failures.get(number, 0) + 1
        again = event.transient and attempt <= self.fixed.retries.limit
        if event.starved and number not in self.alone:
            self.alone |= {number}
            again = True
        if event.status is Status.OK:
            self.phases[number] = TargetPhase.OK
            for dependent in self.fixed.dependents[number]:
                self._check_ready(dependent)
        elif again and not self.stopping:
            self.phases[number] = TargetPhase.WAITING
            self.failures = {**self.failures, number: attempt}
            seconds = self.fixed.retries.wait(attempt, event.jitter)
            self.instructions.append(RetryLater(target_id=event.target_id, seconds=seconds))
        else:
            self.phases[number] = TargetPhase.FAILED
            if self.fixed.fail_fast:
                self.stop()
            else:
                self._skip(self.fixed.dependents[number])
        return True

    def retry(self, target_id: TargetId) -> bool:
        number = self._number_in(TargetPhase.WAITING, target_id)
        if number is None:
            return False
        self.phases[number] = TargetPhase.PENDING
        self._make_ready(number)
        return True

    def set_time(self, seconds: float) -> bool:
        if self.stopping or seconds >= self.time:
            return False
        self.time = seconds
        slow = self.fixed.slow
        while (at := self.late.bit_count()) < len(slow) and slow[at][0] > seconds:
            self.late |= 1 << slow[at][1]
        if seconds <= 0:
            self.stop()
        return True

    def stop(self) -> bool:
        if self.stopping:
            return False
        self.stopping = self.begun = True
        if TargetPhase.RUNNING in self.phases:
            self.instructions.append(CancelRunning())
        for number, task in enumerate(self.fixed.tasks):
            if self.phases[number] in {TargetPhase.PENDING, TargetPhase.WAITING}:
                self.phases[number] = TargetPhase.SKIPPED
                self.instructions.append(Skip(target_id=task.target_id))
        self.ready = [0] * len(self.ready)
        return True

    # what follows from them

    def start_what_fits(self) -> None:
        while self.free.slots > 0 and (rank := self._next_rank()) is not None:
            number = self.fixed.ranked[rank]
            kind = self._class_of(number)
            self.ready[kind] ^= 1 << rank
            self.free = Resources(*map(int.__sub__, self.free, self.fixed.classes[kind]))
            self.phases[number] = TargetPhase.RUNNING
            target_id = self.fixed.tasks[number].target_id
            attempt = self.failures.get(number, 0) + 1
            self.instructions.append(StartTarget(target_id=target_id, attempt=attempt))

    def _next_rank(self) -> int | None:
        """Return the rank of the target that starts now, None for none."""
        ready = self.ready
        if self.late:
            # A target that runs until the limit would take its room from all that could end before.
            in_time = [ranks & ~self.late for ranks in ready]
            ready = in_time if any(in_time) else ready
        first = fitting = -1
        for ranks, takes in zip(ready, self.fixed.classes, strict=True):
            # Waiting for an emulation slot does not keep back targets that need none.
            if not ranks or takes.emulated > self.free.emulated:
                continue
            rank = (ranks & -ranks).bit_length() - 1
            if first < 0 or rank < first:
                first = rank
            if (fitting < 0 or rank < fitting) and _fits(takes, self.free):
                fitting = rank
        if fitting < 0:
            return None
        if fitting != first:
            times = self.passed[1] if self.passed[0] == first else 0
            if times >= self.fixed.budget.slots:
                return None
            self.passed = (first, times + 1)
        return fitting

    def _skip(self, numbers: Iterable[int]) -> None:
        """Skip these, which need a target that has no result, and all that need them in turn."""
        pending = list(numbers)
        heapq.heapify(pending)
        while pending:
            number = heapq.heappop(pending)
            if self.phases[number] != TargetPhase.PENDING:
                continue
            lost = {TargetPhase.FAILED, TargetPhase.SKIPPED}
            because = min(each for each in self.fixed.needs[number] if self._phase(each) in lost)
            self.phases[number] = TargetPhase.SKIPPED
            target_id = self.fixed.tasks[number].target_id
            self.instructions.append(Skip(target_id=target_id, because=because))
            for dependent in self.fixed.dependents[number]:
                heapq.heappush(pending, dependent)

    def _check_ready(self, number: int) -> None:
        if self.phases[number] == TargetPhase.PENDING and all(
            self._phase(needed) == TargetPhase.OK for needed in self.fixed.needs[number]
        ):
            self._make_ready(number)

    def _make_ready(self, number: int) -> None:
        self.ready[self._class_of(number)] |= 1 << self.fixed.rank[number]

    def _class_of(self, number: int) -> int:
        return self.fixed.whole if number in self.alone else self.fixed.class_of[number]

    def _number_in(self, phase: TargetPhase, target_id: TargetId) -> int | None:
        return self.fixed.index[target_id] if self._phase(target_id) == phase else None

    def _phase(self, target_id: TargetId) -> int:
        """Return a target's phase; one that is not in this run counts as skipped."""
        number = self.fixed.index.get(target_id)
        return TargetPhase.SKIPPED if number is None else self.phases[number]


def _fits(takes: Resources, room: Resources) -> bool:
    return (
        takes[0] <= room[0] and takes[1] <= room[1] and takes[2] <= room[2] and takes[3] <= room[3]
    )
