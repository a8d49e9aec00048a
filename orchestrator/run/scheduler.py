"""Which target runs when: a pure state machine, ``step(state, event) -> (state, instructions)``.

It knows no clock, no thread and no process. An executor carries out the instructions and reports
back with events, so that every race is a unit test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.models import Status, TargetId


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the scheduler knows.

    Attributes:
        slots: how many targets may run at once, at least 1.
        fail_fast: whether the first failure stops the run.
        pending: targets not started, in order.
        running: targets that were started and have not ended.
        stopping: whether nothing may be started any more.
    """

    slots: int
    fail_fast: bool
    pending: tuple[TargetId, ...]
    running: frozenset[TargetId] = frozenset()
    stopping: bool = False

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
    """This target will never start."""

    target_id: TargetId


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
    match event:
        case Interrupted():
            return _stop(state)
        case Ended(target_id=ended, status=status):
            if ended not in state.running:
                return state, ()
            state = replace(state, running=state.running - {ended})
            if state.fail_fast and status is not Status.OK and not state.stopping:
                return _stop(state)
        case Begun():
            pass
    return _fill(state)


def _stop(state: State) -> tuple[State, tuple[Instruction, ...]]:
    if state.stopping:
        return state, ()
    cancel = (CancelRunning(),) if state.running else ()
    abandon = tuple(Abandon(target_id=each) for each in state.pending)
    return replace(state, stopping=True, pending=()), (*cancel, *abandon)


def _fill(state: State) -> tuple[State, tuple[Instruction, ...]]:
    room = 0 if state.stopping else max(state.slots - len(state.running), 0)
    chosen, rest = state.pending[:room], state.pending[room:]
    state = replace(state, pending=rest, running=state.running | set(chosen))
    return state, tuple(Start(target_id=each) for each in chosen)
