"""Writes a wheel that differs from another in a few members only.

All other members' compressed bytes are copied as they are. What is written is decided by the
source alone (no clock, no umask), so the same input gives the same bytes.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.errors import EnvironmentProblemError
from orchestrator.wheel.archive import (
    FLAG_DESCRIPTOR,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    encoded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.wheel.archive import WheelArchive

# APPNOTE 4.3.12, 4.3.14 to 4.3.16: directory entry, and the records that end a zip file.
_ENTRY = struct.Struct("<4s4B4H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_VERSION_ZIP64 = 45
_EXTRA_ZIP64 = 1
_FLAGS_DEFLATE = 0x6
_LEVEL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is different in the copy; everything is named by its old name.

    Attributes:
        names: entry -> its new name.
        contents: member -> its new content.
        dropped: members left out.
    """

    names: Mapping[str, str]
    contents: Mapping[str, bytes]
    dropped: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """An entry of the copy, for its zip directory."""

    entry: zipfile.ZipInfo
    name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int


def write_copy(archive: WheelArchive, edits: Edits, target: Path) -> None:
    """Write the edited copy of a wheel, whole or not at all.

    Args:
        archive: the wheel to copy.
        edits: what is different.
        target: the new file; replaced if it is there. May be the source itself.

    Raises:
        BadWheelError: the source is damaged.
        EnvironmentProblemError: the copy cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".wheel-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                _copy(archive, edits, out)
                out.flush()
                os.fchmod(out.fileno(), archive.mode())
                os.fsync(out.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise EnvironmentProblemError.of(
            f"cannot be written: {error.strerror}", where=str(target)
        ) from error


def _sync(directory: Path) -> None:
    """Make the new name survive a crash as well."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy(archive: WheelArchive, edits: Edits, out: BinaryIO) -> None:
    written: dict[str, _Written] = {}
    # The order of the bytes and the order of the zip directory may differ; both are kept.
    entries = sorted(archive.entries, key=lambda entry: entry.header_offset)
    # Nothing lies between the entries, so that neighbours which stay as they are go as one piece.
    ends = [*(entry.header_offset for entry in entries[1:]), archive.directory]
    begin = end = 0
    for entry, its_end in zip(entries, ends, strict=True):
        name = edits.names.get(entry.filename, entry.filename)
        content = edits.contents.get(entry.filename)
        if name == entry.filename and content is None and name not in edits.dropped:
            if begin == end:
                begin = entry.header_offset
            end = its_end
            at = out.tell() + entry.header_offset - begin
            written[name] = _as_it_was(entry, encoded(entry, name), at)
            continue
        archive.copy(begin, end, out)
        begin = end
        if entry.filename in edits.dropped:
            continue
        if content is None:
            one = _rename_entry(archive, entry, encoded(entry, name), out)
            archive.copy(archive.body(entry), its_end, out)
        else:
            one = _write_entry(archive, entry, encoded(entry, name), content, out)
        written[entry.filename] = one
    archive.copy(begin, end, out)
    ordered = [written[entry.filename] for entry in archive.entries if entry.filename in written]
    start = out.tell()
    out.writelines(_directory_entry(one) for one in ordered)
    out.write(_ending(len(ordered), start, out.tell() - start, archive.comment))


def _rename_entry(
    archive: WheelArchive, entry: zipfile.ZipInfo, name: bytes, out: BinaryIO
) -> _Written:
    """Write a local header that differs in the name only."""
    fields, extra = _local_header(archive, entry)
    offset = out.tell()
    out.write(LOCAL_HEADER.pack(LOCAL_MAGIC, *fields[:-2], len(name), len(extra)) + name + extra)
    return _as_it_was(entry, name, offset)


def _as_it_was(entry: zipfile.ZipInfo, name: bytes, offset: int) -> _Written:
    return _Written(
        entry=entry,
        name=name,
        flags=entry.flag_bits,
        method=entry.compress_type,
        crc=entry.CRC,
        compressed=entry.compress_size,
        size=entry.file_size,
        offset=offset,
    )


def _local_header(archive: WheelArchive, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], bytes]:
    """Return the fields of the local header after the signature, and its extra fields."""
    header = archive.local_header(entry)
    _, *fields = LOCAL_HEADER.unpack_from(header)
    return tuple(fields), header[LOCAL_HEADER.size + fields[-2] :]


def _write_entry(
    archive: WheelArchive, entry: zipfile.ZipInfo, name: bytes, content: bytes, out: BinaryIO
) -> _Written:
    """Write new content in an entry's place; time, mode and extra fields stay."""
    fields, extra = _local_header(archive, entry)
    extra = _without_zip64(extra)
    method, body = entry.compress_type, content
    if method != zipfile.ZIP_STORED:
        method = zipfile.ZIP_DEFLATED
        squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = squeeze.compress(content) + squeeze.flush()
    flags = entry.flag_bits & ~(FLAG_DESCRIPTOR | _FLAGS_DEFLATE)
    crc = zlib.crc32(content)
    offset = out.tell()
    version, _, _, time, date, *_ = fields
    sizes = crc, len(body), len(content), len(name), len(extra)
    out.write(LOCAL_HEADER.pack(LOCAL_MAGIC, version, flags, method, time, date, *sizes))
    out.write(name + extra + body)
    return _Written(
        entry=entry,
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        compressed=len(body),
        size=len(content),
        offset=offset,
    )


def _without_zip64(extra: bytes) -> bytes:
    """Remove the zip64 field: it is written anew where it is needed (APPNOTE 4.5.3)."""
    kept = b""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind != _EXTRA_ZIP64:
            kept += extra[at : at + 4 + size]
        at += 4 + size
    return kept + extra[at:]


def _directory_entry(one: _Written) -> bytes:
    entry = one.entry
    extra = _without_zip64(entry.extra) if entry.extra else b""
    # APPNOTE 4.5.3: the field holds, in this order, the values that do not fit.
    values = (one.size, one.compressed, one.offset)
    if large := [value for value in values if value >= _MAX32]:
        extra = struct.pack(f"<HH{len(large)}Q", _EXTRA_ZIP64, 8 * len(large), *large) + extra
    year, month, day, hour, minute, second = entry.date_time
    return (
        _ENTRY.pack(
            b"PK\x01\x02",
            entry.create_version,
            entry.create_system,
            max(entry.extract_version, _VERSION_ZIP64 if large else 0),
            entry.reserved,
            one.flags,
            one.method,
            hour << 11 | minute << 5 | second // 2,
            (year - 1980) << 9 | month << 5 | day,
            one.crc,
            min(one.compressed, _MAX32),
            min(one.size, _MAX32),
            len(one.name),
            len(extra),
            len(entry.comment),
            0,
            entry.internal_attr,
            entry.external_attr,
            min(one.offset, _MAX32),
        )
        + one.name
        + extra
        + entry.comment
    )


def _ending(count: int, start: int, size: int, comment: bytes) -> bytes:
    ending = b""
    if count >= _MAX16 or start >= _MAX32 or size >= _MAX32:
        version = _VERSION_ZIP64
        body = _END64.size - 12  # APPNOTE 4.3.14.1: without signature and this field
        ending = _END64.pack(
            b"PK\x06\x06", body, version, version, 0, 0, count, count, size, start
        ) + _LOCATOR64.pack(b"PK\x06\x07", 0, start + size, 1)
    counts = min(count, _MAX16), min(count, _MAX16)
    where = min(size, _MAX32), min(start, _MAX32)
    return ending + _END.pack(b"PK\x05\x06", 0, 0, *counts, *where, len(comment)) + comment
