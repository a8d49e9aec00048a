"""Jobs as GitHub Actions takes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.models.target import Job

MOST_BYTES = 1 << 20
"""Bytes that one output of a job may have; GitHub counts them as UTF-16."""


def matrix(jobs: Iterable[Job]) -> str:
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
        }
        for each in jobs
    ]
    text = json.dumps({"include": include}, separators=(",", ":"))
    if 2 * len(text) > MOST_BYTES:
        raise ConfigError.of(
            f"the job matrix has {len(text)} characters, and an output of GitHub "
            f"holds {MOST_BYTES // 2}",
            where="--format github",
            hint="give the runners shorter labels, or plan fewer jobs with --max-jobs",
        )
    return text
