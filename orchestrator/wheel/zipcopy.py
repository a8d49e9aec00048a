"""Write a copy of a wheel that differs in a few members only.

The compressed bytes of all other members are copied. The result depends on the input alone (no
clock, no umask): the same input gives the same bytes.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import replacing
from orchestrator.wheel.archive import (
    END,
    END64,
    EXTRA_UNICODE_PATH,
    EXTRA_ZIP64,
    FLAG_DESCRIPTOR,
    FLAG_UTF8,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    LOCATOR64,
    MAX16,
    MAX32,
    encoded,
    extra_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.wheel.archive import WheelArchive

# APPNOTE 4.3.12: directory entry.
_ENTRY = struct.Struct("<4s4B4H3I5H2I")
_VERSION_ZIP64 = 45
_FLAGS_DEFLATE = 0x6
_LEVEL = 6
_UNIX = 3
_VERSION = 20
_DIRECTORY = 0x10
_DATES = range(315532800, 4354819200)
"""Seconds since 1970 that a zip file can express: 1980 to 2107."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyEdits:
    """What differs in the copy; names are those of the source.

    Attributes:
        names: entry -> its new name.
        contents: member -> its new content.
        added: new members, by their final name.
        dropped: names left out, if there are such members.
        epoch: if given, order, times (this one, in seconds since 1970), modes and other traces of
            packing are normalised.
    """

    names: Mapping[str, str]
    contents: Mapping[str, bytes]
    added: Mapping[str, bytes]
    dropped: frozenset[str] = frozenset()
    epoch: int | None = None


class _Written(NamedTuple):
    """An entry of the copy, for its zip directory."""

    entry: zipfile.ZipInfo
    name: bytes
    flags: int
    crc: int
    compressed: int
    size: int
    offset: int


def write_copy(archive: WheelArchive, edits: CopyEdits, target: Path) -> None:
    """Write the edited copy of a wheel, whole or not at all; it may replace the wheel.

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
    # No bytes lie between entries, so unchanged neighbours are copied as one piece.
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
            sizes = entry.CRC, entry.compress_size, entry.file_size
            written[name] = _Written(entry, encoded(entry, name), entry.flag_bits, *sizes, at)
            continue
        archive.copy(begin, end, out)
        begin = end
        if entry.filename not in edits.dropped:
            body = entry if content is None else content
            extra = _extra_of(archive.local_extra(entry), renamed=name != entry.filename)
            written[entry.filename] = _write(archive, entry, name, extra, body, out)
    archive.copy(begin, end, out)
    ordered = [written[entry.filename] for entry in archive.entries if entry.filename in written]
    # A new member is as old as the newest other.
    time = max(entry.date_time for entry in archive.entries)
    for name, new in sorted(edits.added.items()):
        ordered.append(_write(archive, _plain_entry(None, name, time), name, b"", new, out))
    return ordered


def _normalised(archive: WheelArchive, edits: CopyEdits, out: BinaryIO) -> list[_Written]:
    """Write all entries in a fixed order, under headers without traces of their packing."""
    pieces: list[tuple[str, zipfile.ZipInfo | None, zipfile.ZipInfo | bytes]] = [
        (
            edits.names.get(old.filename, old.filename),
            old,
            edits.contents.get(old.filename, old),
        )
        for old in archive.entries
        if old.filename not in edits.dropped
    ]
    pieces += [(name, None, content) for name, content in edits.added.items()]
    # PEP 427 recommends that the dist-info directory comes last.
    pieces.sort(key=lambda piece: (piece[0].partition("/")[0].endswith(".dist-info"), piece[0]))
    time = _date_time(edits.epoch or 0)
    return [
        _write(archive, _plain_entry(old, name, time), name, b"", body, out)
        for name, old, body in pieces
    ]


_DateTime = tuple[int, int, int, int, int, int]


def _date_time(epoch: int) -> _DateTime:
    at = datetime.fromtimestamp(min(max(epoch, _DATES.start), _DATES.stop - 1), UTC)
    return at.year, at.month, at.day, at.hour, at.minute, at.second


def _plain_entry(old: zipfile.ZipInfo | None, name: str, time: _DateTime) -> zipfile.ZipInfo:
    """Return an entry that does not tell where, when and by what it was packed.

    It keeps the old entry's compression, and whether it is a directory or executable.
    """
    plain = zipfile.ZipInfo(name, time)
    mode = old.external_attr >> 16 if old else 0
    plain.create_system = _UNIX
    plain.create_version = plain.extract_version = _VERSION
    plain.external_attr = (0o100755 if mode & 0o111 else 0o100644) << 16
    if name.endswith("/"):
        plain.external_attr = 0o40755 << 16 | _DIRECTORY
    plain.compress_type = old.compress_type if old else zipfile.ZIP_DEFLATED
    plain.flag_bits = 0 if name.isascii() else FLAG_UTF8
    return plain


def _write(  # noqa: PLR0913, PLR0917 - what an entry consists of
    archive: WheelArchive,
    entry: zipfile.ZipInfo,
    name: str,
    extra: bytes,
    body: zipfile.ZipInfo | bytes,
    out: BinaryIO,
) -> _Written:
    """Write a local header, and new content or the compressed bytes of an old entry.

    The sizes stand in the header, so a data descriptor does not follow.
    """
    flags = entry.flag_bits & ~FLAG_DESCRIPTOR
    packed = b""
    if isinstance(body, bytes):
        flags &= ~_FLAGS_DEFLATE
        packed = _packed(entry.compress_type, body)
        crc, compressed, size = zlib.crc32(body), len(packed), len(body)
    else:
        crc, compressed, size = body.CRC, body.compress_size, body.file_size
    version = entry.extract_version
    if max(compressed, size) >= MAX32:
        version = max(version, _VERSION_ZIP64)
        extra = struct.pack("<HHQQ", EXTRA_ZIP64, 16, size, compressed) + extra
    one = _Written(entry, encoded(entry, name), flags, crc, compressed, size, out.tell())
    sizes = crc, min(compressed, MAX32), min(size, MAX32), len(one.name), len(extra)
    fields = version, flags, entry.compress_type, *_dos_time(entry), *sizes
    out.write(LOCAL_HEADER.pack(LOCAL_MAGIC, *fields) + one.name + extra + packed)
    if not isinstance(body, bytes):
        start = archive.body(body)
        archive.copy(start, start + compressed, out)
    return one


def _packed(method: int, content: bytes) -> bytes:
    """Return content as the compression method stores it."""
    if method == zipfile.ZIP_STORED:
        return content
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(content) + squeeze.flush()


def _dos_time(entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return time and date in the form of a zip file (APPNOTE 4.4.6)."""
    year, month, day, hour, minute, second = entry.date_time
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def _extra_of(extra: bytes, *, renamed: bool) -> bytes:
    """Return extra fields without zip64, which is written anew, and without a name if it is old."""
    fields = list(extra_fields(extra))
    rest = extra[sum(len(field) for _, field in fields) :]
    unwanted = {EXTRA_ZIP64, EXTRA_UNICODE_PATH} if renamed else {EXTRA_ZIP64}
    return b"".join(field for kind, field in fields if kind not in unwanted) + rest


def _directory_entry(one: _Written) -> bytes:
    entry = one.entry
    extra = entry.extra and _extra_of(
        entry.extra, renamed=one.name != encoded(entry, entry.filename)
    )
    # APPNOTE 4.5.3: the field holds, in this order, the values that do not fit.
    values = (one.size, one.compressed, one.offset)
    large = [value for value in values if value >= MAX32] if max(values) >= MAX32 else []
    if large:
        extra = struct.pack(f"<HH{len(large)}Q", EXTRA_ZIP64, 8 * len(large), *large) + extra
    time, date = _dos_time(entry)
    head = _ENTRY.pack(
        b"PK\x01\x02",
        entry.create_version,
        entry.create_system,
        max(entry.extract_version, _VERSION_ZIP64 if large else 0),
        entry.reserved,
        one.flags,
        entry.compress_type,
        time,
        date,
        one.crc,
        min(one.compressed, MAX32),
        min(one.size, MAX32),
        len(one.name),
        len(extra),
        len(entry.comment),
        0,
        entry.internal_attr,
        entry.external_attr,
        min(one.offset, MAX32),
    )
    return head + one.name + extra + entry.comment


def _ending(count: int, start: int, size: int, comment: bytes) -> bytes:
    ending = b""
    if count >= MAX16 or start >= MAX32 or size >= MAX32:
        version = _VERSION_ZIP64
        body = END64.size - 12  # APPNOTE 4.3.14.1: without signature and this field
        ending = END64.pack(
            b"PK\x06\x06", body, version, version, 0, 0, count, count, size, start
        ) + LOCATOR64.pack(b"PK\x06\x07", 0, start + size, 1)
    counts = min(count, MAX16), min(count, MAX16)
    where = min(size, MAX32), min(start, MAX32)
    return ending + END.pack(b"PK\x05\x06", 0, 0, *counts, *where, len(comment)) + comment
