"""Options that several commands share; imports nothing heavy, so that --help is instant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.completion import channels, externals, rule_levels, target_ids
from orchestrator.cli.find_matrix import VARIABLE
from orchestrator.cli.help import OneOf
from orchestrator.cli.output import WORK_DIR
from orchestrator.config.verify_rules import RULES, parse_size
from orchestrator.errors import ConfigError, closest
from orchestrator.models.platforms import Arch
from orchestrator.models.target import BackendName, RuleLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = click.Path(path_type=Path, dir_okay=False)
FILE_OR_STDOUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
DIRECTORY = click.Path(path_type=Path, file_okay=False)
ARCH = OneOf([arch.value for arch in Arch])

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _group(*options: Decorator) -> Decorator:
    """Return several options as one decorator, in the order in which --help shows them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _external(names: Sequence[str]) -> tuple[str, ...]:
    """Return the soname globs of presets and names."""
    from orchestrator.models.external_libraries import resolve

    return resolve(names, where="--external") if names else ()


def _rule(text: str) -> tuple[str, RuleLevel]:
    rule, _, level = text.partition("=")
    if rule not in RULES:
        raise ConfigError.of(f"unknown rule {rule!r}", where="--rule", hint=closest(rule, RULES))
    if level not in set(RuleLevel):
        what, levels = f"{text!r}: unknown level {level!r}", ", ".join(RuleLevel)
        raise ConfigError.of(what, where="--rule", hint=f"one of {levels}")
    return rule, RuleLevel(level)


def copies_option(what: str) -> Decorator:
    """Return the option for the directory of what a command makes of wheels."""
    return click.option(
        "--output-dir",
        type=DIRECTORY,
        metavar="D",
        help=f"Directory of the {what}.  [default: that of the wheel]",
    )


def size_option(name: str, text: str, *, least: int = 1) -> Decorator:
    """Return an option whose value is a size in bytes."""

    def size(value: str) -> int:
        found = parse_size(value)
        if found is None or found < least:
            hint = "for instance 400MB or 1.5GiB"
            raise ConfigError.of(f"not a size: {value!r}", where=name, hint=hint)
        return found

    return click.option(name, metavar="SIZE", type=size, help=text)


def repeatable(names: str, metavar: str, text: str, **more: Any) -> Decorator:
    """Return an option that may be given several times; blanks separate its names."""
    options = {"multiple": True, "metavar": metavar, "help": f"{text} Repeatable.", **more}
    return click.option(*names.split(), **options)


def _matrix_option(more: str) -> Decorator:
    default = f"${VARIABLE}, else matrix.toml here or in a directory above{more}"
    text = f"Matrix file.  [default: {default}]"
    return click.option("--matrix", type=FILE, envvar=VARIABLE, metavar="FILE", help=text)


matrix_option = _matrix_option("")

optional_matrix_option = _matrix_option(", if there is one")

channel_option = click.option(
    "--channel",
    default="",
    metavar="NAME",
    shell_complete=channels,
    help="Channel to plan for: [channel.NAME] in the matrix.",
)

select_options = _group(
    repeatable(
        "--select",
        "EXPR",
        "Glob that matches target IDs, or an expression with axes such as "
        "'cuda>=13 & arch=aarch64 & !python=cp314t'.",
        shell_complete=target_ids,
    ),
    click.option("--shard", "part", metavar="I/N", help="Part I of N parts of about equal cost."),
)

plan_options = _group(matrix_option, channel_option, select_options)

target_options = _group(
    click.argument("target", shell_complete=target_ids), matrix_option, channel_option
)

report_options = _group(
    *(
        click.option(name, type=FILE_OR_STDOUT, metavar="FILE", help=f"{text}  [- is stdout]")
        for name, text in (
            ("--html", "Write one HTML page."),
            ("--junit", "Write JUnit XML for test viewers."),
            ("--markdown", "Write Markdown for a job summary or a comment."),
        )
    )
)

build_options = _group(
    click.option(
        "--locked",
        is_flag=True,
        envvar="ORCHESTRATOR_LOCKED",
        help="Install what `orchestrator lock` has locked for builds and tests, and nothing else.",
    ),
    click.option(
        "--backend",
        type=OneOf(["auto", *(backend.value for backend in BackendName)]),
        default="auto",
        show_default=True,
        help="auto: cibuildwheel if an engine and the image work, else direct.",
    ),
    click.option(
        "--output-dir",
        type=DIRECTORY,
        help="Directory of wheels and results.json.  [default: dist beside the matrix file]",
    ),
    click.option(
        "--work-dir",
        type=DIRECTORY,
        help="Directory of logs, rejected wheels and builds.  "
        f"[default: {WORK_DIR} beside the matrix file]",
    ),
    click.option(
        "--read-only-store", is_flag=True, help="Read the shared store, but do not write to it."
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show failures only."),
    report_options,
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON document with a schema."
)

wheels_argument = click.argument(
    "wheels",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="WHEEL...",
)

external_option = repeatable(
    "--external",
    "NAME",
    "Library that may stay outside the wheel: cuda, torch, rocm or a soname glob.",
    callback=lambda _context, _parameter, names: _external(names),
    shell_complete=externals,
)

rules_option = repeatable(
    "--rule rules",
    "NAME=LEVEL",
    "Set the level of a `verify` rule: error, warn or off.",
    type=_rule,
    shell_complete=rule_levels,
)
