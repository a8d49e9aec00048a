"""``orchestrator doctor``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import json_option, plan_options
from orchestrator.cli.output import WORK_DIR, print_json, print_lines, say, stdout
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.cli.workspace import Workspace
    from orchestrator.doctor.check import Check
    from orchestrator.doctor.examine import TargetNeeds
    from orchestrator.models.target import Plan
    from orchestrator.provision.toolchain import Toolchain

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command("doctor", epilog=examples("doctor", "doctor --fix"))
@plan_options
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="Targets at a time.")
@click.option("--fix", is_flag=True, help="Fix what can be fixed safely, then check again.")
@json_option
def command(
    matrix: Path | None,
    channel: str,
    select: Sequence[str],
    part: str | None,
    jobs: int,
    *,
    fix: bool,
    as_json: bool,
) -> int:
    """Check whether this machine can build every target, and print a fix for what is missing.

    Exit 4 if something is missing.
    """
    from orchestrator.cli.workspace import open_if_exists, selected
    from orchestrator.doctor.check import CheckLevel
    from orchestrator.report.schemas import DoctorDocument

    workspace = open_if_exists(matrix, channel)
    plan = selected(workspace.plan, select, part) if workspace else None
    look = partial(_look, workspace.root if workspace else Path.cwd(), workspace, plan, jobs)
    checks = look()
    if fix and _mend(checks):
        checks = look()
    if as_json:
        print_json(DoctorDocument(checks=checks))
    else:
        _print_table(checks)
    failed = any(check.status is CheckLevel.FAIL for check in checks)
    return ExitCode.ENVIRONMENT if failed else ExitCode.OK


def _look(
    root: Path, workspace: Workspace | None, plan: Plan | None, jobs: int
) -> tuple[Check, ...]:
    from orchestrator.doctor import examine, machine
    from orchestrator.provision import toolchain
    from orchestrator.provision.cache_dir import default_cache_dir

    cache = default_cache_dir(os.environ)
    return examine.examine(
        targets=() if plan is None else tuple(_target_needs(plan, toolchain.existing(cache))),
        places=machine.RunPaths(work=root / WORK_DIR, output=root / "dist", cache=cache),
        environ=os.environ,
        settings=None if workspace is None else workspace.settings.engine,
        jobs=jobs,
    )


def _target_needs(plan: Plan, tools: Toolchain | None) -> Iterator[TargetNeeds]:
    """Yield, for each target, what may build it here, and in which image."""
    from orchestrator.builders.backend_choice import needs_no_engine, on_this_host
    from orchestrator.containers.pinned_images import image_reference
    from orchestrator.doctor.examine import TargetNeeds
    from orchestrator.host.emulation import host_arch
    from orchestrator.plan.expected_environment import cuda_of

    def reference(image: str) -> str:
        return image if any(mark in image for mark in "/:@") else ""

    for target in plan.targets:
        image = reference(target.image)
        if not image and tools is not None:
            image = image_reference(target.image, target.arch, tools)
        yield TargetNeeds(
            id=target.id,
            arch=target.arch,
            python=target.python,
            image=image,
            on_host=needs_no_engine(target),
            crossed=on_this_host(target) is not target,
            cuda=(cuda_of(target), target.steps.environment.cuda),
        )
    for unknown in plan.undetermined:
        yield TargetNeeds(
            id=unknown.id,
            arch=unknown.arch,
            python=unknown.python,
            image=reference(unknown.questions[0].image),
            on_host=unknown.arch is host_arch(),
        )


def _mend(checks: Sequence[Check]) -> bool:
    """Fix what can be fixed, and return whether anything was."""
    from orchestrator.doctor import examine

    any_fixed = False
    for check, problem in examine.mend(checks):
        say(f"{check.name}: {'fixed' if problem is None else f'cannot be fixed: {problem}'}")
        any_fixed = any_fixed or problem is None
    return any_fixed


def _print_table(checks: Sequence[Check]) -> None:
    """Print a row for each check, and below it what to do."""
    from rich.text import Text

    from orchestrator.report.layout import described, wrapped

    console = stdout()
    for check in checks:
        name = f"{check.status:<4}  {check.name}"
        text = Text("\n".join(described(name, check.detail, "", console.width)))
        text.stylize(_STYLES[check.status], 0, len(check.status))
        print_lines(console, (text, *wrapped(check.fix, console.width, first="      do: ")))
