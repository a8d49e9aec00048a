"""Compare two wheels, down to how they are packed."""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import clipped
from orchestrator.models.growth import growth
from orchestrator.models.words import count_of
from orchestrator.wheel import gpu_report, record
from orchestrator.wheel.archive import CHUNK, open_wheel
from orchestrator.wheel.scan import scan

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.models.growth import Growth
    from orchestrator.models.wheel import DeviceCode, FileSize
    from orchestrator.wheel.archive import WheelArchive

TEXT_LIMIT = 1 << 20
"""Size up to which two texts are compared line by line, in bytes."""

LINES = 6
"""Lines of a comparison to show."""

_TIME = "{}-{:02}-{:02} {:02}:{:02}:{:02}"


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
            (*_names(one, two), *_members(one, two)),
            key=lambda each: list(DifferenceKind).index(each.kind),
        )
        if not found and one.digest() != two.digest():
            found.append(_packing("bytes outside the members", "differ"))
    return tuple(found)


class _Sizes(NamedTuple):
    """See `SizedWheel`."""

    size: int
    device_code: tuple[DeviceCode, ...]
    largest: tuple[FileSize, ...]


def growth_between(first: Path, second: Path) -> Growth:
    """Return how the second of two wheels has grown since the first.

    Raises:
        BadWheelError: one of them is not a wheel that can be read.
    """
    return growth(_sizes(first), _sizes(second))


def _sizes(path: Path) -> _Sizes:
    with open_wheel(path) as archive:
        devices = scan(archive).devices
        largest = gpu_report.largest_files(archive.members, devices)
        return _Sizes(path.stat().st_size, gpu_report.device_code(devices), largest)


def _names(one: WheelArchive, two: WheelArchive) -> Iterator[Difference]:
    pairs = (
        ("file name", one.path.name, two.path.name),
        ("dist-info directory", one.dist_info, two.dist_info),
    )
    for where, a, b in pairs:
        if a != b:
            yield Difference(kind=DifferenceKind.NAME, where=where, detail=f"{a} / {b}")
    if one.comment != two.comment:
        yield _packing("zip comment", "differs")


def _packing(where: str, detail: str) -> Difference:
    return Difference(kind=DifferenceKind.PACKING, where=where, detail=detail)


class _Member(NamedTuple):
    """An entry of one of the two wheels."""

    wheel: WheelArchive
    entry: zipfile.ZipInfo

    def text(self) -> str | None:
        """Return the content; None if it is not text, or too long to compare by lines."""
        if self.entry.file_size > TEXT_LIMIT:
            return None
        try:
            text = self.wheel.read(self.entry.filename).decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text

    def packed(self) -> Iterator[bytes]:
        """Iterate over the compressed bytes."""
        end = self.wheel.body(self.entry) + self.entry.compress_size
        for at in range(self.wheel.body(self.entry), end, CHUNK):
            yield self.wheel.raw(at, min(CHUNK, end - at))


def _members(one: WheelArchive, two: WheelArchive) -> Iterator[Difference]:
    ours = {entry.filename: _Member(one, entry) for entry in one.entries}
    theirs = {_matched(entry.filename, one, two): _Member(two, entry) for entry in two.entries}
    for which, names in (("first", ours.keys() - theirs), ("second", theirs.keys() - ours)):
        for name in sorted(names):
            detail = f"only in the {which}"
            yield Difference(kind=DifferenceKind.MEMBER, where=name, detail=detail)
    common = [name for name in ours if name in theirs]
    for name in common:
        yield from _differences(ours[name], theirs[name])
    if common != [name for name in theirs if name in ours]:
        yield _packing("order of members", "differs")


def _matched(name: str, one: WheelArchive, two: WheelArchive) -> str:
    """Return the name that a member of the second wheel would have in the first."""
    for kind in (".dist-info", ".data"):
        mine, other = (wheel.dist_info.removesuffix(".dist-info") + kind for wheel in (one, two))
        top, slash, rest = name.partition("/")
        if slash and top == other:
            return f"{mine}/{rest}"
    return name


def _differences(a: _Member, b: _Member) -> Iterator[Difference]:
    where = a.entry.filename
    if not _same_bytes(a, b):
        at = _first_difference(a, b)
        if at is None:
            sizes = f"{a.entry.compress_size} / {b.entry.compress_size}"
            detail = f"{sizes} bytes, identical once inflated"
            yield Difference(kind=DifferenceKind.COMPRESSION, where=where, detail=detail)
        elif where == record.path_of(a.wheel) and _same_lines(a.wheel, b.wheel):
            yield _packing(where, "same lines, other order")
        else:
            sizes = f"{a.entry.file_size} / {b.entry.file_size}"
            detail = _text_difference(a, b) or f"{sizes} bytes, different from byte {at} on"
            yield Difference(kind=DifferenceKind.CONTENT, where=where, detail=detail)
    if detail := "; ".join(_differing_fields(a.entry, b.entry)):
        yield _packing(where, detail)


def _same_lines(one: WheelArchive, two: WheelArchive) -> bool:
    """Whether two RECORDs have the same lines in any order."""
    first, second = (sorted(record.content(wheel).splitlines()) for wheel in (one, two))
    return first == second


def _same_bytes(a: _Member, b: _Member) -> bool:
    """Whether two members have the same compressed bytes, and so the same content."""
    key = attrgetter("CRC", "compress_type", "compress_size", "file_size")
    if key(a.entry) != key(b.entry):
        return False
    return all(x == y for x, y in zip(a.packed(), b.packed(), strict=True))


def _first_difference(a: _Member, b: _Member) -> int | None:
    """Return where two contents begin to differ; None if they are identical."""
    left, right = (member.wheel.chunks(member.entry.filename) for member in (a, b))
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


def _text_difference(a: _Member, b: _Member) -> str:
    """Return the first lines that differ; empty if one is not text."""
    x, y = a.text(), b.text()
    if x is None or y is None:
        return ""
    left, right = x.splitlines(), y.splitlines()
    for member, lines in ((a, left), (b, right)):
        member.wheel.budget.spend(len(lines), member.entry.file_size, "texts")
    changed = list(_changed_lines(left, right))
    if not changed:
        return "same lines, other order" if left != right else ""
    more = (
        f"\n... and {count_of(len(changed) - LINES, 'more line')}" if len(changed) > LINES else ""
    )
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


def _differing_fields(a: zipfile.ZipInfo, b: zipfile.ZipInfo) -> Iterator[str]:
    if a.date_time != b.date_time:
        yield f"time {_TIME.format(*a.date_time)} / {_TIME.format(*b.date_time)}"
    if a.external_attr != b.external_attr:
        yield f"mode {_mode(a)} / {_mode(b)}"
    rest = ("extra", "comment", "flag_bits", "create_system", "create_version", "internal_attr")
    if other := [name for name in rest if getattr(a, name) != getattr(b, name)]:
        yield f"zip fields {', '.join(other)}"


def _mode(entry: zipfile.ZipInfo) -> str:
    mode = entry.external_attr >> 16
    return stat.filemode(mode) if mode else "none"
