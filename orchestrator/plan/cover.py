"""The shortest way to say which targets are meant: the opposite of `plan.selection`."""

from __future__ import annotations

from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.plan.cell_sets import CellSets
from orchestrator.plan.selection import select, with_needs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from orchestrator.models.target import Cell, Target, TargetId, UnresolvedVersion

Block = dict[str, dict[str | None, None]]
"""Axis -> the values that will do, None for cells without it; an axis that is not there may have
any."""


def expression(wanted: Collection[TargetId], targets: Sequence[Target | UnresolvedVersion]) -> str:
    """Return a short expression that selects just these targets, and what they need.

    Greedy, so not always the shortest.

    Args:
        wanted: IDs of targets.
        targets: the whole plan's.

    Returns:
        One expression for ``--select``; empty when nothing is wanted.
    """
    if not wanted:
        return ""
    meant = {each.id for each in with_needs(wanted, targets)}
    if len(meant) == len(targets):
        return "*"
    if len(wanted) == 1:
        return next(iter(wanted))
    own = [each for each in targets if each.id in wanted]
    others = [cell for each in targets if each.id not in meant for cell in each.covers]
    text = " | ".join(conditions([each.covers for each in own], others))
    return text if _selects(text, targets) == meant else " | ".join(each.id for each in own)


def conditions(groups: Sequence[Sequence[Cell]], others: Sequence[Cell]) -> list[str]:
    """Return short conditions that together mean a cell of each group, and none of the others.

    Greedy: each block (``python=cp312 & cuda=12.6,12.8``) begins as one cell, gives up axes and
    takes in values, as long as it means none of the others.
    """
    cells = [cell for group in groups for cell in group]
    values, unwanted = _domain(cells), _Others(others)
    domain = {axis: values.get(axis, {}) for axis in _domain([*cells, *others])}
    blocks: list[Block] = []
    for group in groups:
        if not any(_means(block, dict(cell)) for block in blocks for cell in group):
            blocks.append(_grown(dict(group[0]), domain, unwanted))
    everything = _domain([*cells, *others])
    everywhere = {axis for axis in everything if all(axis in dict(c) for c in (*cells, *others))}
    known = {axis: everything[axis] for axis in everywhere}
    return [_text(block, known) for block in _needed(blocks, groups)]


def _selects(text: str, targets: Sequence[Target | UnresolvedVersion]) -> set[TargetId]:
    """Return what an expression selects: `select` knows more than cells, such as ``abi3-cp39``."""
    try:
        return {each.id for each in select(targets, [text])}
    except OrchestratorError:
        return set()


class _Others:
    """The cells that a block must not mean."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._sets = CellSets(cells)

    def met(self, block: Block) -> bool:
        """Whether a block means one of them."""
        sets = (self._sets.having(axis, values) for axis, values in block.items())
        return bool(reduce(and_, sets, self._sets.all))


def _domain(cells: Iterable[Cell]) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for axis, value in cell:
            found.setdefault(axis, {})[value] = None
    return found


def _grown(
    cell: Mapping[str, str], domain: Mapping[str, Mapping[str, None]], others: _Others
) -> Block:
    block: Block = {axis: {cell.get(axis): None} for axis in domain}
    for axis in domain:
        wider = {name: values for name, values in block.items() if name != axis}
        if not others.met(wider):
            block = wider
    for axis in tuple(block):
        if None in block[axis]:
            continue
        for value in domain[axis]:
            wider = {**block, axis: {**block[axis], value: None}}
            if not others.met(wider):
                block = wider
    return block


def _means(block: Block, cell: Mapping[str, str]) -> bool:
    return all(cell.get(axis) in values for axis, values in block.items())


def _needed(blocks: Sequence[Block], groups: Sequence[Sequence[Cell]]) -> list[Block]:
    """Leave out blocks that mean nothing which the others do not mean as well."""
    means = [
        {
            number
            for number, group in enumerate(groups)
            if any(_means(block, dict(cell)) for cell in group)
        }
        for block in blocks
    ]
    kept = list(range(len(blocks)))
    for number in range(len(blocks)):
        rest = [means[each] for each in kept if each != number]
        if rest and means[number] <= set().union(*rest):
            kept.remove(number)
    return [blocks[each] for each in kept]


def _text(block: Block, known: Mapping[str, Mapping[str, None]]) -> str:
    """Spell a block; of an axis that all cells have, the values that it leaves out, if few."""
    # In the order of a cell's axes: python, libc and arch first.
    parts = []
    for axis, values in block.items():
        others = [value for value in known.get(axis, ()) if value not in values]
        if None in values:
            parts.append(f"!{axis}")
        elif others and len(others) * 2 <= len(values):
            parts.append(f"!{axis}={','.join(others)}")
        else:
            parts.append(f"{axis}={','.join(filter(None, values))}")
    return " & ".join(parts)
