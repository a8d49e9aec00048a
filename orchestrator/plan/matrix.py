"""From the bytes of matrix.toml to settings that can be planned, and what planning asks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.config.load import examine
from orchestrator.config.sources import parse
from orchestrator.errors import ConfigError
from orchestrator.plan.expand import expand
from orchestrator.plan.layers import channel_matrix
from orchestrator.plan.torch_table import TorchSupport
from orchestrator.plan.version import rankings

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.config.settings import Channel, Settings, TorchTable
    from orchestrator.errors import Problem
    from orchestrator.models.target import CibuildwheelCatalog


def valid_settings(
    data: bytes,
    *,
    facts: CibuildwheelCatalog,
    channel: str,
    table: Callable[[Settings], TorchTable | None],
) -> Settings:
    """Return the settings of a file without problems.

    Args:
        data: the bytes of matrix.toml.
        facts: what the locked cibuildwheel knows.
        channel: the channel whose cells are checked if the file has problems; empty for none.
        table: returns what torch was published for; None if the matrix has no such axis.

    Raises:
        ConfigError: everything that is wrong with the file, and with its cells if they are known.
    """
    loaded = examine(data, facts=facts)
    settings = loaded.settings
    if settings is not None and not loaded.problems:
        return settings
    problems = loaded.problems
    if settings is not None and loaded.whole:
        problems += _cell_problems(settings, channel, table(settings))
    raise ConfigError(*problems)


def _cell_problems(
    settings: Settings, channel: str, table: TorchTable | None
) -> tuple[Problem, ...]:
    """Return what is wrong with the cells of a file that has wrong settings elsewhere."""
    try:
        file = channel_matrix(settings, channel)
        expand(file.grid, table=None if table is None else TorchSupport(table, settings.compat))
    except ConfigError as error:
        return error.problems
    return ()


def needs_torch_table(settings: Settings) -> bool:
    """Whether the matrix has an axis ``torch`` that the torch table judges."""
    parts: tuple[Settings | Channel, ...] = (settings, *settings.channel.values())
    axes = {axis for part in parts for axis in part.axes}
    axes |= {axis for part in parts for rows in part.rows for axis in rows.axes}
    return "torch" in axes and settings.compat.torch


def outside_sources(settings: Settings, channel: str) -> tuple[str, ...]:
    """Return the sources of the version that somebody outside has to be asked for."""
    file = channel_matrix(settings, channel)
    tables = [part.version for _, part in file.layers]
    tables += [rule.version for _, rule in file.grid.override]
    declared = (source for part in tables for ranking in rankings(part) for source in ranking)
    return tuple(source for source in dict.fromkeys(declared) if parse(source).kind.outside)
