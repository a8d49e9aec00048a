"""A site in a bucket of an S3 server on loopback: types, conditional writes, nothing lost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from orchestrator.publish import storage
from tests.conftest import Said, orchestrator, started
from tests.stores import asked
from tests.wheelmaker import WheelSpec

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}


@pytest.fixture
def env(s3: str) -> dict[str, str]:
    asked(f"{s3}/moto-api/reset", "POST")
    asked(f"{s3}/bucket", "PUT")
    return {**KEYS, "AWS_ENDPOINT_URL": s3, "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def bucket(env: dict[str, str]) -> S3Store:
    return S3Store(
        "bucket",
        prefix="whl",
        endpoint=env["AWS_ENDPOINT_URL"],
        access_key_id="x",
        secret_access_key="x",  # noqa: S106 - of a server on loopback
        region="us-east-1",
        client_options={"allow_http": True},
    )


def names(bucket: S3Store) -> set[str]:
    return {each["path"] for page in obstore.list(bucket) for each in page}


def index(
    env: dict[str, str], cwd: Path, *options: str, output: str = "s3://bucket/whl", code: int = 0
) -> Said:
    return orchestrator("index", "--output", output, *options, cwd=cwd, env=env, code=code)


def page(bucket: S3Store, path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bytes(obstore.get(bucket, path).bytes()))
    return document


def test_a_site_in_a_bucket_grows_and_says_what_its_files_are(
    env: dict[str, str], bucket: S3Store, tmp_path: Path
) -> None:
    WheelSpec(version="1.0+cu126").write(tmp_path / "one")
    WheelSpec(version="1.0.dev1+cu130").write(tmp_path / "two")
    for folder in ("one", "two"):
        index(env, tmp_path, folder)
    wheel = "files/demo/demo-1.0+cu126-cp312-cp312-manylinux_2_17_x86_64.whl"
    assert {wheel, f"{wheel}.metadata", "site.json", "cu130/demo/index.html"} <= names(bucket)
    found = obstore.get(bucket, "cu126/demo/index.json")
    assert found.attributes["Content-Type"] == "application/vnd.pypi.simple.v1+json"
    assert found.attributes["Cache-Control"] == "no-cache"
    html = obstore.get(bucket, "cu126/demo/index.html")
    assert html.attributes["Content-Type"] == "text/html; charset=utf-8"
    assert "immutable" in obstore.get(bucket, wheel).attributes["Cache-Control"]
    index(env, tmp_path, "--keep", "0")
    assert page(bucket, "cu130/demo/index.json")["files"] == []
    assert [name for name in names(bucket) if "cu130" in name and ".whl" in name] == []
    index(env, tmp_path, "--remove", "cu130")
    assert not [name for name in names(bucket) if "cu130" in name]


def test_what_an_update_that_was_killed_has_left_gets_the_right_bytes(
    env: dict[str, str], bucket: S3Store, tmp_path: Path
) -> None:
    """Another file of this name and size is there, and ``site.json`` is not."""
    path = WheelSpec(version="1.0+cu126").write(tmp_path / "dist")
    name = f"files/demo/{path.name}"
    obstore.put(bucket, name, b"x" * path.stat().st_size)
    index(env, tmp_path, "dist")
    there = obstore.get(bucket, name)
    assert bytes(there.bytes()) == path.read_bytes()
    (entry,) = page(bucket, "cu126/demo/index.json")["files"]
    assert entry["hashes"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()

    index(env, tmp_path, "dist")
    assert obstore.head(bucket, name)["last_modified"] == there.meta["last_modified"]


def test_updates_of_a_bucket_at_the_same_time_lose_nothing(
    env: dict[str, str], bucket: S3Store, tmp_path: Path
) -> None:
    versions = [f"1.{number}+cu126" for number in range(3)]
    for version in versions:
        WheelSpec(version=version).write(tmp_path / version)
    command = ("index", "--output", "s3://bucket/whl")
    runs = [started(*command, each, cwd=tmp_path, env=env) for each in versions]
    said = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), said
    assert page(bucket, "cu126/demo/index.json")["versions"] == versions


def test_who_has_not_seen_the_last_version_cannot_write(
    env: dict[str, str], bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    place = storage.open_storage("s3://bucket/whl")
    assert place.swap("site.json", b"1", None)
    assert not place.swap("site.json", b"2", None)
    there = place.read("site.json")
    assert there is not None
    assert place.swap("site.json", b"3", there[1])
    assert not place.swap("site.json", b"4", there[1])
    assert bytes(obstore.get(bucket, "site.json").bytes()) == b"3"


def test_a_bucket_that_is_not_there_is_one_clear_message(
    env: dict[str, str], tmp_path: Path
) -> None:
    WheelSpec().write(tmp_path / "dist")
    said = index(env, tmp_path, "dist", output="s3://none/whl", code=4)
    assert "the bucket answers" in said.stderr
    assert "Traceback" not in said.stderr
