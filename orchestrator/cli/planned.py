"""Keys as planned, and plans that another machine made; `plan` and `build` share it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.ci.artefact import differences, job_of
from orchestrator.cli.options import WORK_DIR
from orchestrator.cli.workspace import (
    determined,
    open_workspace,
    read,
    stderr,
    undetermined_problems,
)
from orchestrator.errors import ConfigError, EnvironmentProblemError, Problem
from orchestrator.models.target import TargetId
from orchestrator.report.schemas import read_plan
from orchestrator.run.planned import planned_requests

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import BuildRequest, Plan


def requests_of(workspace: Workspace, plan: Plan) -> tuple[BuildRequest, ...]:
    """Return the requests of a plan's targets, as planned; that needs the source's digest."""
    return planned_requests(
        workspace.inputs(plan),
        skip=(workspace.root / "dist", workspace.root / WORK_DIR),
        environ=os.environ,
        say=stderr().print,
    )


def selected_by_plan(
    matrix: Path, path: Path, job_id: str, *, ours: Iterable[Path | None]
) -> tuple[Workspace, Plan]:
    """Return the targets of one job of a plan that another machine made.

    Args:
        matrix: the matrix file.
        path: what ``orchestrator plan --save`` wrote.
        job_id: the job.
        ours: where this run writes to, which may lie inside the source.

    Raises:
        ConfigError: it is no plan, has no such job, or what would be built here is not what it
            says: all that differs.
        EnvironmentProblemError: an image that knows a version cannot be asked here.
    """
    document = read_plan(
        read(path, hint="`orchestrator plan --save FILE` writes one"), where=str(path)
    )
    job = job_of(document, job_id, where=str(path))
    workspace = open_workspace(matrix, document.channel)
    beside = (path, workspace.root / "dist", workspace.root / WORK_DIR, *filter(None, ours))
    workspace = replace(workspace, beside=tuple(each.absolute() for each in beside))
    unknown = sorted({*job.targets} - {*workspace.plan.ids})
    if unknown:
        raise ConfigError(
            *(
                Problem(what=f"{each} is in the plan, and not in {matrix}", where=str(path))
                for each in unknown
            )
        )
    workspace = determined(workspace, [TargetId(each) for each in job.targets], pull=True)
    whole = workspace.plan
    plan = replace(
        whole,
        exclusions=(),
        targets=tuple(each for each in whole.targets if each.id in job.targets),
        undetermined=tuple(each for each in whole.undetermined if each.id in job.targets),
    )
    if plan.undetermined:
        raise EnvironmentProblemError(*undetermined_problems(workspace, plan.undetermined))
    problems = differences(document, requests_of(workspace, plan), where=str(path))
    if problems:
        raise ConfigError(*problems)
    return workspace, plan
