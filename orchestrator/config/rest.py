"""What is left of a file when its wrong parts are taken out, and where that stood."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Location = tuple[int | str, ...]

_ITEM = re.compile(r"\[(\d+)\]")


class _Array(dict[int, Any]):
    """An array's items by the numbers they have in the file, which gaps do not change."""


class PartialToml:
    """A file's values without some of them."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = _opened(tree)

    def values(self) -> dict[str, Any]:
        """Return what is left."""
        found: dict[str, Any] = _closed(self._tree)
        return found

    def without(self, locations: Iterable[Location]) -> None:
        """Take out what stands at these places, as pydantic names them, or the nearest around."""
        steps = [self._steps(each) for each in locations]
        for each in steps:
            if each:
                parent, key = each[-1]
                parent.pop(key, None)

    def _steps(self, location: Location) -> list[tuple[dict[Any, Any], int | str]]:
        steps: list[tuple[dict[Any, Any], int | str]] = []
        node = self._tree
        for part in location:
            key = part
            if isinstance(node, _Array) and isinstance(part, int) and part < len(node):
                key = list(node)[part]
            # Else the tag of a union, a key that is missing, the long form of a short one.
            if isinstance(node, dict) and key in node:
                steps.append((node, key))
                node = node[key]
        return steps

    def original(self, path: str) -> str:
        """Return a dotted path in what is left as a dotted path in the file."""
        node: Any = self._tree
        done = ""
        while path:
            item = _ITEM.match(path)
            if item and isinstance(node, dict) and not isinstance(node, _Array):
                node = node.get("values")  # `cuda[1]` is short for `cuda.values[1]`
            if item and isinstance(node, _Array) and int(item[1]) < len(node):
                number = list(node)[int(item[1])]
                done, path, node = f"{done}[{number}]", path[item.end() :], node[number]
                continue
            key = _first(node, path.removeprefix("."))
            if key is None:
                break
            length = len(key) + path.startswith(".")
            done, path, node = done + path[:length], path[length:], node[key]
        return done + path


def _first(node: Any, path: str) -> str | None:
    """The key of a table that a path begins with; keys may have dots themselves."""
    if not isinstance(node, dict) or isinstance(node, _Array):
        return None
    fit = (key for key in node if path == key or path.startswith((f"{key}.", f"{key}[")))
    return max(fit, key=len, default=None)


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _opened(each) for key, each in value.items()}
    if isinstance(value, list):
        return _Array((number, _opened(each)) for number, each in enumerate(value))
    return value


def _closed(value: Any) -> Any:
    if isinstance(value, _Array):
        return [_closed(each) for each in value.values()]
    if isinstance(value, dict):
        return {key: _closed(each) for key, each in value.items()}
    return value
