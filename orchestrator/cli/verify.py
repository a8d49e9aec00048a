"""``orchestrator verify``."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import click

from orchestrator.cli.inspect import WHEELS, external_option, printable
from orchestrator.errors import BadWheelError, ConfigError, ExitCode
from orchestrator.models import Demands, Finding, Level, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.host.checks import Checker
    from orchestrator.wheel import Difference, Policies

SHOWN = 20
"""Differences of one kind that are listed."""

PAIR = 2


@click.command("verify")
@WHEELS
@external_option
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME=LEVEL",
    help="Make a rule count as error, warn or off.",
)
@click.option("--size-budget", metavar="SIZE", help="The most a wheel may have: 400MB, 1.5GiB.")
@click.option(
    "--required", multiple=True, metavar="GLOB", help="Glob that at least one member must match."
)
@click.option(
    "--build-path", "build_paths", multiple=True, metavar="TEXT", help="Text no member may contain."
)
@click.option("--same", is_flag=True, help="Say what differs between two wheels instead.")
def command(  # noqa: PLR0913, PLR0917 - one for each option
    wheels: Sequence[Path],
    external: Sequence[str],
    rules: Sequence[str],
    size_budget: str | None,
    required: Sequence[str],
    build_paths: Sequence[str],
    *,
    same: bool,
) -> int:
    """Check that each WHEEL is what it says; exit 5 if not."""
    if same:
        return _same(wheels)
    demands = Demands(
        levels=tuple(map(_level, rules)),
        size_budget=None if size_budget is None else _size(size_budget),
        required=tuple(required),
        build_paths=tuple(build_paths),
    )
    known, checker = _tools()
    code = ExitCode.OK
    for path in wheels:
        found = _findings(path, external, demands, known, checker)
        wrong = any(each.severity is Severity.ERROR for each in found)
        click.echo(f"{path}: {'not what it says' if wrong else 'ok'}")
        for each in found:
            click.echo(f"  {each.severity}: {each.rule}: {printable(each.message)}")
        code = ExitCode.BAD_WHEEL if wrong else code
    return code


def _tools() -> tuple[Policies, Checker]:
    from orchestrator.cli.common import stderr
    from orchestrator.host.checks import Checker
    from orchestrator.host.process import Cancel
    from orchestrator.run.session import open_host
    from orchestrator.wheel import Policies

    host = open_host(os.environ, stderr().print)
    env = {**host.env, **host.network.child_env()}
    checker = Checker(toolchain=host.toolchain, env=env, cancel=Cancel())
    return Policies.from_json(*host.toolchain.policy_texts()), checker


def _findings(
    path: Path,
    external: Sequence[str],
    demands: Demands,
    known: Policies,
    checker: Checker,
) -> tuple[Finding, ...]:
    from orchestrator.wheel import levelled, verify

    try:
        report = verify(path, known, external=external, demands=demands)
    except BadWheelError as error:
        # Nothing that unpacks it may see it.
        return tuple(Finding(rule="unreadable", message=each.what) for each in error.problems)
    more = checker(path.absolute(), report, demands, lambda _line: None)
    return (*report.problems, *levelled(more, demands))


def _level(text: str) -> tuple[str, Level]:
    from orchestrator.config.rules import RULES
    from orchestrator.config.spelling import closest

    rule, _, level = text.partition("=")
    if rule not in RULES:
        raise ConfigError.of(f"unknown rule {rule!r}", where="--rule", hint=closest(rule, RULES))
    if level not in set(Level):
        raise ConfigError.of(
            f"{text!r}: {level!r} is no level", where="--rule", hint=f"one of {', '.join(Level)}"
        )
    return rule, Level(level)


def _size(text: str) -> int:
    from orchestrator.config.rules import parse_size

    size = parse_size(text)
    if not size:
        raise ConfigError.of(
            f"not a size: {text!r}", where="--size-budget", hint="for instance 400MB or 1.5GiB"
        )
    return size


def _same(wheels: Sequence[Path]) -> int:
    from orchestrator.wheel import HARMLESS, compare

    if len(wheels) != PAIR:
        raise ConfigError.of(f"--same compares two wheels, not {len(wheels)}")
    found = compare(*wheels)
    seen: Counter[str] = Counter()
    for each in found:
        seen[each.kind] += 1
        if seen[each.kind] <= SHOWN:
            click.echo(_line(each))
    for kind, count in seen.items():
        if count > SHOWN:
            click.echo(f"{kind}: ... and {count - SHOWN} more")
    if not found:
        click.echo("the same, byte for byte")
    elif {each.kind for each in found} <= HARMLESS:
        click.echo("the same contents, packed differently")
    else:
        click.echo("different")
    return ExitCode.BAD_WHEEL if found else ExitCode.OK


def _line(each: Difference) -> str:
    lines = each.detail.split("\n")
    lines = ["", *lines] if len(lines) > 1 else lines
    text = f"{each.kind}: {printable(each.where)}: "
    return text + "\n    ".join(map(printable, lines))
