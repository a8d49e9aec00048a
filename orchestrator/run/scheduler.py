"""Which target runs when: a pure state machine, ``step(state, event) -> (state, instructions)``.

It knows no clock, no thread and no process. An executor carries out the instructions and reports
back with events, so that every race is a unit test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.models import Status, TargetId

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the scheduler knows.

    Attributes:
        slots: how many targets may run at once, at least 1.
        fail_fast: whether the first failure stops the run.
        pending: targets not started, in order.
        running: targets that were started and have not ended.
        stopping: whether nothing may be started any more.
        needs: target -> the targets that must have ended well before it may start. A target that
            is missing here needs nothing.
        done: targets that have ended well.
    """

    slots: int
    fail_fast: bool
    pending: tuple[TargetId, ...]
    running: frozenset[TargetId] = frozenset()
    stopping: bool = False
    needs: Mapping[TargetId, frozenset[TargetId]] = field(default_factory=dict)
    done: frozenset[TargetId] = frozenset()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self.running and (self.stopping or not self.pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A running target ended."""

    target_id: TargetId
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The user wants to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start this target now."""

    target_id: TargetId


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRunning:
    """Stop everything that runs; each target still reports its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """This target will never start.

    Attributes:
        target_id: the target.
        because: the target it needs and that has not ended well; None when the run stops.
    """

    target_id: TargetId
    because: TargetId | None = None


Event = Begun | Ended | Interrupted
Instruction = Start | CancelRunning | Abandon


def step(state: State, event: Event) -> tuple[State, tuple[Instruction, ...]]:
    """Advance by one event.

    Args:
        state: the state before.
        event: what happened. The end of a target that does not run is ignored.

    Returns:
        The state after, and what to do, in order.
    """
    abandoned: tuple[Instruction, ...] = ()
    match event:
        case Interrupted():
            return _stop(state)
        case Ended(target_id=ended, status=status):
            if ended not in state.running:
                return state, ()
            state = replace(state, running=state.running - {ended})
            if status is Status.OK:
                state = replace(state, done=state.done | {ended})
            elif state.fail_fast and not state.stopping:
                return _stop(state)
            else:
                state, abandoned = _without(state, ended)
        case Begun():
            state, abandoned = _without(state, *_missing(state))
    state, started = _fill(state)
    return state, (*abandoned, *started)


def _stop(state: State) -> tuple[State, tuple[Instruction, ...]]:
    if state.stopping:
        return state, ()
    cancel = (CancelRunning(),) if state.running else ()
    abandon = tuple(Abandon(target_id=each) for each in state.pending)
    return replace(state, stopping=True, pending=()), (*cancel, *abandon)


def _missing(state: State) -> frozenset[TargetId]:
    """What is needed and not in this run: waiting for it would never end."""
    known = {*state.pending, *state.running, *state.done}
    needed = (need for each in state.pending for need in state.needs.get(each, ()))
    return frozenset(each for each in needed if each not in known)


def _without(state: State, *failed: TargetId) -> tuple[State, tuple[Instruction, ...]]:
    """Abandon what needs a target that has no result, and what needs that in turn."""
    lost = set(failed)
    abandoned: list[Instruction] = []
    for each in state.pending:  # in plan order: what a target needs comes before it
        because = min(lost & state.needs.get(each, frozenset()), default=None)
        if because is not None:
            lost.add(each)
            abandoned.append(Abandon(target_id=each, because=because))
    pending = tuple(each for each in state.pending if each not in lost)
    return replace(state, pending=pending), tuple(abandoned)


def _fill(state: State) -> tuple[State, tuple[Instruction, ...]]:
    room = 0 if state.stopping else max(state.slots - len(state.running), 0)
    chosen: list[TargetId] = []
    rest: list[TargetId] = []
    for index, each in enumerate(state.pending):
        if len(chosen) == room:
            rest += state.pending[index:]
            break
        ready = state.needs.get(each, frozenset()) <= state.done
        (chosen if ready else rest).append(each)
    state = replace(state, pending=tuple(rest), running=state.running | set(chosen))
    return state, tuple(Start(target_id=each) for each in chosen)
