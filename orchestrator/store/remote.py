"""The store that machines share: S3, GCS, Azure or an HTTP (WebDAV) server, through obstore.

None of its errors fails a build: the caller gets a `RemoteError` once, and continues without it.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator import extra_hint
from orchestrator.host import web
from orchestrator.store.result_record import (
    LARGEST,
    Blob,
    RefusedError,
    RemoteError,
    SealedRecord,
    UnreadableRecordError,
    blob_name,
    record_name,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.models.target import Digest

CONNECT = timedelta(seconds=5)
"""Time in which a server has to answer."""

TRANSFER = timedelta(minutes=15)
"""Time for one request, which may carry gigabytes."""

RETRIES = 2
RETRY_FOR = timedelta(seconds=20)

USERNAME = "ORCHESTRATOR_STORE_USERNAME"
PASSWORD = "ORCHESTRATOR_STORE_PASSWORD"  # noqa: S105 - the name of a variable
"""The login of an HTTP server; the other services have their own variables."""

_SECRETS = re.compile(
    r"(?i)//[^/@\s]+@"  # user and password in a URL
    r"|((sig|signature|token|key|secret|password|credential)[\w-]*\"?\s*[=:]\s*)[^&\s,}]+"
)

_ENDPOINTS = re.compile(r"AWS_ENDPOINT(_URL(_S3)?)?|AZURE_(STORAGE_)?ENDPOINT|GOOGLE_BASE_URL")
"""Variables that replace the service's own server."""

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gcs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "azure": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "http": f"{USERNAME} and {PASSWORD}",
}

_NO_UPLOADS = re.compile(r"status code: (405|501)\b")
_LOST_RACE = re.compile(r"\bMKCOL\b")
_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


class RemoteStore:
    """A store on a server."""

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, str],
        environ: Mapping[str, str],
        ca_bundle: Path | None = None,
    ) -> None:
        """Open it, without a request.

        Args:
            url: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``,
                ``abfss://container@account.dfs.core.windows.net/prefix``, ``https://host/prefix``.
            options: the service's, in obstore's names (``endpoint``, ``region``). Credentials come
                from the environment, as for every client of the service.
            environ: the environment of this process, which obstore reads as well.
            ca_bundle: PEM file of additional certificate authorities.

        Raises:
            RemoteError: obstore is not installed, or refuses the URL or an option.
        """
        try:
            import obstore  # noqa: PLC0415 - an extra
            import obstore.exceptions  # noqa: PLC0415
            import obstore.store  # noqa: PLC0415
        except ImportError:
            raise RemoteError(
                f"it needs obstore, which is not installed (`{extra_hint('remote')}`)"
            ) from None
        self._obstore = obstore
        self._errors = (obstore.exceptions.BaseError, OSError, ValueError)
        self._forbidden = (
            obstore.exceptions.PermissionDeniedError,
            obstore.exceptions.UnauthenticatedError,
        )
        self._damaged: set[Digest] = set()
        try:
            self._kind = obstore.parse_scheme(url)
            self._folder = Path(unquote(urlsplit(url).path)) if self._kind == "local" else None
            root, self._below = _halves(url) if self._kind == "http" else (url, "")
            client = self._client(url, options, environ)
            if ca_bundle is not None:
                client["root_certificate"] = ca_bundle.read_bytes()
            self._store = self._open(root, options, client)
        except obstore.exceptions.UnknownConfigurationKeyError as error:
            raise RemoteError(f"store.options: {error}") from None  # a name, no credential
        except self._errors as error:
            raise RemoteError(error_line(error)) from None

    def _open(self, root: str, options: Mapping[str, str], client: Mapping[str, Any]) -> Any:
        open_url: Any = self._obstore.store.from_url  # its overloads tell the services apart
        retries = {"max_retries": RETRIES, "retry_timeout": RETRY_FOR}
        config = {"config": dict(options)} if options else {}
        return open_url(root, **config, client_options=client, retry_config=retries)

    def _client(
        self, url: str, options: Mapping[str, str], environ: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return how requests are made."""
        endpoints = (value for name, value in environ.items() if _ENDPOINTS.fullmatch(name))
        servers = (url, *options.values(), *endpoints)
        client: dict[str, Any] = {
            "connect_timeout": CONNECT,
            "timeout": TRANSFER,
            "allow_http": any(server.startswith("http://") for server in servers),
        }
        if self._kind == "http":
            if options:
                raise RemoteError(
                    f"a web server has no options ({', '.join(options)}): remove store.options, "
                    "or name the service (s3://, gs://, az://)"
                )
            client["default_headers"] = _login(url, environ)
        return client

    def record(self, address: Digest) -> SealedRecord | None:
        """Return a record, whose seal nobody has looked at; None if there is none.

        Raises:
            RemoteError: the server fails.
            UnreadableRecordError: what it has is no record.
        """
        answer = self._get(record_name(address))
        if answer is None:
            return None
        data = bytearray()
        chunks = iter(answer.stream())
        while (chunk := self._next(chunks)) is not None:
            data += chunk
            if len(data) > LARGEST:
                raise UnreadableRecordError(f"has more than {LARGEST} bytes")
        return unpack(bytes(data), address)

    def download(self, blob: Blob, destination: Path) -> bool:
        """Write a blob to a file; return False if it is missing or has other bytes.

        Raises:
            RemoteError: the server fails.
            OSError: the file cannot be written.
        """
        answer = self._get(blob_name(blob.sha256))
        if answer is None:
            return False
        digest = hashlib.sha256()
        chunks = iter(answer.stream())
        left = blob.size
        with destination.open("wb") as stream:
            while left >= 0 and (chunk := self._next(chunks)) is not None:
                left -= len(chunk)
                digest.update(chunk)
                stream.write(chunk)
        whole = left == 0 and digest.hexdigest() == blob.sha256
        if not whole:
            self._damaged.add(blob.sha256)
        return whole

    def upload(self, blob: Blob, source: Path) -> None:
        """Store a blob, unless it is already there; raises RemoteError, RefusedError."""
        name = blob_name(blob.sha256)
        # A blob with the right size and wrong bytes was read before it is written again.
        if blob.sha256 not in self._damaged and self._size(name) == blob.size:
            return
        self._put(name, source)

    def put_record(self, address: Digest, data: bytes) -> None:
        """Store a packed record, its blobs first; raises RemoteError, RefusedError."""
        self._put(record_name(address), data)

    def _size(self, name: str) -> int | None:
        with self._reported(), suppress(FileNotFoundError):
            return int(self._obstore.head(self._store, self._below + name)["size"])
        return None

    def _get(self, name: str) -> Any:
        self._check_folders(name)
        with self._reported(), suppress(FileNotFoundError):
            return self._obstore.get(self._store, self._below + name)
        return None

    def _check_folders(self, name: str) -> None:
        """Refuse a directory of a ``file://`` store that is a link: it may lead anywhere."""
        if self._folder is None:
            return
        for each in (*reversed(PurePosixPath(name).parents), PurePosixPath(name)):
            if self._folder.joinpath(each).is_symlink() and each != PurePosixPath():
                raise RemoteError(f"{self._folder / each} is a symbolic link")

    def _next(self, chunks: Any) -> Any:
        with self._reported():
            return next(chunks, None)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise self._error(error) from None

    def _put(self, name: str, content: Path | bytes) -> None:
        self._check_folders(name)
        place = self._below + name
        # HTTP has no upload in parts.
        in_parts = False if self._kind == "http" else None
        # Other writers may make the same directories; each attempt finds one more of them.
        for left in reversed(range(place.count("/") + 1)):
            try:
                self._obstore.put(self._store, place, content, use_multipart=in_parts)
            except self._errors as error:
                if left and _LOST_RACE.search(str(error)):
                    continue
                raise self._refusal(error) from None
            return

    def _refusal(self, error: Exception) -> RemoteError:
        """Return the error for a failed upload."""
        refused = _NO_UPLOADS.search(str(error))
        if self._kind == "http" and refused is not None:
            return RefusedError(
                f"the server takes no uploads (it answers PUT with {refused[1]}): "
                "let it speak WebDAV, or set store.read-only"
            )
        told = self._error(error)
        return RefusedError(*told.args) if isinstance(error, self._forbidden) else told

    def _error(self, error: Exception) -> RemoteError:
        """Return the error in one line; if credentials are wrong, with their source."""
        if not isinstance(error, self._forbidden):
            return RemoteError(error_line(error))
        names = _CREDENTIALS.get(self._kind, "the environment")
        return RemoteError(f"{error_line(error)} (credentials come from {names})")


def error_line(error: Exception) -> str:
    """Return a library's error in one line, without possible credentials."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return _SECRETS.sub(_hide, _DIGEST.sub(r"\1…", text))[:300]


def public_url(url: str) -> str:
    """Return a URL without user, password and query, which may contain credentials."""
    return re.sub(r"//[^/@]+@", "//", url.partition("?")[0])


def _hide(match: re.Match[str]) -> str:
    return f"{match[1]}***" if match[1] else "//***@"


def _halves(url: str) -> tuple[str, str]:
    """Return a server and the prefix of all names.

    obstore makes directories below the address that it gets, but not those of the address itself.
    """
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    return urlunsplit(parts._replace(path="")), f"{prefix}/" if prefix else ""


def _login(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the header that logs in to an HTTP server (RFC 7617), if there is a password.

    Raises:
        RemoteError: the password would be sent in the open.
    """
    user, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if not password:
        return {}
    if web.in_the_open(url):
        raise RemoteError(f"{PASSWORD} could be read by everybody on the way: use https://")
    return {"Authorization": web.basic(user, password)}
