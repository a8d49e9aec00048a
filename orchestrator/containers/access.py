"""How a build reaches what is not in its image or on its host: directories, variables, mounts."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.fsutil import read_beneath

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How one target's build reaches the cache, or native compilers.

    Attributes:
        links: the directories that come first on PATH, where the build runs.
        env: variables for the build.
        private: variables whose values nobody may print; by name only in argument lists.
        mounts: (path on this host, path in the container, whether the build may write there).
        frontend: cibuildwheel's ``build-frontend`` where the project chooses none; empty for its
            own default.
    """

    links: tuple[Path, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    private: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    mounts: tuple[tuple[Path, Path, bool], ...] = ()
    frontend: str = ""

    @property
    def path(self) -> str:
        """What PATH begins with."""
        return ":".join(map(str, self.links))

    def in_front_of(self, other: Access) -> Access:
        """Return both; what this one's links call are the other's, and so are its variables."""
        theirs = dict(other.env)
        return Access(
            links=(*self.links, *other.links),
            env=(*other.env, *(each for each in self.env if each[0] not in theirs)),
            private=(*other.private, *self.private),
            mounts=(*other.mounts, *self.mounts),
            frontend=self.frontend or other.frontend,
        )

    def container_args(self) -> tuple[str, ...]:
        """Return the engine's arguments; its client needs `private` in its environment."""
        volumes = (
            f"--volume={here}:{there}{'' if writable else ':ro'}"
            for here, there, writable in self.mounts
        )
        return (*volumes, *(f"--env={name}" for name, _ in self.private))

    def exports(self) -> tuple[str, ...]:
        """Return lines of shell that do what `links` and `env` say."""
        lines = (f"export {name}={shlex.quote(value)}" for name, value in self.env)
        return (*lines, *((f'export PATH="{self.path}:$PATH"',) if self.links else ()))


NO_ACCESS = Access()
"""A build with what its image or host has, and nothing else."""


def count_words(folder: Path, name: str) -> Counter[str]:
    """Count the words of a log that a build wrote into a directory of this host.

    The build may have put anything there; what is no plain file counts as empty.
    """
    with contextlib.suppress(OSError):
        return Counter(
            read_beneath(folder, name, limit=_LARGEST_LOG).decode(errors="replace").split()
        )
    return Counter()


_LARGEST_LOG = 64 << 20
