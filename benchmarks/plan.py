"""How long planning takes: expansion from 1,000 to 1,000,000 cells, and the whole command.

    python benchmarks/plan.py

Each row is a process of its own, so that its peak memory is its own. The other side is the plainest
way to do the same: `itertools.product` and every rule asked about every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config import condition
from orchestrator.config.load import load
from orchestrator.host.program_tables import builder_facts
from orchestrator.plan.expand import expand
from orchestrator.plan.layers import channel_matrix

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "matrices" / "flash-attention-prebuild-wheels.toml"
CELLS = (1_000, 10_000, 100_000, 1_000_000)
RULES = 50
PLAIN_AT_MOST = 100_000
"""Cells that the plain way is asked for; it takes minutes for more."""

PYTHONS = ("cp310", "cp311", "cp312", "cp313", "cp314", "cp313t", "cp314t", "pp311")
ARCHES = ("x86_64", "aarch64", "riscv64", "i686", "s390x")
CUDA = ("11.8", "12.4", "12.6", "12.8", "13.0")
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "example"
version = "1.0"
"""


def matrix(cells: int) -> str:
    """Return a file of so many cells and 50 rules: 40 excludes and 10 overrides."""
    revisions = [f"r{n}" for n in range(cells // (len(PYTHONS) * len(ARCHES) * len(CUDA)))]
    lines = ["[axes]"]
    for name, values in (
        ("python", PYTHONS),
        ("arch", ARCHES),
        ("cuda", CUDA),
        ("rev", revisions),
    ):
        lines.append(f"{name} = {json.dumps(values)}")
    for n in range(RULES - 10):
        rev, cuda = revisions[n % len(revisions)], CUDA[n % len(CUDA)]
        python = PYTHONS[n // len(revisions) % len(PYTHONS)]
        lines.append("[[exclude]]\noptional = true")
        lines.append(f'when = {{ rev = "{rev}", python = "{python}*", cuda = ">={cuda}" }}')
    for n in range(10):
        rev = revisions[n % len(revisions)]
        lines.append("[[override]]\noptional = true")
        lines.append(f'when = "rev={rev} & (cuda>=12.6 | arch=aarch64)"\nrunner = "runner{n}"')
    return "\n".join(lines) + "\n"


def plain(settings: Settings) -> int:
    """Expand the plain way, and return how many cells are built."""
    names = sorted(settings.axes)
    rules = [condition.from_when(rule.when, where="") for rule in settings.exclude]
    others = [condition.from_when(rule.when, where="") for rule in settings.override]
    kept = []
    for choice in product(*(settings.axes[name].values or () for name in names)):
        values = dict(zip(names, choice, strict=True))
        if not any(condition.holds(rule, values) for rule in rules):
            kept.append((values, [n for n, o in enumerate(others) if condition.holds(o, values)]))
    return len(kept)


def measure(cells: int, way: str) -> None:
    """Expand once in this process, and print what it took as JSON."""
    settings = load(matrix(cells).encode(), facts=builder_facts())
    before = time.perf_counter()
    built = plain(settings) if way == "plain" else len(expand(channel_matrix(settings).grid).cells)
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cells": cells, "built": built, "seconds": seconds, "peak": peak}))


def ask(cells: int, way: str) -> dict[str, float]:
    """Measure in a process of its own."""
    argv = [sys.executable, __file__, "--measure", str(cells), "--way", way]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def command(runs: int) -> list[float]:
    """Run ``orchestrator plan`` on the 854-cell example as a whole process."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "matrix.toml").write_bytes(EXAMPLE.read_bytes())
        Path(folder, "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        argv = [sys.executable, "-m", "orchestrator", "plan"]
        # As installed: what is compiled once is not compiled in every run.
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(folder, "pycache"))}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        times = []
        for _ in range(runs + 1):
            before = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True, cwd=folder, env=environ)
            times.append(time.perf_counter() - before)
    return times[1:]


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--way", default="ours", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=7, help="runs of the whole command")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.way)
        return
    print(f"expansion with {RULES} rules")
    print(f"{'cells':>9} {'built':>9} {'seconds':>8} {'µs/cell':>8} {'MiB':>5} {'plain':>8} ratio")
    for cells in CELLS:
        ours = ask(cells, "ours")
        row = f"{cells:>9} {ours['built']:>9.0f} {ours['seconds']:>8.3f}"
        row += f" {ours['seconds'] / cells * 1e6:>8.2f} {ours['peak']:>5.0f}"
        if cells <= PLAIN_AT_MOST:
            other = ask(cells, "plain")
            assert other["built"] == ours["built"]  # noqa: S101 - both sides did the same
            row += f" {other['seconds']:>8.3f} {other['seconds'] / ours['seconds']:.1f}"
        print(row)
    times = command(options.runs)
    print(f"\norchestrator plan on {EXAMPLE.name}, {options.runs} runs:", end=" ")
    print(f"median {statistics.median(times):.3f} s, best {min(times):.3f} s")


if __name__ == "__main__":
    main()
