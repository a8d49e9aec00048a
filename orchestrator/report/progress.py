"""Progress of a run: a live table in a terminal, plain lines elsewhere.

Each message about a target is one write, so that lines of concurrent targets do not mix. The output
of a target goes to its log file; if the target fails, the end of its log is shown in one block.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.text import Text

from orchestrator.models.result import BuildResult, FailureKind, Status
from orchestrator.models.words import count_of
from orchestrator.report.layout import near, wrapped
from orchestrator.report.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from rich.console import Console, RenderableType

    from orchestrator.models.target import TargetId

STYLES = {
    Status.OK: "green",
    Status.FAILED: "bold red",
    Status.UNAVAILABLE: "yellow",
    Status.CANCELLED: "magenta",
}

HEARTBEAT = 180.0
"""Seconds between two signs of life in plain output; CI systems end silent jobs."""

TAIL = 15
"""Lines of a failed target's log that are shown."""

SAME_FAILURE = 3
"""Targets that fail alike of which the log's end is shown; all others only name their log."""

LINES_OF_ONE = 4
"""Lines of the console that one line of a log takes at most: compilers get long ones."""

NAMED = 4
"""Number of running targets that a sign of life names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTarget:
    """A running target; all times are `time.monotonic`, `expected` is in seconds."""

    target_id: TargetId
    since: float
    step: str
    step_since: float
    expected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The state of a run: what runs, the oldest first, and estimated seconds left, if known."""

    now: float
    running: tuple[RunningTarget, ...]
    total: int
    counts: Mapping[Status, int]
    resting: int
    left: float | None
    elapsed: float
    stopping: bool

    @property
    def ended(self) -> int:
        """How many targets ended."""
        return sum(self.counts.values())

    @property
    def summary(self) -> str:
        """The state in one line, without the running targets."""
        parts = [f"{n} {status}" for status, n in self.counts.items() if n]
        parts += [f"{self.resting} waiting to be tried again"] if self.resting else []
        line = f"{self.ended}/{count_of(self.total, 'target')}"
        line += f" ({', '.join(parts)})" if parts else ""
        line += f", {duration(self.elapsed)}"
        line += f", about {duration(self.left)} left" if self.left is not None else ""
        return line + ("; stopping" if self.stopping else "")


def from_the_store(count: int) -> str:
    """Say how many results came from the store."""
    return f"{count_of(count, 'target')} came from the store"


def duration(seconds: float) -> str:
    """``75.3`` -> ``1:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def outcome_lines(result: BuildResult, width: int, first: str = "") -> list[str]:
    """Return how a target ended, in one line if it has nothing to explain."""
    first += f"{result.status}  {duration(result.duration)}  "
    text, failure = str(result.target_id), result.failure
    if failure is not None:
        kind = "" if failure.kind == result.status.value else f"{failure.kind}: "
        text += f": {kind}{failure.message}"
    return list(wrapped(text, width, first=first, rest="    "))


def tail(log: Path, lines: int = TAIL) -> list[str]:
    """Return the last lines of a log; a log can be large, so only its end is read."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - 16_384, 0))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [plain(line) for line in text.split("\n") if line.strip()][-lines:]


def log_end(result: BuildResult, *, width: int, grouped: bool, named: bool = False) -> list[str]:
    """Return the end of a failed target's log as one block; empty if it would not help.

    A grouped one is folded by GitHub Actions. If the log is only `named`, none of it is shown.
    """
    failure, log = result.failure, result.log
    if failure is None or log is None or result.status is Status.CANCELLED:
        return []
    lines = [] if failure.kind is FailureKind.BAD_WHEEL else tail(log)
    if not lines:
        return []
    if named and not grouped:
        lines = []
    block = [*wrapped(near(log), width, first="  log: ", rest="    ")]
    for line in lines:
        block += _folded(line, width)
    if grouped:
        block = [f"::group::{result.target_id}: the log's end", *block, "::endgroup::"]
    return block


def _folded(line: str, width: int) -> list[str]:
    """Return a line of a log in as many as it needs, without its middle if these are many."""
    indent = line[: len(line) - len(line.lstrip())][: width // 2]
    if cell_len(line) + 4 <= width:
        return [f"  | {line}"]
    parts = list(wrapped(line, width, first=f"  | {indent}", rest=f"  | {indent}"))
    if len(parts) <= LINES_OF_ONE:
        return parts
    half = LINES_OF_ONE // 2
    return [
        *parts[:half],
        f"  | ({count_of(len(parts) - 2 * half, 'more line')}, see the log)",
        *parts[-half:],
    ]


@dataclass(kw_only=True, eq=False)
class Progress:
    """A `Listener` that records each result and shows the state of a run; safe in any thread.

    Attributes:
        console: where it is shown.
        total: number of targets.
        expected: seconds that targets are expected to take; empty if nobody knows.
        record: gets results before they are shown, so that whatever happens next loses none.
    """

    console: Console
    total: int
    expected: Mapping[TargetId, float] = field(default_factory=dict)
    record: Callable[..., object] = lambda *_results: None

    def __post_init__(self) -> None:
        """Begin now."""
        self._open = dict(self.expected)
        self._began = time.monotonic()
        self._running: dict[TargetId, RunningTarget] = {}
        self._resting: set[TargetId] = set()
        self._counts = dict.fromkeys(Status, 0)
        self._failures: Counter[tuple[str, str]] = Counter()
        self._stopping = False
        self._most = 1
        self._lock = threading.Lock()

    def started(self, target_id: TargetId) -> None:
        """See `Listener`."""
        now = time.monotonic()
        with self._lock:
            self._resting.discard(target_id)
            self._running[target_id] = RunningTarget(
                target_id=target_id,
                since=now,
                step="start",
                step_since=now,
                expected=self.expected.get(target_id),
            )
            self._most = max(self._most, len(self._running))

    def step(self, target_id: TargetId, name: str) -> None:
        """See `Listener`."""
        with self._lock:
            found = self._running.get(target_id)
            if found is not None:
                now = time.monotonic()
                self._running[target_id] = replace(found, step=name, step_since=now)

    def waits(self, target_id: TargetId, sentence: str) -> None:
        """See `Listener`."""
        with self._lock:
            found = self._running.get(target_id)
        step = found.step if found is not None else "it"
        self._tell(f"{target_id}: {step} {sentence}", style="yellow")

    def resting(self, result: BuildResult, seconds: float) -> None:
        """See `Listener`."""
        with self._lock:
            self._running.pop(result.target_id, None)
            self._resting.add(result.target_id)
        why = result.failure.message if result.failure is not None else result.status
        line = f"{result.target_id}: attempt {result.attempts} failed: {why}"
        self._tell(f"{line}; again in {duration(seconds)}", style="yellow")

    def ended(self, result: BuildResult) -> None:
        """See `Listener`."""
        self.record(result)
        self._count(result)
        self._show(result)

    def restored(self, results: Sequence[BuildResult]) -> None:
        """Take all results of the store at once; the successful ones share one line."""
        self.record(*results)
        for each in results:
            self._count(each)
        whole = sum(each.failure is None for each in results)
        if whole:
            self._tell(f"[{whole}/{self.total}] {from_the_store(whole)}")
        for each in results:
            if each.failure is not None:
                self._show(each)

    def stopping(self) -> None:
        """See `Listener`."""
        self._stopping = True

    def view(self) -> RunView:
        """Return the current state."""
        now = time.monotonic()
        with self._lock:
            return RunView(
                now=now,
                running=tuple(self._running.values()),
                total=self.total,
                counts=dict(self._counts),
                resting=len(self._resting),
                left=self._left(now),
                elapsed=now - self._began,
                stopping=self._stopping,
            )

    def _count(self, result: BuildResult) -> None:
        with self._lock:
            self._running.pop(result.target_id, None)
            self._resting.discard(result.target_id)
            self._open.pop(result.target_id, None)
            self._counts[result.status] += 1

    def _left(self, now: float) -> float | None:
        """Estimate the seconds left: at least the longest target, and all shared by the slots."""
        if not self._open:
            return None
        rest = []
        for target_id, seconds in self._open.items():
            running = self._running.get(target_id)
            rest.append(seconds if running is None else max(seconds - (now - running.since), 0.0))
        return max(*rest, sum(rest) / self._most)

    def _show(self, result: BuildResult) -> None:
        raise NotImplementedError

    def _log_end(self, result: BuildResult, *, grouped: bool) -> list[str]:
        """Return the end of a log; of a failure that was there several times, only its name."""
        failure = result.failure
        if failure is None:
            return []
        with self._lock:
            like = failure.step, failure.message
            self._failures[like] += 1
            named = self._failures[like] > SAME_FAILURE
        return log_end(result, width=self.console.width, grouped=grouped, named=named)

    def _tell(self, line: str, style: str = "") -> None:
        lines = wrapped(line, self.console.width, rest="    ")
        self.console.print(Text("\n".join(lines), style=style))


@dataclass(kw_only=True, eq=False)
class PlainProgress(Progress):
    """Print a line when a target ends, and a sign of life from time to time.

    Attributes:
        grouped: whether GitHub Actions may fold logs.
        quiet: whether only failures are shown.
        hushed: whether a shell has the console, so that there must be no sign of life.
    """

    grouped: bool = False
    quiet: bool = False
    hushed: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        """Begin now."""
        super().__post_init__()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beats, name="signs of life", daemon=True)

    def __enter__(self) -> Self:
        if not self.quiet:
            self._heart.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        if self._heart.is_alive():
            self._heart.join()

    def stopping(self) -> None:
        """See `Listener`."""
        super().stopping()
        self.console.print("stopping: waiting for programs and containers to end", style="magenta")

    def beat(self) -> None:
        """Print a sign of life."""
        view = self.view()
        names = [
            f"{each.target_id} ({each.step} {duration(view.now - each.step_since)})"
            for each in view.running[:NAMED]
        ]
        more = len(view.running) - len(names)
        names += [f"{more} more"] if more else []
        self._tell(f"{view.summary}; running: {', '.join(names) or 'nothing'}")

    def _beats(self) -> None:
        while not self._over.wait(HEARTBEAT):
            if not self.hushed():
                self.beat()

    def _show(self, result: BuildResult) -> None:
        unbuilt = result.status is Status.UNAVAILABLE  # said for all of them, before and after
        if unbuilt or (self.quiet and result.status is not Status.FAILED):
            return
        count = f"[{self.view().ended}/{self.total}] "
        lines = outcome_lines(result, self.console.width, count)
        self._say("\n".join((*lines, *self._log_end(result, grouped=self.grouped))))

    def _tell(self, line: str, style: str = "") -> None:
        if not self.quiet:
            super()._tell(line, style)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress(Progress):
    """Draw a table of the running targets in place; results scroll by above it."""

    def __enter__(self) -> Self:
        # Transient: the table at the end of the run takes its place.
        self._live = Live(
            console=self.console, get_renderable=self._draw, refresh_per_second=4, transient=True
        )
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def _show(self, result: BuildResult) -> None:
        if result.status is Status.UNAVAILABLE:
            return
        lines = outcome_lines(result, self.console.width)
        line = Text("\n".join(lines), style=STYLES[result.status])
        block = self._log_end(result, grouped=False)
        # One call, so that nothing comes in between.
        self.console.print(Group(line, Text("\n".join(block), style="dim")) if block else line)

    def _draw(self) -> RenderableType:
        return drawing(self.view(), width=self.console.width, height=self.console.height)


_COLUMNS = (("step", 12, 30), ("total", 7, 40), ("left", 7, 50), ("in step", 7, 70))
"""Name, width, and the terminal width from which on a column is shown."""


def drawing(view: RunView, *, width: int, height: int) -> RenderableType:
    """Return the table, no larger than the terminal, which could not erase the rest."""
    known = any(each.expected is not None for each in view.running)
    names = [name for name, _, least in _COLUMNS if width >= least and (known or name != "left")]
    lines = [Text(view.summary, style="bold")]
    # The summary, the table's head, the line for the rest, and the one the cursor is in.
    rows = view.running[: max(height - 4, 0)]
    if rows:
        lines.append(Text(_line("target", {name: name for name in names}, width), style="dim"))
    for each in rows:
        times = _times(each, view.now)
        lines.append(Text(_line(each.target_id, {name: times[name] for name in names}, width)))
    more = len(view.running) - len(rows)
    if more and rows:
        lines.append(Text(f"... and {more} more", style="dim"))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _times(each: RunningTarget, now: float) -> dict[str, str]:
    total = now - each.since
    return {
        "step": each.step,
        "total": duration(total),
        "in step": duration(now - each.step_since),
        "left": "" if each.expected is None else duration(max(each.expected - total, 0.0)),
    }


def _shortened(target: str, room: int) -> str:
    """Shorten an ID in its middle, because Python and variant tell targets apart."""
    if len(target) <= room:
        return target
    head = 5 if room > 2 * 5 else 0
    return f"{target[:head]}…{target[head + 1 - room :]}"[:room]


def _line(target: str, cells: Mapping[str, str], width: int) -> str:
    widths = {name: size for name, size, _ in _COLUMNS if name in cells}
    room = max(width - 1 - sum(size + 2 for size in widths.values()), 1)
    columns = [_shortened(target, room).ljust(room)]
    for name, size in widths.items():
        cell = cells[name][:size]
        columns.append(cell.ljust(size) if name == "step" else cell.rjust(size))
    return "  ".join(columns)
