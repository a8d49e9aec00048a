"""A plan of a source that git knows follows its schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from orchestrator.errors import ExitCode
from orchestrator.report.schemas import json_schema
from tests.unit.cli import test_report
from tests.unit.report.test_reports import strict

played = test_report.played


@pytest.mark.usefixtures("played")
def test_a_plan_follows_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert test_report.run("plan", "--format=json") == ExitCode.OK

    document = json.loads(capsys.readouterr().out)
    assert len(document["targets"]) == 1
    jsonschema.validate(document, strict(json_schema("plan")))
