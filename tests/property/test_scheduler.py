"""Whatever happens in whatever order: limits hold, nothing is lost, and it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models import Status, TargetId
from orchestrator.run.scheduler import (
    Abandon,
    Begun,
    CancelRunning,
    Ended,
    Instruction,
    Interrupted,
    Start,
    State,
    step,
)

TARGETS = [TargetId(f"t{number}") for number in range(12)]


@dataclass
class World:
    """An executor that does what it is told, and keeps the books."""

    state: State
    running: list[TargetId] = field(default_factory=list)
    started: list[TargetId] = field(default_factory=list)
    ended: list[TargetId] = field(default_factory=list)
    well: set[TargetId] = field(default_factory=set)
    abandoned: list[TargetId] = field(default_factory=list)
    cancels: int = 0

    def hear(self, event: Begun | Ended | Interrupted) -> None:
        self.state, instructions = step(self.state, event)
        for each in instructions:
            self.obey(each)
        assert len(self.running) <= self.state.slots
        assert set(self.running) == self.state.running

    def obey(self, instruction: Instruction) -> None:
        match instruction:
            case Start(target_id=target):
                assert not self.state.stopping, "started something after giving up"
                assert target not in self.started
                assert target not in self.abandoned
                assert self.state.needs.get(target, frozenset()) <= self.well
                self.started.append(target)
                self.running.append(target)
            case Abandon(target_id=target, because=because):
                assert target not in self.started
                if because is None:
                    assert self.state.stopping
                else:
                    assert because in self.state.needs[target]
                    assert because not in self.well
                self.abandoned.append(target)
            case CancelRunning():
                self.cancels += 1

    def end(self, target: TargetId, status: Status) -> None:
        if target in self.running:
            self.running.remove(target)
            self.ended.append(target)
            if status is Status.OK:
                self.well.add(target)
        self.hear(Ended(target_id=target, status=status))


@st.composite
def needing(draw: st.DrawFn, count: int) -> dict[TargetId, frozenset[TargetId]]:
    """What each target needs: some that come before it, sometimes one that is not there."""
    found = {}
    for index in range(1, count):
        some = st.sampled_from([*TARGETS[:index], *([ABSENT] if draw(st.booleans()) else [])])
        found[TARGETS[index]] = draw(st.frozensets(some, max_size=2))
    return found


ABSENT = TargetId("absent")

EVENT = st.one_of(
    st.just("interrupt"),
    st.just("begin again"),
    st.tuples(st.integers(0, 20), st.sampled_from(Status)),
    st.tuples(st.sampled_from(TARGETS), st.sampled_from(Status)),
)


@given(
    st.integers(0, len(TARGETS)),
    st.integers(1, 5),
    st.booleans(),
    st.lists(EVENT, max_size=40),
    st.data(),
)
def test_any_order_of_events(
    count: int,
    slots: int,
    fail_fast: bool,  # noqa: FBT001 - drawn
    events: list[str | tuple[int | TargetId, Status]],
    data: st.DataObject,
) -> None:
    targets = tuple(TARGETS[:count])
    needs = data.draw(needing(count))
    world = World(State(slots=slots, fail_fast=fail_fast, pending=targets, needs=needs))
    if data.draw(st.booleans()):
        world.hear(Interrupted())
    world.hear(Begun())

    for event in events:
        match event:
            case "interrupt":
                world.hear(Interrupted())
            case "begin again":
                world.hear(Begun())
            case int() as index, status:
                # One that runs, whichever.
                if world.running:
                    world.end(world.running[index % len(world.running)], status)
            case target, status:
                # Any, whether it runs or not: an event may come late, twice or out of nowhere.
                world.end(TargetId(str(target)), status)

    steps = 0
    while not world.state.over:
        assert world.running, "waits for an end that cannot come"
        world.end(world.running[0], Status.OK)
        steps += 1
        assert steps <= count, "does not terminate"

    assert sorted(world.ended + world.abandoned) == sorted(targets)
    assert any(needs.values()) or world.started == [t for t in targets if t in world.started]
    assert world.cancels <= 1
    assert world.state.stopping or set(world.abandoned) == lost(targets, needs, world.well)
    assert not world.state.pending


def lost(
    targets: tuple[TargetId, ...],
    needs: dict[TargetId, frozenset[TargetId]],
    well: set[TargetId],
) -> set[TargetId]:
    """What needs, directly or not, a target that has not ended well."""
    return {each for each in targets if not needs.get(each, frozenset()) <= well}


@given(st.integers(1, 12), st.integers(1, 5), st.data())
def test_without_trouble_everything_runs_and_slots_are_never_idle(
    count: int, slots: int, data: st.DataObject
) -> None:
    targets = tuple(TARGETS[:count])
    world = World(State(slots=slots, fail_fast=False, pending=targets))
    world.hear(Begun())
    while world.running:
        assert len(world.running) == min(slots, count - len(world.ended))
        world.end(data.draw(st.sampled_from(world.running)), data.draw(st.sampled_from(Status)))

    assert world.started == list(targets)
    assert world.state.over
