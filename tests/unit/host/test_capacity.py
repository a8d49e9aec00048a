"""What a process may use, read off files laid out as the kernel has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.host.capacity import capacity

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   8000000 kB\n"
AVAILABLE = 8000000 * 1024
CPUS = float(len(os.sched_getaffinity(0)))


def machine(root: Path, **files: str) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


V2 = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "cpus", "memory"),
    [
        ({}, CPUS, AVAILABLE),
        ({"proc/self/cgroup": "0::/a/b\n"}, CPUS, AVAILABLE),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{V2}/a/b/cpu.max": "50000 100000\n",
                f"{V2}/a/b/memory.max": "1000000\n",
            },
            0.5,
            1000000,
        ),
        (
            # The tightest limit of all above it.
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{V2}/a/b/cpu.max": "90000 100000\n",
                f"{V2}/a/cpu.max": "25000 100000\n",
                f"{V2}/a/b/memory.max": "max\n",
                f"{V2}/a/memory.max": "2000000\n",
            },
            0.25,
            2000000,
        ),
        (
            # A container's own namespace: limits stand at the mount's root.
            {
                "proc/self/cgroup": "0::/\n",
                f"{V2}/cpu.max": "10000 100000\n",
                f"{V2}/memory.max": "3000000\n",
            },
            0.1,
            3000000,
        ),
        (
            {
                "proc/self/cgroup": "0::/a\n",
                f"{V2}/a/cpu.max": "max 100000\n",
                f"{V2}/a/memory.max": "max\n",
            },
            CPUS,
            AVAILABLE,
        ),
        (
            # Version 1; the path is the host's, and not to be seen from in here.
            {
                "proc/self/cgroup": "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:name=x:/\n",
                f"{V2}/cpu/cpu.cfs_quota_us": "20000\n",
                f"{V2}/cpu/cpu.cfs_period_us": "100000\n",
                f"{V2}/memory/memory.limit_in_bytes": "4000000\n",
            },
            0.2,
            4000000,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/\n3:cpu,cpuacct:/\n",
                f"{V2}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{V2}/cpu/cpu.cfs_period_us": "100000\n",
                f"{V2}/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            CPUS,
            AVAILABLE,
        ),
    ],
    ids=["none", "no files", "v2", "tightest", "namespace", "max", "v1", "v1 unlimited"],
)
def test_limits_of_cgroups_count(
    tmp_path: Path, files: dict[str, str], cpus: float, memory: int
) -> None:
    found = capacity(machine(tmp_path, **files))

    assert (found.cpus, found.memory) == (cpus, memory)


def test_a_machine_that_says_nothing_has_no_limit(tmp_path: Path) -> None:
    assert capacity(tmp_path).memory == sys.maxsize


def test_this_machine_has_something() -> None:
    found = capacity()

    assert 0 < found.cpus <= CPUS
    assert 0 < found.memory < sys.maxsize
