"""Directories of the user's cache that are made once, and used by many processes.

Each is made aside and put in its place by a rename: it is there as a whole, or not at all. Who uses
one holds a shared lock on it, as on an environment of the toolchain.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import environment, toolchain
from orchestrator.host.process import Cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.errors import Problem

_MAKING = ".making-"

_ABANDONED = 24 * 3600.0
"""Seconds after which nobody is making any more what is half-made: apt and uv get less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A directory of the cache.

    Attributes:
        folder: the directory.
        hold: keeps it from being pruned; None where this file system has no locks.
    """

    folder: Path
    hold: environment.Hold | None = field(default=None, repr=False, compare=False)


def once(folder: Path, make: Callable[[Path], Problem | None]) -> Problem | None:
    """See to it that a directory is there, whole. Any number of processes may do this at once.

    Args:
        folder: the directory.
        make: fills an empty directory, whose parent is a place for everything else and removed
            afterwards; says why it cannot.
    """
    if folder.is_dir():
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=_MAKING) as aside:
        made = Path(aside, "made")
        made.mkdir()
        problem = make(made)
        if problem is not None:
            return problem
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process made the same at the same time
                raise
    return None


def provide(
    folder: Path, make: Callable[[Path], Problem | None], *, current: Callable[[str], bool]
) -> Kept | Problem:
    """Return a directory that nobody prunes while the answer lives; make it where it is missing.

    What was not used for long, and nobody would use again, goes when another one is made.

    Args:
        folder: the directory.
        make: as for `once`.
        current: as for `prune`.
    """

    def make_lockable(made: Path) -> Problem | None:
        problem = make(made)
        if problem is None:
            (made / environment.IN_USE).touch()
        return problem

    while True:
        is_new = not folder.is_dir()
        problem = once(folder, make_lockable)
        if problem is not None:
            return problem
        if is_new:
            with contextlib.suppress(EnvironmentProblemError):  # no locks here: then by hand
                prune(folder.parent, current, _silent, unused_for=toolchain.KEEP)
        try:
            return Kept(folder=folder, hold=environment.hold(folder))
        except BlockingIOError:
            continue  # it is being removed
        except OSError:
            if folder.is_dir():  # a cache that others made, without what is locked
                return Kept(folder=folder)


def prune(
    place: Path,
    current: Callable[[str], bool],
    say: toolchain.Progress,
    *,
    unused_for: float = 0.0,
) -> tuple[Path, ...]:
    """Remove the directories in a directory that no process uses, and what was half-made.

    Args:
        place: the directory.
        current: says by its name whether one is of this version of the program; those stay.
        say: told when another process has to be waited for.
        unused_for: seconds that the others must have been unused.

    Returns:
        What was removed.
    """
    if not place.is_dir():
        return ()
    with toolchain.machine_errors(place), toolchain.locked_folder(place, say, Cancel()):
        litter = toolchain.remove_unused(
            place, lambda root: not root.name.startswith(_MAKING), unused_for=_ABANDONED
        )
        others = toolchain.remove_unused(
            place,
            lambda root: root.name.startswith(_MAKING) or current(root.name),
            unused_for=unused_for,
        )
    return (*litter, *others)


def _silent(_line: str) -> None:
    """Take a line and do nothing with it."""
