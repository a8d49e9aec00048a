"""What reading one wheel may cost: the one bound on all loops together.

Each table of a wheel has a bound of its own, but what is done for every pair of two tables has
none: symbols and versions, libraries and directories, tags and modules. So every loop that the
bytes of a wheel can lengthen draws on the wheel's one `Budget`, and a wheel that uses it up is
refused.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError, clipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.models.wheel import Finding

STEPS = 1_000_000
"""Steps that every wheel may take. One takes about a microsecond, and keeps at most 200 bytes."""

STEP_BYTES = 16
"""A wheel may take one step more for each so many bytes of its file. Of a thousand wheels of the
index, the largest among them, none takes a fifth of its steps."""

TEXT_BYTES = 16
"""Bytes of a text that is parsed or kept, to a step."""

READ = 256 << 20
"""Bytes that every wheel may have read."""

PASSES = 4
"""A wheel may have all its unpacked bytes read so often as well. Linkers' files need two."""

FINDINGS = 20_000
"""Findings on one wheel."""


class OverBudgetError(BadWheelError):
    """Reading a wheel costs more than any honest wheel does."""


class Budget:
    """What is left of the steps, bytes and findings of one wheel.

    Once it is used up, every further use of it fails: code that expects broken parts of a wheel
    cannot go on by accident.

    Attributes:
        steps: used so far.
        read: bytes read so far.
    """

    def __init__(self, wheel: str, size: int) -> None:
        """Begin with nothing used.

        Args:
            wheel: the file name, for messages.
            size: of the file, in bytes.
        """
        self.steps = self.read = 0
        self._wheel = wheel
        self._first = ""
        self._most_steps = STEPS + size // STEP_BYTES
        self._most_read = READ + size
        self._findings = FINDINGS
        self._lock = Lock()  # large members are read by several threads

    def unpacked(self, size: int) -> None:
        """Allow for the bytes that the members unpack to."""
        self._most_read += PASSES * size

    def spend(self, steps: int, read: int, what: str) -> None:
        """Use some of the budget, before or soon after the work.

        Args:
            steps: turns of a loop.
            read: bytes that are read, inflated or searched.
            what: what they are for, as the message says it.

        Raises:
            OverBudgetError: there is not so much left.
        """
        with self._lock:
            self.steps += steps
            self.read += read
        if self.steps > self._most_steps:
            raise self._used_up(f"{self._most_steps} steps to read", what)
        if self.read > self._most_read:
            raise self._used_up(f"{self._most_read} bytes of reading", what)

    def text(self, size: int, what: str) -> None:
        """Use what parsing a text takes; see `spend`."""
        self.spend(size // TEXT_BYTES + 1, size, what)

    def findings(self, found: Iterable[Finding]) -> Iterator[Finding]:
        """Yield findings, each clipped, as long as there are not too many; see `spend`."""
        for finding in found:
            self._findings -= 1
            message = clipped(finding.message)
            if self._findings < 0:
                raise OverBudgetError.of(
                    f"more than {FINDINGS} findings, such as {finding.rule}: {message}",
                    where=self._wheel,
                    hint="switch the rule off (--rule, or rules of [verify]) to see the others",
                )
            self.spend(0, 0, "")
            yield replace(finding, message=message)

    def _used_up(self, amount: str, what: str) -> OverBudgetError:
        self._first = self._first or clipped(f"it takes more than {amount}: {what}")
        return OverBudgetError.of(
            self._first,
            where=self._wheel,
            hint="it may be made to exhaust its readers: its tables refer to one another more "
            "often than a compiler or linker writes them",
        )
