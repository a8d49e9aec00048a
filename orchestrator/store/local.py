"""The store in a directory, which any number of processes may share.

Files are written aside, synced and renamed:

    blobs/ab/ab12...       contents, by their SHA-256
    actions/cd/cd34...     records, by the address of the action
    projects/...           the last address of every target, by project
    locks/ leases/ tmp/    of running processes

A file's modification time is the time of its last use. Every process that has the store open holds
a lease; garbage collection keeps everything that was used since the oldest lease.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.fsutil import copy_file, file_sha256, locked, replacing, take_lock
from orchestrator.models.target import Digest
from orchestrator.store.result_record import Blob, Record, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOM = 0.9
"""Fraction of its limit that garbage collection leaves, so that the next run need not collect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUsage:
    """The contents of a store.

    Attributes:
        records: number of action results.
        blobs: number of files that they name.
        size: bytes of all of them.
    """

    records: int
    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    used: float
    size: int


class LocalStore:
    """A store in a directory."""

    def __init__(self, root: Path) -> None:
        """Take the directory; the first write makes it."""
        self.root = root

    # reading

    def record(self, address: Digest) -> tuple[Record | None, bool]:
        """Return a record, and whether it is damaged."""
        path = self._action(address)
        try:
            data = path.read_bytes()
        except OSError:
            return None, False
        record = unpack(data, address)
        if record is None:
            _discard(path)
            return None, True
        _touch(path)
        return record, False

    def blob(self, blob: Blob) -> tuple[Path | None, bool]:
        """Return the file with a blob's bytes, which were checked, and whether it is damaged."""
        path = self._blob(blob.sha256)
        try:
            whole = file_sha256(path) == blob.sha256
        except FileNotFoundError:
            return None, False
        except OSError:
            whole = False
        if not whole:
            _discard(path)
            return None, True
        _touch(path)
        return path, False

    # writing

    def put_file(self, source: Path) -> Blob:
        """Store a file.

        Raises:
            OSError: the disk is full, or the store cannot be written.
        """
        blob = Blob(sha256=Digest(file_sha256(source)), size=source.stat().st_size)
        self.adopt(source, blob)
        return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Store bytes; raises OSError like `put_file`."""
        blob = Blob(sha256=Digest(hashlib.sha256(data).hexdigest()), size=len(data))
        self._put(self._blob(blob.sha256), lambda aside: aside.write_bytes(data), blob.size)
        return blob

    def adopt(self, source: Path, blob: Blob) -> Path:
        """Store a file that is known to have a blob's bytes; raises OSError."""
        place = self._blob(blob.sha256)
        self._put(place, lambda aside: copy_file(source, aside), blob.size)
        return place

    def put_record(self, record: Record) -> None:
        """Store or replace a record whose blobs are there; raises OSError."""
        data = pack(record)
        self._put(self._action(record.address), lambda aside: aside.write_bytes(data), None)

    def _put(self, place: Path, fill: Callable[[Path], object], size: int | None) -> None:
        """Write a file whole or not at all.

        Args:
            place: where.
            fill: writes the contents to a path.
            size: of the contents, if they are named by their hash: an existing file stays.
        """
        with self._shared():
            if size is not None and _size(place) == size:
                _touch(place)
                return
            # `_sweep` looks there; readable, as several users may share a directory.
            with replacing(place, aside=self.root / "tmp", mode=0o644) as aside:
                fill(aside)

    # the last result of every target

    def last(self, project: str) -> dict[str, Digest]:
        """Return target ID -> address of its last result in this project."""
        with contextlib.suppress(OSError, ValueError):
            read: Any = json.loads(self._project(project).read_bytes())
            if isinstance(read, dict):
                return {str(name): Digest(str(address)) for name, address in read.items()}
        return {}

    def remember(self, project: str, results: dict[str, Digest]) -> None:
        """Record the last results of some targets; raises OSError."""
        path = self._project(project)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            before = self.last(project)
            after = before | results
            if after != before:
                data = json.dumps(after, sort_keys=True).encode()
                self._put(path, lambda aside: aside.write_bytes(data), None)

    # processes

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Protect everything that is used from now on from garbage collection."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # read-only: nobody collects there
                folder = self.root / "leases"
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
                stack.enter_context(locked(path))
                stack.callback(_discard, path)
                self._sweep()
            yield

    @contextlib.contextmanager
    def turn(self, address: Digest, *, waiting: Callable[[], bool]) -> Iterator[bool]:
        """Hold an action for this process; other processes wait.

        Args:
            address: the action.
            waiting: called again and again while another process holds it; False gives up.

        Yields:
            Whether another process held it before.
        """
        waited = False

        def wait() -> bool:
            nonlocal waited
            waited = True
            return waiting()

        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                path = self.root / "locks" / address
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(path, wait=wait))
                # While it is locked: a process that opened it before notices that it is gone.
                stack.callback(_discard, path)
            yield waited

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        """Prevent garbage collection between two steps of a change."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / "gc.lock", shared=True):
            yield

    def _oldest_lease(self) -> float:
        """Return the time since which a running process may have used files."""
        oldest = time.time()
        for path in _files(self.root / "leases"):
            with contextlib.suppress(OSError):
                taken = path.stat().st_mtime
                try:
                    with locked(path, create=False, wait=False):
                        path.unlink()  # of a process that was killed
                except BlockingIOError:
                    oldest = min(oldest, taken)
        return oldest

    def _sweep(self) -> None:
        """Remove half-written files and the locks of dead processes."""
        for path in _files(self.root / "locks"):
            with contextlib.suppress(OSError), locked(path, create=False, wait=False):
                path.unlink()
        oldest = self._oldest_lease()
        for path in _files(self.root / "tmp"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    # size

    def usage(self) -> StoreUsage:
        """Count records, blobs and bytes."""
        records, blobs = self._all("actions"), self._all("blobs")
        size = sum(each.size for each in (*records, *blobs))
        return StoreUsage(records=len(records), blobs=len(blobs), size=size)

    def collect(self, limit: int) -> int:
        """Remove the least recently used results until the store has at most `limit` bytes.

        Returns:
            How many bytes were freed: none if another process collects, or everything is in use.
        """
        if not self.root.is_dir():
            return 0
        try:
            descriptor = take_lock(self.root / "collector.lock", wait=False)
        except OSError:
            return 0
        try:
            self._sweep()
            return self._collect(limit)
        finally:
            os.close(descriptor)

    def _collect(self, limit: int) -> int:
        records = sorted(self._all("actions"), key=lambda each: each.used)
        blobs = {each.path.name: each for each in self._all("blobs")}
        size = sum(each.size for each in (*records, *blobs.values()))
        if size <= limit:
            return 0
        named: dict[str, int] = {}  # blob -> how many records name it
        names: dict[Path, list[str]] = {}
        for each in records:
            names[each.path] = list({blob.sha256 for blob in _blobs_of(each.path)})
            for name in names[each.path]:
                named[name] = named.get(name, 0) + 1
        oldest = self._oldest_lease()
        doomed = [each for name, each in blobs.items() if name not in named]
        excess = size - int(limit * ROOM) - sum(each.size for each in doomed)
        for each in records:
            if excess <= 0:
                break
            doomed.append(each)
            excess -= each.size
            for name in names[each.path]:
                named[name] -= 1
                if not named[name] and name in blobs:
                    doomed.append(blobs[name])
                    excess -= blobs[name].size
        return sum(self._remove(each, oldest) for each in doomed)

    def _remove(self, file: _File, oldest: float) -> int:
        """Remove a file, unless a process has used it meanwhile."""
        with contextlib.suppress(OSError), locked(self.root / "gc.lock"):
            if file.path.stat().st_mtime < oldest:
                file.path.unlink()
                return file.size
        return 0

    def _all(self, kind: str) -> list[_File]:
        found = []
        for folder in _entries(self.root / kind):
            for entry in _entries(folder):
                with contextlib.suppress(OSError):
                    stat = entry.stat()
                    found.append(_File(Path(entry.path), stat.st_mtime, stat.st_size))
        return found

    def _blob(self, sha256: Digest) -> Path:
        return self.root.joinpath("blobs", sha256[:2], sha256)

    def _action(self, address: Digest) -> Path:
        return self.root.joinpath("actions", address[:2], address)

    def _project(self, project: str) -> Path:
        return self.root / "projects" / project


def _blobs_of(path: Path) -> tuple[Blob, ...]:
    with contextlib.suppress(OSError):
        record = unpack(path.read_bytes(), Digest(path.name))
        return record.blobs if record is not None else ()
    return ()


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        return list(found)
    return []


def _files(folder: Path) -> list[Path]:
    return [Path(each.path) for each in _entries(folder)]
