"""Bringing wheels to where they go: each on its own, again where that may help, never twice.

Nothing is remembered on this machine. What a destination has is asked before anything is sent and
after everything that went wrong, so a run that was killed is simply started again.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from orchestrator.errors import ErrorKind, OrchestratorError
from orchestrator.models.result import UploadOutcome
from orchestrator.publish.preflight import DestinationFiles, another

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.publish.preflight import CandidateWheel

PAUSES = (1.0, 3.0, 10.0, 30.0)
"""Seconds between the attempts to send a wheel."""

GRACE = 5.0
"""Seconds that uploads get to end after an interrupt."""

_TICK = 0.05
_LOOK = 0.5


class UploadError(OrchestratorError):
    """A wheel was not sent.

    It is sent again if the error is transient. Other kinds that count are `ErrorKind.NAME_TAKEN`,
    if the wheel's name belongs to another file, and `ErrorKind.CANCELLED`.
    """

    @classmethod
    def cancelled(cls) -> Self:
        """Return the error of an upload that the run was interrupted in."""
        return cls.of("interrupted", kind=ErrorKind.CANCELLED)


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
    outcome: UploadOutcome
    reasons: tuple[str, ...] = ()
    attempts: int = 0


class UploadDestination(Protocol):
    """One destination."""

    @property
    def name(self) -> str:
        """As in ``--to``, without credentials."""

    @property
    def attests(self) -> bool:
        """Whether attestations go along with wheels."""

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Return what it has of some wheels, and how much in all.

        Raises:
            UploadError: it cannot be asked.
        """

    def send(self, wheel: CandidateWheel) -> None:
        """Send a wheel that was not there.

        Raises:
            UploadError: it was not sent.
        """


def surveyed(
    place: UploadDestination, wheels: Sequence[CandidateWheel], cancel: Cancel
) -> DestinationFiles:
    """Ask a destination what it has, again where that may help.

    Raises:
        UploadError: it cannot be asked, or the run was interrupted.
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
    work: Iterable[tuple[UploadDestination, CandidateWheel]],
    *,
    jobs: int,
    cancel: Cancel,
    on_result: Callable[[UploadResult], object],
) -> tuple[UploadResult, ...]:
    """Send wheels, several at a time; an interrupt stops all of them, and is no exception.

    Args:
        work: what goes where.
        jobs: how many at a time.
        cancel: is set by an interrupt; what is set already sends nothing.
        on_result: told how each one ended, in this thread.
    """
    todo = tuple(work)
    ended: SimpleQueue[tuple[int, UploadResult | BaseException]] = SimpleQueue()
    _start(todo, jobs, cancel, ended)
    done: dict[int, UploadResult] = {}
    end = math.inf
    while len(done) < len(todo) and time.monotonic() < end:
        try:
            number, found = ended.get(timeout=_LOOK)
            if isinstance(found, BaseException):
                cancel.set()
                raise found
            done[number] = found
            on_result(found)
        except Empty:
            continue
        except KeyboardInterrupt:
            # What runs stops, what waits begins and ends at once; a second one waits for nothing.
            end = time.monotonic() + (0.0 if cancel.is_set() else GRACE)
            cancel.set()
    return tuple(
        done.get(number)
        or UploadResult(
            place=place.name, wheel=wheel, outcome=UploadOutcome.NOT_SENT, reasons=("interrupted",)
        )
        for number, (place, wheel) in enumerate(todo)
    )


def _start(
    todo: Sequence[tuple[UploadDestination, CandidateWheel]],
    jobs: int,
    cancel: Cancel,
    ended: SimpleQueue[tuple[int, UploadResult | BaseException]],
) -> None:
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(todo)):
        waiting.put(number)

    def go_on() -> None:
        with suppress(Empty):
            while True:
                number = waiting.get_nowait()
                try:
                    ended.put((number, _sent(*todo[number], cancel)))
                except BaseException as error:  # noqa: BLE001 - raised in the main thread
                    ended.put((number, error))

    # Daemons: one that waits for a network that has stalled must not keep the program from ending.
    for _ in range(min(jobs, len(todo))):
        threading.Thread(target=go_on, daemon=True).start()


def _sent(place: UploadDestination, wheel: CandidateWheel, cancel: Cancel) -> UploadResult:
    end, attempts = _End(outcome=UploadOutcome.NOT_SENT, reasons=("interrupted",)), 0
    for pause in (0.0, *PAUSES):
        try:
            _pause(pause, cancel)
        except UploadError:
            break
        attempts += 1
        end = _attempt(place, wheel)
        if not end.again:
            break
    outcome = end.outcome
    if cancel.is_set() and outcome is UploadOutcome.FAILED:
        outcome = UploadOutcome.NOT_SENT
    return UploadResult(
        place=place.name, wheel=wheel, outcome=outcome, reasons=end.reasons, attempts=attempts
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How an attempt ended, and whether another one may end otherwise."""

    outcome: UploadOutcome
    reasons: tuple[str, ...] = ()
    again: bool = False


def _attempt(place: UploadDestination, wheel: CandidateWheel) -> _End:
    try:
        place.send(wheel)
    except OrchestratorError as error:
        reasons = tuple(problem.what for problem in error.problems)
        if error.kind is ErrorKind.CANCELLED:
            return _End(outcome=UploadOutcome.NOT_SENT, reasons=reasons)
        if error.kind is ErrorKind.NAME_TAKEN:
            return _End(outcome=UploadOutcome.REFUSED, reasons=reasons)
        failed = _End(outcome=UploadOutcome.FAILED, reasons=reasons, again=error.transient)
    else:
        return _End(outcome=UploadOutcome.UPLOADED)
    # The answer may be all that was lost, or another run may have been faster.
    there = _there(place, wheel)
    if there == wheel.sha256:
        return _End(outcome=UploadOutcome.THERE)
    if there is not None:
        return _End(outcome=UploadOutcome.REFUSED, reasons=(another(wheel, there),))
    return failed


def _there(place: UploadDestination, wheel: CandidateWheel) -> str | None:
    try:
        return place.survey([wheel]).files.get(wheel.filename)
    except OrchestratorError:
        return None


def _pause(seconds: float, cancel: Cancel) -> None:
    end = time.monotonic() + seconds
    while not cancel.is_set():
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(_TICK, left))
    raise UploadError.cancelled()


class UploadBody:
    """A file that is being sent; an interrupt ends it in the middle."""

    def __init__(self, stream: IO[bytes], cancel: Cancel) -> None:
        """Take an open file."""
        self._stream = stream
        self._cancel = cancel

    def read(self, size: int = -1) -> bytes:
        """Read as from the file.

        Raises:
            UploadError: the run was interrupted.
        """
        if self._cancel.is_set():
            raise UploadError.cancelled()
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
