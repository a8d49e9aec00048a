"""A company's network on the loopback interface: proxy, private certificate authority, index.

The proxy wants a login and is the only way to ``index.corp.invalid``, a name that no resolver knows
(RFC 6761). What answers there has a certificate of our own authority, wants a login of its own, and
hands on the real package index. So nothing is reached by luck.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

HOST = "index.corp.invalid"
PROXY_LOGIN = "proxyuser:pr0xy-s3cret"
INDEX_LOGIN = "reader:ind3x-s3cret"
SECRETS = (
    "pr0xy-s3cret",
    "ind3x-s3cret",
    *(base64.b64encode(each.encode()).decode() for each in (PROXY_LOGIN, INDEX_LOGIN)),
)
REFS = b"0123456789012345678901234567890123456789\trefs/heads/main\n"

_ASK_PIP = """
from pip._internal.commands import create_command
print(create_command("download").parser.get_default_values().index_url)
"""


def real_index() -> str:
    """The index that pip uses on this machine."""
    argv = [sys.executable, "-I", "-c", _ASK_PIP]
    asked = subprocess.run(argv, capture_output=True, text=True, check=True)
    return asked.stdout.strip().rstrip("/")


@dataclass(frozen=True, kw_only=True)
class Corp:
    """The running network.

    Attributes:
        bundle: the private authority's certificate, which nothing on this machine trusts.
        port: where the proxy listens.
        seen: (what was asked for, the status it got).
    """

    bundle: Path
    port: int
    seen: list[tuple[str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{INDEX_LOGIN}@{HOST}"

    def environ(self, *without: str) -> dict[str, str]:
        """What a host in this network has set; `without` leaves variables out."""
        proxy = f"http://{PROXY_LOGIN}@127.0.0.1:{self.port}"
        given = {
            "SSL_CERT_FILE": str(self.bundle),
            "HTTPS_PROXY": proxy,
            "PIP_INDEX_URL": f"{self.url}/simple/",
            "UV_DEFAULT_INDEX": f"{self.url}/simple/",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_RETRIES": "0",
            "UV_HTTP_RETRIES": "0",
        }
        return {name: value for name, value in given.items() if name not in without}


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an authority that nobody knows, and a certificate for ``DNS:...``; two PEM files."""
    key, authority, own = folder / "ca.key", folder / "ca.pem", folder / "own.key"
    made = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        *("req", "-x509", *made, "-days", "2", "-subj", "/CN=Corp Root", "-keyout", key),
        *("-out", authority, "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    request, extensions, pem = folder / "own.csr", folder / "own.ext", folder / "own.pem"
    extensions.write_text(f"subjectAltName={name}\nextendedKeyUsage=serverAuth\n")
    openssl("req", *made, "-subj", "/CN=own", "-keyout", own, "-out", request)
    openssl(
        *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-days", "2"),
        *("-CAcreateserial", "-extfile", extensions, "-out", pem),
    )
    pem.write_text(pem.read_text() + own.read_text())
    return authority, pem


class _Server(ThreadingHTTPServer):
    corp: Corp
    context: ssl.SSLContext
    upstream: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that refuse our certificate hang up: that is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def answer(self, status: int, kind: str = "text/plain", body: bytes = b"") -> None:
        self.server.corp.seen.append((self.path, status))
        self.send_response(status)
        if status in {401, 407}:
            asks = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
            self.send_header(asks, "Basic realm=corp")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def has_login(self, header: str, login: str) -> bool:
        given = self.headers.get(header, "")
        return given == f"Basic {base64.b64encode(login.encode()).decode()}"

    def log_message(self, *_: object) -> None:
        """Tests read `Corp.seen`."""


class _Proxy(_Handler):
    def do_CONNECT(self) -> None:
        self.close_connection = True
        if not self.has_login("Proxy-Authorization", PROXY_LOGIN):
            self.answer(407)
        elif self.path != f"{HOST}:443":
            self.answer(403)
        else:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            with self.server.context.wrap_socket(self.connection, server_side=True) as secure:
                _Index(secure, self.client_address, self.server)

    def do_GET(self) -> None:
        self.close_connection = True
        self.answer(403 if self.has_login("Proxy-Authorization", PROXY_LOGIN) else 407)


class _Index(_Handler):
    def do_GET(self) -> None:
        if not self.has_login("Authorization", INDEX_LOGIN):
            self.answer(401)
        elif self.path.startswith("/repo.git/info/refs"):
            self.answer(200, body=REFS)
        elif self.path.startswith("/files/"):
            self._pass_on(f"https://{self.path.removeprefix('/files/')}")
        elif self.path.startswith("/simple/"):
            self._pass_on(f"{self.server.upstream}/{self.path.removeprefix('/simple/')}")
        else:
            self.answer(404)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - the names that http.server looks for

    def _pass_on(self, url: str) -> None:
        asked = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
                kind, body = answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            self.answer(error.code)
            return
        if "html" in kind:
            body = re.sub(rb'href="https?://', b'href="/files/', body)
        self.answer(200, kind, body)


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Corp]:
    """Run the network on the loopback interface."""
    authority, pem = certify(folder, f"DNS:{HOST}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with _Server(("127.0.0.1", 0), _Proxy) as server:
        server.context, server.upstream = context, real_index()
        server.corp = Corp(bundle=authority, port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.corp
        finally:
            server.shutdown()
            thread.join()


class Spy:
    """Reads the arguments of every process of this machine, again and again."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = file.read_bytes().decode("utf-8", "replace")
                    self.found |= {words for secret in SECRETS if secret in words}


def resolves(name: str) -> bool:
    """Whether a name is known without the proxy."""
    try:
        socket.getaddrinfo(name, 443)
    except OSError:
        return False
    return True
