"""Estimate what ``nvcc --compress-mode=size`` would make of code for GPUs, from a sample of it.

That mode compresses each piece with zstd at its highest level. The sample is compressed at a lower
one, which is ten times faster and makes about 15 % more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.models.wheel import Compression
from orchestrator.wheel import fatbin
from orchestrator.wheel.device_code import Cursor, MalformedCodeError
from orchestrator.wheel.inflate import DamagedError, MemberWindow
from orchestrator.wheel.zstd import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.elf import Meter
    from orchestrator.wheel.gpu import DeviceFile

_SAMPLE = 8 << 20
_LEVEL = 12
_LONG, _MORE, _SHORTEST = 15, 255, 4


def estimate(
    archive: WheelArchive, name: str, device: DeviceFile, compression: Compression
) -> float | None:
    """Return which part of its unpacked size a member's code would have, compressed for size.

    Only code with this compression counts. None if it cannot be told.
    """
    codec = zstd()
    if codec is None:
        return None

    def meter(steps: int, read: int, what: str) -> None:
        archive.budget.spend(steps, read, f"{what} of {name}")

    try:
        pieces = _sample(MemberWindow(archive.packed(name)), device.places, compression, meter)
    except (DamagedError, MalformedCodeError):
        return None
    plain = sum(map(len, pieces))
    packed = sum(min(len(codec.compress(each, _LEVEL)), len(each)) for each in pieces)
    return packed / plain if plain else None


class _Keeping(Cursor):
    """Keeps the beginning of what it passed over last."""

    kept: bytes = b""

    def checksum(self, size: int, before: int = 0) -> int:
        self.kept = self.take(min(size, _SAMPLE))
        return super().checksum(size - len(self.kept), before)


def _sample(
    window: MemberWindow,
    places: Iterable[tuple[int, int]],
    compression: Compression,
    meter: Meter,
) -> list[bytes]:
    """Return the first pieces with this compression, unpacked."""
    found: list[bytes] = []
    room = _SAMPLE
    for offset, size in places:
        cursor = _Keeping(window, offset, size, meter)
        for entry in fatbin.entries(cursor):
            if entry.compression is compression and room > 0:
                meter(1, len(cursor.kept), "a sample of code for GPUs")
                lz4 = compression is Compression.LZ4
                found.append(unpack_lz4(cursor.kept, room) if lz4 else cursor.kept[:room])
                room -= len(found[-1])
            if room <= 0:
                return found
    return found


def unpack_lz4(packed: bytes, most: int) -> bytes:
    """Unpack the beginning of an LZ4 block ("LZ4 Block Format Description"), at most some bytes."""
    out, at = bytearray(), 0
    try:
        while at < len(packed) and len(out) < most:
            token = packed[at]
            literals, at = _length(packed, at + 1, token >> 4)
            out += packed[at : at + literals]
            at += literals
            distance = packed[at] | packed[at + 1] << 8
            length, at = _length(packed, at + 2, token & 15)
            length = min(length + _SHORTEST, most)
            if not 0 < distance <= len(out):
                break
            match = out[-distance:][:length]
            out += (match * (length // distance + 1))[:length]
    except IndexError:
        pass  # the last sequence has no match, or the sample ends here
    return bytes(out[:most])


def _length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    """Return a length that may go on in further bytes, and where these end."""
    more = _MORE if length == _LONG else 0
    while more == _MORE:
        more = packed[at]
        length, at = length + more, at + 1
    return length, at
