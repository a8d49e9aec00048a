"""Compute what reports for people show: the coverage grid, the timeline, the counts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from orchestrator.models.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.report.schemas import Result, ResultsDocument

PLACE = ("python", "libc", "arch")
"""The axes that do not belong to a variant."""

SYMBOLS = {
    Status.OK: "✓",
    Status.FAILED: "✗",
    Status.UNAVAILABLE: "!",
    Status.CANCELLED: "■",
}
"""A status in one character, because not everybody sees colours."""

APART = 600.0
"""Two runs that are further apart, in seconds, get separate charts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRow:
    """One Python on one platform: for each column its results, usually one or none."""

    python: str
    platform: str
    cells: tuple[tuple[Result, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageGrid:
    """Coverage by variant.

    Axes are from top to bottom. Heads are, for each axis, (label, columns that it spans). Wheels
    whose cells are not recorded are unplaced. Where nearly all of the grid would be empty there are
    no rows: it is too sparse.
    """

    axes: tuple[str, ...]
    heads: tuple[tuple[tuple[str, int], ...], ...]
    columns: tuple[str, ...]
    rows: tuple[CoverageRow, ...]
    unplaced: tuple[Result, ...]
    sparse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBar:
    """One target on the timeline; all in percent, `marks` (new steps) of the bar."""

    result: Result
    lane: int
    start: float
    width: float
    marks: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When targets ran, for runs at about the same time.

    Ticks are (percent from the left, seconds since `began`); the load is (percent from the left,
    mean CPUs in use from there on), empty if it was not measured; `most` is the largest.
    """

    began: float
    seconds: float
    lanes: tuple[str, ...]
    bars: tuple[TimelineBar, ...]
    ticks: tuple[tuple[float, float], ...]
    load: tuple[tuple[float, float], ...]
    most: float


@dataclass(frozen=True, kw_only=True)
class ResultsView:
    """What reports show of a results document."""

    document: ResultsDocument

    @cached_property
    def wheels(self) -> tuple[Result, ...]:
        """The results of targets that make a wheel."""
        return tuple(e for e in self.document.results if e.target is None or not e.target.library)

    @cached_property
    def counts(self) -> Mapping[Status, int]:
        """Status -> number of targets, without zeros, best status first."""
        counted = Counter(each.status for each in self.document.results)
        return {status: counted[status] for status in Status if counted[status]}

    @cached_property
    def cached(self) -> int:
        """Targets whose result came from the store."""
        return sum(each.cached for each in self.document.results)

    @cached_property
    def failures(self) -> tuple[Result, ...]:
        """Results without a wheel: failed targets first, then unavailable ones."""
        found = (each for each in self.document.results if each.status is not Status.OK)
        order = list(Status)
        return tuple(sorted(found, key=lambda each: order.index(each.status)))

    @cached_property
    def bytes(self) -> int:
        """Size of all wheels."""
        return sum(each.wheel.size for each in self.wheels if each.wheel is not None)

    @cached_property
    def projects(self) -> tuple[str, ...]:
        """Names of the projects that were built."""
        names = {e.request.source.name for e in self.document.results if e.request is not None}
        # A source may leave its name to its build backend; a wheel has one (PEP 427).
        files = {e.wheel.filename for e in self.wheels if e.wheel is not None}
        return tuple(sorted(names - {""} or {each.partition("-")[0] for each in files}))

    @cached_property
    def grid(self) -> CoverageGrid:
        """Coverage by variant; every covered cell counts."""
        return _grid(self.wheels)

    @cached_property
    def charts(self) -> tuple[Timeline, ...]:
        """One chart for each group of runs that (nearly) overlap, the latest first."""
        return _charts(self.document.results)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which ``cp39`` comes before ``cp310``."""
    parts = re.findall(r"\d{1,30}|\D+", text)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


# The grid


_SMALL = 1000
_SPARSE = 32
"""Cells of a grid that is drawn, and empty ones beyond that for each one that is not."""


def _is_sparse(cells: Sequence[Mapping[str, str]], axes: int) -> bool:
    """Whether the grid of some cells would grow with their square: each in a place of its own."""
    rows = {tuple(cell.get(axis, "") for axis in PLACE) for cell in cells}
    columns = {frozenset((k, v) for k, v in cell.items() if k not in PLACE) for cell in cells}
    return len(columns) * max(len(rows), axes) > _SMALL + _SPARSE * len(cells)


def _grid(results: Sequence[Result]) -> CoverageGrid:
    cells = [(each, dict(cell)) for each in results if each.target for cell in each.target.covers]
    axes = tuple(dict.fromkeys(axis for _, cell in cells for axis in cell if axis not in PLACE))
    unplaced = tuple(each for each in results if each.target is None or not each.target.covers)
    if _is_sparse([cell for _, cell in cells], len(axes)):
        return CoverageGrid(axes=(), heads=(), columns=(), rows=(), unplaced=unplaced, sparse=True)
    found: dict[tuple[str, str], dict[tuple[str, ...], list[Result]]] = {}
    for each, cell in cells:
        python, libc, arch = (cell.get(axis, "") for axis in PLACE)
        row = found.setdefault((python, f"{libc}_{arch}"), {})
        row.setdefault(tuple(cell.get(axis, "") for axis in axes), []).append(each)
    columns = sorted({column for row in found.values() for column in row}, key=_natural)
    return CoverageGrid(
        axes=axes,
        heads=tuple(tuple(_heads(columns, level)) for level in range(1, len(axes) + 1)),
        columns=tuple(" ".join(filter(None, each)) or "all" for each in columns),
        rows=tuple(
            CoverageRow(
                python=python,
                platform=platform,
                cells=tuple(tuple(found[python, platform].get(each, ())) for each in columns),
            )
            for python, platform in sorted(found, key=_natural)
        ),
        unplaced=unplaced,
    )


def _natural(texts: Iterable[str]) -> tuple[object, ...]:
    return tuple(map(natural, texts))


def _heads(columns: Sequence[tuple[str, ...]], level: int) -> Iterator[tuple[str, int]]:
    """Join neighbours that are equal down to this level."""
    for prefix, group in groupby(columns, key=lambda column: column[:level]):
        yield prefix[-1], len(list(group))


# The timeline


def _charts(results: Iterable[Result]) -> tuple[Timeline, ...]:
    ran = sorted(
        (each for each in results if each.started is not None),
        key=lambda each: (each.started or 0.0, each.target_id),
    )
    groups: list[list[Result]] = []
    end = 0.0
    for each in ran:
        began = each.started or 0.0
        if not groups or began > end + APART:
            groups.append([])
            end = began
        groups[-1].append(each)
        end = max(end, began + each.duration)
    return tuple(_chart(group) for group in reversed(groups))


def _chart(results: Sequence[Result]) -> Timeline:
    began = results[0].started or 0.0
    seconds = max(max((e.started or 0.0) + e.duration for e in results) - began, 0.001)
    places = list(_places(results))
    names = sorted(set(places))
    lanes = {name: number for number, name in enumerate(names)}
    runs = {run: n for n, run in enumerate(dict.fromkeys(run for run, _ in names), 1)}
    bars = tuple(
        TimelineBar(
            result=each,
            lane=lanes[place],
            start=100 * ((each.started or 0.0) - began) / seconds,
            width=100 * each.duration / seconds,
            marks=tuple(_marks(each)),
        )
        for each, place in zip(results, places, strict=True)
    )
    load = tuple(_load(bars, seconds))
    return Timeline(
        began=began,
        seconds=seconds,
        lanes=tuple(
            (f"run {runs[run]}, " if len(runs) > 1 else "") + f"slot {slot + 1}"
            for run, slot in names
        ),
        bars=bars,
        ticks=tuple((100 * at / seconds, at) for at in _ticks(seconds)),
        load=load,
        most=max((cpus for _, cpus in load), default=0.0),
    )


def _places(results: Iterable[Result]) -> Iterator[tuple[str, int]]:
    """Return each result's run and slot; if no slot is recorded, the first free one."""
    free: dict[str, list[float]] = {}
    for each in results:
        run, start = each.run or "", each.started or 0.0
        ends = free.setdefault(run, [])
        slot = each.slot
        if slot is None:
            slot = next((n for n, end in enumerate(ends) if end <= start), len(ends))
        ends += [0.0] * (slot + 1 - len(ends)) if slot < _MOST_SLOTS else []
        if slot < len(ends):
            ends[slot] = max(ends[slot], start + each.duration)
        yield run, slot


_MOST_SLOTS = 4096
"""Higher slots are not real ones."""


def _marks(result: Result) -> Iterator[float]:
    """Return where each step but the first begins, in percent of the whole."""
    at = 0.0
    for each in result.steps[:-1]:
        at += each.seconds
        if 0 < at < result.duration:
            yield 100 * at / result.duration


def _load(bars: Sequence[TimelineBar], seconds: float) -> Iterator[tuple[float, float]]:
    """Return how many CPUs were in use, each target's mean over all of its time."""
    changes: dict[float, float] = {}
    for bar in bars:
        used = bar.result.cpu_seconds
        if used is not None and bar.width > 0:
            mean = used / (bar.width * seconds / 100)
            changes[bar.start] = changes.get(bar.start, 0.0) + mean
            end = bar.start + bar.width
            changes[end] = changes.get(end, 0.0) - mean
    now = 0.0
    for at in sorted(changes):
        now += changes[at]
        yield at, max(round(now, 3), 0.0)


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_FEWEST = 5


def _ticks(seconds: float) -> Iterator[float]:
    """Return about five round times."""
    step = next((each for each in _STEPS if seconds / each <= _FEWEST), seconds / _FEWEST)
    at = 0.0
    while at <= seconds:
        yield at
        at += step
