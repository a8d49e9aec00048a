"""The playground's planner says what the command line says; here it runs without a browser."""

from __future__ import annotations

import json
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import orchestrator.cli
from orchestrator.cli.workspace import open_workspace
from orchestrator.report import plans
from orchestrator.report.explanation import text as text_of
from tests.conftest import REPOSITORY
from tests.factories import cases

PAGE = REPOSITORY / "docs/playground"
PYPROJECT = '[project]\nname = "demo"\nversion = "1.0"\n'
MATRIX = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\ncuda = ["12.4", "13.0"]\n'
MATRICES = (
    *(REPOSITORY / "examples").glob("matrices/*.toml"),
    REPOSITORY / "examples/versions/vllm/matrix.toml",
    REPOSITORY / "matrix.toml",
)
WRONG = cases(str(REPOSITORY / "tests/unit/config/test_config.py"), "wrong.toml")


def load_planner() -> ModuleType:
    spec = spec_from_file_location("playground_planner", PAGE / "planner.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


PLANNER = load_planner()


def planned(text: str, **fields: Any) -> dict[str, Any]:
    asked = {"text": text, "name": "demo", "version": "1.0", **fields}
    answer: dict[str, Any] = json.loads(PLANNER.plan(json.dumps(asked)))
    return answer


def explained(target: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(PLANNER.explain(target))
    return answer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", MATRICES, ids=lambda file: file.stem)
def test_it_plans_what_the_command_line_plans(file: Path, project: Path) -> None:
    text = file.read_text("utf-8")
    source = tomllib.loads(text).get("project", {}).get("source", ".")
    text = text.replace(f'source = "{source}"', 'source = "."')
    (project / "matrix.toml").write_text(text, encoding="utf-8")

    answer = planned(text, answers={"scm": ""}, version="" if "scm" in text else "1.0")
    plan = open_workspace(Path("matrix.toml")).plan

    assert answer["errors"] == []
    assert answer["ids"] == list(plan.ids)
    assert answer["table"] == plans.table(plan)
    cells = [cell for row in answer["grid"]["rows"] for cell in row["cells"]]
    assert sum("id" in cell for cell in cells) == sum(
        len(each.covers) for each in plan.everything if each.python
    )
    assert sum(each["count"] for each in answer["excluded"]) == len(plan.exclusions)


@pytest.mark.usefixtures("wide_terminal")
@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_its_errors_are_those_of_the_command_line(
    case: dict[str, str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = case["toml"] if case["where"] == "axes" else MATRIX + case["toml"]
    (project / "matrix.toml").write_text(text, encoding="utf-8")

    answer = planned(text)
    orchestrator.cli.run(["plan"])

    assert "".join(f"{each['text']}\n" for each in answer["errors"]) == capsys.readouterr().err
    for each in answer["errors"]:
        assert each["line"] is None or f"matrix.toml:{each['line']}: " in each["text"]


@pytest.mark.usefixtures("wide_terminal")
def test_what_is_no_toml_is_an_error_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "matrix.toml").write_text("[axes\n")

    (error,) = planned("[axes\n")["errors"]
    orchestrator.cli.run(["plan"])

    assert f"{error['text']}\n" == capsys.readouterr().err


def test_it_explains_what_the_command_line_explains(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.host.emulation.platform.machine", lambda: "x86_64")
    text = MATRIX + '[version]\nlocal = "cu{cuda|nodot}"\n[env]\nA = "{cuda}"\n'
    (project / "matrix.toml").write_text(text, encoding="utf-8")
    target = "cp312-manylinux_x86_64-13.0"

    planned(text)
    rows = explained(target)["rows"]
    assert orchestrator.cli.run(["explain", target, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["rows"]

    shown = [(each["what"], as_text(each), each["origin"], each["line"]) for each in printed]
    assert len(rows) > 20
    for row in rows:
        if "SOURCE_DATE_EPOCH" not in row["value"]:
            assert (row["what"].strip(), row["value"], row["origin"], row["line"]) in shown
    missing = {each["what"] for each in printed} - {each["what"].strip() for each in rows}
    assert missing >= {each.strip() for each in PLANNER.NOT_HERE}


def as_text(row: dict[str, Any]) -> str:
    value = row["value"]
    return text_of(tuple(value) if isinstance(value, list) else value, row["note"])


def test_a_target_that_is_not_there_and_one_without_a_version() -> None:
    planned(MATRIX + '[env]\nA = "{cuda}"\n[version]\nbase = "scm"\n', version="")
    (error,) = explained("cp312-manylinux_x86_64-12.4")["errors"]
    assert "known only to setuptools-scm" in error["text"]

    (error,) = explained("cp312-manylinux_x86_64-12.5")["errors"]
    assert "did you mean 'cp312-manylinux_x86_64-12.4'?" in error["text"]


SOURCES = """
[version]
base = "file:version.txt"
local = "{nv}.{cu}.{cuda|nodot}"
[version.parts]
nv = ["env:NV", "const:"]
cu = "container-env:CUDA_VERSION"
"""


def test_the_reader_says_what_the_version_s_sources_say() -> None:
    first = planned(MATRIX + SOURCES)
    assert first["sources"] == [
        ["file:version.txt", "1.0"],
        ["env:NV", ""],
        ["container-env:CUDA_VERSION", ""],
    ]
    assert any("container-env:CUDA_VERSION" in note for note in first["notes"])

    answers = {"file:version.txt": "", "env:NV": "26.4", "container-env:CUDA_VERSION": "13"}
    second = planned(MATRIX + SOURCES, answers=answers)

    assert second["notes"] == []
    assert "1.0+26.4.13.124" in second["table"]


def test_a_requirement_names_its_own_version() -> None:
    answer = planned('[project]\nsource = "flash-attn==2.8.3"\n' + MATRIX)
    assert "2.8.3" in answer["table"]

    (error,) = planned('[project]\nsource = "flash-attn==2.*"\n' + MATRIX)["errors"]
    assert error["text"].startswith("error: ")


def test_channels_are_offered_and_one_that_is_gone_is_none() -> None:
    text = MATRIX + '[channel.nightly.version]\ndev = "const:3"\n'
    assert planned(text)["channels"] == ["nightly"]
    assert "1.0.dev3" in planned(text, channel="nightly")["table"]
    assert "dev3" not in planned(text, channel="weekly")["table"]


def test_a_project_does_not_support_all_pythons() -> None:
    text = MATRIX.replace('"cp312"', '"cp312", "cp313"')
    answer = planned(text, pythons=">=3.13")

    assert [each["reason"] for each in answer["excluded"]] == ["the project requires Python >=3.13"]
    assert planned(text, pythons=">=3.")["excluded"] == []  # it is still being written


def test_a_table_in_a_file_is_not_read() -> None:
    text = MATRIX + 'torch = ["2.8.0"]\n[compat]\nfile = "ours.toml"\nallow = ["cuda 13.0"]\n'
    answer = planned(text)

    assert "ours.toml is not here: the built-in torch table is used" in answer["notes"]


def test_secrets_are_not_shown() -> None:
    planned(MATRIX + '[indexes]\ntorch = "https://me:password@example.org/simple"\n')

    assert "password" not in json.dumps(explained("cp312-manylinux_x86_64-12.4"))
