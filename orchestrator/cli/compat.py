"""``orchestrator compat refresh``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group("compat")
def command() -> None:
    """The torch support table: what torch was published for."""


@command.command("refresh")
@click.option(
    "--index",
    "indexes",
    multiple=True,
    required=True,
    metavar="URL",
    help="A simple index (PEP 503/691) with torch; may be given more than once.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, for [compat] file.  [default: stdout]",
)
def refresh(indexes: Sequence[str], output: Path | None) -> None:
    """Rebuild the table from the files of an index, and say what changed."""
    import datetime as dt

    from orchestrator.cli.workspace import builtin_table
    from orchestrator.fsutil import write_whole
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.simple_index import file_names
    from orchestrator.plan.torch_table import load_table
    from orchestrator.publish.torch_refresh import differences, dumps, left_out, refreshed

    network = HostNetwork.detect(os.environ)
    names = [name for url in indexes for name in file_names(url, "torch", network)]
    is_there = output is not None and output.is_file()
    known = builtin_table()
    if output is not None and is_there:
        known = load_table(output.read_bytes(), where=str(output))
    shown = ", ".join(url.rpartition("@")[2] if "@" in url else url for url in indexes)
    today = dt.datetime.now(tz=dt.UTC).date()
    table = refreshed(names, known, updated=today, source=f"the files of torch on {shown}")
    for line in differences(known, table):
        click.echo(line, err=True)
    for series in left_out(names, table):
        click.echo(f"torch {series} is left out: its files do not say for which CUDA", err=True)
    text = dumps(table)
    if output is None:
        click.echo(text, nl=False)
        return
    write_whole(output, text, parents=False)
