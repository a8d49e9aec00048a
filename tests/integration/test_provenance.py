"""What results and the store record of where a wheel comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import git, orchestrator, results
from tests.factories import edit
from tests.integration.test_store import IDS, MATRIX, ONE, Machine

CI = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "a/b",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
}
RUN = "https://github.com/a/b/actions/runs/7/attempts/2"


def commit(machine: Machine) -> str:
    """Commit the machine's project, and return the commit."""
    git(machine.root, "add", "tiny", "matrix.toml")
    git(machine.root, "commit", "-qm", "x", "--allow-empty")
    return git(machine.root, "rev-parse", "HEAD").strip()


def recorded(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = results(machine.root / "dist")[IDS[0]]["provenance"]
    return found


def provenance(machine: Machine) -> dict[str, Any]:
    """Return the statement that `report` writes."""
    folder = machine.root / "statements"
    command = ("report", "dist", "--provenance", str(folder))
    orchestrator(*command, cwd=machine.root, env=machine.env)
    (file,) = folder.iterdir()
    made: dict[str, Any] = json.loads(file.read_text("utf-8"))
    assert file.name == f"{made['subject'][0]['name']}.json"
    return made


def definition(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = provenance(machine)["predicate"]["buildDefinition"]
    return found


def test_a_wheel_keeps_the_commit_and_the_run_that_built_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://me:hush-hush@example.org/tiny.git")
    first = commit(machine)
    git(tmp_path, "tag", "v1.0")
    machine.build(*ONE, env=CI)
    revision = {
        "remote": "https://example.org/tiny.git",
        "commit": first,
        "tags": ["v1.0"],
        "changed": 0,
        "changes": [],
    }
    first_record = recorded(machine)
    assert first_record == {"revision": revision, "invocation": RUN, "began": first_record["began"]}

    (tmp_path / "README").write_text("no part of the source\n")
    assert commit(machine) != first
    machine.build(*ONE)
    assert machine.cached()[IDS[0]]
    again = recorded(machine)
    assert again["began"] == pytest.approx(first_record["began"], abs=1)
    assert again == {**first_record, "began": again["began"]}, "it was built there"
    statement = provenance(machine)
    wheel = results(tmp_path / "dist")[IDS[0]]["wheel"]
    assert statement["subject"] == [
        {"name": wheel["filename"], "digest": {"sha256": wheel["sha256"]}}
    ]
    commits = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert commits[0]["uri"] == f"git+https://example.org/tiny.git@{first}"
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == RUN

    edit(tmp_path / "tiny" / "backend.py", "Generator: t", "Generator: u")
    machine.build(*ONE)
    seen = recorded(machine)
    assert (seen["revision"]["changes"], seen["invocation"]) == (["backend.py"], "")
    page = tmp_path / "report.html"
    orchestrator("report", "dist", "--html", str(page), cwd=tmp_path, env=machine.env)
    assert "backend.py" in page.read_text()
    assert "hush-hush" not in page.read_text()


def test_without_a_repository_a_result_has_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX)
    machine.build(*ONE)
    seen = recorded(machine)
    assert seen == {"revision": None, "invocation": "", "began": seen["began"]}
    names = [each.get("name") for each in definition(machine)["resolvedDependencies"]]
    assert names[:2] == ["files of the source", "toolchain.lock"]


def test_where_statements_cannot_be_written_is_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX)
    machine.build(*ONE)
    (tmp_path / "file").touch()
    said = orchestrator(
        *("report", "dist", "--provenance", "file/below"), cwd=tmp_path, env=machine.env, code=4
    )
    assert "--provenance cannot be written: Not a directory" in said.stderr
