"""RECORD: the list of a wheel's files with hash and size (PEP 376, binary distribution format)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.wheel.archive import WheelArchive

SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Files that sign RECORD; they stand beside it and are not listed in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
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

    def replaced(self, *, path: str, hash_: str, size: str) -> Row:
        """Return the row with other values, its line end kept."""
        ending = self.text[len(self.text.rstrip("\r\n")) :]
        line = io.StringIO()
        csv.writer(line, lineterminator=ending).writerow((path, hash_, size))
        return Row(path=path, hash=hash_, size=size, text=line.getvalue())


def path_of(archive: WheelArchive) -> str:
    """Return RECORD's place in the wheel."""
    return f"{archive.dist_info}/RECORD"


def signatures_of(archive: WheelArchive) -> frozenset[str]:
    """Return the places where signatures of RECORD would be."""
    return frozenset(f"{archive.dist_info}/{name}" for name in SIGNATURES)


def read(archive: WheelArchive) -> tuple[Row, ...]:
    """Read RECORD.

    Raises:
        BadWheelError: it is missing, not UTF-8, or not CSV.
    """
    return parse(archive.read(path_of(archive)), where=archive.path.name)


def parse(text: bytes, *, where: str) -> tuple[Row, ...]:
    """Parse RECORD's content.

    Args:
        text: the content.
        where: the wheel, for the message.

    Raises:
        BadWheelError: it is not UTF-8, or not CSV.
    """
    try:
        return tuple(_rows(text.decode("utf-8")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadWheelError.of(f"RECORD cannot be read: {error}", where=where) from error


def _rows(text: str) -> Iterator[Row]:
    # A row may span lines where a name has a line end in it, so the reader counts them.
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines)
    begin = 0
    for fields in reader:
        raw = "".join(lines[begin : reader.line_num])
        begin = reader.line_num
        if fields:
            path, hash_, size = (*fields, "", "")[:3]
            yield Row(path=path, hash=hash_, size=size, text=raw)
