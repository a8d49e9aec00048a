"""What every backend gets and gives."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.builders.build_requirements import BuildRequirements
from orchestrator.builders.clues import Clues
from orchestrator.containers.access import NO_ACCESS, Access
from orchestrator.host import process
from orchestrator.host.process import PLAIN_UMASK
from orchestrator.host.stall import NO_CONTAINER
from orchestrator.models.result import Failure, FailureKind, StepTime
from orchestrator.models.target import BackendName, BuildRequest, TargetSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.containers.container import ContainerFactory
    from orchestrator.host.process import Cancel, Finished
    from orchestrator.host.stall import Stall

Outcome = Path | Failure
"""The wheel that a backend made, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedBuild:
    """A failed build whose files are still there.

    Attributes:
        failure: why it failed.
        argv: the command on this host that opens a shell there.
        env: its whole environment.
        cwd: its directory on this host.
        again: the last command, to type in that shell; empty if none ran.
        place: where the shell and the files are, in words.
    """

    failure: Failure
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    again: str
    place: str


class StepTimer:
    """Measure the steps of a target, and enforce their limits.

    Attributes:
        began: when the target began, by `time.monotonic`.
        cpu_seconds: CPU time of the programs so far; None if it is unknown.
    """

    def __init__(self, steps: TargetSteps) -> None:
        self._limits = dict(steps.timeouts)
        self._limit = steps.timeout
        self.began = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self.cpu_seconds: float | None = None

    def enter(self, step: str) -> None:
        """Begin a step, which ends the one before."""
        self._steps.append((step, time.monotonic()))

    def spend(self, cpu_seconds: float | None) -> None:
        """Add the CPU time of a program; None if it is unknown."""
        if cpu_seconds is not None:
            self.cpu_seconds = (self.cpu_seconds or 0.0) + cpu_seconds

    @property
    def steps(self) -> tuple[StepTime, ...]:
        """The duration of each step; the last one ends now."""
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
        deadlines = []
        if self._limit is not None:
            deadlines.append((self.began + self._limit, f"the {self._limit} s of build.timeout"))
        if self._steps:
            step, since = self._steps[-1]
            seconds = self._limits.get(step)
            if seconds is not None:
                deadlines.append((since + seconds, f"the {seconds} s of build.timeouts.{step}"))
        return deadlines


_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|ENOSPC")
_KILLED = 137


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """One request on its way through a backend.

    Attributes:
        request: what to build.
        source: this target's own copy of the source; the backend may change it.
        scratch: a private directory, removed afterwards.
        log: takes one line for the target's log.
        step: gets the name of each step when it begins.
        cancel: stops the build's programs when set.
        compilers: how the build reaches the compiler cache and native compilers.
        requirements: what the environment that compiles gets.
        timer: knows the limits of the target and its steps.
        clues: hears what the build's programs print.
        parallel: variables with the number of programs that the build may run at once. They are not
            part of the request: they change how long it takes, not the wheel. Variables of the
            matrix and of the project override them.
        stopped: gets a failed build before its files are removed; None if nobody wants to look.
        waits: hears in a sentence that a step waits for long and what for, and that it moves again.
    """

    request: BuildRequest
    source: Path
    scratch: Path
    log: Callable[[str], object]
    step: Callable[[str], object]
    cancel: Cancel
    compilers: Access = NO_ACCESS
    requirements: BuildRequirements = field(default_factory=BuildRequirements)
    timer: StepTimer = field(default_factory=lambda: StepTimer(TargetSteps()))
    clues: Clues = field(default_factory=Clues)
    parallel: Mapping[str, str] = field(default_factory=dict)
    stopped: Callable[[StoppedBuild], object] | None = None
    waits: Callable[[str], object] = lambda _sentence: None

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        client_of: ContainerFactory | None = None,
    ) -> Finished:
        """Run a program within the limits of the target and its step; see `process.run`.

        Args:
            argv: program and arguments.
            env: the whole environment.
            cwd: working directory; None for the source.
            client_of: makes the container that it waits for, whose CPU time it does not have; None
                where it runs by itself.
        """
        end = process.run(
            argv,
            env=env,
            cwd=cwd or self.source,
            log=self.log,
            on_line=self.clues.hear,
            until=self.timer.deadline,
            cancel=self.cancel,
            umask=PLAIN_UMASK,
            on_stall=self._stalled,
            inside=lambda: client_of.inside(self.request.target) if client_of else NO_CONTAINER,
        )
        if client_of is None:
            self.timer.spend(end.cpu_seconds)
        return end

    def _stalled(self, stall: Stall) -> None:
        for line in (stall.sentence, *(f"  {each}" for each in stall.processes)):
            self.log(f"# {line}")
        self.waits(stall.sentence)

    def trouble(self, end: Finished, *, step: str) -> Failure | None:
        """Return why a program ended if it is not to blame; None if it is, or ended well."""
        if end.timed_out:
            return Failure(
                kind=FailureKind.TIMEOUT,
                step=step,
                message=f"took longer than {self.timer.limit()}",
                hint="raise the limit, or find what hangs in the log's last lines",
            )
        if end.cancelled:
            return Failure(
                kind=FailureKind.CANCELLED, step=step, message="stopped before it was done"
            )
        if end.returncode == 0:
            return None
        return self.clues.differs or machine_trouble(end.returncode, self.clues.tail, step=step)


class Backend(Protocol):
    """Builds the wheel of a request."""

    @property
    def name(self) -> BackendName:
        """The backend's name."""

    def build(self, job: BuildContext) -> Outcome:
        """Build in ``job.scratch``; a project that does not build is a `Failure`, no exception.

        Raises:
            EnvironmentProblemError: one of our tools is broken.
        """
        ...


def machine_trouble(returncode: int, tail: Sequence[str], *, step: str) -> Failure | None:
    """Return the failure if the disk is full or memory ran out: the project is not to blame."""
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
