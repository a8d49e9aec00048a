"""The store that machines share: S3, GCS, Azure or an HTTP server, through obstore.

Whatever goes wrong with it is no reason for a build to fail: the caller hears `RemoteError` once,
and goes on without it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.store.record import Blob, Record, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.models import Digest

CONNECT = timedelta(seconds=5)
"""Time a server gets to answer at all."""

TRANSFER = timedelta(minutes=15)
"""Time one request may take, which may carry gigabytes."""

RETRIES = 2
RETRY_FOR = timedelta(seconds=20)

_SECRETS = re.compile(
    r"(?i)//[^/@\s]+@"  # user and password in a URL
    r"|((sig|signature|token|key|secret|password|credential)[\w-]*\"?\s*[=:]\s*)[^&\s,}]+"
)


class RemoteError(Exception):
    """The shared store cannot be used: it is down, slow, forbidden, or not set up."""


class Remote:
    """A store on a server."""

    def __init__(
        self, url: str, *, options: Mapping[str, str], ca_bundle: Path | None = None
    ) -> None:
        """Open it; nothing is sent yet.

        Args:
            url: ``s3://bucket/prefix``, ``gs://…``, ``az://account/container/…``, ``https://…``.
            options: of the service, as obstore names them (``endpoint``, ``region``). Credentials
                come from the environment, as every client of the service takes them.
            ca_bundle: PEM file of certificate authorities that are trusted beside the usual ones.

        Raises:
            RemoteError: obstore is not installed, or refuses the URL or an option.
        """
        try:
            import obstore  # noqa: PLC0415 - an extra
            import obstore.exceptions  # noqa: PLC0415
            import obstore.store  # noqa: PLC0415
        except ImportError:
            raise RemoteError(
                "it needs obstore, which is not installed (`pip install orchestrator[s3]`)"
            ) from None
        self._obstore = obstore
        self._errors = (obstore.exceptions.BaseError, OSError, ValueError)
        open_url: Any = obstore.store.from_url  # its overloads tell the services apart
        plain = _is_plain(url) or any(_is_plain(each) for each in options.values())
        client: dict[str, Any] = {
            "connect_timeout": CONNECT,
            "timeout": TRANSFER,
            "allow_http": plain,
        }
        retries: dict[str, Any] = {"max_retries": RETRIES, "retry_timeout": RETRY_FOR}
        try:
            if ca_bundle is not None:
                client["root_certificate"] = ca_bundle.read_bytes()
            self._store = open_url(
                url,
                **({"config": dict(options)} if options else {}),
                client_options=client,
                retry_config=retries,
            )
        except self._errors as error:
            raise RemoteError(said(error)) from None

    def record(self, address: Digest) -> Record | None:
        """Return a record; None where there is none, or one that is not whole.

        Raises:
            RemoteError: the server cannot be asked.
        """
        data = self._get(_action(address))
        return None if data is None else unpack(bytes(data.bytes()), address)

    def download(self, blob: Blob, destination: Path) -> bool:
        """Write a blob to a file; False where there is none, or other bytes than it should have.

        Raises:
            RemoteError: the server cannot be asked, or stops half-way.
            OSError: the file cannot be written.
        """
        found = self._get(_blob(blob.sha256))
        if found is None:
            return False
        digest = hashlib.sha256()
        chunks = iter(found.stream())
        with destination.open("wb") as stream:
            while (chunk := self._next(chunks)) is not None:
                digest.update(chunk)
                stream.write(chunk)
        return digest.hexdigest() == blob.sha256

    def upload(self, blob: Blob, source: Path) -> None:
        """Store a blob, unless it is there already; raises RemoteError."""
        name = _blob(blob.sha256)
        try:
            if self._obstore.head(self._store, name)["size"] == blob.size:
                return
        except FileNotFoundError:
            pass
        except self._errors as error:
            raise RemoteError(said(error)) from None
        self._put(name, source)

    def put_record(self, record: Record) -> None:
        """Store a record, its blobs first; raises RemoteError."""
        self._put(_action(record.address), pack(record))

    def _get(self, name: str) -> Any:
        try:
            return self._obstore.get(self._store, name)
        except FileNotFoundError:
            return None
        except self._errors as error:
            raise RemoteError(said(error)) from None

    def _next(self, chunks: Any) -> Any:
        try:
            return next(chunks, None)
        except self._errors as error:
            raise RemoteError(said(error)) from None

    def _put(self, name: str, content: Path | bytes) -> None:
        try:
            self._obstore.put(self._store, name, content)
        except self._errors as error:
            raise RemoteError(said(error)) from None


def said(error: Exception) -> str:
    """Return what a library says of an error, in one line, without what may be a credential."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return _SECRETS.sub(_hidden, text)[:300]


def shown(url: str) -> str:
    """Return a URL without user, password and query, which may hold credentials."""
    return re.sub(r"//[^/@]+@", "//", url.partition("?")[0])


def _hidden(match: re.Match[str]) -> str:
    return f"{match[1]}***" if match[1] else "//***@"


def _is_plain(url: str) -> bool:
    return url.startswith("http://")


def _blob(sha256: Digest) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def _action(address: Digest) -> str:
    return f"actions/{address[:2]}/{address}"
