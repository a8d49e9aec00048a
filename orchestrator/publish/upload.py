"""Upload wheels: each one independently, retried if that may help, and never sent twice.

No state is kept on this machine. The destination is asked what it has before anything is sent and
after every failure, so a killed run can simply be started again.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from orchestrator.errors import ErrorKind, OrchestratorError
from orchestrator.models.result import UploadOutcome
from orchestrator.publish.preflight import DestinationFiles, name_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.publish.preflight import CandidateWheel

PAUSES = (1.0, 3.0, 10.0, 30.0)
"""Seconds between the attempts to send a wheel."""

GRACE = 5.0
"""Seconds for uploads to end after an interrupt."""

_TICK = 0.05
_LOOK = 0.5


class UploadError(OrchestratorError):
    """A wheel was not sent.

    It is sent again if the error is transient. Kinds that matter: `ErrorKind.NAME_TAKEN` if another
    file has the wheel's name, and `ErrorKind.CANCELLED`.
    """

    @classmethod
    def cancelled(cls) -> Self:
        """Return the error of an upload that an interrupt ended."""
        return cls.of("interrupted", kind=ErrorKind.CANCELLED)

    @classmethod
    def wrap(cls, prefix: str, error: OrchestratorError) -> Self:
        """Return the upload's error for a failed request; a retry helps where it may help there."""
        return cls.of(f"{prefix}: {error.what}", transient=error.transient)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """What became of a wheel at a destination.

    Attributes:
        place: the destination.
        wheel: the wheel.
        outcome: what became of it.
        reasons: why it was refused or failed.
        attempts: how often it was sent.
    """

    place: str
    wheel: CandidateWheel
    outcome: UploadOutcome = UploadOutcome.NOT_SENT
    reasons: tuple[str, ...] = ("interrupted",)
    attempts: int = 0


class UploadDestination(Protocol):
    """One destination."""

    @property
    def name(self) -> str:
        """As in ``--to``, without credentials."""

    @property
    def attests(self) -> bool:
        """Whether it accepts attestations."""

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Return which of these wheels it has, and how full it is; raises `UploadError`."""

    def send(self, wheel: CandidateWheel) -> None:
        """Send a wheel that it does not have; raises `UploadError`."""


def survey(
    place: UploadDestination, wheels: Sequence[CandidateWheel], cancel: Cancel
) -> DestinationFiles:
    """Ask a destination what it has; transient errors are retried.

    Raises:
        UploadError: it does not answer, or the run was interrupted.
    """
    for pause in PAUSES[:-1]:
        try:
            return place.survey(wheels)
        except UploadError as error:
            if not error.transient:
                raise
            _pause(pause, cancel)
    return place.survey(wheels)


def send_all(
    todo: Sequence[tuple[UploadDestination, CandidateWheel]],
    *,
    jobs: int,
    cancel: Cancel,
    on_result: Callable[[UploadResult], object],
) -> tuple[UploadResult, ...]:
    """Send wheels, several at a time; an interrupt sets `cancel`, stops all, and raises nothing.

    If `cancel` is already set, nothing is sent. `on_result` is called in this thread.
    """
    ended: SimpleQueue[tuple[int, UploadResult | BaseException]] = SimpleQueue()
    _start_threads(todo, jobs, cancel, ended)
    results: dict[int, UploadResult] = {}
    end = math.inf
    while len(results) < len(todo) and time.monotonic() < end:
        try:
            number, result = ended.get(timeout=_LOOK)
            if isinstance(result, BaseException):
                cancel.set()
                raise result
            results[number] = result
            on_result(result)
        except Empty:
            continue
        except KeyboardInterrupt:
            # Running uploads stop, waiting ones end at once. A second interrupt waits for nothing.
            end = time.monotonic() + (0.0 if cancel.is_set() else GRACE)
            cancel.set()
    return tuple(
        results.get(number) or UploadResult(place=place.name, wheel=wheel)
        for number, (place, wheel) in enumerate(todo)
    )


def _start_threads(
    todo: Sequence[tuple[UploadDestination, CandidateWheel]],
    jobs: int,
    cancel: Cancel,
    ended: SimpleQueue[tuple[int, UploadResult | BaseException]],
) -> None:
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(todo)):
        waiting.put(number)

    def work() -> None:
        with suppress(Empty):
            while True:
                number = waiting.get_nowait()
                try:
                    ended.put((number, _send(*todo[number], cancel)))
                except BaseException as error:  # noqa: BLE001 - raised in the main thread
                    ended.put((number, error))

    # Daemons: a thread that waits for a stalled network must not keep the program from ending.
    for _ in range(min(jobs, len(todo))):
        threading.Thread(target=work, daemon=True).start()


def _send(place: UploadDestination, wheel: CandidateWheel, cancel: Cancel) -> UploadResult:
    result = UploadResult(place=place.name, wheel=wheel)
    for attempts, pause in enumerate((0.0, *PAUSES), 1):
        try:
            _pause(pause, cancel)
        except UploadError:
            break
        outcome, reasons, again = _attempt(place, wheel)
        result = replace(result, outcome=outcome, reasons=reasons, attempts=attempts)
        if not again:
            break
    if cancel.is_set() and result.outcome is UploadOutcome.FAILED:
        return replace(result, outcome=UploadOutcome.NOT_SENT)
    return result


def _attempt(
    place: UploadDestination, wheel: CandidateWheel
) -> tuple[UploadOutcome, tuple[str, ...], bool]:
    """Send a wheel once; return the outcome, its reasons, and whether a retry may help."""
    try:
        place.send(wheel)
    except OrchestratorError as error:
        reasons = tuple(problem.what for problem in error.problems)
        if error.kind is ErrorKind.CANCELLED:
            return UploadOutcome.NOT_SENT, reasons, False
        if error.kind is ErrorKind.NAME_TAKEN:
            return UploadOutcome.REFUSED, reasons, False
        again = error.transient
    else:
        return UploadOutcome.UPLOADED, (), False
    # Perhaps only the answer was lost, or another run was faster.
    try:
        there = place.survey([wheel]).files.get(wheel.filename)
    except OrchestratorError:
        there = None
    if there == wheel.sha256:
        return UploadOutcome.THERE, (), False
    if there is not None:
        return UploadOutcome.REFUSED, (name_taken(wheel, there),), False
    return UploadOutcome.FAILED, reasons, again


def _pause(seconds: float, cancel: Cancel) -> None:
    end = time.monotonic() + seconds
    while not cancel.is_set():
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(_TICK, left))
    raise UploadError.cancelled()


class UploadBody:
    """A file that is being sent; an interrupt makes the next read fail."""

    def __init__(self, stream: IO[bytes], cancel: Cancel) -> None:
        """Take an open file."""
        self._stream = stream
        self._cancel = cancel

    def read(self, size: int = -1) -> bytes:
        """Read from the file; raises `UploadError` after an interrupt."""
        if self._cancel.is_set():
            raise UploadError.cancelled()
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
