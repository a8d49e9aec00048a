"""Which targets the user means (``--select``), and this machine's part of them (``--shard``)."""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING, TypeVar

from orchestrator.config import condition
from orchestrator.errors import ConfigError, NothingSelectedError, closest
from orchestrator.models.python_tag import ABI3
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.target import Exclusion, Target, TargetId, UnresolvedVersion

T = TypeVar("T", "Target", "Target | UnresolvedVersion")

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


def select(targets: Sequence[T], expressions: Sequence[str]) -> tuple[T, ...]:
    """Return the targets that at least one expression means, and the libraries they need.

    Args:
        targets: the plan's targets.
        expressions: globs over IDs or axis expressions (see `orchestrator.config.condition`); a
            target that covers several cells is meant when one of them is. None at all: all.

    Returns:
        In plan order.

    Raises:
        ConfigError: an expression cannot be read, or names an axis that no target has.
        NothingSelectedError: nothing matches.
    """
    if not expressions:
        return tuple(targets)
    nodes = [condition.parse(each, where="--select") for each in expressions]
    axes = {axis for target in targets for cell in _cells(target) for axis in cell}
    for node in nodes:
        for axis in sorted(condition.axes_of(node) - axes):
            raise ConfigError.of(
                f"no target has an axis {axis!r}",
                where="--select",
                hint=closest(axis, axes, f"for IDs, a glob: {axis}-*"),
            )
    chosen = {target.id for target in targets if any(_means(node, target) for node in nodes)}
    if not chosen:
        ids = [target.id for target in targets]
        raise NothingSelectedError.of(
            f"no target matches {' or '.join(map(repr, expressions))}",
            where="--select",
            hint=_meant(nodes, targets)
            or (closest(expressions[0], ids) if ids else "the plan is empty"),
        )
    return with_needs(chosen, targets)


def means_any(expressions: Sequence[str], target: Target | UnresolvedVersion) -> bool:
    """Whether one of the expressions means a target; no expression at all means each."""
    nodes = (condition.parse(each, where="--select") for each in expressions)
    return not expressions or any(_means(node, target) for node in nodes)


def _meant(nodes: Iterable[condition.Node], targets: Sequence[T]) -> str:
    """Say which value was meant, where a comparison holds for none that its axis has."""
    for test in (atom for node in nodes for atom in condition.atoms(node)):
        if not isinstance(test, condition.AxisTest):
            continue
        cells = (cell for target in targets for cell in _cells(target))
        values = list(dict.fromkeys(cell[test.axis] for cell in cells if test.axis in cell))
        if not condition.values_matching(test.patterns, values, where="--select"):
            return f"{test.axis}: {closest(test.patterns[0], values)}"
    return ""


def select_exclusions(
    exclusions: Sequence[Exclusion], expressions: Sequence[str]
) -> tuple[Exclusion, ...]:
    """Return the excluded cells that the expressions of `select` mean; globs over IDs mean none."""
    if not expressions:
        return tuple(exclusions)
    nodes = [condition.parse(each, where="--select") for each in expressions]
    cells = ((exclusion, dict(exclusion.cell)) for exclusion in exclusions)
    return tuple(e for e, cell in cells if any(condition.holds(node, cell) for node in nodes))


def with_needs(chosen: Iterable[TargetId], targets: Sequence[T]) -> tuple[T, ...]:
    """Return the chosen targets and everything they need, in plan order."""
    ids = closure(chosen, {target.id: target.needs for target in targets})
    return tuple(target for target in targets if target.id in ids)


def closure(
    chosen: Iterable[TargetId], needs: Mapping[TargetId, Sequence[TargetId]]
) -> frozenset[TargetId]:
    """Return some targets and everything they need, directly or not."""
    ids: set[TargetId] = set()
    waiting = list(chosen)
    while waiting:
        target_id = waiting.pop()
        if target_id not in ids:
            ids.add(target_id)
            waiting += needs[target_id]
    return frozenset(ids)


def balance(costs: Sequence[float], count: int) -> list[list[int]]:
    """Share out numbered things, in their order, each to the part that has least to do."""
    parts: list[list[int]] = [[] for _ in range(count)]
    heap = [(0.0, part) for part in range(count)]
    for number, cost in enumerate(costs):
        load, part = heap[0]
        parts[part].append(number)
        heapq.heapreplace(heap, (load + cost, part))
    return parts


def shard(targets: Sequence[T], text: str) -> tuple[T, ...]:
    """Return one of several parts of about equal cost that together are all targets.

    Targets that share a library stay together, so that no library is built twice. The largest
    group goes first, each to the part that has least to do: the same plan gives the same parts on
    every machine.

    Args:
        targets: the plan's targets.
        text: ``2/5`` for the second of five parts.

    Raises:
        ConfigError: the text is not a shard.
        NothingSelectedError: there are fewer groups than parts, and this part gets none.
    """
    match = _SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError.of(
            f"{text!r} is not a shard", where="--shard", hint="for instance 2/5: the second of five"
        )
    number, count = int(match[1]), int(match[2])
    groups = [(sum(target.cost for target in group), group) for group in _together(targets)]
    groups.sort(key=lambda pair: (-pair[0], pair[1][0].id))
    part = balance([cost for cost, _ in groups], count)[number - 1]
    ids = {target.id for index in part for target in groups[index][1]}
    chosen = tuple(target for target in targets if target.id in ids)
    if not chosen:
        raise NothingSelectedError.of(
            f"shard {text} has nothing to do: it has {count_of(len(groups), 'group')} of targets",
            where="--shard",
            hint="use fewer shards",
        )
    return chosen


def _together(targets: Sequence[T]) -> list[list[T]]:
    """Group targets that need, directly or not, the same library."""
    leader = {target.id: target.id for target in targets}

    def find(target_id: TargetId) -> TargetId:
        while leader[target_id] != target_id:
            target_id = leader[target_id]
        return target_id

    for target in targets:
        for library in target.needs:
            leader[find(library)] = find(target.id)
    groups: dict[TargetId, list[T]] = {}
    for target in targets:
        groups.setdefault(find(target.id), []).append(target)
    return list(groups.values())


def _cells(target: Target | UnresolvedVersion) -> list[dict[str, str]]:
    return [dict((*cell, *target.derived)) for cell in target.covers]


def _means(node: condition.Node, target: Target | UnresolvedVersion) -> bool:
    cells = _cells(target)
    if target.abi3:
        cells.append({**cells[0], "python": f"{ABI3}{target.abi3}"})
    ids = (target.id, *target.aliases)
    return any(condition.holds(node, cell, ids=ids) for cell in cells)
