"""What one look at this machine found: the rows of ``orchestrator doctor``."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - pydantic reads these
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.errors import OrchestratorError, Problem


class CheckLevel(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what (``podman``, ``emulation aarch64``, ``python cp312``).
        status: ok, warn (works, or may not be needed) or fail (something asked for cannot work).
        detail: what was found.
        fix: what to do about it; empty when there is nothing to do.
        mend: does it, where that is safe; raises an error if it did not work.
    """

    name: str
    status: CheckLevel
    detail: str
    fix: str = ""
    mend: Callable[[], object] | None = field(
        default=None, compare=False, repr=False, metadata={"exclude": True}
    )


def failed(
    name: str,
    status: CheckLevel,
    problem: Problem | OrchestratorError,
    mend: Callable[[], object] | None = None,
) -> Check:
    """Return the check that found a problem.

    Args:
        name: what was looked at.
        status: how much the problem counts.
        problem: what is wrong, and what to do about it.
        mend: does it.
    """
    return Check(name=name, status=status, detail=problem.what, fix=problem.hint, mend=mend)
