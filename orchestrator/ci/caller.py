"""The workflow by which a project calls ours; `caller.yml.j2` is its text."""

from __future__ import annotations

import json
import re
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from orchestrator.ci.pipelines import flow
from orchestrator.errors import ConfigError

_USES = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+@[0-9a-f]{40}")


def check_uses(uses: str) -> str:
    """Return ``OWNER/NAME@COMMIT``, the repository and the commit of a workflow.

    Raises:
        ConfigError: it is no such thing; a branch or a tag could be moved to anything.
    """
    if _USES.fullmatch(uses) is None:
        raise ConfigError.of(
            f"{uses!r} is not OWNER/NAME@COMMIT with all 40 digits of a commit",
            where="--uses",
            hint="`git ls-remote https://github.com/OWNER/NAME` lists the commits of tags",
        )
    return uses


def installed_from(direct_url: str | None) -> str | None:
    """Return the GitHub commit that this was installed from; ``direct_url`` is PEP 610's file."""
    try:
        data = json.loads(direct_url or "{}")
        found = re.fullmatch(r"(?:https|ssh)://(?:git@)?github\.com/(.+?)(?:\.git)?/?", data["url"])
        return found and check_uses(f"{found[1]}@{data['vcs_info']['commit_id']}")
    except (ValueError, KeyError, TypeError, ConfigError):
        return None


def caller(uses: str, *, matrix: str, channel: str, publish: str | None) -> str:
    """Return a workflow that builds all wheels of a project when a tag is pushed, or by hand.

    Args:
        uses: where our workflow comes from, see `check_uses`.
        matrix: the matrix file.
        channel: the channel to plan for; empty for none.
        publish: the destination of a job that publishes; None for no such job.
    """
    options = {"matrix": matrix, "channel": channel}
    repository, _, commit = uses.partition("@")
    # GitHub's own expressions stand in double braces.
    environment = Environment(  # noqa: S701 - YAML, and each value is quoted
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    template = (files("orchestrator.ci") / "caller.yml.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        repository=repository,
        commit=commit,
        options={name: _text(value) for name, value in options.items() if value not in _DEFAULTS},
        publish=publish,
        release=publish == "github-release",
    )


_DEFAULTS = {"", "matrix.toml"}


def _text(value: str) -> str:
    """Return a text as YAML, in which GitHub finds no expression."""
    if "${{" in value:
        raise ConfigError.of("GitHub would evaluate an expression in it", where=repr(value))
    return flow(value)
