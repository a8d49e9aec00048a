"""Reading a simple package index: PEP 503 (HTML) and PEP 691 (JSON)."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.utils import canonicalize_name

from orchestrator.errors import ConfigError, EnvironmentProblemError

if TYPE_CHECKING:
    from orchestrator.host.network import HostNetwork

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_TIMEOUT = 60.0
"""Seconds without an answer."""

MAX_PAGE = 256 * 1024 * 1024
"""Bytes of a project's page at most; the largest known ones are about 40 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file on an index.

    Attributes:
        name: its name.
        yanked: whether it is (PEP 592).
    """

    name: str
    yanked: bool


def file_names(index: str, project: str, network: HostNetwork) -> tuple[str, ...]:
    """Return the names of a project's files on a simple index; see `listing`.

    Raises:
        ConfigError: the address is none, or the index does not have the project.
        EnvironmentProblemError: the index cannot be reached, or answers with something else.
    """
    files = listing(index, project, network)
    if files is None:
        _, shown = _addresses(index, project)
        raise ConfigError.of("the index does not have this project", where=shown)
    return tuple(each.name for each in files)


def listing(index: str, project: str, network: HostNetwork) -> tuple[Listed, ...] | None:
    """Return a project's files on a simple index; None when it does not have the project.

    Args:
        index: the index' base URL, as for ``pip --index-url``.
        project: the project's name.
        network: the host's certificate authorities; proxies come from the environment.

    Raises:
        ConfigError: the address is none.
        EnvironmentProblemError: the index cannot be reached, or answers with something else.
    """
    url, shown = _addresses(index, project)
    answer = _get(url, shown, network)
    if answer is None:
        return None
    kind, page = answer
    try:
        if "json" in kind:
            return tuple(
                Listed(name=str(each["filename"]), yanked=each.get("yanked", False) is not False)
                for each in json.loads(page)["files"]
            )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise EnvironmentProblemError.of(
            "answers with JSON that is no PEP 691 page", where=shown
        ) from None
    links = _Links()
    links.feed(page.decode("utf-8", "replace"))
    return tuple(links.files)


def _addresses(index: str, project: str) -> tuple[str, str]:
    """Return the address of a project's page, and what may be shown of it."""
    url = f"{index.rstrip('/')}/{canonicalize_name(project)}/"
    return url, _without_password(url)


def _get(url: str, shown: str, network: HostNetwork) -> tuple[str, bytes] | None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ConfigError.of(
            f"{shown!r} is no address of an index", where="--index", hint="https://host/simple/"
        )
    headers = {"Accept": _ACCEPT, "User-Agent": "orchestrator"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        url = urlunsplit(parts._replace(netloc=f"{host}{port}"))
    bundle = None if network.ca_bundle is None else str(network.ca_bundle)
    context = ssl.create_default_context(cafile=bundle)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT, context=context) as answer:  # noqa: S310
            kind = str(answer.headers.get("Content-Type", ""))
            page = bytes(answer.read(MAX_PAGE + 1))
    except urllib.error.HTTPError as error:
        if error.code in {404, 410}:
            return None
        raise EnvironmentProblemError.of(
            f"answers with HTTP {error.code} {error.reason}", where=shown
        ) from None
    except OSError as error:  # URLError, a timeout, a reset connection
        reason = getattr(error, "reason", error)
        raise EnvironmentProblemError.of(
            f"cannot be reached: {reason}", where=shown, hint="check address, proxy and certificate"
        ) from None
    if len(page) > MAX_PAGE:
        raise EnvironmentProblemError.of("the page is larger than any index' page", where=shown)
    return kind, page


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class _Links(HTMLParser):
    """The files of a PEP 503 page: what the anchors point at."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[Listed] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            known = dict(attrs)
            name = unquote(urlsplit(known.get("href") or "").path.rpartition("/")[2])
            if name:
                self.files.append(Listed(name=name, yanked="data-yanked" in known))
