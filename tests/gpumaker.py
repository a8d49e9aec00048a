"""Makes code for GPUs byte by byte: fat binaries of CUDA, bundles of ROCm, and loose files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from tests.wheelmaker import ElfSpec, make_elf

PTX, SASS = 1, 2
LZ4, ZSTD, SPECIFIC, FAMILY = 0x2000, 0x8000, 0x100000, 0x200000
CUDART = b"\0/cudart.shm.%x\0"
"""A text of the static runtime of CUDA 11; those of 12 and 13 have more."""


def entry(  # noqa: PLR0913
    arch: int,
    content: bytes = b"code",
    *,
    kind: int = SASS,
    flags: int = 0,
    unpacked: int = 0,
    version: tuple[int, int] = (9, 0),
    more: bytes = b"",
) -> bytes:
    """Return an entry of a fat binary, with a longer header if there is `more`."""
    content += b"\0" * (-len(content) % 8)
    header = 64 + len(more)
    head = struct.pack("<HHIQII", kind, 0x101, header, len(content), 0, 0)
    head += struct.pack("<HHIII", version[1], version[0], arch, 0, 0)
    return head + struct.pack("<QQQ", 0x11 | flags, 0, unpacked) + more + content


def fatbin(*entries: bytes) -> bytes:
    """Return a container."""
    body = b"".join(entries)
    return struct.pack("<4sHHQ", b"\x50\xed\x55\xba", 1, 16, len(body)) + body


def bundle(objects: Mapping[str, bytes]) -> bytes:
    """Return a bundle of clang's: target -> code object, each at a page of its own."""
    table, body = b"", b""
    for target, content in objects.items():
        body += b"\0" * (-len(body) % 4096)
        name = target.encode()
        table += struct.pack("<QQQ", 4096 + len(body), len(content), len(name)) + name
        body += content
    head = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(objects)) + table
    return head.ljust(4096, b"\0") + body


def compressed(plain: bytes, version: int = 3, method: int = 0) -> bytes:
    """Return a compressed bundle; without zlib (method 0) the content is nonsense."""
    packed = zlib.compress(plain) if method == 0 else b"\xff" * 40
    layout = "<IIQ" if version == 2 else "<QQQ"
    total = 8 + struct.calcsize(layout) + len(packed)
    return (
        b"CCOB"
        + struct.pack("<HH", version, method)
        + struct.pack(layout, total, len(plain), 7)
        + packed
    )


def device_library(*needed: str, linked: bytes = b"", texts: bytes = b"", **more: bytes) -> bytes:
    """Return a library with code for GPUs that may load the driver; `more` are sections."""
    sections = {".rodata": texts, ".nv_fatbin": linked, **more}
    return make_elf(
        ElfSpec(
            needed=("libc.so.6", *needed),
            undefined=("dlopen",),
            more={name: content for name, content in sections.items() if content},
        )
    )
