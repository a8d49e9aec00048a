"""The workflow by which a project calls ours; `caller.yml.j2` is its text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from orchestrator.ci.pipelines import flow
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerFacts:
    """What a project's workflow depends on.

    Attributes:
        matrix: the matrix file.
        channel: the channel to plan for; empty for none.
        publish: destinations of all wheels, each in a job of its own.
        places: where the matrix sends each wheel, if not all of them to the same places.
        nightly: whether it builds development releases every night, and not releases of tags.
        shared_store: whether the matrix names a store that machines share.
        large: whether its environments or images need more disk than a runner has free.
    """

    matrix: str
    channel: str = ""
    publish: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    nightly: bool = False
    shared_store: bool = False
    large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publishing:
    """A job that publishes.

    Attributes:
        job: its name.
        title: its name for people, as YAML.
        to: the one destination, as YAML; empty for those of the matrix.
        environment: of the repository.
        needs: ``index`` (an identity), ``release`` (may write), ``bucket`` or ``url`` (secrets).
    """

    job: str
    title: str
    to: str
    environment: str
    needs: frozenset[str]

    @property
    def has_secrets(self) -> bool:
        """Whether its variables have any."""
        return self.needs != {"index"}


def caller(uses: str, facts: CallerFacts) -> str:
    """Return a workflow that builds all wheels of a project for each tag or night, or by hand.

    Args:
        uses: where our workflow comes from, see `check_uses`.
        facts: what the project's plan says.
    """
    repository, _, commit = uses.partition("@")
    # GitHub's own expressions stand in double braces.
    environment = Environment(  # noqa: S701 - YAML, and each value is quoted
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    template = (files("orchestrator.ci") / "caller.yml.j2").read_text(encoding="utf-8")
    named = {"matrix": facts.matrix, "channel": facts.channel}
    options = {name: _text(value) for name, value in named.items() if value not in _DEFAULTS}
    return environment.from_string(template).render(
        repository=repository,
        commit=commit,
        guide=guide(uses),
        options=options,
        inputs=options
        | ({"cache": "false"} if facts.shared_store else {})
        | ({"free-disk": "true"} if facts.large else {}),
        facts=facts,
        publishing=tuple(_publishing(facts)),
    )


def guide(uses: str) -> str:
    """Return the URL of the page about the workflow, at the commit that is called."""
    repository, _, commit = uses.partition("@")
    return f"https://github.com/{repository}/blob/{commit}/docs/howto/github.md"


def _publishing(facts: CallerFacts) -> Iterator[_Publishing]:
    """Yield the jobs; the first of them is called ``publish``, which an index is told to trust."""
    jobs = [(each,) for each in facts.publish] + ([facts.places] if facts.places else [])
    for number, names in enumerate(jobs, 1):
        (needs, *more) = sorted({_NEEDS.get(name) or _need(name) for name in names})
        plain = not more and needs in {"index", "release"}
        yield _Publishing(
            job="publish" if number == 1 else f"publish-{number}",
            title=_text(f"Publish to {', '.join(names)}"),
            to=_text(names[0]) if names != facts.places else "",
            environment=names[0] if plain else "wheels",
            needs=frozenset({needs, *more}),
        )


_NEEDS = {"pypi": "index", "testpypi": "index", "github-release": "release"}


def _need(name: str) -> str:
    return "bucket" if name.startswith("s3://") else "url"


_DEFAULTS = {"", "matrix.toml"}


def _text(value: str) -> str:
    """Return a text as YAML, in which GitHub finds no expression."""
    if "${{" in value:
        raise ConfigError.of("GitHub would evaluate an expression in it", where=repr(value))
    return flow(value)
