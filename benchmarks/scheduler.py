"""How long it takes to schedule a run of 10,000 targets, nothing but that.

    python benchmarks/scheduler.py

One in ten is a library that others need; the rest needs two of them each. The targets take what
four rules of a matrix would give them, and costs are drawn. Builds are played by a clock that
jumps from one end to the next. The other side is the plainest pure scheduler: tuples and sets that
are copied, the first target in plan order that fits. Both are pure, and hold the same budgets.
"""

from __future__ import annotations

import heapq
import random
import time
from typing import TYPE_CHECKING

from orchestrator.models.result import Status
from orchestrator.models.target import TargetId
from orchestrator.run.scheduler import (
    Resources,
    RunStarted,
    StartTarget,
    TargetEnded,
    Task,
    first_state,
    step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GIB = 1 << 30
BUDGET = Resources(slots=32, millicpus=64_000, memory=256 * GIB, emulated=8)
TAKES = (
    Resources(slots=1, millicpus=2_000, memory=8 * GIB, emulated=0),
    Resources(slots=1, millicpus=8_000, memory=32 * GIB, emulated=0),
    Resources(slots=1, millicpus=2_000, memory=8 * GIB, emulated=1),
    Resources(slots=1, millicpus=1_000, memory=64 * GIB, emulated=0),
)
COUNTS = (1_000, 3_000, 10_000, 50_000)
PLAIN_AT_MOST = 3_000
"""Targets that the plain way is asked for; its time grows with the square."""


def matrix(count: int) -> list[Task]:
    """Return so many tasks, the same each time."""
    drawn = random.Random(count)  # noqa: S311 - no secret
    names = [TargetId(f"t{number:05}") for number in range(count)]
    libraries = names[: count // 10]
    return [
        Task(
            target_id=name,
            takes=drawn.choice(TAKES),
            needs=frozenset(drawn.sample(libraries, 2) if number >= len(libraries) else ()),
            cost=drawn.uniform(1.0, 100.0),
        )
        for number, name in enumerate(names)
    ]


def ours(tasks: Sequence[Task]) -> float:
    """Run to the end, and return how long the builds would have taken."""
    costs = {each.target_id: each.cost for each in tasks}
    state, said = step(first_state(tasks, BUDGET), RunStarted())
    running: list[tuple[float, TargetId]] = []
    now = 0.0
    while not state.over:
        for each in said:
            if isinstance(each, StartTarget):
                heapq.heappush(running, (now + costs[each.target_id], each.target_id))
        now, target = heapq.heappop(running)
        state, said = step(state, TargetEnded(target_id=target, status=Status.OK))
    return now


def plain(tasks: Sequence[Task]) -> float:
    """Do the same with copies, in plan order."""
    pending, done, free = tuple(tasks), frozenset[TargetId](), tuple(BUDGET)
    running: tuple[tuple[float, TargetId, Task], ...] = ()
    now = 0.0
    while pending or running:
        chosen: tuple[Task, ...] = ()
        for each in pending:
            if not free[0]:
                break
            fits = all(map(int.__le__, each.takes, free))
            if fits and each.needs <= done:
                chosen = (*chosen, each)
                free = tuple(map(int.__sub__, free, each.takes))
        pending = tuple(each for each in pending if each not in chosen)
        running = (*running, *((now + each.cost, each.target_id, each) for each in chosen))
        now, target, ended = min(running)
        running = tuple(one for one in running if one[1] != target)
        free = tuple(map(int.__add__, free, ended.takes))
        done |= {target}
    return now


def measured(way: Callable[[Sequence[Task]], float], tasks: Sequence[Task]) -> tuple[float, float]:
    """Return the seconds of CPU that scheduling took, and the length of the schedule."""
    before = time.process_time()
    length = way(tasks)
    return time.process_time() - before, length


def main() -> None:
    """Measure both ways and print the table."""
    print("seconds of CPU for a whole run; in brackets how long the builds would have taken")
    print(f"{'targets':>8} {'ours':>8} {'µs/event':>9} {'':>12} {'plain':>8} {'':>12} ratio")
    for count in COUNTS:
        tasks = matrix(count)
        seconds, length = measured(ours, tasks)
        row = f"{count:>8} {seconds:>8.3f} {seconds / count * 1e6:>9.1f} {f'({length:.0f} s)':>12}"
        if count <= PLAIN_AT_MOST:
            other, longer = measured(plain, tasks)
            row += f" {other:>8.3f} {f'({longer:.0f} s)':>12} {other / seconds:.1f}"
        print(row)


if __name__ == "__main__":
    main()
