"""``orchestrator rebuild``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.build import build_options, run_build
from orchestrator.cli.options import channel_option, matrix_option, target_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command("rebuild")
@target_argument
@matrix_option
@channel_option
@build_options
def command(target: str, matrix: Path, channel: str, **options: Any) -> int:
    """Build one TARGET, exactly as planned."""
    from orchestrator.cli.common import find_target, open_workspace

    workspace, plan = find_target(open_workspace(matrix, channel), target, pull=True)
    return run_build(workspace, plan, jobs=1, fail_fast=False, **options)
