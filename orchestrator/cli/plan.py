"""``orchestrator plan``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import channel_option, matrix_option, select_options
from orchestrator.errors import ConfigError, EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import Job, Plan, TargetId

PIPELINES = ("github", "gitlab", "buildkite")
"""Forms that describe jobs: every target must be in one."""

MOST_JOBS = 256


@click.command("plan")
@matrix_option
@channel_option
@select_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "ids", "markdown", *PIPELINES]),
    default="table",
    show_default=True,
    help="json has a schema; ids are one a line; github is a job matrix on one line; gitlab and "
    "buildkite are pipelines that run the jobs.",
)
@click.option("--excluded", is_flag=True, help="Show what is not built: by rule, with counts.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan there too, as json, for `build --plan`.",
)
@click.option(
    "--max-jobs",
    type=click.IntRange(1, MOST_JOBS),
    default=MOST_JOBS,
    show_default=True,
    help="Jobs at most.",
)
@click.option(
    "--job-cost",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Targets share a job while together they cost no more; an ordinary target costs 1.",
)
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="results.json of an earlier run: a target costs what it took then.",
)
def command(  # noqa: PLR0913 - the options of the command line
    matrix: Path,
    channel: str,
    select: Sequence[str],
    part: str | None,
    form: str,
    *,
    excluded: bool,
    save: Path | None,
    max_jobs: int,
    job_cost: float,
    results: Sequence[Path],
) -> None:
    """Show the targets, and what was excluded and why."""
    from orchestrator.ci.jobs import Sizes, plan_jobs
    from orchestrator.cli.workspace import open_workspace

    if excluded and form not in {"table", "json"}:
        raise ConfigError.of(
            f"--format {form} has no place for it",
            where="--excluded",
            hint="leave --format out; json has every excluded cell in any case",
        )
    workspace = open_workspace(matrix, channel)
    if save is not None:
        workspace = replace(workspace, beside=(save.absolute(),))
    everything = form in PIPELINES or save is not None
    if excluded and not workspace.plan.ids:
        plan = workspace.plan  # that everything is excluded is what this must be able to show
    else:
        workspace, plan = _selected(workspace, select, part, form, everything=everything)
    jobs: tuple[Job, ...] = ()
    if form == "json" or everything:
        sizes = Sizes(most=max_jobs, cost=job_cost)
        jobs = plan_jobs(plan, sizes, seconds=_seconds(results))
    written = ""
    if form == "json" or save is not None:
        written = _document(workspace, plan, jobs, matrix=matrix)
    if save is not None:
        _save(save, written)
    if form == "json":
        click.echo(written, nl=False)
    else:
        click.echo(_text(form, plan, jobs, matrix, excluded=excluded))
    if form != "ids":  # an ID needs no version, so nobody was asked for one
        _say_unknown(workspace, plan)


def _selected(
    workspace: Workspace, select: Sequence[str], part: str | None, form: str, *, everything: bool
) -> tuple[Workspace, Plan]:
    """Select targets, and ask for the versions that their form shows or that all must have."""
    from orchestrator.cli.workspace import determined, selected, selected_to_build

    if everything:
        return selected_to_build(workspace, select, part)
    plan = selected(workspace.plan, select, part)
    if form != "ids" and plan.undetermined:
        workspace = determined(workspace, plan.ids, pull=False)
        plan = selected(workspace.plan, select, part)
    return workspace, plan


def _text(form: str, plan: Plan, jobs: tuple[Job, ...], matrix: Path, *, excluded: bool) -> str:
    from orchestrator.ci import github, pipelines
    from orchestrator.report import plans

    if form == "ids":
        return "\n".join(plan.ids)
    if form == "github":
        return github.matrix(jobs)
    if form == "gitlab":
        return pipelines.gitlab(jobs, matrix=matrix.as_posix())
    if form == "buildkite":
        return pipelines.buildkite(jobs, matrix=matrix.as_posix())
    if form == "markdown":
        return plans.markdown(plan)
    return plans.excluded(plan) if excluded else plans.table(plan)


def _say_unknown(workspace: Workspace, plan: Plan) -> None:
    from orchestrator.cli.workspace import undetermined_problems

    for problem in undetermined_problems(workspace, plan.undetermined):
        click.echo(f"no version yet: {problem}", err=True)


def _seconds(results: Sequence[Path]) -> dict[TargetId, float]:
    """Return how long targets took; what was not there or failed took nothing that counts."""
    from orchestrator.models.result import Status
    from orchestrator.report.results import read

    return {
        each.target_id: each.duration
        for path in results
        for each in read(path).results
        if each.status is Status.OK and each.duration
    }


def _document(workspace: Workspace, plan: Plan, jobs: tuple[Job, ...], *, matrix: Path) -> str:
    from orchestrator.ci.provenance import target_lines
    from orchestrator.cli.planned import requests_of
    from orchestrator.report import serialize as documents

    requests = requests_of(workspace, plan)
    text = workspace.matrix.read_text(encoding="utf-8")
    lines = target_lines(plan.targets, workspace.settings, text, plan.channel)
    document = documents.plan_document(plan, requests, jobs=jobs, matrix=str(matrix), lines=lines)
    return documents.dumps(document)


def _save(path: Path, text: str) -> None:
    from orchestrator.fsutil import write_whole

    try:
        write_whole(path, text, parents=False)
    except OSError as error:
        raise EnvironmentProblemError.of(error.strerror or str(error), where=str(path)) from None
