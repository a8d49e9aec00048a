"""The `local` executor: each target runs in a thread of this process, with its own programs."""

from __future__ import annotations

import heapq
import queue
import random
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from orchestrator.models.result import Failure, FailureKind, Status
from orchestrator.run import scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import TargetId


class Listener(Protocol):
    """Hears what happens, from any thread."""

    def started(self, target_id: TargetId) -> None:
        """A target began."""

    def step(self, target_id: TargetId, name: str) -> None:
        """A target's step began."""

    def waits(self, target_id: TargetId, sentence: str) -> None:
        """A target's step has waited for long, or moves again."""

    def resting(self, result: BuildResult, seconds: float) -> None:
        """An attempt failed, and the next one starts after so many seconds."""

    def ended(self, result: BuildResult) -> None:
        """A target ended."""

    def stopping(self) -> None:
        """The run is being stopped."""


class ExecutorCalls(Protocol):
    """What `LocalRun` calls."""

    def share(self, target_id: TargetId, beside: int) -> None:
        """Give a target that starts now its part; so many others may still start beside it."""

    def release(self, target_id: TargetId, *, starved: bool) -> None:
        """Take the part of a target back that ended, perhaps for want of memory."""

    def execute(self, target_id: TargetId, attempt: int) -> BuildResult:
        """Build one target, in a thread of its own; must not raise for a failed build."""

    def abandon(self, target_id: TargetId, because: TargetId | None) -> BuildResult:
        """Return the result of a target that is skipped, given the one it needed."""

    def crashed(self, target_id: TargetId, error: BaseException) -> BuildResult:
        """Return the result of a target whose thread died of a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """A thread's work, and how it ended."""

    target_id: TargetId
    number: int
    slot: int
    outcome: BuildResult | BaseException


class _Stop:
    """Ctrl-C."""


SOON = 0.2
"""The longest wait in seconds: on some platforms Ctrl-C cannot interrupt an endless one."""


class LocalRun:
    """One run of many targets."""

    def __init__(  # noqa: PLR0913 - mostly keywords
        self,
        state: scheduler.SchedulerState,
        calls: ExecutorCalls,
        *,
        listener: Listener,
        cancel: Cancel,
        deadline: float | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare a run from the scheduler's first state; a deadline is one of `time.monotonic`."""
        self._state = state
        self._calls = calls
        self._listener = listener
        self._cancel = cancel
        self._deadline = deadline
        self._chance = chance
        self._events: queue.SimpleQueue[_Attempt | _Stop] = queue.SimpleQueue()
        self._results: dict[TargetId, BuildResult] = {}
        self._failed: dict[TargetId, BuildResult] = {}
        """The last result of the targets that wait for their next attempt."""
        self._timers: list[tuple[float, TargetId]] = []
        self._slots: set[int] = set()
        self._threads: dict[TargetId, threading.Thread] = {}

    def run(self) -> Mapping[TargetId, BuildResult]:
        """Run to the end, also after an interrupt, and return every target's result.

        Raises:
            Exception: a bug of the executor or the listener; the workers are stopped first.
        """
        with self._signals():
            try:
                self._check_time()
                self._advance(scheduler.RunStarted())
                while not self._state.over:
                    self._wait()
            except BaseException:
                self._cancel.set()
                raise
            finally:
                for thread in self._threads.values():
                    thread.join()
        return self._results

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn KeyboardInterrupt into an event.

        An exception could strike between two steps and lose a result, or the whole run.
        """
        ours = threading.current_thread() is threading.main_thread()
        stops = [
            each
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if ours and signal.getsignal(each) is signal.default_int_handler
        ]
        for each in stops:
            # SimpleQueue.put may interrupt itself: it is made for this.
            signal.signal(each, lambda *_: self._events.put(_Stop()))
        try:
            yield
        finally:
            for each in stops:
                signal.signal(each, signal.default_int_handler)

    def _wait(self) -> None:
        """Wait for the next event, at most until the next timer."""
        self._check_time()
        now = time.monotonic()
        if self._timers and self._timers[0][0] <= now:
            _, target_id = heapq.heappop(self._timers)
            self._advance(scheduler.RetryDue(target_id=target_id))
            return
        patience = min(SOON, self._timers[0][0] - now) if self._timers else SOON
        try:
            event = self._events.get(timeout=patience)
        except queue.Empty:
            return
        if isinstance(event, _Attempt):
            self._finish(event)
        else:
            self._listener.stopping()
            self._advance(scheduler.RunInterrupted())

    def _check_time(self) -> None:
        if self._deadline is None or self._state.stopping:
            return
        self._advance(scheduler.TimeLeft(seconds=self._deadline - time.monotonic()))
        if self._state.out_of_time and self._state.running:
            self._listener.stopping()

    def _finish(self, attempt: _Attempt) -> None:
        target_id = attempt.target_id
        thread = self._threads.pop(target_id, None)
        if thread is not None:
            thread.join()
        self._slots.remove(attempt.slot)
        result = attempt.outcome
        if isinstance(result, BaseException):
            result = self._calls.crashed(target_id, result)
        result = replace(result, slot=attempt.slot, attempts=attempt.number)
        if self._state.out_of_time and result.status is Status.CANCELLED:
            result = _out_of_time(result)
        failure = result.failure
        starved = failure is not None and failure.kind is FailureKind.MEMORY
        self._calls.release(target_id, starved=starved)
        ended = scheduler.TargetEnded(
            target_id=target_id,
            status=result.status,
            transient=failure is not None and failure.transient,
            starved=starved,
            jitter=self._chance(),
        )
        self._state, instructions = scheduler.step(self._state, ended)
        retry = next((i for i in instructions if isinstance(i, scheduler.RetryLater)), None)
        if retry is not None:
            self._failed[target_id] = result
            self._listener.resting(result, retry.seconds)
        else:
            self._end(result)
        self._carry_out(instructions)

    def _end(self, result: BuildResult) -> None:
        self._results[result.target_id] = result
        self._listener.ended(result)

    def _advance(self, event: scheduler.Event) -> None:
        self._state, instructions = scheduler.step(self._state, event)
        self._carry_out(instructions)

    def _carry_out(self, instructions: Sequence[scheduler.Instruction]) -> None:
        starts = sum(isinstance(each, scheduler.StartTarget) for each in instructions)
        for instruction in instructions:
            match instruction:
                case scheduler.StartTarget(target_id=target_id, attempt=attempt):
                    starts -= 1
                    self._calls.share(target_id, starts + self._state.unfilled)
                    self._start(target_id, attempt)
                case scheduler.RetryLater(target_id=target_id, seconds=seconds):
                    # Monotonic: a clock that is set must neither hurry a retry nor lose it.
                    heapq.heappush(self._timers, (time.monotonic() + seconds, target_id))
                case scheduler.CancelRunning():
                    self._cancel.set()
                case scheduler.Skip(target_id=target_id, because=because):
                    last = self._failed.pop(target_id, None)
                    result = _cut_off(last) if last else self._calls.abandon(target_id, because)
                    self._end(_out_of_time(result) if self._state.out_of_time else result)

    def _start(self, target_id: TargetId, number: int) -> None:
        self._failed.pop(target_id, None)
        slot = next(n for n in range(len(self._slots) + 1) if n not in self._slots)
        self._slots.add(slot)
        self._listener.started(target_id)
        thread = threading.Thread(
            target=self._work, args=(target_id, number, slot), name=f"target {target_id}"
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads for us
            self._report(target_id, number, slot, error)
        else:
            self._threads[target_id] = thread

    def _work(self, target_id: TargetId, number: int, slot: int) -> None:
        """Build in this thread; however it ends, it becomes an event."""
        outcome: BuildResult | BaseException
        try:
            outcome = self._calls.execute(target_id, number)
        except BaseException as error:  # noqa: BLE001 - otherwise the run would wait for ever
            outcome = error
        self._report(target_id, number, slot, outcome)

    def _report(
        self, target_id: TargetId, number: int, slot: int, outcome: BuildResult | BaseException
    ) -> None:
        self._events.put(_Attempt(target_id=target_id, number=number, slot=slot, outcome=outcome))


def _out_of_time(result: BuildResult) -> BuildResult:
    """Return the result of a target that the run's limit stopped, or kept from starting."""
    failure = result.failure
    failure = Failure(
        kind=FailureKind.OUT_OF_TIME,
        step=failure.step if failure is not None else "",
        message="stopped before the job's limit" if result.attempts else "no time left to start it",
        hint="run it again: it goes on from the store",
    )
    return replace(result, failure=failure)


def _cut_off(last: BuildResult) -> BuildResult:
    """Return the result of a target whose next attempt was skipped."""
    why = last.failure.message if last.failure is not None else ""
    failure = Failure(
        kind=FailureKind.CANCELLED,
        message=f"the run ended before attempt {last.attempts + 1}; the last one: {why}",
    )
    return replace(last, status=Status.CANCELLED, failure=failure)
