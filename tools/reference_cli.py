"""The page of all commands, from click."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """# Commands

What `--help` says, on one page. stdout holds only data that one could pipe; everything else goes
to stderr. [Exit codes](exit-codes.md) and [environment variables](environment.md) have their own
pages.
"""


def page() -> str:
    """Return the page."""
    return HEAD + "".join(f"\n{line}" for line in _command(cli, "orchestrator", 2)) + "\n"


def _command(command: click.Command, name: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    if level > 2:  # noqa: PLR2004 - the whole program needs no heading of its own
        yield f"{'#' * (level - 1)} `{name}`"
        yield ""
        yield from (command.help or "").replace("\b\n", "").splitlines()
        yield ""
    yield "```text"
    yield " ".join([name, *command.collect_usage_pieces(context)])
    yield "```"
    yield ""
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None and not found.hidden:
                yield from _command(found, f"{name} {sub}", level + 1)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [
        record
        for parameter in command.get_params(context)
        if "--help" not in parameter.opts
        for record in [parameter.get_help_record(context)]
        if record is not None
    ]
    if records:
        yield "| option | |"
        yield "|---|---|"
        for names, text in records:
            yield f"| `{_cell(names)}` | {_cell(text.replace('<', '&lt;'))} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
