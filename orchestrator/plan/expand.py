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
from orchestrator.plan.torch_table import FINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import Exclude, Include, Override, When
    from orchestrator.plan.layers import MatrixGrid
    from orchestrator.plan.torch_table import TorchSupport, TorchVerdict

Pairs = tuple[tuple[str, str], ...]


class Cell(NamedTuple):
    """One cell of the matrix: a choice of values, and the overrides that apply to it.

    Attributes:
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
    """All cells that are built and all that are not; ``name`` gives the ID for a cell's values."""

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
    expander = _Expander(grid, table, prefix)
    expander.run()
    return Expansion(
        cells=tuple(expander.cells), exclusions=expander.excluded(), name=expander.name
    )


class _Expander:
    """Expands one matrix."""

    def __init__(self, grid: MatrixGrid, table: TorchSupport | None, prefix: str) -> None:
        self.cells: list[Cell] = []
        self.exclusions: list[Exclusion] = []
        self._problems: list[Problem] = []
        self._grid = grid
        self._table = table
        self._axes = Axes(grid)
        derived = table.derived(self._axes.domain) if table is not None else {}
        self._domain = {**self._axes.domain, **derived}
        self.name = _namer(grid, self._axes, prefix)

    def run(self) -> None:
        rules: list[tuple[str, Exclude | Override]] = [*self._grid.exclude, *self._grid.override]
        strict = {
            path: not rule.optional and path not in self._grid.lenient for path, rule in rules
        }
        nodes = {
            path: self._condition(rule.when, f"{path}.when", strict=strict[path])
            for path, rule in rules
        }
        combinations = self._combinations()
        self._problems += self._table.problems(self._axes) if self._table is not None else ()
        self._raise_problems()
        verdicts = list(map(self._judge, combinations))
        sets = _sets(combinations, verdicts)
        meant = {path: sets.meant(node) for path, node in nodes.items() if node is not None}
        for path, cells in meant.items():
            if not cells and strict[path]:
                self._check_contradiction(nodes[path], f"{path}.when")
        self._raise_problems()
        self._sort(combinations, verdicts, sets, meant)
        self._include(nodes)
        self._problems += _same_ids(self.cells)
        self._problems += self._unused(path for path, is_strict in strict.items() if is_strict)
        self._raise_problems()

    def _raise_problems(self) -> None:
        if self._problems:
            raise ConfigError(*self._problems)

    # conditions

    def _condition(self, when: When, where: str, *, strict: bool) -> condition.Node | None:
        """Read a condition; report what it says that no value can ever satisfy."""
        before = len(self._problems)
        try:
            node = condition.from_when(when, where=where)
        except ConfigError as error:
            self._problems += error.problems
            return None
        for test in condition.atoms(node):
            if isinstance(test, condition.AxisTest):
                # The parts of a table have paths of their own, those of an expression have not.
                place = where if isinstance(when, str) else f"{where}.{test.axis}"
                self._problems += _test_problems(
                    test, self._domain[test.axis], place, strict=strict
                )
        return node if len(self._problems) == before else None

    def _check_contradiction(self, node: condition.Node | None, where: str) -> None:
        """Report a condition that matched no cell if no values at all can match it."""
        axes = sorted(condition.axes_of(node)) if node is not None else []
        for choice in product(*((*self._domain[axis], None) for axis in axes)):
            pairs = zip(axes, choice, strict=True)
            values = {axis: value for axis, value in pairs if value is not None}
            if node is None or condition.holds(node, values):
                return
        what = "contradicts itself: no cell can match"
        self._problems.append(Problem(what=what, where=where))

    # cells

    def _combinations(self) -> list[Pairs]:
        """Return every combination of the axes' values, excluded ones as well."""
        found: list[Pairs] = [()]
        absent: tuple[Pairs, ...] = ((),)
        for group, when in self._axes.groups:
            options = self._axes.options(group)
            if when is None:
                found = [pairs + option for pairs in found for option in options]
                continue
            found = [
                pairs + option
                for pairs, has in zip(found, self._presence(found, *when), strict=True)
                for option in (options if has else absent)
            ]
        return found if self._axes.in_order else list(map(self._axes.sorted, found))

    def _presence(self, cells: Sequence[Pairs], when: When, path: str) -> bytes:
        """Return for each cell whether it has the axis at a path."""
        strict = path not in self._grid.lenient
        node = self._condition(when, f"{path}.when", strict=strict)
        sets = CellSets(cells)
        having = 0 if node is None else sets.meant(node)
        if strict and not having:
            self._check_contradiction(node, f"{path}.when")
        return sets.flags(having)

    def _judge(self, pairs: Pairs) -> TorchVerdict:
        return FINE if self._table is None else self._table.judge(pairs)

    def _sort(
        self,
        combinations: Sequence[Pairs],
        verdicts: Sequence[TorchVerdict],
        sets: CellSets,
        meant: Mapping[str, int],
    ) -> None:
        """Keep or exclude every combination; the first exclude that matches counts."""
        excluded: dict[int, tuple[str, str]] = {}
        for path, rule in self._grid.exclude:
            why = path, _reason(rule)
            for number in sets.numbers(meant[path]):
                excluded.setdefault(number, why)
        overrides = self._overrides(sets, meant)
        for number, (pairs, verdict) in enumerate(zip(combinations, verdicts, strict=True)):
            why = excluded.get(number, ("", ""))
            if not why[0] and verdict.reason:
                why = verdict.rule, verdict.reason
            if why[0]:
                self.exclusions.append(Exclusion(cell=pairs, rule=why[0], reason=why[1]))
            else:
                self._keep(pairs, verdict, overrides.get(number, ()))

    def _overrides(self, sets: CellSets, meant: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
        """Return for each cell's number the indices of the overrides that apply to it."""
        found: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
        for index, (path, _) in enumerate(self._grid.override):
            for number in sets.numbers(meant[path]):
                found[number] += (index,)
        return found

    def _keep(self, pairs: Pairs, verdict: TorchVerdict, overrides: tuple[int, ...]) -> None:
        self.cells.append(Cell(self.name(pairs), pairs, verdict.derived, overrides))

    def _include(self, nodes: Mapping[str, condition.Node | None]) -> None:
        """Add the included cells; excludes do not apply to them, what torch lacks does."""
        there = {cell.values for cell in self.cells} if self._grid.include else set()
        added: list[Pairs] = []
        for path, include in self._grid.include:
            for pairs in product(*self._columns(path, include)):
                verdict = self._judge(pairs)
                what, hint = "", "remove it; [[override]] changes the settings of a cell"
                if pairs in there:
                    what = f"redundant: {_words(pairs)} is already in the matrix"
                elif verdict.reason:
                    what = f"adds {_words(pairs)}, which cannot be: {verdict.reason}"
                    hint = "correct it, or extend [compat]"
                if what:
                    self._problems.append(Problem(what=what, where=path, hint=hint))
                else:
                    added.append(pairs)
                there.add(pairs)
        verdicts = list(map(self._judge, added))
        sets = _sets(added, verdicts)
        meant = {path: sets.meant(node) for path, node in nodes.items() if node is not None}
        overrides = self._overrides(sets, meant)
        for number, (pairs, verdict) in enumerate(zip(added, verdicts, strict=True)):
            self._keep(pairs, verdict, overrides.get(number, ()))

    def _columns(self, path: str, include: Include) -> list[list[tuple[str, str]]]:
        """Return the axes of included cells; a built-in one may be left out if it has one value."""
        columns = []
        for axis in self._axes.order:
            values = include.get(axis)
            if values is None and axis in self._grid.built_in:
                own = self._grid.axes.get(axis)
                values = own[1].values if own is not None else None
                if values is None or len(values) > 1:
                    what, hint = f"does not say which {axis}", "name a value, or several"
                    self._problems.append(Problem(what=what, where=path, hint=hint))
                    return [[]]
            if values is not None:
                columns.append([(axis, value) for value in values])
        return columns

    def excluded(self) -> tuple[Exclusion, ...]:
        """Return what is not built, without what an include brings back."""
        there = {cell.values for cell in self.cells} if self._grid.include else set()
        return tuple(each for each in self.exclusions if each.cell not in there)

    def _unused(self, strict: Iterable[str]) -> Iterator[Problem]:
        """Report rules whose cells are all gone: as wrong as rules that match no value."""
        used = {exclusion.rule for exclusion in self.exclusions}
        applied = {index for overrides in {c.overrides for c in self.cells} for index in overrides}
        used |= {self._grid.override[index][0] for index in applied}
        for path in strict:
            if path not in used:
                yield Problem(
                    what="matches nothing: every cell it means is excluded already or never was",
                    where=path,
                    hint="remove it, move it up, or say optional = true",
                )


def _test_problems(
    test: condition.AxisTest, values: Sequence[str], where: str, *, strict: bool
) -> Iterator[Problem]:
    try:
        matching = condition.values_matching(test.patterns, values, where=where)
    except ConfigError as error:
        yield from error.problems
        return
    if strict and not matching:
        words = " or ".join(map(repr, test.patterns))
        what = f"matches nothing: no value of {test.axis!r} is {words}"
        yield Problem(what=what, where=where, hint=closest(test.patterns[0], values))


def _sets(cells: Iterable[Pairs], verdicts: Iterable[TorchVerdict]) -> CellSets:
    """Return the sets of some cells, whose derived properties count as axes."""
    return CellSets(c + verdict.derived for c, verdict in zip(cells, verdicts, strict=True))


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
