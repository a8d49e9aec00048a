"""Share a run's CPUs and memory between targets, and derive each build's parallelism. Pure.

A target gets what ``[resources]`` says, else an equal share. It may run as many compilers at once
as it has CPUs, but no more than its memory can hold; when it starts, it is also given what no other
target will need.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.run.scheduler import Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.config.settings import RunSettings
    from orchestrator.host.capacity import Capacity
    from orchestrator.models.target import EnvVar, TargetId, TargetResources

GIB = 1 << 30

CPUS_EACH_LIMITED = 2
"""CPUs that a target gets at least in a run with a limit: better few that end in time than none.

Without a limit it gets one: most builds wait for installers and for single compilers.
"""

MEMORY_PER_JOB = 2 * GIB
"""Bytes of one compiler unless the matrix says otherwise; C++ templates take one to two GiB."""


def budget(
    machine: Capacity,
    settings: RunSettings,
    *,
    jobs: int | None,
    count: int,
    limited: bool = False,
) -> Resources:
    """Return what all targets that run at once may take together.

    Args:
        machine: what this process may use.
        settings: ``[run]`` of the matrix.
        jobs: targets at once; None to derive it.
        count: how many targets there are.
        limited: whether the run ends at a limit.
    """
    cpus = settings.cpus or machine.cpus
    memory = settings.memory or machine.memory
    each = CPUS_EACH_LIMITED if limited else 1
    by_machine = min(int(cpus // each), memory // (each * MEMORY_PER_JOB), count)
    # More slots than targets would only make each share smaller.
    slots = max(min(jobs or max(by_machine, 1), count), 1)
    return Resources(
        slots=slots,
        millicpus=max(int(cpus * 1000), 1),
        memory=max(memory, 1),
        emulated=slots if settings.emulated is None else settings.emulated,
    )


def takes(resources: TargetResources, whole: Resources, *, emulated: bool) -> Resources:
    """Return what one target takes of a whole budget; it may be more than there is."""
    cpus = resources.cpus
    memory = resources.memory_bytes
    part = max(whole.memory // whole.slots, resources.memory_per_job or 0)
    return Resources(
        slots=1,
        millicpus=max(whole.millicpus // whole.slots if cpus is None else int(cpus * 1000), 1),
        memory=part if memory is None else memory,
        emulated=int(emulated),
    )


def compilers(resources: TargetResources, share: Resources, whole: Resources) -> int:
    """Return how many compilers a target may run at once: at least 1, at most what it takes."""
    cpus = min(share.millicpus, whole.millicpus) // 1000
    memory = min(share.memory, whole.memory)
    return max(min(cpus, memory // (resources.memory_per_job or MEMORY_PER_JOB)), 1)


@dataclass(frozen=True, slots=True)
class CompilerShares:
    """How many compilers the running targets were given, out of a budget. For one thread.

    A share is decided when its target starts, as a build is told once. So the last targets of a
    run get what the others have left.
    """

    whole: Resources
    given: dict[TargetId, tuple[int, int]] = field(default_factory=dict)
    """Target -> compilers, and the memory of one in bytes."""
    halved: dict[TargetId, int] = field(default_factory=dict)
    """Target that ran out of memory -> the most compilers of its next attempt."""

    def take(
        self, target_id: TargetId, resources: TargetResources, own: Resources, beside: int
    ) -> int:
        """Return how many compilers a target may run that starts now: at least 1.

        Args:
            target_id: the target.
            resources: what the matrix says of it; its CPUs and memory count if they are set.
            own: what it takes of the budget.
            beside: how many targets may still start while it runs, each with a part like its own.
        """
        cpus, memory = self._free()
        share = own
        if resources.cpus is None:
            part = math.ceil(cpus / (beside + 1)) * 1000
            share = share._replace(millicpus=max(part, own.millicpus))
        if resources.memory is None:
            share = share._replace(memory=max(memory // (beside + 1), own.memory))
        count = compilers(resources, share, self.whole)
        count = min(count, self.halved.get(target_id, count))
        self.given[target_id] = count, resources.memory_per_job or MEMORY_PER_JOB
        return count

    def release(self, target_id: TargetId, *, starved: bool) -> None:
        """Forget a target that ended, perhaps for want of memory."""
        count, _ = self.given.pop(target_id, (1, 0))
        if starved:
            self.halved[target_id] = max(count // 2, 1)

    def _free(self) -> tuple[int, int]:
        """Return the CPUs and the bytes of memory that nobody was given."""
        cpus = self.whole.millicpus // 1000 - sum(count for count, _ in self.given.values())
        memory = self.whole.memory - sum(count * each for count, each in self.given.values())
        return max(cpus, 0), max(memory, 0)


def estimate_seconds(
    costs: Mapping[TargetId, float], seconds: Mapping[TargetId, float]
) -> dict[TargetId, float]:
    """Return how long each target takes: as long as last time, else estimated from its cost.

    The known targets tell how many seconds one unit of cost is; without any, it counts as one.
    """
    known = [seconds[each] / costs[each] for each in costs if each in seconds]
    unit = statistics.median(known) if known else 1.0
    return {each: seconds.get(each, cost * unit) for each, cost in costs.items()}


def variables(jobs: int, env: Iterable[EnvVar]) -> dict[str, str]:
    """Return the variables that tell a build how many programs it may run at once.

    Variables that the target sets itself are left out. ``nvcc --threads`` multiplies the number of
    compilers, so MAX_JOBS times NVCC_THREADS is kept at ``jobs``. ``MAKEFLAGS`` is not set: not
    every Makefile can run in parallel.
    """
    own = {each.name: each.value for each in env}
    processes = max(jobs // _number(own, "NVCC_THREADS"), 1)
    threads = max(jobs // _number(own, "MAX_JOBS"), 1) if "MAX_JOBS" in own else 1
    found = {
        "MAX_JOBS": processes,  # torch, and most setup.py files of its extensions
        "CMAKE_BUILD_PARALLEL_LEVEL": processes,
        "CARGO_BUILD_JOBS": jobs,
        "NVCC_THREADS": threads,
    }
    return {name: str(value) for name, value in found.items() if name not in own}


def _number(own: Mapping[str, str], name: str) -> int:
    """Return a variable's number; 1 if it has none, or only the build's shell can tell."""
    value = own.get(name, "")
    return max(int(value), 1) if value.isascii() and value.isdigit() else 1
