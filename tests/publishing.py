"""What wheels are published to, on loopback: a line that stalls, and what cannot be had here.

`Warehouse` and `GitHub` answer as the public services say they do; nothing here reaches these.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import socketserver
import ssl
import struct
import threading
from collections import Counter
from contextlib import suppress
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers import JSON, Answers, Loopback

CHUNK = 1 << 16


def identity_for(audience: str) -> str:
    """Return the identity token that the CI system makes for an index."""
    parts = (b'{"alg":"none"}', json.dumps({"aud": audience}).encode(), b"signature")
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts)


IDENTITY = identity_for("testpypi")
MINTED = "minted-for-an-hour-0123456789"
ASKED_WITH = "request-token-0123456789"
GITHUB_TOKEN = "ghs_0123456789abcdef"  # noqa: S105 - of a server on loopback


class Line(socketserver.ThreadingTCPServer):
    """A line to a server that stalls, or breaks, in the middle of what a client sends.

    Attributes:
        stall_after: bytes of a connection after which nothing gets through; None for never.
        break_after: bytes after which the next connection is reset, once; None for never.
        stalled: set when a connection stalls.
        sent: name of a wheel -> how often somebody began to upload it with a form.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Wire)
        self.port = port
        self.stall_after: int | None = None
        self.break_after: int | None = None
        self.stalled = threading.Event()
        self.sent: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here."""


class _Wire(socketserver.BaseRequestHandler):
    server: Line

    def handle(self) -> None:
        client = self.request
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            back = threading.Thread(target=self._back, args=(upstream, client), daemon=True)
            back.start()
            with suppress(OSError):
                self._forth(client, upstream)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_WR)
            back.join(30)

    def _forth(self, client: socket.socket, upstream: socket.socket) -> None:
        server, passed, head = self.server, 0, b""
        while data := client.recv(CHUNK):
            if len(head) < CHUNK:
                before = set(_names(head))
                head += data
                server.sent.update(set(_names(head)) - before)
            if server.stall_after is not None and passed > server.stall_after:
                server.stalled.set()
                client.settimeout(0.1)
                while server.stall_after is not None:  # or until the client is gone
                    with suppress(TimeoutError):
                        if not client.recv(CHUNK):
                            break
                raise ConnectionError
            if server.break_after is not None and passed > server.break_after:
                server.break_after = None
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                raise ConnectionError
            upstream.sendall(data)
            passed += len(data)

    def _back(self, upstream: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(CHUNK):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


def _names(head: bytes) -> list[str]:
    return [each.decode() for each in re.findall(rb'filename="([^"]+\.whl)"', head)]


class _Answers(Answers):
    server: Any

    def say(self, status: int, document: object, reason: str | None = None) -> None:
        body = json.dumps(document).encode()
        self.answer(status, body, reason=reason, Content_Type=JSON)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))


class Warehouse(Loopback):
    """An index as Warehouse answers: trusted publishing, attestations, 400 for another file.

    Attributes:
        files: name -> contents.
        forms: what came with each file that was taken.
        audience: what trusted publishing asks for.
        asked: paths that were asked for.
        failing: how many of the next uploads get a 503.
        moved: (status, address) of the redirect that who wants a token gets; None for none.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(_Warehouse, context)
        self.files: dict[str, bytes] = {}
        self.forms: list[dict[str, list[str]]] = []
        self.audience = "testpypi"
        self.asked: list[str] = []
        self.failing = 0
        self.moved: tuple[int, str] | None = None


class _Warehouse(_Answers):
    server: Warehouse

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(parts.path)
        if parts.path == "/_/oidc/audience":
            self.say(200, {"audience": self.server.audience})
        elif parts.path == "/identity":
            wanted = parse_qs(parts.query).get("audience") == [self.server.audience]
            known = self.headers["Authorization"] == f"bearer {ASKED_WITH}"
            identity = identity_for(self.server.audience)
            self.say(200 if wanted and known else 403, {"value": identity})
        elif self.server.files and parts.path.startswith("/simple/"):
            files = [
                {
                    "filename": name,
                    "url": f"/files/{name}",
                    "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                    "size": len(data),
                }
                for name, data in self.server.files.items()
            ]
            self.say(200, {"files": files})
        else:
            self.say(404, {})

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)
        self.answer(404)

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.body()
        if self.path == "/_/oidc/mint-token" and self.server.moved:
            status, address = self.server.moved
            self.answer(status, Location=self.server.url + address)
            return
        if self.path == "/_/oidc/mint-token":
            if json.loads(body) == {"token": identity_for(self.server.audience)}:
                self.say(200, {"success": True, "token": MINTED})
            else:
                errors = [{"code": "invalid-publisher", "description": "no such publisher"}]
                self.say(422, {"errors": errors})
            return
        login = base64.b64encode(f"__token__:{MINTED}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self.say(403, {}, "Invalid or non-existent authentication information.")
        elif self.server.failing:
            self.server.failing -= 1
            self.say(503, {}, "Service Unavailable")
        else:
            self._take(body)

    def _take(self, body: bytes) -> None:
        kind = self.headers["Content-Type"].encode()
        form = message_from_bytes(b"Content-Type: " + kind + b"\r\n\r\n" + body, policy=policy.HTTP)
        fields: dict[str, list[str]] = {}
        content, name = b"", ""
        for part in form.iter_parts():
            data: Any = part.get_payload(decode=True)
            if part.get_filename():
                name, content = str(part.get_filename()), data
            else:
                field = str(part.get_param("name", header="content-disposition"))
                fields.setdefault(field, []).append(data.decode())
        if self.server.files.get(name, content) != content:
            self.say(400, {}, f"File already exists ('{name}').")
            return
        self.server.files[name] = content
        self.server.forms.append(fields)
        self.say(200, {})


class GitHub(Loopback):
    """The part of GitHub's REST API that has to do with releases.

    Attributes:
        releases: ID -> release.
        assets: ID -> asset; ``_release`` says which one it is of.
        contents: ID -> what was uploaded.
        stall_after: bytes of an upload after which nothing is read any more.
        stalled: set when that has happened.
        digests: whether assets say theirs.
    """

    def __init__(self) -> None:
        super().__init__(_GitHub)
        self.releases: dict[int, dict[str, Any]] = {}
        self.assets: dict[int, dict[str, Any]] = {}
        self.contents: dict[int, bytes] = {}
        self.stall_after: int | None = None
        self.stalled = threading.Event()
        self.digests = True
        self.number = 0

    def next(self) -> int:
        self.number += 1
        return self.number

    def names(self) -> dict[str, str]:
        """Return name -> state of the assets."""
        return {each["name"]: each["state"] for each in self.assets.values()}


class _GitHub(_Answers):
    server: GitHub

    def _known(self) -> bool:
        known: bool = self.headers["Authorization"] == f"Bearer {GITHUB_TOKEN}"
        if not known:
            self.say(401, {"message": f"Bad credentials {self.headers['Authorization']}"})
        return known

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if found := re.fullmatch(r"/files/(\d+)", path):  # where a redirect leads
            assert self.headers["Authorization"] is None
            self.answer(200, self.server.contents[int(found[1])])
        elif not self._known():
            pass
        elif found := re.fullmatch(r"/repos/o/r/releases/tags/(.+)", path):
            tag = unquote(found[1])
            public = (each for each in self.server.releases.values() if not each["draft"])
            release = next((each for each in public if each["tag_name"] == tag), None)
            self.say(200 if release else 404, release or {"message": "Not Found"})
        elif path == "/repos/o/r/releases":
            self.say(200, list(self.server.releases.values()))
        elif found := re.fullmatch(r"/repos/o/r/releases/(\d+)/assets", path):
            ours = [each for each in self.server.assets.values() if each["_release"] == found[1]]
            self.say(200, ours)
        elif found := re.fullmatch(r"/repos/o/r/releases/assets/(\d+)", path):
            self.answer(302, Location=f"{self.server.url}/files/{found[1]}")
        else:
            self.say(404, {"message": "Not Found"})

    def do_DELETE(self) -> None:
        if self._known():
            del self.server.assets[int(self.path.rpartition("/")[2])]
            self.answer(204)

    def do_POST(self) -> None:
        if not self._known():
            return
        parts = urlsplit(self.path)
        if parts.path == "/repos/o/r/releases":
            number = self.server.next()
            upload = f"{self.server.url}/uploads/{number}/assets{{?name,label}}"
            release = {"draft": False, **json.loads(self.body()), "id": number}
            self.server.releases[number] = {**release, "upload_url": upload}
            self.say(201, self.server.releases[number])
            return
        name = parse_qs(parts.query)["name"][0]
        if name in self.server.names():
            self.body()
            errors = [{"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}]
            self.say(422, {"message": "Validation Failed", "errors": errors})
            return
        self._upload(parts.path.split("/")[2], name)

    def _upload(self, release: str, name: str) -> None:
        server, number = self.server, self.server.next()
        asset = {
            "name": name,
            "id": number,
            "url": f"{server.url}/repos/o/r/releases/assets/{number}",
            "state": "starter",
            "digest": None,
            "_release": release,
        }
        server.assets[number] = asset
        left, data = int(self.headers["Content-Length"]), b""
        while left > len(data):
            chunk = self.rfile.read(min(CHUNK, left - len(data)))
            data += chunk
            if not chunk:
                return  # cut off: the asset stays as it is
            if server.stall_after is not None and len(data) > server.stall_after:
                server.stalled.set()
                while self.rfile.read(CHUNK):
                    pass
                return
        asset["state"] = "uploaded"
        if server.digests:
            asset["digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        server.contents[number] = data
        self.say(201, asset)
