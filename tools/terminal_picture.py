"""Write docs/pictures/terminal.svg: the plan of the example matrix, and its build under way.

PYTHONPATH=. python tools/terminal_picture.py

It builds the targets of one Python, without a container engine, and takes what the terminal shows
when some are finished and some are running.
"""

from __future__ import annotations

import html
import os
import pty
import re
import select
import subprocess
import tempfile
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyte

from tests.conftest import with_own_store
from tests.transcripts import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "terminal.svg"
COLUMNS, LINES = 80, 60
WIDTH, HEIGHT, MARGIN = 8.4, 19, 16
COLOURS = {
    "default": "#d5d8de",
    "green": "#8fd18a",
    "red": "#f2777a",
    "brown": "#f0c674",
    "cyan": "#7fc8d6",
    "blue": "#8ab4f8",
    "magenta": "#d7a6e8",
}
PLAN = "orchestrator plan"
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
BUILD = "orchestrator build -j 2 --select python=cp311"
FINISHED = 3
"""Targets that are ready in the picture."""


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        variables = {**with_own_store(), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        variables["PATH"] = path_of(place / "bin", variables["PATH"], engines=False)
        (place / "dist").mkdir()
        build = f"{BUILD} --output-dir {place}/dist --work-dir {place}/work"
        plan = grid(rows(shown(PLAN, variables, lambda _: False)))
        run = rows(shown(build, variables, under_way))
        lines = [*typed(PLAN), [("…", "default", False)], *plan, [], *typed(BUILD), *run]
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(svg(lines), encoding="utf-8")


def under_way(screen: pyte.Screen) -> bool:
    """Whether the screen shows a run in the middle."""
    return len(re.findall(r"(?m)^ok ", "\n".join(screen.display))) >= FINISHED


def shown(command: str, env: Mapping[str, str], enough: Callable[[pyte.Screen], bool]) -> Any:
    """Run a command in a terminal; return its screen at the end, or when it is enough."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    argv = ["setsid", "--ctty", "bash", "-c", f"stty cols {COLUMNS} rows {LINES}; {command}"]
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=env)
    os.close(theirs)
    while child.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            stream.feed(data)
            if enough(screen):
                break
    child.terminate()
    child.wait()
    os.close(ours)
    return screen


Run = tuple[str, str, bool]
"""Text, colour, bold."""


def rows(screen: pyte.Screen) -> list[list[Run]]:
    """Return the lines of a screen as runs of one style, without empty ones at the end."""
    found = []
    for number in range(LINES):
        line = screen.buffer[number]
        cells = [line[column] for column in range(COLUMNS)]
        styled = groupby(cells, key=lambda cell: (cell.fg, cell.bold))
        runs = [("".join(cell.data for cell in each), *style) for style, each in styled]
        found.append(runs if "".join(run[0] for run in runs).strip() else [])
    while found and not found[-1]:
        found.pop()
    return found


def grid(lines: Sequence[list[Run]]) -> list[list[Run]]:
    """Leave out the list of targets, which is above the grid."""
    first = next(n for n, line in enumerate(lines) if line and line[0][0].startswith("variant"))
    return list(lines[first:])


def typed(command: str) -> list[list[Run]]:
    """Return a prompt and what is typed there."""
    return [[("$ ", "green", False), (command, "default", True)]]


def svg(lines: Sequence[Sequence[Run]]) -> str:
    """Draw lines of text; each run has its width, whatever font the reader has."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
        "<title>The plan of a matrix, and its build under way</title>",
        f"<style>text{{font:14px {FONTS};white-space:pre}}</style>",
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#1d2127"/>',
    ]
    for number, line in enumerate(lines):
        column = 0
        for text, colour, bold in line:
            if text.strip():
                parts.append(
                    _text(text, column, number, COLOURS.get(colour, COLOURS["default"]), bold=bold)
                )
            column += len(text)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(text: str, column: int, line: int, colour: str, *, bold: bool) -> str:
    start = len(text) - len(text.lstrip())
    text = text.strip()
    x, y = MARGIN + (column + start) * WIDTH, MARGIN + (line + 0.75) * HEIGHT
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}"{weight} textLength="{len(text) * WIDTH:g}" '
        f'lengthAdjust="spacingAndGlyphs">{html.escape(text)}</text>'
    )


if __name__ == "__main__":
    main()
