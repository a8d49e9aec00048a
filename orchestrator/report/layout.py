"""Fit what people read into a number of columns: nothing is cut, what is too long is folded."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LEAST = 20
"""Columns in which a sentence can still be read; a narrower one gets a line of its own."""

_GAP = "  "


def wrapped(
    text: str, width: int, *, first: str = "", rest: str | None = None, whole: bool = False
) -> Iterator[str]:
    """Yield the lines of a text, none for none: words stay whole, but for those longer than a line.

    Args:
        text: the text; its own line ends count as blanks.
        width: columns of the longest line.
        first: begins the first line.
        rest: begins all others; by default as many blanks.
        whole: whether to break no word and no quoted command, so that each can be copied; a line
            with a longer one is longer.
    """
    rest = " " * cell_len(first) if rest is None else rest
    prefix, line = first, ""
    words = _UNBROKEN.findall(text) if whole else text.split()
    for word in words:
        joined = f"{line} {word}".lstrip()
        if cell_len(prefix + joined) <= width:
            line = joined
            continue
        if line or (prefix.strip() and cell_len(rest + word) <= width):
            yield f"{prefix}{line}".rstrip()
            prefix = rest
        *most, line = [word] if whole else _folded(word, width, prefix, rest)
        for part in most:
            yield f"{prefix}{part}"
            prefix = rest
    if words:
        yield f"{prefix}{line}"


_MOST_TO_COLUMN = 8
"""Characters to a column; further ones have no width, and need not be looked at to fold a word."""

_UNBROKEN = re.compile(r"[^\s`]*(?:`[^`\n]+`[^\s`]*)+|\S+")
"""A word, or a command in backticks with what clings to it."""

_JOINTS = "/,=;"
"""A word that is longer than a line is folded behind one of these, if there is one."""


def _folded(word: str, width: int, first: str, rest: str) -> Iterator[str]:
    prefix, at = first, 0
    while at < len(word):
        room = max(width - cell_len(prefix), 1)
        part = word[at : at + _MOST_TO_COLUMN * (room + 1)]
        if at + len(part) == len(word) and cell_len(prefix + part) <= width:
            yield part
            return
        head = (chop_cells(part, room) or [part])[0] or part[0]  # [] for words without a width
        joint = max(map(head.rfind, _JOINTS)) + 1
        head = head[:joint] if joint > room // 3 else head
        yield head
        prefix, at = rest, at + len(head)


COLUMN = 30
"""Columns of the names in `described`."""


def described(name: str, value: str, comment: str, width: int) -> Iterator[str]:
    """Yield a name, its value beside it, and a comment behind a ``#``.

    The value begins on a line of its own if it does not fit beside the name, and the name is long
    or a word of the value needs the whole line.
    """
    longest = max(map(cell_len, value.split()), default=0)
    prefix, first = " " * COLUMN, f"{name:<{COLUMN - len(_GAP)}}{_GAP}"
    if value and cell_len(first + value) <= width:
        lines = [first + " ".join(value.split())]
    elif value and (cell_len(first) > COLUMN or longest > width - COLUMN):
        prefix = " " * (len(name) - len(name.lstrip()) + 4)
        lines = [name, *wrapped(value, width, first=prefix)]
    else:
        lines = list(wrapped(value, width, first=first)) or [name]
    mark = f"# {comment}" if comment else ""
    if mark and cell_len(f"{lines[-1]}{_GAP}{mark}") <= width:
        lines[-1] = f"{lines[-1]}{_GAP}{mark}"
        mark = ""
    yield from lines
    yield from wrapped(mark, width, first=prefix, rest=f"{prefix}# ")


def near(path: Path) -> str:
    """Return a path as short as it can be named from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def command(words: Iterable[str], width: int, *, first: str = "") -> Iterator[str]:
    """Yield the lines of a shell command; it can be copied with its line ends."""
    line = first
    for word in map(shlex.quote, words):
        room = width - len(" \\")
        if line.strip() != first.strip() and cell_len(f"{line} {word}") > room:
            yield f"{line} \\"
            line = " " * (cell_len(first) + 2)
        line += word if line.endswith(" ") or not line else f" {word}"
    yield line


def fitted(
    rows: Sequence[Sequence[str]], width: int, *, flexible: int | None = None
) -> list[list[str]]:
    """Return the lines of each row of a table.

    Where all columns do not fit side by side, the `flexible` one is wrapped. Where that is not
    enough, the first cell of each row has a line of its own, above the others.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    spare = width - sum(widths) - len(_GAP) * (len(widths) - 1)
    if spare >= 0:
        return [[_line(row, widths)] for row in rows]
    if flexible is not None and widths[flexible] + spare >= LEAST:
        widths[flexible] += spare
        return [list(_lines(row, widths, flexible)) for row in rows]
    heads = [list(wrapped(row[0], width)) or [""] for row in rows]
    if len(widths) == 1:
        return heads
    below = None if flexible is None else max(flexible - 1, 0)
    bodies = fitted([row[1:] for row in rows], width - len(_GAP), flexible=below)
    return [
        [*head, *(f"{_GAP}{line}" for line in body if line)]
        for head, body in zip(heads, bodies, strict=True)
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell + " " * (size - cell_len(cell)) for cell, size in zip(row, widths, strict=True))
    return _GAP.join(cells).rstrip()


def _lines(row: Sequence[str], widths: Sequence[int], flexible: int) -> Iterator[str]:
    for number, part in enumerate(list(wrapped(row[flexible], widths[flexible])) or [""]):
        cells = [("" if number else cell) for cell in row]
        cells[flexible] = part
        yield _line(cells, widths)
