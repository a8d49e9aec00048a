"""The store of a run: the local directory, in front of the shared one.

Blobs are written first, and the record that names them last. Everything that is read is compared
with its hash; damaged data counts as missing, with one warning. No store error fails a build.

A record that this machine did not make is a claim. Whether it is taken at all is what `trust` says;
what it says of its wheel is believed only if a trusted key signed it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.store_trust import StoreTrust
from orchestrator.store.result_record import (
    RefusedError,
    RemoteError,
    UnreadableRecordError,
    pack,
)
from orchestrator.store.seals import HERE, SHARED, TrustedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.models.target import Digest, TargetId
    from orchestrator.store.local import LocalStore
    from orchestrator.store.remote import RemoteStore
    from orchestrator.store.result_record import Blob, Record, SealedRecord
    from orchestrator.store.seals import SigningKey

_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Store:
    """A local store, and optionally a shared one behind it.

    Attributes:
        local: the directory.
        warn: gets one line for each problem of a store, once.
        open_remote: opens the shared store when it is first needed; None if there is none.
        read_only: whether the shared store is only read.
        trust: which claims are taken.
        keys: the keys whose holders are believed.
        signer: signs what this machine puts into the shared store; None if nothing does.
        wrote: whether the directory has something new that takes room.
    """

    local: LocalStore
    warn: Callable[[str], object]
    open_remote: Callable[[], RemoteStore] | None = None
    read_only: bool = False
    trust: StoreTrust = StoreTrust.ALL
    keys: TrustedKeys = field(default_factory=TrustedKeys)
    signer: SigningKey | None = None
    wrote: bool = False
    _remote: RemoteStore | None = None
    _warned: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, address: Digest) -> Record | None:
        """Return an action's record, or None; without verdicts if nobody vouches for them."""
        record = self._taken(self.recall(address))
        if record is not None or self.trust is StoreTrust.NONE:
            return record
        name = f"record {address[:16]} of the shared store"
        found = self._read(name, lambda: self._ask(lambda remote: remote.record(address)))
        if found is None:
            return None
        signer = self._signer(found)
        record = found.record.claim if signer == SHARED else replace(found.record, origin=signer)
        record = self._taken(record)
        if record is not None:
            self.revise(record)
        return record

    def recall(self, address: Digest) -> Record | None:
        """Return what the local store has, whoever made it, or None."""
        return self._read(f"record {address[:16]}", lambda: self.local.record(address))

    def _read(self, name: str, read: Callable[[], _T | None]) -> _T | None:
        try:
            return read()
        except UnreadableRecordError as error:
            self._say(f"{name} {error}, and counts as missing")
        except OSError as error:
            self._say_unusable(error)
        return None

    def _signer(self, found: SealedRecord) -> str:
        """Return whose word a record of the shared store is."""
        try:
            return self.keys.signer(found.seal, found.record.address, found.body)
        except EnvironmentProblemError as error:
            self._say(f"no signature can be checked: {error.what} ({error.hint})")
            return SHARED

    def _taken(self, record: Record | None) -> Record | None:
        """Return a record as far as it is believed."""
        if record is None or record.origin == HERE:
            return record
        if self.trust is StoreTrust.NONE:
            return None
        if record.origin in self.keys.keys:
            return record
        if self.trust is StoreTrust.SIGNED:
            self._say("results that no trusted key has signed are not taken (store.trust)")
            return None
        # It was taken on the word of a key that is not trusted any more.
        return record if record.origin == SHARED else record.claim

    def fetch(self, blob: Blob, scratch: Path) -> Path | None:
        """Return a file with a blob's bytes, or None.

        Args:
            blob: the blob.
            scratch: a directory for bytes that the local store cannot take; made when needed.
        """
        try:
            found, damaged = self.local.blob(blob)
        except OSError as error:
            self._say_unusable(error)
            found, damaged = None, False
        if damaged:
            self._report_damage(f"blob {blob.sha256[:16]}")
        if found is not None:
            return found
        aside = scratch / f"{blob.sha256}.download"

        def download(remote: RemoteStore) -> bool:
            scratch.mkdir(parents=True, exist_ok=True)
            return remote.download(blob, aside)

        whole = self._ask(download)
        if not whole:
            if whole is False and aside.exists():
                self._report_damage(f"blob {blob.sha256[:16]} of the shared store")
            aside.unlink(missing_ok=True)
            return None
        kept = self._write(lambda: self.local.adopt(aside, blob))
        if kept is None:
            return aside
        aside.unlink()
        return kept

    def put(self, record: Record, files: Iterable[tuple[Blob, Path]]) -> None:
        """Store a result whose blobs are in the local store.

        Args:
            record: the result.
            files: its blobs and their files, for the shared store.
        """

        def share(remote: RemoteStore) -> None:
            try:
                for blob, path in files:
                    remote.upload(blob, path)
                remote.put_record(record.address, pack(record, self._seal(record.address)))
            except RefusedError as error:
                with self._lock:  # other threads may get the same error
                    is_first = not self.read_only
                    self.read_only = True
                if is_first:
                    self._say(f"the shared store is only read from now on in this run: {error}")

        self._write(lambda: self.local.put_record(record))
        if not self.read_only:
            self._ask(share)

    def _seal(self, address: Digest) -> Callable[[bytes], str]:
        signer = self.signer
        return lambda body: "" if signer is None else signer.seal(address, body)

    def revise(self, record: Record) -> None:
        """Replace an action's record in the local store only."""
        self._write(lambda: self.local.put_record(record))

    def keep_file(self, source: Path) -> Blob | None:
        """Put a file into the local store; None if that fails."""
        return self._write(lambda: self.local.put_file(source))

    def keep_bytes(self, data: bytes) -> Blob | None:
        """Put bytes into the local store; None if that fails."""
        return self._write(lambda: self.local.put_bytes(data))

    def remember(self, project: str, results: dict[str, Digest]) -> None:
        """Record the last results of some of a project's targets."""
        self._write(lambda: self.local.remember(project, results), is_small=True)

    def durations(self, project: str, targets: Iterable[TargetId]) -> dict[TargetId, float]:
        """Return how many seconds the last builds of targets took here, of whatever source."""
        last = self.local.last(project)
        records = {each: self.recall(last[each]) for each in targets if each in last}
        return {each: found.duration for each, found in records.items() if found is not None}

    def _ask(self, question: Callable[[RemoteStore], _T]) -> _T | None:
        """Ask the shared store; after its first error it is not used any more."""
        try:
            with self._lock:
                if self._remote is None and self.open_remote is not None:
                    self._remote = self.open_remote()
                remote = self._remote
            return None if remote is None else question(remote)
        except RemoteError as error:
            with self._lock:  # several threads may get errors, each in other words
                is_first = self.open_remote is not None
                self.open_remote = self._remote = None
            if is_first:
                self._say(f"the shared store is not used any more in this run: {error}")
        except OSError as error:
            self._say(f"what the shared store has cannot be written here: {error}")
        return None

    def _write(self, write: Callable[[], _T], *, is_small: bool = False) -> _T | None:
        try:
            done = write()
        except OSError as error:
            self._say(f"{self.local.root} cannot be written, nothing is kept: {error.strerror}")
            return None
        self.wrote = self.wrote or not is_small
        return done

    def _say_unusable(self, error: OSError) -> None:
        self._say(f"{error.filename or self.local.root} is not used: {error.strerror}")

    def _report_damage(self, what: str) -> None:
        self._say(f"{what} is damaged, and counts as missing")

    def _say(self, line: str) -> None:
        with self._lock:
            if line in self._warned:
                return
            self._warned.add(line)
        self.warn(f"store: {line}")
