"""What a build finds in its environment, in rows for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.target import EnvironmentSpec


def environment_rows(environment: EnvironmentSpec) -> Iterator[tuple[str, str, str]]:
    """Yield what the matrix sets: what it is, its value, and the key that sets it."""
    frontend = environment.frontend
    words = () if frontend is None else (frontend.name, *frontend.args)
    for what, value in (
        ("requires", ", ".join(environment.requires)),
        ("constraints", ", ".join(environment.constraints)),
        ("isolation", "" if environment.isolation else "none"),
        ("frontend", shlex.join(words)),
    ):
        if value:
            yield what, value, f"build.{what}"
    for name, url in environment.indexes:
        yield f"index {name}", url, f"indexes.{name}"
