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


def select_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--select GLOB``, the same everywhere."""
    return click.option(
        "--select",
        "select",
        multiple=True,
        metavar="EXPR",
        help="Glob over target IDs; may be given more than once.",
    )(function)
