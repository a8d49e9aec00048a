"""What the shell completes: names that the matrix, a plan or the program has.

A wrong file has no names, whatever is wrong with it, and nothing is printed between the words that
somebody types.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from orchestrator.config.verify_rules import RULES
from orchestrator.models.target import RuleLevel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from orchestrator.cli.workspace import Workspace

    Names = Callable[[click.Context], Iterable[str]]
    Completion = Callable[[click.Context, click.Parameter, str], list[str]]

PLACES = ("pypi", "testpypi", "github-release", "s3://", "https://")
"""What a destination is, or begins with."""


def completion(names: Names) -> Completion:
    """Return what completes an option whose values `names` lists."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del parameter
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                return [name for name in names(context) if name.startswith(incomplete)]
            except Exception:  # noqa: BLE001 - the command itself will say it
                return []

    return complete


def _workspace(context: click.Context) -> Workspace:
    from orchestrator.cli.workspace import open_workspace

    given = context.params
    return open_workspace(given.get("matrix"), given.get("channel") or "")


def _jobs(context: click.Context) -> Iterable[str]:
    from orchestrator.fsutil import read_file
    from orchestrator.report.schemas import read_plan

    path = context.params["planned"]
    return [job.id for job in read_plan(read_file(path), where=str(path)).jobs]


def _tools(context: click.Context) -> Iterable[str]:
    del context
    from orchestrator.provision.toolchain_env import TOOLS

    return TOOLS


def _presets(context: click.Context) -> Iterable[str]:
    del context
    from orchestrator.models.external_libraries import PRESETS

    return PRESETS


target_ids = completion(lambda context: _workspace(context).plan.ids)
channels = completion(lambda context: sorted(_workspace(context).settings.channel))
jobs = completion(_jobs)
tools = completion(_tools)
externals = completion(_presets)
places = completion(lambda _context: PLACES)
rule_levels = completion(lambda _context: [f"{n}={level}" for n in RULES for level in RuleLevel])
