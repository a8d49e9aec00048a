"""Compare the plan, a file between jobs, with what a job would build."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from orchestrator.ci.artefacts import listed
from orchestrator.errors import ConfigError, Problem, closest
from orchestrator.report import serialize as documents
from orchestrator.report.schemas import to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.models.target import BuildRequest, Job
    from orchestrator.report.schemas import PlanDocument, PlannedTarget

PRESENTATION = frozenset(
    {"runner", "emulated", "cost", "covers", "publish", "variant", "line"}
    | {"key", "host_key", "env"}  # which other facts explain, or which are told one by one
)
"""Facts of a target that do not change what is built."""

_INPUTS = {
    "name": ("the project's name", "build the project that the plan was made for"),
    "source": (
        "the source",
        "check out the same commit, with the same submodules; .gitignore what CI puts beside it",
    ),
    "epoch": (
        "the time of the source (SOURCE_DATE_EPOCH)",
        "check out the same commit, with its history: the time is that of the commit",
    ),
    "toolchain": ("the locked toolchain", "install the same orchestrator that made the plan"),
    "builder": ("orchestrator", "install the same orchestrator that made the plan"),
}
"""What all targets share: its name in words, and what to do where it differs."""


def job_of(document: PlanDocument, job_id: str, *, where: str) -> Job:
    """Return one job of a plan; ``where`` is the plan's file, for messages.

    Raises:
        ConfigError: it has no such job.
    """
    jobs = {job.id: job for job in document.jobs}
    if job_id in jobs:
        return jobs[job_id]
    what = f"there is no job {job_id!r} in {where}, which has {len(jobs)}"
    raise ConfigError.of(what, where="--job", hint=closest(job_id, jobs) if jobs else "")


def differences(
    document: PlanDocument, requests: Sequence[BuildRequest], *, where: str
) -> tuple[Problem, ...]:
    """Return what would be built here otherwise than planned; nothing if all keys agree."""
    planned = {target.id: target for target in document.targets}
    differing = [request for request in requests if request.key != planned[request.target.id].key]
    if not differing:
        return ()
    shared = tuple(_shared(document, differing[0], where))
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for request in differing:
        for line in _own(planned[request.target.id], documents.planned_target(request)):
            groups[line].append(request.target.id)
    if not shared and not groups:
        line = "a command, a pin or another setting of matrix.toml is not the one in the plan"
        groups[line] = [request.target.id for request in differing]
    own = (
        Problem(
            what=f"{listed(ids)}: {line}",
            where=where,
            hint="use the same matrix.toml, and set the same variables for the job as for the plan",
        )
        for line, ids in groups.items()
    )
    return (*shared, *own)


def _shared(document: PlanDocument, request: BuildRequest, where: str) -> Iterator[Problem]:
    if document.inputs is None:
        return
    inputs = documents.plan_inputs(request)
    for name, (words, hint) in _INPUTS.items():
        there, here = getattr(document.inputs, name), getattr(inputs, name)
        if there != here:
            what = f"{words} differs: {there!r} in the plan, {here!r} here"
            yield Problem(what=what, where=where, hint=hint)


def _own(planned: PlannedTarget, wanted: PlannedTarget) -> Iterator[str]:
    there, here = to_json_value(planned), to_json_value(wanted)
    facts = {*here} - PRESENTATION
    for old, new, names in (
        (there["env"], here["env"], {*here["env"], *there["env"]}),
        (there, here, facts),
    ):
        for name in sorted(names):
            then, now = old.get(name), new.get(name)
            if then != now:
                yield f"{name} differs: {_value(then)} in the plan, {_value(now)} here"


def _value(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=True)
