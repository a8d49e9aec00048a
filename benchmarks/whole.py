"""How long the repository's own matrix takes on this machine, against another checkout.

    python benchmarks/whole.py CHECKOUT [--rounds N] [-- OPTIONS OF BUILD]

Builds all targets of matrix.toml with this checkout and with CHECKOUT (another commit of this
repository), in turns, with the packages of this Python. Results are kept nowhere, so that each
round builds; what is fetched once (toolchain, compilers, packages) has been, by a round before.
Seconds are those of the fastest round; processor time is that of all programs outside containers.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One build of everything: seconds, and seconds of processor time."""

    wall: float
    cpu: float


def build(checkout: Path, options: list[str]) -> Round:
    """Build all targets in a copy of a checkout."""
    with tempfile.TemporaryDirectory(prefix="whole-") as scratch:
        tree = Path(scratch, "tree")
        skipped = shutil.ignore_patterns(".git", ".venv", "dist", ".orchestrator")
        shutil.copytree(checkout, tree, ignore=skipped)
        env = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "ORCHESTRATOR_STORE_DIR": str(Path(scratch, "store")),
        }
        argv = [sys.executable, "-m", "orchestrator", "build", "-q", *options]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(argv, cwd=tree, env=env, check=True)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Round(wall=wall, cpu=cpu)


def main() -> None:
    """Build with both in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("options", nargs="*", help="options of `orchestrator build`, after --")
    arguments = parser.parse_args()
    sides = {"other": arguments.checkout.resolve(), "this": ROOT}
    build(ROOT, arguments.options)
    best: dict[str, Round] = {}
    for _ in range(arguments.rounds):
        for name, checkout in sides.items():
            found = build(checkout, arguments.options)
            best[name] = min(best.get(name, found), found, key=lambda each: each.wall)
    cpus = os.cpu_count() or 1
    for name, each in best.items():
        busy = each.cpu / each.wall / cpus
        print(f"{name:6} {each.wall:6.1f} s, {each.cpu:6.1f} s of processor time, {busy:.0%} busy")
    print(f"this is {best['other'].wall / best['this'].wall:.2f} times as fast")


if __name__ == "__main__":
    main()
