"""Code for GPUs: its pieces, their sums, and the bytes that they are read from."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import Compression, DeviceCode, DeviceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.wheel.elf import ByteSource, Meter

_PIECE = 1 << 20
_PAGE = 1 << 12
_LONGEST_TEXT = 64


class MalformedCodeError(ValueError):
    """Device code that cannot be read."""


class Entry(NamedTuple):
    """A piece of device code. Entries with the same `checksum` and size are taken for equal."""

    kind: DeviceKind
    arch: str
    size: int
    unpacked: int
    compression: Compression = Compression.NONE
    checksum: int = 0
    version: tuple[int, int] = (0, 0)


def highest_ptx(entries: Iterable[Entry]) -> str:
    """Return the highest version of PTX, as ``9.0``; empty without PTX."""
    most = max((each.version for each in entries if each.kind is DeviceKind.PTX), default=(0, 0))
    return ".".join(map(str, most)) if any(most) else ""


def grouped(entries: Iterable[Entry]) -> tuple[DeviceCode, ...]:
    """Add up entries that differ in their content only."""
    seen: Counter[Entry] = Counter()
    sums: dict[tuple[DeviceKind, str, Compression], list[int]] = {}
    for each in entries:
        total = sums.setdefault((each.kind, each.arch, each.compression), [0, 0, 0, 0])
        again = each.size if seen[each] else 0
        seen[each] += 1
        for place, amount in enumerate((1, each.size, each.unpacked, again)):
            total[place] += amount
    return tuple(
        DeviceCode(
            kind=kind,
            arch=arch,
            compression=compression,
            entries=count,
            size=size,
            unpacked=unpacked,
            repeated=repeated,
        )
        for (kind, arch, compression), (count, size, unpacked, repeated) in sorted(
            sums.items(), key=lambda item: (item[0][0], arch_order(item[0][1]), item[0][2])
        )
    )


def arch_order(arch: str) -> tuple[int, str]:
    """Return the key to sort architectures by: sm_90 before sm_100."""
    number = re.search(r"\d+", arch)
    return int(number[0]) if number and not arch.startswith("gfx") else 0, arch


class Cursor:
    """Bytes of a file, read once and in order."""

    def __init__(self, source: ByteSource, offset: int, size: int, meter: Meter) -> None:
        self.source = source
        self.meter = meter
        self._at, self._end = offset, offset + size
        self._block: bytes | bytearray = b""
        self._used = 0

    def _next(self) -> bytes | bytearray:
        """Return the next block of the file."""
        length = min(_PIECE, self._end - self._at)
        self.meter(1, length, "code for GPUs")
        self._at += length
        return self.source.read(self._at - length, length)

    @property
    def left(self) -> int:
        """Bytes that have not been taken."""
        return self._end - self._at + len(self._block) - self._used

    def _pieces(self, size: int) -> Iterator[memoryview]:
        if size > self.left:
            raise MalformedCodeError(f"{size} bytes of device code, but {self.left} are left")
        while size > 0:
            if self._used == len(self._block):
                self._block, self._used = self._next(), 0
            piece = memoryview(self._block)[self._used : self._used + size]
            self._used += len(piece)
            size -= len(piece)
            yield piece

    def take(self, size: int) -> bytes:
        """Return the next few bytes."""
        self.meter(1, 0, "code for GPUs")
        return b"".join(self._pieces(size))

    def peek(self, size: int) -> bytes:
        """Return the next few bytes, which stay to be taken; fewer at the end."""
        size = min(size, self.left, _PIECE)
        if len(self._block) - self._used < size:
            self._block, self._used = bytes(self._block[self._used :]) + self._next(), 0
        return bytes(self._block[self._used : self._used + size])

    def skip_zeros(self) -> int:
        """Pass over padding, and return how many bytes are left."""
        zeros = 1
        while zeros and self.left:
            head = self.peek(_PAGE)
            zeros = len(head) - len(head.lstrip(b"\0"))
            self.take(zeros)
        return self.left

    def checksum(self, size: int, before: int = 0) -> int:
        """Pass over bytes, and return the CRC of them and of what came `before`."""
        for piece in self._pieces(size):
            before = zlib.crc32(piece, before)
        return before

    def texts(self, wanted: Iterable[bytes]) -> frozenset[bytes]:
        """Return those of the texts, of at most 64 bytes, that the rest contains."""
        found: set[bytes] = set()
        tail = b""
        while self.left:
            window = tail + self.take(min(_PIECE, self.left))
            found |= {text for text in wanted if text in window}
            tail = window[-_LONGEST_TEXT:]
        return frozenset(found)
