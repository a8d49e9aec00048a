"""The `local` executor: targets run in threads of this process, each with programs of its own."""

from __future__ import annotations

import queue
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from orchestrator.run import scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.models import BuildResult, TargetId


class Listener(Protocol):
    """Hears what happens, from any thread."""

    def started(self, target_id: TargetId) -> None:
        """A target began."""

    def step(self, target_id: TargetId, name: str) -> None:
        """A target's step began."""

    def ended(self, result: BuildResult) -> None:
        """A target ended."""

    def stopping(self) -> None:
        """The run is being stopped."""


_Event = tuple["TargetId", "Future[BuildResult]"] | None
"""A target that ended, or None for Ctrl-C."""


class Run:
    """One run of many targets."""

    def __init__(
        self,
        state: scheduler.State,
        *,
        execute: Callable[[TargetId], BuildResult],
        abandon: Callable[[TargetId, TargetId | None], BuildResult],
        listener: Listener,
        cancel: Cancel,
    ) -> None:
        """Prepare a run.

        Args:
            state: the scheduler's first state.
            execute: builds one target; called in a worker thread; must not raise for a failed
                build.
            abandon: makes the result of a target that will never start, given the one it needed.
            listener: hears of starts and ends.
            cancel: stops all programs of the workers.
        """
        self._state = state
        self._execute = execute
        self._abandon = abandon
        self._listener = listener
        self._cancel = cancel
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._results: dict[TargetId, BuildResult] = {}

    def run(self) -> Mapping[TargetId, BuildResult]:
        """Run to the end, an interrupted one included, and return every target's result.

        Raises:
            Exception: a bug in a worker; the other workers are stopped first.
        """
        with self._signals(), ThreadPoolExecutor(max_workers=self._state.slots) as pool:
            try:
                self._advance(scheduler.Begun(), pool)
                while not self._state.over:
                    self._wait(pool)
            except BaseException:
                self._cancel.set()
                raise
        return self._results

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Make an event of what would be a KeyboardInterrupt.

        As an exception it could strike between two steps, and lose a result or a whole run.
        """
        ours = threading.current_thread() is threading.main_thread()
        stops = [
            each
            for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if ours and signal.getsignal(each) is signal.default_int_handler
        ]
        for each in stops:
            # SimpleQueue.put may interrupt itself: it is made for this.
            signal.signal(each, lambda *_: self._events.put(None))
        try:
            yield
        finally:
            for each in stops:
                signal.signal(each, signal.default_int_handler)

    def _wait(self, pool: ThreadPoolExecutor) -> None:
        try:
            # A timeout, because a wait without one does not let Ctrl-C through on every platform.
            event = self._events.get(timeout=0.2)
        except queue.Empty:
            return
        if event is None:
            self._listener.stopping()
            self._advance(scheduler.Interrupted(), pool)
            return
        target_id, future = event
        result = future.result()
        self._results[target_id] = result
        self._listener.ended(result)
        self._advance(scheduler.Ended(target_id=target_id, status=result.status), pool)

    def _advance(self, event: scheduler.Event, pool: ThreadPoolExecutor) -> None:
        self._state, instructions = scheduler.step(self._state, event)
        self._carry_out(instructions, pool)

    def _report(self, target_id: TargetId, future: Future[BuildResult]) -> None:
        self._events.put((target_id, future))

    def _carry_out(
        self, instructions: Sequence[scheduler.Instruction], pool: ThreadPoolExecutor
    ) -> None:
        for instruction in instructions:
            match instruction:
                case scheduler.Start(target_id=target_id):
                    self._listener.started(target_id)
                    future = pool.submit(self._execute, target_id)
                    future.add_done_callback(partial(self._report, target_id))
                case scheduler.CancelRunning():
                    self._cancel.set()
                case scheduler.Abandon(target_id=target_id, because=because):
                    result = self._abandon(target_id, because)
                    self._results[target_id] = result
                    self._listener.ended(result)
