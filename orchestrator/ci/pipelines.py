"""Jobs as the dynamic pipelines of GitLab and Buildkite, in JSON, which both read as YAML.

No text of a user stands in a command but the matrix file's name, quoted: targets stay in the plan.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from orchestrator.ci.yaml import flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.models.target import Job

PLAN = "plan.json"
"""Where the plan lies in every job."""

TEMPLATE = "/.gitlab/orchestrator.yml"
"""The file of the project that says how a job of GitLab gets orchestrator."""


def gitlab(jobs: Sequence[Job], *, matrix: str) -> str:
    """Return a child pipeline for GitLab.

    Every job extends ``.orchestrator`` of `TEMPLATE` and has the runner's labels as tags. The plan
    comes from the job ``plan`` of the pipeline ``$PARENT_PIPELINE_ID``. ``matrix`` is the matrix
    file as seen from the project's directory.
    """
    plan = {"pipeline": "$PARENT_PIPELINE_ID", "job": "plan"}
    builds: dict[str, Any] = {
        f"{each.id} {_plain(each.name)}": {
            "extends": ".orchestrator",
            "stage": "build",
            "tags": [_plain(label) for label in each.runner],
            "needs": [plan],
            "script": [_build(each, matrix)],
            "artifacts": {"when": "always", "paths": [f"jobs/{each.id}/"]},
        }
        for each in jobs
    }
    # What is collected is checked against the plan, which comes from no job that builds.
    handed_on = {
        "extends": ".orchestrator",
        "stage": "plan",
        "needs": [plan],
        "script": ["orchestrator --version"],  # GitLab wants one
        "artifacts": {"paths": [PLAN]},
    }
    collect = {
        "extends": ".orchestrator",
        "stage": "collect",
        "when": "always",
        "script": [_COLLECT],
        "artifacts": {"when": "always", "paths": ["dist/"]},
    }
    pipeline = {"include": [{"local": TEMPLATE}], "stages": ["plan", "build", "collect"]}
    return flow(pipeline | {"plan": handed_on} | builds | {"collect": collect}, indent=2)


def buildkite(jobs: Sequence[Job], *, matrix: str) -> str:
    """Return steps for ``buildkite-agent pipeline upload --no-interpolation``.

    The plan is the artefact of the step ``plan``, and each job's directory that of its step.

    A label such as ``queue=arm`` is an agent's tag; one without ``=`` is a queue. ``matrix`` is the
    matrix file as seen from the checkout.
    """
    fetch = f"buildkite-agent artifact download {PLAN} . --step=plan"
    builds: list[Any] = [
        {
            "label": f"{each.id} {_plain(each.name)}",
            "key": f"build-{each.id}",
            "agents": dict(_tag(label) for label in each.runner),
            "command": [fetch, _build(each, matrix)],
            "artifact_paths": [f"jobs/{each.id}/dist/*", f"jobs/{each.id}/work/logs/*"],
        }
        for each in jobs
    ]
    collect = {
        "label": "Collect",
        "key": "collect",
        "command": [fetch, *map(_fetch, jobs), _COLLECT],
        "artifact_paths": ["dist/*"],
    }
    wait = {"wait": None, "continue_on_failure": True}
    return flow({"steps": [*builds, wait, collect]}, indent=2)


_COLLECT = f"orchestrator collect jobs --plan={PLAN} --output-dir=dist"


def _fetch(job: Job) -> str:
    # A job that ended early has nothing: `collect` says so.
    files = f"'jobs/{job.id}/*'"
    return f"buildkite-agent artifact download {files} . --step=build-{job.id} || true"


def _build(job: Job, matrix: str) -> str:
    # What a project adds (--stop-after, --backend) comes from its own variable.
    return (
        f"orchestrator build --matrix={shlex.quote(matrix)} --plan={PLAN} --job={job.id}"
        f" --output-dir=jobs/{job.id}/dist --work-dir=jobs/{job.id}/work $ORCHESTRATOR_OPTIONS"
    )


def _plain(text: str) -> str:
    """Return a text in which neither system finds a variable of its own."""
    return text.replace("$", "_")


def _tag(label: str) -> tuple[str, str]:
    name, equals, value = _plain(label).partition("=")
    return (name, value) if equals else ("queue", name)
