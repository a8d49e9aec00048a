"""Read AMD's code for GPUs: bundles of clang's offload bundler, and loose code objects.

LLVM documents both: "Clang Offload Bundler", and the ELF header in "User Guide for AMDGPU Backend".
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

from orchestrator.models.wheel import Compression, DeviceKind
from orchestrator.wheel.device_code import Entry, MalformedCodeError
from orchestrator.wheel.zstd import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.wheel.device_code import Cursor
    from orchestrator.wheel.elf import Meter

PLAIN, COMPRESSED = b"__CLANG_OFFLOAD_BUNDLE__", b"CCOB"
"""How bundles begin."""

_SIZES = {2: "<IIQ", 3: "<QQQ"}
"""Version of a compressed bundle -> its bytes, those unpacked, and a hash."""
_TARGET = re.compile(r"hip(?:v4)?-amdgcn-amd-amdhsa-\w*-(gfx[\w:+-]+)")
_LONGEST_TARGET = 64
_TABLE = 1 << 16
_COMPRESSED_TABLE = 1 << 18
_ROW_STEPS = 3
"""Steps of an object in a table, which becomes an entry."""
_BY_ZLIB = 0

_MACHINES = """
    2a=803 2c=900 2d=902 2f=906 30=908 32=90c 33=1010 34=1011 35=1012 36=1030 37=1031 38=1032
    39=1033 3d=1035 3e=1034 3f=90a 41=1100 43=1150 44=1103 45=1036 46=1101 47=1102 48=1200 4a=1151
    4c=942 4e=1201 4f=950
"""
_GFX = {int(code, 16): name for code, name in (pair.split("=") for pair in _MACHINES.split())}
"""EF_AMDGPU_MACH in e_flags -> the architecture."""


def code_object(flags: int) -> str:
    """Return the architecture of a code object, by its e_flags; empty if we do not know it."""
    name = _GFX.get(flags & 0xFF)
    return f"gfx{name}" if name else ""


def bundles(cursor: Cursor) -> Iterator[Entry]:
    """Iterate over the code objects of clang's bundles; there is padding between bundles."""
    while cursor.skip_zeros():
        head = cursor.take(8)
        if head[:4] == COMPRESSED:
            yield from _compressed_bundle(cursor, *struct.unpack_from("<HH", head, 4))
        elif head == PLAIN[:8]:
            yield from _plain_bundle(cursor)
        else:
            raise MalformedCodeError(f"{head.hex()} where a bundle begins")


def _plain_bundle(cursor: Cursor) -> Iterator[Entry]:
    """Read a bundle whose first 8 bytes are taken."""
    begin = cursor.left + 8
    table = _bundle_table(PLAIN[:8] + cursor.peek(_TABLE), cursor.meter)
    for offset, size, arch in sorted(table):
        gap = offset - (begin - cursor.left)
        if gap < 0:
            raise MalformedCodeError("code objects overlap")
        cursor.checksum(gap)
        crc = cursor.checksum(size)
        if arch:
            yield Entry(kind=DeviceKind.AMDGPU, arch=arch, size=size, unpacked=size, checksum=crc)


def _bundle_table(data: bytes, meter: Meter) -> Iterator[tuple[int, int, str]]:
    """Iterate over offset, size and architecture of a bundle's objects; the host's has none."""
    try:
        if data[: len(PLAIN)] != PLAIN:
            raise MalformedCodeError("a bundle without its name")
        at = len(PLAIN) + 8
        for _ in range(struct.unpack_from("<Q", data, at - 8)[0]):
            meter(_ROW_STEPS, 0, "code for GPUs")
            offset, size, length = struct.unpack_from("<QQQ", data, at)
            if length > len(data):
                raise MalformedCodeError(f"a name of {length} bytes")
            name = data[at + 24 : at + 24 + length].decode("ascii", "replace")
            at += 24 + length
            target = _TARGET.match(name[:_LONGEST_TARGET])
            yield offset, size, target[1] if target else ""
    except struct.error as error:
        raise MalformedCodeError("a bundle's table is cut off") from error


def _compressed_bundle(cursor: Cursor, version: int, method: int) -> Iterator[Entry]:
    """Read a compressed bundle whose first 8 bytes are taken.

    Its objects are compressed together: each gets a share of the bytes, by its size.
    """
    layout = _SIZES.get(version)
    if layout is None:
        raise MalformedCodeError(f"a compressed bundle of version {version}")
    total, unpacked, _ = struct.unpack(layout, cursor.take(struct.calcsize(layout)))
    rest = total - 8 - struct.calcsize(layout)
    if not 0 <= rest <= cursor.left:
        raise MalformedCodeError(f"a bundle of {total} bytes, but {cursor.left} are left")
    head = cursor.take(min(rest, _COMPRESSED_TABLE))
    crc = cursor.checksum(rest - len(head), zlib.crc32(head))
    start = _inflate(head, method)
    table = [] if start is None else list(_bundle_table(start, cursor.meter))
    named = [(size, arch) for _, size, arch in table if arch and size] or [(unpacked, "")]
    whole = max(sum(size for size, _ in named), 1)
    for size, arch in named:
        yield Entry(
            kind=DeviceKind.AMDGPU,
            arch=arch,
            size=total * size // whole,
            unpacked=size,
            compression=Compression.ZLIB if method == _BY_ZLIB else Compression.ZSTD,
            checksum=crc,
        )


def _inflate(head: bytes, method: int) -> bytes | None:
    """Inflate the beginning of a compressed bundle; None if this Python cannot (zstd)."""
    try:
        if method == _BY_ZLIB:
            return zlib.decompressobj().decompress(head, _TABLE)
        if codec := zstd():
            found: bytes = codec.ZstdDecompressor().decompress(head, _TABLE)
            return found
    except Exception as error:  # ZstdError is a class of whichever module there is
        raise MalformedCodeError(f"a compressed bundle is damaged: {error}") from error
    return None
