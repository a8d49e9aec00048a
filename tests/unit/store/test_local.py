"""The store in a directory: many writers, damage in every byte, and collecting garbage."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.target import BackendName, Digest, TargetId
from orchestrator.models.wheel import Finding
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.result_record import (
    LARGEST,
    TOOLS,
    Blob,
    Record,
    UnreadableRecordError,
    blob_name,
    pack,
    record_name,
    unpack,
)
from orchestrator.store.seals import SHARED, machine_secret


def address(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def record(name: str, log: Blob | None = None) -> Record:
    return Record(
        address=address(name),
        target_id=TargetId(name),
        document={"request": {"env": [["A", "1", False]]}},
        sources=None,
        backend=BackendName.DIRECT,
        reason="a test",
        duration=1.5,
        log=log,
    )


def put(local: LocalStore, name: str, data: bytes = b"some bytes") -> tuple[Record, Blob]:
    """Store a result with this log."""
    log = local.put_bytes(data)
    made = record(name, log)
    local.put_record(made)
    return made, log


def place_of(local: LocalStore, made: Record) -> Path:
    return local.root / record_name(made.address)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(local: LocalStore, said: list[str]) -> Store:
    return Store(local=local, warn=said.append)


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def age_all(local: LocalStore, seconds: float) -> None:
    for path in local.root.rglob("*"):
        if path.is_file():
            age(path, seconds)


def test_what_was_put_comes_back(local: LocalStore) -> None:
    made, log = put(local, "a", b"log")

    assert local.record(made.address) == made
    path, damaged = local.blob(log)
    assert path is not None
    assert (path.read_bytes(), damaged) == (b"log", False)


def test_what_was_never_put_is_missing_and_not_damaged(local: LocalStore) -> None:
    assert local.record(address("a")) is None
    assert local.blob(Blob(sha256=address("a"), size=1)) == (None, False)
    assert not local.root.exists()


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_record_with_any_bit_changed_is_none(position: int, bit: int) -> None:
    made = record("a")
    data = bytearray(pack(made))
    data[position % len(data)] ^= 1 << bit

    with pytest.raises(UnreadableRecordError):
        unpack(bytes(data), made.address)


@given(length=st.integers(min_value=0))
def test_a_record_that_was_cut_is_none(length: int) -> None:
    data = pack(record("a"))

    with pytest.raises(UnreadableRecordError):
        unpack(data[: length % len(data)], address("a"))


def test_a_record_in_another_ones_place_is_none() -> None:
    with pytest.raises(UnreadableRecordError, match="is the record of something else"):
        unpack(pack(record("a")), address("b"))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "cut": lambda data: data[:-1],
    "empty": lambda _data: b"",
    "longer": lambda data: data + b"x",
}


@pytest.mark.parametrize("kind", ["blobs", "actions"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_miss_with_a_warning_and_is_mended_by_the_next_put(
    store: Store, said: list[str], tmp_path: Path, kind: str, damage: str
) -> None:
    made, log = put(store.local, "a")
    ((file, data),) = contents(store.local.root / kind).items()
    file.write_bytes(DAMAGE[damage](data))

    got = store.find(made.address) if kind == "actions" else store.fetch(log, tmp_path)

    assert got is None
    assert len(said) == 1
    assert "damaged, and counts as missing" in said[0]
    put(store.local, "a")
    assert store.find(made.address) == made
    assert store.fetch(log, tmp_path / "scratch") is not None
    assert not (tmp_path / "scratch").exists(), "nothing was downloaded"


def test_many_writers_of_the_same_and_of_other_things_lose_nothing(local: LocalStore) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        for each in range(20):
            put(local, f"r{each}", b"x" * each * 1000)
            put(local, f"own{number}-{each}", bytes([number]) * 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    assert local.usage().records == 20 + 8 * 20
    assert all(local.record(address(f"r{each}")) is not None for each in range(20))
    assert list((local.root / "tmp").iterdir()) == []


def test_the_results_used_last_stay(local: LocalStore) -> None:
    (old, old_log), (new, new_log) = (put(local, n, n.encode() * 50_000) for n in ("old", "new"))
    age_all(local, 100)
    for path in local.root.rglob("*"):
        if path.name in {old.address, old_log.sha256}:
            age(path, 100)

    freed = local.collect(200_000)

    assert freed > 100_000
    assert local.record(old.address) is None
    assert local.blob(old_log) == (None, False)
    assert local.record(new.address) == new
    assert local.blob(new_log)[0] is not None


def test_a_blob_that_another_result_names_stays(local: LocalStore) -> None:
    first, _ = put(local, "first", b"shared" * 10)
    age_all(local, 100)
    second, log = put(local, "second", b"shared" * 10)
    age_all(local, 100)

    local.collect(local.usage().size - 1)

    assert local.record(first.address) is None
    assert local.record(second.address) == second
    assert local.blob(log)[0] is not None


def test_nothing_that_a_run_has_used_is_collected(local: LocalStore) -> None:
    (used, log), (unused, _) = put(local, "used", b"1" * 1000), put(local, "unused", b"2" * 1000)
    age_all(local, 100)
    with local.lease():
        assert local.record(used.address) is not None
        assert local.blob(log)[0] is not None

        LocalStore(local.root).collect(0)

        assert local.record(unused.address) is None
        assert local.record(used.address) == used
        assert local.blob(log)[0] is not None
    age_all(local, 100)
    LocalStore(local.root).collect(0)
    assert local.usage().size == 0


def test_a_full_store_is_left_with_room(local: LocalStore) -> None:
    for number in range(20):
        put(local, f"r{number}", bytes([number]) * 10_000)
    age_all(local, 100)
    limit = local.usage().size - 1

    local.collect(limit)

    assert local.usage().size <= limit * 0.95


def test_half_written_files_of_dead_processes_go_and_those_of_living_ones_stay(
    local: LocalStore,
) -> None:
    put(local, "a", b"x")
    left = local.root / "tmp" / "left"
    left.write_bytes(b"half")
    age(left, 100)
    with local.lease():
        assert not left.exists()
        ours = local.root / "tmp" / "ours"
        ours.write_bytes(b"half")
        with LocalStore(local.root).lease():
            assert ours.exists()


def test_locks_of_dead_processes_go_and_those_of_living_ones_stay(local: LocalStore) -> None:
    locks = local.root / "locks"
    with local.turn(address("held"), waiting=lambda: False):
        (locks / address("left")).touch()
        with LocalStore(local.root).lease():
            assert [each.name for each in locks.iterdir()] == [address("held")]


def test_whoever_gives_up_waiting_goes_on_without_the_lock(local: LocalStore) -> None:
    with (
        local.turn(address("a"), waiting=lambda: True),
        LocalStore(local.root).turn(address("a"), waiting=lambda: False) as waited,
    ):
        assert waited


def test_a_store_that_cannot_be_written_keeps_nothing_and_says_so_once(
    store: Store, said: list[str]
) -> None:
    store.local.root.write_text("a file is in the way")

    with store.local.lease(), store.local.turn(address("a"), waiting=lambda: True):
        assert store.keep_bytes(b"1") is None
        assert store.keep_bytes(b"2") is None
        store.put(record("a"), [])

    assert store.find(address("a")) is None
    assert len(said) == 1
    assert "cannot be written, nothing is kept" in said[0]


def test_the_last_results_of_a_project_are_kept_apart_from_those_of_others(
    local: LocalStore,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: local.remember("one", {f"t{n}": address(str(n))}), range(8)))
    local.remember("two", {"t1": address("other")})

    assert local.last("one") == {f"t{n}": address(str(n)) for n in range(8)}
    assert local.last("two") == {"t1": address("other")}


# What somebody else has put there


def test_a_record_or_blob_that_is_a_link_a_pipe_or_a_directory_is_not_read(
    local: LocalStore, said: list[str], tmp_path: Path
) -> None:
    made, log = put(local, "a")
    files = [place_of(local, made), local.root / blob_name(log.sha256)]
    for kind in ("link", "pipe", "directory"):
        for file in files:
            elsewhere = tmp_path / f"{kind}-{file.name}"
            file.rename(elsewhere) if file.is_file() else None
            if kind == "link":
                file.symlink_to(elsewhere)
            elif kind == "pipe":
                os.mkfifo(file)
            else:
                file.mkdir()
        store = Store(local=LocalStore(local.root), warn=said.append)
        assert store.find(made.address) is None
        assert store.fetch(log, tmp_path / "scratch") is None
        assert len(said) == 2, "each is named"
        said.clear()
        for file in files:
            file.rmdir() if kind == "directory" else file.unlink()


@pytest.mark.parametrize("name", ["blobs", "actions", "blobs/{blob}", "actions/{action}"])
def test_nothing_is_read_removed_or_written_behind_a_link(
    store: Store, said: list[str], tmp_path: Path, name: str
) -> None:
    local = store.local
    made, log = put(local, "a")
    name = name.format(blob=log.sha256[:2], action=made.address[:2])
    elsewhere = tmp_path / "elsewhere"
    (local.root / name).rename(elsewhere)
    (local.root / name).symlink_to(elsewhere)
    before = contents(elsewhere)

    found = (store.find(made.address), store.fetch(log, tmp_path / "scratch"))
    store.put(made, ())
    store.keep_bytes(b"some bytes")
    for number in range(300):  # names that begin with any two digits
        store.keep_bytes(str(number).encode())
    age_all(local, 1000)
    local.collect(0)

    assert None in found
    assert contents(elsewhere) == before
    assert any("is not used" in line for line in said)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_directory_that_others_may_write_to_is_not_used(
    local: LocalStore, said: list[str], mode: int
) -> None:
    made, _ = put(local, "a")
    local.root.chmod(mode)
    store = Store(local=LocalStore(local.root), warn=said.append)

    assert store.find(made.address) is None
    assert store.keep_bytes(b"x") is None
    assert "store.remote" in said[0]
    local.root.chmod(0o755)
    again = Store(local=LocalStore(local.root), warn=pytest.fail)
    assert again.find(made.address) == made


def test_a_new_store_is_its_owner_s_alone_whatever_the_umask(local: LocalStore) -> None:
    before = os.umask(0)
    try:
        put(local, "a")
    finally:
        os.umask(before)

    assert local.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("lie", ["{file}", "../../../precious", "..", "", "0" * 63])
def test_an_address_or_hash_that_is_a_path_removes_nothing(
    store: Store, said: list[str], tmp_path: Path, lie: str
) -> None:
    precious, local = tmp_path / "precious", store.local
    precious.write_text("precious")
    made, _ = put(local, "a")
    lie = lie.format(file=precious)
    body = json.loads(pack(made).partition(b"\n")[2])
    body["sources"] = {"sha256": lie, "size": 8}
    data = json.dumps(body).encode()
    digest = hashlib.sha256(data).hexdigest().encode()
    place_of(local, made).write_bytes(digest + b"\n" + data)
    local.remember("demo", {"good": made.address})
    (local.root / "projects" / "demo").write_text(json.dumps({"t": lie}))

    assert store.find(made.address) is None
    assert "is not a record (sources.sha256: " in said[0]
    assert local.last("demo") == {}
    local.collect(0)
    assert precious.read_text() == "precious"


def test_a_record_that_is_too_large_is_damage(local: LocalStore) -> None:
    made, _ = put(local, "a")
    with place_of(local, made).open("ab") as stream:
        stream.truncate(LARGEST * 2)

    with pytest.raises(UnreadableRecordError):
        local.record(made.address)


def test_the_secret_of_a_machine_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "store.secret"
    secret = machine_secret(file)

    assert machine_secret(file) == secret
    assert file.stat().st_mode & 0o777 == 0o600
    for spoil in (lambda: file.chmod(0o666), lambda: file.write_bytes(b"short")):
        spoil()
        assert machine_secret(file) not in {secret, b"short"}
        secret = machine_secret(file)
        assert machine_secret(file) == secret
    file.unlink()
    file.symlink_to(tmp_path / "theirs")
    (tmp_path / "theirs").write_bytes(b"x" * 32)
    assert machine_secret(file) != b"x" * 32
    assert (tmp_path / "theirs").read_bytes() == b"x" * 32


@pytest.mark.parametrize("spoil", [b"", b"here", b"here:", b"here:00", b"shared:00", b"h\xc3"])
def test_a_record_without_our_seal_has_no_verdict(local: LocalStore, spoil: bytes) -> None:
    made = replace(record("a"), said=(Finding(rule="twine", message="m"),))
    local.put_record(made)
    place = place_of(local, made)
    first, _, body = place.read_bytes().partition(b"\n")
    assert local.record(made.address) == made
    place.write_bytes(first.partition(b" ")[0] + b" " + spoil + b"\n" + body)

    if not spoil.isascii():
        with pytest.raises(UnreadableRecordError):
            local.record(made.address)
        return
    found = local.record(made.address)
    assert found is not None
    assert (found.said, found.origin, found.unasked) == ((), SHARED, TOOLS)
