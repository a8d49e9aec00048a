"""Random access to a zip member, which can only be inflated from its beginning, in little memory.

The first bytes and the most recent ones are kept. Bytes in between are inflated again when needed.
That is rare, as an ELF file's tables are at its two ends.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orchestrator.wheel.inflate import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.wheel.inflate import CompressedMember

# In torch's largest libraries the tables at the beginning end at 7 MB, those at the end take 6 MB.
HEAD = 12 << 20
TAIL = 8 << 20
"""Bytes to keep of the beginning, and of the most recent ones."""
_PASSES = 6
"""How often a member may be inflated. Linkers' files need two passes; hostile ones more."""


class MemberWindow:
    """The content of a member as an `orchestrator.wheel.elf.ByteSource`."""

    def __init__(
        self, packed: CompressedMember, see: Callable[[bytes], None] | None = None
    ) -> None:
        """Begin to read a member.

        Args:
            packed: the member.
            see: gets the whole content once, in order, until `finish` returns.
        """
        self.size = packed.size
        self._packed = packed
        self._see = see
        self._seen = 0
        self._passes = 0
        self._head: list[bytes] = []
        self._head_end = 0
        self._restart()

    def read(self, offset: int, size: int) -> bytearray:
        """Return `size` bytes at `offset`, which must lie inside the member.

        Raises:
            DamagedError: the member is damaged, or would have to be inflated too often.
        """
        end = offset + size
        # The bytes between head and tail are gone.
        if self._head_end < self._begin and offset < self._begin and end > self._head_end:
            self._restart()
        found = bytearray(size)
        for start, pieces in ((0, self._head), (self._begin, self._tail)):
            at = start
            for piece in pieces:
                _lay(found, offset, piece, at)
                at += len(piece)
        while self._position < end:
            at = self._position
            _lay(found, offset, self._advance(), at)
        return found

    def finish(self) -> None:
        """Pass the rest of the content to `see`, and check size and CRC.

        Raises:
            DamagedError: the member is damaged.
        """
        if self._position < self._seen:
            self._restart()
        while self._advance():
            pass

    def _restart(self) -> None:
        self._passes += 1
        if self._passes > _PASSES:
            raise DamagedError("its tables are scattered all over it")
        self._pieces = self._packed.pieces(check=self._see is not None)
        self._tail: deque[bytes] = deque()
        self._begin = self._position = 0

    def _advance(self) -> bytes:
        """Inflate and keep the next piece; empty at the end."""
        piece = next(self._pieces, b"")
        start = self._position
        self._position += len(piece)
        fresh = self._position - self._seen
        if fresh > 0:
            self._seen = self._position
            if self._see is not None:
                self._see(piece[-fresh:])
        if start == self._head_end < HEAD:
            self._head.append(piece)
            self._head_end = self._position
        if start < self._head_end:
            self._begin = self._position
            return piece
        self._tail.append(piece)
        while self._position - self._begin - len(self._tail[0]) > TAIL:
            self._begin += len(self._tail.popleft())
        return piece


def _lay(found: bytearray, offset: int, piece: bytes, start: int) -> None:
    """Copy the wanted part of a piece to its place."""
    first = max(offset, start)
    last = min(offset + len(found), start + len(piece))
    if first < last:
        found[first - offset : last - offset] = memoryview(piece)[first - start : last - start]
