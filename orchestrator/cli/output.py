"""Where commands read and write by default, and how they print; imports nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.text import Text

MATRIX = Path("matrix.toml")
WORK_DIR = ".orchestrator"
STDOUT = Path("-")

NO_TERMINAL_WIDTH = 240
"""Columns without a terminal: in a log file a folded table is unreadable."""


_LITERAL: Any = {"markup": False, "emoji": False, "highlight": False}
"""What is printed is data or text of others: nothing in it is for rich."""


def say(line: str) -> None:
    """Print a line that is not data."""
    click.echo(line, err=True)


def printable(line: str) -> str:
    """Return a line in which what comes from a wheel can neither end it nor move the cursor."""
    from orchestrator.report.text import visible

    return visible(line).replace("\n", "\\n")


def stdout() -> Console:
    """Return the console for data."""
    from rich.console import Console

    return _widen(Console(**_LITERAL))


def stderr() -> Console:
    """Return the console for everything that is not data."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            """Stop the run as Ctrl-C does: nobody reads any more how it goes."""
            raise KeyboardInterrupt

    return _widen(Stderr(stderr=True, **_LITERAL))


def _widen(console: Console) -> Console:
    if not console.is_terminal:
        console.width = max(console.width, NO_TERMINAL_WIDTH)
    return console


def print_table(
    console: Console, rows: Iterable[Sequence[str | Text]], *columns: str, head: bool = True
) -> None:
    """Print rows of cells; no cell is markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, show_header=head)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console.print(table)


def print_json(document: Any) -> None:
    """Print a JSON document of `orchestrator.report.schemas`, or its value."""
    from orchestrator.report.schemas import to_json_value

    click.echo(json.dumps(to_json_value(document), indent=2))


def write_file(path: Path, text: str) -> None:
    """Write a file that the user named, whole or not at all, to a directory that exists."""
    from orchestrator.fsutil import write_whole

    try:
        write_whole(path, text, parents=False)
    except OSError as error:
        raise EnvironmentProblemError.of(error.strerror or str(error), where=str(path)) from None
