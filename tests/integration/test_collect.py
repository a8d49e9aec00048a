"""A matrix that two machines build, one of which runs out of time, collected twice."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from orchestrator.report.schemas import json_schema
from tests.conftest import orchestrator, results
from tests.integration.test_store import IDS, MATRIX, Machine, one_source

A, B = IDS

LINE = len(MATRIX.splitlines()) + 1

OVERRIDE = """\
[[override]]
when = { kind = "b" }
env = { "HOSTILE" = "1" }
[override.build]
before-build = "echo '::error::no ##[error]no'"
"""


def test_what_one_machine_did_not_finish_is_built_by_its_next_run(tmp_path: Path) -> None:
    one, two = (Machine(tmp_path / name, MATRIX + OVERRIDE) for name in "12")
    one_source(one, two)
    planned = orchestrator("plan", "--format=json", cwd=one.root)
    (tmp_path / "plan.json").write_text(planned.stdout)
    jsonschema.validate(json.loads(planned.stdout), json_schema("plan"))
    one.build("--select", A)
    actions = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    one.slow.touch()

    stopped = two.build("--select", B, "--stop-after=0.1", code=1, env=actions)

    assert f"1 target not finished: stopped before the job's limit\n  {B}\n" in stopped.stderr
    assert "hint: run it again" in stopped.stderr
    found = results(two.root / "dist")[B]
    assert (found["status"], found["failure"]["kind"]) == ("cancelled", "out-of-time")
    collect = ("collect", one.root, two.root, "--plan=plan.json")
    lacking = orchestrator(*collect, cwd=tmp_path, env=actions, code=1)
    (error,) = [each for each in lacking.stderr.splitlines() if each.startswith("::")]
    assert error.startswith(f"::error file=matrix.toml,line={LINE},title={B}::out-of-time")
    assert B in (tmp_path / "summary.md").read_text()
    assert [each.name[:10] for each in (tmp_path / "dist").glob("*.whl")] == ["tiny-1.0+a"]

    one.slow.unlink()
    two.build("--select", B)
    orchestrator(*collect, cwd=tmp_path, code=0)

    assert len(list((tmp_path / "dist").glob("*.whl"))) == len(IDS)
    document = json.loads((tmp_path / "dist" / "results.json").read_text())
    jsonschema.validate(document, json_schema("results"))
    assert [each["status"] for each in document["results"]] == ["ok", "ok"]
