"""Targets for systems other than Linux: they count, and are nowhere taken for Linux's. Pure.

A matrix may hold all wheels of a release, of which a program for Linux builds a part.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.models.target import Target, UnresolvedVersion

T = TypeVar("T", "Target", "UnresolvedVersion", "Target | UnresolvedVersion")

AXES = frozenset({"os", "system", "platform"})
"""The names of an axis whose values are systems."""

_SYSTEMS = {
    "Windows": re.compile(r"win.*", re.IGNORECASE),
    "macOS": re.compile(r"(mac|darwin|osx).*", re.IGNORECASE),
    "iOS": re.compile(r"ios.*", re.IGNORECASE),
    "Android": re.compile(r"android.*", re.IGNORECASE),
    "WebAssembly": re.compile(r"(wasm|pyodide|emscripten).*", re.IGNORECASE),
}


def other_system(target: Target | UnresolvedVersion) -> str:
    """Return the system that a target is for, in words; empty for Linux."""
    return _in_words(system_of(target))


def system_of(target: Target | UnresolvedVersion) -> str:
    """Return the value of the axis that says for which system a target is; empty for Linux."""
    values = (value for axis, value in target.covers[0] if axis in AXES)
    return next(filter(_in_words, values), "")


@cache
def _in_words(value: str) -> str:
    return next((name for name, like in _SYSTEMS.items() if like.fullmatch(value)), "")


def split(targets: Iterable[T]) -> tuple[list[T], list[T]]:
    """Return the targets for Linux, and those for other systems."""
    here: list[T] = []
    elsewhere: list[T] = []
    for target in targets:
        (elsewhere if other_system(target) else here).append(target)
    return here, elsewhere


def in_words(targets: Sequence[Target | UnresolvedVersion]) -> str:
    """Return how many targets are for which other system: ``12 for Windows, 2 for macOS``."""
    counted = Counter(map(other_system, targets))
    return ", ".join(f"{number} for {system}" for system, number in counted.items())
