"""The forms a plan comes in, shell completion, and the schema of matrix.toml."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest
from click.shell_completion import BashComplete

from orchestrator.cli import cli
from orchestrator.config.load import load
from orchestrator.config.schema import json_schema, reference
from orchestrator.errors import ConfigError, ExitCode
from orchestrator.models.target import VersionAnswer
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext
from orchestrator.report import schemas
from tests.conftest import REPOSITORY, Said, orchestrator, ran
from tests.factories import FACTS
from tests.unit.cli import test_report
from tests.unit.report.test_reports import strict

MATRIX = """\
[project]
source = "."
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64", "aarch64"]
libc = ["manylinux", "musllinux"]
cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}" }
[[exclude]]
when = "libc=musllinux & arch=aarch64"
reason = "a | b"
[[exclude]]
when = { python = "cp312", libc = "musllinux" }
[version]
base = "1.0"
local = "cu{cuda|nodot}"
[channel.nightly]
axes.cuda = ["13.0"]
"""


COMPLETE = BashComplete(cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE")


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(MATRIX, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\n", encoding="utf-8")
    return path


def said(*arguments: str | Path, cwd: Path) -> str:
    return orchestrator(*arguments, cwd=cwd, code=0).stdout


def test_the_table_ends_with_a_grid_and_the_rules(matrix: Path) -> None:
    assert said("plan", cwd=matrix.parent).splitlines()[-9:] == [
        "",
        "variant  cp311  cp312",
        "12.6     xaX    xa",
        "13.0     xaX    xa",
        "x manylinux_x86_64  a manylinux_aarch64  X musllinux_x86_64",
        "",
        "10 targets, 6 cells excluded",
        "  exclude[0]: 4 cells: a | b",
        "  exclude[1]: 2 cells: libc is musllinux, python is cp312",
    ]


def test_exclusions_are_grouped_by_rule_with_counts(matrix: Path) -> None:
    lines = said("plan", "--excluded", cwd=matrix.parent).splitlines()
    assert lines[:3] == [
        "6 cells excluded",
        "exclude[0]: 4 cells: a | b",
        "    python       cp311 cp312",
    ]


def test_markdown_has_the_grid_and_escapes_what_would_break_a_table(matrix: Path) -> None:
    text = said("plan", "--format", "markdown", cwd=matrix.parent)
    assert "| variant | cp311 | cp312 |\n|---|---|---|\n| 12.6 | xaX | xa |" in text
    assert r"- exclude\[0\]\: 4 cells\: a \| b" in text
    assert text.count("\n| `cp31") == 10
    assert "more:" not in text


def test_markdown_of_a_large_plan_fits_into_a_job_summary(tmp_path: Path) -> None:
    values = ", ".join(f'"{number}"' for number in range(6000))
    (tmp_path / "matrix.toml").write_text(
        '[project]\nsource = "demo==1.0"\n[version]\nbase = "1.0"\nlocal = "k{kind}"\n'
        f'[axes]\npython = ["cp312"]\narch = ["x86_64"]\nkind = [{values}]\n'
        '[env]\nKIND = "{kind}"\n'
    )
    text = said("plan", "--format", "markdown", cwd=tmp_path)
    assert text.count("\n| `cp312-") == 2000
    assert "and 4000 more: `plan --format ids` has them all" in text
    assert len(text.encode()) < 1024 * 1024


def test_the_github_matrix_is_one_line_of_json(matrix: Path) -> None:
    text = said("plan", "--format", "github", cwd=matrix.parent)
    assert text.count("\n") == 1
    jobs = json.loads(text)["include"]
    assert len(jobs) == 10
    assert jobs[0] == {
        "job": "01",
        "name": "cp311-manylinux_x86_64-cu126",
        "runner": ["ubuntu-24.04"],
        "qemu": "",
        "targets": 1,
        "cost": 1.0,
    }


def test_channels_and_selections_are_options_of_every_command(matrix: Path) -> None:
    select = ("--channel", "nightly", "--select", "python=cp312 & arch=x86_64")
    chosen = said("plan", *select, "--format", "ids", cwd=matrix.parent)
    assert chosen.split() == ["cp312-manylinux_x86_64-cu130"]


@pytest.mark.parametrize(
    ("arguments", "incomplete", "completions"),
    [
        (["plan", "--select"], "cp312-manylinux_a", ["cu126", "cu130"]),
        (["explain"], "cp311-musl", ["cu126", "cu130"]),
        (["rebuild"], "cp39", []),
        (["plan", "--channel"], "n", ["nightly"]),
    ],
)
def test_the_shell_completes_ids_and_channels(
    matrix: Path, arguments: list[str], incomplete: str, completions: list[str]
) -> None:
    words = [*arguments[:1], "--matrix", str(matrix), *arguments[1:]]
    found = [each.value for each in COMPLETE.get_completions(words, incomplete)]
    assert [each.rpartition("-")[2] for each in found] == completions


def test_completion_of_a_wrong_matrix_says_nothing(matrix: Path) -> None:
    matrix.write_text("[")
    words = ["plan", "--matrix", str(matrix), "--select"]
    assert COMPLETE.get_completions(words, "cp") == []


# The schema


def test_the_docs_are_those_of_the_model() -> None:
    docs = REPOSITORY / "docs"
    again = "run python tools/reference.py"
    assert (docs / "reference/options.md").read_text("utf-8") == reference(), again
    written = (docs / "matrix.schema.json").read_text("utf-8")
    assert written == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", again


def test_schema_prints_what_the_docs_hold(tmp_path: Path) -> None:
    assert json.loads(said("schema", cwd=tmp_path)) == json_schema()


def lint(*files: Path) -> Said:
    """Ask taplo, which VS Code's TOML extension is built on as well."""
    schema = (REPOSITORY / "docs" / "matrix.schema.json").as_uri()
    return ran(Path(sys.executable).parent / "taplo", "lint", "--schema", schema, *files)


def test_editors_take_every_matrix_of_this_repository() -> None:
    files = [REPOSITORY / "matrix.toml", *sorted((REPOSITORY / "examples").rglob("*.toml"))]
    matrices = [each for each in files if "[axes" in each.read_text("utf-8")]
    assert len(matrices) > 6
    found = lint(*matrices)
    assert found.code == 0, found.all


@pytest.mark.parametrize(
    "line",
    [
        "[buidl]",
        '[engine]\nname = "dcker"',
        "[[exclude]]",
        "[[rows]]\naxes = 1",
        "[build]\ntimeout = '1'",
        "[[override]]\nwhen = { cuda = 1.5 }",
    ],
)
def test_editors_and_the_program_refuse_the_same(line: str, tmp_path: Path) -> None:
    text = MATRIX + line + "\n"
    (tmp_path / "matrix.toml").write_text(text)
    assert lint(tmp_path / "matrix.toml").code != 0
    with pytest.raises(ConfigError):
        load(text.encode(), facts=FACTS)


played = test_report.played


@pytest.mark.usefixtures("played")
def test_a_plan_of_a_source_that_git_knows_follows_its_schema(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert test_report.run("plan", "--format=json") == ExitCode.OK

    document = json.loads(capsys.readouterr().out)
    assert len(document["targets"]) == 1
    jsonschema.validate(document, strict(schemas.json_schema("plan")))


# What IDs, keys and selections depend on


def test_ids_are_the_same_before_and_after_a_version_is_known(tmp_path: Path) -> None:
    text = MATRIX.replace('base = "1.0"', 'base = ["container-env:V"]')
    text += '[[override]]\nwhen = { libc = "manylinux" }\nbuild = { abi3 = "cp310" }\n'
    settings = load(text.encode(), facts=FACTS)
    before = make_plan(settings, facts=FACTS, outside=VersionContext())
    answers = {
        question: VersionAnswer(source=question.source, value="2.0")
        for each in before.undetermined
        for question in each.questions
    }
    after = make_plan(settings, facts=FACTS, outside=VersionContext(answers=answers))

    assert (before.targets, after.undetermined) == ((), ())
    assert before.ids == after.ids
    assert "abi3-cp310-manylinux_x86_64-cu126" in before.ids
    assert [each.covers for each in before.undetermined] == [e.covers for e in after.targets]


def test_a_comment_in_the_matrix_changes_no_key(tmp_path: Path) -> None:
    project = '[build-system]\nrequires = []\nbuild-backend = "x"\n[project]\nname = "p"\n'
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "matrix.toml").write_text(MATRIX.replace('source = "demo==1.0"', 'source = "."'))
    before = said("plan", "--format", "json", cwd=tmp_path)
    with (tmp_path / "matrix.toml").open("a") as stream:
        stream.write("# a comment\n")
    assert said("plan", "--format", "json", cwd=tmp_path) == before
    (tmp_path / "pyproject.toml").write_text(f"{project}# a comment\n")
    assert said("plan", "--format", "json", cwd=tmp_path) != before


def test_a_value_to_omit_that_no_cell_has_is_an_error() -> None:
    text = MATRIX.replace('base = "1.0"', 'base = "1.0"\nomit = { cuda = "13.O" }')
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), facts=FACTS)
    (problem,) = caught.value.problems
    assert problem.where == "version.omit.cuda"
    assert "13.0" in problem.hint


def test_a_selection_holds_for_what_is_excluded_too(matrix: Path) -> None:
    text = said("plan", "--excluded", "--select", "arch=x86_64", cwd=matrix.parent)
    assert text.splitlines()[0] == "2 cells excluded"
