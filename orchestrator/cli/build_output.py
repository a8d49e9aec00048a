"""What ``build`` shows of a run."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.models.result import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Plan, TargetId
    from orchestrator.report.progress import LiveProgress, PlainProgress

RESULTS_WIDTH = 400

FEW = 4
"""Targets that are named one by one in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput:
    """Shows a run on a console; quiet: failures and the end only."""

    console: Console
    quiet: bool

    def say(self, what: str) -> None:
        """Show what the preparation does."""
        if not self.quiet:
            self.console.print(what, style="dim")

    def progress(
        self, plan: Plan, seconds: Mapping[TargetId, float], hushed: Callable[[], bool] | None
    ) -> PlainProgress | LiveProgress:
        """Return what shows the progress of targets: a live table, or lines.

        Args:
            plan: the targets.
            seconds: how long they took in earlier runs.
            hushed: whether somebody types in the terminal just now; None if nobody ever will.
        """
        from orchestrator.ci.commands import in_actions
        from orchestrator.report.progress import LiveProgress, PlainProgress, ProgressTracker
        from orchestrator.run.dispatch import estimates

        targets = {target.id: target for target in plan.targets}
        known = any(target_id in seconds for target_id in targets)
        tracker = ProgressTracker(len(targets), estimates(targets, seconds) if known else {})
        if hushed is not None:  # a live table would write over what is typed
            return PlainProgress(self.console, tracker, quiet=self.quiet, hushed=hushed)
        if self.console.is_terminal and not self.console.is_dumb_terminal and not self.quiet:
            return LiveProgress(self.console, tracker)
        grouped = in_actions(os.environ)
        return PlainProgress(self.console, tracker, grouped=grouped, quiet=self.quiet)

    def announce(self, choices: Mapping[TargetId, Choice]) -> None:
        """Say which backend builds what, and why; targets with the same reason share a line."""
        if self.quiet:
            return
        groups: defaultdict[tuple[str, str], list[TargetId]] = defaultdict(list)
        for target_id, choice in choices.items():
            groups[choice.backend or "cannot be built here", choice.reason].append(target_id)
        for (backend, reason), targets in groups.items():
            self.console.print(f"{backend}: {_few(targets)}: {reason}")

    def conclude(self, results: Sequence[BuildResult], output: Path, wheels: int) -> None:
        """Show how a run ended.

        Args:
            results: of all targets.
            output: the directory of the wheels.
            wheels: how many targets make a wheel.
        """
        from orchestrator.report import summary
        from orchestrator.report.progress import MANY_CACHED, from_the_store

        good = sum(result.wheel is not None for result in results)
        late = [
            result.target_id
            for result in results
            if result.failure is not None and result.failure.kind is FailureKind.OUT_OF_TIME
        ]
        cached = [result for result in results if result.cached and result.failure is None]
        if len(cached) > MANY_CACHED:
            results = [result for result in results if not result.cached or result.failure]
            self.console.print(from_the_store(len(cached)))
        if results and not self.quiet:
            self.console.print()
            # Longer than the terminal is wide, not folded: names stay whole, to be copied.
            table = summary.results_table(results)
            self.console.print(table, crop=False, no_wrap=True, width=RESULTS_WIDTH)
        self.console.print(summary.failure_blocks(results))
        if late:
            self.console.print(
                f"{_few(late)}: not finished before --stop-after; run it again: "
                "it continues from the store"
            )
        self.console.print(f"{good} of {wheels} targets have their wheel in {output}")


def _few(targets: Sequence[TargetId]) -> str:
    return ", ".join(targets) if len(targets) <= FEW else f"{len(targets)} targets"
