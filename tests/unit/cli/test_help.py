"""What helps somebody who types: examples that work, and what a wrong word was meant to be."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator import __version__
from orchestrator.cli import COMMANDS, cli
from orchestrator.errors import ExitCode
from orchestrator.provision import toolchain
from tests.unit.cli import test_cli as commands
from tests.unit.cli.test_cli import Cli, check_refused

cli_fixture = commands.cli


def leaves(command: click.Command = cli, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, *words, name)


LEAVES = dict(leaves())


def examples_of(command: click.Command) -> list[str]:
    return re.findall(r"(?m)^  (.+)$", command.epilog or "")


def parse(line: str) -> None:
    """Parse a command line as the program does, with the files that it names; run nothing."""
    words = [word.replace("*", "x") for word in shlex.split(line) if not word.startswith(">")]
    for word in words:
        if word.endswith((".whl", ".json")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif word in {"dist", "jobs", "wheels"}:
            Path(word).mkdir(exist_ok=True)
    assert words.pop(0) == "orchestrator"
    command: click.Command = cli
    context = None
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    context = command.make_context("orchestrator", words)
    context.close()


@pytest.mark.parametrize("name", LEAVES)
def test_each_command_has_examples_and_each_example_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = examples_of(LEAVES[name])

    assert lines
    for line in lines:
        assert line.startswith(f"orchestrator {name}")
        assert len(line) <= 76, "it fits a terminal"
        parse(line)


def test_an_example_that_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ("orchestrator plan --formt json", "orchestrator build --backend magic"):
        with pytest.raises(click.UsageError):
            parse(line)


def test_help_shows_them_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["plan", "--help"], "orchestrator", standalone_mode=False)

    lines = capsys.readouterr().out.splitlines()
    assert {f"    {line}" for line in examples_of(LEAVES["plan"])} <= set(lines)


# Wrong words


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("bild", "did you mean 'build'?"),
        ("pln", "did you mean 'plan'?"),
        ("zzz", f"known: {min(COMMANDS)}"),
        ("toolchain snyc", "did you mean 'sync'?"),
        ("cache key nwe", "did you mean 'new'?"),
        ("plan --exclude", "mean '--excluded'?"),
        ("build --selct x", "'--select'"),
        ("--verison", "mean '--version'?"),
        ("plan --format jsno", "mean 'json'?"),
        ("build --backend driect", "mean 'direct'?"),
        ("coverage --index x --format markdwon", "mean 'markdown'?"),
        ("schema reslts", "mean 'results'?"),
        ("toolchain path auditweel", "mean 'auditwheel'?"),
        ("toolchain download d --arch arch64", "mean 'aarch64'?"),
        ("image build trixie arch64", "mean 'aarch64'?"),
        ("plan --channel nigtly", "mean 'nightly'?"),
        ("explain cp311-manylinux_x86_64-cu12", "mean 'cp311-manylinux_x86_64-cu126'?"),
    ],
)
def test_what_a_wrong_word_was_meant_to_be_is_said(cli_fixture: Cli, line: str, meant: str) -> None:
    cli_fixture.write(f"{commands.MATRIX}\n[channel.nightly]\n")

    check_refused(cli_fixture(*line.split()), ExitCode.CONFIG, meant)


@pytest.mark.parametrize("rule", ["page-aligment=error", "page-alignment=eror"])
def test_of_a_rule_and_its_level_too(cli_fixture: Cli, rule: str) -> None:
    (cli_fixture.root / "x.whl").touch()

    said = cli_fixture("verify", "x.whl", "--rule", rule)

    check_refused(said, ExitCode.CONFIG, "--rule", "error")


# The version


def test_the_version_is_ours_and_that_of_each_locked_tool(cli_fixture: Cli) -> None:
    """The fixture lets nobody make the toolchain."""
    said = cli_fixture("--version")

    assert said.code == ExitCode.OK
    first, *tools = said.out.splitlines()
    assert first == f"orchestrator {__version__}"
    lock = toolchain.lock_text().decode()
    assert {"auditwheel", "cibuildwheel", "uv"} <= {line.split()[0] for line in tools}
    for line in tools:
        name, version = line.split()
        assert f"\n{name}=={version} " in f"\n{lock}"
