"""``orchestrator plan``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import WORK_DIR, channel_option, matrix_option, select_options
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.common import Workspace
    from orchestrator.models import Plan


@click.command("plan")
@matrix_option
@channel_option
@select_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ids", "markdown", "github"]),
    default="table",
    show_default=True,
    help="json has a schema; ids are one a line; github is a job matrix on one line.",
)
@click.option("--excluded", is_flag=True, help="Show what is not built: by rule, with counts.")
def command(  # noqa: PLR0913 - the options of the command line
    matrix: Path,
    channel: str,
    select: Sequence[str],
    part: str | None,
    form: str,
    *,
    excluded: bool,
) -> None:
    """Show the targets, and what was excluded and why."""
    from orchestrator.cli.common import determined, open_workspace, selected
    from orchestrator.report import plans

    if excluded and form not in {"table", "json"}:
        raise ConfigError.of(
            f"--format {form} has no place for it",
            where="--excluded",
            hint="leave --format out; json has every excluded cell in any case",
        )
    workspace = open_workspace(matrix, channel)
    if excluded and not workspace.plan.ids:
        plan = workspace.plan  # that everything is excluded is what this must be able to show
    else:
        plan = selected(workspace.plan, select, part)
        if form != "ids" and plan.undetermined:
            workspace = determined(workspace, plan.ids, pull=False)
            plan = selected(workspace.plan, select, part)
    if form == "ids":
        click.echo("\n".join(plan.ids))
        return  # an ID needs no version, so nobody was asked for one
    if form == "json":
        click.echo(_json(workspace, plan), nl=False)
    elif form == "github":
        click.echo(plans.github(plan))
    elif form == "markdown":
        click.echo(plans.markdown(plan))
    else:
        click.echo(plans.excluded(plan) if excluded else plans.table(plan))
    _say_unknown(workspace, plan)


def _say_unknown(workspace: Workspace, plan: Plan) -> None:
    from orchestrator.cli.common import undetermined_problems

    for problem in undetermined_problems(workspace, plan.undetermined):
        click.echo(f"no version yet: {problem}", err=True)


def _json(workspace: Workspace, plan: Plan) -> str:
    # Only JSON has the keys, which need the source.
    from orchestrator.cli.common import stderr
    from orchestrator.report import json as documents
    from orchestrator.run.planned import planned_requests

    requests = planned_requests(
        workspace.inputs(plan),
        skip=(workspace.root / "dist", workspace.root / WORK_DIR),
        environ=os.environ,
        say=stderr().print,
    )
    keys = {each.target.id: each.key for each in requests}
    return documents.dumps(documents.plan_document(plan, keys))
