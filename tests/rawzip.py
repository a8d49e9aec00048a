"""Writes zip files field by field, so that each field can lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from orchestrator.wheel.inflate import DEFLATED, CompressedMember, fastest

MIB = 1 << 20


def deflated(content: bytes) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(content) + squeeze.flush()


def deflated_zeros(head: bytes, mebibytes: int, tail: bytes = b"") -> bytes:
    """Deflate `head`, some MiB of zeros and `tail`, without ever having them all."""

    def part(content: bytes, how: int) -> bytes:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        return squeeze.compress(content) + squeeze.flush(how)

    zeros = part(bytes(MIB), zlib.Z_FULL_FLUSH)
    return part(head, zlib.Z_FULL_FLUSH) + zeros * mebibytes + part(tail, zlib.Z_FINISH)


def compressed_member(content: bytes, engine: ModuleType | None = None) -> CompressedMember:
    """Return the member of a zip file as its reader sees it."""
    data = deflated(content)
    return CompressedMember(
        pread=lambda offset, size: data[offset : offset + size],
        engine=engine or fastest(),
        offset=0,
        compressed=len(data),
        size=len(content),
        crc=zlib.crc32(content),
        method=DEFLATED,
        spend=lambda _steps, _read, _what: None,
    )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member. `local` and `central` override single fields of the two headers."""

    name: bytes
    content: bytes = b"content"
    method: int = DEFLATED
    flags: int = 0x800
    packed: bytes | None = None
    mode: int = 0o100644
    system: int = 3
    extra: bytes = b""
    descriptor: bytes = b""
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflated(self.content) if self.method == DEFLATED else self.content

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "packed": len(self.body),
            "size": len(self.content),
            "extra": self.extra,
        }


def write(
    entries: Sequence[Entry],
    *,
    before: bytes = b"",
    between: bytes = b"",
    after: bytes = b"",
    **end: Any,
) -> bytes:
    """Return the bytes of a zip file; `between` stands before its directory."""
    out = before
    directory = b""
    for entry in entries:
        at = len(out)
        f = {**entry.fields(), **entry.local}
        sizes = f["crc"], f["packed"], f["size"], len(f["name"]), len(f["extra"])
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 20, f["flags"], f["method"], 0, 0x21, *sizes)
        out += f["name"] + f["extra"] + entry.body + entry.descriptor
        f = {**entry.fields(), "offset": at, **entry.central}
        sizes = f["crc"], f["packed"], f["size"], len(f["name"]), len(f["extra"])
        directory += struct.pack(
            "<4s4B4H3I5H2I",
            *(b"PK\1\2", 20, entry.system, 20, 0, f["flags"], f["method"], 0, 0x21, *sizes),
            *(0, 0, 0, entry.mode << 16, f["offset"]),
        )
        directory += f["name"] + f["extra"]
    out += between
    f = {"count": len(entries), "size": len(directory), "offset": len(out), "comment": b"", **end}
    out += directory
    counts = f["count"], f["count"], f["size"], f["offset"], len(f["comment"])
    ending: bytes = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *counts) + f["comment"]
    return out + ending + after
