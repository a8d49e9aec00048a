"""The scheduler's races, one by one."""

from __future__ import annotations

from typing import Any

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


def starved(target: TargetId) -> TargetEnded:
    return TargetEnded(target_id=target, status=Status.FAILED, starved=True)


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


def left(seconds: float) -> TimeLeft:
    return TimeLeft(seconds=seconds)


# One event

TWICE = Retries(limit=2, first=10.0, most=15.0)
ABC = state("a", "b", "c")
RETRYING = state("a", "b", slots=1, retries=TWICE)
BEGIN = RunStarted()
STOP = RunInterrupted()
NOBODY = TargetId("never heard of")
PASSING = failed(A, transient=True)
STARVED: list[Event] = [BEGIN, starved(A), RetryDue(target_id=A)]


def case(
    name: str, first: SchedulerState, events: list[Event], said: tuple[Instruction, ...], runs: str
) -> Any:
    """What the last event brings, and what runs then; the run is over where `runs` is "over"."""
    return pytest.param(first, events, said, runs, id=name)


@pytest.mark.parametrize(
    ("first", "events", "said", "runs"),
    [
        case("it fills the slots in order", ABC, [BEGIN], starts(A, B), "ab"),
        case("an end makes room", state(*"abcd"), [BEGIN, ok(B)], starts(C), "ac"),
        case("a failure does not stop the others", ABC, [BEGIN, failed(A)], starts(C), "bc"),
        case("over with the last", state("a", "b"), [BEGIN, ok(B), failed(A)], (), "over"),
        case("nothing to do is over before it begins", state(), [], (), "over"),
        case("nothing to do is over when it begins", state(), [BEGIN], (), "over"),
        case("more slots than targets", state("a", slots=9), [BEGIN], starts(A), "a"),
        case(
            "fail-fast with nothing to cancel",
            state("a", "b", slots=1, fail_fast=True),
            [BEGIN, failed(A)],
            (Skip(target_id=B),),
            "over",
        ),
        case(
            "ctrl-c before anything started",
            state("a", "b"),
            [STOP],
            (Skip(target_id=A), Skip(target_id=B)),
            "over",
        ),
        case("ctrl-c after the last one", state("a"), [BEGIN, ok(A), STOP], (), "over"),
        case(
            "a failure while stopping",
            state("a", "b", "c", fail_fast=True),
            [BEGIN, STOP, failed(A)],
            (),
            "b",
        ),
        case(
            "what waits holds up nobody",
            state("a", task("b", needs="a"), "c"),
            [BEGIN],
            starts(A, C),
            "ac",
        ),
        case("a failure for good", state("a", retries=TWICE), [BEGIN, failed(A)], (), "over"),
        case("without retries", state("a"), [BEGIN, PASSING], (), "over"),
        case(
            "no retry while stopping",
            state("a", "b", retries=TWICE),
            [BEGIN, STOP, PASSING],
            (),
            "b",
        ),
        case(
            "the limit ends the wait for a retry",
            state("a", retries=TWICE),
            [left(9), BEGIN, PASSING, left(0)],
            (Skip(target_id=A),),
            "over",
        ),
        case("a limit that is over", state("a"), [left(-1)], (Skip(target_id=A),), "over"),
        case("what starved comes again alone", ABC, [*STARVED, ok(B), ok(C)], again(A, 2), "a"),
        case("what starved waits for the others", ABC, [*STARVED, ok(B)], (), "c"),
        case("it starves once", state("a"), [*STARVED, starved(A)], (), "over"),
        case("nothing starves while stopping", state("a", "b"), [BEGIN, STOP, starved(A)], (), "b"),
    ],
)
def test_what_an_event_brings(
    first: SchedulerState, events: list[Event], said: tuple[Instruction, ...], runs: str
) -> None:
    now, last = after(first, *events)

    assert last == said
    assert ("over" if now.over else "".join(running(now))) == runs
    stops = STOP in events or any(isinstance(each, Skip) for each in said)
    assert now.stopping == stops


IGNORED: dict[str, tuple[SchedulerState, list[Event], Event]] = {
    "begun twice": (ABC, [BEGIN], BEGIN),
    "begun again when all is done": (state("a"), [BEGIN, ok(A)], BEGIN),
    "begun after ctrl-c": (state("a", "b"), [STOP], BEGIN),
    "begun after the limit": (state("a"), [left(-1)], BEGIN),
    "a second ctrl-c": (ABC, [BEGIN, STOP], STOP),
    "the end of what waits": (ABC, [BEGIN], ok(C)),
    "the end of what nobody knows": (ABC, [BEGIN], ok(NOBODY)),
    "the same end twice": (state(*"abcd"), [BEGIN, ok(A)], ok(A)),
    "a late failure": (state(*"abc", fail_fast=True), [BEGIN, ok(A)], failed(A)),
    "a timer of what runs": (RETRYING, [BEGIN], RetryDue(target_id=A)),
    "a timer of what waits": (RETRYING, [BEGIN], RetryDue(target_id=B)),
    "a timer of what nobody knows": (RETRYING, [BEGIN], RetryDue(target_id=NOBODY)),
    "the same timer twice": (
        state("a", retries=TWICE),
        [BEGIN, PASSING, RetryDue(target_id=A)],
        RetryDue(target_id=A),
    ),
    "time that runs backwards": (state("a"), [left(5), BEGIN], left(9)),
    "the limit of a run that a failure stopped": (
        state(*"abc", fail_fast=True),
        [left(9), BEGIN, failed(A)],
        left(0),
    ),
}


@pytest.mark.parametrize(("first", "events", "ignored"), IGNORED.values(), ids=IGNORED)
def test_what_is_ignored(first: SchedulerState, events: list[Event], ignored: Event) -> None:
    now, _ = after(first, *events)

    assert after(now, ignored) == (now, ())
    assert not now.out_of_time or left(-1) in events


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
    now, said = after(state("a", "b", "c", "d", fail_fast=True), BEGIN, failed(A))

    assert said == (CancelRunning(), Skip(target_id=C), Skip(target_id=D))
    assert not now.over
    assert after(now, failed(B))[0].over


def test_ctrl_c_stops_what_runs_and_abandons_the_rest() -> None:
    now, said = after(state("a", "b", "c"), BEGIN, STOP)

    assert said == (CancelRunning(), Skip(target_id=C))
    assert running(now) == (A, B)
    assert not now.over
    assert after(now, ok(A), ok(B))[0].over


def test_a_result_that_comes_in_while_stopping_is_kept() -> None:
    now, _ = after(state("a", "b", "c"), BEGIN, STOP, ok(A), failed(B))

    assert now.targets(TargetPhase.OK) == (A,)
    assert now.targets(TargetPhase.FAILED) == (B,)


# Needs


def test_what_needs_others_starts_after_all_of_them() -> None:
    first = state("a", "b", task("c", needs="ab"), "d", slots=4)

    now, said = after(first, BEGIN)
    assert set(said) == set(starts(A, B, D))
    assert after(now, ok(A))[1] == ()
    assert after(now, ok(A), ok(B))[1] == starts(C)
    assert after(now, ok(B), ok(A))[1] == starts(C)


def test_what_needs_a_failure_is_abandoned_and_says_why_and_the_rest_goes_on() -> None:
    first = state("a", task("b", needs="a"), task("c", needs="b"), "d", slots=1)

    now, said = after(first, BEGIN, failed(A))
    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_whatever_is_not_ok_is_no_result_to_build_with(status: Status) -> None:
    first = state("a", task("b", needs="a"))

    assert after(first, BEGIN, TargetEnded(target_id=A, status=status))[1] == (lost(B, A),)


def test_two_failures_name_the_first_by_name_on_every_machine() -> None:
    first = state("a", "b", task("c", needs="ba"), task("d", needs="ab"))
    assert after(first, BEGIN, failed(B))[1] == (lost(C, B), lost(D, B))

    absent = state(task("c", needs="ba"), task("d", needs="cba"))
    assert after(absent, BEGIN)[1] == (lost(C, A), lost(D, A))


def test_what_needs_something_outside_the_run_is_abandoned_at_once() -> None:
    now, said = after(state(task("b", needs="a"), task("c", needs="b"), "d"), BEGIN)

    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


def test_what_needs_something_that_is_done_already_need_not_wait() -> None:
    tasks = [task("b", needs="a"), task("c", needs="ab")]
    first = first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB), done=[A])

    assert after(first, BEGIN)[1] == starts(B)
    assert after(first, BEGIN, ok(B))[1] == starts(C)


def test_fail_fast_abandons_what_waits_with_everything_else() -> None:
    first = state("a", "b", task("c", needs="a"), task("d", needs="b"), fail_fast=True)

    now, said = after(first, BEGIN, failed(A))
    assert said == (CancelRunning(), Skip(target_id=C), Skip(target_id=D))
    assert not now.over


def test_ctrl_c_abandons_what_waits() -> None:
    now, said = after(state("a", task("b", needs="a")), BEGIN, STOP)

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

    assert after(first, BEGIN)[1] == starts(B)
    assert after(first, BEGIN, ok(B))[1] == starts(C)


def test_equal_costs_keep_the_order_of_the_plan() -> None:
    first = state("c", "a", "b", slots=3)

    assert after(first, BEGIN)[1] == starts(C, A, B)


def test_what_others_wait_for_counts_with_what_waits() -> None:
    """a takes 1 and nothing waits for it; b takes 1, and d waits, which takes 8."""
    first = state(
        task("c", cost=7),
        task("a", cost=1),
        task("b", cost=1),
        task("d", cost=8, needs="b"),
        slots=1,
    )

    assert after(first, BEGIN)[1] == starts(B)
    assert after(first, BEGIN, ok(B))[1] == starts(D)


# Budgets


@pytest.mark.parametrize(
    "takes",
    [amounts(cpus=3), amounts(memory=3 * GIB), amounts(emulated=1)],
    ids=["cpus", "memory", "emulation"],
)
def test_no_more_runs_than_there_is_room_for(takes: Resources) -> None:
    tasks = [task("a", takes=takes), task("b", takes=takes), task("c")]
    first = first_state(tasks, amounts(slots=3, cpus=5, memory=5 * GIB, emulated=1))

    now, said = after(first, BEGIN)
    assert said == starts(A, C)
    assert after(now, ok(C))[1] == ()
    assert after(now, ok(A))[1] == starts(B)


@pytest.mark.parametrize("takes", [amounts(cpus=9), amounts(memory=9 * GIB)])
def test_what_is_larger_than_the_budget_runs_alone(takes: Resources) -> None:
    tasks = [task("a", takes=takes, cost=9), task("b"), task("c")]
    first = first_state(tasks, amounts(slots=3, cpus=8, memory=8 * GIB))

    assert first.oversized == (A,)
    now, said = after(first, BEGIN)
    assert said == starts(A)
    assert after(now, ok(A))[1] == starts(B, C)


def test_nothing_is_emulated_where_no_slot_is_for_it_but_alone() -> None:
    tasks = [task("a", takes=amounts(emulated=1)), task("b")]
    first = first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB, emulated=0))

    assert first.oversized == (A,)
    assert after(first, BEGIN)[1] == starts(A)


def big(name: str, *, needs: str = "") -> Task:
    return task(name, needs=needs, cost=100, takes=amounts(cpus=2))


def test_what_is_too_large_for_now_lets_others_pass() -> None:
    first = first_state(
        [task("a", cost=200), big("b"), task("c")], amounts(slots=3, cpus=2, memory=8 * GIB)
    )

    assert after(first, BEGIN)[1] == starts(A, C)


def test_but_not_for_ever() -> None:
    """b needs both CPUs; as many pass as there are slots, then one stays idle until b ran."""
    small = [task(f"s{number}") for number in range(6)]
    first = first_state(
        [task("a", cost=200), big("b"), *small], amounts(slots=2, cpus=2, memory=8 * GIB)
    )

    now, said = after(first, BEGIN)
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
    now, _ = after(first_state(tasks, amounts(slots=2, cpus=8, memory=8 * GIB, emulated=1)), BEGIN)

    for number in range(5):
        now, said = after(now, ok(TargetId(f"s{number}")))
        assert said == starts(TargetId(f"s{number + 1}"))
    assert after(now, ok(A))[1] == starts(B)


# Attempts


def test_a_passing_failure_rests_and_is_tried_again() -> None:
    now, said = after(state("a", slots=1, retries=TWICE), BEGIN, PASSING)

    assert said == (RetryLater(target_id=A, seconds=10.0),)
    assert not now.over
    now, said = after(now, RetryDue(target_id=A))
    assert said == again(A, 2)
    assert after(now, ok(A))[0].over


def test_the_wait_grows_up_to_its_limit_and_attempts_end() -> None:
    now, _ = after(state("a", slots=1, retries=TWICE), BEGIN, PASSING)
    now, said = after(now, RetryDue(target_id=A), PASSING)
    assert said == (RetryLater(target_id=A, seconds=15.0),)

    now, said = after(now, RetryDue(target_id=A))
    assert said == again(A, 3)
    now, said = after(now, PASSING)
    assert said == ()
    assert now.over
    assert now.targets(TargetPhase.FAILED) == (A,)


def test_half_of_a_wait_is_chance() -> None:
    assert [TWICE.wait(1, jitter) for jitter in (0.0, 0.5, 1.0)] == [5.0, 7.5, 10.0]
    assert Retries(limit=99).wait(10_000, 1.0) == Retries().most


def test_what_rests_takes_nothing() -> None:
    first = state("a", "b", slots=1, retries=TWICE)

    now, said = after(first, BEGIN, PASSING)
    assert said == (RetryLater(target_id=A, seconds=10.0), *starts(B))
    assert after(now, RetryDue(target_id=A))[1] == (), "its slot is taken"
    assert after(now, RetryDue(target_id=A), ok(B))[1] == again(A, 2)
    assert after(now, ok(B), RetryDue(target_id=A))[1] == again(A, 2)


def test_what_needs_something_that_rests_goes_on_waiting() -> None:
    first = state("a", task("b", needs="a"), retries=TWICE)

    now, said = after(first, BEGIN, PASSING)
    assert said == (RetryLater(target_id=A, seconds=10.0),)
    assert after(now, RetryDue(target_id=A), ok(A))[1] == starts(B)
    assert after(now, RetryDue(target_id=A), failed(A))[1] == (lost(B, A),)


def test_fail_fast_waits_for_the_last_attempt() -> None:
    first = state("a", "b", "c", fail_fast=True, retries=Retries(limit=1))

    now, said = after(first, BEGIN, PASSING)
    assert not now.stopping
    assert isinstance(said[0], RetryLater)
    assert said[1:] == starts(C)
    now, said = after(now, ok(B), RetryDue(target_id=A), PASSING)
    assert now.stopping
    assert said == (CancelRunning(),)


def test_ctrl_c_abandons_what_rests() -> None:
    now, said = after(state("a", "b", retries=TWICE), BEGIN, PASSING, STOP)

    assert said == (CancelRunning(), Skip(target_id=A))
    assert after(now, RetryDue(target_id=A)) == (now, ())
    assert after(now, ok(B))[0].over


# The run's limit


def timed(name: str, seconds: float, *, takes: Resources | None = None, needs: str = "") -> Task:
    return task(name, cost=seconds, seconds=seconds, takes=takes, needs=needs)


def test_at_the_limit_what_runs_is_stopped_and_nothing_more_starts() -> None:
    now, said = after(state("a", "b", "c"), left(9), BEGIN, left(0.1))
    assert said == ()
    now, said = after(now, left(0))

    assert said == (CancelRunning(), Skip(target_id=C))
    assert now.stopping
    assert now.out_of_time
    assert not now.over
    now, said = after(now, ok(A), failed(B))
    assert now.over
    assert now.targets(TargetPhase.OK) == (A,), "what came in while stopping is kept"


def test_what_cannot_end_in_time_comes_after_all_that_can() -> None:
    first = state(timed("a", 90), timed("b", 40), timed("c", 30), task("d"), slots=1)

    assert after(first, left(100), BEGIN)[1] == starts(A)
    now, said = after(first, left(60), BEGIN)
    assert said == starts(B)
    now, said = after(now, left(20), ok(B))
    assert said == starts(D), "nobody knows how long d takes"
    now, said = after(now, left(19), ok(D))
    assert said == starts(A), "nothing else is left: an estimate may be wrong"


def test_what_cannot_end_in_time_takes_no_room_from_what_waits_for_some() -> None:
    """c needs both CPUs; a would keep one of them until the limit."""
    tasks = [timed("a", 90), timed("b", 10), timed("c", 20, takes=amounts(cpus=2))]
    first = first_state(tasks, amounts(slots=2, cpus=2, memory=8 * GIB))

    now, said = after(first, left(50), BEGIN)
    assert said == starts(C)
    now, said = after(now, left(30), ok(C))
    assert said == starts(B, A)


def test_time_that_passes_gives_way_to_what_was_held_up() -> None:
    """b waits for two CPUs and lets nobody pass any more, until it is too late for it."""
    small = [timed(f"s{number}", 1) for number in range(4)]
    tasks = [timed("a", 200), timed("b", 100, takes=amounts(cpus=2)), *small]
    now, _ = after(first_state(tasks, amounts(slots=2, cpus=2, memory=8 * GIB)), left(300), BEGIN)
    now, said = after(now, ok(TargetId("s0")), ok(TargetId("s1")))
    assert said == ()

    assert after(now, left(99))[1] == starts(TargetId("s2"))
