"""``orchestrator verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.inspect import WHEELS, external_option, policies
from orchestrator.errors import BadWheelError, ExitCode
from orchestrator.models import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@click.command("verify")
@WHEELS
@external_option
def command(wheels: Sequence[Path], external: Sequence[str]) -> int:
    """Check that each WHEEL is what it says; exit 5 if not."""
    from orchestrator.wheel import verify

    known = policies()
    code = ExitCode.OK
    for path in wheels:
        try:
            found = verify(path, known, external=external).problems
        except BadWheelError as error:
            found = tuple(Finding(rule="unreadable", message=p.what) for p in error.problems)
        wrong = any(each.severity is Severity.ERROR for each in found)
        click.echo(f"{path}: {'not what it says' if wrong else 'ok'}")
        for each in found:
            click.echo(f"  {each.severity}: {each.rule}: {each.message}")
        code = ExitCode.BAD_WHEEL if wrong else code
    return code
