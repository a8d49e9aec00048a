"""Names that would be commands, given to real shells."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.ci import pipelines
from orchestrator.cli import run
from orchestrator.models.target import Job, TargetId
from tests.factories import program
from tests.fanout import WORKFLOW, Cloud, Machine, read
from tests.unit.ci.test_hostile_names import HOSTILE, MATRIX, commands, toml


@pytest.mark.parametrize("name", HOSTILE)
def test_what_plan_and_explain_show_in_a_step_is_no_command(
    name: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = toml(name)
    value = text.replace("{", "{{").replace("}", "}}")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "1"\n')
    (tmp_path / "matrix.toml").write_text(
        MATRIX.replace("demo==1.0", ".")
        + f'[[exclude]]\nwhen = {{ kind = "b" }}\nreason = {text}\n'
        + f'[env]\nX = {value}\n[[override]]\nwhen = {{ kind = "a" }}\nimage = {value}\n'
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("plan",),
        ("plan", "--format", "markdown"),
        ("plan", "--excluded"),
        ("explain", "cp311-manylinux_x86_64-a"),
    ):
        run(arguments)
        said = capfd.readouterr()
        for line in f"{said.out}\n{said.err}".splitlines():
            assert not re.match(r"\s*::", line), line
            assert "##[" not in line


@pytest.mark.parametrize("name", HOSTILE)
def test_a_matrix_file_of_any_name_is_one_word_of_a_command(name: str, tmp_path: Path) -> None:
    job = Job(id="01", name=name, runner=(name,), emulated=(), targets=(TargetId("t"),), cost=1.0)
    for form in (pipelines.gitlab, pipelines.buildkite):
        text = form([job], matrix=f"{name}/matrix.toml")
        (build,) = (each for each in commands(json.loads(text)) if " build " in each)
        script = f"orchestrator() {{ printf '%s\\0' \"$@\"; }}\n{build}"
        # In bytes: as text, the end of a line could be another one.
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.decode().split("\0")[1] == f"--matrix={name}/matrix.toml"
        assert list(tmp_path.iterdir()) == []
        document = json.loads(text)
        assert YAML(typ="safe", pure=True).load(text) == document
        names = [*document, *(each.get("label", "") for each in document.get("steps", []))]
        assert not any("$" in each for each in names), "a variable of the CI system"


class Shell:
    """Runs a step of the real workflow with another `orchestrator`, which notes its arguments."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.needs: dict[str, Any] = {}
        tools = root / "tools"
        script = f"printf '%s\\0' \"$@\" >>{shlex.quote(str(root / 'arguments'))}\n"
        script += """case "$*" in *--format=github*) echo '{"include":[]}';; esac"""
        program(tools / "orchestrator", script)
        self.machine = Machine(Cloud(root=root / "cloud", project=root), root / "machine")
        self.machine._path.append(str(tools))

    def run(self, job: str, name: str, **inputs: Any) -> list[str]:
        (step,) = (s for s in read(WORKFLOW)["jobs"][job]["steps"] if s.get("name") == name)
        names = {"inputs": inputs, "runner": {"temp": str(self.machine._temp)}}
        names |= {"matrix": {"job": "01"}, "secrets": {}, "needs": self.needs}
        self.machine._bash(step, names)
        assert not self.machine._failed, self.machine._log
        return (self.root / "arguments").read_bytes().decode().split("\0")[:-1]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_input_of_the_workflow_is_more_than_an_argument(name: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    one = name.splitlines()[0]
    inputs = {"matrix": name, "channel": name, "select": f"{one}\n\n  \nx=1", "max-jobs": 9}
    arguments = shell.run("plan", "Plan", **inputs, **{"job-cost": 1.5})

    half = arguments[: arguments.index("--format=markdown") + 1]
    assert half == [
        *("plan", f"--matrix={name}", f"--channel={name}", f"--select={one}", "--select=x=1"),
        "--format=markdown",
    ]
    assert shell.machine._outputs["plan"]["outputs"]["jobs"] == '{"include":[]}'
    assert not list(tmp_path.rglob("pwned"))

    arguments = shell.run("build", "Build", matrix=name, backend=name, **{"stop-after": 5})
    assert arguments[-8:-5] == ["build", f"--matrix={name}", arguments[-6]]
    assert f"--backend={name}" in arguments
    assert not list(tmp_path.rglob("pwned"))


def test_a_plan_that_another_job_has_replaced_is_not_collected_against(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    plan = shell.machine._temp / "plan/plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("the plan")
    digest = hashlib.sha256(b"the plan").hexdigest()
    shell.needs = {"plan": {"outputs": {"sha256": digest}}}
    assert shell.run("collect", "Collect")[0] == "collect"

    (tmp_path / "arguments").unlink()
    for text, known in (("another plan", digest), ("the plan", "")):
        plan.write_text(text)
        shell.needs = {"plan": {"outputs": {"sha256": known}}}
        with pytest.raises(AssertionError):
            shell.run("collect", "Collect")
        assert not (tmp_path / "arguments").exists()
        shell.machine._failed = False


def test_the_plan_comes_from_no_job_that_builds() -> None:
    jobs = [
        Job(id=n, name=n, runner=("x",), emulated=(), targets=(TargetId("t"),), cost=1.0)
        for n in ("01", "02")
    ]
    child = json.loads(pipelines.gitlab(jobs, matrix="matrix.toml"))
    jobs_of = {name: each for name, each in child.items() if isinstance(each, dict)}
    holding = {n for n, each in jobs_of.items() if "plan.json" in str(each.get("artifacts"))}
    assert holding == {"plan"}
    steps = json.loads(pipelines.buildkite(jobs, matrix="matrix.toml"))["steps"]
    fetches = [line for line in commands(steps[-1]) if "artifact download" in line]
    assert [line.split("--step=")[1].split()[0] for line in fetches] == [
        *("plan", "build-01", "build-02"),
    ]
