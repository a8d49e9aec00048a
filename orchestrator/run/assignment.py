"""What a worker gets: a target, with everything that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.access import Access
from orchestrator.models.target import VerifyPolicy
from orchestrator.models.wheel import Finding, WheelReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.builders.base import Backend
    from orchestrator.models.result import CompileReport, ContainerInfo
    from orchestrator.models.target import BuildRequest, Target
    from orchestrator.run.cache_key import Action

Check = Callable[[Path, WheelReport, VerifyPolicy, Callable[[str], object]], tuple[Finding, ...]]
"""What other tools say about a finished wheel; see `ExternalChecks`."""

Compilers = Callable[[Path], Access]
"""Opens the compiler cache and native compilers for a build, given its private directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A target with the backend that will build it.

    Attributes:
        request: what to build.
        backend: what builds it.
        reason: why this backend.
        action: where its result will lie; None for a result that is not stored.
        container: what its container is made by and of; None without one.
        compilers: opens the compiler cache and native compilers for it; None for a build without.
        compiled: how it is compiled for a foreign architecture; None for this machine's own.
        parallel: variables that say how many programs it may run at once.
    """

    request: BuildRequest
    backend: Backend
    reason: str
    action: Action | None = None
    container: ContainerInfo | None = None
    compilers: Compilers | None = None
    compiled: CompileReport | None = None
    parallel: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The target."""
        return self.request.target
