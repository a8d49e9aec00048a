"""The rows of ``orchestrator doctor``."""

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
    """One check of this machine.

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


def passed(name: str, detail: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, status=CheckLevel.OK, detail=detail)


def warning(name: str, detail: str, fix: str) -> Check:
    """Return a check that found a possible problem."""
    return Check(name=name, status=CheckLevel.WARN, detail=detail, fix=fix)


def failure(name: str, detail: str, fix: str) -> Check:
    """Return a check that found a reason why builds fail."""
    return Check(name=name, status=CheckLevel.FAIL, detail=detail, fix=fix)


def problem(name: str, status: CheckLevel, found: Problem | OrchestratorError) -> Check:
    """Return a check that found a problem; `status` says how much that counts."""
    return Check(name=name, status=status, detail=found.what, fix=found.hint)
