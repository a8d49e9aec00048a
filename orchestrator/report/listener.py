"""What becomes of each target goes to results.json and to the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.models.result import BuildResult
    from orchestrator.report.progress import LiveProgress, PlainProgress
    from orchestrator.report.results import ResultsWriter


class TargetListener:
    """Writes results.json as targets end, so that whatever happens next loses nothing."""

    def __init__(self, progress: PlainProgress | LiveProgress, recorder: ResultsWriter) -> None:
        """Pass what happens on to both."""
        self._progress = progress
        self._recorder = recorder
        self.started = progress.started
        self.step = progress.step
        self.resting = progress.resting
        self.stopping = progress.stopping

    def ended(self, result: BuildResult) -> None:
        """Take a result."""
        self._recorder.ended(result)
        self._progress.ended(result)

    def restored(self, results: Sequence[BuildResult]) -> None:
        """Take many results at once: those that came from the store."""
        self._recorder.ended(*results)
        self._progress.recalled(results)
