"""What messages, hints and documents say to type exists: each command, and each of its options."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import orchestrator
from orchestrator.cli import COMMANDS, cli
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(orchestrator.__file__).parent
NAMES = "|".join(COMMANDS)
QUOTED = re.compile(rf"(`+)(orchestrator [a-z][^`]*|(?:{NAMES}) [^`]*--[^`]*)\1")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the string literals of a module, docstrings too; {} stands for what is filled in."""
    tree = ast.parse(path.read_text("utf-8"))
    parts = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.lineno, node.value
        if isinstance(node, ast.JoinedStr):
            values = (str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
            yield node.lineno, "".join(values)


def quoted_commands() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in strings(path):
            for match in QUOTED.finditer(text):
                yield f"{path.relative_to(REPOSITORY)}:{line}", " ".join(match[2].split())
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))):
        for match in QUOTED.finditer(path.read_text("utf-8")):
            yield str(path.relative_to(REPOSITORY)), " ".join(match[2].split())


def options_of(command: click.Command) -> set[str]:
    """Return the options of a command, and those of its subcommands."""
    context = click.Context(command)
    options = {
        name
        for option in command.get_params(context)
        for name in (*option.opts, *option.secondary_opts)
    }
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            options |= options_of(command.get_command(context, name) or command)
    return options


def problem_of(text: str) -> str:
    """Return what is wrong with a command line; empty if nothing is."""
    command: click.Command = cli
    context = click.Context(command)
    words = text.removeprefix("orchestrator ").split()
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        # A table says `toolchain sync\|path`.
        found = [command.get_command(context, name) for name in words.pop(0).split("\\|")]
        if None in found:
            return "no such command"
        command = found[0] or command
    unknown = set(OPTION.findall(" ".join(words))) - options_of(command)
    return f"no such option: {', '.join(sorted(unknown))}" if unknown else ""


def test_quoted_commands_exist() -> None:
    commands = list(quoted_commands())

    assert len(commands) > 100
    assert [(*each, problem_of(each[1])) for each in commands if problem_of(each[1])] == []


def test_troubleshooting_is_about_messages_that_exist() -> None:
    """A heading quotes a part of a message, or a rule; those of other programs say ``from``."""
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
    told = [text for path in PACKAGE.rglob("*.py") for _, text in strings(path)]
    quoted = re.findall(r"(?m)^### `([^`]+)`$", page)

    assert len(quoted) > 12
    for message in quoted:
        pattern = ".*".join(map(re.escape, message.split("…")))
        assert any(re.search(pattern, text) for text in told), message


@pytest.mark.parametrize("room", ["cli", "config", "models", "plan", "publish", "report"])
def test_options_that_sentences_name_exist(room: str) -> None:
    """Other rooms also speak of the options of engines and of tools."""
    known = options_of(cli)
    wrong = [
        (str(path.relative_to(PACKAGE)), line, option)
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for line, text in strings(path)
        if " " in text
        for option in OPTION.findall(text)
        if option not in known
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("orchestrator plan --excluded", ""),
        ("orchestrator toolchain sync", ""),
        ("orchestrator doctor --fix", ""),
        ("build --keep-going -j 3", ""),
        ("orchestrator toolchain make", "no such command"),
        ("orchestrator plan --exclude", "no such option: --exclude"),
    ],
)
def test_wrong_commands_are_found(text: str, problem: str) -> None:
    assert problem_of(text) == problem
