"""The line of matrix.toml that a target's failure is shown at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.config.lines import line_numbers, line_of
from orchestrator.plan.axes import Axes
from orchestrator.plan.layers import channel_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Target, TargetId


def target_lines(
    targets: Iterable[Target], settings: Settings, text: str, channel: str
) -> dict[TargetId, int]:
    """Return the line that says most about each target.

    That is the last override that holds for it; else the value of the first of the user's
    axes that it has, else its Python's. For a library it is the library's table. ``text`` is
    matrix.toml itself.
    """
    lines = line_numbers(text)
    axes = Axes(channel_matrix(settings, channel).grid)
    numbers = {
        target.id: next(filter(None, (line_of(path, lines) for path in _paths(target, axes))), None)
        for target in targets
    }
    return {target_id: line for target_id, line in numbers.items() if line is not None}


def _paths(target: Target, axes: Axes) -> Iterator[str]:
    if target.library is not None:
        yield f"library.{target.library.name}"
        return
    yield from reversed(target.overrides)
    pythons = (("python", target.python_value), ("python", target.python))
    for axis, value in (*target.variant, *pythons):
        if value in axes.domain.get(axis, ()):
            yield axes.place(axis, value)
    yield "axes"
