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
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
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

_ASK_PIP = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"


def real_index() -> str:
    """The index that pip uses on this machine."""
    given = os.environ.get("PIP_INDEX_URL")
    if given:
        return given.rstrip("/")
    asked = subprocess.run(
        [sys.executable, "-I", "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 0:
        return asked.stdout.strip().rstrip("/")
    argv = [sys.executable, "-I", "-c", _ASK_PIP]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


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


def certify(folder: Path) -> tuple[Path, Path]:
    """Make an authority, and a certificate for the host; return the two PEM files."""
    key, authority = folder / "ca.key", folder / "ca.pem"
    made = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(
        *("req", "-x509", *made, "-subj", "/CN=Corp Root", "-keyout", key, "-out", authority),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    request, extensions = folder / "host.csr", folder / "host.ext"
    extensions.write_text(f"subjectAltName=DNS:{HOST}\nextendedKeyUsage=serverAuth\n")
    certificate, pem = folder / "host.crt", folder / "host.pem"
    own = folder / "host.key"
    openssl("req", *made[:3], "-subj", f"/CN={HOST}", "-keyout", own, "-out", request)
    openssl(
        *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-days", "2"),
        *("-CAcreateserial", "-extfile", extensions, "-out", certificate),
    )
    pem.write_text(certificate.read_text() + own.read_text())
    return authority, pem


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    corp: Corp
    context: ssl.SSLContext
    upstream: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that refuse our certificate hang up: that is what some tests want."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Proxy
    timeout = 60

    def handle(self) -> None:
        line, headers = _request(self.rfile)
        target = line.split(" ")[1]
        if not _logged_in(headers.get("proxy-authorization", ""), PROXY_LOGIN):
            self._refuse(target, 407, "Login\r\nProxy-Authenticate: Basic realm=corp")
        elif not line.startswith(f"CONNECT {HOST}:443 "):
            self._refuse(target, 403, "Forbidden")
        else:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self.server.context.wrap_socket(self.connection, server_side=True) as secure:
                self._serve(secure)

    def _refuse(self, target: str, status: int, reason: str) -> None:
        self.server.corp.seen.append((target, status))
        close = "Connection: close\r\nContent-Length: 0\r\n\r\n"
        self.wfile.write(f"HTTP/1.1 {status} {reason}\r\n{close}".encode())

    def _serve(self, secure: ssl.SSLSocket) -> None:
        with secure.makefile("rb") as stream:
            while True:
                line, headers = _request(stream)
                if not line:
                    return
                path = line.split(" ")[1]
                if _logged_in(headers.get("authorization", ""), INDEX_LOGIN):
                    status, kind, body = self._answer(path)
                else:
                    status, kind, body = 401, "text/plain", b""
                self.server.corp.seen.append((path, status))
                login = "WWW-Authenticate: Basic realm=corp\r\n" if status == 401 else ""
                head = f"HTTP/1.1 {status} x\r\n{login}Content-Type: {kind}\r\n"
                secure.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path.startswith("/repo.git/info/refs"):
            return 200, "text/plain", REFS
        if path.startswith("/files/"):
            url = f"https://{path.removeprefix('/files/')}"
        elif path.startswith("/simple/"):
            url = f"{self.server.upstream}/{path.removeprefix('/simple/')}"
        else:
            return 404, "text/plain", b""
        asked = urllib.request.Request(url, headers={"Accept": "text/html"})  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
                kind, body = answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, "text/plain", b""
        if "html" in kind:
            body = re.sub(rb'href="https?://', b'href="/files/', body)
        return 200, kind, body


def _request(stream: Any) -> tuple[str, dict[str, str]]:
    line = stream.readline().decode("latin-1").strip()
    headers: dict[str, str] = {}
    while line:
        name, _, value = stream.readline().decode("latin-1").strip().partition(":")
        if not name:
            break
        headers[name.lower()] = value.strip()
    return line, headers


def _logged_in(header: str, login: str) -> bool:
    return header == f"Basic {base64.b64encode(login.encode()).decode()}"


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Corp]:
    """Run the network on the loopback interface."""
    authority, pem = certify(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with _Proxy(("127.0.0.1", 0), _Handler) as server:
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
