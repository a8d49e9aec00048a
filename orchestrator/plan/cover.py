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

    Greedy, so not always the shortest. Each block (``python=cp312 & cuda=12.6,12.8``) begins as
    one cell, gives up axes and takes in values, as long as it means no cell of a target that is
    not wanted.

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
    others = _Others(cell for each in targets if each.id not in meant for cell in each.covers)
    axes = _domain(cell for each in targets for cell in each.covers)
    values = _domain(cell for each in own for cell in each.covers)
    domain = {axis: values.get(axis, {}) for axis in axes}
    blocks: list[Block] = []
    for target in own:
        cells = [dict(cell) for cell in target.covers]
        if not any(_means(block, cell) for block in blocks for cell in cells):
            blocks.append(_grown(cells[0], domain, others))
    text = " | ".join(map(_text, _needed(blocks, own)))
    return text if _selects(text, targets) == meant else " | ".join(each.id for each in own)


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


def _needed(blocks: Sequence[Block], targets: Sequence[Target | UnresolvedVersion]) -> list[Block]:
    """Leave out blocks that mean nothing which the others do not mean as well."""
    means = [
        {each.id for each in targets if any(_means(block, dict(cell)) for cell in each.covers)}
        for block in blocks
    ]
    kept = list(range(len(blocks)))
    for number in range(len(blocks)):
        rest = [means[each] for each in kept if each != number]
        if rest and means[number] <= set().union(*rest):
            kept.remove(number)
    return [blocks[each] for each in kept]


def _text(block: Block) -> str:
    # In the order of a cell's axes: python, libc and arch first.
    parts = [
        f"!{axis}" if None in values else f"{axis}={','.join(filter(None, values))}"
        for axis, values in block.items()
    ]
    return " & ".join(parts)
