"""What messages, hints and documents say to type exists: each command, and each of its options."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

import orchestrator
from orchestrator.cli import COMMANDS, cli
from orchestrator.config import condition
from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.factories import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


# Hints: each thing in one that is to be typed is of a kind that is checked


def hint_texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may be; … stands for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(e.value) if isinstance(e, ast.Constant) else "…" for e in parts)
        case ast.BinOp(left=left, right=right):
            yield from (one + other for one in hint_texts(left) for other in hint_texts(right))
        case ast.IfExp(body=one, orelse=other):
            yield from (*hint_texts(one), *hint_texts(other))
        case ast.Tuple(elts=[*_, ast.Constant() as last]):  # beside what it is for
            yield from hint_texts(last)
        case ast.BoolOp(values=parts) | ast.Dict(values=parts) | ast.Tuple(elts=parts):
            yield from (text for each in parts for text in hint_texts(each))
        case ast.Subscript() | ast.Name() | ast.Call() | ast.Attribute():
            yield "…"


POSITIONS = {"_refuse": 1, "failure": 2, "warning": 2, "setup_hint": 2}
"""Function -> position of the hint among its arguments."""


def hints() -> Iterator[tuple[str, str]]:
    """Yield (place, text) of each hint of the package: arguments, and what hints are called."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        called = {
            keyword.value.id
            for keyword in ast.walk(tree)
            if isinstance(keyword, ast.keyword) and keyword.arg in HINTS
            if isinstance(keyword.value, ast.Name)
        }
        for node in ast.walk(tree):
            for value in hint_values(node, called):
                for text in hint_texts(value):
                    if text.strip("…; "):
                        yield f"{path.relative_to(PACKAGE)}:{value.lineno}", text


HINTS = {"hint", "fix"}


def hint_values(node: ast.AST, called: set[str]) -> Iterator[ast.expr]:
    match node:
        case ast.keyword(arg=name, value=value) if name in HINTS:
            yield value
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_hint(name, called):
            yield value
        case ast.AugAssign(target=ast.Name(id=name), value=value) if is_hint(name, called):
            yield value
        case ast.FunctionDef(name=name) if is_hint(name, set()):
            returns = (e for e in ast.walk(node) if isinstance(e, ast.Return))
            yield from (each.value for each in returns if each.value is not None)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in POSITIONS:
            yield from arguments[POSITIONS[name] :][:1]
        case ast.Call(func=ast.Attribute(attr="report"), args=[_, _, hint]):
            yield hint


def is_hint(name: str, called: set[str]) -> bool:
    return "hint" in name.lower() or name in called


def test_each_thing_to_type_in_a_hint_is_right() -> None:
    found = list(hints())

    assert len(found) > 300
    wrong = [(place, text, why) for place, text in found if (why := wrong_in(text))]
    assert not wrong, "\n".join(f"{place}: {text}\n    {why}" for place, text, why in wrong)


def wrong_command(match: re.Match[str]) -> str:
    text = match[1]
    words = text.split()
    if words[0] == "orchestrator":
        return problem_of(text)
    if words[:2] == ["apt-get", "install"]:
        lacking = {w for w in words[2:] if w not in PACKAGES and w[0] not in "-…"}
        return f"not one of PACKAGES: {lacking}" if lacking - {"bookworm-backports"} else ""
    if re.fullmatch(r"[\w-]+: \S+", text):  # of a workflow
        return ""
    return "" if words[0] in PROGRAMS or words[0].startswith("…") else "no program of PROGRAMS"


PROGRAMS = {
    *("apt-get", "dnf", "git", "podman", "docker", "systemctl", "usermod", "loginctl", "uv"),
    *("rustup", "rm", "echo", "python"),
}
PACKAGES = {
    *("podman", "runc", "uidmap", "mmdebstrap", "g++", "python3-pip", "python3-venv"),
    *("python…-dev", "python…-devel", "qemu-user-static", "binfmt-support", "ca-certificates"),
}
"""Of Debian, each looked up there; … is a version."""


SCHEMA = json.loads((REPOSITORY / "docs" / "matrix.schema.json").read_text("utf-8"))


def tables(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what a value may be, without references and unions."""
    yield schema
    if "$ref" in schema:
        yield from tables(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]])
    for each in (e for name in ("anyOf", "oneOf", "allOf") for e in schema.get(name, ())):
        yield from tables(each)


def has_key(keys: list[str], schema: dict[str, Any] = SCHEMA) -> bool:
    """Whether matrix.toml may have a dotted key; … is any name."""
    if not keys:
        return True
    key, *rest = keys
    for table in tables(schema):
        if "items" in table and has_key(keys, table["items"]):
            return True
        properties = table.get("properties", {})
        inner = [properties[key]] if key in properties else []
        more = table.get("additionalProperties")
        inner += [more] if isinstance(more, dict) else []
        inner += list(properties.values()) if key == "…" else []
        if any(has_key(rest, each) for each in inner) or (more is True and not properties):
            return True
    return False


ANY_KEY = set(re.findall(r'"([\w-]+)": \{', json.dumps(SCHEMA)))
FOREIGN = {
    *("tool.cibuildwheel", "containers.conf", "project.name", "build-system.requires", "engine"),
    "runtime",
}
"""Keys and tables of other files."""

FILES = re.compile(r"[\w-]*\.(toml|md|json|conf|py|log|txt|pypirc)")
MATRIX = 'axes.python = ["cp312"]\naxes.arch = ["x86_64"]\naxes.cuda = ["13.0"]\n'


def wrong_setting(match: re.Match[str]) -> str:
    """Check a key, and its value as matrix.toml takes it."""
    key, values = match[1], re.findall(VALUE, match[2])
    if key in FOREIGN:
        return ""
    if "." not in key:
        return "" if key in {*ANY_KEY, "os", "arch", "libc", "…"} else "no key of matrix.toml"
    if not has_key(key.split(".")):
        return "no key of matrix.toml"
    for value in values:
        if "…" not in key + value:
            try:
                load(f"{MATRIX}{key} = {value}".encode(), facts=FACTS)
            except ConfigError as error:
                return str(error)
    return ""


def wrong_key(match: re.Match[str]) -> str:
    key = match[1].removeprefix("…")
    known = key in FOREIGN or FILES.fullmatch(key) or has_key(key.split("."))
    return "" if known or key in ANY_KEY else "no key or table of matrix.toml"


def wrong_page(match: re.Match[str]) -> str:
    page = REPOSITORY / match[1]
    if not page.is_file():
        return "no such page"
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    return "" if match[2] is None or match[2][1:] in anchors else "no such heading"


def wrong_option(match: re.Match[str]) -> str:
    return "" if match[0] in {*options_of(cli), "-j"} else "no option"


def wrong_variable(match: re.Match[str]) -> str:
    """A variable of a hint is read by the code, or told of in the docs."""
    name = match[1] or "FILE"
    return "" if name in KNOWN_VARIABLES or name in PLACEHOLDERS else "no variable"


PLACEHOLDERS = {"FILE", "NAME", "OWNER", "COMMIT", "DIR"}


def known_variables() -> set[str]:
    told = {text for _, text in hints()}
    code = {text for path in PACKAGE.rglob("*.py") for _, text in strings(path)} - told
    page = (REPOSITORY / "docs" / "reference" / "environment.md").read_text("utf-8")
    return {
        *re.findall(r"`([A-Z][A-Z0-9_]+)`", page),
        *(word for text in code if " " not in text for word in re.findall(VARIABLE, text)),
        *("MAX_JOBS", "CC_FOR_BUILD"),  # of other build systems
        *("CAP_SYS_RESOURCE", "AWS_REGION"),
    }


def wrong_quoted(match: re.Match[str]) -> str:
    """Check what looks like an expression of --select or `when`."""
    text = match[1]
    if not re.search(r"\w *(=|<|>)|&|!", text) or re.fullmatch(r"[<>=!].*|\{.*", text):
        return ""
    try:
        condition.parse(text, where="hint")
    except ConfigError as error:
        return str(error)
    return ""


VARIABLE = r"\$…|\$?\{?\b([A-Z][A-Z0-9]*_[A-Z0-9_]+|PATH|USER)\b\}?"
VALUE = r"\"[^\"]*\"|'[^']*'|\[[^\[\]]*\]|\{[^{}]*\}|true|false|\d+|…"
KEY = r"[a-z…][\w…-]*(?:\.[\w…-]+)*"

CHECKS: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"`([^`]+)`", wrong_command),
    (r"(docs/[\w/-]+\.md)(#[\w-]+)?", wrong_page),
    (r"\w+://[\w./…-]*", lambda _: ""),
    (r"\b\w+==[\w.]+", lambda _: ""),  # a requirement
    (r"cmake_\w+\([^)]*\)|binfmt_misc|default_ulimits", lambda _: ""),
    (rf"(?<![\w.…-])({KEY}) = ((?:{VALUE})(?:,? or (?:{VALUE}))*)", wrong_setting),
    (r"(?:[\w-]+=)?'([^']*)'", wrong_quoted),
    (r'"([^"]*)"', lambda _: ""),
    (rf"\[\[?({KEY})\]\]?", wrong_key),
    (r"(?<![\w-])--?[a-z][a-z-]*", wrong_option),
    (VARIABLE, wrong_variable),
    (r"(?<![\w./…-])([a-z][\w-]*\.[\w.…-]*[\w…]|\.pypirc)", wrong_key),
]
"""What is to be typed, and what is wrong with it; in this order."""

CODE = re.compile(r"[`\[\]{}=$|]|\b[a-z]+_[a-z_]+\b|\w::\w")
"""What nobody writes in a sentence."""


KNOWN_VARIABLES = known_variables()


def wrong_in(hint: str) -> str:
    """Return what a hint says to type that is wrong, or that nobody checks; empty for nothing."""
    rest = re.sub(r"\{[a-z_.…]*\}", "…", hint)
    for pattern, problem in CHECKS:
        for match in re.finditer(pattern, rest):
            if why := problem(match):
                return f"{match[0]}: {why}"
        rest = re.sub(pattern, " ", rest)
    left = CODE.search(rest)
    return "" if left is None else f"{left[0]}: of no kind that is checked"


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
