"""The local executor: real threads, builds that are played."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from orchestrator.host.process import Cancel
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import TargetId
from orchestrator.run.executors import local
from orchestrator.run.executors.local import LocalRun
from orchestrator.run.scheduler import Resources, Retries, Task, first_state
from tests import factories

PATIENCE = 20.0
"""Seconds after which a test that hangs fails instead."""

IDS = tuple(TargetId(f"t{number}") for number in range(8))


def result(
    target_id: TargetId, status: Status = Status.OK, *, transient: bool = False
) -> BuildResult:
    failure = Failure(kind=FailureKind.CANCELLED, message="played", transient=transient)
    return factories.result(target_id, status, failure=None if status is Status.OK else failure)


@dataclass
class Ear:
    """A listener that remembers; `on_started` may do mischief in the main thread."""

    heard: list[str] = field(default_factory=list)
    on_started: Callable[[TargetId], object] = lambda _target: None
    on_ended: Callable[[TargetId], object] = lambda _target: None
    on_resting: Callable[[float], object] = lambda _seconds: None

    def started(self, target_id: TargetId) -> None:
        self.heard.append(f"started {target_id}")
        self.on_started(target_id)

    def step(self, target_id: TargetId, name: str) -> None:
        self.heard.append(f"step {target_id} {name}")

    def waits(self, target_id: TargetId, sentence: str) -> None:
        self.heard.append(f"waits {target_id} {sentence}")

    def resting(self, result: BuildResult, seconds: float) -> None:
        self.heard.append(f"resting {result.target_id} {result.attempts}")
        self.on_resting(seconds)

    def ended(self, result: BuildResult) -> None:
        self.heard.append(f"ended {result.target_id} {result.status}")
        self.on_ended(result.target_id)

    def stopping(self) -> None:
        self.heard.append("stopping")


@dataclass(frozen=True)
class Played:
    """What the executor calls."""

    build: Callable[[TargetId, int], BuildResult]
    abandon: Callable[[TargetId, TargetId | None], BuildResult]
    crashed: Callable[[TargetId, BaseException], BuildResult]
    share: Callable[[TargetId, int], None]
    release: Callable[..., None]

    def execute(self, target_id: TargetId, attempt: int) -> BuildResult:
        return self.build(target_id, attempt)


@dataclass
class Stage:
    """What one test plays on."""

    ear: Ear = field(default_factory=Ear)
    cancel: Cancel = field(default_factory=Cancel)
    abandoned: list[TargetId] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    shares: list[tuple[TargetId, int]] = field(default_factory=list)

    def share(self, target_id: TargetId, beside: int) -> None:
        self.shares.append((target_id, beside))

    def release(self, target_id: TargetId, *, starved: bool) -> None:
        self.shares.append((target_id, -2 if starved else -1))

    def run(
        self,
        execute: Callable[[TargetId], BuildResult],
        *,
        count: int = len(IDS),
        slots: int = 2,
        fail_fast: bool = False,
    ) -> dict[TargetId, BuildResult]:
        return self.attempts(
            lambda target_id, _attempt: execute(target_id),
            count=count,
            slots=slots,
            fail_fast=fail_fast,
        )

    def attempts(  # noqa: PLR0913 - keyword-only
        self,
        build: Callable[[TargetId, int], BuildResult],
        *,
        count: int = len(IDS),
        slots: int = 2,
        fail_fast: bool = False,
        retries: Retries | None = None,
        deadline: float | None = None,
    ) -> dict[TargetId, BuildResult]:
        each = Resources(slots=1, millicpus=1, memory=1, emulated=0)
        state = first_state(
            [Task(target_id=name, takes=each) for name in IDS[:count]],
            Resources(slots=slots, millicpus=slots, memory=slots, emulated=0),
            fail_fast=fail_fast,
            retries=retries,
        )
        calls = Played(
            build=build,
            abandon=self.abandon,
            crashed=self.crashed,
            share=self.share,
            release=self.release,
        )
        run = LocalRun(
            state,
            calls,
            listener=self.ear,
            cancel=self.cancel,
            deadline=deadline,
            chance=lambda: 1.0,
        )
        return dict(run.run())

    def crashed(self, target_id: TargetId, error: BaseException) -> BuildResult:
        self.crashes.append(error)
        return result(target_id, Status.FAILED)

    def abandon(self, target_id: TargetId, because: TargetId | None) -> BuildResult:
        assert because is None
        self.abandoned.append(target_id)
        return result(target_id, Status.CANCELLED)

    def until_cancelled(self, target_id: TargetId) -> BuildResult:
        """A build that runs until it is stopped."""
        waited = threading.Event()
        for _ in range(int(PATIENCE / 0.01)):
            if self.cancel.is_set():
                return result(target_id, Status.CANCELLED)
            waited.wait(0.01)
        pytest.fail("nobody cancelled")


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(autouse=True)
def signals_are_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_every_target_has_its_result(stage: Stage) -> None:
    found = stage.run(result)

    assert set(found) == set(IDS)
    assert all(each.target_id == name for name, each in found.items())
    assert [line for line in stage.ear.heard if line.startswith("started")] == [
        f"started {each}" for each in IDS
    ]
    assert sorted(line for line in stage.ear.heard if line.startswith("ended")) == [
        f"ended {each} ok" for each in IDS
    ]
    assert not stage.cancel.is_set()


def test_who_starts_hears_how_many_may_start_beside_it() -> None:
    stage = Stage()
    stage.run(result, count=3, slots=4)

    # The fourth place stays empty: nobody is left for it.
    assert [share for share in stage.shares if share[1] >= 0] == [
        (IDS[0], 2),
        (IDS[1], 1),
        (IDS[2], 0),
    ]
    assert sorted(name for name, beside in stage.shares if beside < 0) == sorted(IDS[:3])


def test_places_that_are_taken_count_for_nobody() -> None:
    stage = Stage()
    stage.run(result, count=3, slots=1)

    assert [beside for _, beside in stage.shares] == [0, -1, 0, -1, 0, -1]


def test_what_ran_out_of_memory_is_tried_again_alone() -> None:
    stage = Stage()
    running: set[TargetId] = set()
    beside: list[set[TargetId]] = []

    def build(target_id: TargetId, attempt: int) -> BuildResult:
        running.add(target_id)
        if attempt > 1:
            beside.append(running - {target_id})
        running.discard(target_id)
        if target_id == IDS[0] and attempt == 1:
            failure = Failure(kind=FailureKind.MEMORY, message="Killed")
            return factories.result(target_id, Status.FAILED, failure=failure)
        return result(target_id)

    found = stage.attempts(build, count=3, slots=2)

    assert {each.status for each in found.values()} == {Status.OK}
    assert found[IDS[0]].attempts == 2
    assert beside == [set()]
    assert (IDS[0], -2) in stage.shares


def test_nothing_to_do(stage: Stage) -> None:
    assert stage.run(result, count=0) == {}


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_as_many_at_once_as_there_are_slots(stage: Stage, slots: int) -> None:
    meet = threading.Barrier(slots)
    lock = threading.Lock()
    now: set[TargetId] = set()
    most = 0

    def execute(target_id: TargetId) -> BuildResult:
        nonlocal most
        with lock:
            now.add(target_id)
            most = max(most, len(now))
        # Only passes when all slots are really in use at the same time.
        meet.wait(PATIENCE)
        with lock:
            now.remove(target_id)
        return result(target_id)

    stage.run(execute, slots=slots, count=slots * 2)

    assert most == slots


def test_one_failure_does_not_stop_the_others(stage: Stage) -> None:
    found = stage.run(lambda each: result(each, Status.FAILED if each == IDS[0] else Status.OK))

    assert [each.status for each in found.values()].count(Status.OK) == len(IDS) - 1
    assert not stage.cancel.is_set()


def test_fail_fast_stops_what_runs_and_starts_nothing_more(stage: Stage) -> None:
    other_runs = threading.Event()

    def execute(target_id: TargetId) -> BuildResult:
        if target_id == IDS[0]:
            assert other_runs.wait(PATIENCE)
            return result(target_id, Status.FAILED)
        other_runs.set()
        return stage.until_cancelled(target_id)

    found = stage.run(execute, fail_fast=True)

    assert [found[each].status for each in IDS] == [Status.FAILED] + [Status.CANCELLED] * 7
    assert stage.abandoned == list(IDS[2:])
    assert "stopping" not in stage.ear.heard


def interrupts() -> list[signal.Signals]:
    """Ctrl-C, and the SIGTERM of a CI system, as `orchestrator build` sets it up."""
    return [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(params=interrupts())
def interrupt(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    number: signal.Signals = request.param
    before = signal.signal(number, signal.default_int_handler)
    yield lambda: _thread.interrupt_main(number)
    signal.signal(number, before)


def check_interrupted(stage: Stage, found: dict[TargetId, BuildResult], kept: int) -> None:
    """Finished results are kept, all others are cancelled, and every target was reported."""
    assert [found[each].status for each in IDS[:kept]] == [Status.OK] * kept
    assert {found[each].status for each in IDS[kept:]} == {Status.CANCELLED}
    assert set(found) == set(IDS)
    assert stage.cancel.is_set()
    assert "stopping" in stage.ear.heard
    assert len([line for line in stage.ear.heard if line.startswith("ended")]) == len(IDS)


def test_ctrl_c_while_waiting(stage: Stage, interrupt: Callable[[], None]) -> None:
    def execute(target_id: TargetId) -> BuildResult:
        if target_id == IDS[0]:
            return result(target_id)
        if target_id == IDS[2]:
            interrupt()
        return stage.until_cancelled(target_id)

    found = stage.run(execute)

    check_interrupted(stage, found, kept=1)
    assert stage.abandoned == list(IDS[3:])


@pytest.mark.parametrize(
    ("moment", "which"),
    [("on_started", IDS[2]), ("on_ended", IDS[0])],
    ids=["being started", "ending"],
)
def test_ctrl_c_at_the_very_moment_of_an_event(
    stage: Stage, interrupt: Callable[[], None], moment: str, which: TargetId
) -> None:
    """The main thread is busy: drawing, starting. An exception there would lose the results."""
    setattr(stage.ear, moment, lambda target_id: interrupt() if target_id == which else None)

    def execute(target_id: TargetId) -> BuildResult:
        return result(target_id) if target_id == IDS[0] else stage.until_cancelled(target_id)

    check_interrupted(stage, stage.run(execute), kept=1)


def test_ctrl_c_twice_still_waits_for_programs_to_end(
    stage: Stage, interrupt: Callable[[], None]
) -> None:
    again = threading.Event()

    def execute(target_id: TargetId) -> BuildResult:
        if target_id == IDS[0]:
            interrupt()
            found = stage.until_cancelled(target_id)
            interrupt()
            again.set()
            return found
        assert again.wait(PATIENCE)
        return stage.until_cancelled(target_id)

    check_interrupted(stage, stage.run(execute), kept=0)


def test_a_real_signal(stage: Stage) -> None:
    """Not played: the kernel delivers it while the main thread waits."""
    # Who starts the tests in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stop = threading.Timer(0.1, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    stage.ear.on_started = lambda target: stop.start() if target == IDS[0] else None
    try:
        check_interrupted(stage, stage.run(stage.until_cancelled), kept=0)
    finally:
        stop.join()
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_somebody_else_stays(stage: Stage) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        stage.ear.on_started = lambda _target: _thread.interrupt_main(signal.SIGTERM)
        found = stage.run(result, count=1)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert heard == [signal.SIGTERM]
    assert found[IDS[0]].status is Status.OK


def test_it_runs_in_any_thread(stage: Stage) -> None:
    found: dict[TargetId, BuildResult] = {}
    thread = threading.Thread(target=lambda: found.update(stage.run(result)))
    thread.start()
    thread.join(PATIENCE)

    assert set(found) == set(IDS)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), SystemExit(3), MemoryError()])
def test_a_thread_that_dies_is_one_failed_target_and_the_others_go_on(
    stage: Stage, error: BaseException
) -> None:
    def execute(target_id: TargetId) -> BuildResult:
        if target_id == IDS[1]:
            raise error
        return result(target_id)

    found = stage.run(execute)

    assert stage.crashes == [error]
    assert found.pop(IDS[1]).status is Status.FAILED
    assert {each.status for each in found.values()} == {Status.OK}
    assert not stage.cancel.is_set()


def test_a_system_without_another_thread_fails_one_target(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith(IDS[1]):
            message = "can't start new thread"
            raise RuntimeError(message)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = stage.run(result)

    assert [str(each) for each in stage.crashes] == ["can't start new thread"]
    assert found[IDS[1]].status is Status.FAILED
    assert len(found) == len(IDS)


def test_a_bug_of_the_listener_comes_out_after_the_others_were_stopped(stage: Stage) -> None:
    stopped: list[TargetId] = []
    other_runs = threading.Event()

    def mischief(_target: TargetId) -> None:
        message = "a bug"
        raise RuntimeError(message)

    stage.ear.on_ended = mischief

    def execute(target_id: TargetId) -> BuildResult:
        if target_id == IDS[0]:
            assert other_runs.wait(PATIENCE)
            return result(target_id)
        other_runs.set()
        found = stage.until_cancelled(target_id)
        stopped.append(target_id)
        return found

    with pytest.raises(RuntimeError, match="a bug"):
        stage.run(execute)

    # Not only told to stop: by the time the error is out, it has.
    assert stopped == [IDS[1]]
    assert stage.cancel.is_set()


def test_a_result_says_in_which_slot_it_was_made(stage: Stage) -> None:
    meet = threading.Barrier(2)

    def execute(target_id: TargetId) -> BuildResult:
        meet.wait(PATIENCE)
        return result(target_id)

    found = stage.run(execute, count=4)

    assert sorted(str(each.slot) for each in found.values()) == ["0", "0", "1", "1"]
    assert {each.attempts for each in found.values()} == {1}


# Attempts

AT_ONCE = Retries(limit=2, first=0.0)


def test_what_failed_for_the_moment_is_tried_again(stage: Stage) -> None:
    tries: list[tuple[TargetId, int]] = []

    def build(target_id: TargetId, attempt: int) -> BuildResult:
        tries.append((target_id, attempt))
        well = target_id != IDS[0] or attempt == 3
        return result(target_id, Status.OK if well else Status.FAILED, transient=True)

    found = stage.attempts(build, count=2, slots=1, retries=AT_ONCE)

    assert [attempt for each, attempt in tries if each == IDS[0]] == [1, 2, 3]
    assert (found[IDS[0]].status, found[IDS[0]].attempts) == (Status.OK, 3)
    assert found[IDS[1]].attempts == 1
    about = [line for line in stage.ear.heard if IDS[0] in line]
    assert about == [
        "started t0",
        "resting t0 1",
        "started t0",
        "resting t0 2",
        "started t0",
        "ended t0 ok",
    ]


@pytest.mark.parametrize(
    ("transient", "attempts"), [(True, 3), (False, 1)], ids=["for the moment", "for good"]
)
def test_the_last_attempt_of_a_failure_counts(
    stage: Stage, attempts: int, *, transient: bool
) -> None:
    found = stage.attempts(
        lambda each, _attempt: result(each, Status.FAILED, transient=transient), retries=AT_ONCE
    )

    assert {(each.status, each.attempts) for each in found.values()} == {(Status.FAILED, attempts)}


def test_ctrl_c_while_a_target_rests_says_what_failed_last(
    stage: Stage, interrupt: Callable[[], None]
) -> None:
    """The wait would take an hour: that the test ends shows that nobody waits for it."""
    stage.ear.on_resting = lambda _seconds: interrupt()

    found = stage.attempts(
        lambda each, _attempt: result(each, Status.FAILED, transient=True),
        count=1,
        retries=Retries(limit=1, first=3600.0, most=3600.0),
    )

    assert found[IDS[0]].status is Status.CANCELLED
    failure = found[IDS[0]].failure
    assert failure is not None
    assert failure.message == "the run ended before attempt 2; the last one: played"
    assert (found[IDS[0]].attempts, found[IDS[0]].slot) == (1, 0)


def test_a_clock_that_is_set_neither_hurries_nor_holds_up_the_next_attempt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the monotonic clock counts: the other one jumps between any two looks at it."""
    jumps = iter(range(0, 10**9, 10**6))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)) * (-1) ** len(stage.ear.heard))

    found = stage.attempts(
        lambda each, attempt: result(
            each, Status.OK if attempt > 1 else Status.FAILED, transient=True
        ),
        count=3,
        retries=Retries(limit=1, first=0.05),
    )

    assert {(each.status, each.attempts) for each in found.values()} == {(Status.OK, 2)}


# The run's limit


@dataclass
class Clock:
    """The executor's clock, which stands still until a test moves it."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(local, "time", clock)
    return clock


def test_at_the_limit_what_runs_is_stopped_and_all_results_are_there(
    stage: Stage, clock: Clock
) -> None:
    def build(target_id: TargetId, _attempt: int) -> BuildResult:
        if target_id == IDS[0]:
            return result(target_id)
        if target_id == IDS[2]:
            clock.now = 60.0
        return stage.until_cancelled(target_id)

    found = stage.attempts(build, deadline=60.0)

    check_interrupted(stage, found, kept=1)
    kinds = {name: each.failure.kind for name, each in found.items() if each.failure is not None}
    assert kinds == dict.fromkeys(IDS[1:], FailureKind.OUT_OF_TIME)
    said = [found[each].failure for each in IDS]
    assert [each.message for each in said if each is not None] == [
        "stopped before the job's limit"
    ] * 2 + ["no time left to start it"] * 5


def test_a_limit_that_is_over_already_starts_nothing(stage: Stage, clock: Clock) -> None:
    found = stage.attempts(lambda *_: pytest.fail("started"), deadline=-1.0)

    assert {each.status for each in found.values()} == {Status.CANCELLED}
    assert stage.abandoned == list(IDS)
    assert "stopping" not in stage.ear.heard


def test_a_limit_cuts_the_wait_for_another_attempt_short(stage: Stage, clock: Clock) -> None:
    stage.ear.on_resting = lambda _: setattr(clock, "now", 60.0)
    found = stage.attempts(
        lambda target_id, _: result(target_id, Status.FAILED, transient=True),
        count=1,
        retries=Retries(limit=1, first=600.0),
        deadline=60.0,
    )

    failure = found[IDS[0]].failure
    assert failure is not None
    assert (failure.kind, found[IDS[0]].attempts) == (FailureKind.OUT_OF_TIME, 1)


def test_a_run_that_ends_before_its_limit_is_not_stopped(stage: Stage, clock: Clock) -> None:
    found = stage.attempts(lambda each, _: result(each), deadline=60.0)

    assert {each.status for each in found.values()} == {Status.OK}
    assert not stage.cancel.is_set()
