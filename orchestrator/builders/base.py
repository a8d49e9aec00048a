"""What every backend gets and gives."""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.host import process
from orchestrator.models.result import Failure, FailureKind, StepTime
from orchestrator.models.target import BackendName, BuildRequest, TargetSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.containers.access import Access
    from orchestrator.host.process import Cancel, Finished

Outcome = Path | Failure
"""The one wheel a backend made, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedBuild:
    """Where a build stopped, while everything there is as it was.

    Attributes:
        failure: why.
        argv: what this host runs to open a shell there.
        env: the whole environment of that.
        cwd: its directory on this host.
        again: the last command, as one would type it in that shell; empty where none ran.
        place: where the shell and the files are, in words.
    """

    failure: Failure
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    again: str
    place: str


class StepTimer:
    """A target's way through its steps: how long each one took, what it said, when it must end."""

    def __init__(self, steps: TargetSteps) -> None:
        """Begin now, with the limits of ``steps``."""
        self._limits = dict(steps.timeouts)
        self._limit = steps.timeout
        self._began = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self.cpu_seconds: float | None = None
        self.tail: deque[str] = deque(maxlen=TAIL)

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self._began

    def enter(self, step: str) -> None:
        """A step begins, and the one before ends."""
        self._steps.append((step, time.monotonic()))
        self.tail.clear()

    def spend(self, cpu_seconds: float | None) -> None:
        """Add what a program took; None where nobody knows."""
        if cpu_seconds is not None:
            self.cpu_seconds = (self.cpu_seconds or 0.0) + cpu_seconds

    @property
    def steps(self) -> tuple[StepTime, ...]:
        """How long each step took, the last one up to now."""
        ends = [since for _, since in self._steps[1:]] + [time.monotonic()]
        pairs = zip(self._steps, ends, strict=False)
        return tuple(StepTime(name=name, seconds=end - since) for (name, since), end in pairs)

    def deadline(self) -> float | None:
        """Return the `time.monotonic` at which the target or its step must end; None for never."""
        return min((when for when, _ in self._deadlines()), default=None)

    def limit(self) -> str:
        """Return the limit that is reached first, in words."""
        return min(self._deadlines(), default=(0.0, "no limit"))[1]

    def _deadlines(self) -> list[tuple[float, str]]:
        found = []
        if self._limit is not None:
            found.append((self._began + self._limit, f"the {self._limit} s of build.timeout"))
        if self._steps:
            step, since = self._steps[-1]
            seconds = self._limits.get(step)
            if seconds is not None:
                found.append((since + seconds, f"the {seconds} s of build.timeouts.{step}"))
        return found


TAIL = 60
"""Lines of a step that are looked at when it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """One request on its way through a backend.

    Attributes:
        request: what to build.
        source: this target's own copy of the source; the backend may change it.
        scratch: a private directory, removed afterwards.
        log: takes one line for the target's log.
        step: told the name of each step as it begins.
        cancel: stops the job's programs when set.
        compilers: how the build reaches the compiler cache and native compilers; None for a build
            without.
        course: knows the limits of the target and its steps.
        parallel: variables that say how many programs the build may run at once. They are no part
            of the request: they change how long it takes, and not what comes out. What the matrix
            or the project sets itself wins.
        stopped: told where the build failed, before anything there is removed; None where nobody
            wants to look.
    """

    request: BuildRequest
    source: Path
    scratch: Path
    log: Callable[[str], object]
    step: Callable[[str], object]
    cancel: Cancel
    compilers: Access | None = None
    course: StepTimer = field(default_factory=lambda: StepTimer(TargetSteps()))
    parallel: Mapping[str, str] = field(default_factory=dict)
    stopped: Callable[[StoppedBuild], object] | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        on_line: Callable[[str], object],
        cwd: Path | None = None,
        is_client: bool = False,
    ) -> Finished:
        """Run a program of this job within its limits; see `process.run`.

        Args:
            argv: program and arguments.
            env: the whole environment.
            on_line: gets every line; so does the log.
            cwd: working directory; the source when None.
            is_client: whether it only waits for a container, whose CPU time is not its own.
        """
        end = process.run(
            argv,
            env=env,
            cwd=cwd or self.source,
            log=self.log,
            on_line=on_line,
            until=self.course.deadline,
            cancel=self.cancel,
        )
        if not is_client:
            self.course.spend(end.cpu_seconds)
        return end

    def ended_early(self, end: Finished, *, step: str) -> Failure | None:
        """Return the failure for a program that we stopped, None when it ended by itself."""
        if end.timed_out:
            return Failure(
                kind=FailureKind.TIMEOUT,
                step=step,
                message=f"took longer than {self.course.limit()}",
                hint="raise the limit, or find out what hangs: the log's last lines tell",
            )
        if end.cancelled:
            return Failure(
                kind=FailureKind.CANCELLED, step=step, message="stopped before it was done"
            )
        return None


class Backend(Protocol):
    """Turns a request into a wheel."""

    @property
    def name(self) -> BackendName:
        """Which backend it is."""

    def build(self, job: BuildContext) -> Outcome:
        """Build the wheel in ``job.scratch``.

        Returns:
            The wheel's path, or a `Failure`: a project that does not build is no exception.

        Raises:
            EnvironmentProblemError: a tool of ours is broken.
        """
        ...


_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|ENOSPC")
_KILLED = 137


def machine_trouble(returncode: int, tail: Sequence[str], *, step: str) -> Failure | None:
    """Return the failure when the machine and not the project is to blame: disk or memory."""
    full = next((line for line in tail if _DISK_FULL.search(line)), None)
    if full is not None:
        return Failure(
            kind=FailureKind.DISK,
            step=step,
            message=f"the disk is full: {full.strip()}",
            hint="free some space, or choose another --work-dir; `orchestrator doctor` shows both",
        )
    if returncode in {_KILLED, -9} or any("Killed signal" in line for line in tail):
        return Failure(
            kind=FailureKind.BUILD,
            step=step,
            message="a compiler was killed, most likely because memory ran out",
            hint="lower -j, or set MAX_JOBS in [env]",
        )
    return None
