"""Which matrix.toml a command takes if no option names one, and what it says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from tests.factories import edit
from tests.unit.cli import test_cli as commands
from tests.unit.cli.test_cli import IDS, Cli, check_refused

cli = commands.cli
VARIABLE = "ORCHESTRATOR_MATRIX"
ALL = "".join(f"{each}\n" for each in IDS)

pytestmark = pytest.mark.usefixtures("wide_terminal")


@pytest.fixture
def below(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory two levels below the matrix, in which commands run."""
    folder = cli.root / "src" / "deep"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_one_here_needs_no_word(cli: Cli) -> None:
    assert cli("plan", "--format=ids").err == ""


def test_one_above_is_taken_and_named(cli: Cli, below: Path) -> None:
    said = cli("plan", "--format=ids")

    assert (said.out, said.err) == (ALL, "using ../../matrix.toml\n")


def test_its_paths_start_where_it_is(cli: Cli, below: Path) -> None:
    """Its source is `src` beside it."""
    said = cli("explain", IDS[0])
    assert said.code == ExitCode.OK
    assert "../../matrix.toml:" in said.out, "a line of it is named as it is seen from here"

    edit(cli.root / "matrix.toml", '"s390x"', '"s390"')
    check_refused(cli("plan"), ExitCode.CONFIG, "../../matrix.toml:6: axes.arch[1]")


def test_the_nearest_one_counts(cli: Cli, below: Path) -> None:
    (below / "matrix.toml").write_text("[")

    check_refused(cli("plan"), ExitCode.CONFIG, "error: matrix.toml:1:2: not valid TOML")


@pytest.mark.parametrize("root", [".git", ".hg"])
@pytest.mark.parametrize("kind", ["directory", "file of a worktree or submodule"])
def test_the_search_ends_at_the_root_of_the_repository(
    cli: Cli, below: Path, root: str, kind: str
) -> None:
    mark = cli.root / "src" / root
    if kind == "directory":
        mark.mkdir()
    else:
        mark.write_text("gitdir: elsewhere\n")

    said = cli("plan")

    check_refused(said, ExitCode.CONFIG, f"no matrix.toml in {below}", f"up to {mark.parent}\n")
    mark.rename(cli.root / root)
    assert cli("plan").code == ExitCode.OK, "in the root itself it is found"


@pytest.mark.parametrize(
    "arguments",
    [("plan",), ("build",), ("explain", "x"), ("rebuild", "x"), ("coverage", "--index=https://x")],
)
def test_none_at_all_is_an_error_that_says_where_it_was_looked_for(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    (cli.root / "matrix.toml").unlink()
    (cli.root / ".git").mkdir()
    (cli.root / "src" / "pyproject.toml").unlink()

    said = cli(*arguments)

    check_refused(said, ExitCode.CONFIG, f"no matrix.toml in {cli.root}\n", "`orchestrator init`")
    assert "nor in" not in said.err
    assert "--matrix FILE" in said.err
    assert VARIABLE in said.err


def test_a_working_directory_that_is_gone_is_an_error(cli: Cli, below: Path) -> None:
    below.rmdir()

    check_refused(cli("plan"), ExitCode.CONFIG, "the working directory is gone")


def test_a_matrix_of_somebody_else_above_is_refused(
    cli: Cli, below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands would run as this user: anybody may write to /tmp."""
    real, theirs = Path.stat, cli.root / "matrix.toml"

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        if path != theirs:
            return found
        return os.stat_result((*found[:4], os.geteuid() + 1000, *found[5:10]))

    monkeypatch.setattr(Path, "stat", stat)

    check_refused(cli("plan"), ExitCode.CONFIG, "belongs to another user", "../../matrix.toml")
    assert cli("plan", "--format=ids", "--matrix=../../matrix.toml").out == ALL


# The variable


def test_the_variable_names_one_and_an_option_wins(
    cli: Cli, below: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cli.root / "other.toml"
    (cli.root / "matrix.toml").rename(other)
    monkeypatch.setenv(VARIABLE, str(other))

    said = cli("plan", "--format=ids")
    assert (said.out, said.err) == (ALL, f"using {other} (${VARIABLE})\n")

    said = cli("plan", "--matrix=gone.toml")
    check_refused(said, ExitCode.CONFIG, "gone.toml: No such file")


def test_the_variable_wins_over_the_search_and_may_be_wrong(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "gone.toml")
    check_refused(cli("plan"), ExitCode.CONFIG, "gone.toml: No such file")

    monkeypatch.setenv(VARIABLE, "")
    assert cli("plan", "--format=ids").out == ALL


# Commands that can do without one


@pytest.mark.parametrize("arguments", [("cache", "info"), ("doctor", "--json")])
def test_commands_that_need_none_take_one_above(
    cli: Cli, below: Path, arguments: tuple[str, ...]
) -> None:
    (cli.root / "matrix.toml").write_text("[")
    check_refused(cli(*arguments), ExitCode.CONFIG, "../../matrix.toml:1:2: not valid TOML")
    check_refused(cli(*arguments, "--matrix=gone.toml"), ExitCode.CONFIG, "gone.toml: No such file")


def test_verify_without_a_target_looks_for_none(cli: Cli, below: Path) -> None:
    (cli.root / "matrix.toml").write_text("[")
    (below / "demo-1.0-py3-none-any.whl").touch()

    assert "matrix.toml" not in cli("verify", "demo-1.0-py3-none-any.whl").err


# What others are told


@pytest.mark.parametrize("form", ["gitlab", "buildkite"])
def test_jobs_are_told_where_it_is_from_the_root_of_the_repository(
    cli: Cli, below: Path, form: str
) -> None:
    (cli.root / ".git").mkdir()
    place = cli.root / "packages"
    place.mkdir()
    (cli.root / "matrix.toml").rename(place / "matrix.toml")
    (cli.root / "src").rename(place / "src")
    os.chdir(place / "src")

    said = cli("plan", f"--format={form}")

    assert said.code == ExitCode.OK, said.err
    assert "packages/matrix.toml" in said.out
    assert "../" not in said.out


def test_a_workflow_is_told_so_too(cli: Cli, below: Path) -> None:
    (cli.root / ".git").mkdir()

    said = cli("github", "init", f"--uses=owner/name@{'0' * 40}", "--output=-", "--channel=")

    assert said.code == ExitCode.OK
    assert "../" not in said.out
