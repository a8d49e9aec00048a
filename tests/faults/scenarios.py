"""Commands that write, each with what there is before it, and what may be seen after it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from orchestrator.fsutil import file_sha256
from orchestrator.models.target import Digest
from orchestrator.store.result_record import unpack
from tests.factories import project_file
from tests.wheelmaker import WheelSpec

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"

MATRIX = project_file("faults/matrix.toml")

Run = Callable[..., None]
"""Runs the command line without faults; raises AssertionError if it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command.

    Attributes:
        prepare: makes what there is before it in an empty directory.
        arguments: of the command line, with the directory as the working directory.
        results: the directories whose files are the outcome.
        codes: exit codes that a fault may have.
        shares: the directory of a shared store. Only a run that builds puts a result there: once
            the store of this machine has it, an upload that failed or was killed is not repeated,
            and what the client had begun may be there under a name that no reader looks for.
        since: a part of a path: what comes before the first operation there is alike to what
            another scenario does, whose faults all fail.
    """

    prepare: Callable[[Path, Run], None]
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    codes: tuple[int, ...] = (0, 4)
    since: str = ""
    shares: str = ""


BUILD = ("build", "--backend=direct", "--jobs=1")


def project(root: Path, shared: Path | None = None) -> None:
    """Write a project of two targets, each of which is built in less than a second."""
    tiny = root / "tiny"
    tiny.mkdir(parents=True)
    for name in ("backend.py", "pyproject.toml", "tiny.c"):
        (tiny / name).write_text(project_file(f"faults/{name}"))
    include = f"-I{sysconfig.get_path('include')}"
    command = ["cc", "-shared", "-fPIC", include, "tiny.c", "-o", "tiny.library"]
    subprocess.run(command, cwd=tiny, check=True)
    store = "" if shared is None else f'[store]\nremote = "{shared.as_uri()}"\n'
    matrix = MATRIX.format(tag=TAG, arch=os.uname().machine)
    (root / "matrix.toml").write_text(matrix + store)


ONE = (*BUILD, "--select=kind=a")


def nothing_built(root: Path, run: Run) -> None:
    del run
    project(root)


def built(root: Path, run: Run) -> None:
    project(root)
    run(*BUILD)


def lost_wheels(root: Path, run: Run) -> None:
    built(root, run)
    shutil.rmtree(root / "dist")


def only_shared(root: Path, run: Run) -> None:
    """What another machine has built is in the shared store."""
    (root / "shared").mkdir()
    project(root, root / "shared")
    run(*BUILD)
    for name in ("dist", "store", ".orchestrator"):
        shutil.rmtree(root / name)


def to_share(root: Path, run: Run) -> None:
    del run
    (root / "shared").mkdir()
    project(root, root / "shared")


def jobs(root: Path, run: Run) -> None:
    project(root)
    for kind in "ab":
        run(*BUILD, f"--select=kind={kind}", f"--output-dir=jobs/{kind}/dist")
    run("plan", "--format=json", stdout=root / "plan.json")


def half_collected(root: Path, run: Run) -> None:
    jobs(root, run)
    run("collect", "jobs", "--plan=plan.json")
    next((root / "dist").glob("*a-*.whl")).unlink()


def wheels(root: Path, run: Run) -> None:
    del run
    for local in ("cu126", "cu130"):
        path = WheelSpec(version=f"1.0+{local}").write(root / "wheels")
        path.with_name(f"{path.name}.asc").write_text("signature")


def one_published(root: Path, run: Run) -> None:
    wheels(root, run)
    WheelSpec(version="0.9+cu126").write(root / "old")
    run("index", "old", "--output=site")


def all_published(root: Path, run: Run) -> None:
    one_published(root, run)
    run("index", "wheels", "--output=site")


SCENARIOS = {
    "build": Scenario(prepare=nothing_built, arguments=ONE, results=("dist",), codes=(0, 1, 4)),
    "build-again": Scenario(prepare=built, arguments=BUILD, results=("dist",), codes=(0, 1, 4)),
    "restore": Scenario(prepare=lost_wheels, arguments=BUILD, results=("dist",), codes=(0, 1, 4)),
    # Until its wheel is stored it does what "build" does, and the shared store has nothing of it.
    "share": Scenario(
        prepare=to_share,
        arguments=ONE,
        results=("dist",),
        codes=(0, 1, 4),
        since="/store/tmp/",
        shares="shared/",
    ),
    "fetch": Scenario(prepare=only_shared, arguments=BUILD, results=("dist",), codes=(0, 1, 4)),
    "make-room": Scenario(
        prepare=built, arguments=("cache", "gc", "--max-size=1"), results=("dist",)
    ),
    "collect": Scenario(
        prepare=jobs, arguments=("collect", "jobs", "--plan=plan.json"), results=("dist",)
    ),
    "collect-again": Scenario(
        prepare=half_collected, arguments=("collect", "jobs", "--plan=plan.json"), results=("dist",)
    ),
    "index": Scenario(
        prepare=wheels, arguments=("index", "wheels", "--output=site"), results=("site",)
    ),
    "index-update": Scenario(
        prepare=one_published, arguments=("index", "wheels", "--output=site"), results=("site",)
    ),
    "index-remove": Scenario(
        prepare=all_published,
        arguments=("index", "--output=site", "--remove=cu130"),
        results=("site",),
    ),
}

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?")


def outcome(scenario: Scenario, root: Path) -> dict[str, str]:
    """Return path -> hash of what a command has made, whenever it did so.

    Of results.json and the reports made from it only the states count: they have times in them.
    """
    found = {}
    for path in sorted(each for name in scenario.results for each in (root / name).rglob("*")):
        if path.is_file() and not path.name.startswith("report.") and path.suffix != ".xml":
            name = str(path.relative_to(root))
            if path.name == "results.json":
                results = json.loads(path.read_bytes())["results"]
                data = json.dumps([(each["id"], each["status"]) for each in results]).encode()
            elif path.suffix in {".json", ".html"}:
                data = _TIME.sub("TIME", path.read_text()).encode()
            else:
                data = path.read_bytes()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def names(root: Path) -> set[str]:
    """Return all paths, but for blobs, whose names are those of logs: two builds have two logs."""
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {name for name in found if "/blobs/" not in name}


def holds_nothing(root: Path) -> set[str]:
    """Return the directories in which nothing is, and the locks, which hold nothing.

    A run that builds nothing collects nothing, so it takes one lock less.
    """
    folders = (path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())
    found = [path for path in folders if not any(path.iterdir())]
    return {str(path.relative_to(root)) for path in (*found, *root.rglob("*.lock"))}


def is_stray(name: str) -> bool:
    """Whether a name is one that a file has only while it is written."""
    base = name.rpartition("/")[2]
    return base.endswith((".partial", ".download")) or base.startswith(".new-") or "#" in base


def half_written(root: Path, good: dict[str, str], before: dict[str, str]) -> Iterator[str]:
    """Yield each file under a final name that is not whole.

    Args:
        root: where the command has run.
        good: the outcome of a run without faults.
        before: the outcome, as it was before the run.
    """
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        name = str(path.relative_to(root))
        if is_stray(name) or "/runs/" in name or "tiny/" in name or "/tmp/" in name:  # noqa: S108
            continue
        try:
            yield from _flaws(path, name, good, before)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not whole
            yield f"{name}: {type(error).__name__}: {error}"


def _flaws(path: Path, name: str, good: dict[str, str], before: dict[str, str]) -> Iterator[str]:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if "/blobs/" in name and digest != path.name:
        yield f"{name}: a blob of another hash"
    elif "/actions/" in name:
        unpack(data, Digest(path.name))
    elif "/projects/" in name and path.suffix != ".lock":
        json.loads(data)
    elif path.suffix in {".whl", ".metadata", ".asc"} and name.startswith(("dist", "site")):
        if digest not in {good.get(name), before.get(name)}:
            yield f"{name}: neither as before nor as after"
    elif path.suffix == ".json":
        yield from _wrong_hashes(path, json.loads(data))
    elif path.suffix == ".html" and name.startswith("site/"):
        yield from _wrong_links(path, data.decode())


def _wrong_hashes(path: Path, document: dict[str, Any]) -> Iterator[str]:
    for each in document.get("files", ()) if path.name == "index.json" else ():
        file = path.parent / unquote(each["url"])
        if file_sha256(file) != each["hashes"]["sha256"]:
            yield f"{path}: {each['filename']} has another hash"


def _wrong_links(path: Path, text: str) -> Iterator[str]:
    if "</html>" not in text:
        yield f"{path}: cut off"
    for address, sha256 in re.findall(r'href="([^"#]+)#sha256=(\w+)"', text):
        if file_sha256(path.parent / unquote(unescape(address))) != sha256:
            yield f"{path}: {address} has another hash"
