"""What a person sees while targets build: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.models import BuildResult, Status, TargetId

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import Console, RenderableType

STYLES = {
    Status.OK: "green",
    Status.FAILED: "bold red",
    Status.UNAVAILABLE: "yellow",
    Status.CANCELLED: "magenta",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    since: float
    step: str = "start"
    step_since: float = field(default=0.0)


def duration(seconds: float) -> str:
    """``75.3`` -> ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def outcome_line(result: BuildResult) -> str:
    """One line that says how a target ended."""
    status = f"{result.status} (cached)" if result.cached else str(result.status)
    if result.wheel is not None:
        return f"{status}  {result.wheel.filename}"
    failure = result.failure
    if failure is None:
        return status
    kind = "" if failure.kind == result.status.value else f"{failure.kind}: "
    return f"{result.status}  {kind}{failure.message}"


class PlainProgress:
    """One line for each event; log lines of parallel targets cannot interleave."""

    def __init__(self, console: Console, total: int) -> None:
        """Print to ``console``; ``total`` targets will run."""
        self._console = console
        self._total = total
        self._ended = 0
        self._since: dict[TargetId, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def started(self, target_id: TargetId) -> None:
        """See `Listener`."""
        self._since[target_id] = time.monotonic()
        self._say(target_id, "started")

    def step(self, target_id: TargetId, name: str) -> None:
        """See `Listener`."""
        elapsed = time.monotonic() - self._since.get(target_id, time.monotonic())
        self._say(target_id, f"{name} (+{duration(elapsed)})")

    def ended(self, result: BuildResult) -> None:
        """See `Listener`."""
        self._ended += 1
        count = f"[{self._ended}/{self._total}]"
        self._say(result.target_id, f"{count} {outcome_line(result)} ({duration(result.duration)})")

    def stopping(self) -> None:
        """See `Listener`."""
        self._console.print("stopping: waiting for programs and containers to end", style="magenta")

    def _say(self, target_id: TargetId, text: str) -> None:
        with self._lock:
            self._console.print(
                f"{target_id}: {text}", markup=False, highlight=False, soft_wrap=True
            )


class LiveProgress:
    """A table of what runs now, redrawn in place; targets that end scroll by above it."""

    def __init__(self, console: Console, total: int) -> None:
        """Draw on ``console``; ``total`` targets will run."""
        self._console = console
        self._total = total
        self._began = time.monotonic()
        self._running: dict[TargetId, _Running] = {}
        self._counts = dict.fromkeys(Status, 0)
        self._stopping = False
        self._lock = threading.Lock()
        # Transient: the table at the end of the run takes its place.
        self._live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def started(self, target_id: TargetId) -> None:
        """See `Listener`."""
        now = time.monotonic()
        with self._lock:
            self._running[target_id] = _Running(since=now, step_since=now)

    def step(self, target_id: TargetId, name: str) -> None:
        """See `Listener`."""
        with self._lock:
            if target_id in self._running:
                self._running[target_id] = replace(
                    self._running[target_id], step=name, step_since=time.monotonic()
                )

    def ended(self, result: BuildResult) -> None:
        """See `Listener`."""
        with self._lock:
            self._running.pop(result.target_id, None)
            self._counts[result.status] += 1
        line = Text(f"{result.target_id}: {outcome_line(result)} ({duration(result.duration)})")
        line.stylize(STYLES[result.status])
        self._console.print(line)

    def stopping(self) -> None:
        """See `Listener`."""
        self._stopping = True

    def _draw(self) -> RenderableType:
        now = time.monotonic()
        with self._lock:
            rows = list(self._running.items())
            ended = sum(self._counts.values())
            counts = ", ".join(f"{n} {status}" for status, n in self._counts.items() if n)
        title = f"{ended}/{self._total} targets"
        title += f" ({counts})" if counts else ""
        title += f", {duration(now - self._began)}"
        title += "; stopping" if self._stopping else ""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("target", "step", "in step", "total"):
            table.add_column(column, no_wrap=True, justify="right" if " " in column else "left")
        for target_id, each in rows:
            in_step, total = duration(now - each.step_since), duration(now - each.since)
            table.add_row(target_id, each.step, in_step, total)
        return table
