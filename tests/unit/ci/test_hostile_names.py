"""Names that would be commands: in a matrix, an option or a source, they stay what they are."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ci import pipelines
from orchestrator.ci.caller import CallerFacts, caller, check_uses, installed_from
from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.errors import ConfigError
from orchestrator.models.target import Plan, TargetId
from tests.factories import plan_of
from tests.fanout import WORKFLOW, Cloud, Machine, read

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
inject = { KIND = "{kind}" }
"""


def plan(more: str = "") -> Plan:
    return plan_of(MATRIX + more)


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
            plan_of(text)


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
    line = pipelines.github(jobs)

    assert line.isascii()
    assert "\n" not in line
    labels = ["self-hosted", name] if printable else ["ubuntu-24.04"]
    assert json.loads(line)["include"][0]["runner"] == labels
    for form in (pipelines.gitlab, pipelines.buildkite):
        document = json.loads(form(jobs, matrix="matrix.toml"))
        for command in commands(document):
            assert shlex.split(command)[0] in {"orchestrator", "buildkite-agent"}
            assert name not in command


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
def test_a_workflow_for_any_matrix_file_has_its_name_as_a_text(name: str, tmp_path: Path) -> None:
    origin = check_uses(f"o/r@{'0' * 40}")
    if "${{" in name:
        with pytest.raises(ConfigError, match="evaluate an expression"):
            caller(origin, CallerFacts(matrix=name))
        return
    facts = CallerFacts(matrix=name, channel=name, publish=("pypi",))
    (tmp_path / "w.yml").write_text(caller(origin, facts))
    job = read(tmp_path / "w.yml")["jobs"]["wheels"]

    assert job["with"] == {"matrix": name, "channel": name}


@pytest.mark.parametrize("uses", ["o/r@main", "o/r", f"o/r@{'0' * 39}", f"o\n/r@{'0' * 40}", ""])
def test_only_a_commit_can_be_called(uses: str) -> None:
    with pytest.raises(ConfigError):
        check_uses(uses)


def test_the_check_uses_an_installed_orchestrator_is_known_from_its_record() -> None:
    commit = "a" * 40
    record = {"url": "https://github.com/o/r.git", "vcs_info": {"vcs": "git", "commit_id": commit}}

    assert installed_from(json.dumps(record)) == check_uses(f"o/r@{commit}")
    for other in (
        None,
        "{",
        "[]",
        json.dumps(record | {"url": "https://example.org/o/r"}),
        json.dumps({"url": record["url"], "dir_info": {}}),
    ):
        assert installed_from(other) is None


def test_qemu_is_set_up_only_where_a_job_needs_it(tmp_path: Path) -> None:
    cloud = Cloud(root=tmp_path / "cloud", project=tmp_path)
    (tmp_path / "there").mkdir()
    (cloud.root / "installed").symlink_to(tmp_path / "there")
    steps = read(WORKFLOW)["jobs"]["build"]["steps"]
    (job,) = (each for each in steps if each.get("uses") == "$/.github/actions/orchestrator")
    assert job["with"]["qemu"] == "${{ matrix.qemu }}"
    for cell in json.loads(pipelines.github(plan_jobs(plan(), Sizes())))["include"]:
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
