"""Directories of the user's cache that are made once, and used by many processes.

Each is made aside and put in its place by a rename: it is there as a whole, or not at all. Who uses
one holds a shared lock on it, as on an environment of the toolchain.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.process import Cancel
from orchestrator.provision.failures import failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAKING = ".making-"

_ABANDONED = 24 * 3600.0
"""Seconds after which nobody is making any more what is half-made: apt and uv get less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A directory of the cache.

    Attributes:
        folder: the directory.
        hold: keeps it from being pruned; None where this file system has no locks.
    """

    folder: Path
    hold: CacheLock | None = field(default=None, repr=False, compare=False)


def make_once(folder: Path, make: Callable[[Path], object]) -> None:
    """Make a directory unless it is there. Any number of processes may do this at once.

    Args:
        folder: the directory.
        make: fills an empty directory, whose parent is a place for everything else and removed
            afterwards; if it raises, nothing is left.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=_MAKING) as aside:
        made = Path(aside, "made")
        made.mkdir()
        make(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process made the same at the same time
                raise


def provide_entry(
    folder: Path, make: Callable[[Path], object], *, current: Callable[[str], bool]
) -> CacheEntry:
    """Return a directory that is not pruned while the answer lives; make it if it is missing.

    Making one prunes those of other versions that nobody used for long.

    Args:
        folder: the directory.
        make: as for `make_once`.
        current: as for `prune_entries`.
    """

    def make_lockable(made: Path) -> None:
        make(made)
        (made / IN_USE).touch()

    while True:
        is_new = not folder.is_dir()
        make_once(folder, make_lockable)
        if is_new:
            with contextlib.suppress(EnvironmentProblemError):  # no locks here: then by hand
                prune_entries(folder.parent, current, _silent, unused_for=KEEP)
        try:
            return CacheEntry(folder=folder, hold=hold(folder))
        except BlockingIOError:
            continue  # it is being removed
        except OSError:
            if folder.is_dir():  # a cache that others made, without what is locked
                return CacheEntry(folder=folder)


def prune_entries(
    place: Path,
    current: Callable[[str], bool],
    say: Progress,
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
    with machine_errors(place), locked_folder(place, say, Cancel()):
        litter = remove_unused(
            place, lambda root: not root.name.startswith(_MAKING), unused_for=_ABANDONED
        )
        others = remove_unused(
            place,
            lambda root: root.name.startswith(_MAKING) or current(root.name),
            unused_for=unused_for,
        )
    return (*litter, *others)


def _silent(_line: str) -> None:
    """Take a line and do nothing with it."""


IN_USE = "in-use"
"""Every process that uses the environment holds a shared lock on this file."""


class CacheLock:
    """A shared lock on an environment: while this object lives, nobody prunes it."""

    __slots__ = ("__weakref__",)

    def __init__(self, descriptor: int) -> None:
        weakref.finalize(self, os.close, descriptor)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Another process has to take its own."""
        return type(None), ()


def hold(root: Path) -> CacheLock | None:
    """Take the shared lock of an environment and note that it was used.

    Returns:
        None where the file system has no locks.

    Raises:
        BlockingIOError: it is being removed.
        OSError: it is gone.
    """
    path = root / IN_USE
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    held = CacheLock(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # some network file systems
        return None
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise BlockingIOError(path)
    with contextlib.suppress(OSError):  # a cache that others made, and only they may write
        os.utime(descriptor)
    return held


@contextlib.contextmanager
def unused(root: Path) -> Iterator[bool]:
    """Say whether nobody uses an environment, and keep everybody out for the while."""
    try:
        descriptor = os.open(root / IN_USE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # half-made, or of an earlier version of this program
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)


KEEP = 30 * 24 * 3600.0
"""Seconds after which a new environment takes the place of unused ones of other locks."""


Progress = Callable[[str], object]
"""Told what is being done, a line for each step."""


_NEW, _OLD = ".new-", ".old-"
"""What directories are called that are half-made, or half removed."""


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return $ORCHESTRATOR_CACHE_DIR, else `orchestrator` in the user's cache directory."""
    if own := environ.get("ORCHESTRATOR_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    shared = environ.get("XDG_CACHE_HOME", "")
    # XDG base directory specification: a relative path there is invalid and ignored.
    if Path(shared).is_absolute():
        return Path(shared, "orchestrator")
    return Path(environ.get("HOME") or Path.home(), ".cache", "orchestrator")


def remove_unused(
    place: Path, keep: Callable[[Path], bool], *, unused_for: float
) -> tuple[Path, ...]:
    """Remove the directories in a directory that no process uses; whoever asks holds its lock.

    Args:
        place: the directory.
        keep: says which of them stay all the same; asked in the order of their names.
        unused_for: seconds that the others must have been unused.

    Returns:
        What was removed.
    """
    removed = []
    for root in sorted(place.iterdir()):
        if not root.is_dir():
            continue
        with unused(root) as free:
            if free and not (keep(root) or _age(root) < unused_for):
                _remove(root)
                removed.append(root)
    return tuple(removed)


def clear(place: Path) -> None:
    """Remove what a killed process left half-made; only the lock's holder makes such things."""
    for litter in [*place.glob(f"{_NEW}*"), *place.glob(f"{_OLD}*")]:
        shutil.rmtree(litter)


def _age(root: Path) -> float:
    """Seconds since it was used."""
    used = root / IN_USE
    return time.time() - (used if used.exists() else root).stat().st_mtime


def _remove(root: Path) -> None:
    """Take it out of sight at once, then remove it."""
    if not root.name.startswith("."):
        root = root.rename(tempfile.mkdtemp(prefix=_OLD, dir=root.parent))
    shutil.rmtree(root)


@contextlib.contextmanager
def locked_folder(place: Path, say: Progress, cancel: Cancel) -> Iterator[int]:
    """Hold a directory's file lock; the kernel releases it when all who have it open are gone."""
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _try_lock(descriptor):
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            say(f"waiting for {holder or 'another process'}, which has {place}")
            while not _try_lock(descriptor):
                if cancel.is_set():
                    raise failed("cancelled", "")
                time.sleep(0.2)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def machine_errors(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses into errors that say what to do."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or place}: {error.strerror or error}"
        raise failed(what, what) from error
