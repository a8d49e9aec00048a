"""``orchestrator compat refresh``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import Commands, examples
from orchestrator.cli.options import FILE, repeatable
from orchestrator.cli.output import emit, say, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@click.group("compat", cls=Commands)
def command() -> None:
    """The torch support table: which Pythons, platforms and CUDAs torch was published for."""


@command.command("refresh", epilog=examples("compat refresh --index https://example.org/whl"))
@repeatable("--index indexes", "URL", "Simple index (PEP 503/691) that has torch.", required=True)
@click.option("--output", type=FILE, help="File for [compat] file.  [default: stdout]")
def refresh(indexes: Sequence[str], output: Path | None) -> None:
    """Rebuild the table from the files of an index, and show what changed."""
    import datetime as dt

    from orchestrator.cli.workspace import read
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.program_tables import builtin_table
    from orchestrator.host.redaction import without_login
    from orchestrator.host.simple_index import file_names
    from orchestrator.plan.torch_table import load_table
    from orchestrator.publish.torch_refresh import differences, dumps, left_out, refresh

    network = HostNetwork.detect(os.environ)
    names = [name for url in indexes for name in file_names(url, "torch", network)]
    known = builtin_table()
    if output is not None and output.is_file():
        known = load_table(read(output, hint="name another file"), where=str(output))
    shown = ", ".join(map(without_login, indexes))
    today = dt.datetime.now(tz=dt.UTC).date()
    table = refresh(names, known, updated=today, source=f"the files of torch on {shown}")
    for line in differences(known, table):
        say(line)
    for series in left_out(names, table):
        say(f"torch {series} is left out: the names of its files do not say which CUDA they need")
    if output is None:
        emit(dumps(table))
    else:
        write_file(output, dumps(table))
