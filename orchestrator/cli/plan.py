"""``orchestrator plan``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import WORK_DIR, matrix_option, select_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.common import Workspace
    from orchestrator.models import Plan


@click.command("plan")
@matrix_option
@select_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ids"]),
    default="table",
    show_default=True,
    help="json has a schema; ids are one a line.",
)
@click.option("--excluded", is_flag=True, help="List every excluded cell, with its rule.")
def command(matrix: Path, select: Sequence[str], form: str, *, excluded: bool) -> None:
    """Show the targets, and what was excluded and why."""
    from orchestrator.cli.common import open_workspace, selected

    workspace = open_workspace(matrix)
    if excluded and not workspace.plan.targets:
        plan = workspace.plan  # that everything is excluded is what this must be able to show
    else:
        plan = selected(workspace.plan, select)
    if form == "ids":
        click.echo("\n".join(each.id for each in plan.targets))
    elif form == "json":
        click.echo(_json(workspace, plan), nl=False)
    else:
        _show(plan, excluded=excluded)


def _json(workspace: Workspace, plan: Plan) -> str:
    # Only JSON has the keys, which need the source.
    from orchestrator.cli.common import stderr
    from orchestrator.report import json as documents
    from orchestrator.run.session import planned_requests

    requests = planned_requests(
        workspace.inputs(plan),
        skip=(workspace.root / "dist", workspace.root / WORK_DIR),
        environ=os.environ,
        say=stderr().print,
    )
    keys = {each.target.id: each.key for each in requests}
    return documents.dumps(documents.plan_document(plan, keys))


def _show(plan: Plan, *, excluded: bool) -> None:
    from orchestrator.cli.common import stdout
    from orchestrator.report.summary import exclusion_table, plan_table

    console = stdout()
    console.print(exclusion_table(plan) if excluded else plan_table(plan))
