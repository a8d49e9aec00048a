"""Web servers on loopback, one of which counts what it sends; and a browser, if there is one."""

from __future__ import annotations

import io
import re
import shutil
import socketserver
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote

JSON = "application/vnd.pypi.simple.v1+json"


AnyServer = TypeVar("AnyServer", bound=socketserver.BaseServer)


class Loopback(ThreadingHTTPServer):
    """A web server, over TLS if it has a context."""

    daemon_threads = True

    def __init__(self, handler: Any, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.context = context

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.server_port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up here."""


class Answers(BaseHTTPRequestHandler):
    """Answers without a word on the terminal."""

    def log_message(self, *_: object) -> None:
        pass

    def answer(
        self, status: int, body: bytes = b"", *, reason: str | None = None, **headers: str
    ) -> None:
        """Answer; ``Content_Type`` stands for the header of that name."""
        self.send_response(status, reason)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Serve until the end of the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, kw_only=True)
class Held:
    """An answer that waits.

    Attributes:
        reached: set when it is asked for.
        release: lets it go on.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Server(Loopback):
    """Serves a directory.

    Attributes:
        sent: path -> bytes of answers to it.
        negotiates: whether it answers with index.json who asks for JSON, as a configured host.
    """

    def __init__(self, root: Path, *, negotiates: bool = False) -> None:
        super().__init__(partial(_Handler, directory=str(root)))
        self.sent: Counter[str] = Counter()
        self.negotiates = negotiates
        self.held: dict[str, tuple[int, Held]] = {}

    def hold(self, name: str, *, after: int) -> Held:
        """Have all but the first answers to a file wait."""
        held = Held()
        self.held[name] = (after, held)
        return held

    def wheels(self) -> dict[str, int]:
        """Return the bytes sent of each wheel that was asked for."""
        return {path: size for path, size in self.sent.items() if path.endswith(".whl")}


class _Handler(SimpleHTTPRequestHandler):
    server: Server

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        wants = self.server.negotiates and JSON in self.headers.get("Accept", "")
        if wants and self.path.endswith("/"):
            self.path += "index.json"
        return super().send_head()

    def guess_type(self, path: Any) -> str:
        return JSON if str(path).endswith("index.json") else super().guess_type(path)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        before, held = self.server.held.get(self.path.rpartition("/")[2], (0, None))
        if held is not None and before:
            self.server.held[self.path.rpartition("/")[2]] = (before - 1, held)
        elif held is not None:
            held.reached.set()
            held.release.wait(120)
        data = source.read()
        self.server.sent[unquote(self.path)] += len(data)
        outputfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def served(root: Path, *, negotiates: bool = False) -> AbstractContextManager[Server]:
    return running(Server(root, negotiates=negotiates))


def browser() -> str | None:
    """Return the path of Chromium, or of a browser made of it."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def browse(program: str, profile: Path, url: str, *options: str) -> str:
    """Open a page without a window; return what the options print.

    Args:
        program: from `browser`.
        profile: an empty directory.
        url: the page.
        options: for instance ``--dump-dom``.
    """
    argv = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    argv += ["--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={profile}"]
    argv += ["--virtual-time-budget=3000", *options, url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=True)
    # Errors of the page's script and breaches of its policy are in the log.
    assert not re.search(r"CONSOLE.*(Uncaught|Content Security)", done.stderr), done.stderr
    return done.stdout
