"""``orchestrator doctor``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import WORK_DIR, channel_option, matrix_option, select_options
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from orchestrator.cli.workspace import Workspace
    from orchestrator.doctor.check import Check
    from orchestrator.doctor.examine import TargetNeeds
    from orchestrator.models.target import Plan
    from orchestrator.provision.toolchain import Toolchain

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command("doctor")
@matrix_option
@channel_option
@select_options
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="Targets at once.")
@click.option("--fix", is_flag=True, help="Mend what can be mended safely, then look again.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def command(  # noqa: PLR0913 - the options of the command line
    matrix: Path,
    channel: str,
    select: Sequence[str],
    part: str | None,
    jobs: int,
    *,
    fix: bool,
    as_json: bool,
) -> int:
    """Check what this machine can build, and say what to do about the rest; exit 4 if not all."""
    from orchestrator.cli.workspace import open_workspace, selected, stdout
    from orchestrator.doctor.check import CheckLevel

    workspace = open_workspace(matrix, channel) if matrix.is_file() else None
    plan = selected(workspace.plan, select, part) if workspace else None
    look = _look(matrix, workspace, plan, jobs)
    checks = look()
    if fix and _mended(checks):
        checks = look()
    if as_json:
        click.echo(json.dumps(document(checks), indent=2))
    else:
        stdout().print(_table(checks))
    failed = any(each.status is CheckLevel.FAIL for each in checks)
    return ExitCode.ENVIRONMENT if failed else ExitCode.OK


def _look(
    matrix: Path, workspace: Workspace | None, plan: Plan | None, jobs: int
) -> Callable[[], tuple[Check, ...]]:
    from orchestrator.doctor import examine
    from orchestrator.provision import toolchain
    from orchestrator.provision.cache_dir import default_cache_dir

    root = matrix.absolute().parent
    cache = default_cache_dir(os.environ)
    places = examine.RunPaths(work=root / WORK_DIR, output=root / "dist", cache=cache)
    containers = examine.Containers()
    if workspace is not None:
        asked = workspace.settings.engine
        containers = examine.Containers(
            preference=asked.name, create_args=asked.create_args, pull=asked.pull
        )

    def look() -> tuple[Check, ...]:
        targets: tuple[TargetNeeds, ...] = ()
        if workspace is not None and plan is not None:
            targets = tuple(_wanted(plan, toolchain.existing(cache)))
        return examine.examine(
            targets=targets,
            places=places,
            environ=os.environ,
            containers=containers,
            jobs=jobs,
        )

    return look


def _wanted(plan: Plan, tools: Toolchain | None) -> Iterator[TargetNeeds]:
    """Say of each target what may build it here, and in which image."""
    from orchestrator.builders.backend_choice import needs_no_engine, on_this_host
    from orchestrator.containers.pinned_images import image_reference
    from orchestrator.doctor.examine import TargetNeeds
    from orchestrator.host.emulation import host_arch

    for each in plan.targets:
        pinned = not any(mark in each.image for mark in "/:@")
        image = each.image
        if pinned:
            image = image_reference(image, each.arch, tools) if tools is not None else ""
        yield TargetNeeds(
            id=each.id,
            arch=each.arch,
            python=each.python,
            image=image,
            on_host=needs_no_engine(each),
            crossed=on_this_host(each) is not each,
        )
    for unknown in plan.undetermined:
        image = unknown.questions[0].image
        yield TargetNeeds(
            id=unknown.id,
            arch=unknown.arch,
            python=unknown.python,
            image=image if any(mark in image for mark in "/:@") else "",
            on_host=unknown.arch is host_arch(),
        )


def _mended(checks: Sequence[Check]) -> bool:
    """Mend what can be mended, and return whether anything was."""
    from orchestrator.cli.workspace import stderr
    from orchestrator.doctor import examine

    console, any_mended = stderr(), False
    for check, problem in examine.mend(checks):
        said = "mended" if problem is None else f"could not be mended: {problem}"
        console.print(f"{check.name}: {said}", markup=False, highlight=False)
        any_mended = any_mended or problem is None
    return any_mended


def document(checks: Sequence[Check]) -> dict[str, object]:
    """Return ``doctor --json``; docs/hosts.md describes it."""
    from orchestrator.report.schemas import DoctorDocument, to_json_value

    found: dict[str, object] = to_json_value(DoctorDocument(checks=tuple(checks)))
    return found


def _table(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("check", "status", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for each in checks:
        status = Text(each.status, style=_STYLES[each.status])
        table.add_row(Text(each.name), status, Text(each.detail), Text(each.fix))
    return table
