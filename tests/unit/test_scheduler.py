"""The scheduler's races, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.models import Status, TargetId
from orchestrator.run.scheduler import (
    Abandon,
    Begun,
    CancelRunning,
    Ended,
    Event,
    Instruction,
    Interrupted,
    Start,
    State,
    step,
)

A, B, C, D = (TargetId(name) for name in "abcd")


def state(*pending: TargetId, slots: int = 2, fail_fast: bool = False) -> State:
    return State(slots=slots, fail_fast=fail_fast, pending=pending)


def ok(target: TargetId) -> Ended:
    return Ended(target_id=target, status=Status.OK)


def failed(target: TargetId) -> Ended:
    return Ended(target_id=target, status=Status.FAILED)


def after(first: State, *events: Event) -> tuple[State, tuple[Instruction, ...]]:
    """The state after all events, and the instructions of the last one."""
    now = first
    said: tuple[Instruction, ...] = ()
    for event in events:
        now, said = step(now, event)
    return now, said


def starts(*targets: TargetId) -> tuple[Instruction, ...]:
    return tuple(Start(target_id=each) for each in targets)


def test_it_fills_the_slots_in_order() -> None:
    now, said = after(state(A, B, C), Begun())

    assert said == starts(A, B)
    assert now.running == {A, B}
    assert now.pending == (C,)
    assert not now.over


def test_an_end_makes_room_for_the_next() -> None:
    now, said = after(state(A, B, C, D), Begun(), ok(B))

    assert said == starts(C)
    assert now.running == {A, C}


def test_a_failure_does_not_stop_the_others() -> None:
    now, said = after(state(A, B, C), Begun(), failed(A))

    assert said == starts(C)
    assert not now.stopping


def test_it_is_over_when_the_last_one_ended() -> None:
    now, said = after(state(A, B), Begun(), ok(B), failed(A))

    assert said == ()
    assert now.over


def test_nothing_to_do_is_over_at_once() -> None:
    assert state().over
    assert after(state(), Begun()) == (state(), ())


def test_fail_fast_cancels_what_runs_and_abandons_the_rest() -> None:
    now, said = after(state(A, B, C, D, fail_fast=True), Begun(), failed(A))

    assert said == (CancelRunning(), Abandon(target_id=C), Abandon(target_id=D))
    assert now.stopping
    assert now.running == {B}
    assert not now.over


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_fail_fast_stops_at_whatever_is_not_ok(status: Status) -> None:
    _, said = after(
        state(A, B, slots=1, fail_fast=True), Begun(), Ended(target_id=A, status=status)
    )

    assert said == (Abandon(target_id=B),)


def test_fail_fast_goes_on_after_a_success() -> None:
    assert after(state(A, B, slots=1, fail_fast=True), Begun(), ok(A))[1] == starts(B)


def test_the_cancelled_ones_end_without_being_cancelled_again() -> None:
    now, said = after(
        state(A, B, C, fail_fast=True),
        Begun(),
        failed(A),
        Ended(target_id=B, status=Status.CANCELLED),
    )

    assert said == ()
    assert now.over


def test_ctrl_c_cancels_and_abandons() -> None:
    now, said = after(state(A, B, C), Begun(), Interrupted())

    assert said == (CancelRunning(), Abandon(target_id=C))
    assert now.running == {A, B}
    assert not now.over
    assert after(now, ok(A), ok(B))[0].over


def test_a_second_ctrl_c_changes_nothing() -> None:
    once, _ = after(state(A, B, C), Begun(), Interrupted())

    assert after(once, Interrupted()) == (once, ())


def test_ctrl_c_before_anything_started() -> None:
    now, said = after(state(A, B), Interrupted())

    assert said == (Abandon(target_id=A), Abandon(target_id=B))
    assert now.over
    assert after(now, Begun()) == (now, ())


def test_ctrl_c_after_the_last_one() -> None:
    now, said = after(state(A), Begun(), ok(A), Interrupted())

    assert said == ()
    assert now.over


def test_a_failure_while_stopping_does_not_stop_again() -> None:
    now, said = after(state(A, B, C, fail_fast=True), Begun(), Interrupted(), failed(A))

    assert said == ()
    assert now.running == {B}


@pytest.mark.parametrize("target", [C, TargetId("never heard of")])
def test_the_end_of_what_does_not_run_is_ignored(target: TargetId) -> None:
    now, _ = after(state(A, B, C), Begun())

    assert after(now, ok(target)) == (now, ())


def test_a_late_failure_of_what_does_not_run_does_not_stop_the_run() -> None:
    now, _ = after(state(A, B, C, fail_fast=True), Begun(), ok(A))

    assert after(now, failed(A)) == (now, ())


def test_the_same_end_twice_counts_once() -> None:
    now, said = after(state(A, B, C, D), Begun(), ok(A), ok(A))

    assert said == ()
    assert now.running == {B, C}


def test_more_slots_than_targets() -> None:
    assert after(state(A, slots=9), Begun())[1] == starts(A)


def test_begun_twice_starts_nothing_twice() -> None:
    now, _ = after(state(A, B, C), Begun())

    assert after(now, Begun()) == (now, ())


# Needs


def needing(*pending: TargetId, slots: int = 2, fail_fast: bool = False, **on: str) -> State:
    """``needing(A, B, b="a")``: B needs A."""
    needs = {
        TargetId(name): frozenset(TargetId(each) for each in letters)
        for name, letters in on.items()
    }
    return State(slots=slots, fail_fast=fail_fast, pending=pending, needs=needs)


def lost(target: TargetId, because: TargetId) -> Instruction:
    return Abandon(target_id=target, because=because)


def test_what_needs_others_starts_after_all_of_them() -> None:
    first = needing(A, B, C, D, slots=4, c="ab")

    now, said = after(first, Begun())
    assert said == starts(A, B, D)
    assert after(now, ok(A))[1] == ()
    assert after(now, ok(A), ok(B))[1] == starts(C)
    assert after(now, ok(B), ok(A))[1] == starts(C)


def test_what_waits_does_not_hold_up_what_could_run() -> None:
    now, said = after(needing(A, B, C, slots=2, b="a"), Begun())

    assert said == starts(A, C)
    assert now.pending == (B,)


def test_what_needs_a_failure_is_abandoned_and_says_why_and_the_rest_goes_on() -> None:
    first = needing(A, B, C, D, slots=1, b="a", c="b")

    now, said = after(first, Begun(), failed(A))
    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_whatever_is_not_ok_is_no_result_to_build_with(status: Status) -> None:
    _, said = after(needing(A, B, b="a"), Begun(), Ended(target_id=A, status=status))

    assert said == (lost(B, A),)


def test_two_failures_name_the_first_by_name_on_every_machine() -> None:
    first = needing(A, B, C, D, slots=2, c="ba", d="ab")

    assert after(first, Begun(), failed(B))[1] == (lost(C, B), lost(D, B))
    assert after(needing(C, D, c="ba", d="cba"), Begun())[1] == (lost(C, A), lost(D, A))


def test_what_needs_something_outside_the_run_is_abandoned_at_once() -> None:
    now, said = after(needing(B, C, D, b="a", c="b"), Begun())

    assert said == (lost(B, A), lost(C, B), *starts(D))
    assert after(now, ok(D))[0].over


def test_fail_fast_abandons_what_waits_with_everything_else() -> None:
    now, said = after(needing(A, B, C, D, fail_fast=True, c="a", d="b"), Begun(), failed(A))

    assert said == (CancelRunning(), Abandon(target_id=C), Abandon(target_id=D))
    assert not now.over


def test_ctrl_c_abandons_what_waits() -> None:
    now, said = after(needing(A, B, b="a"), Begun(), Interrupted())

    assert said == (CancelRunning(), Abandon(target_id=B))
    assert after(now, ok(A)) == (replace(now, running=frozenset(), done=frozenset({A})), ())


def test_a_state_is_a_value() -> None:
    first = state(A, B)
    step(first, Begun())

    assert first == replace(first, running=frozenset(), pending=(A, B))
