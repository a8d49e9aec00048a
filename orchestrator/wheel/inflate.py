"""Read the content of a zip member in little memory: in order, or at any place (APPNOTE 4.4.5).

isal inflates if it is installed (the ``fast`` extra; about twice as fast), else zlib: the bytes are
the same.
"""

from __future__ import annotations

import zlib
from collections import deque
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

STORED, DEFLATED = 0, 8
METHODS = (STORED, DEFLATED)
"""The only compression methods that every installer of wheels can read."""

PIECE = 1 << 20
"""Largest piece of content, in bytes."""
_INPUT = 1 << 18
# The code tables at the beginning of deflated bytes are mostly smaller than the first number, and
# always smaller than the second. Every byte costs: isal decodes all that it gets.
_ENOUGH = (128, 1024)

# In torch's largest libraries the tables at the beginning end at 7 MB, those at the end take 6 MB.
HEAD = 12 << 20
TAIL = 8 << 20
"""Bytes that a `MemberWindow` keeps of the beginning, and of the most recent ones."""
_PASSES = 6
"""How often a member may be inflated. Linkers' files need two passes; hostile ones more."""


class DamagedError(ValueError):
    """The compressed bytes cannot be read, or disagree with the zip directory."""


def fastest() -> ModuleType:
    """Return isal's zlib if it is installed, else Python's, which has the same functions."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


class CompressedMember(NamedTuple):
    """A member's compressed bytes, and what the zip directory says about them.

    Attributes:
        pread: reads the wheel file: (offset, size) -> exactly so many bytes.
        engine: what `fastest` returns.
        offset: where the compressed bytes begin; `compressed` is their number.
        spend: see `Budget.spend`.
    """

    pread: Callable[[int, int], bytes]
    engine: ModuleType
    offset: int
    compressed: int
    size: int
    crc: int
    method: int
    spend: Callable[[int, int, str], None]

    def head(self, count: int, pread: Callable[[int, int], bytes] | None = None) -> bytes:
        """Return the first few bytes of the content, as cheaply as possible.

        Raises:
            DamagedError: they cannot be read.
        """
        read = pread or self.pread
        if self.method == STORED:
            return read(self.offset, min(count, self.compressed))
        for amount in _ENOUGH:
            data = read(self.offset, min(amount, self.compressed))
            try:
                found: bytes = self.engine.decompressobj(-zlib.MAX_WBITS).decompress(data, count)
            except self.engine.error as error:
                raise DamagedError(f"its compressed bytes are damaged: {error}") from error
            if len(found) >= min(count, self.size):
                return found
        return next(self.pieces(check=False), b"")[:count]

    def pieces(self, *, check: bool = True) -> Iterator[bytes]:
        """Iterate over the content, which is inflated as you go.

        Memory is bounded whatever the bytes are: no piece is larger than `PIECE`, and all together
        are not larger than `size`. `check` is of the CRC, at the end.

        Raises:
            DamagedError: the bytes are damaged, or have another size or CRC than promised.
        """
        crc = done = 0
        raw = self._stored() if self.method == STORED else self._inflated()
        for piece in raw:
            self.spend(1, len(piece), "members")
            done += len(piece)
            if done > self.size:
                raise DamagedError(f"it holds more than the {self.size} bytes it claims")
            if check:
                crc = self.engine.crc32(piece, crc)
            yield piece
        if done != self.size:
            raise DamagedError(f"it holds {done} bytes, but claims {self.size}")
        if check and crc != self.crc:
            raise DamagedError("Bad CRC-32: its bytes are damaged")

    def _stored(self) -> Iterator[bytes]:
        end = self.offset + self.compressed
        for at in range(self.offset, end, PIECE):
            yield self.pread(at, min(PIECE, end - at))

    def _inflated(self) -> Iterator[bytes]:
        inflater = self.engine.decompressobj(-zlib.MAX_WBITS)
        end = self.offset + self.compressed
        at = self.offset
        try:
            while not inflater.eof:
                # Without input and without end zlib would wait for ever.
                data = inflater.unconsumed_tail
                if not data and at < end:
                    data = self.pread(at, min(_INPUT, end - at))
                    at += len(data)
                piece = inflater.decompress(data, PIECE)
                if not piece and not data and not inflater.eof:
                    raise DamagedError("its compressed bytes end too early")
                if piece:
                    yield piece
        except self.engine.error as error:
            raise DamagedError(f"its compressed bytes are damaged: {error}") from error
        if at < end or inflater.unused_data:
            raise DamagedError("more compressed bytes follow its end")


class MemberWindow:
    """Random access to a member, as an `orchestrator.wheel.elf.ByteSource`.

    A member can only be inflated from its beginning. Its first bytes and the most recent ones are
    kept; bytes in between are inflated again when needed. That is rare, as an ELF file's tables are
    at its two ends.
    """

    def __init__(
        self, packed: CompressedMember, see: Callable[[bytes], None] | None = None
    ) -> None:
        """Begin to read; `see` gets the whole content once, in order, until `finish` returns."""
        self.size = packed.size
        self._packed = packed
        self._see = see
        self._seen = 0
        self._passes = 0
        self._checked = False
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
        while not self._checked and self._advance():
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
        if self._position == self.size and self._see is not None and not self._checked:
            # All has been seen, so nothing needs to be inflated again for its CRC.
            next(self._pieces, b"")
            self._checked = True
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
