"""A plan of a source that git knows follows its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from orchestrator.errors import ExitCode
from orchestrator.models.result import Status
from orchestrator.models.target import TargetId
from orchestrator.report.schemas import json_schema
from tests.unit.cli.test_report import Played, run
from tests.unit.report.test_reports import BUILT, strict


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Played]:
    class Own(Played):
        pass

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.run.session.Session", Own)
    monkeypatch.setattr("orchestrator.run.inputs.open_host", lambda *_: None)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    (tmp_path / "dist").mkdir()
    (tmp_path / ".orchestrator").mkdir()
    (tmp_path / "matrix.toml").write_text(
        '[project]\nsource = "src"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'
    )
    Own.outcomes = (replace(BUILT, status=Status.OK, failure=None, target_id=TargetId("t")),)
    return Own


# The other documents have exactly the fields of their schemas, too


@pytest.mark.usefixtures("played")
def test_a_plan_follows_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--format=json") == ExitCode.OK

    document = json.loads(capsys.readouterr().out)
    assert len(document["targets"]) == 1
    jsonschema.validate(document, strict(json_schema("plan")))
