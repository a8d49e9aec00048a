"""Package indexes on loopback, each of which has only the distributions that may come from it.

uv and pip take a distribution from any index that has it. Where the matrix says from which index
alone some come, a resolver asks this router instead of the indexes: it answers with a redirect, or
with 404. No page is changed on the way, and files come from the indexes themselves.
"""

from __future__ import annotations

import html
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import compare_digest, token_urlsafe
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from orchestrator.errors import OrchestratorError
from orchestrator.host import web
from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.network import NO_INDEX
from orchestrator.host.simple_index import IndexFile, links_in, links_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.host.network import HostNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRoutes:
    """Which distribution may come from where.

    Attributes:
        named: (distribution or glob, URL of the index that alone has it); the first match counts.
        others: the URLs of the indexes that have everything else.
        links: directories and pages of wheels, for everything else too.
    """

    named: tuple[tuple[str, str], ...]
    others: tuple[str, ...]
    links: tuple[str, ...] = ()

    @classmethod
    def of(cls, named: Iterable[tuple[str, str]], env: Mapping[str, str]) -> IndexRoutes:
        """Return the routes; `env` has uv's variables for the other indexes."""
        default = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or PUBLIC_INDEX
        more = f"{env.get('UV_INDEX', '')} {env.get('UV_EXTRA_INDEX_URL', '')}".split()
        # An index may have a name before its URL: `name=https://...`.
        urls = [each.partition("=")[2] if _named(each) else each for each in (*more, default)]
        return cls(
            named=tuple(named),
            others=tuple(url for url in urls if url != NO_INDEX),
            links=tuple(filter(None, env.get("UV_FIND_LINKS", "").split(","))),
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """All indexes, each once."""
        return tuple(dict.fromkeys((*(url for _, url in self.named), *self.others)))

    def index_of(self, project: str) -> str | None:
        """Return the index that alone has a distribution; None if no entry matches it."""
        name = canonicalize_name(project)
        patterns = ((pattern.lower().replace("_", "-"), url) for pattern, url in self.named)
        return next((url for pattern, url in patterns if fnmatchcase(name, pattern)), None)

    def allows(self, url: str, project: str) -> bool:
        """Whether a distribution may come from an index."""
        only = self.index_of(project)
        return url in self.others if only is None else url == only


def _named(index: str) -> bool:
    return "=" in index.partition("://")[0]


@contextmanager
def routed(routes: IndexRoutes, network: HostNetwork) -> Iterator[dict[str, str]]:
    """Run the router; yield uv's variables that make it ask nothing else.

    What uv says about indexes then names this router; see `original`. Its answers may hold
    credentials, and any program of this host may ask it: so its addresses have a secret.
    """
    secret = token_urlsafe()

    class Handler(_Handler):
        router = _Router(routes, network, secret)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}/{secret}"
        given = dict(network.proxies).get("no_proxy", "")
        no_proxy = f"{given},127.0.0.1" if given else "127.0.0.1"
        try:
            yield {
                "UV_DEFAULT_INDEX": f"{base}/{len(routes.urls)}",
                "UV_INDEX": " ".join(f"{base}/{n}" for n in range(len(routes.urls))),
                "UV_FIND_LINKS": ",".join(f"{base}/links/{n}" for n in range(len(routes.links))),
                **dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy),
            }
        finally:
            server.shutdown()


def original(url: str, routes: IndexRoutes) -> str:
    """Return the URL of an index, or a place of wheels, that the router stood for."""
    *kind, number = urlsplit(url).path.split("/")
    known: Sequence[str] = routes.links if "links" in kind else routes.urls
    return known[int(number)] if number.isdigit() and int(number) < len(known) else url


class _Router:
    """Answers for all indexes."""

    def __init__(self, routes: IndexRoutes, network: HostNetwork, secret: str) -> None:
        self._routes, self._network, self._secret = routes, network, secret

    def answer(self, path: str) -> tuple[int, str, str]:
        """Return the status, the address of a redirect, and a page."""
        secret, _, rest = unquote(path).strip("/").partition("/")
        if not compare_digest(secret.encode(), self._secret.encode()):
            return 404, "", ""
        first, _, second = rest.partition("/")
        if first == "links":
            return 200, "", _page(self._links(self._routes.links[int(second)]))
        urls = self._routes.urls
        if int(first) >= len(urls) or not self._routes.allows(urls[int(first)], second):
            return 404, "", ""
        place = f"{urls[int(first)].rstrip('/')}/{canonicalize_name(second)}/"
        folder = local(place)
        if folder is None:
            return 302, place, ""
        file = folder / "index.html"
        return (200, "", _page(links_in(file))) if file.is_file() else (404, "", "")

    def _links(self, place: str) -> list[IndexFile]:
        folder = local(place)
        if folder is None:
            found = links_of(place, self._network)
        else:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
            found = tuple(
                IndexFile(name=name, yanked=False, url=(folder / name).as_uri()) for name in names
            )
        return [each for each in found if self._routes.index_of(_project(each.name)) is None]


def local(place: str) -> Path | None:
    """Return the directory of this host that an address names; None if it is elsewhere."""
    parts = web.split_url(place)
    if parts.scheme in {"http", "https"}:
        return None
    return Path(unquote(parts.path) if parts.scheme == "file" else place).expanduser().resolve()


def _project(file: str) -> str:
    """Return the name that a file of an index begins with, roughly for sdists."""
    stem = file.removesuffix(".zip").removesuffix(".tar.gz")
    return stem.partition("-")[0] if file.endswith(".whl") else stem.rpartition("-")[0]


def _page(files: Iterable[IndexFile]) -> str:
    """Return a page of files (PEP 503)."""
    lines = []
    for each in files:
        pin = f"#sha256={each.sha256}" if each.sha256 else ""
        yanked = ' data-yanked=""' if each.yanked else ""
        lines.append(
            f'<a href="{html.escape(each.url + pin)}"{yanked}>{html.escape(each.name)}</a>'
        )
    return f"<!DOCTYPE html><html><body>{' '.join(lines)}</body></html>"


class _Handler(BaseHTTPRequestHandler):
    router: _Router

    def do_GET(self) -> None:
        try:
            status, place, page = self.router.answer(urlsplit(self.path).path)
        except (OSError, ValueError, LookupError):
            status, place, page = 404, "", ""
        except OrchestratorError as error:
            status, place, page = 502, "", html.escape(str(error))
        body = page.encode()
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the addresses may hold credentials."""
