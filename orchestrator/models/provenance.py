"""What a wheel was made from, beyond what its cache key has.

Several commits and CI runs may lead to the same wheel; those that built it are recorded. The terms
are those of SLSA v1 provenance: a source is a resolved dependency, a CI run an invocation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from orchestrator.models.json_form import Limits

Instant = Annotated[float, Limits(le=253_402_300_799, digits=3)]
"""Seconds since the epoch, up to the end of the year 9999."""

MOST_CHANGES = 20
"""Changed files that are named; all are counted."""

MOST_TAGS = 20
"""Tags of a commit that are recorded, with each of its wheels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRevision:
    """The state of the repository in which a source lies.

    Attributes:
        remote: the address of the remote that its branch follows, or of ``origin``, without a
            login; empty for none.
        commit: the object ID of HEAD.
        tags: the first 20 tags of this commit, sorted.
        changed: number of files of the source that are not as in the commit.
        changes: the first of them, sorted, relative to the source.
    """

    remote: str
    commit: str
    tags: tuple[str, ...] = ()
    changed: int = 0
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where and from what a wheel was built.

    Attributes:
        revision: the state of the source's repository; None for an sdist, or without git.
        invocation: the address of the CI run that built it; empty outside of CI.
        workflow: the CI configuration that ran, with its revision, as the CI system names it.
        ref: the branch or tag that the CI run was for: ``refs/heads/main``.
        began: when the build began, in seconds since the epoch; None if nobody said.
    """

    revision: SourceRevision | None = None
    invocation: str = ""
    workflow: str = ""
    ref: str = ""
    began: Instant | None = None
