"""Where commands read and write by default, and how they print; imports nothing heavy.

All that a command prints goes through `emit`, if a program may read it, or through `say`, `show`
and the two consoles, if a person does: there no name of a file, a directory or a project, no line
of a log and no message moves the cursor, turns the direction of writing, or is a workflow command.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.text import Text

MATRIX = Path("matrix.toml")
WORK_DIR = ".orchestrator"
STDOUT = Path("-")

WIDTH = 80
"""Columns where neither a terminal nor COLUMNS says how many there are."""

LEAST_WIDTH = 40


def say(text: str, *, fold: bool = True) -> None:
    """Print what is not data, for a person, in lines that fit; see `shown`.

    A line that does not fit is folded, its rest further in; no word and no command is broken.
    `fold` is false for what was laid out already, and for source code.
    """
    from orchestrator.report.text import shown

    for line in shown(text).split("\n"):
        long = fold and len(line) > LEAST_WIDTH
        click.echo("\n".join(_folded(line)) if long else line, err=True)


def _folded(line: str) -> Iterator[str]:
    from orchestrator.report.layout import wrapped

    indent = " " * (len(line) - len(line.lstrip()))
    return wrapped(line, stderr().width, first=indent, rest=f"{indent}  ", whole=True)


def show(text: str) -> None:
    """Print an answer for a person; see `shown`."""
    from orchestrator.report.text import shown

    click.echo(shown(text))


def show_items(items: Iterable[tuple[str, str]]) -> None:
    """Print, for a person, what begins a line and a text, folded below itself; no word is broken.

    A text without words is a line of its own.
    """
    from orchestrator.report.layout import wrapped

    width = stdout_width()
    for begin, text in items:
        for line in wrapped(printable(text), width, first=begin, whole=True):
            show(line)


def emit(data: str | bytes) -> None:
    """Print data for a program as it is: a document, which ends its own last line."""
    click.echo(data, nl=False)


def printable(name: object) -> str:
    """Return a name or message of others in which nothing can end the line that it stands in."""
    from orchestrator.report.text import visible

    return visible(str(name)).replace("\n", "\\n")


def stdout() -> Console:
    """Return the console for answers; see `show`."""
    return _console(stderr=False)


def stdout_width() -> int:
    """Return the columns of answers; only where there is a terminal, rich is imported to ask it."""
    # A program may be started without one.
    has_own = (sys.stdout and sys.stdout.isatty()) or "COLUMNS" in os.environ
    return stdout().width if has_own else WIDTH


def stderr() -> Console:
    """Return the console for everything that is not data; see `say`."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console
    from rich.segment import Segment

    from orchestrator.ci.commands import is_fold
    from orchestrator.report.text import shown

    class ShownConsole(Console):
        """A console that shows every text as `shown` does; colours and the cursor are its own."""

        def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
            for segment in super().render(*arguments, **options):
                text, style, control = segment
                lines = (line if is_fold(line) else shown(line) for line in text.split("\n"))
                yield segment if control else Segment("\n".join(lines), style)

        def on_broken_pipe(self) -> None:
            """Stop a run as Ctrl-C does: nobody reads any more how it goes."""
            if stderr:
                raise KeyboardInterrupt
            super().on_broken_pipe()

    console = ShownConsole(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = WIDTH  # not that of another stream's terminal
    console.width = max(console.width, LEAST_WIDTH)
    return console


def print_lines(console: Console, lines: Iterable[str | Text]) -> None:
    """Print lines that fit the console's width as they are; no line is markup."""
    from rich.text import Text

    for line in lines:
        text = Text(line) if isinstance(line, str) else line
        console.print(text, soft_wrap=True)


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print a sentence, in as many lines as it needs."""
    from rich.text import Text

    from orchestrator.report.layout import wrapped

    print_lines(
        console, (Text(line, style=style) for line in wrapped(text, console.width, rest="  "))
    )


def print_table(
    console: Console, rows: Iterable[Sequence[str]], *columns: str, flexible: int | None = None
) -> None:
    """Print rows of cells below a head; the `flexible` column is wrapped where it must be."""
    from orchestrator.report.layout import fitted

    lines = fitted([columns, *rows], console.width, flexible=flexible)
    print_lines(console, (line for row in lines for line in row))


def print_json(document: Any) -> None:
    """Print a JSON document of `orchestrator.report.schemas`, or its value."""
    from orchestrator.report.schemas import to_json_value

    emit(json.dumps(to_json_value(document), indent=2) + "\n")


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named, whole or not at all, to a directory that exists."""
    from orchestrator.fsutil import write_whole

    try:
        write_whole(path, text, parents=False)
    except OSError as error:
        raise EnvironmentProblemError.of(error.strerror or str(error), where=str(path)) from None
