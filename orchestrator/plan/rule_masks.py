"""The rules of a grid, compiled so that a cell costs the same however many rules there are.

Every alternative of every rule is one bit of an integer. A value keeps the bits of the
alternatives that it satisfies; ANDed over the values of a cell, what is left is what applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from orchestrator.config import condition
from orchestrator.errors import ConfigError, Problem, closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import Exclude, Override
    from orchestrator.plan.layers import MatrixGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One rule.

    Attributes:
        path: its dotted path.
        reason: why a cell is excluded by it, in words.
        mask: the bits of its alternatives; it applies where one of them is left.
    """

    path: str
    reason: str
    mask: int


class RuleSet:
    """All rules of a grid."""

    def __init__(self, grid: MatrixGrid, domain: Mapping[str, Sequence[str]]) -> None:
        """Compile.

        Args:
            grid: the rules.
            domain: axis -> every value it can have.
        """
        self.problems: list[Problem] = []
        self._clauses: list[condition.Clause] = []
        self._domain = domain
        self._lenient = grid.lenient
        self.excludes = tuple(self._rule(path, rule, _reason(rule)) for path, rule in grid.exclude)
        self.overrides = tuple(self._rule(path, rule, "") for path, rule in grid.override)
        self._excluding = reduce(or_, (each.mask for each in self.excludes), 0)
        self._applying: dict[int, tuple[int, ...]] = {}
        self._overriding = reduce(or_, (each.mask for each in self.overrides), 0)

    @property
    def everything(self) -> int:
        """The mask of a cell of which nothing is known yet."""
        return (1 << len(self._clauses)) - 1

    def presence(self, when: str | Mapping[str, bool | Sequence[str]], path: str) -> int:
        """Return the mask of an axis' own ``when``; `path` is the axis'."""
        return self._mask(when, f"{path}.when", strict=path not in self._lenient)

    def bits(self, values: Mapping[str, str], axes: Iterable[str]) -> int:
        """Return the mask that these axes leave, ``values`` being what a cell has of them."""
        names = tuple(axes)
        bits = 0
        for index, clause in enumerate(self._clauses):
            if all(values.get(axis) in clause[axis] for axis in names if axis in clause):
                bits |= 1 << index
        return bits

    def exclude(self, mask: int) -> CompiledRule | None:
        """Return the first exclude that applies to a cell."""
        hit = mask & self._excluding
        return next(each for each in self.excludes if each.mask & hit) if hit else None

    def overriding(self, mask: int) -> tuple[int, ...]:
        """Return the indices of the overrides that apply to a cell, in their order."""
        hit = mask & self._overriding
        found = self._applying.get(hit)
        if found is None:
            found = tuple(i for i, each in enumerate(self.overrides) if each.mask & hit)
            self._applying[hit] = found
        return found

    def _rule(self, path: str, rule: Exclude | Override, reason: str) -> CompiledRule:
        strict = not rule.optional and path not in self._lenient
        mask = self._mask(rule.when, f"{path}.when", strict=strict)
        return CompiledRule(path=path, reason=reason, mask=mask)

    def _mask(
        self, when: str | Mapping[str, bool | Sequence[str]], where: str, *, strict: bool
    ) -> int:
        try:
            node = condition.from_when(when, where=where)
            # The parts of a table have paths of their own, those of an expression have not.
            place = where if isinstance(when, str) else f"{where}."
            problems = list(_problems(node, self._domain, place, strict=strict))
            found = condition.clauses(node, self._domain)
        except ConfigError as error:
            problems, found = list(error.problems), ()
        self.problems += problems
        if strict and not found and not problems:
            self.problems.append(Problem(what="contradicts itself: no cell can match", where=where))
        first = len(self._clauses)
        self._clauses += found
        return (1 << len(self._clauses)) - (1 << first)


def _problems(
    node: condition.Node, domain: Mapping[str, Sequence[str]], prefix: str, *, strict: bool
) -> Iterator[Problem]:
    """What a condition says that no value can ever satisfy."""
    for atom in condition.atoms(node):
        if not isinstance(atom, condition.AxisTest):
            continue
        values = domain[atom.axis]
        place = f"{prefix}{atom.axis}" if prefix.endswith(".") else prefix
        try:
            found = condition.values_matching(atom.patterns, values, where=place)
        except ConfigError as error:
            yield from error.problems
            continue
        if strict and not found:
            words = " or ".join(map(repr, atom.patterns))
            yield Problem(
                what=f"matches nothing: no value of {atom.axis!r} is {words}",
                where=place,
                hint=closest(atom.patterns[0], values),
            )


def _reason(rule: Exclude) -> str:
    if rule.reason:
        return rule.reason
    if isinstance(rule.when, str):
        return rule.when
    return ", ".join(_words(axis, match) for axis, match in sorted(rule.when.items()))


def _words(axis: str, match: bool | Sequence[str]) -> str:  # noqa: FBT001 - a value of the file
    if isinstance(match, bool):
        return f"{'has' if match else 'has no'} {axis}"
    return f"{axis} is {' or '.join(match)}"
