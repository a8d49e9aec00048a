"""``orchestrator verify``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completion
from orchestrator.cli.help import examples
from orchestrator.cli.options import (
    channel_option,
    external_option,
    json_option,
    matrix_option,
    repeatable,
    rules_option,
    size_option,
    wheels_argument,
)
from orchestrator.cli.output import emit, printable, show, show_items
from orchestrator.errors import ConfigError, ExitCode, clipped
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import finding_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Target
    from orchestrator.provision.external_checks import ExternalChecks
    from orchestrator.provision.host import Host
    from orchestrator.report.signed_provenance import ProvenanceChecker
    from orchestrator.run.wheel_check import WheelVerdict
    from orchestrator.wheel import Difference, Policies

SHOWN = 20
"""Differences of one kind that are listed."""

PAIR = 2


def provenance_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that demand something of a wheel's provenance."""
    options = (
        click.option(
            "--provenance",
            "place",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="Check signed provenance too: a file, or a directory with WHEEL.intoto.jsonl.",
        ),
        repeatable("--signer signers", "KEY", "Public key whose signature counts: ed25519:..."),
        click.option("--repository", metavar="URL", help="Repository that it must name."),
        click.option("--ref", metavar="REF", help="Branch or tag: refs/heads/main, refs/tags/v1."),
        click.option(
            "--workflow",
            metavar="NAME",
            help="CI configuration; with @ at its end of any revision.",
        ),
        click.option("--builder", metavar="URI", help="Who must have built it."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    "verify",
    epilog=examples(
        "verify dist/*.whl",
        "verify dist/*.whl --rule page-alignment=error",
        "verify dist/*.whl --target cp312-manylinux_x86_64",
        "verify dist/*.whl --provenance provenance --signer ed25519:KEY",
    ),
)
@wheels_argument
@external_option
@rules_option
@size_option("--size-budget", "Maximum size of a wheel: 400MB, 1.5GiB.")
@repeatable("--required", "GLOB", "Glob that some member must match.")
@repeatable("--build-path build_paths", "TEXT", "Text that no member may contain.")
@click.option(
    "--target",
    "target_id",
    metavar="ID",
    shell_complete=completion.target_ids,
    help="Check as the build of this target does; other options are added.",
)
@provenance_options
@matrix_option
@channel_option
@json_option
@click.option("--same", is_flag=True, help="Show what differs between two wheels instead.")
def command(
    wheels: Sequence[Path],
    external: tuple[str, ...],
    rules: tuple[tuple[str, RuleLevel], ...],
    size_budget: int | None,
    required: tuple[str, ...],
    build_paths: tuple[str, ...],
    target_id: str | None,
    matrix: Path | None,
    channel: str,
    *,
    as_json: bool,
    same: bool,
    **provenance: Any,
) -> int:
    """Check that each WHEEL is what it says; exit 5 if one is not."""
    provenance_checker = _provenance(**provenance)
    if same and provenance_checker is not None:
        what = "--same compares two wheels, whoever built them"
        raise ConfigError.of(what, where="--provenance", hint="leave it out")
    if same and as_json:
        raise ConfigError.of("--same has no JSON document", where="--json", hint="leave it out")
    if same:
        return _compare(wheels)
    from orchestrator.run.finish import expected
    from orchestrator.run.wheel_check import WheelChecker
    from orchestrator.wheel import apply_levels

    target = None if target_id is None else _target(target_id, matrix, channel)
    demands = VerifyPolicy(
        levels=rules, size_budget=size_budget, required=required, build_paths=build_paths
    )
    checker = WheelChecker(external=external, demands=demands, tools=checking_tools())
    planned = None if target is None else expected(target, "")
    verdicts = []
    for path in wheels:
        verdict = checker.check(path, target, planned)
        if provenance_checker is not None:
            more = apply_levels(provenance_checker.check(path), demands)
            verdict = replace(verdict, findings=(*verdict.findings, *more))
        verdicts.append(verdict)
        if not as_json:
            _print(verdicts[-1])
    if as_json:
        _print_json(verdicts)
    return ExitCode.BAD_WHEEL if any(verdict.errors for verdict in verdicts) else ExitCode.OK


def _provenance(
    place: Path | None, signers: Sequence[str], **policy: str | None
) -> ProvenanceChecker | None:
    """Return what checks provenance; None if nobody wants that. Raises ConfigError."""
    from orchestrator.models.store_trust import PUBLIC_KEY
    from orchestrator.report.signed_provenance import ProvenanceChecker, ProvenancePolicy
    from orchestrator.store.seals import TrustedKeys

    given = {name: value for name, value in policy.items() if value is not None}
    for name in (each for each, value in given.items() if not value.strip()):
        what, hint = "an empty value would demand nothing", "is a variable not set?"
        raise ConfigError.of(what, where=f"--{name}", hint=hint)
    if place is None:
        if named := ["signer"] * bool(signers) + [*given]:
            what, hint = "this is about provenance", "say --provenance PATH"
            raise ConfigError.of(what, where=f"--{named[0]}", hint=hint)
        return None
    if not signers:
        what = "anybody can write provenance: whose signature counts?"
        raise ConfigError.of(what, where="--provenance", hint="say --signer ed25519:KEY")
    for each in signers:
        if PUBLIC_KEY.fullmatch(each) is None:
            hint = "`orchestrator cache key public FILE` prints it"
            raise ConfigError.of(f"{each!r} is no public key", where="--signer", hint=hint)
    return ProvenanceChecker(
        place=place, keys=TrustedKeys.of(signers), policy=ProvenancePolicy(**given)
    )


def checking_tools(
    host: Host | None = None, cancel: Cancel | None = None
) -> tuple[Policies, ExternalChecks]:
    """Return what a `WheelChecker` needs of this machine."""
    from orchestrator.cli.workspace import load_policies, open_host
    from orchestrator.host.process import Cancel
    from orchestrator.provision.external_checks import ExternalChecks

    host = host or open_host()
    checks = ExternalChecks(toolchain=host.toolchain, env=host.net_env, cancel=cancel or Cancel())
    return load_policies(host), checks


def _target(target_id: str, matrix: Path | None, channel: str) -> Target:
    from orchestrator.cli.workspace import find_target, open_workspace

    target = find_target(open_workspace(matrix, channel), target_id, pull=False)[1].targets[-1]
    if target.library is not None:
        what = f"{target_id} is a library: it builds files for other targets, and no wheel"
        raise ConfigError.of(what, where="--target")
    return target


def _print(verdict: WheelVerdict) -> None:
    unseen = verdict.report.not_examined if verdict.report else ()
    good = "nothing wrong in what was examined" if unseen else "ok"
    show(f"{printable(verdict.path)}: {'not what it says' if verdict.errors else good}")
    show_items(("  not examined: ", clipped(each)) for each in unseen)
    show_items((f"  {severity}: ", text) for severity, text in finding_lines(verdict.findings))


def _print_json(verdicts: Sequence[WheelVerdict]) -> None:
    from orchestrator.report import serialize as documents

    wheels = [(each.path, each.findings, each.report) for each in verdicts]
    emit(documents.dumps(documents.verify_document(wheels)))


def _compare(wheels: Sequence[Path]) -> int:
    from orchestrator.report.summary import growth_lines
    from orchestrator.wheel import HARMLESS, compare, growth_between

    if len(wheels) != PAIR:
        raise ConfigError.of(f"--same compares two wheels, not {len(wheels)}")
    differences = compare(*wheels)
    for line in difference_lines(differences):
        show(line)
    for line in growth_lines(growth_between(*wheels)) if differences else ():
        show(f"size: {printable(line)}")
    if not differences:
        show("identical, byte for byte")
    elif {each.kind for each in differences} <= HARMLESS:
        show("identical contents, packed differently")
    else:
        show("different")
    return ExitCode.BAD_WHEEL if differences else ExitCode.OK


def difference_lines(differences: Iterable[Difference]) -> Iterator[str]:
    """Yield what differs between two wheels, of each kind only the first ones."""
    seen: Counter[str] = Counter()
    for each in differences:
        seen[each.kind] += 1
        if seen[each.kind] <= SHOWN:
            yield _line(each)
    for kind, count in seen.items():
        if count > SHOWN:
            yield f"{kind}: ... and {count - SHOWN} more"


def _line(difference: Difference) -> str:
    first, *more = map(printable, difference.detail.split("\n"))
    lines = ["", first, *more] if more else [first]
    return f"{difference.kind}: {printable(difference.where)}: " + "\n    ".join(lines)
