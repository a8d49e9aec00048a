"""Which target runs when: a pure state machine, ``step(state, event) -> (state, instructions)``.

It knows no clock, no thread and no process. An executor carries out the instructions and reports
back with events, so that every race is a unit test. A state is a value: nothing that `step` does
can be seen in the one it was given. What changes lies in heaps and chunks that two states share
but for the path to the change, so that an event costs O(log n) and not a copy of everything.

The order is longest first: a target's rank is its cost and that of the longest chain of targets
that wait for it. What does not fit into the budgets lets others pass, but not for ever: after as
many as there are slots the room it needs is kept free.

A run may have a limit. When it is over nothing is started any more and what runs is stopped. Before
that, a target that takes longer than what is left starts only where no other one is ready.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.result import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from orchestrator.models.target import TargetId


class Resources(NamedTuple):
    """What a target takes while it runs, or what there is. Whole numbers: their sums are exact."""

    slots: int
    millicpus: int
    memory: int
    emulated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the scheduler knows of a target.

    Attributes:
        target_id: the target.
        needs: the targets that must have ended well before it may start.
        takes: what it takes while it runs. One that takes more than there is runs alone.
        cost: how long it takes, in any unit that all share.
        seconds: how long it takes, for a run that has a limit; None where nobody knows.
    """

    target_id: TargetId
    takes: Resources
    needs: frozenset[TargetId] = frozenset()
    cost: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a target that failed for a passing reason is tried again, and how soon.

    Attributes:
        limit: attempts after the first one.
        first: seconds before the second attempt; each further one waits twice as long.
        most: the most seconds to wait.
    """

    limit: int = 0
    first: float = 5.0
    most: float = 300.0

    def wait(self, attempt: int, jitter: float) -> float:
        """Return the seconds between attempt number ``attempt`` and the next one.

        Args:
            attempt: the attempt that failed, from 1.
            jitter: between 0 and 1, drawn anew each time: half of the wait is left to chance, so
                that what failed together does not come back together.
        """
        whole = min(self.first * 2.0 ** min(attempt - 1, 60), self.most)
        return whole * (0.5 + jitter / 2)


class TargetPhase(Enum):
    """Where a target is."""

    PENDING = auto()
    RUNNING = auto()
    RESTING = auto()
    """It failed and waits for its next attempt."""
    OK = auto()
    FAILED = auto()
    ABANDONED = auto()


_LOST = frozenset({TargetPhase.FAILED, TargetPhase.ABANDONED})


class _Row(NamedTuple):
    """What changes of one target."""

    phase: TargetPhase
    unmet: int
    attempt: int


_Chunks = tuple[tuple[_Row, ...], ...]
"""The rows in plan order, in chunks: a change copies one chunk and the list of chunks."""

_CHUNK = 64


class _Heap(NamedTuple):
    """Ranks with the least on top: a leftist heap, of which a change copies O(log n) nodes.

    `height` is the length of the shortest way down to an empty place, which is on the right.
    """

    rank: int
    height: int
    left: _Heap | None
    right: _Heap | None


_Heaps = tuple[_Heap | None, ...]
"""One for each class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed:
    """What never changes in a run; lists are in plan order, a rank counts from the first to run.

    Targets that take the same are a class. There are as many as the matrix has rules for resources,
    so that it costs nothing to look at the first target of each.
    """

    tasks: tuple[Task, ...]
    index: Mapping[TargetId, int]
    dependents: tuple[tuple[int, ...], ...]
    classes: tuple[Resources, ...]
    class_of: tuple[int, ...]
    rank: tuple[int, ...]
    ranked: tuple[int, ...]
    budget: Resources
    fail_fast: bool
    retries: Retries


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState:
    """Everything the scheduler knows; made by `prepared`.

    Attributes:
        fixed: what never changes.
        rows: what changes of each target.
        ready: the pending targets that need nothing more, by class.
        late: those that turned out to take longer than there is time, by class.
        time: seconds until the run's limit; infinite without one.
        free: what the running targets leave of the budget.
        running: how many targets run.
        left: how many targets are pending, or wait for their next attempt.
        stopping: whether nothing may be started any more.
        out_of_time: whether that is because the run's limit is over.
        head: rank of the target that others have passed, and how many have; -1 for none.
        begun: whether the run has begun, or ended before it could.
    """

    fixed: _Fixed
    rows: _Chunks
    ready: _Heaps
    late: _Heaps
    time: float = math.inf
    free: Resources
    running: int = 0
    left: int
    stopping: bool = False
    out_of_time: bool = False
    head: tuple[int, int] = (-1, 0)
    begun: bool = False

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self.running and not self.left

    @property
    def oversized(self) -> tuple[TargetId, ...]:
        """The targets that take more than there is, and so will run alone."""
        budget = self.fixed.budget
        return tuple(each.target_id for each in self.fixed.tasks if not _fits(each.takes, budget))

    def targets(self, *phases: TargetPhase) -> tuple[TargetId, ...]:
        """Return the targets in one of these phases, in plan order; looks at all of them."""
        rows = (row for chunk in self.rows for row in chunk)
        pairs = zip(self.fixed.tasks, rows, strict=True)
        return tuple(task.target_id for task, row in pairs if row.phase in phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetEnded:
    """A running target ended.

    Attributes:
        target_id: the target.
        status: how.
        transient: whether it failed for a reason that may well have passed by the next attempt.
        jitter: chance, between 0 and 1, for the wait before that.
    """

    target_id: TargetId
    status: Status
    transient: bool = False
    jitter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDue:
    """The wait before a target's next attempt is over."""

    target_id: TargetId


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """So much time is left: to be said before each other event, and while nothing happens.

    Attributes:
        seconds: until the run's limit; more than was left before is ignored.
    """

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted:
    """The user wants to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTarget:
    """Start this target now.

    Attributes:
        target_id: the target.
        attempt: how often it will have been started then, from 1.
    """

    target_id: TargetId
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """This target is not done: say `RetryDue` after so many seconds."""

    target_id: TargetId
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRunning:
    """Stop everything that runs; each target still reports its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """This target will not start, or not again.

    Attributes:
        target_id: the target.
        because: the target it needs and that has not ended well; None when the run stops.
    """

    target_id: TargetId
    because: TargetId | None = None


Event = RunStarted | TargetEnded | RetryDue | TimeLeft | RunInterrupted
Instruction = StartTarget | RetryLater | CancelRunning | Skip


def prepared(
    tasks: Sequence[Task],
    budget: Resources,
    *,
    done: Collection[TargetId] = (),
    fail_fast: bool = False,
    retries: Retries | None = None,
) -> SchedulerState:
    """Return the first state of a run.

    Args:
        tasks: what shall run, in plan order, which decides where costs do not.
        budget: what all that runs at once may take; at least one slot.
        done: targets outside this run that have their results: what needs them need not wait.
        fail_fast: whether the first failure stops the run.
        retries: when failures are tried again; None for never.

    Raises:
        ValueError: tasks need each other in a circle, or have the same ID.
    """
    index = {each.target_id: number for number, each in enumerate(tasks)}
    if len(index) != len(tasks):
        raise ValueError("two tasks have the same ID")
    needs = tuple(each.needs - frozenset(done) for each in tasks)
    dependents: list[list[int]] = [[] for _ in tasks]
    for number, wanted in enumerate(needs):
        for each in wanted & index.keys():
            dependents[index[each]].append(number)
    lengths = _chain_lengths(tasks, needs, index, dependents)
    ranked = tuple(sorted(range(len(tasks)), key=lambda number: (-lengths[number], number)))
    rank = [0] * len(tasks)
    for place, number in enumerate(ranked):
        rank[number] = place
    takes = [each.takes if _fits(each.takes, budget) else budget for each in tasks]
    classes = {each: number for number, each in enumerate(dict.fromkeys(takes))}
    fixed = _Fixed(
        tasks=tuple(tasks),
        index=index,
        dependents=tuple(map(tuple, dependents)),
        classes=tuple(classes),
        class_of=tuple(classes[each] for each in takes),
        rank=tuple(rank),
        ranked=ranked,
        budget=budget,
        fail_fast=fail_fast,
        retries=retries or Retries(),
    )
    rows = [_Row(TargetPhase.PENDING, len(wanted), 0) for wanted in needs]
    chunks = (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
    return SchedulerState(
        fixed=fixed,
        rows=tuple(map(tuple, chunks)),
        ready=(None,) * len(classes),
        late=(None,) * len(classes),
        free=budget,
        left=len(tasks),
    )


def _chain_lengths(
    tasks: Sequence[Task],
    needs: Sequence[frozenset[TargetId]],
    index: Mapping[TargetId, int],
    dependents: Sequence[Sequence[int]],
) -> list[float]:
    """Return, for each task, its cost and that of the longest chain that waits for it."""
    lengths = [each.cost for each in tasks]
    waiting = [len(each) for each in dependents]
    ends = [number for number, count in enumerate(waiting) if not count]
    seen = 0
    while ends:
        number = ends.pop()
        seen += 1
        for each in needs[number] & index.keys():
            before = index[each]
            lengths[before] = max(lengths[before], tasks[before].cost + lengths[number])
            waiting[before] -= 1
            if not waiting[before]:
                ends.append(before)
    if seen < len(tasks):
        raise ValueError("tasks need each other in a circle")
    return lengths


def step(state: SchedulerState, event: Event) -> tuple[SchedulerState, tuple[Instruction, ...]]:
    """Advance by one event.

    Args:
        state: the state before.
        event: what happened. What cannot have happened is ignored: the end of a target that does
            not run, the end of a wait that nobody waits for.

    Returns:
        The state after, and what to do, in order.
    """
    draft = _Draft(state)
    match event:
        case RunStarted():
            draft.begin()
        case TargetEnded():
            draft.end(event)
        case RetryDue(target_id=target_id):
            draft.due(target_id)
        case TimeLeft(seconds=seconds):
            draft.remaining(seconds)
        case RunInterrupted():
            draft.stop()
    if not draft.changed:
        return state, ()
    draft.fill()
    return draft.state(), tuple(draft.instructions)


class _Draft:
    """The next state in the making: what differs from the last one, and the instructions."""

    def __init__(self, state: SchedulerState) -> None:
        self._before = state
        self._fixed = state.fixed
        self._rows = state.rows
        self._ready = state.ready
        self._late = state.late
        self._time = state.time
        self._free = state.free
        self._running = state.running
        self._left = state.left
        self._stopping = state.stopping
        self._out_of_time = state.out_of_time
        self._head = state.head
        self._begun = state.begun
        self.changed = False
        self.instructions: list[Instruction] = []

    def state(self) -> SchedulerState:
        return replace(
            self._before,
            rows=self._rows,
            ready=self._ready,
            late=self._late,
            time=self._time,
            free=self._free,
            running=self._running,
            left=self._left,
            stopping=self._stopping,
            out_of_time=self._out_of_time,
            head=self._head,
            begun=self._begun,
        )

    # events

    def begin(self) -> None:
        """Make ready what needs nothing, and abandon what needs something that is not there."""
        if self._begun:
            return
        self.changed = self._begun = True
        missing = [
            number
            for number, row in enumerate(row for chunk in self._rows for row in chunk)
            if row.phase is TargetPhase.PENDING and row.unmet and self._is_missing(number)
        ]
        self._lose(missing)
        for number in range(len(self._fixed.tasks)):
            row = self._row(number)
            if row.phase is TargetPhase.PENDING and not row.unmet:
                self._enqueue(number)

    def end(self, event: TargetEnded) -> None:
        number = self._of(event.target_id, TargetPhase.RUNNING)
        if number is None:
            return
        self.changed = True
        self._running -= 1
        takes = self._fixed.classes[self._fixed.class_of[number]]
        self._free = Resources(*map(int.__add__, self._free, takes))
        attempt = self._row(number).attempt
        retries = self._fixed.retries
        if event.status is Status.OK:
            self._change(number, TargetPhase.OK)
            for each in self._fixed.dependents[number]:
                self._met(each)
        elif event.transient and attempt <= retries.limit and not self._stopping:
            self._change(number, TargetPhase.RESTING)
            self._left += 1
            seconds = retries.wait(attempt, event.jitter)
            self.instructions.append(RetryLater(target_id=event.target_id, seconds=seconds))
        else:
            self._change(number, TargetPhase.FAILED)
            if self._fixed.fail_fast:
                self.stop()
            else:
                self._lose(self._fixed.dependents[number])

    def due(self, target_id: TargetId) -> None:
        number = self._of(target_id, TargetPhase.RESTING)
        if number is not None:
            self.changed = True
            self._change(number, TargetPhase.PENDING)
            self._enqueue(number)

    def remaining(self, seconds: float) -> None:
        if self._stopping or seconds >= self._time:
            return
        self.changed = True
        self._time = seconds
        if seconds <= 0:
            self._out_of_time = True
            self.stop()

    def stop(self) -> None:
        if self._stopping:
            return
        self.changed = self._stopping = self._begun = True
        if self._running:
            self.instructions.append(CancelRunning())
        for number, task in enumerate(self._fixed.tasks):
            if self._row(number).phase in {TargetPhase.PENDING, TargetPhase.RESTING}:
                self._change(number, TargetPhase.ABANDONED)
                self.instructions.append(Skip(target_id=task.target_id))
        self._left = 0
        self._ready = self._late = (None,) * len(self._ready)

    def fill(self) -> None:
        """Start what fits."""
        while self._free.slots > 0:
            number = self._next()
            if number is None:
                return
            self._start(number)

    # parts of them

    def _next(self) -> int | None:
        """Return the target that starts now, None for none."""
        self._part()
        # What runs until the limit would keep its room from all that could end before.
        heaps = self._ready if any(self._ready) else self._late
        head = fitting = -1
        for heap, takes in zip(heaps, self._fixed.classes, strict=True):
            # What waits for an emulation slot does not wait for what the others take.
            if heap is None or takes.emulated > self._free.emulated:
                continue
            rank = heap.rank
            if head < 0 or rank < head:
                head = rank
            if (fitting < 0 or rank < fitting) and _fits(takes, self._free):
                fitting = rank
        if fitting < 0:
            return None
        if fitting != head:
            passed = self._head[1] if self._head[0] == head else 0
            if passed >= self._fixed.budget.slots:
                return None
            self._head = (head, passed + 1)
        return self._fixed.ranked[fitting]

    def _part(self) -> None:
        """Set what would be next, but cannot end in time any more, apart."""
        if self._time == math.inf:
            return
        for kind in range(len(self._ready)):
            while (top := self._ready[kind]) is not None and self._is_late(top.rank):
                self._ready = _without_top(self._ready, kind)
                self._late = _with(self._late, kind, top.rank)

    def _is_late(self, rank: int) -> bool:
        seconds = self._fixed.tasks[self._fixed.ranked[rank]].seconds
        return seconds is not None and seconds > self._time

    def _start(self, number: int) -> None:
        kind = self._fixed.class_of[number]
        self._free = Resources(*map(int.__sub__, self._free, self._fixed.classes[kind]))
        if any(self._ready):
            self._ready = _without_top(self._ready, kind)
        else:
            self._late = _without_top(self._late, kind)
        self._running += 1
        self._left -= 1
        attempt = self._row(number).attempt + 1
        self._set(number, _Row(TargetPhase.RUNNING, 0, attempt))
        target_id = self._fixed.tasks[number].target_id
        self.instructions.append(StartTarget(target_id=target_id, attempt=attempt))

    def _lose(self, numbers: Collection[int]) -> None:
        """Abandon these, which need something that has no result, and what needs them in turn."""
        pending = list(numbers)
        heapq.heapify(pending)
        while pending:
            number = heapq.heappop(pending)
            if self._row(number).phase is not TargetPhase.PENDING:
                continue
            task = self._fixed.tasks[number]
            because = min(each for each in task.needs if self._is_lost(each))
            self._change(number, TargetPhase.ABANDONED)
            self._left -= 1
            self.instructions.append(Skip(target_id=task.target_id, because=because))
            for each in self._fixed.dependents[number]:
                heapq.heappush(pending, each)

    def _is_missing(self, number: int) -> bool:
        row = self._row(number)
        known = sum(each in self._fixed.index for each in self._fixed.tasks[number].needs)
        return known < row.unmet

    def _is_lost(self, target_id: TargetId) -> bool:
        number = self._fixed.index.get(target_id)
        return number is None or self._row(number).phase in _LOST

    def _met(self, number: int) -> None:
        row = self._row(number)
        self._set(number, row._replace(unmet=row.unmet - 1))
        if row.unmet == 1 and row.phase is TargetPhase.PENDING:
            self._enqueue(number)

    def _enqueue(self, number: int) -> None:
        kind = self._fixed.class_of[number]
        self._ready = _with(self._ready, kind, self._fixed.rank[number])

    def _of(self, target_id: TargetId, phase: TargetPhase) -> int | None:
        number = self._fixed.index.get(target_id)
        return number if number is not None and self._row(number).phase is phase else None

    def _row(self, number: int) -> _Row:
        return self._rows[number // _CHUNK][number % _CHUNK]

    def _change(self, number: int, phase: TargetPhase) -> None:
        self._set(number, self._row(number)._replace(phase=phase))

    def _set(self, number: int, row: _Row) -> None:
        chunk, place = divmod(number, _CHUNK)
        old = self._rows[chunk]
        new = (*old[:place], row, *old[place + 1 :])
        self._rows = (*self._rows[:chunk], new, *self._rows[chunk + 1 :])


def _fits(takes: Resources, room: Resources) -> bool:
    return (
        takes[0] <= room[0] and takes[1] <= room[1] and takes[2] <= room[2] and takes[3] <= room[3]
    )


def _with(heaps: _Heaps, kind: int, rank: int) -> _Heaps:
    """Return the heaps with one more rank in one of them."""
    more = _merged(heaps[kind], _Heap(rank, 1, None, None))
    return (*heaps[:kind], more, *heaps[kind + 1 :])


def _without_top(heaps: _Heaps, kind: int) -> _Heaps:
    """Return the heaps without the least rank of one of them."""
    top = heaps[kind]
    rest = None if top is None else _merged(top.left, top.right)
    return (*heaps[:kind], rest, *heaps[kind + 1 :])


def _merged(one: _Heap | None, other: _Heap | None) -> _Heap | None:
    """Return a heap of all that two heaps hold."""
    if one is None or other is None:
        return one or other
    if other.rank < one.rank:
        one, other = other, one
    left, right = one.left, _merged(one.right, other)
    if left is None or (right is not None and left.height < right.height):
        left, right = right, left
    height = 1 if right is None else right.height + 1
    return _Heap(one.rank, height, left, right)
