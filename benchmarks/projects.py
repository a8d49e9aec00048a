"""Whether projects of the package index build as they are, with the matrix that `init` writes.

    python benchmarks/projects.py [--only NAME,...] [--ci] [--image REF] [--python TAG]
                                  [--cache DIR] [--minutes N] [--seconds N] [--results FILE]
                                  [--logs DIR]

`tests/projects.toml` lists the sdists, each by its hash. For each of them `orchestrator init`
writes a matrix.toml, which nobody touches; one of its targets for this machine is built, on this
host or, with ``--image``, in a container of that image (the one line that is added to the matrix).
A row shows the outcome, our tag and upstream's own for the same target, the seconds of the build,
and the members that upstream's wheel has and ours lacks.

A row is wrong if the build fails for a reason that its message does not name, and if the wheel has
another version or lacks a member of upstream's. What may be so is said in projects.toml: ``needs``
names what the machine has to have (one of several, if it is a list), and the message has to name
it, too; ``differs``, members.
``--seconds`` adds a time limit to the matrix. ``--results`` keeps rows (JSON lines), and skips the
projects that it has already. The exit status is 1 if a row is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from orchestrator.host import web
from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.network import HostNetwork
from orchestrator.host.simple_index import IndexFile, listing
from orchestrator.models.wheel_name import WheelName
from orchestrator.provision import toolchain
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.source.stage import FETCH_SCRIPT

ROOT = Path(__file__).parents[1]
PROJECTS = ROOT / "tests" / "projects.toml"
LARGEST = 30_000_000
"""Bytes of an upstream wheel that is fetched for its members; those of others are not compared."""

Project = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one project.

    Attributes:
        name: of the project.
        target: what was built.
        outcome: ``ok``, ``needs`` (it names what is missing, as it should), or ``wrong``.
        message: why there is no wheel.
        tag: our platform tag.
        upstream: that of the wheel on the index.
        version: of our wheel.
        lacks: members of upstream's wheel that ours has not.
        seconds: of the build.
    """

    name: str
    target: str = ""
    outcome: str
    message: str = ""
    tag: str = ""
    upstream: str = ""
    version: str = ""
    lacks: tuple[str, ...] = ()
    seconds: float = 0.0


def fetch(project: Project, cache: Path) -> Path:
    """Return the sdist, which has the hash of the list; nothing of it is run."""
    cache.mkdir(parents=True, exist_ok=True)
    for path in cache.iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() == project["sha256"]:
            return path
    environ = os.environ
    tools = toolchain.sync(default_cache_dir(environ), HostNetwork.detect(environ), environ=environ)
    requirement = f"{project['name']}=={project['version']}"
    argv = [str(tools.python), "-I", str(FETCH_SCRIPT), requirement, str(cache)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    path = Path(said.stdout.strip())
    if hashlib.sha256(path.read_bytes()).hexdigest() != project["sha256"]:
        raise SystemExit(f"{path.name} is another file than the one in {PROJECTS}")
    return path


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command line of this checkout."""
    argv = [sys.executable, "-m", "orchestrator", *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def limit(matrix: Path, seconds: int) -> None:
    """Let the build end after some time."""
    text = matrix.read_text("utf-8")
    line = f"[build]\ntimeout = {seconds}\n"
    text = text.replace("[build]\n", line) if "\n[build]\n" in text else f"{text}\n{line}"
    matrix.write_text(text, "utf-8")


def pick(ids: list[str], python: str) -> str:
    """Return the target of a Python, else of the stable ABI, for this machine's glibc."""
    machine = f"manylinux_{os.uname().machine}"
    own = [each for each in ids if each.partition("-manylinux")[2].startswith(f"_{machine[10:]}")]
    for prefix in (f"{python}-", "abi3-", "cp"):
        found = next((each for each in own if each.startswith(prefix)), "")
        if found:
            return found
    return ""


def build(project: Project, source: Path, arguments: argparse.Namespace) -> Row:
    """Write the matrix, build one target, and compare its wheel."""
    name = project["name"]
    with tempfile.TemporaryDirectory(prefix="projects-") as scratch:
        cwd = Path(scratch)
        env = {"ORCHESTRATOR_STORE_DIR": str(cwd / "store")}
        said = run("init", str(source), cwd=cwd, env=env)
        if said.returncode:
            return _failed(project, "", said.stderr)
        if arguments.image:
            _append_image(cwd / "matrix.toml", arguments.image)
        if arguments.seconds:
            limit(cwd / "matrix.toml", arguments.seconds)
        planned = run("plan", "--format=ids", cwd=cwd, env=env)
        target = pick(planned.stdout.split(), arguments.python)
        if planned.returncode or not target:
            return _failed(project, "", planned.stderr or "no target for this machine")
        started = time.monotonic()
        backend = "auto" if arguments.image else "direct"
        said = run("build", f"--select={target}", f"--backend={backend}", "-q", cwd=cwd, env=env)
        seconds = time.monotonic() - started
        result = _result(cwd / "dist" / "results.json")
        wheels = [*(cwd / "dist").glob("*.whl")]
        if said.returncode or not wheels:
            if arguments.logs:
                keep_logs(cwd, arguments.logs / name)
            return _failed(project, target, _why(result) or said.stderr, seconds=seconds)
        (wheel,) = wheels
        parts = wheel.name.removesuffix(".whl").split("-")
        upstream = _upstream(name, wheel.name)
        lacks = _lacks(wheel, upstream) if upstream else ()
        differs = _differs(project, parts[1], lacks)
        return Row(
            name=name,
            target=target,
            outcome="wrong" if differs else "ok",
            message=differs,
            tag=parts[-1],
            upstream=upstream.name.removesuffix(".whl").split("-")[-1] if upstream else "",
            version=parts[1],
            lacks=lacks,
            seconds=round(seconds, 1),
        )


def keep_logs(cwd: Path, folder: Path) -> None:
    """Keep what a build that failed has printed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(cwd / ".orchestrator" / "logs", folder)
    shutil.copy(cwd / "matrix.toml", folder)


def _append_image(matrix: Path, image: str) -> None:
    """Name the image in place of any other."""
    key = f"manylinux_{os.uname().machine} = "
    lines = matrix.read_text("utf-8").splitlines()
    lines = [each for each in lines if not each.startswith(key)]
    if "[images]" not in lines:
        lines.append("[images]")
    lines.insert(lines.index("[images]") + 1, f'{key}"{image}"')
    matrix.write_text("\n".join([*lines, ""]), "utf-8")


def _result(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = json.loads(path.read_text("utf-8")).get("results", [])
    return dict(found[0]) if found else {}


def _why(result: dict[str, Any]) -> str:
    failure = result.get("failure") or {}
    return " | ".join(filter(None, (failure.get("message"), failure.get("hint"))))


def _failed(project: Project, target: str, message: str, *, seconds: float = 0.0) -> Row:
    needs = project.get("needs", ())
    needs = (needs,) if isinstance(needs, str) else needs
    named = any(each.lower() in message.lower() for each in needs)
    return Row(
        name=project["name"],
        target=target,
        outcome="needs" if named else "wrong",
        message=" ".join(message.split())[:400],
        seconds=round(seconds, 1),
    )


def _upstream(name: str, wheel: str) -> IndexFile | None:
    """Return upstream's wheel of the same version, Python, C library and architecture.

    One for the stable ABI is the same as one for a Python that it serves.
    """
    files = listing(PUBLIC_INDEX, name, HostNetwork.detect(os.environ)) or ()
    own = WheelName.parse(wheel)
    ours = {(each.interpreter, each.abi) for each in own.tags}
    machine = os.uname().machine
    found: dict[bool, IndexFile] = {}
    for file in files:
        theirs = WheelName.match(file.name)
        if theirs is None:
            continue
        if theirs.version == own.version and "manylinux" in file.name and machine in file.name:
            same = {(each.interpreter, each.abi) for each in theirs.tags} & ours
            if same or any(each.abi in {"abi3", "none"} for each in theirs.tags):
                found.setdefault(bool(same), file)
    return found.get(True, found.get(False))


def _lacks(wheel: Path, upstream: IndexFile) -> tuple[str, ...]:
    """Return the members that upstream has and ours lacks; grafted libraries do not count."""
    if upstream.size is None or upstream.size > LARGEST:
        return ()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, upstream.name)
        request = web.HttpRequest(url=upstream.url)
        answer = web.ask(request, HostNetwork.detect(os.environ), limit=LARGEST)
        file.write_bytes(answer.body)
        theirs, ours = _members(file), _members(wheel)
    return tuple(sorted(theirs - ours))[:10]


def _members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            _plain(name)
            for name in archive.namelist()
            if ".libs/" not in name and "/sboms/" not in name and not name.endswith("/")
        }


def _plain(name: str) -> str:
    """Return a member's name without what Pythons, distributions and setuptools' age change."""
    name = name.partition(".cpython-")[0].partition(".abi3.so")[0].replace("/lib64/", "/lib/")
    return name.replace(".dist-info/licenses/", ".dist-info/")


def main() -> int:
    """Build the projects, print a row for each, and count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--ci", action="store_true", help="those that CI builds")
    parser.add_argument("--image", help="build in a container of this image")
    parser.add_argument("--python", default=f"cp3{sys.version_info.minor}")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "projects"))
    parser.add_argument("--minutes", type=float, help="begin no project after this time")
    parser.add_argument("--seconds", type=int, help="end a build after this time")
    parser.add_argument("--logs", type=Path, help="folder of the logs of builds that failed")
    parser.add_argument("--results", type=Path, help="file of rows, which is extended")
    arguments = parser.parse_args()
    known = _known(arguments.results)
    end = time.monotonic() + 60 * (arguments.minutes or 10**6)
    rows = []
    listed = {each["name"]: each for each in tomllib.loads(PROJECTS.read_text("utf-8"))["project"]}
    for name in arguments.only.split(",") if arguments.only else listed:
        project = listed[name]
        if (arguments.ci and not project.get("ci")) or name in known:
            continue
        if time.monotonic() > end:
            break
        row = build(project, fetch(project, arguments.cache), arguments)
        rows.append(row)
        print(_line(row), flush=True)
        if arguments.results:
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    wrong = [row.name for row in rows if row.outcome == "wrong"]
    built = [row for row in rows if row.outcome == "ok"]
    orders = Counter(_order(row) for row in built)
    counts = ", ".join(f"{orders[name]} {name}" for name in ("equal", "lower", "higher", "alone"))
    print(f"{len(rows)} projects: {len(built)} built, their tags beside upstream's: {counts}")
    print(f"{len(wrong)} wrong: {', '.join(wrong)}")
    return 1 if wrong else 0


def _differs(project: Project, version: str, lacks: tuple[str, ...]) -> str:
    """Return how a wheel differs from what was asked for, and from upstream's."""
    if Version(version) != Version(project["version"]):
        return f"its version is {version}"
    missing = [name for name in lacks if name not in project.get("differs", ())]
    return f"it lacks {', '.join(missing)}" if missing else ""


def _order(row: Row) -> str:
    """Compare a tag with upstream's; one of a newer C library than upstream's may be higher."""
    ours, theirs = _glibc(row.tag), _glibc(row.upstream)
    if not theirs:
        return "alone"
    return "equal" if ours == theirs else "lower" if ours < theirs else "higher"


def _glibc(tag: str) -> tuple[int, ...]:
    """Return the lowest glibc of a compressed set of tags; nothing if it names none."""
    found = re.findall(r"manylinux_(\d+)_(\d+)", tag)
    return min((tuple(map(int, pair)) for pair in found), default=())


def _known(results: Path | None) -> set[str]:
    if results is None or not results.is_file():
        return set()
    return {json.loads(line)["name"] for line in results.read_text("utf-8").splitlines()}


def _line(row: Row) -> str:
    tags = row.tag if row.tag == row.upstream else f"{row.tag} (upstream {row.upstream or 'none'})"
    lacks = f"; lacks {', '.join(row.lacks)}" if row.lacks else ""
    said = f"{tags} {row.version}{lacks}" if row.tag else row.message
    return f"{row.outcome:5} {row.name:24} {row.target:28} {row.seconds:7.1f} s  {said}"


if __name__ == "__main__":
    sys.exit(main())
