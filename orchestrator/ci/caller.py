"""The workflow by which a project calls ours."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.ci.yaml import flow
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKFLOW = ".github/workflows/build-wheels.yml"
ACTION = ".github/actions/orchestrator"

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1"
"""As in our own workflow; a test keeps them equal."""

SIGNER = "pypi-attestations==0.0.30"
"""Signs with the job's identity (PEP 740)."""

_USES = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+@[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOrigin:
    """Where our workflow comes from: ``OWNER/NAME``, and 40 hexadecimal digits."""

    repository: str
    commit: str


def origin_of(uses: str) -> WorkflowOrigin:
    """Read ``OWNER/NAME@COMMIT``.

    Raises:
        ConfigError: it is no such thing; a branch or a tag could be moved to anything.
    """
    if _USES.fullmatch(uses) is None:
        raise ConfigError.of(
            f"{uses!r} is not OWNER/NAME@COMMIT with all 40 digits of a commit",
            where="--uses",
            hint="`git ls-remote https://github.com/OWNER/NAME` lists the commits of tags",
        )
    repository, _, commit = uses.partition("@")
    return WorkflowOrigin(repository=repository, commit=commit)


def installed_from(direct_url: str | None) -> WorkflowOrigin | None:
    """Return the GitHub commit that this was installed from; ``direct_url`` is PEP 610's file."""
    try:
        data = json.loads(direct_url or "{}")
        found = re.fullmatch(r"(?:https|ssh)://(?:git@)?github\.com/(.+?)(?:\.git)?/?", data["url"])
        return found and origin_of(f"{found[1]}@{data['vcs_info']['commit_id']}")
    except (ValueError, KeyError, TypeError, ConfigError):
        return None


def caller(origin: WorkflowOrigin, *, matrix: str, channel: str, publish: str | None) -> str:
    """Return a workflow that builds all wheels of a project when a tag is pushed, or by hand.

    Args:
        origin: where our workflow comes from.
        matrix: the matrix file.
        channel: the channel to plan for; empty for none.
        publish: the destination of a job that publishes; None for no such job.
    """
    options = {"matrix": matrix, "channel": channel}
    chosen = {name: value for name, value in options.items() if value not in {"", "matrix.toml"}}
    lines = [f"{_HEAD}    uses: {origin.repository}/{WORKFLOW}@{origin.commit}", _PERMISSIONS]
    if chosen:
        lines += ["    with:", *(f"      {name}: {_text(value)}" for name, value in chosen.items())]
    if publish is not None:
        lines += _publishing(origin, publish, chosen)
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Return a text as YAML, in which GitHub finds no expression."""
    if "${{" in value:
        raise ConfigError.of("GitHub would evaluate an expression in it", where=repr(value))
    return flow(value)


_HEAD = """\
name: Wheels
on:
  push:
    tags: ["*"]
  workflow_dispatch:
permissions: {}
concurrency:
  group: ${{ github.workflow }}-${{ github.ref }}
jobs:
  wheels:
"""

_PERMISSIONS = """\
    permissions:
      contents: read"""


def _publishing(origin: WorkflowOrigin, publish: str, chosen: Mapping[str, str]) -> list[str]:
    release = publish == "github-release"
    lines = [
        "",
        "  # Not in the workflow above: indexes do not trust one that others may call.",
        "  # Only this job has an identity, or a token that may write.",
        "  publish:",
        f"    name: Publish to {publish}",
        "    needs: wheels",
        "    if: github.ref_type == 'tag'",
        "    runs-on: ubuntu-24.04",
        "    timeout-minutes: 60",
        f"    environment: {publish}",
        "    permissions:",
        f"      contents: {'write # makes the release' if release else 'read'}",
    ]
    if not release:
        lines += ["      id-token: write # trusted publishing, attestations"]
    lines += [
        "    steps:",
        f"      - uses: {CHECKOUT}",
        "        with:",
        "          persist-credentials: false",
        f"      - uses: {origin.repository}/{ACTION}@{origin.commit}",
        f"      - uses: {DOWNLOAD}",
        "        with:",
        "          name: ${{ needs.wheels.outputs.artefact }}",
        "          path: dist",
    ]
    if not release:
        lines += [f"      - run: pipx run --spec {SIGNER} pypi-attestations sign dist/*.whl"]
    options = "".join(f' --{name}="${name.upper()}"' for name in chosen)
    env = [f"          {name.upper()}: {_text(value)}" for name, value in chosen.items()]
    if release:
        env += ["          GITHUB_TOKEN: ${{ github.token }}"]
    lines += [f"      - run: orchestrator publish dist --to {publish}{options}"]
    return [*lines, *(["        env:", *env] if env else [])]
