"""Whether projects of the package index give the same wheel wherever they are built.

    python benchmarks/reproducible.py [--only NAME,...] [--python TAG] [--cache DIR]
                                      [--results FILE] [--keep DIR]

Each sdist of `tests/projects.toml` that needs nothing of the machine is built twice on this host,
with the matrix that `orchestrator init` writes and without a compiler cache. The second time
differs in everything that the machine may: another directory, file system and order of files, a
later time, one CPU, and another host name, locale, time zone, umask and hash seed. A row says
``identical``, ``packed differently``, or which members differ and how. ``--keep`` keeps both wheels
where they differ. The exit status is 1 if a wheel differs.

It needs root, for the host name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from projects import PROJECTS, ROOT, Project, fetch, pick

from orchestrator.fsutil import file_sha256
from orchestrator.wheel import HARMLESS, compare

if TYPE_CHECKING:
    from collections.abc import Sequence

MATRIX = '\n[compiler-cache]\nuse = "off"\n'

PLAIN: dict[str, str] = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
VARIED: dict[str, str] = {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "4711"}

ELSEWHERE = (
    "unshare",
    "--uts",
    "sh",
    "-c",
    'hostname elsewhere; umask 077; exec taskset -c 0 "$@"',
)
"""Runs a command under another host name, with another umask, on one CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one project.

    Attributes:
        name: of the project.
        kind: what it is made of.
        outcome: ``identical``, ``packed``, ``different`` or ``not built``.
        told: what differs.
        seconds: of both builds.
    """

    name: str
    kind: str
    outcome: str
    told: tuple[str, ...] = ()
    seconds: float = 0.0


def build(
    source: Path, folder: Path, python: str, before: Sequence[str], env: dict[str, str]
) -> Path:
    """Build one target of a source in a directory, and return its wheel.

    Raises:
        RuntimeError: there is none; with the last lines of what was said.
    """
    folder.mkdir(parents=True)
    env = {**os.environ, **env, "PYTHONPATH": str(ROOT)}
    env["ORCHESTRATOR_STORE_DIR"] = str(folder / "store")

    def run(*arguments: str, wrap: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        argv = [*wrap, sys.executable, "-m", "orchestrator", *arguments]
        return subprocess.run(
            argv, cwd=folder, env=env, capture_output=True, text=True, check=False
        )

    said = run("init", str(source))
    if said.returncode:
        raise RuntimeError(said.stderr[-400:])
    with (folder / "matrix.toml").open("a", encoding="utf-8") as matrix:
        matrix.write(MATRIX)
    target = pick(run("plan", "--format=ids").stdout.split(), python)
    wrap = (*before, "sh") if before else ()
    said = run("build", f"--select={target}", "--backend=direct", "-q", wrap=wrap)
    wheels = [*(folder / "dist").glob("*.whl")]
    if said.returncode or len(wheels) != 1:
        raise RuntimeError(said.stderr[-400:])
    return wheels[0]


def try_project(project: Project, arguments: argparse.Namespace) -> Row:
    """Build a project twice, and compare."""
    source, kind = fetch(project, arguments.cache), project.get("kind", "")
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="one-") as one,
        tempfile.TemporaryDirectory(prefix="another-place-", dir="/dev/shm") as other,
    ):
        try:
            first = build(source, Path(one, "a"), arguments.python, (), PLAIN)
            second = build(
                source, Path(other, "some/where/else"), arguments.python, ELSEWHERE, VARIED
            )
        except RuntimeError as error:
            told = (" ".join(str(error).split()),)
            return Row(name=project["name"], kind=kind, outcome="not built", told=told)
        row = _compared(project["name"], kind, first, second, time.monotonic() - began)
        if arguments.keep and row.outcome not in {"identical", "not built"}:
            for number, wheel in enumerate((first, second)):
                place = arguments.keep / f"{project['name']}-{number}"
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(wheel, place)
        return row


def _compared(name: str, kind: str, first: Path, second: Path, seconds: float) -> Row:
    if file_sha256(first) == file_sha256(second) and first.name == second.name:
        return Row(name=name, kind=kind, outcome="identical", seconds=round(seconds, 1))
    differences = compare(first, second)
    harmless = {each.kind for each in differences} <= HARMLESS
    return Row(
        name=name,
        kind=kind,
        outcome="packed" if harmless else "different",
        told=tuple(dict.fromkeys(f"{each.kind}: {each.where}" for each in differences))[:8],
        seconds=round(seconds, 1),
    )


def main() -> int:
    """Build the projects, print a row for each, and count."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--python", default=f"cp3{sys.version_info.minor}")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "projects"))
    parser.add_argument("--results", type=Path, help="file of rows, which is extended")
    parser.add_argument("--keep", type=Path, help="folder of the wheels that differ")
    arguments = parser.parse_args()
    listed = {each["name"]: each for each in tomllib.loads(PROJECTS.read_text("utf-8"))["project"]}
    names = arguments.only.split(",") if arguments.only else list(listed)
    rows = []
    for name in names:
        if "needs" in listed[name]:
            continue
        rows.append(try_project(listed[name], arguments))
        print(
            f"| {name} | {rows[-1].kind} | {rows[-1].outcome} | {'; '.join(rows[-1].told)} |",
            flush=True,
        )
        if arguments.results:
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(rows[-1])) + "\n")
    same = [row.name for row in rows if row.outcome == "identical"]
    print(f"{len(same)} of {len(rows)} wheels are identical")
    return 0 if len(same) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
