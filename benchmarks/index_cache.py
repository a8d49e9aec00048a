"""A package index on loopback that asks the real one once for each thing.

Benchmarks that compare ways to build let all of them read from it, so that the network does not
decide. What it asks is the index that pip is told to use. See the simple repository API (PEP 503),
and PEP 658 for a wheel's metadata beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin, urlsplit

from pip._internal.models.index import PyPI  # its default index; nothing else says which that is

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LINK = re.compile(r'href="([^"]+)"')
_METADATA = ".metadata"


class _Cache:
    """What was asked, in a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = os.environ.get("PIP_INDEX_URL", PyPI.simple_url).rstrip("/")
        self._files: dict[str, str] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def answer(self, path: str) -> bytes:
        """Return the body for a path; raises URLError, KeyError for what there is not."""
        kind, _, rest = path.lstrip("/").partition("/")
        if kind == "simple":
            page = f"{self._index}/{rest.strip('/')}/"
            return self._page(page, self._fetched(page).decode()).encode()
        place, _, name = rest.partition("/")
        return self._fetched(self._files[place] + _METADATA * name.endswith(_METADATA))

    def _page(self, base: str, text: str) -> str:
        """Return a page with links to here."""

        def here(match: re.Match[str]) -> str:
            url, fragment = urldefrag(urljoin(base, html.unescape(match[1])))
            place = hashlib.sha256(url.encode()).hexdigest()[:16]
            self._files[place] = url
            name = urlsplit(url).path.rpartition("/")[2]
            return f'href="/file/{place}/{name}#{fragment}"'

        return _LINK.sub(here, text)

    def _fetched(self, url: str) -> bytes:
        name = hashlib.sha256(url.encode()).hexdigest()
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            file = self._folder / name
            if not file.exists():
                headers = {"Accept": "text/html, */*;q=0.1"}
                # What the index names, as pip would fetch it.
                asked = urllib.request.Request(url, headers=headers)  # noqa: S310
                with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310
                    file.write_bytes(answer.read())
            return file.read_bytes()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve an index as long as the context lasts; return its address.

    Args:
        folder: where what was asked is kept.
    """
    cache = _Cache(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            try:
                status, body = 200, cache.answer(self.path)
            except (KeyError, urllib.error.URLError) as error:
                status, body = getattr(error, "code", 404), str(error).encode()
            self.send_response(status)
            kind = "text/html" if self.path.startswith("/simple/") else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()
