"""Plans that another machine made; `plan` writes them and `build` reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.ci.artefact import differences, job_of
from orchestrator.cli.workspace import (
    only,
    open_workspace,
    read,
    require_versions,
    resolve_versions,
)
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.target import TargetId
from orchestrator.report.schemas import read_plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import Plan


def select_by_plan(
    matrix: Path, path: Path, job_id: str, *, written: Iterable[Path | None]
) -> tuple[Workspace, Plan]:
    """Return the targets of one job of a plan that another machine made.

    Args:
        matrix: the matrix file.
        path: what ``orchestrator plan --save`` wrote.
        job_id: the job.
        written: where this run writes to, which may lie inside the source.

    Raises:
        ConfigError: it is no plan, has no such job, or what would be built here differs from what
            it says; the error has all differences.
        EnvironmentProblemError: an image that knows a version cannot be asked here.
    """
    where = str(path)
    data = read(path, hint="`orchestrator plan --save FILE` writes one")
    document = read_plan(data, where=where)
    job = job_of(document, job_id, where=where)
    workspace = open_workspace(matrix, document.channel)
    beside = (path, *workspace.written, *filter(None, written))
    workspace = replace(workspace, beside=tuple(each.absolute() for each in beside))
    unknown = sorted({*job.targets} - {*workspace.plan.ids})
    if unknown:
        whats = (f"{target_id} is in the plan, but not in {matrix}" for target_id in unknown)
        raise ConfigError(*(Problem(what=what, where=where) for what in whats))
    workspace = resolve_versions(workspace, list(map(TargetId, job.targets)), pull=True)
    plan = only(workspace.plan, (t for t in workspace.plan.everything if t.id in job.targets))
    require_versions(workspace, plan.undetermined)
    problems = differences(document, workspace.requests(plan), where=where)
    if problems:
        raise ConfigError(*problems)
    return workspace, plan
