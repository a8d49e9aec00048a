"""The store in a directory, which any number of processes may share.

Files are written aside, synced and renamed:

    blobs/ab/ab12...       contents, by their SHA-256
    actions/cd/cd34...     records, by the address of the action
    projects/...           the last address of every target, by project
    locks/ leases/ tmp/    of running processes

Directories below it are no symbolic links, and nobody else may write to it: then it is not used.
Each record has this machine's seal (`orchestrator.store.seals`); one without is somebody's claim.

A file's modification time is the time of its last use. Every process that has the store open holds
a lease; garbage collection keeps everything that was used since the oldest lease.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.fsutil import (
    copy_file,
    file_sha256,
    is_private,
    locked,
    make_beneath,
    open_beneath,
    read_file,
    release_lock,
    replacing,
    take_lock,
)
from orchestrator.models.reading import read_json
from orchestrator.models.target import Digest
from orchestrator.store.result_record import (
    LARGEST,
    Blob,
    Record,
    UnreadableRecordError,
    blob_name,
    pack,
    record_name,
    unpack,
)
from orchestrator.store.seals import mac_origin, mac_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

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


_ROOT = PurePath()

_SMALL = 1 << 16
"""Bytes."""

_OWN_SECRET = os.urandom(32)

_FOREIGN = (
    "other users may write to it, or it is theirs (a directory that users share is a shared store: "
    'store.remote = "file://...")'
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    used: float
    size: int


class LocalStore:
    """A store in a directory."""

    def __init__(self, root: Path, secret: Callable[[], bytes] = lambda: _OWN_SECRET) -> None:
        """Take the directory, which the first write makes, and what records are sealed with."""
        self.root = root
        self._secret = cache(secret)
        self._foreign: bool | None = None

    # reading

    def record(self, address: Digest) -> Record | None:
        """Return a record, with its origin; None if there is none.

        Raises:
            UnreadableRecordError: it is none; it was removed.
            OSError: it cannot be read, or must not be, as it is a link or others may write it.
        """
        name = record_name(address)
        try:
            with self._open(name) as stream:
                data = _contents(stream)
                _touch(stream.fileno())
        except FileNotFoundError:
            return None
        try:
            found = unpack(data, address)
        except UnreadableRecordError:
            _discard(self.root / name)
            raise
        origin = mac_origin(self._secret(), found.seal, found.body)
        if origin == found.record.origin:
            return found.record
        return replace(found.record, origin=origin) if origin else found.record.claim

    def blob(self, blob: Blob) -> tuple[Path | None, bool]:
        """Return the file with a blob's bytes, which were checked, and whether it is damaged.

        Raises:
            OSError: it cannot be read, or must not be, as it is a link or others may write it.
        """
        name = blob_name(blob.sha256)
        path = self.root / name
        try:
            with self._open(name) as stream:
                _touch(stream.fileno())
                whole = os.fstat(stream.fileno()).st_size == blob.size
                whole = whole and _sha256(stream, blob.size) == blob.sha256
        except FileNotFoundError:
            return None, False
        if not whole:
            _discard(path)
            return None, True
        return path, False

    def _open(self, name: PurePath | str) -> BufferedReader:
        self._check()
        return open_beneath(self.root, name)

    def _check(self) -> None:
        """Refuse a directory that others may write to.

        Raises:
            FileNotFoundError: there is no directory.
            OSError: it is not ours alone.
        """
        if self._foreign is None:
            info = self.root.stat()
            if not stat.S_ISDIR(info.st_mode):
                raise FileNotFoundError(errno.ENOENT, "is not a directory", str(self.root))
            self._foreign = not is_private(info)
        if self._foreign:
            raise OSError(errno.EPERM, _FOREIGN, str(self.root))

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
        self._put(
            PurePath(blob_name(blob.sha256)), lambda aside: aside.write_bytes(data), blob.size
        )
        return blob

    def adopt(self, source: Path, blob: Blob) -> Path:
        """Store a file that is known to have a blob's bytes; raises OSError."""
        name = PurePath(blob_name(blob.sha256))
        self._put(name, lambda aside: copy_file(source, aside), blob.size)
        return self.root / name

    def put_record(self, record: Record) -> None:
        """Store or replace a record whose blobs are there; raises OSError."""
        data = pack(record, lambda body: mac_seal(self._secret(), record.origin, body))
        self._put(
            PurePath(record_name(record.address)), lambda aside: aside.write_bytes(data), None
        )

    def _put(self, name: PurePath, fill: Callable[[Path], object], size: int | None) -> None:
        """Write a file whole or not at all; one of this size stays: it is named by its hash."""
        place = self.root / name
        with self._shared():
            for folder in (name.parent, PurePath("tmp")):
                make_beneath(self.root, folder)
            if size is not None and _size(place) == size:
                _touch(place)
                return
            # `_sweep` looks there; readable, as several users may share a directory.
            with replacing(place, aside=self.root / "tmp", mode=0o644) as aside:
                fill(aside)

    # the last result of every target

    def last(self, project: str) -> dict[str, Digest]:
        """Return target ID -> address of its last result in this project."""
        with (
            contextlib.suppress(OSError, ConfigError),
            self._open(PurePath("projects", project)) as stream,
        ):
            return read_json(dict[str, Digest], _contents(stream), where=project)
        return {}

    def remember(self, project: str, results: dict[str, Digest]) -> None:
        """Record the last results of some targets; raises OSError."""
        name = PurePath("projects", project)
        self._make(name.parent)
        with locked((self.root / name).with_suffix(".lock")):
            before = self.last(project)
            after = before | results
            if after != before:
                data = json.dumps(after, sort_keys=True).encode()
                self._put(name, lambda aside: aside.write_bytes(data), None)

    # processes

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Protect everything that is used from now on from garbage collection."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # read-only: nobody collects there
                folder = self._make(PurePath("leases"))
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
                path = self._make(PurePath("locks")) / address
                stack.enter_context(locked(path, wait=wait))
                # While it is locked: a process that opened it before notices that it is gone.
                stack.callback(_discard, path)
            yield waited

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        """Prevent garbage collection between two steps of a change."""
        self._make()
        with locked(self.root / "gc.lock", shared=True):
            yield

    def _make(self, folder: PurePath = _ROOT) -> Path:
        """Make a directory of the store; raises OSError if others may write to it."""
        self.root.mkdir(0o700, parents=True, exist_ok=True)
        self._check()
        make_beneath(self.root, folder)
        return self.root / folder

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
            self._check()
            descriptor = take_lock(self.root / "collector.lock", wait=False)
        except OSError:
            return 0
        try:
            self._sweep()
            return self._collect(limit)
        finally:
            release_lock(descriptor)

    def _collect(self, limit: int) -> int:
        records = sorted(self._all("actions"), key=lambda each: each.used)
        blobs = {each.path.name: each for each in self._all("blobs")}
        size = sum(each.size for each in (*records, *blobs.values()))
        if size <= limit:
            return 0
        names = {each.path: {blob.sha256 for blob in _blobs_of(each.path)} for each in records}
        named = Counter(name for some in names.values() for name in some)
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
            for entry in _entries(Path(folder)):
                with contextlib.suppress(OSError):
                    stat = entry.stat()
                    found.append(_File(Path(entry.path), stat.st_mtime, stat.st_size))
        return found


def _blobs_of(path: Path) -> tuple[Blob, ...]:
    with contextlib.suppress(OSError, UnreadableRecordError):
        return unpack(read_file(path), Digest(path.name)).record.blobs
    return ()


def _contents(stream: BufferedReader) -> bytes:
    # A larger number would make Python clear as much memory first.
    return stream.read(min(os.fstat(stream.fileno()).st_size, LARGEST))


def _sha256(stream: BufferedReader, size: int) -> str:
    # A small file takes less time to read than the buffer for a large one takes to make.
    if size <= _SMALL:
        return hashlib.sha256(stream.read()).hexdigest()
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _touch(path: Path | int) -> None:
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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a directory of the store; nothing if a link is in its place."""
    with contextlib.suppress(OSError):
        if not folder.is_symlink():
            with os.scandir(folder) as found:
                return [each for each in found if not each.is_symlink()]
    return []


def _files(folder: Path) -> list[Path]:
    return [Path(each.path) for each in _entries(folder)]
