"""The axes of a matrix: their order, which of them move together, and all their values."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from orchestrator.config import condition
from orchestrator.errors import ConfigError, Problem
from orchestrator.plan.ordering import CircularDependency, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.config.settings import Rows, When
    from orchestrator.plan.layers import MatrixGrid

Pairs = tuple[tuple[str, str], ...]
Group = tuple[str, ...]


class Axes:
    """The axes of a matrix and their values.

    Attributes:
        order: the axes in the order of target IDs.
        domain: axis -> every value a cell can have, included cells' values last.
        groups: (axes that are chosen together, their ``when`` with its path) in the order of
            loops.
        in_order: whether the loops give a cell's values in `order` already.
    """

    def __init__(self, grid: MatrixGrid) -> None:
        """Work out order and values.

        Raises:
            ConfigError: rows contradict axes or each other, or axes depend on each other.
        """
        problems = list(_contradictions(grid))
        if problems:
            raise ConfigError(*problems)
        self._grid = grid
        whens = _whens(grid)
        groups = _groups(grid)
        ordered = _ordered(groups, whens, grid.built_in)
        self.groups: tuple[tuple[Group, tuple[When, str] | None], ...] = tuple(
            (group, whens.get(group)) for group in ordered
        )
        loops = tuple(axis for group in ordered for axis in group)
        rest = tuple(axis for axis in loops if axis not in grid.built_in)
        self.order: tuple[str, ...] = (*grid.built_in, *rest)
        self.in_order = loops == self.order
        self.domain: Mapping[str, tuple[str, ...]] = self._domain()

    def sorted(self, pairs: Pairs) -> Pairs:
        """Return a cell's values in `order`."""
        return tuple(sorted(pairs, key=lambda pair: self.order.index(pair[0])))

    def options(self, group: Group) -> tuple[Pairs, ...]:
        """Return the choices for axes that are chosen together, in the order of the file."""
        rows = next((each for _, each in self._grid.rows if set(each.axes) == set(group)), None)
        if rows is None:
            _, axis = self._grid.axes[group[0]]
            return tuple(((group[0], value),) for value in axis.values or ())
        at = [rows.axes.index(axis) for axis in group]
        return tuple(
            tuple(zip(group, choice, strict=True))
            for row in rows.values
            for choice in product(*(row[index] for index in at))
        )

    def place(self, axis: str, value: str) -> str:
        """Return the dotted path at which a value of an axis stands first."""
        for path, rows in self._grid.rows:
            for number, row in enumerate(rows.values):
                for column, name in enumerate(rows.axes):
                    if name == axis and value in row[column]:
                        return f"{path}.values[{number}][{column}][{row[column].index(value)}]"
        path, own = self._grid.axes.get(axis, ("", None))
        if own is not None and value in (own.values or ()):
            return f"{path}[{(own.values or ()).index(value)}]"
        found = (p for p, each in self._grid.include if value in each.get(axis, ()))
        return f"{next(found, path)}.{axis}"

    def _domain(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {axis: {} for axis in self.order}
        for group, _ in self.groups:
            for pairs in self.options(group):
                for axis, value in pairs:
                    found[axis][value] = None
        for _, include in self._grid.include:
            for axis, values in include.items():
                found[axis].update(dict.fromkeys(values))
        return {axis: tuple(values) for axis, values in found.items()}


def _groups(grid: MatrixGrid) -> list[Group]:
    together = [tuple(sorted(each.axes)) for _, each in grid.rows]
    moved = {axis for group in together for axis in group}
    return [*together, *((axis,) for axis in grid.axes if axis not in moved)]


def _whens(grid: MatrixGrid) -> dict[Group, tuple[When, str]]:
    """Return the conditions of the axes that only some cells have."""
    found: dict[Group, tuple[When, str]] = {}
    for path, rows in grid.rows:
        if rows.when is not None:
            found[tuple(sorted(rows.axes))] = (rows.when, path)
    moved = {axis for _, each in grid.rows for axis in each.axes}
    for name, (path, axis) in grid.axes.items():
        if axis.when is not None and name not in moved:
            found[name,] = (axis.when, path)
    return found


def _contradictions(grid: MatrixGrid) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, rows in grid.rows:
        for axis in rows.axes:
            own_path, own = grid.axes.get(axis, ("", None))
            if axis in seen:
                yield Problem(
                    what=f"{axis!r} moves with other axes in {seen[axis]} already",
                    where=f"{path}.axes",
                    hint="make one [[rows]] of both",
                )
            elif own is not None and own.values is not None:
                yield Problem(
                    what=f"{axis!r} has values in {own_path} as well",
                    where=f"{path}.axes",
                    hint="rows give the values; the axis may keep its label",
                )
            elif own is not None and own.when is not None:
                yield Problem(
                    what="rows decide which cells have this axis",
                    where=f"{own_path}.when",
                    hint=f"say when in {path}",
                )
            seen.setdefault(axis, path)
        yield from _repeated(path, rows)
    for name, (path, axis_table) in grid.axes.items():
        if axis_table.values is None and name not in seen:
            yield Problem(
                what="has no values", where=path, hint="list them, or give them with [[rows]]"
            )


def _repeated(path: str, rows: Rows) -> Iterator[Problem]:
    """Report rows that give the same choice twice; they may overlap in some axes, not in all."""
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows.values):
        for choice in product(*row):
            other = first.setdefault(choice, number)
            if other != number:
                yield Problem(
                    what=f"gives {' '.join(choice)} once more: {path}.values[{other}] has it",
                    where=f"{path}.values[{number}]",
                )
                break


def _ordered(
    groups: Sequence[Group], whens: Mapping[Group, tuple[When, str]], built_in: Sequence[str]
) -> list[Group]:
    """Order groups: built-in axes, then each after the axes that its ``when`` names, by name."""
    group_of = {axis: group for group in groups for axis in group}
    needs: dict[Group, set[Group]] = {group: set() for group in groups}
    for group, (when, path) in whens.items():
        axes = condition.axes_of(condition.from_when(when, where=path))
        needs[group] = {group_of[axis] for axis in axes} - {group}
    place = {name: index for index, name in enumerate(built_in)}

    def key(group: Group) -> tuple[int, Group]:
        return min(place.get(axis, len(place)) for axis in group), group

    try:
        return in_order(needs, key)
    except CircularDependency as error:
        names = ", ".join(" with ".join(group) for group in error.members)
        raise ConfigError.of(
            f"circular dependency of axes: {names}",
            where=f"{whens[error.members[0]][1]}.when",
            hint="the cells that have an axis can depend on axes that do not depend on it",
        ) from None
