"""GitHub Actions on one machine: the real workflow's steps, each job in directories of its own.

What jobs have in common is what they have there: artefacts, the cache and the repository. Other
people's actions are played; expressions are evaluated, ``run:`` steps run by bash as they are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import REPOSITORY, ran

WORKFLOW = REPOSITORY / ".github/workflows/build-wheels.yml"

_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z_][\w.-]*)|(&&|\|\||==|!=|[()]))")


def read(path: Path) -> Any:
    """Read YAML 1.2, in which ``on`` is a text."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def evaluate(text: str, names: Mapping[str, Any], *, failed: bool = False) -> Any:
    """Evaluate an expression: names, texts, ``== != && ||``, and the functions that are used."""

    def look_up(name: str) -> Any:
        here: Any = names
        for part in name.split("."):
            here = (here or {}).get(part, "")
        return here

    known = {
        "true": True,
        "false": False,
        "fromJSON": json.loads,
        "look_up": look_up,
        "always": lambda: True,
        "success": lambda: not failed,
        "failure": lambda: failed,
    }

    def as_python(match: re.Match[str]) -> str:
        text, name, operator = match.groups()
        if operator:
            return {"&&": " and ", "||": " or "}.get(operator, operator)
        if name:
            return name if name in known else f"look_up({name!r})"
        return repr(text.replace("''", "'"))

    assert _TOKEN.sub("", text).strip() == "", f"cannot read {text!r}"
    return eval(_TOKEN.sub(as_python, text).strip(), known)  # noqa: S307 - of our own workflows


def filled(value: Any, names: Mapping[str, Any]) -> Any:
    """Evaluate every ``${{ }}`` in a value."""
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, names) for each in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{\{((?:(?!\}\}).)*)\}\}", value)
    if whole:
        return evaluate(whole[1], names)
    return re.sub(r"\$\{\{(.*?)\}\}", lambda m: text(evaluate(m[1], names)), value)


def text(value: Any) -> str:
    """Return a value as GitHub writes it into a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass
class Job:
    """How a job ended."""

    name: str
    ok: bool
    log: str
    outputs: dict[str, Any]
    summary: str
    qemu: list[str]
    machine: Path


@dataclass
class Cloud:
    """A repository on GitHub, with what its runs leave there.

    Attributes:
        root: an empty directory.
        project: the repository that is built: its files are checked out.
        env: variables that every machine has.
    """

    root: Path
    project: Path
    env: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("artefacts", "caches"):
            (self.root / name).mkdir(parents=True)

    def artefact(self, name: str) -> Path:
        return self.root / "artefacts" / name

    def run(self, inputs: Mapping[str, Any], *, workflow: Path = WORKFLOW) -> dict[str, Job]:
        """Run a workflow; again: the jobs that failed, and those that need them.

        Returns:
            Job -> how it ended; the jobs of a matrix have their number in the name.
        """
        self.attempt += 1
        self.ran = []
        document = read(workflow)
        declared = document["on"]["workflow_call"]["inputs"]
        values = {name: each.get("default", "") for name, each in declared.items()} | dict(inputs)
        assert values.keys() == declared.keys()
        states: dict[str, dict[str, Any]] = {}
        for name, job in document["jobs"].items():
            needs = job.get("needs", [])
            needed = {each: states[each] for each in ([needs] if isinstance(needs, str) else needs)}
            names = {"inputs": values, "needs": needed, "secrets": {}}
            states[name] = self._job(name, job, names)
        return self.jobs

    def _job(self, name: str, job: Any, names: dict[str, Any]) -> dict[str, Any]:
        failed = any(each["result"] != "success" for each in names["needs"].values())
        if not evaluate(job.get("if", "success()"), names, failed=failed):
            return {"result": "skipped", "outputs": {}}
        strategy = filled(job.get("strategy", {}), names)
        cells = strategy.get("matrix", {}).get("include", [None])
        assert len(cells) <= 256
        assert len(cells) == 1 or strategy["fail-fast"] is False
        again = failed or any(each in self.ran for each in names["needs"])
        keys = {f"{name} {cell['job']}" if cell else name: cell or {} for cell in cells}
        todo = [each for each in keys if again or each not in self.jobs or not self.jobs[each].ok]
        self.ran += todo

        def run(key: str) -> Job:
            machine = Machine(self, self.root / f"{key}-{self.attempt}".replace(" ", "-"))
            return machine.run(job, names | {"matrix": keys[key]})

        with ThreadPoolExecutor() as pool:
            self.jobs |= zip(todo, pool.map(run, todo), strict=True)
        done = [self.jobs[each] for each in keys]
        ok = all(each.ok for each in done)
        return {"result": "success" if ok else "failure", "outputs": done[-1].outputs}


class Machine:
    """A machine that is new for each job."""

    def __init__(self, cloud: Cloud, place: Path) -> None:
        self._cloud = cloud
        self._place = place
        self._temp = place / "temp"
        self._workspace = place / "work"
        for each in (self._temp, self._workspace):
            each.mkdir(parents=True)
        self._path: list[str] = []
        self._outputs: dict[str, Any] = {}
        self._log: list[str] = []
        self._qemu: list[str] = []
        self._failed = False

    def run(self, job: Any, names: dict[str, Any]) -> Job:
        github = {"run_id": "4711", "run_attempt": str(self._cloud.attempt)}
        names = names | {
            "github": github,
            "runner": {"temp": str(self._temp)},
            "steps": self._outputs,
        }
        assert isinstance(filled(job["timeout-minutes"], names), int)
        labels = filled(job["runs-on"], names)
        assert isinstance(labels, str | list)
        for step in job["steps"]:
            self._step(step, names)
        summary = self._temp / "summary.md"
        return Job(
            name=text(filled(job.get("name", ""), names)),
            ok=not self._failed,
            log="\n".join(self._log),
            outputs={k: filled(v, names) for k, v in job.get("outputs", {}).items()},
            summary=summary.read_text() if summary.exists() else "",
            qemu=self._qemu,
            machine=self._place,
        )

    def _step(self, step: Any, names: Mapping[str, Any]) -> None:
        if not evaluate(_condition(step), names, failed=self._failed):
            return
        if "run" in step:
            self._bash(step, names)
            return
        given = filled(step.get("with", {}), names)
        name = step["uses"].partition("@")[0]
        if name.startswith("$/"):
            self._composite(REPOSITORY / name[2:], given, names)
        else:
            _ACTIONS[name](self, given)

    def _bash(self, step: Any, names: Mapping[str, Any]) -> None:
        assert "${{" not in step["run"], "a value could become a command"
        files = {name: self._temp / name for name in ("output", "path", "summary.md")}
        for name in ("output", "path"):
            files[name].write_text("")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "RUNNER_"))}
        env.pop("PYTHONPATH", None)
        own = {key: text(filled(value, names)) for key, value in step.get("env", {}).items()}
        env |= {
            **self._cloud.env,
            "PATH": os.pathsep.join([*self._path, env["PATH"]]),
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(self._temp),
            "GITHUB_OUTPUT": str(files["output"]),
            "GITHUB_PATH": str(files["path"]),
            "GITHUB_STEP_SUMMARY": str(files["summary.md"]),
            **own,
        }
        script = self._temp / "script.sh"
        script.write_text(step["run"])
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if step.get("shell") else ["-e"]
        said = ran("bash", *options, script, cwd=self._workspace, env=env, timeout=600)
        self._log.append(f"{said.stdout}{said.stderr}")
        self._failed |= said.code != 0
        self._path += files["path"].read_text().splitlines()
        pairs = (line.split("=", 1) for line in files["output"].read_text().splitlines())
        self._outputs[step.get("id", "")] = {"outputs": dict(pairs)}

    def _composite(self, folder: Path, given: Any, names: Mapping[str, Any]) -> None:
        action = read(folder / "action.yml")
        inputs = {name: each.get("default", "") for name, each in action["inputs"].items()}
        names = {**names, "inputs": inputs | given}
        names["github"] = {**names["github"], "action_path": str(folder)}
        first = self._cloud.root / "installed"
        if first.is_symlink():  # installing takes ten seconds and is the same every time
            (self._temp / "orchestrator").symlink_to(first.resolve())
            self._path.append(str(self._temp / "orchestrator/bin"))
            action["runs"]["steps"] = [e for e in action["runs"]["steps"] if "run" not in e]
        for step in action["runs"]["steps"]:
            assert "uses" in step or step["shell"] == "bash"
            self._step(step, names)
        if not first.is_symlink() and not self._failed:
            first.symlink_to(self._temp / "orchestrator")

    # other people's actions

    def checkout(self, given: Any) -> None:
        assert given["persist-credentials"] is False
        shutil.copytree(self._cloud.project, self._workspace, dirs_exist_ok=True, symlinks=True)

    def upload(self, given: Any) -> None:
        target = self._cloud.artefact(given["name"])
        assert given["overwrite"] or not target.exists()
        paths = [Path(each) for each in given["path"].splitlines()]
        # With several paths, what they have in common is left out of the names.
        base = Path(os.path.commonpath(paths)) if len(paths) > 1 else paths[0]
        base = base.parent if base.is_file() else base
        found = [each for path in paths for each in _files(path)]
        assert found or given.get("if-no-files-found") != "error"
        shutil.rmtree(target, ignore_errors=True)
        for each in found:
            place = target / each.relative_to(base)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, place)

    def download(self, given: Any) -> None:
        to = Path(given["path"])
        if "name" in given:
            shutil.copytree(self._cloud.artefact(given["name"]), to, dirs_exist_ok=True)
            return
        found = list((self._cloud.root / "artefacts").glob(given["pattern"]))
        for each in found:  # one alone gets no directory of its own
            place = to / each.name if len(found) > 1 else to
            shutil.copytree(each, place, dirs_exist_ok=True)

    def restore(self, given: Any) -> None:
        caches = sorted((self._cloud.root / "caches").iterdir(), key=lambda e: e.stat().st_mtime_ns)
        for key in (given["key"], *given["restore-keys"].splitlines()):
            for each in reversed(caches):
                if each.name.startswith(key):
                    shutil.copytree(each, given["path"], symlinks=True)
                    return

    def save(self, given: Any) -> None:
        place = self._cloud.root / "caches" / given["key"]
        assert not place.exists(), "a cache cannot be changed"
        if Path(given["path"]).exists():
            shutil.copytree(given["path"], place, symlinks=True)
            os.utime(place)

    def python(self, given: Any) -> None:
        (self._place / "bin").mkdir()
        (self._place / "bin/python3").symlink_to(sys.executable)
        self._path.append(str(self._place / "bin"))

    def emulate(self, given: Any) -> None:
        self._qemu.append(given["platforms"])


_ACTIONS = {
    "actions/checkout": Machine.checkout,
    "actions/upload-artifact": Machine.upload,
    "actions/download-artifact": Machine.download,
    "actions/cache/restore": Machine.restore,
    "actions/cache/save": Machine.save,
    "actions/setup-python": Machine.python,
    "docker/setup-qemu-action": Machine.emulate,
}


def _condition(step: Any) -> str:
    """Return a step's condition; without a status function it holds only while all goes well."""
    condition = str(step.get("if", "success()"))
    says = re.search(r"(always|failure|success)\(\)", condition)
    return condition if says else f"success() && ({condition})"


def _files(path: Path) -> Iterator[Path]:
    yield from [path] if path.is_file() else filter(Path.is_file, path.rglob("*"))
