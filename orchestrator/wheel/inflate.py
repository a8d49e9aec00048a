"""Reads the content of one zip member, in order and in pieces of bounded size (APPNOTE 4.4.5).

Deflate is done by isal where it is installed (the ``fast`` extra; about twice as fast) and by
zlib where it is not: the bytes are the same.
"""

from __future__ import annotations

import zlib
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STORED, DEFLATED = 0, 8
METHODS = (STORED, DEFLATED)
"""The only compression methods that every installer of wheels can read."""

PIECE = 1 << 20
"""No piece of content is larger, in bytes."""
_INPUT = 1 << 18
# Mostly the code tables at the beginning of deflated bytes are smaller than the first, and always
# than the second. Every byte costs: isal decodes all that it is given.
_ENOUGH = (128, 1024)


class DamagedError(ValueError):
    """The compressed bytes cannot be read, or are not what the zip directory says."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater(Protocol):
    """What is used of the modules `zlib` and `isal.isal_zlib`."""

    error: type[Exception]

    def decompressobj(self, wbits: int, /) -> _Decompressor:
        """Return a decompressor."""
        ...

    def crc32(self, data: bytes, value: int, /) -> int:
        """Return the running CRC-32."""
        ...


def fastest() -> Inflater:
    """Return isal's zlib where it is installed, else Python's."""
    try:
        return cast("Inflater", import_module("isal.isal_zlib"))
    except ImportError:
        return cast("Inflater", zlib)


class CompressedMember(NamedTuple):
    """One member's compressed bytes, and what the zip directory says of them.

    Attributes:
        pread: reads bytes of the wheel file: (offset, size) -> exactly so many bytes.
        engine: inflates.
        offset: where the compressed bytes are.
        compressed: how many there are.
        size: bytes of content.
        crc: CRC-32 of the content.
        method: one of `METHODS`.
    """

    pread: Callable[[int, int], bytes]
    engine: Inflater
    offset: int
    compressed: int
    size: int
    crc: int
    method: int

    def head(self, count: int, pread: Callable[[int, int], bytes] | None = None) -> bytes:
        """Return the first few bytes of the content, at as little cost as can be.

        Args:
            count: how many.
            pread: takes the place of `pread`.

        Raises:
            DamagedError: they cannot be read.
        """
        read = pread or self.pread
        if self.method == STORED:
            return read(self.offset, min(count, self.compressed))
        for amount in _ENOUGH:
            data = read(self.offset, min(amount, self.compressed))
            try:
                found = self.engine.decompressobj(-zlib.MAX_WBITS).decompress(data, count)
            except self.engine.error as error:
                raise DamagedError(f"its compressed bytes are damaged: {error}") from error
            if len(found) >= min(count, self.size):
                return found
        return next(self.pieces(check=False), b"")[:count]

    def pieces(self, *, check: bool = True) -> Iterator[bytes]:
        """Iterate over the content; what is not asked for is not inflated.

        Memory stays bounded whatever the bytes are: no piece is larger than `PIECE`, and never
        more than `size` bytes come out.

        Args:
            check: also compare the CRC, once the end is reached.

        Raises:
            DamagedError: the bytes are not sound, or do not have the size or the CRC promised.
        """
        crc = done = 0
        raw = self._stored() if self.method == STORED else self._inflated()
        for piece in raw:
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
                # Never both without input and without end: zlib would wait for ever.
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
