"""The scheduler's races, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.models.result import Status
from orchestrator.models.target import TargetId
from orchestrator.run.scheduler import (
    CancelRunning,
    Event,
    Instruction,
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

A, B, C, D = (TargetId(name) for name in "abcd")
GIB = 1 << 30


def amounts(
    *, slots: int = 1, cpus: float = 1.0, memory: int = GIB, emulated: int = 0
) -> Resources:
    return Resources(slots=slots, millicpus=int(cpus * 1000), memory=memory, emulated=emulated)


def task(
    name: str,
    *,
    needs: str = "",
    cost: float = 1.0,
    takes: Resources | None = None,
    seconds: float | None = None,
) -> Task:
    return Task(
        target_id=TargetId(name),
        needs=frozenset(map(TargetId, needs)),
        cost=cost,
        takes=takes or amounts(),
        seconds=seconds,
    )


def state(
    *tasks: Task | str, slots: int = 2, fail_fast: bool = False, retries: Retries | None = None
) -> SchedulerState:
    return first_state(
        [task(each) if isinstance(each, str) else each for each in tasks],
        amounts(slots=slots, cpus=64, memory=64 * GIB, emulated=slots),
        fail_fast=fail_fast,
        retries=retries,
    )


def ok(target: TargetId) -> TargetEnded:
    return TargetEnded(target_id=target, status=Status.OK)


def failed(target: TargetId, *, transient: bool = False) -> TargetEnded:
    return TargetEnded(target_id=target, status=Status.FAILED, transient=transient)


def after(first: SchedulerState, *events: Event) -> tuple[SchedulerState, tuple[Instruction, ...]]:
    """The state after all events, and the instructions of the last one."""
    now = first
    said: tuple[Instruction, ...] = ()
    for event in events:
        now, said = step(now, event)
    return now, said


def starts(*targets: TargetId) -> tuple[Instruction, ...]:
    return tuple(StartTarget(target_id=each) for each in targets)


def again(target: TargetId, attempt: int) -> tuple[Instruction, ...]:
    return (StartTarget(target_id=target, attempt=attempt),)


def lost(target: TargetId, because: TargetId) -> Instruction:
    return Skip(target_id=target, because=because)


def running(now: SchedulerState) -> tuple[TargetId, ...]:
    return now.targets(TargetPhase.RUNNING)


# Slots


def test_it_fills_the_slots_in_order() -> None:
    now, said = after(state("a", "b", "c"), RunStarted())

    assert said == starts(A, B)
    assert running(now) == (A, B)
    assert now.targets(TargetPhase.PENDING) == (C,)
    assert not now.over


def test_an_end_makes_room_for_the_next() -> None:
    now, said = after(state("a", "b", "c", "d"), RunStarted(), ok(B))

    assert said == starts(C)
    assert running(now) == (A, C)


def test_a_failure_does_not_stop_the_others() -> None:
    now, said = after(state("a", "b", "c"), RunStarted(), failed(A))

    assert said == starts(C)
    assert not now.stopping


def test_it_is_over_when_the_last_one_ended() -> None:
    now, said = after(state("a", "b"), RunStarted(), ok(B), failed(A))

    assert said == ()
    assert now.over


def test_nothing_to_do_is_over_before_it_begins() -> None:
    assert state().over
    assert after(state(), RunStarted())[0].over


def test_more_slots_than_targets() -> None:
    assert after(state("a", slots=9), RunStarted())[1] == starts(A)


def test_begun_twice_starts_nothing_twice() -> None:
    now, _ = after(state("a", "b", "c"), RunStarted())

    assert after(now, RunStarted()) == (now, ())


def test_begun_again_when_all_is_done_starts_nothing() -> None:
    now, _ = after(state("a"), RunStarted(), ok(A))

    assert after(now, RunStarted()) == (now, ())


def test_a_state_is_a_value() -> None:
    first = state("a", "b", task("c", needs="a"))
    same = state("a", "b", task("c", needs="a"))
    now, _ = step(first, RunStarted())
    one, two = step(now, ok(A)), step(now, failed(A))

    assert first == same
    assert step(now, ok(A)) == one
    assert (one[1], two[1]) == (starts(C), (lost(C, A),))


# Stopping


def test_fail_fast_stops_what_runs_and_abandons_the_rest() -> None:
    now, said = after(state("a", "b", "c", "d", fail_fast=True), RunStarted(), failed(A))

    assert said == (CancelRunning(), Skip(target_id=C), Skip(target_id=D))
    assert not now.over
    assert after(now, failed(B))[0].over


def test_fail_fast_has_nothing_to_cancel_when_it_was_the_only_one() -> None:
    now, said = after(state("a", "b", slots=1, fail_fast=True), RunStarted(), failed(A))

    assert said == (Skip(target_id=B),)
    assert now.over


def test_ctrl_c_stops_what_runs_and_abandons_the_rest() -> None:
    now, said = after(state("a", "b", "c"), RunStarted(), RunInterrupted())

    assert said == (CancelRunning(), Skip(target_id=C))
    assert running(now) == (A, B)
    assert not now.over
    assert after(now, ok(A), ok(B))[0].over


def test_a_result_that_comes_in_while_stopping_is_kept() -> None:
    now, _ = after(state("a", "b", "c"), RunStarted(), RunInterrupted(), ok(A), failed(B))

    assert now.targets(TargetPhase.OK) == (A,)
    assert now.targets(TargetPhase.FAILED) == (B,)


def test_a_second_ctrl_c_changes_nothing() -> None:
    once, _ = after(state("a", "b", "c"), RunStarted(), RunInterrupted())

    assert after(once, RunInterrupted()) == (once, ())


def test_ctrl_c_before_anything_started() -> None:
    now, said = after(state("a", "b"), RunInterrupted())

    assert said == (Skip(target_id=A), Skip(target_id=B))
    assert now.over
    assert after(now, RunStarted()) == (now, ())


def test_ctrl_c_after_the_last_one() -> None:
    now, said = after(state("a"), RunStarted(), ok(A), RunInterrupted())

    assert said == ()
    assert now.over


def test_a_failure_while_stopping_does_not_stop_again() -> None:
    now, said = after(
        state("a", "b", "c", fail_fast=True), RunStarted(), RunInterrupted(), failed(A)
    )

    assert said == ()
    assert running(now) == (B,)


@pytest.mark.parametrize("target", [C, TargetId("never heard of")])
def test_the_end_of_what_does_not_run_is_ignored(target: TargetId) -> None:
    now, _ = after(state("a", "b", "c"), RunStarted())

    assert after(now, ok(target)) == (now, ())


def test_a_late_failure_of_what_does_not_run_does_not_stop_the_run() -> None:
    now, _ = after(state("a", "b", "c", fail_fast=True), RunStarted(), ok(A))

    assert after(now, failed(A)) == (now, ())


def test_the_same_end_twice_counts_once() -> None:
    now, said = after(state("a", "b", "c", "d"), RunStarted(), ok(A), ok(A))

    assert said == ()
    assert running(now) == (B, C)


# Needs


def test_what_needs_others_starts_after_all_of_them() -> None:
    first = state("a", "b", task("c", needs="ab"), "d", slots=4)

    now, said = after(first, RunStarted())
    assert set(said) == set(starts(A, B, D))
    assert after(now, ok(A))[1] == ()
    assert after(now, ok(A), ok(B))[1] == starts(C)
    assert after(now, ok(B), ok(A))[1] == starts(C)


def test_what_waits_does_not_hold_up_what_could_run() -> None:
    now, said = after(state("a", task("b", needs="a"), "c"), RunStarted())

    assert said == starts(A, C)
    assert now.targets(TargetPhase.PENDING) == (B,)


def test_what_needs_a_failure_is_abandoned_and_says_why_and_the_rest_goes_on() -> None:
    first = state("a", task("b", needs="a"), task("c", needs="b"), "d", slots=1)

    now, said = after(first, RunStarted(), failed(A))
    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_whatever_is_not_ok_is_no_result_to_build_with(status: Status) -> None:
    first = state("a", task("b", needs="a"))

    assert after(first, RunStarted(), TargetEnded(target_id=A, status=status))[1] == (lost(B, A),)


def test_two_failures_name_the_first_by_name_on_every_machine() -> None:
    first = state("a", "b", task("c", needs="ba"), task("d", needs="ab"))
    assert after(first, RunStarted(), failed(B))[1] == (lost(C, B), lost(D, B))

    absent = state(task("c", needs="ba"), task("d", needs="cba"))
    assert after(absent, RunStarted())[1] == (lost(C, A), lost(D, A))


def test_what_needs_something_outside_the_run_is_abandoned_at_once() -> None:
    now, said = after(state(task("b", needs="a"), task("c", needs="b"), "d"), RunStarted())

    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


def test_what_needs_something_that_is_done_already_need_not_wait() -> None:
    tasks = [task("b", needs="a"), task("c", needs="ab")]
    first = first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB), done=[A])

    assert after(first, RunStarted())[1] == starts(B)
    assert after(first, RunStarted(), ok(B))[1] == starts(C)


def test_fail_fast_abandons_what_waits_with_everything_else() -> None:
    first = state("a", "b", task("c", needs="a"), task("d", needs="b"), fail_fast=True)

    now, said = after(first, RunStarted(), failed(A))
    assert said == (CancelRunning(), Skip(target_id=C), Skip(target_id=D))
    assert not now.over


def test_ctrl_c_abandons_what_waits() -> None:
    now, said = after(state("a", task("b", needs="a")), RunStarted(), RunInterrupted())

    assert said == (CancelRunning(), Skip(target_id=B))
    done, said = after(now, ok(A))
    assert said == ()
    assert done.over
    assert done.targets(TargetPhase.OK) == (A,)


def test_a_circle_is_refused_rather_than_waited_for() -> None:
    with pytest.raises(ValueError, match="circle"):
        state("a", task("b", needs="c"), task("c", needs="b"))


def test_two_tasks_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same ID"):
        state("a", "a")


# Order


def test_the_longest_comes_first() -> None:
    first = state(task("a", cost=1), task("b", cost=5), task("c", cost=3), slots=1)

    assert after(first, RunStarted())[1] == starts(B)
    assert after(first, RunStarted(), ok(B))[1] == starts(C)


def test_equal_costs_keep_the_order_of_the_plan() -> None:
    first = state("c", "a", "b", slots=3)

    assert after(first, RunStarted())[1] == starts(C, A, B)


def test_what_others_wait_for_counts_with_what_waits() -> None:
    """a takes 1 and nothing waits for it; b takes 1, and d waits, which takes 8."""
    first = state(
        task("c", cost=7),
        task("a", cost=1),
        task("b", cost=1),
        task("d", cost=8, needs="b"),
        slots=1,
    )

    assert after(first, RunStarted())[1] == starts(B)
    assert after(first, RunStarted(), ok(B))[1] == starts(D)


# Budgets


@pytest.mark.parametrize(
    "takes",
    [amounts(cpus=3), amounts(memory=3 * GIB), amounts(emulated=1)],
    ids=["cpus", "memory", "emulation"],
)
def test_no_more_runs_than_there_is_room_for(takes: Resources) -> None:
    tasks = [task("a", takes=takes), task("b", takes=takes), task("c")]
    first = first_state(tasks, amounts(slots=3, cpus=5, memory=5 * GIB, emulated=1))

    now, said = after(first, RunStarted())
    assert said == starts(A, C)
    assert after(now, ok(C))[1] == ()
    assert after(now, ok(A))[1] == starts(B)


@pytest.mark.parametrize("takes", [amounts(cpus=9), amounts(memory=9 * GIB)])
def test_what_is_larger_than_the_budget_runs_alone(takes: Resources) -> None:
    tasks = [task("a", takes=takes, cost=9), task("b"), task("c")]
    first = first_state(tasks, amounts(slots=3, cpus=8, memory=8 * GIB))

    assert first.oversized == (A,)
    now, said = after(first, RunStarted())
    assert said == starts(A)
    assert after(now, ok(A))[1] == starts(B, C)


def test_nothing_is_emulated_where_no_slot_is_for_it_but_alone() -> None:
    tasks = [task("a", takes=amounts(emulated=1)), task("b")]
    first = first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB, emulated=0))

    assert first.oversized == (A,)
    assert after(first, RunStarted())[1] == starts(A)


def big(name: str, *, needs: str = "") -> Task:
    return task(name, needs=needs, cost=100, takes=amounts(cpus=2))


def test_what_is_too_large_for_now_lets_others_pass() -> None:
    first = first_state(
        [task("a", cost=200), big("b"), task("c")], amounts(slots=3, cpus=2, memory=8 * GIB)
    )

    assert after(first, RunStarted())[1] == starts(A, C)


def test_but_not_for_ever() -> None:
    """b needs both CPUs; as many pass as there are slots, then one stays idle until b ran."""
    small = [task(f"s{number}") for number in range(6)]
    first = first_state(
        [task("a", cost=200), big("b"), *small], amounts(slots=2, cpus=2, memory=8 * GIB)
    )

    now, said = after(first, RunStarted())
    assert said == (*starts(A), *starts(TargetId("s0")))
    now, said = after(now, ok(TargetId("s0")))
    assert said == starts(TargetId("s1"))
    now, said = after(now, ok(TargetId("s1")))
    assert said == ()
    assert after(now, ok(A))[1] == starts(B)


def test_what_waits_for_emulation_holds_up_nobody_else() -> None:
    slow = amounts(emulated=1)
    tasks = [task("a", takes=slow, cost=9), task("b", takes=slow, cost=9)]
    tasks += [task(f"s{number}") for number in range(6)]
    now, _ = after(
        first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB, emulated=1)), RunStarted()
    )

    for number in range(5):
        now, said = after(now, ok(TargetId(f"s{number}")))
        assert said == starts(TargetId(f"s{number + 1}"))
    assert after(now, ok(A))[1] == starts(B)


# Attempts

TWICE = Retries(limit=2, first=10.0, most=15.0)


def test_a_passing_failure_rests_and_is_tried_again() -> None:
    now, said = after(state("a", slots=1, retries=TWICE), RunStarted(), failed(A, transient=True))

    assert said == (RetryLater(target_id=A, seconds=10.0),)
    assert not now.over
    now, said = after(now, RetryDue(target_id=A))
    assert said == again(A, 2)
    assert after(now, ok(A))[0].over


def test_the_wait_grows_up_to_its_limit_and_attempts_end() -> None:
    now, _ = after(state("a", slots=1, retries=TWICE), RunStarted(), failed(A, transient=True))
    now, said = after(now, RetryDue(target_id=A), failed(A, transient=True))
    assert said == (RetryLater(target_id=A, seconds=15.0),)

    now, said = after(now, RetryDue(target_id=A))
    assert said == again(A, 3)
    now, said = after(now, failed(A, transient=True))
    assert said == ()
    assert now.over
    assert now.targets(TargetPhase.FAILED) == (A,)


def test_half_of_a_wait_is_chance() -> None:
    assert [TWICE.wait(1, jitter) for jitter in (0.0, 0.5, 1.0)] == [5.0, 7.5, 10.0]
    assert Retries(limit=99).wait(10_000, 1.0) == Retries().most


def test_a_failure_for_good_is_never_tried_again() -> None:
    now, said = after(state("a", retries=TWICE), RunStarted(), failed(A))

    assert said == ()
    assert now.over


def test_without_retries_a_passing_failure_is_a_failure() -> None:
    assert after(state("a"), RunStarted(), failed(A, transient=True))[0].over


def test_what_rests_takes_nothing() -> None:
    first = state("a", "b", slots=1, retries=TWICE)

    now, said = after(first, RunStarted(), failed(A, transient=True))
    assert said == (RetryLater(target_id=A, seconds=10.0), *starts(B))
    assert after(now, RetryDue(target_id=A))[1] == (), "its slot is taken"
    assert after(now, RetryDue(target_id=A), ok(B))[1] == again(A, 2)
    assert after(now, ok(B), RetryDue(target_id=A))[1] == again(A, 2)


def test_what_needs_something_that_rests_goes_on_waiting() -> None:
    first = state("a", task("b", needs="a"), retries=TWICE)

    now, said = after(first, RunStarted(), failed(A, transient=True))
    assert said == (RetryLater(target_id=A, seconds=10.0),)
    assert after(now, RetryDue(target_id=A), ok(A))[1] == starts(B)
    assert after(now, RetryDue(target_id=A), failed(A))[1] == (lost(B, A),)


def test_fail_fast_waits_for_the_last_attempt() -> None:
    first = state("a", "b", "c", fail_fast=True, retries=Retries(limit=1))

    now, said = after(first, RunStarted(), failed(A, transient=True))
    assert not now.stopping
    assert isinstance(said[0], RetryLater)
    assert said[1:] == starts(C)
    now, said = after(now, ok(B), RetryDue(target_id=A), failed(A, transient=True))
    assert now.stopping
    assert said == (CancelRunning(),)


def test_ctrl_c_abandons_what_rests() -> None:
    now, said = after(
        state("a", "b", retries=TWICE), RunStarted(), failed(A, transient=True), RunInterrupted()
    )

    assert said == (CancelRunning(), Skip(target_id=A))
    assert after(now, RetryDue(target_id=A)) == (now, ())
    assert after(now, ok(B))[0].over


def test_a_passing_failure_while_stopping_is_not_tried_again() -> None:
    now, said = after(
        state("a", "b", retries=TWICE), RunStarted(), RunInterrupted(), failed(A, transient=True)
    )

    assert said == ()
    assert running(now) == (B,)


@pytest.mark.parametrize("target", [A, B, TargetId("never heard of")])
def test_a_timer_nobody_waits_for_is_ignored(target: TargetId) -> None:
    now, _ = after(state("a", "b", slots=1, retries=TWICE), RunStarted())

    assert after(now, RetryDue(target_id=target)) == (now, ())


def test_the_same_timer_twice_starts_once() -> None:
    now, _ = after(state("a", retries=TWICE), RunStarted(), failed(A, transient=True))
    now, _ = after(now, RetryDue(target_id=A))

    assert after(now, RetryDue(target_id=A)) == (now, ())


# The run's limit


def left(seconds: float) -> TimeLeft:
    return TimeLeft(seconds=seconds)


def timed(name: str, seconds: float, *, takes: Resources | None = None, needs: str = "") -> Task:
    return task(name, cost=seconds, seconds=seconds, takes=takes, needs=needs)


def test_at_the_limit_what_runs_is_stopped_and_nothing_more_starts() -> None:
    now, said = after(state("a", "b", "c"), left(9), RunStarted(), left(0.1))
    assert said == ()
    now, said = after(now, left(0))

    assert said == (CancelRunning(), Skip(target_id=C))
    assert now.stopping
    assert now.out_of_time
    assert not now.over
    now, said = after(now, ok(A), failed(B))
    assert now.over
    assert now.targets(TargetPhase.OK) == (A,), "what came in while stopping is kept"


def test_a_limit_that_is_over_before_the_beginning_starts_nothing() -> None:
    now, said = after(state("a"), left(-1))

    assert said == (Skip(target_id=A),)
    assert now.over
    assert after(now, RunStarted()) == (now, ())


def test_the_limit_ends_the_wait_for_the_next_attempt() -> None:
    now, said = after(
        state("a", retries=TWICE), left(9), RunStarted(), failed(A, transient=True), left(0)
    )

    assert said == (Skip(target_id=A),)
    assert now.over


def test_a_failure_that_stopped_the_run_before_is_why_it_stopped() -> None:
    now, _ = after(state("a", "b", "c", fail_fast=True), left(9), RunStarted(), failed(A))

    assert after(now, left(0)) == (now, ())
    assert not now.out_of_time


def test_time_that_runs_backwards_is_ignored() -> None:
    now, _ = after(state("a"), left(5), RunStarted())

    assert after(now, left(9)) == (now, ())


def test_what_cannot_end_in_time_comes_after_all_that_can() -> None:
    first = state(timed("a", 90), timed("b", 40), timed("c", 30), task("d"), slots=1)

    assert after(first, left(100), RunStarted())[1] == starts(A)
    now, said = after(first, left(60), RunStarted())
    assert said == starts(B)
    now, said = after(now, left(20), ok(B))
    assert said == starts(D), "nobody knows how long d takes"
    now, said = after(now, left(19), ok(D))
    assert said == starts(A), "nothing else is left: an estimate may be wrong"


def test_what_cannot_end_in_time_takes_no_room_from_what_waits_for_some() -> None:
    """c needs both CPUs; a would keep one of them until the limit."""
    tasks = [timed("a", 90), timed("b", 10), timed("c", 20, takes=amounts(cpus=2))]
    first = first_state(tasks, amounts(slots=2, cpus=2, memory=8 * GIB))

    now, said = after(first, left(50), RunStarted())
    assert said == starts(C)
    now, said = after(now, left(30), ok(C))
    assert said == starts(B, A)


def test_time_that_passes_gives_way_to_what_was_held_up() -> None:
    """b waits for two CPUs and lets nobody pass any more, until it is too late for it."""
    small = [timed(f"s{number}", 1) for number in range(4)]
    tasks = [timed("a", 200), timed("b", 100, takes=amounts(cpus=2)), *small]
    now, _ = after(
        first_state(tasks, amounts(slots=2, cpus=2, memory=8 * GIB)), left(300), RunStarted()
    )
    now, said = after(now, ok(TargetId("s0")), ok(TargetId("s1")))
    assert said == ()

    assert after(now, left(99))[1] == starts(TargetId("s2"))


def test_what_others_wait_for_is_what_is_left_of_the_plan() -> None:
    """A state that is made anew from the same tasks is the same state."""
    first = state("a", "b")

    assert replace(first) == first
