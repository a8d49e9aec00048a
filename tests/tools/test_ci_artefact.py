"""`plan --save`, `build --plan --job`: a job builds what the plan says, or says what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from tests.conftest import Said

PROJECT = '[build-system]\nrequires = []\nbuild-backend = "x"\n[project]\nname = "p"\n'
MATRIX = """\
[project]
source = "."
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64"]
[version]
base = ["env:DEMO_VERSION", "const:1.0"]
inject = { V = "{version}" }
[env]
TOKEN = "pass:word@x"
[test]
command = "true"
"""
BUILD = ("build", "--plan", "plan.json", "--job", "02")


Cli = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return Said(code=int(code), stdout=said.out, stderr=said.err)

    return call


@pytest.fixture
def saved(tmp_path: Path, cli: Cli) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    said = cli("plan", "--save", "plan.json", "--format", "github")
    assert said.code == 0, said.all
    assert [each["job"] for each in json.loads(said.stdout)["include"]] == ["01", "02"]
    return tmp_path


def test_the_saved_plan_is_the_json_one_wherever_it_lies(cli: Cli, saved: Path) -> None:
    once_more = cli("plan", "--save", "plan.json", "--format", "json")
    elsewhere = cli("plan", "--save", "../plan.json")

    assert once_more.code == elsewhere.code == 0
    assert (saved / "plan.json").read_text() == once_more.stdout
    (saved / "plan.json").unlink()
    assert cli("plan", "--format", "json").stdout == once_more.stdout


@pytest.mark.parametrize(
    ("change", "env", "said"),
    [
        (
            lambda place: (place / "pyproject.toml").write_text(f"{PROJECT}# more\n"),
            {},
            ["plan.json: the source differs: '", "in the plan", "hint: check out the same commit"],
        ),
        (
            None,
            {"DEMO_VERSION": "2.0"},
            [
                'cp312-manylinux_x86_64: version differs: "1.0" in the plan, "2.0" here',
                'cp312-manylinux_x86_64: V differs: "1.0" in the plan, "2.0" here',
            ],
        ),
        (
            lambda place: (place / "matrix.toml").write_text(MATRIX.replace('"true"', '"false"')),
            {},
            ["cp312-manylinux_x86_64: a command, a pin or another setting of matrix.toml"],
        ),
        (
            lambda place: (place / "matrix.toml").write_text(MATRIX.replace(', "cp312"', "")),
            {},
            ["cp312-manylinux_x86_64 is in the plan, but not in matrix.toml"],
        ),
    ],
)
def test_what_differs_from_the_plan_is_said_and_nothing_is_built(
    cli: Cli, saved: Path, change: Any, env: dict[str, str], said: list[str]
) -> None:
    if change is not None:
        change(saved)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        found = cli(*BUILD)

    assert found.code == 2, found.all
    for text in said:
        assert text in found.stderr
    assert "cp311" not in found.stderr, "another job's"
    assert not (saved / "dist").exists()


def test_what_differs_for_many_is_said_once(
    cli: Cli, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("plan", "--save", "plan.json", "--max-jobs", "1")
    assert said.code == 0
    monkeypatch.setenv("DEMO_VERSION", "2.0")
    found = cli("build", "--plan", "plan.json", "--job", "01")

    both = "cp311-manylinux_x86_64, cp312-manylinux_x86_64"
    assert found.stderr.count("error: ") == 2
    assert f'{both}: version differs: "1.0" in the plan, "2.0" here' in found.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plan", "plan.json"), "--plan and --job belong together"),
        (("--job", "01"), "--plan and --job belong together"),
        (("--plan", "plan.json", "--job", "3"), "there is no job '3' in plan.json, which has 2"),
        (("--plan", "matrix.toml", "--job", "01"), "matrix.toml: not a JSON document"),
        (("--plan", "gone.json", "--job", "01"), "`orchestrator plan --save FILE` writes one"),
        (("--plan", "plan.json", "--job", "01", "--select", "*"), "--select: --plan already says"),
        (
            ("--plan", "plan.json", "--job", "01", "--channel", "x"),
            "--channel: --plan already says",
        ),
    ],
)
def test_wrong_options_are_refused(
    cli: Cli, saved: Path, options: tuple[str, ...], said: str
) -> None:
    found = cli("build", *options)

    assert found.code == 2, found.all
    assert said in found.stderr


def test_a_plan_that_cannot_be_written_is_an_error_of_the_machine(cli: Cli, saved: Path) -> None:
    found = cli("plan", "--save", "no/plan.json")

    assert (found.code, found.stdout) == (4, "")
    assert "no/plan.json: No such file or directory" in found.stderr


def test_earlier_results_that_are_not_there_are_an_error(cli: Cli, saved: Path) -> None:
    found = cli("plan", "--format", "github", "--results", "no.json")

    assert (found.code, found.stdout) == (2, "")
    assert "no.json: No such file or directory" in found.stderr


def test_github_init_writes_a_caller_and_overwrites_nothing_unasked(cli: Cli, saved: Path) -> None:
    uses = f"owner/orchestrator@{'a' * 40}"
    made = cli("github", "init", "--uses", uses)
    path = saved / ".github/workflows/wheels.yml"
    text = path.read_text()
    again = cli("github", "init", "--uses", uses, "--publish", "pypi")

    assert (made.code, made.stdout) == (0, "")
    assert len(text.splitlines()) == 14
    assert f"uses: owner/orchestrator/.github/workflows/build-wheels.yml@{'a' * 40}" in text
    assert again.code == 2
    assert "it already exists\n  hint: --force overwrites it" in again.stderr
    assert path.read_text() == text
    assert cli("github", "init", "--uses", uses, "--publish", "pypi", "--force").code == 0
    assert (
        path.read_text()
        == cli(*("github", "init", "--uses", uses, "--publish", "pypi", "--output", "-")).stdout
    )
    assert '--to "$TO"\n        env:\n          TO: "pypi"\n' in path.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "was not installed from a commit on GitHub"),
        (("--uses", "owner/orchestrator@v1"), "--uses: 'owner/orchestrator@v1' is not OWNER"),
        (("--uses", f"o/r@{'a' * 40}", "--channel", "x"), "unknown channel 'x'"),
        (("--uses", f"o/r@{'a' * 40}", "--matrix", "gone.toml"), "gone.toml: No such file"),
    ],
)
def test_github_init_writes_nothing_that_could_not_run(
    cli: Cli, saved: Path, options: tuple[str, ...], said: str
) -> None:
    found = cli("github", "init", *options)

    assert (found.code, found.stdout) == (2, "")
    assert said in found.stderr
    assert not (saved / ".github").exists()
