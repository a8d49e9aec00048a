"""The line of matrix.toml that a target's failure is shown at. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.config.lines import line_numbers, line_of
from orchestrator.plan.axes import Axes
from orchestrator.plan.layers import channel_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Target, TargetId

_OVERRIDE = re.compile(r"(?:channel\.[^.\[]+\.)?override\[\d+\]")


def target_lines(
    targets: Iterable[Target], settings: Settings, text: str, channel: str
) -> dict[TargetId, int]:
    """Return the line that says most about each target.

    That is the last override that sets anything for it; else the value of the first of the user's
    axes that it has, else its Python's. For a library it is the library's table.

    Args:
        targets: the targets.
        settings: matrix.toml.
        text: the same as text.
        channel: the channel they were planned for, empty for none.
    """
    lines = line_numbers(text)
    axes = Axes(channel_matrix(settings, channel).grid)
    found = {}
    for target in targets:
        numbers = (line_of(path, lines) for path in _paths(target, axes))
        line = next((number for number in numbers if number is not None), None)
        if line is not None:
            found[target.id] = line
    return found


def _paths(target: Target, axes: Axes) -> Iterator[str]:
    if target.library is not None:
        yield f"library.{target.library.name}"
        return
    set_by = [*(path for _, path in target.origins), *(each.origin for each in target.env)]
    overrides = {match[0] for each in set_by if (match := _OVERRIDE.match(each))}
    yield from sorted(overrides, key=_precedence, reverse=True)
    pythons = (("python", target.python_value), ("python", target.python))
    for axis, value in (*target.variant, *pythons):
        if value in axes.domain.get(axis, ()):
            yield axes.place(axis, value)
    yield "axes"


def _precedence(path: str) -> tuple[bool, int]:
    """A channel's overrides come after those of the file."""
    return path.startswith("channel."), int(path.rpartition("[")[2].rstrip("]"))
