"""Reading a simple package index: PEP 503 (HTML) and PEP 691 (JSON)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from packaging.utils import canonicalize_name

from orchestrator.errors import ConfigError, EnvironmentProblemError, OrchestratorError
from orchestrator.fsutil import read_file
from orchestrator.host import web
from orchestrator.models.reading import json_value

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.host.network import HostNetwork

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"

_MOST_FILES = 250_000
"""Files on a page; the largest known ones have 50,000."""

_OK = 200
_NOT_THERE = {404, 410}
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A file on an index.

    Attributes:
        name: its name.
        yanked: whether it is (PEP 592).
        url: where it is, without the hash.
        sha256: of its contents; empty if the index does not say.
        size: in bytes (PEP 700); None if the index does not say.
        uploaded: when it arrived (PEP 700, ISO 8601); empty if the index does not say.
    """

    name: str
    yanked: bool
    url: str = ""
    sha256: str = ""
    size: int | None = None
    uploaded: str = ""


def file_names(index: str, project: str, network: HostNetwork) -> tuple[str, ...]:
    """Return the names of a project's files on a simple index; see `listing`.

    Raises:
        ConfigError: not an http(s) URL, or the index does not have the project.
        EnvironmentProblemError: the index cannot be reached, or answers with something else.
    """
    files = listing(index, project, network)
    if files is None:
        shown = _address(_apart(index)[0], project)
        raise ConfigError.of("the index does not have this project", where=shown)
    return tuple(each.name for each in files)


def listing(
    index: str, project: str, network: HostNetwork, *, elsewhere: bool = True, fresh: bool = False
) -> tuple[IndexFile, ...] | None:
    """Return a project's files on a simple index; None when it does not have the project.

    Args:
        index: the index' base URL, as for ``pip --index-url``.
        project: the project's name.
        network: the host's certificate authorities; proxies come from the environment.
        elsewhere: accept the answer of another host, to which the index redirects.
        fresh: make caches on the way ask the index.

    Raises:
        ConfigError: not an http(s) URL.
        EnvironmentProblemError: the index cannot be reached, or answers with something else.
    """
    base, login = _apart(index)
    shown = _address(base, project)
    headers = {"Accept": _ACCEPT, **({"Cache-Control": "no-cache"} if fresh else {})}
    request = web.HttpRequest(url=shown, headers=headers, authorization=login)
    if web.split_url(shown).scheme not in {"http", "https"}:
        raise ConfigError.of(
            f"{shown!r} is not an http(s) URL of an index",
            where="--index",
            hint="https://host/simple/",
        )
    try:
        answer = web.ask(request, network, limit=web.LIMIT + 1)
    except EnvironmentProblemError as error:
        hint = "check address, proxy and certificate"
        raise error.reword(f"cannot be reached: {error.what}", where=shown, hint=hint) from None
    if answer.status in _NOT_THERE:
        return None
    if not elsewhere and urlsplit(answer.url).netloc != urlsplit(shown).netloc:
        return None
    if len(answer.body) > web.LIMIT:
        raise EnvironmentProblemError.of("the page is larger than any index' page", where=shown)
    return _files(answer, shown)


def links_of(page: str, network: HostNetwork) -> tuple[IndexFile, ...]:
    """Return the files that any page links to, as ``--find-links`` reads it.

    Raises:
        ConfigError: not an http(s) URL.
        EnvironmentProblemError: it cannot be reached, or is no such page.
    """
    plain, login = _apart(page)
    return _files(web.ask(web.HttpRequest(url=plain, authorization=login), network), plain)


def links_in(file: Path) -> tuple[IndexFile, ...]:
    """Return the files that a page of this host links to (PEP 503)."""
    return _Links.of(file.as_uri(), read_file(file, limit=web.LIMIT), shown=str(file))


def sha256_of(file: IndexFile, index: str, network: HostNetwork) -> str | None:
    """Return the SHA-256 of a file of `listing`, from its contents if the index does not give it.

    Raises:
        EnvironmentProblemError: the file cannot be downloaded.
    """
    if file.sha256:
        return file.sha256
    base, login = _apart(index)
    # The same server, and no less secret.
    same = urlsplit(base)[:2] == urlsplit(file.url)[:2]
    request = web.HttpRequest(url=file.url, authorization=login if same else "")
    try:
        return web.sha256_of(request, network)
    except OrchestratorError as error:
        raise EnvironmentProblemError.of(
            f"cannot be downloaded: {error}", where=file.name, transient=error.transient
        ) from None


def _files(answer: web.HttpResponse, shown: str) -> tuple[IndexFile, ...]:
    if answer.status != _OK:
        what = f"answers with HTTP {answer.status} {answer.reason}"
        raise EnvironmentProblemError.of(what, where=shown)
    files = _from_json(answer, shown) if "json" in answer.kind else _from_html(answer, shown)
    if len(files) > _MOST_FILES:
        raise EnvironmentProblemError.of(f"lists more than {_MOST_FILES} files", where=shown)
    return files


def _from_html(answer: web.HttpResponse, shown: str) -> tuple[IndexFile, ...]:
    return _Links.of(answer.url, answer.body, shown=shown)


def _from_json(answer: web.HttpResponse, shown: str) -> tuple[IndexFile, ...]:
    try:
        return tuple(
            IndexFile(
                name=str(each["filename"]),
                yanked=each.get("yanked", False) is not False,
                url=urljoin(answer.url, str(each.get("url", ""))),
                sha256=str(each.get("hashes", {}).get("sha256", "")),
                size=each["size"] if isinstance(each.get("size"), int) else None,
                uploaded=str(each.get("upload-time") or ""),
            )
            for each in json_value(answer.body, where=shown)["files"]
        )
    except (ConfigError, ValueError, LookupError, TypeError, AttributeError):
        raise EnvironmentProblemError.of(
            "answers with JSON that is not a PEP 691 page", where=shown
        ) from None


def _address(base: str, project: str) -> str:
    """Return the address of a project's page."""
    return f"{base.rstrip('/')}/{canonicalize_name(project)}/"


def _apart(index: str) -> tuple[str, str]:
    """Return an address without user and password, and these as a header."""
    parts = web.split_url(index)
    if parts.username is None:
        return index, ""
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return plain, web.basic(unquote(parts.username), unquote(parts.password or ""))


class _Links(HTMLParser):
    """The files of a PEP 503 page: what the anchors point at."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.files: list[IndexFile] = []
        self._base = base

    @classmethod
    def of(cls, base: str, page: bytes, *, shown: str) -> tuple[IndexFile, ...]:
        """Return the files of a page; raises EnvironmentProblemError."""
        links = cls(base)
        try:
            links.feed(page.decode("utf-8", "replace"))
        except AssertionError as error:  # older parsers raise it for an odd declaration
            what = f"answers with HTML that cannot be read: {error}"
            raise EnvironmentProblemError.of(what, where=shown) from None
        return tuple(links.files)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            known = dict(attrs)
            try:
                url, _, fragment = urljoin(self._base, known.get("href") or "").partition("#")
                name = unquote(urlsplit(url).path.rpartition("/")[2])
            except ValueError:  # no URL, so no file
                return
            found = _SHA256.search(fragment)
            if name:
                self.files.append(
                    IndexFile(
                        name=name,
                        yanked="data-yanked" in known,
                        url=url,
                        sha256=found[1] if found else "",
                    )
                )
