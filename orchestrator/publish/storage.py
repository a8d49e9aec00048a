"""Where a site lies: a directory, or a bucket. Every file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.fsutil import copy_file, locked, replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".whl": "application/octet-stream",
    ".metadata": "text/plain; charset=utf-8",
    ".asc": "text/plain; charset=utf-8",
    ".sha256": "text/plain; charset=utf-8",
    ".provenance": "application/vnd.pypi.integrity.v1+json",
}
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
"""PEP 691's type of ``index.json``."""

_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"

_CONNECT = timedelta(seconds=30)
_TRANSFER = timedelta(minutes=15)
"""Time one request may take, which may carry a part of a wheel over a slow line."""
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=60)
_CHECK = "check address, region (AWS_REGION), endpoint and credentials"


class Storage(Protocol):
    """What an update needs of the place where a site lies; names are relative, with slashes."""

    where: str

    def locked(self) -> Any:
        """Return a context in which no other update runs, where the place can do that."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file and what identifies this version of it; None when it is not there."""

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """Write a file if it still is the version ``seen`` (None: not there); say if it was."""

    def write(self, name: str, data: bytes) -> None:
        """Write a page."""

    def add(self, name: str, source: Path | bytes, size: int) -> None:
        """Write a file that never changes; nothing to do where it is there with this size."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


def open_storage(output: str, ca_bundle: Path | None = None) -> Storage:
    """Return the place that ``--output`` names: a directory, or ``s3://bucket/prefix``.

    Args:
        output: the place.
        ca_bundle: PEM file of certificate authorities that are trusted as well.

    Raises:
        ConfigError: it is neither.
        EnvironmentProblemError: buckets need a package that is not installed.
    """
    scheme, slashes, _ = output.partition("://")
    if not slashes:
        return Folder(Path(output))
    if scheme != "s3":
        raise ConfigError.of(
            f"{output!r} is neither a directory nor a bucket",
            where="--output",
            hint="for instance public/whl or s3://bucket/whl",
        )
    return BucketStorage(output, ca_bundle)


def connected(url: str, ca_bundle: Path | None) -> ObjectStore:
    """Open a bucket; credentials, region and endpoint come from the environment (AWS_...).

    Args:
        url: ``s3://bucket/prefix``.
        ca_bundle: PEM file of certificate authorities that are trusted as well.

    Raises:
        EnvironmentProblemError: obstore is not installed, or refuses the settings.
    """
    try:
        from obstore import exceptions, store  # noqa: PLC0415 - only buckets need it
    except ImportError:
        raise EnvironmentProblemError.of(
            "buckets need the package obstore", where=url, hint="pip install obstore"
        ) from None
    client: Any = {"connect_timeout": _CONNECT, "timeout": _TRANSFER}
    client["allow_http"] = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    if ca_bundle is not None:
        client["root_certificate"] = ca_bundle.read_bytes()
    retries: Any = {"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR}
    try:
        return store.from_url(url, client_options=client, retry_config=retries)
    except exceptions.BaseError as error:
        raise EnvironmentProblemError.of(_answer(error), where=url, hint=_CHECK) from error


def _answer(error: Exception) -> str:
    return f"the bucket answers: {str(error).splitlines()[0]}"


class Folder:
    """A directory. One update at a time: the directory itself is locked."""

    def __init__(self, root: Path) -> None:
        """Take the directory; it is made when it is locked."""
        self._root = root
        self.where = str(root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for other updates to end."""
        self._root.mkdir(parents=True, exist_ok=True)
        with locked(self._root):
            yield

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `Storage`."""
        try:
            data = (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        return data, hashlib.sha256(data).hexdigest()

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """See `Storage`; the lock has seen to it already."""
        del seen
        self.write(name, data)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a file unless it holds just this: who mirrors the site copies less."""
        there = self.read(name)
        if there is None or there[0] != data:
            with self._replacing(name) as partial:
                partial.write_bytes(data)

    def add(self, name: str, source: Path | bytes, size: int) -> None:
        """See `Storage`."""
        path = self._root / name
        if path.is_file() and path.stat().st_size == size:
            return
        with self._replacing(name) as partial:
            if isinstance(source, bytes):
                partial.write_bytes(source)
            else:
                copy_file(source, partial)

    def remove(self, name: str) -> None:
        """Remove a file, and the directories that are empty then."""
        path = self._root / name
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            while (path := path.parent) != self._root:
                path.rmdir()

    def _replacing(self, name: str) -> AbstractContextManager[Path]:
        # Not synced: a site has thousands of files, and the next update writes what is missing.
        return replacing(self._root / name, durable=False)


class BucketStorage:
    """A bucket with the S3 protocol. Updates at the same time see each other by ``swap``."""

    def __init__(self, url: str, ca_bundle: Path | None = None) -> None:
        """Open a bucket; see `connected`."""
        self._store: ObjectStore = connected(url, ca_bundle)
        import obstore  # noqa: PLC0415 - an extra, which `connected` has found
        from obstore import exceptions  # noqa: PLC0415

        self.where = url
        self._put, self._get, self._delete = obstore.put, obstore.get, obstore.delete
        self._head = obstore.head
        self._errors = exceptions

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A bucket has no lock."""
        yield

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `Storage`."""
        with self._reported():
            try:
                found = self._get(self._store, name)
            except (FileNotFoundError, self._errors.NotFoundError):
                return None
            return bytes(found.bytes()), str(found.meta["e_tag"] or "")

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """See `Storage`: a conditional write (If-Match, If-None-Match)."""
        mode: Any = "create" if seen is None else {"e_tag": seen}
        with self._reported():
            try:
                self._put(self._store, name, data, attributes=described(name), mode=mode)
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        with self._reported():
            self._put(self._store, name, data, attributes=described(name))

    def add(self, name: str, source: Path | bytes, size: int) -> None:
        """See `Storage`; large files go in parts."""
        with self._reported():
            with suppress(FileNotFoundError, self._errors.NotFoundError):
                if self._head(self._store, name)["size"] == size:
                    return
            self._put(self._store, name, source, attributes=described(name, forever=True))

    def remove(self, name: str) -> None:
        """See `Storage`."""
        with self._reported(), suppress(FileNotFoundError, self._errors.NotFoundError):
            self._delete(self._store, name)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (self._errors.BaseError, FileNotFoundError) as error:
            raise EnvironmentProblemError.of(
                _answer(error), where=self.where, hint=_CHECK
            ) from error


def described(name: str, *, forever: bool = False) -> Any:
    """Return the attributes of a file of a bucket: its type, and how long caches may keep it.

    Args:
        name: the file's.
        forever: whether it never changes.
    """
    cache = _FOREVER if forever else _REVALIDATE
    kind = _KINDS.get(Path(name).suffix, "application/octet-stream")
    if name.rpartition("/")[2] == "index.json":
        kind = SIMPLE_JSON
    return {"Content-Type": kind, "Cache-Control": cache}
