"""A plan's targets as the jobs of a CI system: few enough, of about equal cost. Pure.

A job is one machine: its targets share a runner, and at most one emulator. What a wheel needs of
libraries is built in the job that builds the wheel, so that no job waits for another.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Job, TargetId
from orchestrator.models.words import count_of
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
    plan: Plan,
    sizes: Sizes,
    *,
    seconds: Mapping[TargetId, float] | None = None,
    sdist: bool = False,
) -> tuple[Job, ...]:
    """Share out a plan's targets. The same plan gives the same jobs on every machine.

    Wheels that share libraries stay together where they fit into one job; otherwise each job
    that needs a library builds it. The dearest goes first, each to the job that has least to do.

    Args:
        plan: the plan; what is still undetermined is in no job.
        sizes: how many, how large.
        seconds: how long targets took in earlier runs. They count in units of the cost of the
            known ones, so that costs stay comparable.
        sdist: whether a job makes the project's sdist too: the first that needs no emulator.

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
    place = {target.id: number for number, target in enumerate(plan.targets)}
    parts: list[tuple[int, _Group, list[Target]]] = []
    for name, own in units.items():
        for together in _balanced(own, counts[name]):
            numbers = sorted({place[i] for unit in together for i in unit.targets})
            first = next(i for i in numbers if plan.targets[i].library is None)
            parts.append((first, name, [plan.targets[i] for i in numbers]))
    parts.sort(key=lambda part: part[0])
    width = max(2, len(str(len(parts))))
    jobs = [
        _job(f"{number:0{width}}", runner, targets, costs)
        for number, (_, (runner, _), targets) in enumerate(parts, 1)
    ]
    if sdist and jobs:
        best = min(range(len(jobs)), key=lambda number: (bool(jobs[number].emulated), number))
        jobs[best] = replace(jobs[best], sdist=True)
    return tuple(jobs)


def _costs(
    targets: Iterable[Target], seconds: Mapping[TargetId, float]
) -> Mapping[TargetId, float]:
    costs = {target.id: target.cost for target in targets}
    took = estimate_seconds(costs, seconds)
    known = [target_id for target_id in costs if target_id in seconds]
    scale = sum(map(costs.__getitem__, known)) / (sum(map(took.__getitem__, known)) or 1.0)
    return {target_id: took[target_id] * scale for target_id in costs} if known else costs


def _grouped(targets: Sequence[Target], most: int) -> dict[_Group, list[Target]]:
    """Group wheels by the machine they need."""
    fine: dict[_Group, list[Target]] = {}
    coarse: dict[_Group, list[Target]] = {}
    for wheel in (target for target in targets if target.library is None):
        fine.setdefault((wheel.runner, wheel.arch if wheel.emulated else None), []).append(wheel)
        coarse.setdefault((wheel.runner, None), []).append(wheel)
    if len(coarse) > most:
        names = ", ".join("+".join(runner) for runner, _ in list(coarse)[:LISTED])
        raise ConfigError.of(
            f"the targets need {len(coarse)} different runners ({names}, ...), "
            f"and there may be only {count_of(most, 'job')}",
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
    needs = {target.id: target.needs for target in targets}
    place = {target.id: number for number, target in enumerate(targets)}

    def unit(group: Sequence[Target]) -> _Unit:
        ids = closure((wheel.id for wheel in group), needs)
        cost = math.fsum(costs[target_id] for target_id in sorted(ids))
        return _Unit(targets=ids, cost=cost, first=place[group[0].id])

    sharing: dict[frozenset[TargetId] | TargetId, list[Target]] = {}
    for wheel in wheels:
        libraries = closure(wheel.needs, needs)
        sharing.setdefault(libraries or wheel.id, []).append(wheel)
    units = []
    for group in sharing.values():
        whole = unit(group)
        small = whole.cost <= limit + _ROUNDING
        units += [whole] if small else [unit([wheel]) for wheel in group]
    return sorted(units, key=lambda unit: (-unit.cost, unit.first))


def _counts(units: Mapping[_Group, Sequence[_Unit]], sizes: Sizes) -> dict[_Group, int]:
    """Return how many jobs each group gets: as many as it wants, or its part of what there are."""
    wanted = {name: _wanted(own, sizes) for name, own in units.items()}
    if sum(wanted.values()) <= sizes.most:
        return wanted
    # One after the other, each goes to the group whose jobs have most to do.
    counts = dict.fromkeys(wanted, 1)
    load = {name: math.fsum(unit.cost for unit in own) for name, own in units.items()}
    for _ in range(sizes.most - len(counts)):
        growing = (name for name in counts if counts[name] < wanted[name])
        counts[max(growing, key=lambda name: load[name] / counts[name])] += 1
    return counts


def _wanted(units: Sequence[_Unit], sizes: Sizes) -> int:
    """Return how many jobs hold the units so that none costs more than it should."""
    large = sum(unit.cost > sizes.cost + _ROUNDING for unit in units)
    small = units[large:]  # the dearest are first
    if not small or large >= sizes.most:
        return min(len(units), sizes.most)

    def fits(count: int) -> bool:
        jobs = (math.fsum(unit.cost for unit in own) for own in _balanced(small, count))
        return all(cost <= sizes.cost + _ROUNDING for cost in jobs)

    counts = range(1, min(len(small), sizes.most))
    return min(large + counts.start + bisect_left(counts, 1, key=fits), sizes.most)


def _balanced(units: Sequence[_Unit], count: int) -> list[list[_Unit]]:
    parts = balance([unit.cost for unit in units], count)
    return [[units[number] for number in part] for part in parts if part]


def _job(
    number: str, runner: tuple[str, ...], targets: Sequence[Target], costs: Mapping[TargetId, float]
) -> Job:
    emulated = {target.arch for target in targets if target.emulated}
    return Job(
        id=number,
        name=_name([target for target in targets if target.library is None]),
        runner=runner,
        emulated=tuple(arch for arch in Arch if arch in emulated),
        targets=tuple(target.id for target in targets),
        cost=round(math.fsum(costs[target.id] for target in targets), 3),
    )


def _name(wheels: Sequence[Target]) -> str:
    """Return what stands in the list of jobs: the ID of the only wheel, else what they have."""
    if len(wheels) == 1:
        return _short(wheels[0].id)
    axes: dict[str, dict[str, None]] = {}
    for wheel in wheels:
        own = (("python", wheel.python_value), ("platform", wheel.platform))
        for axis, value in (*own, *wheel.variant):
            axes.setdefault(axis, {})[value] = None
    parts = [
        " ".join(values) if len(values) <= LISTED else f"{len(values)} x {axis}"
        for axis, values in axes.items()
    ]
    return _short(f"{', '.join(parts)} ({count_of(len(wheels), 'target')})")


def _short(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."
