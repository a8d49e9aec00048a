"""``orchestrator inspect``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text

    from orchestrator.models.wheel import Reason, WheelReport
    from orchestrator.wheel import Policies

WHEELS = click.argument(
    "wheels",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="WHEEL...",
)


FEW = 5
"""Symbols that are named for one reason, and reasons that are named for one tag."""


def external_option(function: Callable[..., object]) -> Callable[..., object]:
    """``--external NAME``: libraries that may stay outside."""
    return click.option(
        "--external",
        multiple=True,
        metavar="NAME",
        help="Library that may stay outside: cuda, torch, rocm, or a soname glob.",
    )(function)


def policies() -> Policies:
    """Load auditwheel's policies from the locked toolchain."""
    from orchestrator.cli.workspace import stderr
    from orchestrator.run.inputs import open_host
    from orchestrator.wheel import Policies

    host = open_host(os.environ, stderr().print)
    return Policies.from_json(*host.toolchain.policy_texts())


@click.command("inspect")
@WHEELS
@external_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def command(wheels: Sequence[Path], external: Sequence[str], *, as_json: bool) -> None:
    """Show what platform tag each WHEEL really needs, and which symbol in which file forces it."""
    from orchestrator.cli.workspace import stdout
    from orchestrator.report import serialize as documents
    from orchestrator.wheel import report
    from orchestrator.wheel.external import resolve

    patterns = resolve(external, where="--external")
    known = policies()
    reports = [(path, report(path, known, external=patterns)) for path in wheels]
    if as_json:
        click.echo(documents.dumps(documents.inspect_document(reports)), nl=False)
        return
    console = stdout()
    for path, each in reports:
        console.print(_text(path, each))


def _text(path: Path, report: WheelReport) -> Text:
    from rich.text import Text

    from orchestrator.errors import clipped

    names = ", ".join((report.observed_tag, *report.aliases))
    lines = [f"{path}", f"  observed  {names}", f"  declared  {', '.join(report.declared_tags)}"]
    for step in report.steps:
        lines.append(f"  not       {step.tag}")
        lines += [f"  because   {_because(reason)}" for reason in step.reasons[:FEW]]
        if (more := len(step.reasons) - FEW) > 0:
            lines.append(f"            and {more} more reasons (--json has all)")
        lines += [f"  cure      {remedy}" for remedy in step.remedies]
    for library, files in report.external_libs:
        lines.append(f"  external  {library}, needed by {', '.join(files)}")
    if report.isa:
        lines.append(f"  isa       {report.isa}")
    lines += [f"  {each.severity:<8}  {each.rule}: {each.message}" for each in report.problems]
    return Text("\n".join(printable(clipped(line)) for line in lines))


def printable(line: str) -> str:
    """Return a line in which what comes from a wheel can neither end it nor move the cursor."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)


def _because(reason: Reason) -> str:
    """Return a reason as a sentence."""
    symbols = ", ".join(reason.symbols[:FEW]) + (", ..." if len(reason.symbols) > FEW else "")
    needs = " of ".join(part for part in (reason.symbol_version, reason.library) if part)
    if not needs:
        return f"{reason.file} needs {symbols}"
    return f"{reason.file} needs {needs}" + (f" ({symbols})" if symbols else "")
