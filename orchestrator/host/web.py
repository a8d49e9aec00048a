"""One HTTP request, with this host's certificate authorities and proxies."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator import DISTRIBUTION, __version__
from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host.redaction import masked
from orchestrator.models.reading import json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from orchestrator.host.network import HostNetwork

TIMEOUT = 60.0
"""Seconds without an answer."""

LIMIT = 256 * 1024 * 1024
"""Bytes of an answer at most; the largest known pages of indexes have about 40 MB."""

CHUNK = 1 << 20

PASSING = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that may be different a moment later."""

_HERE = re.compile(r"localhost|::1|127(\.\d+){3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request.

    Attributes:
        url: ``http`` or ``https``, without user and password.
        method: GET is redirected, nothing else.
        headers: of the request.
        authorization: the value of that header; no redirect takes it along.
        body: what is sent.
        size: of the body, in bytes.
        confidential: refuse to send it unencrypted, except to this machine.
        timeout: seconds without an answer.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str = field(default="", repr=False)
    body: bytes | IO[bytes] | None = field(default=None, repr=False)
    size: int = 0
    confidential: bool = False
    timeout: float = TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """An answer.

    Attributes:
        status: of HTTP.
        reason: the words behind it.
        kind: the type of the contents.
        url: address of the answer, after all redirects.
        body: the contents; they may hold a credential.
    """

    status: int
    reason: str
    kind: str
    url: str
    body: bytes = field(repr=False)

    @property
    def passing(self) -> bool:
        """Whether the next attempt may succeed."""
        return self.status in PASSING

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status in range(200, 300)

    def document(self) -> dict[str, Any]:
        """Return the JSON object that the contents are; empty if they are none."""
        try:
            document = json_value(self.body, where=self.url)
        except ConfigError:
            return {}
        return document if isinstance(document, dict) else {}

    def errors(self) -> list[dict[str, Any]]:
        """Return the objects of the list ``errors`` in that object."""
        found = self.document().get("errors")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def ask(request: HttpRequest, network: HostNetwork, *, limit: int = LIMIT) -> HttpResponse:
    """Return a server's answer, whatever its status.

    Args:
        request: what is asked.
        network: the host's certificate authorities; proxies come from the environment.
        limit: bytes of the answer at most; what is beyond is left out.

    Raises:
        ConfigError: not an http(s) URL, or a credential would be sent unencrypted.
        EnvironmentProblemError: there was no answer; kind `ErrorKind.UNREACHABLE`.
    """
    with _asked(request, network) as stream:
        return HttpResponse(
            status=int(stream.status),
            reason=str(stream.reason),
            kind=str(stream.headers.get("Content-Type", "")),
            url=str(stream.url),
            body=bytes(stream.read(limit)),
        )


def sha256_of(request: HttpRequest, network: HostNetwork) -> str | None:
    """Download a file and return its SHA-256; None if the server refuses it; raises as `ask`."""
    digest = hashlib.sha256()
    with _asked(request, network) as stream:
        if stream.status != 200:  # noqa: PLR2004 - OK
            return None
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _asked(request: HttpRequest, network: HostNetwork) -> Iterator[Any]:
    sent = urllib.request.Request(_checked(request), data=request.body, method=request.method)  # noqa: S310 - checked
    headers = {"User-Agent": f"{DISTRIBUTION}/{__version__}", **request.headers}
    if request.body is not None:
        headers["Content-Length"] = str(request.size)
    for name, value in headers.items():
        sent.add_header(name, value)
    if request.authorization:
        sent.add_unredirected_header("Authorization", request.authorization)
    bundle = None if network.ca_bundle is None else str(network.ca_bundle)
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=bundle))
    opener = urllib.request.build_opener(_Redirects, secure)
    try:
        try:
            stream = opener.open(sent, timeout=request.timeout)
        except urllib.error.HTTPError as error:  # an answer as well
            stream = error
        with stream:
            yield stream
    except (OSError, HTTPException, ValueError) as error:  # a redirect may lead to no URL
        reason = getattr(error, "reason", error)
        passing = not isinstance(reason, ssl.SSLCertVerificationError)
        raise EnvironmentProblemError.of(
            masked(str(reason) or repr(reason)), kind=ErrorKind.UNREACHABLE, transient=passing
        ) from None


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL; raises ConfigError if it has none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ConfigError.of(f"not a URL: {error}", where=masked(url)) from None


def in_the_open(url: str) -> bool:
    """Whether everybody on the way can read what is sent: unencrypted, and to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _HERE.fullmatch(parts.hostname or "")


def basic(user: str, password: str) -> str:
    """Return the header that logs in (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _checked(request: HttpRequest) -> str:
    parts = split_url(request.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError.of("not an http(s) URL", where=masked(request.url))
    if request.confidential and in_the_open(request.url):
        raise ConfigError.of("everybody on the way could read it", where=request.url, hint="https")
    return request.url


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects of GET, and never from https to http."""

    def redirect_request(self, req: Any, *told: Any) -> Any:
        target = str(told[-1])
        if req.get_method() != "GET" or (req.type == "https" and not target.startswith("https:")):
            return None
        return super().redirect_request(req, *told)
