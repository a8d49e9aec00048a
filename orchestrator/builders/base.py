"""What every backend gets and gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.models import BackendName, BuildRequest, Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.builders.compiler_cache import Access
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.process import Cancel, Finished
    from orchestrator.host.toolchain import Toolchain

Outcome = Path | Failure
"""The one wheel a backend made, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request on its way through a backend.

    Attributes:
        request: what to build.
        source: this target's own copy of the source; the backend may change it.
        scratch: a private directory, removed afterwards.
        log: takes one line for the target's log.
        step: told the name of each step as it begins.
        cancel: stops the job's programs when set.
        compilers: how the build reaches the compiler cache; None for a build without.
    """

    request: BuildRequest
    source: Path
    scratch: Path
    log: Callable[[str], object]
    step: Callable[[str], object]
    cancel: Cancel
    compilers: Access | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What backends need to know of this machine.

    Attributes:
        toolchain: the locked tools.
        network: how children reach the network.
        env: the part of our environment that any child may see.
        cache_dir: our cache, for headers and interpreters.
    """

    toolchain: Toolchain
    network: HostNetwork
    env: dict[str, str]
    cache_dir: Path


class Backend(Protocol):
    """Turns a request into a wheel."""

    @property
    def name(self) -> BackendName:
        """Which backend it is."""

    def build(self, job: Job) -> Outcome:
        """Build the wheel in ``job.scratch``.

        Returns:
            The wheel's path, or a `Failure`: a project that does not build is no exception.

        Raises:
            EnvironmentProblemError: a tool of ours is broken.
        """
        ...


_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|ENOSPC")
_KILLED = 137


def ended_early(end: Finished, *, step: str, timeout: int | None) -> Failure | None:
    """Return the failure for a program that we stopped, None when it ended by itself."""
    if end.timed_out:
        return Failure(
            kind=FailureKind.TIMEOUT,
            step=step,
            message=f"took longer than the {timeout} s it may take",
            hint="raise build.timeout, or find out what hangs: the log's last lines tell",
        )
    if end.cancelled:
        return Failure(kind=FailureKind.CANCELLED, step=step, message="stopped before it was done")
    return None


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
