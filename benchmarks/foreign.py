"""What emulating the compiler costs: projects of the package index, built for another architecture.

    python benchmarks/foreign.py [--arch ARCH] [--columns full,gcc,...] [--only NAME,...] [--runs N]

Every cell is one `orchestrator build` of one sdist with cibuildwheel and podman, in the project's
own baseline image of the architecture (`.ci/images`): without store and compiler cache, one target
at a time, all columns of a row one after the other. It shows the seconds of the build step, which
hold what pip downloads and installs for it, and in brackets the processor's seconds of the whole
target, which say more where other programs want the processor too. The native column is the same
project in the same suite's image for this machine. Ratios are to the first column, in seconds of
the processor where both have them. Tools and native compilers are fetched before the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = "localhost/orchestrator-baseline"

SUITES = {
    "aarch64": ("bookworm", "cp311"),
    "riscv64": ("trixie", "cp313"),
    "loongarch64": ("forky", "cp314"),
}
"""Architecture -> the suite of its baseline image, and that suite's Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An sdist of the package index.

    Attributes:
        requirement: pinned.
        env: what its build has to be told.
    """

    requirement: str
    env: dict[str, str] = field(default_factory=dict)


PROJECTS = {
    "msgpack": Project(requirement="msgpack==1.1.0"),
    "regex": Project(requirement="regex==2024.11.6"),
    "pyyaml": Project(requirement="pyyaml==6.0.2"),
    "kiwisolver": Project(requirement="kiwisolver==1.4.8"),
    # Otherwise it asks for code for the CPU that compiles.
    "hnswlib": Project(requirement="hnswlib==0.8.0", env={"HNSWLIB_NO_NATIVE": "1"}),
    "contourpy": Project(requirement="contourpy==1.3.1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One way to build.

    Attributes:
        title: its name in the table.
        build: its ``[build]``.
        native: whether it is for this machine's own architecture.
    """

    title: str
    build: str
    native: bool = False


COLUMNS = {
    "full": Column(title="all under QEMU", build='emulation = "full"'),
    "zig": Column(title="accelerated zig", build='emulation = "accelerated"\ncompiler = "zig"'),
    "gcc": Column(title="accelerated gcc", build='emulation = "accelerated"\ncompiler = "gcc"'),
    "native": Column(title=f"native {platform.machine()}", build="", native=True),
}

MATRIX = """\
[project]
source = "{source}"
[axes]
python = ["{python}"]
arch = ["{arch}"]
[images]
manylinux_{arch} = "{image}"
[engine]
name = "podman"
[compiler-cache]
use = "off"
[run]
retries = 0
[env]
{env}
[build]
repair = "auditwheel"
{build}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One build.

    Attributes:
        seconds: of its build step.
        cpu: the processor's, of the whole target; None where nobody measured them.
        tag: the wheel's platform tag.
    """

    seconds: float
    cpu: float | None
    tag: str


def build(project: Project, column: Column, arch: str) -> Cell | str:
    """Build one wheel; return what it took, or why there is none."""
    suite, python = SUITES[arch]
    arch = platform.machine() if column.native else arch
    matrix = MATRIX.format(
        source=project.requirement,
        python=python,
        arch=arch,
        image=f"{IMAGES}:{suite}-{arch}",
        env="\n".join(f'{name} = "{value}"' for name, value in project.env.items()),
        build=column.build,
    )
    with tempfile.TemporaryDirectory(prefix="orchestrator-foreign-") as folder:
        Path(folder, "matrix.toml").write_text(matrix, encoding="utf-8")
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        environ["ORCHESTRATOR_STORE_DIR"] = str(Path(folder, "store"))
        argv = [sys.executable, "-m", "orchestrator", "build", "--no-cache", "-j1"]
        subprocess.run(argv, cwd=folder, env=environ, capture_output=True, check=False)
        try:
            text = Path(folder, "dist", "results.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return "no result"
        (result,) = json.loads(text)["results"]
    if result["wheel"] is None:
        return str(result["failure"]["message"])
    took = {step["name"]: step["seconds"] for step in result["steps"]}
    compiled = (result["compiled"] or {}).get("emulation")
    if "accelerated" in column.build and compiled != "accelerated":
        return f"it was built with emulation = {compiled}"
    return Cell(
        seconds=took["build"],
        cpu=result["cpu_seconds"],
        tag=result["wheel"]["observed_tag"],
    )


def median(project: Project, column: Column, arch: str, runs: int) -> Cell | str:
    """Build several times; return the run that took the median."""
    cells = []
    for _ in range(runs):
        cell = build(project, column, arch)
        if isinstance(cell, str):
            return cell
        cells.append(cell)
    cells.sort(key=lambda each: each.seconds)
    return cells[statistics.median_low(range(runs))]


def shown(cell: Cell | str, first: Cell | str) -> str:
    """Return a cell of the table."""
    if isinstance(cell, str):
        return f"none: {cell[:60]}"
    cpu = f" ({cell.cpu:.0f})" if cell.cpu is not None else ""
    ratio = ""
    if isinstance(first, Cell) and cell is not first:
        both = first.cpu and cell.cpu
        ratio = f", {first.cpu / cell.cpu if both else first.seconds / cell.seconds:.1f} x"
    return f"{cell.seconds:.0f} s{cpu}{ratio}; {cell.tag}"


def main() -> None:
    """Print the table, a row as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=SUITES, default="aarch64")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--only", default=",".join(PROJECTS))
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    columns = [COLUMNS[name] for name in given.columns.split(",")]
    print(f"| {given.arch} | {' | '.join(each.title for each in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name in given.only.split(","):
        cells = [median(PROJECTS[name], each, given.arch, given.runs) for each in columns]
        print(f"| {name} | {' | '.join(shown(each, cells[0]) for each in cells)} |", flush=True)
    load = os.getloadavg()[0]
    print(f"\n{os.cpu_count()} CPUs, load {load:.1f} at the end, {given.runs} runs each")


if __name__ == "__main__":
    main()
