"""How long the locked tools take: to make, to find at every start, to check.

    python benchmarks/toolchain.py [--times N]

The other side of making is `python -m venv` and `pip install` of the same lock, as one would do it
by hand. Both run in turns, from nothing but what pip has in its cache.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.host.network import HostNetwork
from orchestrator.provision import toolchain

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS = 1000


def by_hand(folder: Path) -> None:
    """Make an environment with venv and pip."""
    lock = folder / "toolchain.lock"
    lock.write_bytes(toolchain.lock_text())
    python = folder / "environment" / "bin" / "python"
    run = [sys.executable, "-I", "-m", "venv", str(python.parents[1])]
    subprocess.run(run, check=True, capture_output=True)
    install = ["install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(lock)]
    subprocess.run([python, "-I", "-m", "pip", *install], check=True, capture_output=True)


def ours(folder: Path) -> None:
    """Make an environment as builds do."""
    toolchain.sync(folder, HostNetwork.detect(os.environ), environ=os.environ)


def measured(action: Callable[[Path], None]) -> tuple[float, float]:
    """Return wall and CPU seconds of an action in an empty directory."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        before, begin = _cpu(), time.perf_counter()
        action(Path(folder))
        return time.perf_counter() - begin, _cpu() - before


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    measured(ours)  # so that pip has everything in its cache
    hand, own = [], []
    for _ in range(times):
        hand.append(measured(by_hand))
        own.append(measured(ours))
    for number, what in enumerate(("wall", "CPU")):
        theirs, mine = (statistics.median(each[number] for each in side) for side in (hand, own))
        print(f"make: venv + pip {theirs:.1f} s, ours {mine:.1f} s {what}: {theirs / mine:.1f} x")
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        ours(Path(folder))
        begin, found = time.perf_counter(), None
        for _ in range(STARTS):
            found = toolchain.existing(Path(folder), os.environ)
        start = (time.perf_counter() - begin) / STARTS
        if found is None:
            raise SystemExit("the environment is gone")
        toolchain.damage(found, os.environ)
        begin = time.perf_counter()
        toolchain.damage(found, os.environ)
        deep = time.perf_counter() - begin
    print(f"check: every start {start * 1000:.2f} ms, sync {deep:.1f} s: {deep / start:.0f} x")


if __name__ == "__main__":
    main()
