"""``orchestrator plan``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import OneOf, examples
from orchestrator.cli.options import FILE, plan_options, repeatable
from orchestrator.cli.output import emit, print_text, show, stderr, stdout_width, write_file
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import CibuildwheelCatalog, Job, Plan, TargetId

PIPELINES = ("github", "gitlab", "buildkite")
"""Forms that describe jobs: every target must be in one."""

MOST_JOBS = 256


@click.command(
    "plan",
    epilog=examples(
        "plan",
        "plan --excluded",
        "plan --select 'cuda>=13 & arch=aarch64' --format ids",
        "plan --format github --save plan.json",
    ),
)
@plan_options
@click.option(
    "--format",
    "form",
    type=OneOf(["table", "json", "ids", "markdown", *PIPELINES]),
    default="table",
    show_default=True,
    help="json has a schema; ids prints one ID a line; github prints a job matrix on one line; "
    "gitlab and buildkite print pipelines that run the jobs.",
)
@click.option("--excluded", is_flag=True, help="Show what is not built: by rule, with counts.")
@click.option(
    "--save", type=FILE, metavar="FILE", help="Also write the plan as JSON, for `build --plan`."
)
@click.option(
    "--max-jobs",
    type=click.IntRange(1, MOST_JOBS),
    default=MOST_JOBS,
    show_default=True,
    help="Maximum number of jobs.",
)
@click.option(
    "--job-cost",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Maximum cost of targets that share a job; an ordinary target costs 1.",
)
@repeatable(
    "--results",
    "FILE",
    "results.json of an earlier run: a target costs the time it took.",
    type=FILE,
)
def command(
    matrix: Path | None,
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
    """Show the targets, and what is excluded and why."""
    from orchestrator.cli.workspace import open_workspace, print_notes, version_problems

    if excluded and form not in {"table", "json"}:
        raise ConfigError.of(
            f"--format {form} cannot show it",
            where="--excluded",
            hint="leave --format out; json always has every excluded cell",
        )
    everything = form in PIPELINES or save is not None
    workspace = open_workspace(matrix, channel, fetch=everything or form == "json")
    if save is not None:
        workspace = replace(workspace, beside=(save.absolute(),))
    if excluded and not workspace.plan.ids:
        plan = workspace.plan  # --excluded must be able to show that everything is excluded
    else:
        workspace, plan = _select(workspace, select, part, form, everything=everything)
    jobs: tuple[Job, ...] = ()
    if form == "json" or everything:
        from orchestrator.ci.jobs import Sizes, plan_jobs

        sizes = Sizes(most=max_jobs, cost=job_cost)
        jobs = plan_jobs(plan, sizes, seconds=_seconds(results), sdist=bool(workspace.sdist))
    document = ""
    if form == "json" or save is not None:
        document = _document(workspace, plan, jobs)
    if save is not None:
        write_file(save, document)
    if form == "json":
        emit(document)
    else:
        facts = workspace.facts
        text = _text(form, plan, jobs, workspace.named, facts, excluded=excluded)
        emit(f"{text}\n") if form in PIPELINES or form == "ids" else show(text)
    if form != "ids":  # an ID needs no version, so nobody was asked for one
        print_notes(plan)
        for unknown in version_problems(workspace, plan.undetermined):
            print_text(stderr(), f"no version yet: {unknown}")


def _select(
    workspace: Workspace, select: Sequence[str], part: str | None, form: str, *, everything: bool
) -> tuple[Workspace, Plan]:
    """Select targets, with the versions that the form shows or that all targets must have."""
    from orchestrator.cli.workspace import select_with_versions, selected

    if form == "ids" and not everything:
        return workspace, selected(workspace.plan, select, part)
    return select_with_versions(workspace, select, part, pull=everything)


def _text(
    form: str,
    plan: Plan,
    jobs: tuple[Job, ...],
    matrix: Path,
    facts: CibuildwheelCatalog,
    *,
    excluded: bool,
) -> str:
    if form == "ids":
        return "\n".join(plan.ids)
    if form in PIPELINES:
        from orchestrator.ci import pipelines
        from orchestrator.cli.find_matrix import in_repository

        if form == "github":
            return pipelines.github(jobs)
        write = pipelines.gitlab if form == "gitlab" else pipelines.buildkite
        return write(jobs, matrix=in_repository(matrix).as_posix())
    from orchestrator.report import plans

    if form == "markdown":
        return plans.markdown(plan)
    width = stdout_width()
    return plans.excluded(plan, width) if excluded else plans.table(plan, width, facts)


def _seconds(results: Sequence[Path]) -> dict[TargetId, float]:
    """Return how long targets took; what is missing or failed says nothing about its cost."""
    from orchestrator.models.result import Status
    from orchestrator.report.results import read

    return {
        result.target_id: result.duration
        for path in results
        for result in read(path).results
        if result.status is Status.OK and result.duration
    }


def _document(workspace: Workspace, plan: Plan, jobs: tuple[Job, ...]) -> str:
    from orchestrator.ci.annotations import target_lines
    from orchestrator.report import serialize as documents

    requests = workspace.requests(plan)
    lines = target_lines(plan.targets, workspace.settings, workspace.text, plan.channel)
    named = str(workspace.named)
    document = documents.plan_document(
        plan, requests, jobs=jobs, matrix=named, lines=lines, sdist=workspace.sdist
    )
    return documents.dumps(document)
