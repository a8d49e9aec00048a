"""Expand axes, rows, includes and rules to cells, in one deterministic order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.config import condition, template
from orchestrator.config.settings import axis_value_ok
from orchestrator.errors import ConfigError, Problem, closest
from orchestrator.models.target import Exclusion, TargetId
from orchestrator.plan.axes import Axes
from orchestrator.plan.cell_sets import CellSets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import Exclude, Include, Override, When
    from orchestrator.plan.layers import MatrixGrid
    from orchestrator.plan.torch_table import TorchSupport, TorchVerdict

Pairs = tuple[tuple[str, str], ...]


class Cell(NamedTuple):
    """One cell of the matrix: a choice of values, and the overrides that apply to it.

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
    rules = _Rules(grid, {**axes.domain, **derived})
    combinations = rules.combinations(axes)
    rules.problems += table.problems(axes) if table is not None else ()
    if rules.problems:
        raise ConfigError(*rules.problems)
    sorter = _Sorter(grid, axes, rules, table, prefix)
    sorter.sort(combinations)
    sorter.include()
    sorter.check()
    return Expansion(cells=tuple(sorter.cells), exclusions=sorter.excluded(), name=sorter.name)


class _Rules:
    """The conditions of a grid: those of its axes, excludes and overrides."""

    def __init__(self, grid: MatrixGrid, domain: Mapping[str, Sequence[str]]) -> None:
        self.problems: list[Problem] = []
        self._grid = grid
        self._domain = domain
        self.excludes = [(path, rule, self._rule(path, rule)) for path, rule in grid.exclude]
        self.overrides = [self._rule(path, rule) for path, rule in grid.override]

    def combinations(self, axes: Axes) -> list[Pairs]:
        """Return every combination of the axes' values, excluded ones as well."""
        found: list[Pairs] = [()]
        for group, when in axes.groups:
            options = axes.options(group)
            if when is None:
                found = [pairs + option for pairs in found for option in options]
                continue
            flags = self._presence(found, *when)
            absent: tuple[Pairs, ...] = ((),)
            found = [
                pairs + option
                for pairs, has in zip(found, flags, strict=True)
                for option in (options if has else absent)
            ]
        return found if axes.in_order else list(map(axes.sorted, found))

    def _presence(self, cells: Sequence[Pairs], when: When, path: str) -> bytes:
        """Return for each cell whether it has an axis; `path` is the axis'."""
        strict = path not in self._grid.lenient
        node = self._condition(when, f"{path}.when", strict=strict)
        if node is None:
            return bytes(len(cells))
        sets = CellSets(cells)
        having = sets.meant(node)
        if not having and strict:
            self.check_contradiction(node, f"{path}.when")
        return sets.flags(having)

    def check_contradiction(self, node: condition.Node, where: str) -> None:
        """Report a condition that no values at all can meet; it met none of the cells."""
        axes = sorted(condition.axes_of(node))
        choices = product(*((*self._domain[axis], None) for axis in axes))
        cells = (dict(zip(axes, choice, strict=True)) for choice in choices)
        if not any(condition.holds(node, {k: v for k, v in c.items() if v}) for c in cells):
            what = "contradicts itself: no cell can match"
            self.problems.append(Problem(what=what, where=where))

    def _rule(self, path: str, rule: Exclude | Override) -> condition.Node | None:
        strict = not rule.optional and path not in self._grid.lenient
        return self._condition(rule.when, f"{path}.when", strict=strict)

    def _condition(self, when: When, where: str, *, strict: bool) -> condition.Node | None:
        """Read a condition; report what it says that no value can ever satisfy."""
        try:
            node = condition.from_when(when, where=where)
        except ConfigError as error:
            self.problems += error.problems
            return None
        before = len(self.problems)
        for atom in condition.atoms(node):
            if isinstance(atom, condition.AxisTest):
                # The parts of a table have paths of their own, those of an expression have not.
                place = where if isinstance(when, str) else f"{where}.{atom.axis}"
                self._check_test(atom, place, strict=strict)
        return node if len(self.problems) == before else None

    def _check_test(self, test: condition.AxisTest, where: str, *, strict: bool) -> None:
        values = self._domain[test.axis]
        try:
            matching = condition.values_matching(test.patterns, values, where=where)
        except ConfigError as error:
            self.problems += error.problems
            return
        if strict and not matching:
            words = " or ".join(map(repr, test.patterns))
            what = f"matches nothing: no value of {test.axis!r} is {words}"
            hint = closest(test.patterns[0], values)
            self.problems.append(Problem(what=what, where=where, hint=hint))


class _Sorter:
    """Decides for every combination whether it is a cell, and gives it its name."""

    def __init__(
        self, grid: MatrixGrid, axes: Axes, rules: _Rules, table: TorchSupport | None, prefix: str
    ) -> None:
        self.cells: list[Cell] = []
        self.exclusions: list[Exclusion] = []
        self.name = _namer(grid, axes, prefix)
        self._grid = grid
        self._axes = axes
        self._rules = rules
        self._table = table
        self._problems: list[Problem] = []

    def sort(self, combinations: Sequence[Pairs]) -> None:
        """Keep or exclude every combination.

        Raises:
            ConfigError: a rule contradicts itself.
        """
        verdicts = list(map(self._judge, combinations))
        sets = _sets(combinations, verdicts)
        excluded: dict[int, tuple[str, str]] = {}
        for path, rule, node in self._rules.excludes:
            for number in self._meant(sets, path, rule, node):
                excluded.setdefault(number, (path, _reason(rule)))
        overrides = self._overrides(sets)
        if self._rules.problems:
            raise ConfigError(*self._rules.problems)
        for number, (pairs, verdict) in enumerate(zip(combinations, verdicts, strict=True)):
            if number in excluded:
                path, reason = excluded[number]
                self.exclusions.append(Exclusion(cell=pairs, rule=path, reason=reason))
            elif verdict is not None and verdict.reason:
                self.exclusions.append(
                    Exclusion(cell=pairs, rule=verdict.rule, reason=verdict.reason)
                )
            else:
                self._keep(pairs, verdict, overrides.get(number, ()))

    def include(self) -> None:
        """Add the included cells; excludes do not apply to them, what torch lacks does."""
        there = {cell.values for cell in self.cells} if self._grid.include else set()
        added: list[Pairs] = []
        verdicts: list[TorchVerdict | None] = []
        for path, include in self._grid.include:
            for pairs in product(*self._columns(path, include)):
                verdict = self._judge(pairs)
                if pairs in there:
                    self._problems.append(_not_new(path, pairs))
                    continue
                there.add(pairs)
                if verdict is not None and verdict.reason:
                    what = f"adds {_words(pairs)}, which cannot be: {verdict.reason}"
                    hint = "correct it, or extend [compat]"
                    self._problems.append(Problem(what=what, where=path, hint=hint))
                else:
                    added.append(pairs)
                    verdicts.append(verdict)
        overrides = self._overrides(_sets(added, verdicts)) if added else {}
        for number, (pairs, verdict) in enumerate(zip(added, verdicts, strict=True)):
            self._keep(pairs, verdict, overrides.get(number, ()))

    def _judge(self, pairs: Pairs) -> TorchVerdict | None:
        return None if self._table is None else self._table.judge(pairs)

    def _overrides(self, sets: CellSets) -> dict[int, tuple[int, ...]]:
        """Return for each cell's number the indices of the overrides that apply to it."""
        found: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
        rules = zip(self._grid.override, self._rules.overrides, strict=True)
        for index, ((path, rule), node) in enumerate(rules):
            for number in self._meant(sets, path, rule, node):
                found[number] += (index,)
        return found

    def _meant(
        self, sets: CellSets, path: str, rule: Exclude | Override, node: condition.Node | None
    ) -> Iterator[int]:
        cells = 0 if node is None else sets.meant(node)
        if node is not None and not cells and not rule.optional and path not in self._grid.lenient:
            self._rules.check_contradiction(node, f"{path}.when")
        return sets.numbers(cells)

    def _keep(self, pairs: Pairs, verdict: TorchVerdict | None, overrides: tuple[int, ...]) -> None:
        derived = () if verdict is None else verdict.derived
        self.cells.append(Cell(self.name(pairs), pairs, derived, overrides))

    def _columns(self, path: str, include: Include) -> list[list[tuple[str, str]]]:
        """Return the axes of included cells; a built-in one may be left out if it has one value."""
        columns = []
        for axis in self._axes.order:
            values = include.get(axis)
            if values is None and axis in self._grid.built_in:
                own = self._grid.axes.get(axis)
                values = own[1].values if own is not None else None
                if values is None or len(values) > 1:
                    what = f"does not say which {axis}"
                    hint = "name a value, or several"
                    self._problems.append(Problem(what=what, where=path, hint=hint))
                    return [[]]
            if values is not None:
                columns.append([(axis, value) for value in values])
        return columns

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
        problems = [*self._problems, *_same_ids(self.cells), *self._unused()]
        if problems:
            raise ConfigError(*problems)

    def _unused(self) -> Iterator[Problem]:
        """Report rules whose cells are all gone: as wrong as rules that match no value."""
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


def _sets(cells: Iterable[Pairs], verdicts: Iterable[TorchVerdict | None]) -> CellSets:
    """Return the sets of some cells, whose derived properties count as axes."""
    pairs = zip(cells, verdicts, strict=True)
    return CellSets(cell if verdict is None else cell + verdict.derived for cell, verdict in pairs)


def _reason(rule: Exclude) -> str:
    """Return why a rule excludes cells: its reason, or the rule itself in words."""
    if rule.reason or isinstance(rule.when, str):
        return rule.reason or str(rule.when)
    parts = []
    for axis, match in sorted(rule.when.items()):
        if isinstance(match, bool):
            parts.append(f"{'has' if match else 'has no'} {axis}")
        else:
            parts.append(f"{axis} is {' or '.join(match)}")
    return ", ".join(parts)


def _not_new(path: str, pairs: Pairs) -> Problem:
    return Problem(
        what=f"redundant: {_words(pairs)} is already in the matrix",
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
