"""Any matrix: the order of keys is nothing, excludes only remove, every ID is one's own."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from orchestrator.config.settings import axis_value_ok
from orchestrator.errors import ConfigError
from orchestrator.plan.expand import Expansion, expand
from orchestrator.plan.layers import channel_matrix
from tests.property.matrices import Tree, made, matrices, shuffled

Cell = frozenset[tuple[str, str]]


def outcome(tree: Tree) -> Expansion | tuple[str, ...]:
    try:
        return expand(channel_matrix(made(tree)).grid)
    except ConfigError as error:
        return tuple(sorted(map(str, error.problems)))


def expanded(tree: Tree) -> Expansion:
    found = outcome(tree)
    assume(isinstance(found, Expansion))
    assert isinstance(found, Expansion)
    return found


def facts(found: Expansion | tuple[str, ...]) -> object:
    """Everything but the function that names cells."""
    return (found.cells, found.exclusions) if isinstance(found, Expansion) else found


# A second expansion, written for nothing but to be plainly right


def matches(value: str, pattern: str) -> bool:
    if pattern[0] not in "<>=!~":
        return fnmatchcase(value, pattern)
    version = f"{value[2]}.{value[3:].rstrip('t')}" if value[:3] in {"cp3", "pp3"} else value
    try:
        return SpecifierSet(pattern, prereleases=True).contains(Version(version))
    except InvalidVersion:
        return False


def meant(when: Mapping[str, Any], cell: Cell) -> bool:
    values = dict(cell)
    return all(
        (axis in values) == want
        if isinstance(want, bool)
        else axis in values and any(matches(values[axis], each) for each in want)
        for axis, want in when.items()
    )


def cells(tree: Tree) -> Iterator[Cell]:
    """Every cell before the rules, in no order."""
    axes = {
        key: axis if isinstance(axis, dict) else {"values": axis}
        for key, axis in tree["axes"].items()
    }
    everywhere: list[list[Any]] = [
        [(key, value) for value in axis["values"]]
        for key, axis in axes.items()
        if "when" not in axis
    ]
    everywhere += [
        [tuple(zip(rows["axes"], row, strict=True)) for row in rows["values"]]
        for rows in tree.get("rows", ())
    ]
    for choice in product(*everywhere):
        pairs = [pair if isinstance(pair[0], str) else None for pair in choice]
        flat = [pair for pair in pairs if pair]
        flat += [pair for group in choice if not isinstance(group[0], str) for pair in group]
        yield from with_conditional(frozenset(flat), axes)


def with_conditional(cell: Cell, axes: Mapping[str, Any]) -> Iterator[Cell]:
    """Add the axes of some cells, those first whose ``when`` names none that is undecided."""
    found = {cell}
    undecided = {key: axis for key, axis in axes.items() if "when" in axis}
    while undecided:
        key = next(k for k, axis in undecided.items() if not axis["when"].keys() & undecided.keys())
        axis = undecided.pop(key)
        found = {
            extended
            for each in found
            for extended in (
                [each | {(key, value)} for value in axis["values"]]
                if meant(axis["when"], each)
                else [each]
            )
        }
    yield from found


@given(st.data())
def test_the_order_of_keys_means_nothing(data: st.DataObject) -> None:
    tree = data.draw(matrices(mistakes=True))

    assert facts(outcome(tree)) == facts(outcome(shuffled(data.draw, tree)))


@given(matrices())
def test_the_cells_are_those_of_a_plain_product_less_the_rules(tree: Tree) -> None:
    tree.pop("include", None)
    found = expanded(tree)
    first = {
        cell: next(
            (
                f"exclude[{i}]"
                for i, rule in enumerate(tree["exclude"])
                if meant(rule["when"], cell)
            ),
            None,
        )
        for cell in cells(tree)
    }

    assert {frozenset(each.values) for each in found.cells} == {
        cell for cell, rule in first.items() if rule is None
    }
    assert {frozenset(each.cell): each.rule for each in found.exclusions} == {
        cell: rule for cell, rule in first.items() if rule is not None
    }
    assert len(found.cells) + len(found.exclusions) == len(first)


@given(matrices())
def test_an_override_applies_to_exactly_the_cells_it_names(tree: Tree) -> None:
    for cell in expanded(tree).cells:
        assert cell.overrides == tuple(
            index
            for index, rule in enumerate(tree["override"])
            if meant(rule["when"], frozenset(cell.values))
        )


@given(matrices())
def test_excludes_only_remove(tree: Tree) -> None:
    tree.pop("include", None)
    whole = expanded({**tree, "exclude": []})
    part = expanded(tree)

    kept = {cell.id for cell in part.cells}
    assert [cell for cell in whole.cells if cell.id in kept] == list(part.cells)
    gone = {each.cell for each in part.exclusions}
    assert gone | {cell.values for cell in part.cells} == {cell.values for cell in whole.cells}
    assert len(part.cells) + len(part.exclusions) == len(whole.cells)
    assert whole.exclusions == ()


@given(matrices())
def test_includes_only_add_and_nothing_is_built_and_excluded(tree: Tree) -> None:
    added = tree.pop("include", [])
    without = expanded(tree)
    whole = expanded({**tree, "include": added})

    count = len(without.cells)
    assert whole.cells[:count] == without.cells
    assert {frozenset(cell.values) for cell in whole.cells[count:]} == {
        frozenset(each.items()) for each in added
    }
    built = {cell.values for cell in whole.cells}
    assert not built & {each.cell for each in whole.exclusions}
    assert built | {each.cell for each in whole.exclusions} >= {
        each.cell for each in without.exclusions
    }


@given(matrices())
def test_ids_are_unique_and_begin_with_the_platform(tree: Tree) -> None:
    found = expanded(tree)

    ids = [cell.id for cell in found.cells]
    assert len(set(ids)) == len(ids)
    for cell in found.cells:
        values = dict(cell.values)
        assert [name for name, _ in cell.values[:3]] == ["python", "libc", "arch"]
        assert cell.id.startswith(f"{values['python']}-{values['libc']}_{values['arch']}")
        assert axis_value_ok(cell.id)
        assert [other for other in ids if fnmatchcase(other, cell.id)] == [cell.id]
        assert found.name(cell.values) == cell.id


@given(matrices(mistakes=True), st.text(string.printable, max_size=8))
def test_any_label_gives_good_ids_or_an_error(tree: Tree, label: str) -> None:
    text = label.replace("{", "").replace("}", "")
    tree["axes"]["b"] = {"values": ["1", "2"], "label": text + "{b}"}
    found = outcome(tree)

    if isinstance(found, Expansion):
        ids = [cell.id for cell in found.cells]
        assert len(set(ids)) == len(ids)
        assert all(map(axis_value_ok, ids))
