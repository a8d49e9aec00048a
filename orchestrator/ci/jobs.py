"""A plan's targets as the jobs of a CI system: few enough, of about equal cost. Pure.

A job is one machine: its targets share a runner, and at most one emulator. What a wheel needs of
libraries is built in the job that builds the wheel, so that no job waits for another.
"""

from __future__ import annotations

import heapq
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Job, TargetId
from orchestrator.plan.selection import balance, closure
from orchestrator.run.resources import estimate_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.target import Plan, Target

MOST = 256
"""Jobs that a matrix of GitHub Actions may have; no other CI system takes fewer."""

LISTED = 4
"""Values of an axis that a job's name lists one by one."""

LONGEST_NAME = 100
"""Characters of a job's name."""

_ROUNDING = 1e-9

_Group = tuple[tuple[str, ...], Arch | None]
"""A runner's labels, and the architecture that needs an emulator there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large jobs may be.

    Attributes:
        most: jobs at most.
        cost: targets share a job while together they cost no more than this; 1 is an ordinary
            target. One that costs more is alone, unless there are more than `most`.
    """

    most: int = MOST
    cost: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """Wheels that stay together, with the libraries they need."""

    targets: frozenset[TargetId]
    cost: float
    first: int
    """Its place in the plan: of two that cost the same, the earlier one goes first."""


def plan_jobs(
    plan: Plan, sizes: Sizes, *, seconds: Mapping[TargetId, float] | None = None
) -> tuple[Job, ...]:
    """Share out a plan's targets. The same plan gives the same jobs on every machine.

    Wheels that share libraries stay together where they fit into one job; otherwise each job
    that needs a library builds it. The dearest goes first, each to the job that has least to do.

    Args:
        plan: the plan; what is still undetermined is in no job.
        sizes: how many, how large.
        seconds: how long targets took in earlier runs. They count in units of the cost of the
            known ones, so that costs stay comparable.

    Returns:
        Jobs in the order of their first wheel. Every wheel is in exactly one, every library in
        each that needs it.

    Raises:
        ConfigError: there are more different runners than jobs.
    """
    costs = _costs(plan.targets, seconds or {})
    groups = _grouped(plan.targets, sizes.most)
    units = {name: _units(group, plan.targets, costs, sizes.cost) for name, group in groups.items()}
    counts = _counts(units, sizes)
    place = {each.id: number for number, each in enumerate(plan.targets)}
    wheels = {each.id for each in plan.targets if each.library is None}
    parts: list[tuple[int, _Group, list[TargetId]]] = []
    for name, own in units.items():
        for bin_ in _balanced(own, counts[name]):
            ids = sorted({each for unit in bin_ for each in unit.targets}, key=place.__getitem__)
            parts.append((min(place[each] for each in ids if each in wheels), name, ids))
    parts.sort(key=lambda each: each[0])
    width = max(2, len(str(len(parts))))
    by_id = {each.id: each for each in plan.targets}
    return tuple(
        _job(f"{number:0{width}}", runner, [by_id[each] for each in ids], costs)
        for number, (_, (runner, _), ids) in enumerate(parts, 1)
    )


def _costs(
    targets: Iterable[Target], seconds: Mapping[TargetId, float]
) -> Mapping[TargetId, float]:
    costs = {each.id: each.cost for each in targets}
    took = estimate_seconds(costs, seconds)
    known = [each for each in costs if each in seconds]
    scale = sum(costs[each] for each in known) / (sum(took[each] for each in known) or 1.0)
    return {each: took[each] * scale for each in costs} if known else costs


def _grouped(targets: Sequence[Target], most: int) -> dict[_Group, list[Target]]:
    """Group wheels by the machine they need."""
    wheels = [each for each in targets if each.library is None]
    fine: dict[_Group, list[Target]] = {}
    coarse: dict[_Group, list[Target]] = {}
    for each in wheels:
        fine.setdefault((each.runner, each.arch if each.emulated else None), []).append(each)
        coarse.setdefault((each.runner, None), []).append(each)
    if len(coarse) > most:
        names = ", ".join("+".join(runner) for runner, _ in list(coarse)[:LISTED])
        raise ConfigError.of(
            f"the targets need {len(coarse)} different runners ({names}, ...), "
            f"and there may be only {most} jobs",
            where="--max-jobs",
            hint=f"allow {len(coarse)}, or narrow the plan with --select",
        )
    return fine if len(fine) <= most else coarse


def _units(
    wheels: Sequence[Target],
    targets: Sequence[Target],
    costs: Mapping[TargetId, float],
    limit: float,
) -> list[_Unit]:
    needs = {each.id: each.needs for each in targets}
    place = {each.id: number for number, each in enumerate(targets)}

    def unit(group: Sequence[Target]) -> _Unit:
        found = closure((each.id for each in group), needs)
        cost = math.fsum(costs[each] for each in sorted(found))
        return _Unit(targets=found, cost=cost, first=place[group[0].id])

    found = []
    for together in _sharing(wheels, needs):
        whole = unit(together)
        small = whole.cost <= limit + _ROUNDING
        found += [whole] if small else [unit([each]) for each in together]
    return sorted(found, key=lambda each: (-each.cost, each.first))


def _sharing(
    wheels: Sequence[Target], needs: Mapping[TargetId, Sequence[TargetId]]
) -> list[list[Target]]:
    """Return wheels that need the same libraries as one group, the others each as its own."""
    groups: dict[frozenset[TargetId] | TargetId, list[Target]] = {}
    for each in wheels:
        libraries = closure(each.needs, needs)
        groups.setdefault(libraries or each.id, []).append(each)
    return list(groups.values())


def _counts(units: Mapping[_Group, Sequence[_Unit]], sizes: Sizes) -> dict[_Group, int]:
    """Return how many jobs each group gets: as many as it wants, or its part of what there are."""
    wanted = {name: _wanted(own, sizes) for name, own in units.items()}
    if sum(wanted.values()) <= sizes.most:
        return wanted
    # One after the other, each goes to the group whose jobs have most to do.
    counts = dict.fromkeys(wanted, 1)
    load = {name: math.fsum(each.cost for each in own) for name, own in units.items()}
    names = list(wanted)
    heap = [(-load[name], number) for number, name in enumerate(names) if wanted[name] > 1]
    heapq.heapify(heap)
    for _ in range(sizes.most - len(names)):
        _, number = heapq.heappop(heap)
        name = names[number]
        counts[name] += 1
        if counts[name] < wanted[name]:
            heapq.heappush(heap, (-load[name] / counts[name], number))
    return counts


def _wanted(units: Sequence[_Unit], sizes: Sizes) -> int:
    """Return how many jobs hold the units so that none costs more than it should."""
    large = sum(each.cost > sizes.cost + _ROUNDING for each in units)
    small = units[large:]  # the dearest are first
    if not small or large >= sizes.most:
        return min(len(units), sizes.most)
    low, high = 1, min(len(small), sizes.most)
    while low < high:
        middle = (low + high) // 2
        if _fits(small, middle, sizes.cost):
            high = middle
        else:
            low = middle + 1
    return min(large + low, sizes.most)


def _fits(units: Sequence[_Unit], count: int, limit: float) -> bool:
    return all(
        math.fsum(each.cost for each in own) <= limit + _ROUNDING for own in _balanced(units, count)
    )


def _balanced(units: Sequence[_Unit], count: int) -> list[list[_Unit]]:
    parts = balance([unit.cost for unit in units], count)
    return [[units[number] for number in part] for part in parts if part]


def _job(
    number: str, runner: tuple[str, ...], targets: Sequence[Target], costs: Mapping[TargetId, float]
) -> Job:
    emulated = {each.arch for each in targets if each.emulated}
    return Job(
        id=number,
        name=_name([each for each in targets if each.library is None]),
        runner=runner,
        emulated=tuple(arch for arch in Arch if arch in emulated),
        targets=tuple(each.id for each in targets),
        cost=round(math.fsum(costs[each.id] for each in targets), 3),
    )


def _name(wheels: Sequence[Target]) -> str:
    """Return what stands in the list of jobs: the ID of the only wheel, else what they have."""
    if len(wheels) == 1:
        return _short(wheels[0].id)
    axes: dict[str, dict[str, None]] = {}
    for each in wheels:
        own = (("python", each.python_value), ("platform", each.platform))
        for axis, value in (*own, *each.variant):
            axes.setdefault(axis, {})[value] = None
    parts = [
        " ".join(values) if len(values) <= LISTED else f"{len(values)} x {axis}"
        for axis, values in axes.items()
    ]
    return _short(f"{', '.join(parts)} ({len(wheels)} targets)")


def _short(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."
