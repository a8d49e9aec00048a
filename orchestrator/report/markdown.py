"""A run as Markdown, for a job's summary or a comment; short if all is well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.models.growth import Change, growth
from orchestrator.models.result import Status
from orchestrator.models.words import count_of
from orchestrator.report.progress import duration
from orchestrator.report.summary import change_text, growth_lines, sdist_lines, size
from orchestrator.report.text import NOBODY, code, escape, no_command, one_line, visible
from orchestrator.report.view import ResultsView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.models.growth import Growth
    from orchestrator.models.result import SdistFacts
    from orchestrator.report.history import History
    from orchestrator.report.schemas import Result, ResultsDocument
    from orchestrator.report.view import CoverageGrid

LIMIT = 1_000_000
"""Bytes; GitHub refuses a step's summary of more than 1 MiB."""

TOLD = 0.01
"""Growth from which on a wheel is named, as a part of its size."""

LEAST = 10_000
"""The smallest limit that a summary can keep, in bytes."""

SYMBOLS = {
    Status.OK: "✅",
    Status.FAILED: "❌",
    Status.UNAVAILABLE: "⚠️",
    Status.CANCELLED: "⏹️",
}
NONE = "·"


def render(document: ResultsDocument, past: History | None = None, *, limit: int = LIMIT) -> str:
    """Return counts, coverage, why targets failed, and sizes; also how these have grown.

    `past` has earlier results of the targets. The limit is in bytes, at least `LEAST`; what does
    not fit is counted.
    """
    view = ResultsView(document=document)
    heading = [f"## {escape(', '.join(view.projects) or 'Wheels')}: {_counts(view)}", ""]
    text = _lines([*heading, *_sdist(document.sdist)])
    text += _fitting([_coverage(view.grid)], limit // 4, "The coverage grid does not fit here.")
    why = "{} more targets without a wheel do not fit here."
    text += _fitting(list(_failures(view)), limit // 2, why)
    if past is not None:
        more = "{} more lines on sizes do not fit here."
        text += _fitting(list(_growths(view, past)), limit // 8, more)
    room = limit - len(text.encode()) - 1000
    return text + _table(view, room)


def _sdist(sdist: SdistFacts | None) -> Iterator[str]:
    if sdist is not None:
        status = Status.OK if sdist.failure is None else Status.FAILED
        head, *hints = sdist_lines(sdist)
        yield f"{SYMBOLS[status]} {escape(head.removeprefix('error: '))}"
        yield from (escape(hint.strip()) for hint in hints)
        yield ""


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{each}\n" for each in lines)


def _fitting(parts: Sequence[str], room: int, otherwise: str) -> str:
    """Join the parts that fit, and count the others."""
    kept = []
    for number, each in enumerate(parts):
        room -= len(each.encode())
        if room < 0:
            kept.append(f"{otherwise.format(len(parts) - number)}\n\n")
            break
        kept.append(each)
    return "".join(kept)


def _counts(view: ResultsView) -> str:
    counts = [f"{count} {status.value}" for status, count in view.counts.items()]
    counts += [f"{view.cached} from the store"] if view.cached else []
    counts += [f"{size(view.bytes)} of wheels"] if view.bytes else []
    return ", ".join(counts) or "nothing was built"


def _coverage(grid: CoverageGrid) -> str:
    """Return the grid; the longer of its two dimensions goes down the page."""
    if grid.sparse:
        return "The coverage grid would be nearly empty.\n\n"
    if not grid.rows:
        return ""
    places = [f"{each.python} {each.platform}" for each in grid.rows]
    cells = [
        [" ".join(SYMBOLS[each.status] for each in cell) or NONE for cell in row.cells]
        for row in grid.rows
    ]
    left, top = places, list(grid.columns)
    if len(top) > len(left):
        left, top, cells = top, left, [list(each) for each in zip(*cells, strict=True)]
    lines = ["### Coverage", "", _row(["", *map(code, top)]), f"|{'---|' * (len(top) + 1)}"]
    lines += [_row([code(name), *row]) for name, row in zip(left, cells, strict=True)]
    return _lines([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _failures(view: ResultsView) -> Iterator[str]:
    for number, each in enumerate(view.failures):
        head = [] if number else ["### Without a wheel", ""]
        yield _lines([*head, *_failure(each)])


def _failure(result: Result) -> Iterator[str]:
    failure = result.failure
    message = "" if failure is None else f": {failure.message}"
    name = f"{SYMBOLS[result.status]} <code>{_html(result.target_id)}</code>"
    yield from ("<details>", f"<summary>{name}{_html(message)}</summary>", "")
    if failure is not None and failure.hint:
        yield from (f"Hint: {escape(failure.hint)}", "")
    if result.log_end is not None:
        lines = ("[...]" if n is None else line for n, line in result.log_end.lines)
        text = [no_command(visible(line)) for line in lines]
        # No line can end the fence (CommonMark 4.5).
        runs = (len(run) for line in text for run in re.findall("`+", line))
        fence = "`" * max(max(runs, default=0) + 1, 3)
        yield from (f"{fence}text", *text, fence, "")
    yield from ("</details>", "")


def _html(text: str) -> str:
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return no_command(escaped).replace("@", NOBODY)


def _growths(view: ResultsView, past: History) -> Iterator[str]:
    """Yield a table of the wheels that have grown or shrunk most since the results before."""
    results = view.document.results
    pairs = [(each, before) for each in results if (before := past.before(each)) and each.wheel]
    grown = [(each, before, growth(before, each.wheel)) for each, before in pairs if each.wheel]
    grown = [each for each in grown if _is_told(each[2])]
    if not pairs:
        return
    sizes = [(each.wheel.size, before.size) for each, before in pairs if each.wheel]
    whole = Change("", sum(then for _, then in sizes), sum(now for now, _ in sizes))
    head = ["### Sizes", "", f"{count_of(len(pairs), 'wheel')} with one to compare with: "]
    head[-1] += f"{change_text(whole)}; {len(grown)} changed by more than {TOLD:.0%}."
    yield _lines([*head, ""])
    if grown:
        yield _lines([_row(("target", "since", "size", "most of it")), "|---|---|---|---|"])
    for each, before, change in sorted(grown, key=lambda item: -abs(item[2].total.by)):
        total, *rest = growth_lines(change)
        most = "<br>".join(map(escape, rest))
        yield _lines([_row((code(each.target_id), escape(before.version), escape(total), most))])
    if grown:
        yield "\n"


def _is_told(grown: Growth) -> bool:
    """Whether a wheel has grown or shrunk by much, or has other architectures."""
    new = any(not each.before or not each.now for each in grown.archs)
    return new or abs(grown.total.by) > TOLD * (grown.total.before or 1)


def _table(view: ResultsView, room: int) -> str:
    results = view.document.results
    head = [
        "<details>",
        f"<summary>{count_of(len(results), 'target')}</summary>",
        "",
        _row(("target", "status", "tag", "size", "time", "CPU", "wheel")),
        "|---|---|---|--:|--:|--:|---|",
    ]
    rest = "\n{} more do not fit here."
    rows = _fitting([_row(_cells(each)) + "\n" for each in results], room, rest)
    return f"{_lines(head)}{rows}\n</details>\n"


def _cells(result: Result) -> tuple[str, ...]:
    wheel = result.wheel
    cpu = result.cpu_seconds
    return (
        code(result.target_id),
        f"{SYMBOLS[result.status]} {'from the store' if result.cached else result.status.value}",
        code(wheel.observed_tag) if wheel else "",
        size(wheel.size) if wheel else "",
        duration(result.duration),
        "" if cpu is None else duration(cpu),
        code(wheel.filename) if wheel else "",
    )
