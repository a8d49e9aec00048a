"""How many CPUs and how much memory this process may use: the machine's, or its cgroup's.

In a container or a CI job the machine is larger than what one may use of it; a limit may stand at
any cgroup above ours. See cgroups(7), and "cpu.max" and "memory.max" in the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What this process may use.

    Attributes:
        cpus: CPUs; a quota may be a fraction.
        memory: bytes that are free, or can be freed at once; `sys.maxsize` if unknown.
    """

    cpus: float
    memory: int


def capacity(root: Path = Path("/")) -> Capacity:
    """Return what this process may use; `root` holds ``proc`` and ``sys``."""
    quotas = filter(None, map(_quota, _cgroups(root)))
    cpus = min([float(len(os.sched_getaffinity(0))), *quotas])
    has = memory(root)
    return Capacity(cpus=cpus, memory=min(has.available, has.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory in bytes; `sys.maxsize` if unknown, or if there is no limit.

    Attributes:
        total: of the machine.
        available: free, or can be freed at once.
        limit: what our cgroups allow.
    """

    total: int
    available: int
    limit: int


def memory(root: Path = Path("/")) -> Memory:
    """Return the memory of this machine, and the limit of this process."""
    words = (line.split() for line in _lines(root / "proc/meminfo"))
    sizes = {name: int(size) * 1024 for name, size, *_ in words}
    limits = (_number(folder / name) for folder in _cgroups(root) for name in _LIMITS)
    return Memory(
        total=sizes.get("MemTotal:", sys.maxsize),
        available=sizes.get("MemAvailable:", sys.maxsize),
        limit=min(filter(None, limits), default=sys.maxsize),
    )


_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""Of version 2 and version 1; what has no limit says ``max``, or a number no machine has."""


def _cgroups(root: Path) -> Iterator[Path]:
    """Yield our cgroups and their parents, in the hierarchies of CPU and memory."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        folders = [""] if not controllers else controllers.split(",")
        for folder in folders:
            if folder in {"", "cpu", "memory"}:
                mount = root / "sys/fs/cgroup" / folder
                inner = Path(path.lstrip("/"))
                # In a container the path may be the host's; the mount's own root counts then.
                yield from (mount / each for each in (inner, *inner.parents))


def _quota(folder: Path) -> float | None:
    """CPUs by quota, None for no limit."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [" ".join(_lines(folder / name)) for name in names]
    with contextlib.suppress(ValueError, ZeroDivisionError):
        quota, period = map(int, words)
        return quota / period if quota > 0 else None
    return None


def _number(file: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(" ".join(_lines(file)))
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
