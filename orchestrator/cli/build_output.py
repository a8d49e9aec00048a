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
    """Shows a run.

    Attributes:
        console: where.
        quiet: whether only failures and the end are shown.
    """

    console: Console
    quiet: bool

    def say(self, what: str) -> None:
        """Show what the preparation is at."""
        if not self.quiet:
            self.console.print(what, style="dim", markup=False)

    def progress(
        self, plan: Plan, seconds: Mapping[TargetId, float], hushed: Callable[[], bool] | None
    ) -> PlainProgress | LiveProgress:
        """Return what shows how targets go: a table that moves, or lines.

        Args:
            plan: the targets.
            seconds: how long they took in earlier runs.
            hushed: whether somebody types in the terminal just now; None if nobody ever will.
        """
        from orchestrator.report.progress import LiveProgress, PlainProgress, ProgressTracker
        from orchestrator.run.dispatch import estimates

        targets = {each.id: each for each in plan.targets}
        known = any(each in seconds for each in targets)
        books = ProgressTracker(len(targets), estimates(targets, seconds) if known else {})
        if hushed is not None:  # a table that moves would write over what is typed
            return PlainProgress(self.console, books, quiet=self.quiet, hushed=hushed)
        if self.console.is_terminal and not self.console.is_dumb_terminal and not self.quiet:
            return LiveProgress(self.console, books)
        grouped = os.environ.get("GITHUB_ACTIONS") == "true"
        return PlainProgress(self.console, books, grouped=grouped, quiet=self.quiet)

    def announce(self, choices: Mapping[TargetId, Choice]) -> None:
        """Say which backend builds what, and why; targets with the same reason share a line."""
        if self.quiet:
            return
        groups: defaultdict[tuple[str, str], list[TargetId]] = defaultdict(list)
        for target_id, choice in choices.items():
            groups[choice.backend or "cannot be built here", choice.reason].append(target_id)
        for (backend, reason), targets in groups.items():
            names = ", ".join(targets) if len(targets) <= FEW else f"{len(targets)} targets"
            self.console.print(f"{backend}: {names}: {reason}", markup=False, highlight=False)

    def conclude(self, results: Sequence[BuildResult], output: Path, wheels: int) -> None:
        """Show how a run ended.

        Args:
            results: of all targets.
            output: the directory of the wheels.
            wheels: how many targets make a wheel.
        """
        from orchestrator.report import summary
        from orchestrator.report.progress import MANY_CACHED, from_the_store

        good = sum(each.wheel is not None for each in results)
        cached = [each for each in results if each.cached and each.failure is None]
        if len(cached) > MANY_CACHED:
            results = [each for each in results if not each.cached or each.failure is not None]
            self.console.print(from_the_store(len(cached)), highlight=False)
        if results and not self.quiet:
            self.console.print()
            # Longer than the terminal is wide, not folded: names stay whole, to be copied.
            table = summary.results_table(results)
            self.console.print(table, crop=False, no_wrap=True, width=RESULTS_WIDTH)
        self.console.print(summary.failure_blocks(results))
        late = [
            each.target_id
            for each in results
            if each.failure is not None and each.failure.kind is FailureKind.OUT_OF_TIME
        ]
        if late:
            names = ", ".join(late) if len(late) <= FEW else f"{len(late)} targets"
            self.console.print(
                f"{names}: not finished before --stop-after; run it again: "
                "it goes on from the store",
                markup=False,
                highlight=False,
            )
        self.console.print(
            f"{good} of {wheels} targets have their wheel in {output}", highlight=False
        )
