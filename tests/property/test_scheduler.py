"""Whatever happens in whatever order: budgets hold, nothing is lost, and it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.models.result import Status
from orchestrator.models.target import TargetId
from orchestrator.run.scheduler import (
    CancelRunning,
    Event,
    Resources,
    Retries,
    RetryDue,
    RetryLater,
    RunInterrupted,
    RunStarted,
    SchedulerState,
    Skip,
    StartTarget,
    TargetEnded,
    TargetPhase,
    Task,
    TimeLeft,
    first_state,
    step,
)

TARGETS = [TargetId(f"t{number}") for number in range(12)]
ABSENT = TargetId("absent")
BUDGETS = st.builds(
    Resources,
    slots=st.integers(1, 5),
    millicpus=st.integers(1, 8000),
    memory=st.integers(1, 64),
    emulated=st.integers(0, 3),
)
TAKES = st.builds(
    Resources,
    slots=st.just(1),
    millicpus=st.sampled_from([1, 1000, 4000, 9000]),
    memory=st.sampled_from([1, 16, 40, 99]),
    emulated=st.integers(0, 1),
)


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    """Tasks that need some of those before them, and sometimes one that is not there."""
    found = []
    for index in range(draw(st.integers(0, len(TARGETS)))):
        others = [*TARGETS[:index], *([ABSENT] if draw(st.integers(0, 9)) == 0 else [])]
        needs = (
            st.frozensets(st.sampled_from(others), max_size=2) if others else st.just(frozenset())
        )
        found.append(
            Task(
                target_id=TARGETS[index],
                needs=draw(needs),
                takes=draw(TAKES),
                cost=draw(st.integers(1, 9)),
                seconds=draw(st.none() | st.integers(1, 90)),
            )
        )
    # In any order: what a task needs may stand after it.
    return draw(st.permutations(found))


@dataclass
class Book:
    """What an executor saw of one target."""

    task: Task
    attempts: int = 0
    runs: bool = False
    rests: bool = False
    alone: bool = False
    ended: Status | None = None
    abandoned: bool = False

    @property
    def settled(self) -> bool:
        return self.ended is not None or self.abandoned


class Model(RuleBasedStateMachine):
    """An executor that does what it is told, keeps the books, and hears events in any order."""

    state: SchedulerState

    @initialize(
        tasks=tasks(),
        budget=BUDGETS,
        fail_fast=st.booleans(),
        retries=st.integers(0, 2),
        early=st.booleans(),
        time=st.none() | st.integers(-1, 200),
    )
    def prepare(  # noqa: PLR0913, PLR0917 - drawn
        self,
        tasks: list[Task],
        budget: Resources,
        fail_fast: bool,  # noqa: FBT001 - drawn
        retries: int,
        early: bool,  # noqa: FBT001
        time: int | None,
    ) -> None:
        self.budget = budget
        self.retries = retries
        self.books = {each.target_id: Book(task=each) for each in tasks}
        self.cancels = 0
        self.begun = False
        self.time = math.inf
        self.state = first_state(tasks, budget, fail_fast=fail_fast, retries=Retries(limit=retries))
        if time is not None:
            self.remain(time)
        if not early:
            self.begin()

    # events, possible ones and others

    @rule()
    def begin(self) -> None:
        self.begun = True
        self.hear(RunStarted())

    @precondition(lambda self: self.running())
    @rule(data=st.data(), status=st.sampled_from(Status), passing=st.sampled_from(["", "t", "m"]))
    def end(self, data: st.DataObject, status: Status, passing: str) -> None:
        target = data.draw(st.sampled_from(self.running()))
        self.finish(target, status, transient=passing == "t", starved=passing == "m")

    @precondition(lambda self: self.resting())
    @rule(data=st.data())
    def wake(self, data: st.DataObject) -> None:
        self.retry(data.draw(st.sampled_from(self.resting())))

    @rule(name=st.sampled_from([*TARGETS, ABSENT]), status=st.sampled_from(Status))
    def end_out_of_nowhere(self, name: TargetId, status: Status) -> None:
        if name not in self.running():
            self.ignore(TargetEnded(target_id=name, status=status))

    @rule(name=st.sampled_from([*TARGETS, ABSENT]))
    def due_out_of_nowhere(self, name: TargetId) -> None:
        if name not in self.resting():
            self.ignore(RetryDue(target_id=name))

    @rule(chance=st.integers(0, 9))
    def interrupt(self, chance: int) -> None:
        if chance == 0:  # otherwise hardly any run would get far
            self.hear(RunInterrupted())

    @precondition(lambda self: getattr(self, "time", math.inf) < math.inf)
    @rule(passed=st.sampled_from([0, 0, 1, 5, 20, 80]))
    def time_passes(self, passed: int) -> None:
        self.remain(self.time - passed)

    @rule(seconds=st.integers(0, 99))
    def time_runs_backwards(self, seconds: int) -> None:
        if seconds >= self.time:
            self.ignore(TimeLeft(seconds=seconds))

    # what must hold

    @invariant()
    def budgets_hold(self) -> None:
        if not hasattr(self, "books"):
            return
        books = [self.books[each] for each in self.running()]
        running = [each.task for each in books]
        alone = [each for each in books if each.alone or not fits(each.task.takes, self.budget)]
        assert len(running) <= self.budget.slots
        if alone:
            assert len(running) == 1
            return
        assert all(
            sum(each.takes[kind] for each in running) <= self.budget[kind] for kind in range(4)
        )

    @invariant()
    def state_and_books_agree(self) -> None:
        if not hasattr(self, "books"):
            return
        state = self.state
        assert sorted(self.running()) == sorted(state.targets(TargetPhase.RUNNING))
        assert len(self.running()) == state.running
        assert state.left == len(state.targets(TargetPhase.PENDING, TargetPhase.WAITING))
        assert set(state.targets(TargetPhase.OK)) == self.well()
        assert state.over == all(each.settled for each in self.books.values())

    @invariant()
    def something_can_always_happen(self) -> None:
        if not hasattr(self, "books") or not self.begun or self.state.over:
            return
        assert self.running() or self.state.targets(TargetPhase.WAITING)

    def teardown(self) -> None:
        """From anywhere the run comes to its end, and every target to one outcome."""
        if not hasattr(self, "books"):
            return
        self.begin()
        most = len(self.books) * (self.retries + 2) * 2
        for _ in range(most):
            if self.state.over:
                break
            self.budgets_hold()
            self.something_can_always_happen()
            if self.running():
                self.finish(self.running()[0], Status.OK)
            else:
                self.retry(self.resting()[0])
        assert self.state.over
        assert all(each.settled for each in self.books.values())
        assert self.cancels <= 1
        if not self.state.stopping:
            well = self.well()
            for each in self.books.values():
                assert each.abandoned == (not each.task.needs <= well)

    # the executor

    def ignore(self, event: Event) -> None:
        before = self.state
        self.hear(event)
        assert self.state is before

    def hear(self, event: Event) -> None:
        before = self.state
        self.state, instructions = step(before, event)
        assert step(before, event) == (self.state, instructions), "not a function of its input"
        for each in instructions:
            self.obey(each)

    def obey(self, instruction: Any) -> None:
        if isinstance(instruction, CancelRunning):
            self.cancels += 1
            return
        book = self.books[instruction.target_id]
        assert not book.settled, "something was said of a target that has its result"
        match instruction:
            case StartTarget(attempt=attempt):
                assert not self.state.stopping, "started something after giving up"
                assert not book.runs
                assert not book.rests
                assert book.task.needs <= self.well()
                assert self.time > 0, "started something when the time was over"
                if self.is_late(book.task):
                    assert all(map(self.is_late, self.waiting())), "others could have ended"
                book.runs = True
                book.attempts += 1
                assert attempt == book.attempts <= self.retries + 1 + book.alone
            case RetryLater(seconds=seconds):
                assert seconds > 0
                assert book.attempts <= self.retries + book.alone
                book.rests = True
            case Skip(because=because):
                assert not book.runs
                if because is None:
                    assert self.state.stopping
                else:
                    assert because in book.task.needs
                    assert because not in self.well()
                book.rests = False
                book.abandoned = True

    def retry(self, target: TargetId) -> None:
        self.books[target].rests = False
        self.hear(RetryDue(target_id=target))

    def remain(self, seconds: float) -> None:
        stopping = self.state.stopping
        self.time = min(self.time, seconds)
        self.hear(TimeLeft(seconds=seconds))
        assert self.state.stopping == (stopping or self.time <= 0)
        if self.time <= 0 and not stopping:
            assert self.state.out_of_time

    def is_late(self, task: Task) -> bool:
        return task.seconds is not None and task.seconds > self.time

    def waiting(self) -> list[Task]:
        """What could start for all that it needs, and what can be emulated now."""
        well, running = self.well(), [self.books[each].task for each in self.running()]
        free = self.budget.emulated - sum(each.takes.emulated for each in running)
        return [
            each.task
            for each in self.books.values()
            if not (each.settled or each.runs or each.rests)
            and each.task.needs <= well
            and (
                (self.budget if each.alone else each.task.takes).emulated <= free
                or not fits(each.task.takes, self.budget)
            )
        ]

    def finish(
        self, target: TargetId, status: Status, *, transient: bool = False, starved: bool = False
    ) -> None:
        book = self.books[target]
        book.runs = False
        may = (transient and book.attempts <= self.retries) or (starved and not book.alone)
        again = may and status is not Status.OK and not self.state.stopping
        event = TargetEnded(target_id=target, status=status, transient=transient, starved=starved)
        book.alone |= starved
        if not again:
            book.ended = status
        self.hear(event)
        assert book.rests == again

    def running(self) -> list[TargetId]:
        return [name for name, each in getattr(self, "books", {}).items() if each.runs]

    def resting(self) -> list[TargetId]:
        return [name for name, each in getattr(self, "books", {}).items() if each.rests]

    def well(self) -> set[TargetId]:
        return {name for name, each in self.books.items() if each.ended is Status.OK}


TestModel = Model.TestCase


def fits(takes: Resources, room: Resources) -> bool:
    return all(one <= other for one, other in zip(takes, room, strict=True))


@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_without_trouble_slots_are_never_idle(count: int, slots: int, data: st.DataObject) -> None:
    each = Resources(slots=1, millicpus=1000, memory=1, emulated=0)
    names = [TargetId(f"t{number:02}") for number in range(count)]
    whole = Resources(slots=slots, millicpus=1000 * slots, memory=slots, emulated=0)
    state = first_state([Task(target_id=name, takes=each) for name in names], whole)
    state, said = step(state, RunStarted())
    started = [one.target_id for one in said if isinstance(one, StartTarget)]
    running = list(started)
    ended = 0
    while running:
        assert len(running) == min(slots, count - ended)
        target = data.draw(st.sampled_from(running))
        running.remove(target)
        ended += 1
        status = data.draw(st.sampled_from(Status))
        state, said = step(state, TargetEnded(target_id=target, status=status))
        new = [one.target_id for one in said if isinstance(one, StartTarget)]
        running += new
        started += new

    assert started == names
    assert state.over
