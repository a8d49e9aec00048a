"""What results and the store record of where a wheel comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    assert recorded(machine) == {"revision": revision, "invocation": RUN}

    (tmp_path / "README").write_text("no part of the source\n")
    assert commit(machine) != first
    machine.build(*ONE)
    assert machine.cached()[IDS[0]]
    assert recorded(machine) == {"revision": revision, "invocation": RUN}, "it was built there"

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
    assert recorded(machine) == {"revision": None, "invocation": ""}
