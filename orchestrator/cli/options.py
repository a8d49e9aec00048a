"""Options that several commands share; imports nothing heavy, so that --help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

WORK_DIR = ".orchestrator"


def matrix_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--matrix FILE``, the same everywhere."""
    return click.option(
        "--matrix",
        "matrix",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("matrix.toml"),
        show_default=True,
        metavar="FILE",
        help="The matrix file.",
    )(function)


def channel_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--channel NAME``, the same everywhere."""
    return click.option(
        "--channel",
        default="",
        metavar="NAME",
        shell_complete=_channels,
        help="Plan for a channel of the matrix: [channel.NAME].",
    )(function)


def select_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--select EXPR`` and ``--shard I/N``, the same everywhere."""
    function = click.option(
        "--shard",
        "part",
        metavar="I/N",
        help="Only the I-th of N parts of about equal cost.",
    )(function)
    return click.option(
        "--select",
        "select",
        multiple=True,
        metavar="EXPR",
        shell_complete=_ids,
        help="Glob over target IDs, or an expression over axes such as "
        "'cuda>=13 & arch=aarch64 & !python=cp314t'; may be given more than once.",
    )(function)


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--html FILE`` and the like, the same everywhere."""
    options = (
        ("--html", "One page for a browser."),
        ("--junit", "JUnit XML, for what shows test results."),
        ("--markdown", "For a job's summary or a comment."),
    )
    for name, text in reversed(options):
        function = click.option(
            name,
            type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
            metavar="FILE",
            help=f"{text}  [- is stdout]",
        )(function)
    return function


def target_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """``TARGET``, the same everywhere."""
    return click.argument("target", shell_complete=_ids)(function)


def _ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The IDs of the matrix at hand, for the shell; a wrong matrix has none."""
    del parameter
    from orchestrator.cli.workspace import open_workspace
    from orchestrator.errors import OrchestratorError

    try:
        plan = open_workspace(_matrix(context), context.params.get("channel") or "").plan
    except OrchestratorError:
        return []
    return [each for each in plan.ids if each.startswith(incomplete)]


def _channels(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del parameter
    from orchestrator.cli.workspace import open_workspace
    from orchestrator.errors import OrchestratorError

    try:
        settings = open_workspace(_matrix(context)).settings
    except OrchestratorError:
        return []
    return [each for each in sorted(settings.channel) if each.startswith(incomplete)]


def _matrix(context: click.Context) -> Path:
    return Path(context.params.get("matrix") or "matrix.toml")
