"""RECORD: the list of a wheel's files with hash and size (PEP 376, binary distribution format)."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.words import count_of
from orchestrator.wheel.scan import record_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.wheel.archive import WheelArchive

SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Files that sign RECORD; they are beside it and not listed in it."""

# A row has a name (its quotes doubled), a hash and a size; a few rows may name removed files.
_ROW_BYTES = 512
_SPARE_ROWS = 1000


class RecordRow(NamedTuple):
    """One line of RECORD.

    Attributes:
        path: the file.
        hash: ``sha256=...``, or empty.
        size: in bytes, decimal, or empty.
        text: the line as written, with its end.
    """

    path: str
    hash: str
    size: str
    text: str

    def replaced(self, path: str, content: bytes | None) -> RecordRow:
        """Return the row with another path and content (None: the same), its line end kept."""
        hash_, size = self.hash, self.size
        if content is not None:
            hash_, size = record_hash(hashlib.sha256(content)), str(len(content))
        ending = self.text[len(self.text.rstrip("\r\n")) :]
        line = io.StringIO()
        csv.writer(line, lineterminator=ending).writerow((path, hash_, size))
        return RecordRow(path=path, hash=hash_, size=size, text=line.getvalue())


def path_of(archive: WheelArchive) -> str:
    """Return RECORD's path in the wheel."""
    return f"{archive.dist_info}/RECORD"


def signatures_of(archive: WheelArchive) -> frozenset[str]:
    """Return the paths that signatures of RECORD would have."""
    return frozenset(f"{archive.dist_info}/{name}" for name in SIGNATURES)


def read(archive: WheelArchive) -> tuple[RecordRow, ...]:
    """Read RECORD.

    Raises:
        BadWheelError: it is missing, not UTF-8, not CSV, or far too long; see `content`.
    """
    return parse(archive, content(archive))


def content(archive: WheelArchive) -> bytes:
    """Return RECORD's bytes, unless there are more than the members can explain.

    A parsed row of two bytes takes hundreds, so this is checked before parsing.

    Raises:
        BadWheelError: it is missing, damaged, or far too long for so few members.
    """
    place, members = path_of(archive), len(archive.members)
    rows = 2 * members + _SPARE_ROWS
    names = sum(len(member.filename.encode()) for member in archive.members)
    size = archive.packed(place).size
    if size > 4 * names + rows * _ROW_BYTES:
        raise archive.bad(f"RECORD has {size} bytes for {count_of(members, 'member')}")
    text = archive.read(place)
    # Lines may end in CR, LF or both, and names may contain line ends.
    lines = text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")
    inside = sum(len(member.filename.splitlines()) for member in archive.members)
    if lines > rows + inside:
        raise archive.bad(f"RECORD has {count_of(lines, 'line')} for {count_of(members, 'member')}")
    archive.budget.text(size, "RECORD")
    return text


def parse(archive: WheelArchive, text: bytes) -> tuple[RecordRow, ...]:
    """Parse RECORD's content.

    Raises:
        BadWheelError: it is not UTF-8, or not CSV.
    """
    try:
        return tuple(rows(text.decode("utf-8")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise archive.bad(f"RECORD cannot be read: {error}") from error


def rows(text: str) -> Iterator[RecordRow]:
    """Yield the rows of RECORD's text; raises `csv.Error` if it is not CSV."""
    lines = list(io.StringIO(text, newline=""))
    # A row may span lines where a name has a line end in it, so the reader counts them.
    reader = csv.reader(lines)
    begin = 0
    for fields in reader:
        end = reader.line_num
        if fields:
            path, hash_, size = fields if len(fields) == 3 else (*fields, "", "")[:3]  # noqa: PLR2004
            text = lines[begin] if end == begin + 1 else "".join(lines[begin:end])
            yield RecordRow(path, hash_, size, text)
        begin = end
