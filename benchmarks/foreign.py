"""What emulation costs: projects of the package index, built for another architecture.

    python benchmarks/foreign.py [--arch ARCH] [--backend auto|cibuildwheel|direct]
                                 [--columns full,gcc,...] [--only NAME,...] [--runs N]

Every cell is one `orchestrator build` of one sdist, without store and compiler cache, one target
at a time, all columns of a row one after the other:

- full: everything under QEMU, in the architecture's baseline image of this project (`.ci/images`);
- gcc, zig: the same with native compilers inside (`emulation = "accelerated"`);
- cross: no emulation at all, on this host, with zig; ``--backend`` does not change it;
- native: the same project for this machine, with gcc, in the same suite's image, or on this host
  with ``--backend direct``.

`saxpy-cu130` is this project's own example; in the column gcc a native nvcc compiles its kernels.

A cell shows the seconds of the build step, which hold what is downloaded and installed for it, and
in brackets the processor's seconds of the whole target: of the programs that it ran on this host,
and in the container that built it. Then by how much each of the two is less than in the first
column, and the wheel's tag. Where other programs want the processor too, look at the second ratio.

Tools and native compilers are fetched before the first step. The package index is read through one
cache for all columns, which the native column, built first, has filled. No wheel is imported
afterwards, as that is no part of a build. At the end it says which goals are met. A row that fails
does not stop the others; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index_cache import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    """An sdist of the package index, or a directory.

    Attributes:
        requirement: pinned; or the directory.
        env: what its build has to be told.
        axes: further axes of its matrix, and tables after them.
        build: further settings of its ``[build]``.
        without: columns that cannot build it.
    """

    requirement: str
    env: dict[str, str] = field(default_factory=dict)
    axes: str = ""
    build: str = ""
    without: tuple[str, ...] = ()


PROJECTS = {
    "msgpack": Project(requirement="msgpack==1.1.0"),
    "regex": Project(requirement="regex==2024.11.6"),
    # Without libyaml it has no module; nothing but an image has that for another architecture.
    "pyyaml": Project(
        requirement="pyyaml==6.0.2",
        build='before-all = "apt-get -qq update && apt-get -qq install -y libyaml-dev"',
        without=("cross",),
    ),
    "kiwisolver": Project(requirement="kiwisolver==1.4.8"),
    # Otherwise it asks for code for the CPU that compiles.
    "hnswlib": Project(requirement="hnswlib==0.8.0", env={"HNSWLIB_NO_NATIVE": "1"}),
    "contourpy": Project(requirement="contourpy==1.2.1"),
    "saxpy-cu130": Project(
        requirement=str(ROOT / "examples/saxpy"),
        env={"SAXPY_CUDA": "13.0", "SAXPY_CUDA_ARCHS": "80;90"},
        axes='cuda = ["13.0"]\n[version]\nbase = "1.0.0"',
        build='external = ["cuda"]',
        without=("zig", "cross"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One way to build.

    Attributes:
        title: its name in the table.
        build: its ``[build]``.
        emulation: how it has to have been built; empty for the machine's own architecture.
    """

    title: str
    build: str
    emulation: str = ""


FULL, NATIVE, CROSS = "full", "native", "cross"
COLUMNS = {
    FULL: Column(title="all under QEMU", build='emulation = "full"', emulation="full"),
    "gcc": Column(
        title="accelerated gcc",
        build='emulation = "accelerated"\ncompiler = "gcc"',
        emulation="accelerated",
    ),
    "zig": Column(
        title="accelerated zig",
        build='emulation = "accelerated"\ncompiler = "zig"',
        emulation="accelerated",
    ),
    CROSS: Column(title="cross zig", build='emulation = "cross"', emulation="cross"),
    NATIVE: Column(title=f"native {platform.machine()}", build='compiler = "gcc"'),
}

GOALS = (
    ("gcc", FULL, 5.0, ("regex", "kiwisolver", "hnswlib", "contourpy")),
    (CROSS, FULL, 10.0, ("regex", "hnswlib")),
    (CROSS, NATIVE, 1.0, ("regex", "hnswlib")),
)
"""(column, the column it is compared with, how many times faster at least, for which projects)"""

MATRIX = """\
[project]
source = "{source}"
[axes]
python = ["{python}"]
arch = ["{arch}"]
{axes}
[images]
manylinux_{arch} = "{image}"
[engine]
name = "podman"
create-args = ["--network=host"]
[compiler-cache]
use = "off"
[run]
retries = 0
[env]
{env}
[build]
repair = "auditwheel"
{build}
{more}
[test]
smoke = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One build.

    Attributes:
        seconds: of its build step.
        cpu: the processor's, of the whole target; None where nobody measured them.
        tag: the wheel's platform tag.
        steps: (name, seconds) of each step.
    """

    seconds: float
    cpu: float | None
    tag: str
    steps: tuple[tuple[str, float], ...]

    @property
    def glibc(self) -> tuple[int, ...]:
        """The glibc of its tag; empty for a tag without one."""
        words = self.tag.split("_")
        return tuple(map(int, words[1:3])) if words[0] == "manylinux" else ()


Row = dict[str, Cell | str | None]
"""Column -> its cell, or why there is none; None where there cannot be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all cells have in common.

    Attributes:
        arch: the foreign architecture.
        backend: what builds all columns but `CROSS`.
        runs: how often each cell is built.
        env: what tells children where packages come from.
        keep: where logs and results go; None for nowhere.
    """

    arch: str
    backend: str
    runs: int
    env: Mapping[str, str]
    keep: Path | None

    def row(self, name: str, columns: Sequence[str]) -> Row:
        """Build one project in every way; the native one first, which fills the index' cache."""
        able = [each for each in columns if each not in PROJECTS[name].without]
        order = sorted(able, key=lambda each: each != NATIVE)
        found = {each: self._median(name, each) for each in order}
        return {each: found.get(each) for each in columns}

    def _median(self, name: str, column: str) -> Cell | str:
        """Build several times; return the run that took the median."""
        cells = []
        for number in range(self.runs):
            cell = self._cell(name, column, number)
            if isinstance(cell, str):
                return cell
            cells.append(cell)
        cells.sort(key=lambda each: each.seconds)
        return cells[statistics.median_low(range(self.runs))]

    def _cell(self, name: str, column: str, number: int) -> Cell | str:
        with tempfile.TemporaryDirectory(prefix="orchestrator-foreign-") as folder:
            place = Path(folder)
            (place / "matrix.toml").write_text(self._matrix(name, column), encoding="utf-8")
            environ = {**os.environ, **self.env, "PYTHONPATH": str(ROOT)}
            environ["ORCHESTRATOR_STORE_DIR"] = str(place / "store")
            argv = [sys.executable, "-m", "orchestrator", "build", "--no-cache", "-j1"]
            argv += [] if column == CROSS else [f"--backend={self.backend}"]
            done = subprocess.run(
                argv, cwd=place, env=environ, capture_output=True, text=True, check=False
            )
            if self.keep is not None:
                self._kept(place, f"{name}-{column}-{number}")
            try:
                text = (place / "dist" / "results.json").read_text(encoding="utf-8")
            except FileNotFoundError:
                return f"no result: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
        (result,) = json.loads(text)["results"]
        return _measured(result, COLUMNS[column])

    def _matrix(self, name: str, column: str) -> str:
        project = PROJECTS[name]
        suite, python = SUITES[self.arch]
        arch = platform.machine() if column == NATIVE else self.arch
        return MATRIX.format(
            source=project.requirement,
            python=python,
            arch=arch,
            image=f"{IMAGES}:{suite}-{arch}",
            env="\n".join(f'{key} = "{value}"' for key, value in project.env.items()),
            build=COLUMNS[column].build,
            axes=project.axes,
            more=project.build,
        )

    def _kept(self, place: Path, name: str) -> None:
        folder = self.keep or place
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*place.glob(".orchestrator/logs/*.log"), *place.glob("dist/results.json")):
            (folder / f"{name}{file.suffix}").write_bytes(file.read_bytes())


def _measured(result: dict[str, Any], column: Column) -> Cell | str:
    if result["wheel"] is None:
        return str(result["failure"]["message"])
    compiled = (result["compiled"] or {}).get("emulation", "")
    if compiled != column.emulation:
        return f"it was built with emulation = {compiled}: {(result['compiled'] or {}).get('why')}"
    steps = tuple((step["name"], step["seconds"]) for step in result["steps"])
    return Cell(
        seconds=dict(steps)["build"],
        cpu=result["cpu_seconds"],
        tag=result["wheel"]["observed_tag"],
        steps=steps,
    )


def ratios(cell: Cell, other: Cell) -> tuple[float, float | None]:
    """By how much a cell is faster than another: its build step, and its processor's seconds."""
    cpu = other.cpu / cell.cpu if other.cpu and cell.cpu else None
    return other.seconds / cell.seconds, cpu


def shown(cell: Cell | str | None, first: Cell | str | None) -> str:
    """Return a cell of the table."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return f"none: {cell[:60]}"
    cpu = f" ({cell.cpu:.1f})" if cell.cpu is not None else ""
    times = ""
    if isinstance(first, Cell) and cell is not first:
        wall, processor = ratios(cell, first)
        times = f", {wall:.1f} x" + (f" ({processor:.1f} x)" if processor else "")
    return f"{cell.seconds:.1f} s{cpu}{times}; {cell.tag}"


def goals(table: Mapping[str, Row]) -> Iterator[str]:
    """Say of each goal whether it is met, as far as its cells were built."""
    for column, other, least, names in GOALS:
        for name in names:
            cell, compared = (table.get(name, {}).get(each) for each in (column, other))
            if isinstance(cell, Cell) and isinstance(compared, Cell):
                wall, cpu = ratios(cell, compared)
                words = f"build step {wall:.1f} x: {_yes(ok=wall >= least)}"
                if cpu:
                    words += f"; processor, whole target {cpu:.1f} x: {_yes(ok=cpu >= least)}"
                yield f"- {name}, {column} at least {least:g} times as fast as {other}: {words}"
    pairs = [
        (f"{name} {column} {cell.tag}", cell.glibc <= full.glibc)
        for name, row in table.items()
        for column in ("gcc", "zig", CROSS)
        if isinstance(cell := row.get(column), Cell) and isinstance(full := row.get(FULL), Cell)
    ]
    if pairs:
        higher = "".join(f", {what}" for what, ok in pairs if not ok)
        yield f"- no tag higher than that of the full build: {_yes(ok=not higher)}{higher}"


def _yes(*, ok: bool) -> str:
    return "yes" if ok else "no"


@contextlib.contextmanager
def packages(folder: Path, *, direct: bool) -> Iterator[dict[str, str]]:
    """Return what tells children where packages come from: one cache for all, or the index."""
    if direct:
        yield {}
        return
    with served(folder) as url:
        yield {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url}


def main() -> int:
    """Print the table, a row as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", choices=SUITES, default="aarch64")
    parser.add_argument("--backend", choices=("auto", "cibuildwheel", "direct"), default="auto")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--only", default=",".join(PROJECTS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a directory for logs and results")
    parser.add_argument("--no-index-cache", action="store_true", help="let everybody ask the index")
    given = parser.parse_args()
    columns, table = given.columns.split(","), {}
    print(f"| {given.arch}, {given.backend} | {' | '.join(COLUMNS[e].title for e in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    with (
        tempfile.TemporaryDirectory(prefix="orchestrator-index-") as folder,
        packages(Path(folder), direct=given.no_index_cache) as env,
    ):
        bench = Bench(
            arch=given.arch, backend=given.backend, runs=given.runs, env=env, keep=given.keep
        )
        for name in given.only.split(","):
            table[name] = row = bench.row(name, columns)
            first = row[columns[0]]
            cells = " | ".join(shown(each, first) for each in row.values())
            print(f"| {name} | {cells} |", flush=True)
    load = os.getloadavg()[0]
    print(f"\n{os.cpu_count()} CPUs, load {load:.1f} at the end, {given.runs} run(s) each\n")
    print("\n".join(goals(table)))
    return report(table)


def report(table: Mapping[str, Row]) -> int:
    """Say in full why cells are empty; return the exit status."""
    empty = [
        f"{name}, {column}: {cell}"
        for name, row in table.items()
        for column, cell in row.items()
        if isinstance(cell, str)
    ]
    for each in empty:
        print(f"not built: {each}")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
