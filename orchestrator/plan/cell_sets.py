"""Sets of cells: a condition is evaluated for all cells of a matrix at once.

A set is an integer with one byte for each cell, which is 1 if the cell is in the set. So union,
intersection and complement are single operations, however many cells there are.
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING

from orchestrator.config.condition import All, Any, AxisPresent, AxisTest, IdGlob, Not, matching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from orchestrator.config.condition import Node
    from orchestrator.models.target import Cell


class CellSets:
    """The sets that conditions mean among some cells.

    Attributes:
        all: the set of all cells.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        """Number the cells in their order, from 0."""
        numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        number = -1
        for number, cell in enumerate(cells):
            for pair in cell:
                numbers[pair].append(number)
        self._size = number + 1
        self._numbers: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
        for (axis, value), having in numbers.items():
            self._numbers[axis][value] = having
        self._known: dict[tuple[str, str | None], int] = {}
        self.all = int.from_bytes(b"\1" * self._size, "little")

    def meant(self, node: Node) -> int:
        """Return the set of the cells that a condition means."""
        match node:
            case Not(inner=inner):
                return self.all ^ self.meant(inner)
            case All(parts=parts):
                return reduce(and_, map(self.meant, parts), self.all)
            case Any(parts=parts):
                return reduce(or_, map(self.meant, parts), 0)
            case AxisPresent(axis=axis):
                return self.all ^ self.having(axis, [None])
            case AxisTest(axis=axis, patterns=patterns):
                return self.having(axis, matching(patterns, tuple(self._numbers[axis])))
            case IdGlob():  # pragma: no cover - only --select has them
                raise AssertionError(node)

    def having(self, axis: str, values: Collection[str | None]) -> int:
        """Return the set of the cells with one of these values; None is for those without any."""
        return reduce(or_, (self._having(axis, value) for value in values), 0)

    def flags(self, cells: int) -> bytes:
        """Return a set as one byte for each cell."""
        return cells.to_bytes(self._size, "little")

    def numbers(self, cells: int) -> Iterator[int]:
        """Yield the numbers of the cells in a set."""
        flags = self.flags(cells)
        at = flags.find(1)
        while at >= 0:
            yield at
            at = flags.find(1, at + 1)

    def _having(self, axis: str, value: str | None) -> int:
        known = self._known.get((axis, value))
        if known is None:
            by_value = self._numbers[axis]
            flags = bytearray(self._size)
            lists = by_value.values() if value is None else [by_value.get(value, [])]
            for numbers in lists:
                for number in numbers:
                    flags[number] = 1
            known = int.from_bytes(flags, "little")
            known = self._known[axis, value] = self.all ^ known if value is None else known
        return known
