"""Axes, rows, includes and rules to cells, in one deterministic order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.config import template
from orchestrator.config.settings import axis_value_ok
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.target import Exclusion, TargetId
from orchestrator.plan.axes import Axes
from orchestrator.plan.rule_masks import RuleSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orchestrator.config.settings import Exclude, Include, Override
    from orchestrator.plan.layers import MatrixGrid
    from orchestrator.plan.torch_table import TorchSupport, TorchVerdict

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the matrix: a choice of values, and the rules that speak about it.

    Attributes:
        id: the target ID.
        values: axis -> value: python, libc and arch first, then the other axes in their order.
            Axes that the cell does not have are not there.
        derived: properties that follow from the values, such as torch's C++ ABI.
        overrides: indices of the overrides that apply, in their order.
    """

    id: TargetId
    values: Pairs
    derived: Pairs
    overrides: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """All cells that are built and all that are not.

    Attributes:
        cells: in order.
        exclusions: in order.
        name: values -> the ID of a cell that has just these.
    """

    cells: tuple[Cell, ...]
    exclusions: tuple[Exclusion, ...]
    name: Callable[[Pairs], TargetId]


def expand(grid: MatrixGrid, *, table: TorchSupport | None = None, prefix: str = "") -> Expansion:
    """Expand a matrix.

    The order is that of nested loops over python, libc, arch and the user's axes, an axis after
    those that its ``when`` names and otherwise by name, each in the order its values are written;
    included cells come last. It does not depend on the order of keys in the file.

    Args:
        grid: axes and rules.
        table: what torch was published for; None to leave that out.
        prefix: what every ID begins with.

    Raises:
        ConfigError: a rule matches nothing, two cells would have one ID, axes depend on each
            other in a circle, rows contradict the axes, an include adds nothing.
    """
    axes = Axes(grid)
    derived = table.derived(axes.domain) if table is not None else {}
    rules = RuleSet(grid, {**axes.domain, **derived})
    dimensions = [
        _Dimension(
            options=axes.options(group),
            axes=group,
            needs=None if when is None else rules.presence(*when),
        )
        for group, when in axes.groups
    ]
    problems = [*rules.problems, *(table.problems(axes) if table is not None else ())]
    if problems:
        raise ConfigError(*problems)
    sorter = _Sorter(grid, axes, rules, table, prefix)
    for mask, pairs in _choices(dimensions, rules):
        sorter.add(mask, pairs if axes.in_order else axes.sorted(pairs))
    sorter.include()
    sorter.check()
    return Expansion(cells=tuple(sorter.cells), exclusions=sorter.excluded(), name=sorter.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dimension:
    """An axis, or axes that move together.

    Attributes:
        options: the choices.
        axes: the axes' names.
        needs: the mask of which a bit must be left for a cell to have these axes; None: always.
    """

    options: tuple[Pairs, ...]
    axes: tuple[str, ...]
    needs: int | None


def _choices(dimensions: Iterable[_Dimension], rules: RuleSet) -> list[tuple[int, Pairs]]:
    """Return every combination with its mask.

    Level by level instead of cell by cell, so that what the first axes say is worked out once.
    """
    found: list[tuple[int, Pairs]] = [(rules.everything, ())]
    for each in dimensions:
        options = [(rules.bits(dict(pairs), each.axes), pairs) for pairs in each.options]
        needs = each.needs
        if needs is None:
            found = [(m & mask, p + pairs) for m, p in found for mask, pairs in options]
            continue
        absent = [(rules.bits({}, each.axes), ())]
        found = [
            (m & mask, p + pairs)
            for m, p in found
            for mask, pairs in (options if m & needs else absent)
        ]
    return found


class _Sorter:
    """Decides for every combination whether it is a cell, and gives it its name."""

    def __init__(
        self, grid: MatrixGrid, axes: Axes, rules: RuleSet, table: TorchSupport | None, prefix: str
    ) -> None:
        self.cells: list[Cell] = []
        self.exclusions: list[Exclusion] = []
        self._grid = grid
        self._axes = axes
        self._rules = rules
        self._table = table
        self.name = _namer(grid, axes, prefix)
        self._properties: dict[Pairs, int] = {}
        self._included: list[Problem] = []

    def add(self, mask: int, pairs: Pairs) -> None:
        """Sort one combination in."""
        verdict = self._judge(pairs)
        mask &= self._mask_of(verdict)
        rule = self._rules.exclude(mask)
        if rule is not None:
            self.exclusions.append(Exclusion(cell=pairs, rule=rule.path, reason=rule.reason))
        elif verdict is not None and verdict.reason:
            self.exclusions.append(Exclusion(cell=pairs, rule=verdict.rule, reason=verdict.reason))
        else:
            self._keep(mask, pairs, verdict)

    def _judge(self, pairs: Pairs) -> TorchVerdict | None:
        return None if self._table is None else self._table.judge(pairs)

    def _mask_of(self, verdict: TorchVerdict | None) -> int:
        """What a cell's derived properties leave of the rules."""
        if self._table is None:
            return -1
        derived = () if verdict is None else verdict.derived
        if derived not in self._properties:
            own = self._table.derived(self._axes.domain)
            self._properties[derived] = self._rules.bits(dict(derived), own)
        return self._properties[derived]

    def _keep(self, mask: int, pairs: Pairs, verdict: TorchVerdict | None) -> None:
        self.cells.append(
            Cell(
                id=self.name(pairs),
                values=pairs,
                derived=() if verdict is None else verdict.derived,
                overrides=self._rules.overriding(mask),
            )
        )

    def include(self) -> None:
        """Add the included cells; excludes do not apply to them, but impossible stays impossible.

        Raises:
            ConfigError: one is there already, or can never be.
        """
        there = {cell.values for cell in self.cells} if self._grid.include else set()
        for path, include in self._grid.include:
            for pairs in product(*self._columns(path, include)):
                if pairs in there:
                    self._included.append(_not_new(path, pairs))
                    continue
                there.add(pairs)
                self._include_one(path, pairs)

    def _columns(self, path: str, include: Include) -> list[list[tuple[str, str]]]:
        """Every axis that the included cells have; a built-in one may go without saying."""
        columns = []
        for axis in self._axes.order:
            values = include.get(axis)
            if values is None and axis in self._grid.built_in:
                own = self._grid.axes.get(axis)
                values = own[1].values if own is not None else None
                if values is None or len(values) > 1:
                    what = f"does not say which {axis}"
                    hint = "name a value, or several"
                    self._included.append(Problem(what=what, where=path, hint=hint))
                    return [[]]
            if values is not None:
                columns.append([(axis, value) for value in values])
        return columns

    def _include_one(self, path: str, pairs: Pairs) -> None:
        verdict = self._judge(pairs)
        if verdict is not None and verdict.reason:
            self._included.append(
                Problem(
                    what=f"adds {_words(pairs)}, which cannot be: {verdict.reason}",
                    where=path,
                    hint="correct it, or extend [compat]",
                )
            )
            return
        mask = self._rules.bits(dict(pairs), self._axes.order) & self._mask_of(verdict)
        self._keep(mask, pairs, verdict)

    def excluded(self) -> tuple[Exclusion, ...]:
        """Return what is not built: what an include brings back is."""
        if not self._grid.include:
            return tuple(self.exclusions)
        there = {cell.values for cell in self.cells}
        return tuple(each for each in self.exclusions if each.cell not in there)

    def check(self) -> None:
        """Report what only the whole expansion shows.

        Raises:
            ConfigError: IDs collide, a rule's cells are all gone, an include adds nothing.
        """
        problems = [*self._included, *_same_ids(self.cells), *self._unused()]
        if problems:
            raise ConfigError(*problems)

    def _unused(self) -> Iterator[Problem]:
        """A rule whose cells are all gone already is as wrong as one that matches no value."""
        used = {exclusion.rule for exclusion in self.exclusions}
        indices = {index for applied in {c.overrides for c in self.cells} for index in applied}
        used |= {self._grid.override[index][0] for index in indices}
        rules: list[tuple[str, Exclude | Override]] = [*self._grid.exclude, *self._grid.override]
        for path, rule in rules:
            if path not in used and not rule.optional and path not in self._grid.lenient:
                yield Problem(
                    what="matches nothing: every cell it means is excluded already or never was",
                    where=path,
                    hint="remove it, move it up, or say optional = true",
                )


def _not_new(path: str, pairs: Pairs) -> Problem:
    return Problem(
        what=f"adds nothing: {_words(pairs)} is in the matrix already",
        where=path,
        hint="remove it; [[override]] changes the settings of a cell",
    )


def _words(pairs: Pairs) -> str:
    return " ".join(value for _, value in pairs)


def _namer(grid: MatrixGrid, axes: Axes, prefix: str) -> Callable[[Pairs], TargetId]:
    """Return what makes a cell's ID: platform, then the labels of the other axes by order."""
    built_in = len(grid.built_in)
    fixed: dict[tuple[str, str], str] = {}
    free: dict[str, tuple[str, str]] = {}
    for name in axes.order[built_in:]:
        path, axis = grid.axes.get(name, ("", None))
        text = None if axis is None else axis.label
        if text is not None and set(template.names_in(text)) - {name}:
            free[name] = (f"{path}.label", text)
            continue
        for value in axes.domain[name]:
            label = value if text is None else template.render(text, {name: value})
            fixed[name, value] = _checked(label, f"{path}.label")

    def name_of(pairs: Pairs) -> TargetId:
        python = f"{pairs[0][1]}-" if built_in > 2 else ""  # noqa: PLR2004 - python, libc, arch
        platform = f"{prefix}{python}{pairs[built_in - 2][1]}_{pairs[built_in - 1][1]}"
        if free:
            parts = [_part(pair, pairs) for pair in pairs[built_in:]]
        else:
            parts = [fixed[pair] for pair in pairs[built_in:]]
        label = "-".join(filter(None, parts))
        return TargetId(f"{platform}-{label}" if label else platform)

    def _part(pair: tuple[str, str], pairs: Pairs) -> str:
        if pair[0] not in free:
            return fixed[pair]
        path, text = free[pair[0]]
        return _checked(template.render(text, dict(pairs), where=path), path)

    return name_of


def _checked(part: str, where: str) -> str:
    if part and not axis_value_ok(part):
        raise ConfigError.of(
            f"{part!r} cannot be a part of a target ID",
            where=where,
            hint="letters, digits and . _ + - only: IDs name files and are selected by globs",
        )
    return part


def _same_ids(cells: Iterable[Cell]) -> Iterator[Problem]:
    seen: dict[str, Cell] = {}
    for cell in cells:
        first = seen.setdefault(cell.id, cell)
        if first is not cell:
            one, two = dict(first.values), dict(cell.values)
            differ = ", ".join(
                f"{axis}={one.get(axis, 'none')} and {two.get(axis, 'none')}"
                for axis in sorted(one.keys() | two.keys())
                if one.get(axis) != two.get(axis)
            )
            yield Problem(
                what=f"two cells have the ID {cell.id!r}: {differ}",
                where="axes",
                hint="make the labels of these axes different",
            )
            return


def as_mapping(cell: Cell) -> Mapping[str, str]:
    """Return everything that templates may name about a cell."""
    return {**dict(cell.values), **dict(cell.derived)}
