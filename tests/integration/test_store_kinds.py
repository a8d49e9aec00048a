"""A shared store of every kind: Amazon's, Google's and Microsoft's services, WebDAV, web servers.

What a run does where its store fails, whatever kind it is of, is in test_store.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.models.target import Digest
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.remote import PASSWORD, USERNAME, RemoteStore
from orchestrator.store.result_record import Blob, Record, RemoteError, unpack
from tests import corp, stores
from tests.integration.test_store import IDS, MATRIX, ONE, Machine, one_source, wheels
from tests.servers import served
from tests.stores import Place

KINDS = ("azure", "gcs", "http", "s3")
NOBODY = Digest("0" * 64)
PART = 5 * 1024 * 1024
"""Bytes from which on obstore sends a file in parts."""


@pytest.fixture(scope="module", params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A real server; `shared` is for the machine that `first` is."""
    folder = tmp_path_factory.mktemp("server") / "root"
    servers: dict[str, Callable[[], AbstractContextManager[Place]]] = {
        "azure": lambda: stores.azure(folder),
        "gcs": stores.google,
        "http": lambda: stores.webdav(folder),
        "s3": lambda: stores.s3(request.getfixturevalue("s3")),
    }
    with servers[request.param]() as found:
        yield found


@pytest.fixture(scope="module")
def first(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that has built something."""
    machine = Machine(tmp_path_factory.mktemp("first") / "root", MATRIX + place.settings("shared"))
    said = machine.build(*ONE, env=place.env)
    assert "store:" not in said.stderr
    assert machine.built() == {"1.0+a"}
    return machine


@pytest.fixture
def opened(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Store, list[str]]]:
    """Opens the store of a machine that has nothing yet; what it warns of is the second."""

    def opener(env: Mapping[str, str] = place.env) -> tuple[Store, list[str]]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        said: list[str] = []
        local = LocalStore(tmp_path / f"store-{os.urandom(4).hex()}")
        return Store(local=local, warn=said.append, open_remote=lambda: remote(place)), said

    return opener


def remote(place: Place, prefix: str = "shared") -> RemoteStore:
    return RemoteStore(f"{place.url}/{prefix}", options=place.options, environ=os.environ)


def built(machine: Machine) -> tuple[Record, Blob]:
    """The record of what a machine has built, and its wheel."""
    (path,) = (machine.root / "store" / "actions").glob("*/*")
    record = unpack(path.read_bytes(), Digest(path.name)).record
    assert record.artefact is not None
    return record, record.artefact


def kept(machine: Machine, blob: Blob) -> Path:
    return machine.root / "store" / "blobs" / blob.sha256[:2] / blob.sha256


def test_what_one_machine_has_built_another_takes_and_read_only_writes_nothing(
    place: Place, first: Machine, tmp_path: Path
) -> None:
    matrix = MATRIX + place.settings("shared", "read-only = true\n")
    second = Machine(tmp_path, matrix)
    one_source(first, second)
    before = place.contents()

    said = second.build(*ONE, env=place.env)

    assert "store:" not in said.stderr
    assert first.built() == set()
    assert second.cached() == {IDS[0]: True}
    assert wheels(second) == wheels(first)
    assert place.contents() == before
    assert len(before) >= 3


def test_what_is_damaged_is_missing_and_mended_by_who_has_it(
    place: Place,
    first: Machine,
    opened: Callable[..., tuple[Store, list[str]]],
    tmp_path: Path,
) -> None:
    record, wheel = built(first)
    data = bytearray(kept(first, wheel).read_bytes())
    data[len(data) // 2] ^= 1
    address, names = record.address, ("shared/actions", "shared/blobs")
    hashes = (address, wheel.sha256)
    places = [f"{name}/{each[:2]}/{each}" for name, each in zip(names, hashes, strict=True)]
    place.write(places[0], b"half of a record")
    place.write(places[1], bytes(data))
    store, said = opened()

    assert store.find(address) is None
    assert store.fetch(wheel, tmp_path) is None
    assert said == [
        f"store: record {address[:16]} of the shared store is damaged, and counts as missing",
        f"store: blob {wheel.sha256[:16]} of the shared store is damaged, and counts as missing",
    ]
    store.put(record, [(blob, kept(first, blob)) for blob in record.blobs])
    other, said = opened()
    assert other.find(address) == record.claim, "no verdict of others counts"
    found = other.fetch(wheel, tmp_path)
    assert found is not None
    assert found.read_bytes() == kept(first, wheel).read_bytes()
    assert said == []


def test_a_place_that_refuses_or_is_away_is_named_once(
    place: Place, opened: Callable[..., tuple[Store, list[str]]]
) -> None:
    store, said = opened(place.broken)

    assert store.find(NOBODY) is None
    assert store.find(Digest("1" * 64)) is None

    assert len(said) == 1
    assert "the shared store is not used any more in this run" in said[0]
    refuses = place.url.startswith(("az", "http"))  # the others are away
    assert ("credentials come from" in said[0]) == refuses
    secrets = [value for name, value in place.broken.items() if "KEY" in name or "WORD" in name]
    assert not [each for each in secrets if each in said[0]]


def test_writers_at_once_lose_nothing(
    place: Place, tmp_path: Path, opened: Callable[..., tuple[Store, list[str]]]
) -> None:
    opened()  # sets the environment
    contents = [bytes([number]) * 100_000 for number in (1, 2, 3)]
    blobs = [Blob(sha256=_sha256(data), size=len(data)) for data in contents]
    for blob, data in zip(blobs, contents, strict=True):
        (tmp_path / blob.sha256).write_bytes(data)
    together, failed = threading.Barrier(6), []

    def write(blob: Blob) -> None:
        store = remote(place, "new/folder")
        together.wait()
        try:
            store.upload(blob, tmp_path / blob.sha256)
        except RemoteError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(blob,)) for blob in blobs * 2]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert failed == []
    reader = remote(place, "new/folder")
    assert all(reader.download(blob, tmp_path / "read") for blob in blobs)


# Uploads in parts are what Google's emulator leaves out.
@pytest.mark.parametrize("place", ["azure", "http", "s3"], indirect=True)
def test_a_wheel_larger_than_a_part_arrives(
    place: Place, tmp_path: Path, opened: Callable[..., tuple[Store, list[str]]]
) -> None:
    opened()
    data = os.urandom(PART * 2 + 1)
    (tmp_path / "wheel").write_bytes(data)
    blob = Blob(sha256=_sha256(data), size=len(data))
    remote(place).upload(blob, tmp_path / "wheel")
    assert remote(place).download(blob, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize("place", ["http"], indirect=True)
def test_a_plain_web_server_is_read_and_its_refusal_of_uploads_said_once(
    place: Place, first: Machine, tmp_path: Path
) -> None:
    record, _ = built(first)
    assert place.folder is not None
    said: list[str] = []
    with served(place.folder) as web:
        remote_store = f'\n[store]\nremote = "{web.url}/shared"\n'
        second = Machine(tmp_path / "second", MATRIX + remote_store)
        one_source(first, second)
        second.build(*ONE)

        plain = replace(place, url=web.url, env={})
        local = LocalStore(tmp_path / "store")
        store = Store(local=local, warn=said.append, open_remote=lambda: remote(plain))
        for address in ("1" * 64, "2" * 64):
            store.put(replace(record, address=Digest(address)), [])
        found = store.find(record.address)

    assert second.cached() == {IDS[0]: True}
    assert wheels(second) == wheels(first)
    assert found == record.claim
    assert len(said) == 1
    assert "the shared store is only read from now on in this run" in said[0]
    assert "it answers PUT with 501" in said[0]
    assert "store.read-only" in said[0]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[corp.Corp]:
    with corp.network(tmp_path_factory.mktemp("corp")) as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_is_reached_through_a_proxy_and_with_a_private_authority(
    kind: str, company: corp.Corp, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = f"https://{corp.HOST}"
    user, _, password = corp.INDEX_LOGIN.partition(":")
    url, options, env = {
        "s3": (
            "s3://b",
            {"endpoint": server, "region": "x"},
            {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
        ),
        "gcs": (
            "gs://b",
            {"base_url": server},
            {"GOOGLE_SERVICE_ACCOUNT_KEY": stores.ANYBODY},
        ),
        "azure": (
            "abfss://b@a.dfs.core.windows.net",
            {"endpoint": server},
            {"AZURE_STORAGE_ACCOUNT_KEY": stores.KEY},
        ),
        "http": (f"{server}/b", {}, {USERNAME: user, PASSWORD: password}),
    }[kind]
    for name, value in {**company.environ("SSL_CERT_FILE"), **env}.items():
        monkeypatch.setenv(name, value)
    company.seen.clear()
    store = RemoteStore(url, options=options, environ=os.environ, ca_bundle=company.bundle)
    if kind == "http":
        assert store.record(NOBODY) is None
    else:
        with pytest.raises(RemoteError, match="credentials come from"):
            store.record(NOBODY)
    path, status = company.seen[0]
    assert path.replace("%2F", "/") == f"/b/actions/00/{NOBODY}"
    assert status == (404 if kind == "http" else 401)


@pytest.mark.parametrize(
    ("url", "options", "env", "message"),
    [
        ("http://store.invalid/w", {}, stores.LOGIN, "could be read by everybody on the way"),
        ("https://store.invalid/w", {"region": "x"}, {}, "a web server has no options (region)"),
        ("az://c/w", {"regionn": "x"}, {}, "regionn"),
    ],
)
def test_what_a_kind_of_store_cannot_do_is_one_clear_message(
    url: str, options: dict[str, str], env: dict[str, str], message: str
) -> None:
    with pytest.raises(RemoteError, match=re.escape(message)):
        RemoteStore(url, options=options, environ=env)


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
