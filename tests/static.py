"""A static web server on loopback that counts what it sends; and a browser, if there is one."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True, kw_only=True)
class Held:
    """An answer that waits.

    Attributes:
        reached: set when it is asked for.
        release: lets it go on.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Server(ThreadingHTTPServer):
    """Serves a directory.

    Attributes:
        sent: path -> bytes of answers to it.
        negotiates: whether it answers with index.json who asks for JSON, as a configured host.
    """

    def __init__(self, root: Path, *, negotiates: bool) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(root)))
        self.sent: Counter[str] = Counter()
        self.negotiates = negotiates
        self.held: dict[str, tuple[int, Held]] = {}

    def hold(self, name: str, *, after: int) -> Held:
        """Have all but the first answers to a file wait."""
        held = Held()
        self.held[name] = (after, held)
        return held

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

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

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextmanager
def served(root: Path, *, negotiates: bool = False) -> Iterator[Server]:
    with Server(root, negotiates=negotiates) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


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
