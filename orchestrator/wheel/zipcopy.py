"""Writes a wheel that differs from another in a few members only.

All other members' compressed bytes are copied as they are. What is written is decided by the
source alone (no clock, no umask), so the same input gives the same bytes.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import replacing
from orchestrator.wheel.archive import (
    EXTRA_UNICODE_PATH,
    FLAG_DESCRIPTOR,
    FLAG_UTF8,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    encoded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
_UNIX = 3
_VERSION = 20
_DIRECTORY = 0x10
_DATES = range(315532800, 4354819200)
"""Seconds since 1970 that a zip file can say: 1980 to 2107."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEdits:
    """What is different in the copy; everything is named by its old name.

    Attributes:
        names: entry -> its new name.
        contents: member -> its new content.
        dropped: members left out.
        added: new members, by their final name.
        epoch: when given, all that says when, where and in which order the wheel was packed is
            made the same everywhere, with this time (seconds since 1970) for every member.
    """

    names: Mapping[str, str]
    contents: Mapping[str, bytes]
    dropped: frozenset[str]
    added: Mapping[str, bytes] = field(default_factory=dict)
    epoch: int | None = None


class _Written(NamedTuple):
    """An entry of the copy, for its zip directory."""

    entry: zipfile.ZipInfo
    name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int


def write_copy(archive: WheelArchive, edits: CopyEdits, target: Path) -> None:
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
        with replacing(target, mode=archive.mode()) as partial, partial.open("r+b") as out:
            _copy(archive, edits, out)
    except OSError as error:
        raise EnvironmentProblemError.of(
            f"cannot be written: {error.strerror}", where=str(target)
        ) from error


def _copy(archive: WheelArchive, edits: CopyEdits, out: BinaryIO) -> None:
    in_order = _copied if edits.epoch is None else _normalised
    written = in_order(archive, edits, out)
    start = out.tell()
    out.writelines(_directory_entry(one) for one in written)
    out.write(_ending(len(written), start, out.tell() - start, archive.comment))


def _copied(archive: WheelArchive, edits: CopyEdits, out: BinaryIO) -> list[_Written]:
    """Write all entries in their own order and form, new ones last."""
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
    # A new member is as old as the newest other.
    time = max(entry.date_time for entry in archive.entries)
    for name, new in sorted(edits.added.items()):
        ordered.append(_write_plain(archive, _plain_entry(None, name, time), None, new, out))
    return ordered


def _normalised(archive: WheelArchive, edits: CopyEdits, out: BinaryIO) -> list[_Written]:
    """Write all entries in one order, under headers that say nothing of their packing."""
    pieces: list[tuple[str, zipfile.ZipInfo | None, bytes | None]] = [
        (edits.names.get(old.filename, old.filename), old, edits.contents.get(old.filename))
        for old in archive.entries
        if old.filename not in edits.dropped
    ]
    pieces += [(name, None, content) for name, content in edits.added.items()]
    # PEP 427 recommends that the dist-info directory comes last.
    pieces.sort(key=lambda piece: (piece[0].partition("/")[0].endswith(".dist-info"), piece[0]))
    time = _date_time(edits.epoch or 0)
    return [
        _write_plain(archive, _plain_entry(old, name, time), old, content, out)
        for name, old, content in pieces
    ]


_DateTime = tuple[int, int, int, int, int, int]


def _date_time(epoch: int) -> _DateTime:
    at = datetime.fromtimestamp(min(max(epoch, _DATES.start), _DATES.stop - 1), UTC)
    return at.year, at.month, at.day, at.hour, at.minute, at.second


def _plain_entry(old: zipfile.ZipInfo | None, name: str, time: _DateTime) -> zipfile.ZipInfo:
    """Return an entry that says nothing of where, when and by what it was packed.

    Of the old entry stay the compression and whether it is a directory or may be executed.
    """
    plain = zipfile.ZipInfo(name, time)
    mode = old.external_attr >> 16 if old else 0
    plain.create_system = _UNIX
    plain.create_version = plain.extract_version = _VERSION
    plain.external_attr = (0o100755 if mode & 0o111 else 0o100644) << 16
    if name.endswith("/"):
        plain.external_attr = 0o40755 << 16 | _DIRECTORY
    plain.compress_type = old.compress_type if old else zipfile.ZIP_DEFLATED
    return plain


def _write_plain(
    archive: WheelArchive,
    plain: zipfile.ZipInfo,
    old: zipfile.ZipInfo | None,
    content: bytes | None,
    out: BinaryIO,
) -> _Written:
    """Write an entry under a header of its own: new content, or the old entry's bytes."""
    name = plain.filename.encode()
    flags = plain.flag_bits | (0 if name.isascii() else FLAG_UTF8)
    packed = b""
    if content is None and old is not None:
        method, crc, compressed, size = old.compress_type, old.CRC, old.compress_size, old.file_size
    else:
        method = plain.compress_type
        packed = _packed(method, content or b"")
        crc, compressed, size = zlib.crc32(content or b""), len(packed), len(content or b"")
    offset = out.tell()
    extra = b""
    if max(compressed, size) >= _MAX32:
        extra = struct.pack("<HHQQ", _EXTRA_ZIP64, 16, size, compressed)
    sizes = crc, min(compressed, _MAX32), min(size, _MAX32), len(name), len(extra)
    time, date = _dos_time(plain)
    version = _VERSION_ZIP64 if extra else _VERSION
    out.write(LOCAL_HEADER.pack(LOCAL_MAGIC, version, flags, method, time, date, *sizes))
    out.write(name + extra + packed)
    if content is None and old is not None:
        body = archive.body(old)
        archive.copy(body, body + compressed, out)
    return _Written(
        entry=plain,
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        compressed=compressed,
        size=size,
        offset=offset,
    )


def _packed(method: int, content: bytes) -> bytes:
    """Return new content as the method stores it."""
    if method == zipfile.ZIP_STORED:
        return content
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(content) + squeeze.flush()


def _dos_time(entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return time and date as a zip file has them (APPNOTE 4.4.6)."""
    year, month, day, hour, minute, second = entry.date_time
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def _rename_entry(
    archive: WheelArchive, entry: zipfile.ZipInfo, name: bytes, out: BinaryIO
) -> _Written:
    """Write a local header that differs in the name only."""
    fields, extra = _local_header(archive, entry)
    extra = _without(extra, EXTRA_UNICODE_PATH)
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
    extra = _without(extra, _EXTRA_ZIP64)
    if name != encoded(entry, entry.filename):
        extra = _without(extra, EXTRA_UNICODE_PATH)
    method = entry.compress_type
    body = _packed(method, content)
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


def _without(extra: bytes, unwanted: int) -> bytes:
    """Remove a field: zip64 is written anew where it is needed, a second name would be the old."""
    kept = b""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind != unwanted:
            kept += extra[at : at + 4 + size]
        at += 4 + size
    return kept + extra[at:]


def _directory_entry(one: _Written) -> bytes:
    entry = one.entry
    extra = _without(entry.extra, _EXTRA_ZIP64) if entry.extra else b""
    if extra and one.name != encoded(entry, entry.filename):
        extra = _without(extra, EXTRA_UNICODE_PATH)
    # APPNOTE 4.5.3: the field holds, in this order, the values that do not fit.
    values = (one.size, one.compressed, one.offset)
    large = max(values) >= _MAX32 and [value for value in values if value >= _MAX32]
    if large:
        extra = struct.pack(f"<HH{len(large)}Q", _EXTRA_ZIP64, 8 * len(large), *large) + extra
    time, date = _dos_time(entry)
    return (
        _ENTRY.pack(
            b"PK\x01\x02",
            entry.create_version,
            entry.create_system,
            max(entry.extract_version, _VERSION_ZIP64 if large else 0),
            entry.reserved,
            one.flags,
            one.method,
            time,
            date,
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
