"""``orchestrator verify``."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from orchestrator.cli.inspect_wheels import WHEELS, external_option, printable
from orchestrator.cli.options import channel_option, matrix_option
from orchestrator.errors import BadWheelError, ConfigError, ExitCode
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Target
    from orchestrator.models.wheel import WheelReport
    from orchestrator.provision.external_checks import ExternalChecks
    from orchestrator.provision.host import Host
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
@click.option(
    "--target",
    "target_id",
    metavar="ID",
    help="Check as the build of this target does; other options come on top.",
)
@matrix_option
@channel_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
@click.option("--same", is_flag=True, help="Say what differs between two wheels instead.")
def command(  # noqa: PLR0913, PLR0917 - one for each option
    wheels: Sequence[Path],
    external: Sequence[str],
    rules: Sequence[str],
    size_budget: str | None,
    required: Sequence[str],
    build_paths: Sequence[str],
    target_id: str | None,
    matrix: Path,
    channel: str,
    *,
    as_json: bool,
    same: bool,
) -> int:
    """Check that each WHEEL is what it says; exit 5 if not."""
    if same:
        if as_json:
            raise ConfigError.of("--same has no JSON document: leave --json out")
        return _same(wheels)
    from orchestrator.wheel.external import resolve

    asked = VerifyOptions(
        external=resolve(external, where="--external"),
        demands=VerifyPolicy(
            levels=tuple(map(level_of, rules)),
            size_budget=None if size_budget is None else size_of(size_budget, "--size-budget"),
            required=tuple(required),
            build_paths=tuple(build_paths),
        ),
        target=None if target_id is None else _target(target_id, matrix, channel),
    )
    known, checker = _tools()
    verdicts = []
    for path in wheels:
        verdicts.append(verdict_on(path, asked, known, checker))
        if not as_json:
            _print(verdicts[-1])
    if as_json:
        _print_json(verdicts)
    return ExitCode.BAD_WHEEL if any(each.wrong for each in verdicts) else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """What the user asks of every wheel: by options, and by a target of the matrix."""

    external: tuple[str, ...]
    demands: VerifyPolicy
    target: Target | None

    def of(self, path: Path) -> tuple[tuple[str, ...], VerifyPolicy]:
        """Return the libraries that may be outside of a wheel, and what it must satisfy."""
        if self.target is None:
            return self.external, self.demands
        from orchestrator.run.finish import demands_on

        mine, theirs = self.demands, demands_on(path, self.target)
        return (*self.target.steps.external, *self.external), replace(
            theirs,
            levels=(*theirs.levels, *mine.levels),
            size_budget=theirs.size_budget if mine.size_budget is None else mine.size_budget,
            required=mine.required or theirs.required,
            build_paths=mine.build_paths or theirs.build_paths,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelVerdict:
    """What was found of a wheel; there is no report on a file that is none."""

    path: Path
    findings: tuple[Finding, ...]
    report: WheelReport | None

    @property
    def wrong(self) -> bool:
        """Whether it is not what it says."""
        return any(each.severity is Severity.ERROR for each in self.findings)


def _target(target_id: str, matrix: Path, channel: str) -> Target:
    from orchestrator.cli.workspace import find_target, open_workspace

    target = find_target(open_workspace(matrix, channel), target_id, pull=False)[1].targets[-1]
    if target.library is not None:
        raise ConfigError.of(f"{target_id} builds no wheel, but files for others", where="--target")
    return target


def _print(verdict: WheelVerdict) -> None:
    click.echo(f"{verdict.path}: {'not what it says' if verdict.wrong else 'ok'}")
    for each in verdict.findings:
        click.echo(f"  {each.severity}: {each.rule}: {printable(each.message)}")


def _print_json(verdicts: Sequence[WheelVerdict]) -> None:
    from orchestrator.report import serialize as documents

    wheels = [(each.path, each.findings, each.report) for each in verdicts]
    click.echo(documents.dumps(documents.verify_document(wheels)), nl=False)


def _tools() -> tuple[Policies, ExternalChecks]:
    from orchestrator.cli.workspace import stderr
    from orchestrator.run.inputs import open_host

    return checking_tools(open_host(os.environ, stderr().print))


def checking_tools(host: Host, cancel: Cancel | None = None) -> tuple[Policies, ExternalChecks]:
    """Return what `verdict_on` needs of this machine."""
    from orchestrator.host.process import Cancel
    from orchestrator.provision.external_checks import ExternalChecks
    from orchestrator.wheel import Policies

    env = host.net_env
    checker = ExternalChecks(toolchain=host.toolchain, env=env, cancel=cancel or Cancel())
    return Policies.from_json(*host.toolchain.policy_texts()), checker


def verdict_on(
    path: Path, asked: VerifyOptions, known: Policies, checker: ExternalChecks
) -> WheelVerdict:
    """Check a wheel."""
    from orchestrator.wheel import apply_levels, verify

    external, demands = asked.of(path)
    expected = None
    if asked.target is not None:
        from orchestrator.run.finish import expected as of_target

        expected = of_target(asked.target, "")
    try:
        report = verify(path, known, external=external, demands=demands, expected=expected)
    except BadWheelError as error:
        # Nothing that unpacks it may see it.
        findings = tuple(Finding(rule="unreadable", message=each.what) for each in error.problems)
        return WheelVerdict(path=path, findings=findings, report=None)
    more = checker(path.absolute(), report, demands, lambda _line: None)
    findings = (*report.problems, *apply_levels(more, demands))
    return WheelVerdict(path=path, findings=findings, report=report)


def level_of(text: str) -> tuple[str, RuleLevel]:
    """Read a ``--rule``: the rule, and how much it counts."""
    from orchestrator.config.verify_rules import RULES
    from orchestrator.errors import closest

    rule, _, level = text.partition("=")
    if rule not in RULES:
        raise ConfigError.of(f"unknown rule {rule!r}", where="--rule", hint=closest(rule, RULES))
    if level not in set(RuleLevel):
        raise ConfigError.of(
            f"{text!r}: {level!r} is no level",
            where="--rule",
            hint=f"one of {', '.join(RuleLevel)}",
        )
    return rule, RuleLevel(level)


def size_of(text: str, option: str) -> int:
    """Read an option that is a size."""
    from orchestrator.config.verify_rules import parse_size

    size = parse_size(text)
    if not size:
        raise ConfigError.of(
            f"not a size: {text!r}", where=option, hint="for instance 400MB or 1.5GiB"
        )
    return size


def _same(wheels: Sequence[Path]) -> int:
    from orchestrator.wheel import HARMLESS, compare

    if len(wheels) != PAIR:
        raise ConfigError.of(f"--same compares two wheels, not {len(wheels)}")
    found = compare(*wheels)
    for line in difference_lines(found):
        click.echo(line)
    if not found:
        click.echo("the same, byte for byte")
    elif {each.kind for each in found} <= HARMLESS:
        click.echo("the same contents, packed differently")
    else:
        click.echo("different")
    return ExitCode.BAD_WHEEL if found else ExitCode.OK


def difference_lines(found: Iterable[Difference]) -> Iterator[str]:
    """Yield what differs between two wheels, of each kind only the first ones."""
    seen: Counter[str] = Counter()
    for each in found:
        seen[each.kind] += 1
        if seen[each.kind] <= SHOWN:
            yield _line(each)
    for kind, count in seen.items():
        if count > SHOWN:
            yield f"{kind}: ... and {count - SHOWN} more"


def _line(each: Difference) -> str:
    lines = each.detail.split("\n")
    lines = ["", *lines] if len(lines) > 1 else lines
    text = f"{each.kind}: {printable(each.where)}: "
    return text + "\n    ".join(map(printable, lines))
