"""Whoever may write to a shared store decides nothing but what is worth a look.

Each test plants something in the directory that two machines share, and builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said, orchestrator, results
from tests.integration.test_store import IDS, MATRIX, ONE, Machine, one_source

READ_ONLY = {"ORCHESTRATOR_STORE_READ_ONLY": "1"}
TEXT = b"31 bytes that are not a wheel.\n"


def matrix(shared: Path, more: str = "") -> str:
    return f'{MATRIX}\n[store]\nremote = "{shared.as_uri()}"\n{more}'


class Pair:
    """Two machines that share a directory; the first one may have built already."""

    def __init__(self, root: Path, more: str = "", first: Machine | None = None) -> None:
        self.root = root
        self.shared = root / "shared"
        if first is None:
            self.shared.mkdir()
            first = Machine(root / "first", matrix(self.shared, more))
        else:
            shutil.copytree(first.root.parent / "shared", self.shared)
        self.first = first
        self.second = Machine(root / "second", matrix(self.shared, more))
        one_source(self.first, self.second)
        self.outside = root / "outside"

    def fill(self, env: Mapping[str, str] | None = None) -> Path:
        """Build on the first machine, and return the record's file."""
        self.first.build(*ONE, env=env)
        self.first.built()
        return self.record

    @property
    def record(self) -> Path:
        (record,) = (self.shared / "actions").glob("*/*")
        return record

    @property
    def good(self) -> Path:
        (wheel,) = (self.first.root / "dist").glob("*.whl")
        return wheel

    def assert_built(self, said: Said) -> None:
        """The second machine has built, whatever the store says, and nothing lies elsewhere."""
        assert self.first.built() == {"1.0+a"}, said.all
        assert self.second.cached() == {IDS[0]: False}
        (wheel,) = (self.second.root / "dist").glob("*.whl")
        assert wheel.name == self.good.name
        assert members(wheel) == members(self.good)
        assert not self.outside.exists()


def members(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that has put a wheel into the directory beside it."""
    pair = Pair(tmp_path_factory.mktemp("filled"))
    pair.fill()
    return pair.first


@pytest.fixture
def pair(tmp_path: Path, filled: Machine) -> Pair:
    return Pair(tmp_path, first=filled)


def body_of(record: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.read_bytes().partition(b"\n")[2])
    return found


def write(record: Path, body: dict[str, Any]) -> None:
    """Write a record as its checksum wants it; a stranger has no more to do."""
    data = json.dumps(body).encode()
    record.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def replace_wheel(pair: Pair, data: bytes, **changes: Any) -> None:
    """Put another file in the place of the wheel, with the verdict of the one before."""
    sha256 = hashlib.sha256(data).hexdigest()
    blob = pair.shared / "blobs" / sha256[:2] / sha256
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(data)
    body = body_of(pair.record)
    body["wheel"] |= {"sha256": sha256, "size": len(data)} | changes
    write(pair.record, body)


@pytest.mark.parametrize(
    "name",
    [
        "{outside}",
        "../../../outside/x-1.0-py3-none-any.whl",
        "requests-99.0-py3-none-any.whl",
    ],
)
def test_a_record_names_no_file_of_its_own(pair: Pair, name: str) -> None:
    replace_wheel(pair, TEXT, filename=name.format(outside=pair.outside))

    said = pair.second.build(*ONE)

    pair.assert_built(said)
    assert f"record {pair.record.name[:16]}" in said.stderr, "the record is named"


def test_a_text_is_not_a_wheel_whatever_its_record_says(pair: Pair) -> None:
    replace_wheel(pair, TEXT)

    said = pair.second.build(*ONE)

    pair.assert_built(said)
    assert f"record {pair.record.name[:16]} is not taken" in said.stderr


def test_a_wheel_that_verify_refuses_is_built_though_its_record_has_a_verdict(pair: Pair) -> None:
    changed = pair.root / "changed.zip"
    shutil.copyfile(pair.good, changed)
    with zipfile.ZipFile(changed, "a") as archive:
        archive.writestr("evil.py", "print('evil')\n")
    replace_wheel(pair, changed.read_bytes())

    said = pair.second.build(*ONE)

    pair.assert_built(said)
    assert "record-missing: evil.py" in said.stderr


def test_a_sound_wheel_of_another_machine_is_verified_once_and_taken(pair: Pair) -> None:
    body = body_of(pair.record)
    body["wheel"]["observed_tag"] = "musllinux_9_9_x86_64"  # a lie about the same file
    write(pair.record, body)

    pair.second.build(*ONE)
    assert pair.second.cached() == {IDS[0]: True}
    found = results(pair.second.root / "dist")[IDS[0]]["wheel"]
    assert found["observed_tag"] != "musllinux_9_9_x86_64"
    shutil.rmtree(pair.shared)
    pair.second.build(*ONE)
    assert pair.second.cached() == {IDS[0]: True}
    assert pair.first.built() == set()


# Keys


def key(folder: Path, name: str) -> tuple[str, str]:
    """Make a key; return the file with the private part, and the public part."""
    file = folder / name
    said = orchestrator("cache", "key", "new", file, cwd=folder, code=0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() not in said.all
    shown = orchestrator("cache", "key", "public", str(file), cwd=folder)
    assert shown.stdout == said.stdout
    return str(file), said.stdout.strip()


def test_a_release_takes_what_a_trusted_key_signed_and_builds_the_rest(tmp_path: Path) -> None:
    private, public = key(tmp_path, "ours")
    other, _ = key(tmp_path, "others")
    pair = Pair(tmp_path, f'trusted-keys = ["{public}"]\n')
    record = pair.fill({"ORCHESTRATOR_STORE_KEY_FILE": other})

    said = pair.second.build(*ONE, env=READ_ONLY)
    pair.assert_built(said)
    assert "no trusted key has signed" in said.stderr

    text = Path(private).read_text()
    for folder in (pair.first.root / "store", pair.shared, pair.second.root / "store"):
        shutil.rmtree(folder)
    pair.shared.mkdir()
    record = pair.fill({"ORCHESTRATOR_STORE_KEY": text})
    said = pair.second.build(*ONE)
    assert pair.second.cached() == {IDS[0]: True}
    assert text.strip() not in said.all
    assert text.strip().encode() not in record.read_bytes()

    shutil.rmtree(pair.second.root / "store")
    data = record.read_bytes()
    record.write_bytes(data.replace(b'"tiny-1.0+a', b'"tiny-1.0+b', 1))
    pair.assert_built(pair.second.build(*ONE, env=READ_ONLY))

    shutil.rmtree(pair.second.root / "store")
    body = body_of(record)
    seal = data.partition(b"\n")[0].partition(b" ")[2]
    body["reason"] = "another body under the same signature"
    write(record, body)
    first, _, rest = record.read_bytes().partition(b"\n")
    record.write_bytes(first + b" " + seal + b"\n" + rest)
    pair.assert_built(pair.second.build(*ONE, env=READ_ONLY))


def test_what_a_trusted_key_signed_is_not_verified_again(tmp_path: Path) -> None:
    private, public = key(tmp_path, "ours")
    pair = Pair(tmp_path, f'trusted-keys = ["{public}"]\n')
    record = pair.fill({"ORCHESTRATOR_STORE_KEY_FILE": private})

    pair.second.build(*ONE, env={"ORCHESTRATOR_STORE_TRUST": "all"})

    assert pair.second.cached() == {IDS[0]: True}
    (kept,) = (pair.second.root / "store" / "actions").glob("*/*")
    assert body_of(kept) == body_of(record), "nothing was found out anew"


@pytest.mark.parametrize("trust", ["none", "signed"])
def test_trust_of_the_environment_wins(pair: Pair, trust: str) -> None:
    pair.assert_built(pair.second.build(*ONE, env={"ORCHESTRATOR_STORE_TRUST": trust}))


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ({"ORCHESTRATOR_STORE_TRUST": "nobody"}, "ORCHESTRATOR_STORE_TRUST"),
        ({"ORCHESTRATOR_STORE_KEY": "not a key but a secret"}, "ORCHESTRATOR_STORE_KEY"),
        ({"ORCHESTRATOR_STORE_KEY_FILE": "/nonexistent/key"}, "/nonexistent/key"),
    ],
)
def test_wrong_words_about_trust_are_errors_that_repeat_no_secret(
    pair: Pair, env: dict[str, str], where: str
) -> None:
    said = pair.second.build(*ONE, code=2, env=env)

    assert where in said.stderr
    assert "a secret" not in said.all


# This machine's own directory


def test_a_record_that_somebody_put_into_the_local_store_is_a_claim(pair: Pair) -> None:
    replace_wheel(pair, TEXT)
    shutil.copytree(pair.shared, pair.second.root / "store")
    shutil.rmtree(pair.shared)
    pair.shared.mkdir()

    pair.assert_built(pair.second.build(*ONE))


@pytest.mark.parametrize("name", ["blobs", "actions", "tmp", "locks", "leases", "projects"])
def test_a_link_in_the_local_store_is_not_followed(
    pair: Pair, filled: Machine, tmp_path: Path, name: str
) -> None:
    store, target = pair.second.root / "store", tmp_path / "precious"
    shutil.copytree(filled.root / "store", store)
    (target / "ab").mkdir(parents=True)
    (target / "file").write_text("precious")
    (target / "ab" / "file").write_text("precious")
    os.utime(target / "file", (1, 1))
    os.utime(target / "ab" / "file", (1, 1))
    if (store / name).exists():
        shutil.rmtree(store / name)
    (store / name).symlink_to(target)

    pair.second.build(*ONE)
    orchestrator("cache", "gc", "--max-size", "0", cwd=tmp_path, env=pair.second.env, code=0)

    found = {str(each.relative_to(target)) for each in target.rglob("*") if each.is_file()}
    assert found == {"file", "ab/file"}
