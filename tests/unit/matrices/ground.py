"""What the lists of expected cells are written with. Nothing here knows the program under test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TypeAlias

Cell: TypeAlias = frozenset[tuple[str, str]]
"""A cell as its (axis, value) pairs; an axis that it does not use is absent."""


def cell(**values: str) -> Cell:
    """One cell."""
    return frozenset(values.items())


def product(**axes: Iterable[str]) -> frozenset[Cell]:
    """Every combination of the values of ``axes``."""
    lists = [[(axis, value) for value in values] for axis, values in axes.items()]
    return frozenset(frozenset(pairs) for pairs in itertools.product(*lists))


def without(cells: frozenset[Cell], *rules: dict[str, str]) -> frozenset[Cell]:
    """``cells`` less those that hold every pair of one of the ``rules``, as GitHub excludes."""
    return frozenset(c for c in cells if not any(rule.items() <= c for rule in rules))
