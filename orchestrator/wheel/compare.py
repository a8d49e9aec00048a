"""Compare two wheels, down to how they are packed."""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING

from orchestrator.errors import clipped
from orchestrator.wheel import record
from orchestrator.wheel.archive import CHUNK, open_wheel

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.wheel.archive import WheelArchive

TEXT_LIMIT = 1 << 20
"""Size up to which two texts are compared line by line, in bytes."""

LINES = 6
"""Lines of a comparison to show."""


class DifferenceKind(StrEnum):
    """Kinds of differences, the gravest first."""

    NAME = "name"
    MEMBER = "member"
    CONTENT = "content"
    COMPRESSION = "compression"
    PACKING = "packing"


HARMLESS = frozenset({DifferenceKind.COMPRESSION, DifferenceKind.PACKING})
"""Differences that disappear when the wheels are installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference between two wheels.

    Attributes:
        kind: its kind.
        where: the member as the first wheel names it, or what else differs.
        detail: how it differs.
    """

    kind: DifferenceKind
    where: str
    detail: str


def compare(first: Path, second: Path) -> tuple[Difference, ...]:
    """Return the differences between two wheels, the gravest first; none if they are identical.

    Members are matched by name; in dist-info and data directories, whatever version the directory
    has. Only members with different compressed bytes are inflated.

    Raises:
        BadWheelError: one of them is not a wheel that can be read.
    """
    with open_wheel(first) as one, open_wheel(second) as two:
        found = sorted(
            (*_names(one, two), *_members(one, two), *_archives(one, two)),
            key=lambda each: list(DifferenceKind).index(each.kind),
        )
        if not found and one.digest() != two.digest():
            rest = "bytes outside the members"
            found.append(Difference(kind=DifferenceKind.PACKING, where=rest, detail="differ"))
    return tuple(found)


def _names(one: WheelArchive, two: WheelArchive) -> Iterator[Difference]:
    pairs = (
        ("file name", one.path.name, two.path.name),
        ("dist-info directory", one.dist_info, two.dist_info),
    )
    for where, a, b in pairs:
        if a != b:
            yield Difference(kind=DifferenceKind.NAME, where=where, detail=f"{a} / {b}")


def _members(one: WheelArchive, two: WheelArchive) -> Iterator[Difference]:
    ours = {entry.filename: entry for entry in one.entries}
    theirs = {_matched(entry.filename, one, two): entry for entry in two.entries}
    for name in sorted(ours.keys() - theirs.keys()):
        yield Difference(kind=DifferenceKind.MEMBER, where=name, detail="only in the first")
    for name in sorted(theirs.keys() - ours.keys()):
        yield Difference(kind=DifferenceKind.MEMBER, where=name, detail="only in the second")
    for name, a in ours.items():
        if (b := theirs.get(name)) is not None:
            yield from _member(one, a, two, b)
    common = [name for name in ours if name in theirs]
    if common != [name for name in theirs if name in ours]:
        yield Difference(kind=DifferenceKind.PACKING, where="order of members", detail="differs")


def _matched(name: str, one: WheelArchive, two: WheelArchive) -> str:
    """Return the name that a member of the second wheel would have in the first."""
    for kind in (".dist-info", ".data"):
        mine, other = (wheel.dist_info.removesuffix(".dist-info") + kind for wheel in (one, two))
        top, slash, rest = name.partition("/")
        if slash and top == other:
            return f"{mine}/{rest}"
    return name


def _member(
    one: WheelArchive, a: zipfile.ZipInfo, two: WheelArchive, b: zipfile.ZipInfo
) -> Iterator[Difference]:
    if not _same_bytes(one, a, two, b):
        at = _first_difference(one, a, two, b)
        if at is None:
            detail = f"{a.compress_size} / {b.compress_size} bytes, identical once inflated"
            yield Difference(kind=DifferenceKind.COMPRESSION, where=a.filename, detail=detail)
        elif a.filename == record.path_of(one) and _same_lines(one, two):
            detail = "same lines, other order"
            yield Difference(kind=DifferenceKind.PACKING, where=a.filename, detail=detail)
        else:
            detail = _text_difference(one, a, two, b) or (
                f"{a.file_size} / {b.file_size} bytes, different from byte {at} on"
            )
            yield Difference(kind=DifferenceKind.CONTENT, where=a.filename, detail=detail)
    if detail := "; ".join(_packing(a, b)):
        yield Difference(kind=DifferenceKind.PACKING, where=a.filename, detail=detail)


def _same_lines(one: WheelArchive, two: WheelArchive) -> bool:
    """Whether two RECORDs have the same lines in any order."""
    first, second = (sorted(record.content(wheel).splitlines()) for wheel in (one, two))
    return first == second


def _same_bytes(
    one: WheelArchive, a: zipfile.ZipInfo, two: WheelArchive, b: zipfile.ZipInfo
) -> bool:
    """Whether two members have the same compressed bytes, and so the same content."""
    key = ("CRC", "compress_type", "compress_size", "file_size")
    if any(getattr(a, name) != getattr(b, name) for name in key):
        return False
    at, there = one.body(a), two.body(b)
    for offset in range(0, a.compress_size, CHUNK):
        size = min(CHUNK, a.compress_size - offset)
        if one.raw(at + offset, size) != two.raw(there + offset, size):
            return False
    return True


def _first_difference(
    one: WheelArchive, a: zipfile.ZipInfo, two: WheelArchive, b: zipfile.ZipInfo
) -> int | None:
    """Return where two contents begin to differ; None if they are identical."""
    left, right = one.chunks(a.filename), two.chunks(b.filename)
    at, x, y = 0, b"", b""
    while True:
        # The chunks of the two sides may differ in size.
        x, y = x or next(left, b""), y or next(right, b"")
        size = min(len(x), len(y))
        if x[:size] != y[:size]:
            return at + next(i for i in range(size) if x[i] != y[i])
        at += size
        x, y = x[size:], y[size:]
        if not size:
            return at if x or y else None


def _text_difference(
    one: WheelArchive, a: zipfile.ZipInfo, two: WheelArchive, b: zipfile.ZipInfo
) -> str:
    """Return the first lines that differ; empty if one is not text."""
    if max(a.file_size, b.file_size) > TEXT_LIMIT:
        return ""
    try:
        x, y = (w.read(e.filename).decode() for w, e in ((one, a), (two, b)))
    except UnicodeDecodeError:
        return ""
    if "\0" in x or "\0" in y:
        return ""
    left, right = x.splitlines(), y.splitlines()
    for wheel, entry, lines in ((one, a, left), (two, b, right)):
        wheel.budget.spend(len(lines), entry.file_size, "texts")
    changed = list(_changed_lines(left, right))
    if not changed:
        return "same lines, other order" if left != right else ""
    more = f"\n... and {len(changed) - LINES} more lines" if len(changed) > LINES else ""
    return "\n".join(map(clipped, changed[:LINES])) + more


def _changed_lines(left: list[str], right: list[str]) -> Iterator[str]:
    """Iterate over the lines that only one text has, or has more often, in turns.

    In time that grows with the lines. Finding the fewest changes takes time that grows with their
    square or cube.
    """
    gone, new = _surplus(left, right, "-"), _surplus(right, left, "+")
    for pair in zip_longest(gone, new):
        yield from filter(None, pair)


def _surplus(lines: list[str], others: list[str], sign: str) -> Iterator[str]:
    spare = Counter(others)
    for line in lines:
        spare[line] -= 1
        if spare[line] < 0:
            yield sign + line


def _packing(a: zipfile.ZipInfo, b: zipfile.ZipInfo) -> Iterator[str]:
    if a.date_time != b.date_time:
        yield f"time {_time(a)} / {_time(b)}"
    if a.external_attr != b.external_attr:
        yield f"mode {_mode(a)} / {_mode(b)}"
    rest = ("extra", "comment", "flag_bits", "create_system", "create_version", "internal_attr")
    if other := [name for name in rest if getattr(a, name) != getattr(b, name)]:
        yield f"zip fields {', '.join(other)}"


def _time(entry: zipfile.ZipInfo) -> str:
    year, month, day, hour, minute, second = entry.date_time
    return f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"


def _mode(entry: zipfile.ZipInfo) -> str:
    mode = entry.external_attr >> 16
    return stat.filemode(mode) if mode else "none"


def _archives(one: WheelArchive, two: WheelArchive) -> Iterator[Difference]:
    if one.comment != two.comment:
        yield Difference(kind=DifferenceKind.PACKING, where="zip comment", detail="differs")
