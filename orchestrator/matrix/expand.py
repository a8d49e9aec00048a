"""Axes and excludes to cells, in one deterministic order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.config import template
from orchestrator.config.settings import axis_value_ok
from orchestrator.errors import ConfigError, Problem
from orchestrator.matrix.select import compile_when
from orchestrator.models import Exclusion, TargetId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import Exclude, Override, Settings

BUILT_IN = ("python", "libc", "arch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the matrix: a choice of values, and the rules that speak about it.

    Attributes:
        id: the target ID.
        values: axis -> value, python, libc and arch first, then the other axes by name.
        label: the variant's label (``cu126-torch2.8``), empty without user-named axes.
        overrides: indices of the overrides that apply, in the order of the file.
    """

    id: TargetId
    values: tuple[tuple[str, str], ...]
    label: str
    overrides: tuple[int, ...]

    @property
    def variant(self) -> tuple[tuple[str, str], ...]:
        """The values of the user-named axes."""
        return self.values[len(BUILT_IN) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """All cells that are built and all that are not."""

    cells: tuple[Cell, ...]
    exclusions: tuple[Exclusion, ...]


def expand(settings: Settings) -> Expansion:
    """Expand the matrix.

    The order is that of nested loops over python, libc, arch and the user's axes by name, each in
    the order its values are written; it does not depend on the order of keys in the file.

    Raises:
        ConfigError: a rule matches nothing, or two cells would have one ID.
    """
    axes = settings.axes
    names = (*BUILT_IN, *sorted(axes.keys() - set(BUILT_IN)))
    excludes, overrides = _compiled_rules(settings)
    cells: list[Cell] = []
    exclusions: list[Exclusion] = []
    for choice in product(*(axes[name].values for name in names)):
        values = dict(zip(names, choice, strict=True))
        rule = next((i for i, when in enumerate(excludes) if _matches(when, values)), None)
        if rule is not None:
            exclusions.append(_exclusion(settings, rule, values))
            continue
        label = _label(settings, names[len(BUILT_IN) :], values)
        platform = f"{values['python']}-{values['libc']}_{values['arch']}"
        cells.append(
            Cell(
                id=TargetId(f"{platform}-{label}" if label else platform),
                values=tuple(values.items()),
                label=label,
                overrides=tuple(i for i, when in enumerate(overrides) if _matches(when, values)),
            )
        )
    _check_unique(cells)
    _check_all_used(settings, cells, exclusions)
    return Expansion(cells=tuple(cells), exclusions=tuple(exclusions))


_When = dict[str, frozenset[str]]


def _compiled_rules(settings: Settings) -> tuple[list[_When], list[_When]]:
    """Return what excludes and overrides match, or report all that match nothing together."""
    problems: list[Problem] = []

    def compiled(kind: str, rules: Sequence[Exclude | Override]) -> Iterator[_When]:
        for index, rule in enumerate(rules):
            try:
                yield compile_when(rule.when, settings.axes, where=f"{kind}[{index}].when")
            except ConfigError as error:
                problems.extend(error.problems)

    both = (
        list(compiled("exclude", settings.exclude)),
        list(compiled("override", settings.override)),
    )
    if problems:
        raise ConfigError(*problems)
    return both


def _matches(when: Mapping[str, frozenset[str]], values: Mapping[str, str]) -> bool:
    return all(values[axis] in wanted for axis, wanted in when.items())


def _label(settings: Settings, names: Iterable[str], values: Mapping[str, str]) -> str:
    parts = []
    for name in names:
        text = settings.axes[name].label
        part = values[name] if text is None else template.render(text, values)
        if part and not axis_value_ok(part):
            raise ConfigError.of(
                f"{part!r} cannot be a part of a target ID",
                where=f"axes.{name}.label",
                hint="letters, digits and . _ + - only: IDs name files and are selected by globs",
            )
        parts.append(part)
    return "-".join(part for part in parts if part)


def _exclusion(settings: Settings, index: int, values: Mapping[str, str]) -> Exclusion:
    rule = settings.exclude[index]
    words = ", ".join(f"{axis} is {' or '.join(want)}" for axis, want in sorted(rule.when.items()))
    return Exclusion(
        cell=tuple(values.items()), rule=f"exclude[{index}]", reason=rule.reason or words
    )


def _check_unique(cells: Iterable[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in seen:
            one, two = dict(seen[cell.id].values), dict(cell.values)
            differ = ", ".join(f"{a}={one[a]} and {two[a]}" for a in one if one[a] != two[a])
            raise ConfigError.of(
                f"two cells have the ID {cell.id!r}: {differ}",
                where="axes",
                hint="make the labels of these axes different",
            )
        seen[cell.id] = cell


def _check_all_used(
    settings: Settings, cells: Iterable[Cell], exclusions: Iterable[Exclusion]
) -> None:
    """A rule whose cells are all gone already is as wrong as one that matches no value."""
    used = {exclusion.rule for exclusion in exclusions}
    used |= {f"override[{index}]" for cell in cells for index in cell.overrides}
    rules = [f"exclude[{index}]" for index in range(len(settings.exclude))]
    rules += [f"override[{index}]" for index in range(len(settings.override))]
    unused = [
        Problem(
            what="matches nothing: earlier rules exclude every cell it means",
            where=rule,
            hint="remove it, or move it up",
        )
        for rule in rules
        if rule not in used
    ]
    if unused:
        raise ConfigError(*unused)
