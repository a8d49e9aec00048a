"""The way from matrix.toml to a plan, which several commands share."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.builders.source import Origin, locate
from orchestrator.config.lines import located
from orchestrator.config.load import examine
from orchestrator.config.spelling import closest
from orchestrator.errors import ConfigError, NothingSelectedError
from orchestrator.matrix.compat import Table, load_table
from orchestrator.matrix.expand import expand
from orchestrator.matrix.grid import layered
from orchestrator.matrix.select import select, shard
from orchestrator.models import BuilderFacts, Plan
from orchestrator.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.config.settings import Channel, Settings, TorchTable
    from orchestrator.errors import Problem
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


def open_workspace(matrix: Path, channel: str = "") -> Workspace:
    """Read matrix.toml and plan it.

    Args:
        matrix: the file.
        channel: the channel to plan for, empty for none.

    Raises:
        ConfigError: there is no such file, or it is wrong: all that is wrong, with its lines.
        SourceError: the source is wrong.
    """
    data = _read(matrix)
    try:
        return _planned(matrix, data, channel)
    except ConfigError as error:
        raise located(error, data.decode("utf-8", "replace"), file=str(matrix)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError.of(
            error.strerror or str(error),
            where=str(path),
            hint="run this in the directory of matrix.toml, or say --matrix FILE",
        ) from None


def _planned(matrix: Path, data: bytes, channel: str) -> Workspace:
    facts = builder_facts()
    root = matrix.resolve().parent
    loaded = examine(data, facts=facts)
    settings = loaded.settings
    if settings is None or loaded.problems:
        problems = list(loaded.problems)
        if settings is not None and loaded.whole:
            problems += _problems_of_cells(settings, channel, _table(settings, root))
        raise ConfigError(*problems)
    origin = locate(settings.project.source, base=root)
    plan = make_plan(
        settings,
        source_version=origin.version,
        facts=facts,
        channel=channel,
        table=_table(settings, root),
    )
    _check_external(plan)
    return Workspace(root=root, settings=settings, facts=facts, origin=origin, plan=plan)


def _check_external(plan: Plan) -> None:
    """Make an unknown preset an error now, not after the build."""
    named = {target.steps.external for target in plan.targets} - {()}
    if named:
        from orchestrator.wheel.external import resolve

        for external in named:
            resolve(external)


def _problems_of_cells(
    settings: Settings, channel: str, table: TorchTable | None
) -> tuple[Problem, ...]:
    """What is wrong with the cells of a file that has wrong settings elsewhere."""
    try:
        file = layered(settings, channel)
        expand(file.grid, table=None if table is None else Table(table, settings.compat))
    except ConfigError as error:
        return error.problems
    return ()


def _table(settings: Settings, root: Path) -> TorchTable | None:
    """Read the torch table, if the matrix has such an axis at all."""
    parts: tuple[Settings | Channel, ...] = (settings, *settings.channel.values())
    axes = {axis for part in parts for axis in part.axes}
    axes |= {axis for part in parts for rows in part.rows for axis in rows.axes}
    if "torch" not in axes or not settings.compat.torch:
        return None
    if settings.compat.file is not None:
        path = root / settings.compat.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError.of(
                f"{path}: {error.strerror}",
                where="compat.file",
                hint="`orchestrator compat refresh` writes such a file",
            ) from None
        return load_table(data, where=str(path))
    return builtin_table()


def builtin_table() -> TorchTable:
    """Read the torch table that comes with the program."""
    data = (files("orchestrator.matrix") / "compat.toml").read_bytes()
    return load_table(data, where="the built-in table")


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


def selected(plan: Plan, expressions: Sequence[str], part: str | None = None) -> Plan:
    """Keep the targets that ``--select`` and ``--shard`` mean, and what they need.

    Raises:
        NothingSelectedError: none is left.
    """
    if not plan.targets:
        raise NothingSelectedError.of("every cell of the matrix is excluded", where="exclude")
    targets = select(plan.targets, expressions)
    if part is not None:
        targets = shard(targets, part)
    return replace(plan, targets=targets)


def find_target(plan: Plan, target_id: str) -> Target:
    """Return one target by its exact ID, or that of a cell it covers.

    Raises:
        ConfigError: there is none, with the closest one, or with why it is excluded.
    """
    for target in plan.targets:
        if target_id in {target.id, *target.aliases}:
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
    from rich.console import Console

    return _wide(Console(highlight=False))


def stderr() -> Console:
    """Where everything goes that is not data."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            """Stop the run as Ctrl-C does: nobody reads any more how it goes."""
            raise KeyboardInterrupt

    return _wide(Stderr(stderr=True, highlight=False))


def _wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = max(console.width, NO_TERMINAL_WIDTH)
    return console
