"""What results and the store record of where a wheel comes from."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said, git, orchestrator, results
from tests.factories import edit
from tests.integration.test_store import IDS, MATRIX, ONE, Machine

CI = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "a/b",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_WORKFLOW_REF": "a/b/.github/workflows/w.yml@refs/heads/main",
}
KEY = f"ed25519:{base64.b64encode(bytes(32)).decode()}"
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
    assert first_record == {
        "revision": revision,
        "invocation": RUN,
        "workflow": CI["GITHUB_WORKFLOW_REF"],
        "ref": "refs/heads/main",
        "began": first_record["began"],
    }

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
    empty = dict.fromkeys(("invocation", "workflow", "ref"), "")
    assert seen == {"revision": None, **empty, "began": seen["began"]}
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


def test_signed_provenance_is_checked_against_a_policy(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://example.org/tiny.git")
    commit(machine)
    machine.build(*ONE, env=CI)

    def told(*argv: str) -> str:
        """Return what is said of a wheel that is not as demanded, on one line."""
        return " ".join(run(*argv, code=5).stdout.split())

    def run(*argv: str, code: int = 0, env: Mapping[str, str] | None = None) -> Said:
        return orchestrator(*argv, cwd=tmp_path, env={**machine.env, **(env or {})}, code=code)

    public = run("cache", "key", "new", "own.key").stdout.strip()
    other = run("cache", "key", "new", "other.key").stdout.strip()
    run("report", "dist", "--provenance", "signed", "--sign-with", "own.key")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (signed,) = (tmp_path / "signed").iterdir()
    assert signed.name == f"{wheel.name}.intoto.jsonl"
    text = (tmp_path / "own.key").read_text()
    run("report", "dist", "--provenance", "env", env={"ORCHESTRATOR_PROVENANCE_KEY": text})
    assert (tmp_path / "env" / signed.name).read_bytes() == signed.read_bytes()

    verify = ("verify", str(wheel), "--provenance", "signed", "--signer")
    demanded = (
        *("--repository", "https://example.org/tiny", "--ref", "refs/heads/main"),
        *("--workflow", "a/b/.github/workflows/w.yml@"),
    )
    assert f"{wheel.name}: ok\n" in run(*verify, public, *demanded).stdout
    unsigned = told(*verify, other)
    assert "error: provenance: signed/" in unsigned
    assert "is not signed by a key that is trusted here" in unsigned
    wanted = "its ref is refs/heads/main, and refs/tags/v1 is demanded"
    assert wanted in told(*verify, public, "--ref", "refs/tags/v1")
    run(*verify, other, "--rule", "provenance=warn")
    copied = tmp_path / "copy" / wheel.name
    copied.parent.mkdir()
    run("retag", str(wheel), "--build-tag", "7", "--output-dir", "copy")
    (tagged,) = copied.parent.iterdir()
    moved = ("verify", str(tagged), "--provenance", str(signed), "--signer", public)
    assert f"it is about {wheel.name}" in told(*moved)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("report", "dist", "--sign-with", "x"), "nothing is signed without --provenance"),
        (("report", "dist", "--provenance", "d", "--sign-with", "x"), "x: cannot be read"),
        (("verify", "a.whl", "--provenance", "."), "whose signature counts"),
        (("verify", "a.whl", "--provenance", ".", "--signer", "k"), "'k' is no public key"),
        (("verify", "a.whl", "--ref", "x"), "--ref: this is about provenance"),
        (("verify", "a.whl", "--ref", "", "--signer", KEY, "--provenance", "."), "--ref: an empty"),
        (
            ("verify", "a.whl", "--same", "--signer", KEY, "--provenance", "."),
            "compares two wheels",
        ),
    ],
)
def test_options_that_say_nothing_are_refused(
    tmp_path: Path, argv: tuple[str, ...], told: str
) -> None:
    (tmp_path / "a.whl").touch()
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/results.json").write_text(json.dumps({"schema": 1, "results": []}))
    assert told in orchestrator(*argv, cwd=tmp_path, code=2).stderr
