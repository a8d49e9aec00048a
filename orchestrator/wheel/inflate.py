"""Read the content of a zip member, in order and in pieces of bounded size (APPNOTE 4.4.5).

isal inflates if it is installed (the ``fast`` extra; about twice as fast), else zlib: the bytes are
the same.
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
"""Largest piece of content, in bytes."""
_INPUT = 1 << 18
# The code tables at the beginning of deflated bytes are mostly smaller than the first number, and
# always smaller than the second. Every byte costs: isal decodes all that it gets.
_ENOUGH = (128, 1024)


class DamagedError(ValueError):
    """The compressed bytes cannot be read, or disagree with the zip directory."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater(Protocol):
    """The common interface of `zlib` and `isal.isal_zlib`."""

    error: type[Exception]

    def decompressobj(self, wbits: int, /) -> _Decompressor:
        """Return a decompressor."""
        ...

    def crc32(self, data: bytes, value: int, /) -> int:
        """Return the running CRC-32."""
        ...


def fastest() -> Inflater:
    """Return isal's zlib if it is installed, else Python's."""
    try:
        return cast("Inflater", import_module("isal.isal_zlib"))
    except ImportError:
        return cast("Inflater", zlib)


class CompressedMember(NamedTuple):
    """A member's compressed bytes, and what the zip directory says about them.

    Attributes:
        pread: reads the wheel file: (offset, size) -> exactly so many bytes.
        engine: inflates.
        offset: of the compressed bytes.
        compressed: their number.
        size: bytes of content.
        crc: CRC-32 of the content.
        method: one of `METHODS`.
        spend: gets the number of bytes that are inflated; see `Budget.spend`.
    """

    pread: Callable[[int, int], bytes]
    engine: Inflater
    offset: int
    compressed: int
    size: int
    crc: int
    method: int
    spend: Callable[[int, int, str], None]

    def head(self, count: int, pread: Callable[[int, int], bytes] | None = None) -> bytes:
        """Return the first few bytes of the content, as cheaply as possible.

        Args:
            count: how many.
            pread: used instead of `pread`.

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
        """Iterate over the content, which is inflated as you go.

        Memory is bounded whatever the bytes are: no piece is larger than `PIECE`, and all together
        are not larger than `size`.

        Args:
            check: also check the CRC, at the end.

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
