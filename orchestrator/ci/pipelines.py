"""Jobs as GitHub Actions takes them, and as the dynamic pipelines of GitLab and Buildkite.

All of it is JSON, which these systems read as YAML. No text of a user stands in a command but the
matrix file's name, quoted: targets stay in the plan.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.models.target import Job

PLAN = "plan.json"
"""Where the plan lies in every job."""

TEMPLATE = "/.gitlab/orchestrator.yml"
"""The file of the project that says how a job of GitLab gets orchestrator."""

MOST_BYTES = 1 << 20
"""Bytes that one output of a job of GitHub may have, which counts them as UTF-16."""

_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""What YAML 1.2 (5.1) has only escaped, and JSON as it is."""


def flow(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is YAML too: pairs of surrogates, JSON's own escape, are not."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def github(jobs: Sequence[Job]) -> str:
    """Return a job matrix on one line of ASCII, as ``GITHUB_OUTPUT`` takes it.

    The targets of a job are not in it but in the plan: 1 MB would not hold them.

    Raises:
        ConfigError: it is longer than an output may be.
    """
    include = [
        {
            "job": each.id,
            "name": each.name,
            "runner": list(each.runner),
            "qemu": ",".join(arch.facts.oci for arch in each.emulated),
            "targets": len(each.targets),
            "cost": each.cost,
            **({"sdist": True} if each.sdist else {}),
        }
        for each in jobs
    ]
    text = json.dumps({"include": include}, separators=(",", ":"))
    if 2 * len(text) > MOST_BYTES:
        raise ConfigError.of(
            f"the job matrix has {count_of(len(text), 'character')}, and an output of GitHub "
            f"holds {MOST_BYTES // 2}",
            where="--format github",
            hint="give the runners shorter labels, or plan fewer jobs with --max-jobs",
        )
    return text


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
