"""The line of matrix.toml that a target's failure is shown at. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.config.lines import line_numbers, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.models.target import Target, TargetId

_OVERRIDE = re.compile(r"(?:channel\.[^.\[]+\.)?override\[\d+\]")


def target_lines(targets: Iterable[Target], text: str, channel: str) -> dict[TargetId, int]:
    """Return the line that says most about each target.

    That is the last override that sets anything for it; else the value of the first of the user's
    axes that it has, else its Python's. For a library it is the library's table.

    Args:
        targets: the targets.
        text: matrix.toml, valid.
        channel: the channel they were planned for, empty for none.
    """
    lines, tree = line_numbers(text), tomllib.loads(text)
    values = _values(tree, channel)
    found = {}
    for target in targets:
        paths = _paths(target, values)
        line = next(filter(None, (line_of(each, lines) for each in paths)), None)
        if line is not None:
            found[target.id] = line
    return found


def _paths(target: Target, values: Mapping[tuple[str, str], str]) -> Iterator[str]:
    if target.library is not None:
        yield f"library.{target.library.name}"
        return
    set_by = [*(path for _, path in target.origins), *(each.origin for each in target.env)]
    overrides = {match[0] for each in set_by if (match := _OVERRIDE.match(each))}
    yield from sorted(overrides, key=_precedence, reverse=True)
    pythons = (("python", target.python_value), ("python", target.python))
    for axis, value in (*target.variant, *pythons):
        path = values.get((axis, value))
        if path is not None:
            yield path
    yield "axes"


def _precedence(path: str) -> tuple[bool, int]:
    """A channel's overrides come after those of the file."""
    return path.startswith("channel."), int(path.rpartition("[")[2].rstrip("]"))


def _values(tree: Mapping[str, Any], channel: str) -> dict[tuple[str, str], str]:
    """(axis, value) -> where it is first written; the channel's own come before the file's."""
    found: dict[tuple[str, str], str] = {}
    own = tree.get("channel", {}).get(channel, {})
    for above, part in ((f"channel.{channel}.", own), ("", tree)):
        for axis, value, path in (*_listed(part), *_in_rows(part), *_included(part)):
            found.setdefault((axis, value), f"{above}{path}")
    return found


_Found = Iterator[tuple[str, str, str]]
"""(axis, value, where it is written)."""


def _listed(part: Mapping[str, Any]) -> _Found:
    for axis, given in part.get("axes", {}).items():
        listed = given.get("values", []) if isinstance(given, dict) else given
        for number, value in enumerate(listed):
            yield axis, value, f"axes.{axis}[{number}]"


def _in_rows(part: Mapping[str, Any]) -> _Found:
    for number, table in enumerate(part.get("rows", [])):
        for at, row in enumerate(table["values"]):
            for axis, value in zip(table["axes"], row, strict=False):
                for each in value if isinstance(value, list) else [value]:
                    yield axis, each, f"rows[{number}].values[{at}]"


def _included(part: Mapping[str, Any]) -> _Found:
    for number, table in enumerate(part.get("include", [])):
        for axis, value in table.items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str):
                    yield axis, each, f"include[{number}].{axis}"
