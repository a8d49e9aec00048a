"""Names that would be commands: in a matrix, an option or a source, they stay what they are."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from orchestrator.ci import github, pipelines
from orchestrator.ci.caller import caller, installed_from, origin_of
from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.cli import run
from orchestrator.cli.workspace import builder_facts
from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from orchestrator.models.target import Job, Plan, TargetId
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext
from tests.fanout import WORKFLOW, Cloud, Machine, read

if TYPE_CHECKING:
    from pathlib import Path

FACTS = builder_facts()
HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\n::set-output name=jobs::[]\njobs=[]",
    "a\r\n::add-mask::x",
    "EOF\njobs={}\nEOF",
    "${{ secrets.TOKEN }}",
    "--format=ids",
    "%0A::error::x",
    "x ##[error]y",
    "ünïcode \N{RIGHT-TO-LEFT OVERRIDE} \N{PILE OF POO}",
    "\x1b]0;title\x07",
]
MATRIX = """\
[project]
source = "demo==1.0"
[axes]
python = ["cp311"]
arch = ["x86_64", "riscv64"]
kind = ["a", "b"]
[version]
base = "1.0"
local = "{kind}"
"""


def plan(more: str = "") -> Plan:
    return make_plan(
        load((MATRIX + more).encode(), facts=FACTS), facts=FACTS, outside=VersionContext()
    )


def toml(text: str) -> str:
    return json.dumps(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_becomes_a_part_of_names_is_refused_by_the_matrix(name: str) -> None:
    for text in (
        MATRIX.replace('"a", "b"', f'{toml(name)}, "b"'),
        MATRIX.replace("kind", toml(name)),
        MATRIX.replace('["a", "b"]', f'{{ values = ["a"], label = {toml(name)} }}'),
    ):
        with pytest.raises(ConfigError):
            make_plan(load(text.encode(), facts=FACTS), facts=FACTS, outside=VersionContext())


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_free_text_stays_in_its_place(name: str) -> None:
    text = toml(name)
    more = f'[[exclude]]\nwhen = {{ kind = "b" }}\nreason = {text}\n'
    more += f"[test]\ncommand = {text.replace('{', '{{').replace('}', '}}')}\n"
    more += f'[[override]]\nwhen = {{ kind = "a" }}\nimage = {text}\n'
    more += f"env = {{ X = {text.replace('{', '{{').replace('}', '}}')} }}\n"
    printable = name.isprintable()
    if printable:
        more += f'runner = ["self-hosted", {text}]\n'
    try:
        found = plan(more)
    except ConfigError:
        return  # refused is as good
    jobs = plan_jobs(found, Sizes())
    line = github.matrix(jobs)

    assert line.isascii()
    assert "\n" not in line
    labels = ["self-hosted", name] if printable else ["ubuntu-24.04"]
    assert json.loads(line)["include"][0]["runner"] == labels
    for form in (pipelines.gitlab, pipelines.buildkite):
        document = json.loads(form(jobs, matrix="matrix.toml"))
        for command in commands(document):
            assert shlex.split(command)[0] in {"orchestrator", "buildkite-agent"}
            assert name not in command


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


def test_a_runner_that_is_no_label_is_refused() -> None:
    for label in ("a\nb", "", " ", "\x1b"):
        with pytest.raises(ConfigError, match="label of a runner"):
            plan(f'[[override]]\nwhen = {{ kind = "a" }}\nrunner = ["x", {toml(label)}]\n')


def commands(node: Any) -> list[str]:
    if isinstance(node, list):
        return [each for item in node for each in commands(item)]
    if isinstance(node, dict):
        own = [
            line
            for key in ("script", "command")
            for line in ([node[key]] if isinstance(node.get(key), str) else node.get(key, []))
        ]
        return own + [each for item in node.values() for each in commands(item)]
    return []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_matrix_file_of_any_name_is_one_word_of_a_command(name: str, tmp_path: Path) -> None:
    job = Job(id="01", name=name, runner=(name,), emulated=(), targets=(TargetId("t"),), cost=1.0)
    for form in (pipelines.gitlab, pipelines.buildkite):
        text = form([job], matrix=f"{name}/matrix.toml")
        (build,) = (each for each in commands(json.loads(text)) if " build " in each)
        script = f"orchestrator() {{ printf '%s\\0' \"$@\"; }}\n{build}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.decode().split("\0")[1] == f"--matrix={name}/matrix.toml"
        assert list(tmp_path.iterdir()) == []
        document = json.loads(text)
        assert YAML(typ="safe", pure=True).load(text) == document
        names = [*document, *(each.get("label", "") for each in document.get("steps", []))]
        assert not any("$" in each for each in names), "a variable of the CI system"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workflow_for_any_matrix_file_has_its_name_as_a_text(name: str, tmp_path: Path) -> None:
    origin = origin_of(f"o/r@{'0' * 40}")
    if "${{" in name:
        with pytest.raises(ConfigError, match="evaluate an expression"):
            caller(origin, matrix=name, channel="", publish=None)
        return
    (tmp_path / "w.yml").write_text(caller(origin, matrix=name, channel=name, publish="pypi"))
    job = read(tmp_path / "w.yml")["jobs"]["wheels"]

    assert job["with"] == {"matrix": name, "channel": name}


@pytest.mark.parametrize("uses", ["o/r@main", "o/r", f"o/r@{'0' * 39}", f"o\n/r@{'0' * 40}", ""])
def test_only_a_commit_can_be_called(uses: str) -> None:
    with pytest.raises(ConfigError):
        origin_of(uses)


def test_the_origin_of_an_installed_orchestrator_is_known_from_its_record() -> None:
    commit = "a" * 40
    record = {"url": "https://github.com/o/r.git", "vcs_info": {"vcs": "git", "commit_id": commit}}

    assert installed_from(json.dumps(record)) == origin_of(f"o/r@{commit}")
    for other in (
        None,
        "{",
        "[]",
        json.dumps(record | {"url": "https://example.org/o/r"}),
        json.dumps({"url": record["url"], "dir_info": {}}),
    ):
        assert installed_from(other) is None


class Shell:
    """Runs a step of the real workflow with another `orchestrator`, which notes its arguments."""

    def __init__(self, root: Path) -> None:
        self.root = root
        tools = root / "tools"
        tools.mkdir()
        program = tools / "orchestrator"
        program.write_text(
            "#!/usr/bin/env bash\n"
            f"printf '%s\\0' \"$@\" >>{shlex.quote(str(root / 'arguments'))}\n"
            """case "$*" in *--format=github*) echo '{"include":[]}';; esac\n"""
        )
        program.chmod(0o755)
        self.machine = Machine(Cloud(root=root / "cloud", project=root), root / "machine")
        self.machine._path.append(str(tools))

    def run(self, job: str, name: str, **inputs: Any) -> list[str]:
        (step,) = (s for s in read(WORKFLOW)["jobs"][job]["steps"] if s.get("name") == name)
        names = {"inputs": inputs, "runner": {"temp": str(self.machine._temp)}}
        names |= {"matrix": {"job": "01"}, "secrets": {}}
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
    assert shell.machine._outputs["plan"]["outputs"] == {"jobs": '{"include":[]}'}
    assert not list(tmp_path.rglob("pwned"))

    arguments = shell.run("build", "Build", matrix=name, backend=name, **{"stop-after": 5})
    assert arguments[-8:-5] == ["build", f"--matrix={name}", arguments[-6]]
    assert f"--backend={name}" in arguments
    assert not list(tmp_path.rglob("pwned"))


def test_qemu_is_set_up_only_where_a_job_needs_it(tmp_path: Path) -> None:
    cloud = Cloud(root=tmp_path / "cloud", project=tmp_path)
    (tmp_path / "there").mkdir()
    (cloud.root / "installed").symlink_to(tmp_path / "there")
    job = read(WORKFLOW)["jobs"]["build"]["steps"][1]
    assert job["with"] == {"qemu": "${{ matrix.qemu }}"}
    for cell in json.loads(github.matrix(plan_jobs(plan(), Sizes())))["include"]:
        machine = Machine(cloud, tmp_path / cell["job"])
        machine._step(job, {"matrix": cell, "github": {}})
        emulated = "riscv64" in cell["name"]
        assert machine._qemu == (["linux/riscv64"] if emulated else [])


def test_job_names_are_one_line_of_bounded_length() -> None:
    target = plan().targets[0]
    long = replace(target, id=TargetId("x" * 300 + "\ny"))
    (job,) = plan_jobs(Plan(targets=(long,), exclusions=()), Sizes())

    assert job.targets == (long.id,)
    assert len(job.name) <= 100
    assert "\n" not in job.name
