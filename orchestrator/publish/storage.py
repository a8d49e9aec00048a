"""The storage of a site: a directory or a bucket. Every file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator import extra_hint
from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.fsutil import copy_file, file_sha256, locked, read_file, remove_partial, replacing
from orchestrator.models.reading import LARGEST
from orchestrator.store.remote import error_line

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

_NOTE = "sha256"
"""The attribute (``x-amz-meta-sha256``) that has the hash of a file."""

_CONNECT = timedelta(seconds=30)
_TRANSFER = timedelta(minutes=15)
"""Time for one request, which may carry a part of a wheel over a slow line."""
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=60)
_CHUNK = 8 << 20
"""Bytes of a part: the 10,000 parts of an upload have room for the largest wheel there is."""
_PARTS = 4
"""Parts of a file that are sent at once."""


class Storage(Protocol):
    """Where a site lies; names are relative, with slashes."""

    where: str

    def locked(self) -> AbstractContextManager[None]:
        """Return a context that keeps other updates out, if the storage has locks."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file and its version's ID; None if there is no such file."""

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """Write a file if it still is the version ``seen`` (None: missing); return whether it was.

        A directory needs no check: it is locked.
        """

    def write(self, name: str, data: bytes) -> None:
        """Write a page."""

    def add(self, name: str, source: Path | bytes, sha256: str) -> None:
        """Write a file that never changes, unless it is there with these contents."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


def open_storage(output: str, ca_bundle: Path | None = None) -> Storage:
    """Open what ``--output`` names: a directory, or ``s3://bucket/prefix``.

    Args:
        output: the directory or bucket.
        ca_bundle: PEM file of additional certificate authorities.

    Raises:
        ConfigError: it is neither.
        EnvironmentProblemError: buckets need a package that is not installed.
    """
    scheme, slashes, _ = output.partition("://")
    if not slashes:
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise ConfigError.of("not a directory", where=f"--output {output}")
        return Folder(folder)
    if scheme != "s3":
        raise ConfigError.of(
            f"{output!r} is neither a directory nor a bucket",
            where="--output",
            hint="for instance public/whl or s3://bucket/whl",
        )
    return Bucket(output, ca_bundle)


class Bucket:
    """A bucket with the S3 protocol, through obstore. It has no lock: `swap` sees other updates.

    Every method raises `EnvironmentProblemError` for what the bucket refuses or fails to do.
    """

    def __init__(self, url: str, ca_bundle: Path | None) -> None:
        """Open ``s3://bucket/prefix``; variables AWS_... have credentials, region and endpoint.

        `ca_bundle` is a PEM file of additional certificate authorities.

        Raises:
            EnvironmentProblemError: obstore is not installed, or refuses the settings.
        """
        try:
            import obstore  # noqa: PLC0415 - only buckets need it
            from obstore import exceptions, store  # noqa: PLC0415
        except ImportError:
            raise EnvironmentProblemError.of(
                "buckets need the package obstore, which is not installed",
                where=url,
                hint=extra_hint("remote"),
            ) from None
        self.where = url
        self._obstore = obstore
        self._missing = (FileNotFoundError, exceptions.NotFoundError)
        self._lost = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
        self._errors = (exceptions.BaseError, OSError)
        self._permanent = (
            *self._missing,
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.InvalidPathError,
            exceptions.UnknownConfigurationKeyError,
        )
        client: Any = {"connect_timeout": _CONNECT, "timeout": _TRANSFER}
        client["allow_http"] = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        if ca_bundle is not None:
            client["root_certificate"] = ca_bundle.read_bytes()
        retries: Any = {"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR}
        with self._reported():
            self._store: ObjectStore = store.from_url(
                url, client_options=client, retry_config=retries
            )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise EnvironmentProblemError.of(
                f"the bucket answers: {error_line(error)}",
                where=self.where,
                hint="check address, region (AWS_REGION), endpoint and credentials",
                transient=not isinstance(error, self._permanent),
            ) from error

    def size(self, name: str) -> int | None:
        """Return a file's size; None if there is no such file."""
        with self._reported(), suppress(*self._missing):
            return int(self._obstore.head(self._store, name)["size"])
        return None

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file and its ETag; None if there is no such file."""
        with self._reported(), suppress(*self._missing):
            answer = self._obstore.get(self._store, name)
            return bytes(answer.bytes()), str(answer.meta["e_tag"] or "")
        return None

    def sha256(self, name: str) -> str:
        """Download a file and return its SHA-256."""
        digest = hashlib.sha256()
        with self._reported():
            for chunk in self._obstore.get(self._store, name).stream(min_chunk_size=_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def locked(self) -> AbstractContextManager[None]:
        """See `Storage`."""
        return nullcontext()

    def add(self, name: str, source: Path | bytes, sha256: str) -> None:
        """See `Storage`; the hash is noted beside the file, in its attributes."""
        noted = None
        with self._reported(), suppress(*self._missing):
            answer = self._obstore.get(self._store, name, options={"head": True})
            noted = answer.attributes.get(_NOTE)
        if noted != sha256:
            self.write(name, source, forever=True, sha256=sha256)

    def write(
        self, name: str, data: Any, *, forever: bool = False, sha256: str = "", mode: Any = None
    ) -> None:
        """Write a file: bytes, a path, or an open file; large ones go in parts.

        Args:
            name: the file's name.
            data: its contents.
            forever: whether it never changes, so that caches may keep it.
            sha256: of the contents, which is noted.
            mode: a condition, as for `obstore.put`.
        """
        base = name.rpartition("/")[2]
        kind = _KINDS.get(Path(name).suffix, "application/octet-stream")
        attributes: Any = {
            "Content-Type": SIMPLE_JSON if base == "index.json" else kind,
            "Cache-Control": _FOREVER if forever else _REVALIDATE,
        }
        attributes |= {_NOTE: sha256} if sha256 else {}
        with self._reported():
            self._obstore.put(
                self._store,
                name,
                data,
                attributes=attributes,
                mode=mode,
                chunk_size=_CHUNK,
                max_concurrency=_PARTS,
            )

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """Write a file if it still has the ETag ``seen`` (None: missing); return whether it had.

        A conditional write: If-Match, If-None-Match.
        """
        try:
            self.write(name, data, mode="create" if seen is None else {"e_tag": seen})
        except EnvironmentProblemError as error:
            if isinstance(error.__cause__, self._lost):
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._reported(), suppress(*self._missing):
            self._obstore.delete(self._store, name)


class Folder:
    """A directory; its lock allows one update at a time.

    Every method raises `EnvironmentProblemError`, which names the file of the site.
    """

    def __init__(self, root: Path) -> None:
        """Take the directory; `locked` makes it."""
        self._root = root
        self.where = str(root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for other updates to end; remove what one that was killed was writing."""
        with self._reported(), ExitStack() as stack:
            self._root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self._root))
            remove_partial(self._root, deep=True)
            held = stack.pop_all()
        with held:
            yield

    def read(self, name: str) -> tuple[bytes, str] | None:
        """See `Storage`."""
        with self._reported(name):
            try:
                data = read_file(self._root / name, limit=LARGEST)
            except FileNotFoundError:
                return None
        return data, hashlib.sha256(data).hexdigest()

    def swap(self, name: str, data: bytes, seen: str | None) -> bool:
        """See `Storage`."""
        del seen
        self.write(name, data)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a page; one with the same bytes stays, so that mirrors copy less."""
        there = self.read(name)
        if there is None or there[0] != data:
            with self._reported(name), replacing(self._root / name) as partial:
                partial.write_bytes(data)

    def add(self, name: str, source: Path | bytes, sha256: str) -> None:
        """See `Storage`."""
        place = self._root / name
        with self._reported(name):
            if place.is_file() and file_sha256(place) == sha256:
                return
            with replacing(place) as partial:
                if isinstance(source, bytes):
                    partial.write_bytes(source)
                else:
                    copy_file(source, partial)
                if file_sha256(partial) != sha256:
                    what = "its source changed while it was copied"
                    raise EnvironmentProblemError.of(what, where=name)

    def remove(self, name: str) -> None:
        """Remove a file, and the directories that this leaves empty."""
        path = self._root / name
        with self._reported(name):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            while (path := path.parent) != self._root:
                path.rmdir()

    @contextmanager
    def _reported(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EnvironmentProblemError.of(
                error.strerror or str(error), where=str(self._root / name)
            ) from error
