"""``orchestrator explain``."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import WORK_DIR, channel_option, matrix_option, target_argument
from orchestrator.models import BackendName, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.models import BuildRequest, Target


@click.command("explain")
@target_argument
@matrix_option
@channel_option
def command(target: str, matrix: Path, channel: str) -> None:
    """Show everything about one TARGET: environment, image, command, version, cache key."""
    from orchestrator.cli.common import find_target, open_workspace, stderr, stdout
    from orchestrator.run.session import planned_requests

    workspace = open_workspace(matrix, channel)
    found = find_target(workspace.plan, target)
    inputs = workspace.inputs(Plan(targets=(found,), exclusions=()))
    (request,) = planned_requests(
        inputs,
        skip=(workspace.root / "dist", workspace.root / WORK_DIR),
        environ=os.environ,
        say=stderr().print,
    )
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("what", "value", "origin"):
        table.add_column(column, overflow="fold")
    for row in _rows(request):
        table.add_row(*row)
    stdout().print(table)


def _rows(request: BuildRequest) -> Iterator[tuple[str, str, str]]:
    target = request.target
    yield "target", target.id, ""
    for axis, value in target.variant:
        yield f"axis {axis}", value, f"axes.{axis}"
    yield "version", target.version, "version"
    yield "build tag", target.build_tag or "-", "version.build-tag"
    yield "source", f"{request.source.name or '?'} {request.source.digest}", "project.source"
    yield "image", target.image, "images"
    yield "runner", target.runner, "emulated there" if target.emulated else "native there"
    yield "backend", request.backend, "as planned; `build` says what this machine can do"
    yield from _steps(target)
    yield "env SOURCE_DATE_EPOCH", str(request.source.epoch), "the source"
    for each in target.env:
        yield f"env {each.name}", each.value, each.origin + (" (shell)" if each.shell else "")
    if request.backend is BackendName.CIBUILDWHEEL:
        from orchestrator.builders import cibuildwheel

        yield "command", shlex.join(("python", *cibuildwheel.command(request, "OUTPUT"))), ""
        for name, value in sorted(cibuildwheel.options(request).items()):
            yield f"  {name}", value, "passed to cibuildwheel"
    yield "toolchain", request.toolchain_digest, "orchestrator/host/toolchain.lock"
    yield "key", request.key, "SHA-256 of all that can change the wheel"


def _steps(target: Target) -> Iterator[tuple[str, str, str]]:
    steps = target.steps
    commands = {
        "before-all": steps.before_all,
        "before-build": steps.before_build,
        "repair": steps.repair,
        "test": steps.test_command,
    }
    for name, text in commands.items():
        yield name, "as the project says" if text is None else text, f"build.{name}"
    if steps.test_requires:
        yield "test requires", ", ".join(steps.test_requires), "test.requires"
    for key, value in steps.config_settings:
        yield f"config {key}", value, "build.config-settings"
    if steps.timeout is not None:
        yield "timeout", f"{steps.timeout} s", "build.timeout"
    if steps.external:
        yield "external", ", ".join(steps.external), "build.external"
