"""``orchestrator doctor``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import WORK_DIR, channel_option, matrix_option
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from orchestrator.host.doctor import Check

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command("doctor")
@matrix_option
@channel_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def command(matrix: Path, channel: str, *, as_json: bool) -> int:
    """Check what this machine can build, and say what to do about the rest; exit 4 if not all."""
    from orchestrator.cli.common import open_workspace, stdout
    from orchestrator.host import doctor, emulation, toolchain

    workspace = open_workspace(matrix, channel) if matrix.is_file() else None
    targets = workspace.plan.everything if workspace else ()
    checks = doctor.examine(
        arches=tuple(dict.fromkeys(each.arch for each in targets)) or (emulation.host_arch(),),
        pythons=tuple(dict.fromkeys(each.python for each in targets if each.python)),
        work_dir=matrix.absolute().parent / WORK_DIR,
        cache_dir=toolchain.default_cache_dir(os.environ),
        environ=os.environ,
        preference=workspace.settings.engine.name if workspace else "auto",
    )
    if as_json:
        rows = [
            {"name": c.name, "status": c.status, "detail": c.detail, "fix": c.fix} for c in checks
        ]
        click.echo(json.dumps({"schema": 1, "checks": rows}, indent=2))
    else:
        stdout().print(_table(checks))
    failed = any(each.status is doctor.Level.FAIL for each in checks)
    return ExitCode.ENVIRONMENT if failed else ExitCode.OK


def _table(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("check", "status", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for each in checks:
        status = Text(each.status, style=_STYLES[each.status])
        table.add_row(each.name, status, each.detail, each.fix)
    return table
