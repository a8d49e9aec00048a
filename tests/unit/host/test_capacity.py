"""What a process may use, read off files laid out as the kernel has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.host.capacity import capacity
from tests.factories import cases

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   8000000 kB\n"
AVAILABLE = 8000000 * 1024
CPUS = float(len(os.sched_getaffinity(0)))
CASES: dict[str, dict[str, Any]] = cases(__file__, "capacity.toml") | {"nothing": {}}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_limits_of_cgroups_count(tmp_path: Path, case: dict[str, Any]) -> None:
    given = {"cpus": CPUS, "memory": AVAILABLE, **case}
    cpus, memory = given.pop("cpus"), given.pop("memory")
    places = {"meminfo": "proc/meminfo", "cgroup": "proc/self/cgroup"}
    for name, text in {"meminfo": MEMINFO, **given}.items():
        path = tmp_path / places.get(name, f"sys/fs/cgroup/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    found = capacity(tmp_path)

    assert (found.cpus, found.memory) == (cpus, memory)


def test_a_machine_that_says_nothing_has_no_limit(tmp_path: Path) -> None:
    assert capacity(tmp_path).memory == sys.maxsize


def test_this_machine_has_something() -> None:
    found = capacity()

    assert 0 < found.cpus <= CPUS
    assert 0 < found.memory < sys.maxsize
