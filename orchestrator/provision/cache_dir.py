"""The cache directory: make, share and remove its entries.

It has a directory for each area of `AREAS`. An entry of an area is made aside and gets its name by
a rename, when it is complete. Its name begins with a digest of the files of this program that it
depends on: another version of the program makes other entries. A process holds a shared lock on
each entry that it uses; an entry in use is never removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.fsutil import NEW, NoLocksError, locked, making, read_file, remove_tree, take_lock
from orchestrator.host.process import Cancel
from orchestrator.provision.failures import machine_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Progress = Callable[[str], object]
"""Told what is being done, a line for each step."""


def silent(_line: str) -> None:
    """Take a line and do nothing with it."""


IN_USE = "in-use"
"""Every process that uses an entry holds a shared lock on this file of it."""

KEEP = 30 * 24 * 3600.0
"""Seconds that an entry of another version stays unused before a new entry takes its place."""

_PACKAGE = Path(__file__).parents[1]


class CacheLock:
    """A shared lock on an entry, which keeps it from being pruned while this object lives."""

    __slots__ = ("__weakref__",)

    def __init__(self, descriptor: int) -> None:
        weakref.finalize(self, os.close, descriptor)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Another process has to take its own."""
        return type(None), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """A directory of the cache.

    Attributes:
        folder: the directory.
        hold: keeps it from being pruned; None if this file system has no locks.
    """

    folder: Path
    hold: CacheLock | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CacheArea:
    """A directory of the cache, with one entry for each thing of a kind.

    Attributes:
        name: of the directory.
        what: what its entries are, for people.
        recipe: patterns of the files of this program that decide what is in an entry; none for an
            area that `prune` leaves alone.
        lifetime: seconds that an entry of this version stays unused before it is pruned; None for
            ever.
    """

    name: str
    what: str
    recipe: tuple[str, ...] = ()
    lifetime: float | None = None

    def place(self, cache_dir: Path) -> Path:
        """Return the directory."""
        return cache_dir.absolute() / self.name

    def folder(self, cache_dir: Path, name: str) -> Path:
        """Return the directory of this version's entry of a name, whether it is there or not."""
        return self.place(cache_dir) / (f"{self.version}-{name}" if self.recipe else name)

    @property
    def version(self) -> str:
        """What the names of this program's entries have in common."""
        files = [path for pattern in self.recipe for path in sorted(_PACKAGE.glob(pattern))]
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]

    def is_current(self, name: str) -> bool:
        """Whether an entry is one of this version of the program, perhaps for another machine."""
        return self.version in name.split("-")

    def provide(
        self,
        cache_dir: Path,
        name: str,
        make: Callable[[Path], object],
        *,
        say: Progress = silent,
        cancel: Cancel | None = None,
    ) -> CacheEntry:
        """Return an entry that is not pruned while the result lives; make it if it is missing.

        If several processes want it at once, one makes it, and the others wait. Making an entry
        prunes entries of other versions that nobody has used for a long time.

        Args:
            cache_dir: the user's cache directory.
            name: what the entry is.
            make: fills an empty directory, whose parent is removed afterwards and may hold
                anything else; if it raises, nothing is left.
            say: told which process is waited for.
            cancel: ends the waiting.

        Raises:
            EnvironmentProblemError: the cache cannot be written, or `make` says so.
        """
        folder = self.folder(cache_dir, name)
        while True:
            if entry := existing_entry(folder):
                return entry
            with self.locked(cache_dir, say, cancel or Cancel()) as lock:
                if not folder.is_dir():
                    self.prune_unused(cache_dir, lock, unused_for=KEEP)
                    with making(folder) as made:
                        make(made)
                        (made / IN_USE).touch()

    @contextlib.contextmanager
    def locked(self, cache_dir: Path, say: Progress, cancel: Cancel) -> Iterator[int]:
        """Be the only process that makes or removes entries; `say` is told who is waited for.

        Yields:
            The lock's descriptor: a child that inherits it keeps the lock until it ends. Negative
            if the file system has no locks.

        Raises:
            EnvironmentProblemError: cancelled, or the operating system refuses something.
        """
        place = self.place(cache_dir)
        told = False

        def wait() -> bool:
            nonlocal told
            if not told:
                holder = read_file(place / "lock").decode("utf-8", "replace").strip()
                say(f"waiting for {holder or 'another process'}, which has {place}")
                told = True
            return not cancel.is_set()

        with machine_errors(place), contextlib.ExitStack() as stack:
            place.mkdir(parents=True, exist_ok=True)
            lock = -1
            try:
                lock = stack.enter_context(locked(place / "lock", wait=wait))
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
            except NoLocksError:
                pass  # then several processes may make the same
            except BlockingIOError:
                raise EnvironmentProblemError.of("cancelled", kind=ErrorKind.CANCELLED) from None
            yield lock

    def prune(self, cache_dir: Path, say: Progress) -> tuple[Path, ...]:
        """Remove the entries of other versions that no process uses, and return them."""
        if not self.recipe or not self.place(cache_dir).is_dir():
            return ()
        with self.locked(cache_dir, say, Cancel()) as lock:
            if lock < 0:
                raise EnvironmentProblemError.of(
                    "file locks do not work here, so nobody knows what is in use",
                    where=str(self.place(cache_dir)),
                    hint="remove the directory while no build runs",
                )
            return self.prune_unused(cache_dir, lock, unused_for=0.0)

    def prune_unused(self, cache_dir: Path, lock: int, *, unused_for: float) -> tuple[Path, ...]:
        """Remove entries that nobody needs, and what killed processes left; return what is removed.

        `lock` is from `locked`: without locks nobody knows what is used, and everything stays.
        Entries of other versions must have been unused for `unused_for` seconds.
        """
        removed = []
        for root in sorted(self.place(cache_dir).iterdir()) if lock >= 0 else ():
            least = self.lifetime if self.is_current(root.name) else unused_for
            if not root.is_dir() or least is None:
                continue
            # Only the holder of the lock makes such directories.
            is_litter = root.name.startswith((NEW, ".old-"))
            with unused(root) as free:
                if free and (is_litter or _age(root) >= least):
                    remove_entry(root)
                    removed.append(root)
        return tuple(removed)


TOOLCHAIN = CacheArea(
    "toolchain", "environments of the locked tools", ("provision/toolchain.lock",)
)
ZIG = CacheArea("zig", "zig, and the C libraries it has built", ("provision/zig.lock",))
PORTABLE = CacheArea(
    "portable", "uv for containers", ("provision/toolchain.lock", "provision/relocate.py")
)
CROSS_GCC = CacheArea(
    "cross-gcc",
    "Debian's gcc for images of another architecture",
    ("provision/apt.py", "provision/cross_gcc.py", "provision/relocate.py"),
)
NVCC = CacheArea(
    "nvcc",
    "nvcc for images of another architecture",
    ("provision/cuda.py", "provision/nvcc.py", "provision/relocate.py"),
)
CUDA = CacheArea("cuda", "CUDA toolkits made of wheels", ("provision/cuda.py",))
FOREIGN_PYTHONS = CacheArea(
    "foreign-pythons",
    "QEMU, and Pythons of other architectures",
    ("models/platforms.py", "provision/apt.py", "provision/foreign_python.py"),
)
DRIVERS = CacheArea(
    "drivers",
    "the program that native compilers are links to",
    ("cross/driver.py", "cross/driver_src/*", "provision/zig.lock"),
)
NATIVE = CacheArea(
    "native",
    "links with the names of an image's compilers",
    (
        "containers/toolkits.sh",
        "cross/driver.py",
        "cross/driver_src/*",
        "cross/native_gcc.py",
        "cross/native_uv.py",
    ),
)
ENVIRONMENTS = CacheArea(
    "environments",
    "what builds require, installed once for all of them, and uv's downloads",
    ("provision/environments.py",),
    lifetime=14 * 24 * 3600.0,
)
PROCESSORS = CacheArea("processors", "what emulated programs find in /proc/cpuinfo")
HEADERS = CacheArea("headers", "C headers of Debian's Pythons")
AREAS = (
    *(TOOLCHAIN, ZIG, PORTABLE, CROSS_GCC, NVCC, CUDA, FOREIGN_PYTHONS, DRIVERS, NATIVE),
    *(ENVIRONMENTS, PROCESSORS, HEADERS),
    CacheArea("pythons", "Pythons that uv fetched: environments are links to them"),
    CacheArea("interpreters", "which Python was found for which tag"),
    CacheArea("nvccs", "digests of this host's CUDA compilers"),
    CacheArea("sdists", "sdists that are built instead of a directory"),
    CacheArea("sources", "digests of source trees"),
    CacheArea("ccache", "objects that compilers made; ccache keeps to its own limit"),
    CacheArea("store", "results of builds; see `orchestrator cache`"),
    CacheArea("runs", "builds whose work directory has a name that commands stumble over"),
)
"""All that is below the cache directory. `toolchain prune` prunes those with a recipe."""


def prune(cache_dir: Path, say: Progress) -> tuple[Path, ...]:
    """Remove what other versions of this program have made and no process uses; return it."""
    return tuple(root for area in AREAS for root in area.prune(cache_dir, say))


def existing_entry(folder: Path) -> CacheEntry | None:
    """Return an entry, held, or None if it is missing or being removed."""
    if not folder.is_dir():
        return None
    with contextlib.suppress(OSError):  # of an earlier version of this program
        (folder / IN_USE).touch()
    try:
        return CacheEntry(folder=folder, hold=hold(folder))
    except BlockingIOError:
        return None
    except OSError:  # a cache that others made, and only they may write
        return CacheEntry(folder=folder) if folder.is_dir() else None


def hold(root: Path) -> CacheLock | None:
    """Take the shared lock of an entry, and note that it was used.

    Returns:
        None if the file system has no locks.

    Raises:
        BlockingIOError: it is being removed.
        OSError: it is gone.
    """
    try:
        descriptor = take_lock(root / IN_USE, shared=True, create=False, wait=False)
    except NoLocksError:
        return None
    with contextlib.suppress(OSError):  # a cache that others made, and only they may write
        os.utime(descriptor)
    return CacheLock(descriptor)


@contextlib.contextmanager
def unused(root: Path) -> Iterator[bool]:
    """Yield whether nobody uses an entry; nobody can begin to use it meanwhile."""
    with contextlib.ExitStack() as stack:
        free = True
        try:
            stack.enter_context(locked(root / IN_USE, create=False, wait=False))
        except FileNotFoundError:  # of an earlier version of this program
            pass
        except OSError:
            free = False
        yield free


def remove_entry(root: Path) -> None:
    """Rename a directory, then remove it; for the holder of the area's lock."""
    remove_tree(root.rename(tempfile.mkdtemp(prefix=NEW, dir=root.parent)))


def _age(root: Path) -> float:
    """Seconds since it was used."""
    used = root / IN_USE
    return time.time() - (used if used.exists() else root).stat().st_mtime


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return $ORCHESTRATOR_CACHE_DIR, else `orchestrator` in the user's cache directory."""
    if own := environ.get("ORCHESTRATOR_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    shared = environ.get("XDG_CACHE_HOME", "")
    # XDG base directory specification: a relative path there is invalid and ignored.
    if Path(shared).is_absolute():
        return Path(shared, "orchestrator")
    return Path(environ.get("HOME") or Path.home(), ".cache", "orchestrator")


@contextlib.contextmanager
def machine_errors(place: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors that say what to do."""
    try:
        yield
    except OSError as error:
        raise machine_error(error, place) from error
