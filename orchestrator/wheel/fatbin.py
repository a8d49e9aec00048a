"""Read fat binaries of CUDA: a row of containers, each a row of entries for one architecture each.

NVIDIA does not document the layout; `cuobjdump --list-elf` and `--list-ptx` are the reference, and
tests hold this reader against them. The bytes are not trusted.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import Compression, DeviceKind
from orchestrator.wheel.device_code import Cursor, Entry, MalformedCodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x50\xed\x55\xba"
"""What a container begins with."""

# A container of a fat binary, and an entry in it. Sizes are in bytes.
_CONTAINER = struct.Struct("<4sHHQ")
_ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")
_SIZE_AT = 8
_MAX_HEADER = 1 << 16
_PTX, _CUBIN = 1, 2
_LZ4, _ZSTD, _ARCH_SPECIFIC, _FAMILY_SPECIFIC = 0x2000, 0x8000, 0x100000, 0x200000


class Piece(NamedTuple):
    """An entry and where it is.

    Attributes:
        container: where its container begins.
        header: bytes of the container's header.
        offset: where the entry begins.
        entry: the entry; None for the end of a container, at `offset`.
    """

    container: int
    header: int
    offset: int
    entry: Entry | None


def entries(cursor: Cursor) -> Iterator[Entry]:
    """Iterate over the entries of a fat binary."""
    return (piece.entry for piece in pieces(cursor) if piece.entry is not None)


def pieces(cursor: Cursor) -> Iterator[Piece]:
    """Iterate over the entries of a fat binary, and the ends of its containers.

    There may be padding between containers.
    """
    total = cursor.left
    while cursor.skip_zeros():
        start = total - cursor.left
        magic, _, header, size = _CONTAINER.unpack(cursor.take(_CONTAINER.size))
        if magic != MAGIC:
            raise MalformedCodeError(f"{magic.hex()} where a container begins")
        cursor.take(max(header - _CONTAINER.size, 0))
        header = max(header, _CONTAINER.size)
        if size > cursor.left:
            raise MalformedCodeError(f"a container of {size} bytes, but {cursor.left} are left")
        end = cursor.left - size
        while cursor.left > end:
            at = total - cursor.left
            yield Piece(start, header, at, _entry(cursor, cursor.left - end))
        yield Piece(start, header, total - cursor.left, None)


def container(header: bytes, content: bytes) -> bytes:
    """Return a container with the header of another and its own entries."""
    size = len(content).to_bytes(8, "little")
    return header[:_SIZE_AT] + size + header[_SIZE_AT + 8 :] + content


def _entry(cursor: Cursor, room: int) -> Entry:
    """Read an entry of at most `room` bytes."""
    if room < _ENTRY.size:
        raise MalformedCodeError(f"an entry of {room} bytes")
    fields = _ENTRY.unpack(cursor.take(_ENTRY.size))
    kind, header, size, flags, unpacked = fields[0], fields[2], fields[3], fields[11], fields[13]
    minor, major, arch = fields[6:9]
    if not _ENTRY.size <= header <= _MAX_HEADER or header + size > room:
        raise MalformedCodeError(f"an entry of {header} + {size} bytes where {room} are left")
    cursor.take(header - _ENTRY.size)
    found = {_PTX: DeviceKind.PTX, _CUBIN: DeviceKind.SASS}.get(kind, DeviceKind.OTHER)
    compression = (
        Compression.ZSTD if flags & _ZSTD else Compression.LZ4 if flags & _LZ4 else Compression.NONE
    )
    suffix = "a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY_SPECIFIC else ""
    return Entry(
        kind=found,
        arch=f"{'compute' if found is DeviceKind.PTX else 'sm'}_{arch}{suffix}",
        compression=compression,
        size=header + size,
        unpacked=size if compression is Compression.NONE else unpacked,
        checksum=cursor.checksum(size),
        version=(major, minor),
    )
