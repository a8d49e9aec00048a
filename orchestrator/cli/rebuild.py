"""``orchestrator rebuild``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.build import build_options, run_build
from orchestrator.cli.options import matrix_option
from orchestrator.models import Plan

if TYPE_CHECKING:
    from pathlib import Path


@click.command("rebuild")
@click.argument("target")
@matrix_option
@build_options
def command(target: str, matrix: Path, **options: Any) -> int:
    """Build one TARGET, exactly as planned."""
    from orchestrator.cli.common import find_target, open_workspace

    workspace = open_workspace(matrix)
    plan = Plan(targets=(find_target(workspace.plan, target),), exclusions=())
    return run_build(workspace, plan, jobs=1, fail_fast=False, **options)
