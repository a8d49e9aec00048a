"""The way from matrix.toml to a plan, which several commands share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.builders.source import Origin, locate
from orchestrator.config.load import closest, load
from orchestrator.errors import ConfigError, NothingSelectedError
from orchestrator.matrix.select import select_ids
from orchestrator.models import BuilderFacts, Plan
from orchestrator.plan import make_plan
from orchestrator.wheel.external import resolve as resolve_external

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.config.settings import Settings
    from orchestrator.models import Target
    from orchestrator.run.session import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """matrix.toml, read and planned.

    Attributes:
        root: the directory of matrix.toml; relative paths start here.
        settings: the validated file.
        facts: what the locked cibuildwheel knows.
        origin: the source, not fetched yet.
        plan: all targets.
    """

    root: Path
    settings: Settings
    facts: BuilderFacts
    origin: Origin
    plan: Plan

    def inputs(self, plan: Plan) -> Inputs:
        """Return what a run needs to build ``plan``, which is this one or a part of it."""
        from orchestrator.run.session import Inputs

        return Inputs(
            targets=plan.targets,
            origin=self.origin,
            engine=self.settings.engine,
            facts=self.facts,
        )


def open_workspace(matrix: Path) -> Workspace:
    """Read matrix.toml and plan it.

    Raises:
        ConfigError: there is no such file, or it is wrong.
        SourceError: the source is wrong.
    """
    try:
        data = matrix.read_bytes()
    except OSError as error:
        raise ConfigError.of(
            error.strerror or str(error),
            where=str(matrix),
            hint="run this in the directory of matrix.toml, or say --matrix FILE",
        ) from None
    facts = builder_facts()
    settings = load(data, facts=facts)
    root = matrix.resolve().parent
    origin = locate(settings.project.source, base=root)
    plan = make_plan(settings, source_version=origin.version, facts=facts)
    for external in {target.steps.external for target in plan.targets}:
        resolve_external(external)  # an unknown preset is an error now, not after the build
    return Workspace(root=root, settings=settings, facts=facts, origin=origin, plan=plan)


def builder_facts() -> BuilderFacts:
    """Read what the locked cibuildwheel knows; ``tools/cibuildwheel_facts.py`` writes it."""
    text = (files("orchestrator.matrix") / "cibuildwheel.json").read_text("utf-8")
    data = json.loads(text)
    return BuilderFacts(
        version=data["version"],
        identifiers=frozenset(data["identifiers"]),
        aliases={arch: tuple(names) for arch, names in data["aliases"].items()},
        default_images=data["default_images"],
    )


def selected(plan: Plan, select: Sequence[str]) -> Plan:
    """Keep the targets that ``--select`` means.

    Raises:
        NothingSelectedError: none is left.
    """
    if not plan.targets:
        raise NothingSelectedError.of("every cell of the matrix is excluded", where="exclude")
    chosen = set(select_ids([each.id for each in plan.targets], select))
    targets = tuple(each for each in plan.targets if each.id in chosen)
    return Plan(targets=targets, exclusions=plan.exclusions)


def find_target(plan: Plan, target_id: str) -> Target:
    """Return one target by its exact ID.

    Raises:
        ConfigError: there is none, with the closest one, or with why it is excluded.
    """
    for target in plan.targets:
        if target.id == target_id:
            return target
    ids = [each.id for each in plan.targets]
    raise ConfigError.of(
        f"there is no target {target_id!r}",
        hint=closest(target_id, ids) + "; `orchestrator plan --excluded` shows what is excluded",
    )


NO_TERMINAL_WIDTH = 240
"""Columns where nobody looks at a terminal: in a log file a folded table is unreadable."""


def stdout() -> Console:
    """Where data goes."""
    return _wide(Console(highlight=False))


def stderr() -> Console:
    """Where everything goes that is not data."""
    return _wide(_Stderr(stderr=True, highlight=False))


class _Stderr(Console):
    def on_broken_pipe(self) -> None:
        """Stop the run as Ctrl-C does: nobody reads any more how it goes."""
        raise KeyboardInterrupt


def _wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = max(console.width, NO_TERMINAL_WIDTH)
    return console
