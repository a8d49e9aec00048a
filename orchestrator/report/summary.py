"""What people read of a run: which backends it takes, how it ended, and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orchestrator.errors import ExitCode
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import EmulationMode
from orchestrator.report.progress import STYLES, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.models.target import TargetId
FEW = 4
"""Targets that are named one by one in a line."""

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(count: int) -> str:
    """``1536`` -> ``1.5 KiB``."""
    for factor, unit in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def few(targets: Sequence[TargetId]) -> str:
    """Name some targets, or count them if they are many."""
    return ", ".join(targets) if len(targets) <= FEW else f"{len(targets)} targets"


def choice_lines(choices: Mapping[TargetId, Choice]) -> Iterator[str]:
    """Say which backend builds what, and why; targets with the same reason share a line."""
    groups: dict[tuple[str, str], list[TargetId]] = {}
    for target_id, choice in choices.items():
        key = (choice.backend or "cannot be built here", choice.reason)
        groups.setdefault(key, []).append(target_id)
    for (backend, reason), targets in groups.items():
        yield f"{backend}: {few(targets)}: {reason}"


def results_table(results: Sequence[BuildResult]) -> RenderableType:
    """Return the table at the end of a run."""
    table = Table(box=None, pad_edge=False)
    for column in ("target", "status", "by", "time", "tag", "size", "wheel or failing step"):
        table.add_column(column, no_wrap=True)
    for each in results:
        failure = each.failure
        wheel = each.wheel
        last = wheel.filename if wheel else ""
        if failure is not None:
            last = f"{failure.step}: {failure.kind}" if failure.step else str(failure.kind)
        table.add_row(
            each.target_id,
            Text(f"{each.status}{' (cached)' * each.cached}", style=STYLES[each.status]),
            each.backend or "-",
            duration(each.duration),
            wheel.observed_tag if wheel else "",
            size(wheel.size) if wheel else "",
            last,
        )
    notes: dict[tuple[str, str], list[str]] = {}
    for each in results:
        for note in _notes(each):
            notes.setdefault(note, []).append(each.target_id)
    lines = (f"\n{what}: {', '.join(ids)}: {why}" for (what, why), ids in notes.items())
    return Group(table, *(Text(line, style=STYLES[Status.UNAVAILABLE]) for line in lines))


def _notes(result: BuildResult) -> Iterator[tuple[str, str]]:
    """Say what was emulated more than planned or was not tested, with the reason."""
    done = result.compiled
    planned = None if result.request is None else result.request.target.compiling.emulation
    if done is None:
        return
    if done.emulation is not planned:
        yield "all of it under QEMU", done.why
    elif planned is EmulationMode.ACCELERATED and done.why:
        yield "a part of it under QEMU", done.why
    if result.failure is None and done.not_run:
        yield "NOT IMPORTED, nor tested", done.not_run
    elif result.failure is None and done.not_tested:
        yield "imported, NOT TESTED", done.not_tested


def failure_blocks(results: Sequence[BuildResult]) -> RenderableType:
    """Return, for each target without a wheel, why, what to do, and where its log is.

    Targets that cannot be built here for one and the same reason share a block.
    """
    groups: dict[tuple[Failure, Path | None], list[BuildResult]] = {}
    for each in results:
        if each.failure is not None and each.status is not Status.CANCELLED:
            groups.setdefault((each.failure, each.log), []).append(each)
    blocks = []
    for (failure, log), targets in groups.items():
        names = ", ".join(each.target_id for each in targets)
        text = Text(f"\n{names}: {failure.message}\n", style=STYLES[targets[0].status])
        if failure.hint:
            text.append(f"  hint: {failure.hint}\n", style="default")
        for rejected in (each.rejected for each in targets if each.rejected is not None):
            text.append(f"  kept aside: {rejected}\n", style="default")
        if log is not None:
            text.append(f"  log: {log}\n", style="default")
        blocks.append(text)
    return Group(*blocks)


def _by_machine(result: BuildResult) -> bool:
    """Whether the machine caused the failure, not the project."""
    machine = {FailureKind.DISK, FailureKind.ENGINE, FailureKind.IMAGE}
    return result.failure is not None and result.failure.kind in machine


def exit_code(
    results: Sequence[BuildResult], *, fail_fast: bool, allow_unavailable: bool = False
) -> ExitCode:
    """Return the exit code of a run: the most serious thing that happened.

    With `fail_fast` a failure cancels the other targets; otherwise only the user does. With
    `allow_unavailable` the targets that this machine cannot build do not count beside others.
    """
    if allow_unavailable:
        able = [each for each in results if each.status is not Status.UNAVAILABLE]
        results = able or results
    statuses = {each.status for each in results}
    kinds = {each.failure.kind for each in results if each.failure is not None}
    by_failure = fail_fast and Status.FAILED in statuses
    if FailureKind.CANCELLED in kinds and not by_failure:
        return ExitCode.INTERRUPTED
    if FailureKind.BUG in kinds:
        return ExitCode.BUG
    if FailureKind.BAD_WHEEL in kinds or FailureKind.AUDIT in kinds:
        return ExitCode.BAD_WHEEL
    by_project = [
        each for each in results if each.status is Status.FAILED and not _by_machine(each)
    ]
    if by_project or FailureKind.OUT_OF_TIME in kinds:
        return ExitCode.TARGET_FAILED
    return ExitCode.OK if statuses <= {Status.OK} else ExitCode.ENVIRONMENT
