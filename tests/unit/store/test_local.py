"""The store in a directory: many writers, damage in every byte, and collecting garbage."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.target import BackendName, Digest, TargetId
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.result_record import Blob, Record, pack, unpack


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


def put(local: LocalStore, name: str, data: bytes) -> Record:
    made = record(name, local.put_bytes(data))
    local.put_record(made)
    return made


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def age_all(local: LocalStore, seconds: float) -> None:
    for path in local.root.rglob("*"):
        if path.is_file():
            age(path, seconds)


def test_what_was_put_comes_back(local: LocalStore) -> None:
    made = put(local, "a", b"log")

    assert local.record(made.address) == (made, False)
    assert made.log is not None
    path, damaged = local.blob(made.log)
    assert path is not None
    assert (path.read_bytes(), damaged) == (b"log", False)


def test_what_was_never_put_is_missing_and_not_damaged(local: LocalStore) -> None:
    assert local.record(address("a")) == (None, False)
    assert local.blob(Blob(sha256=address("a"), size=1)) == (None, False)
    assert not local.root.exists()


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_record_with_any_bit_changed_is_none(position: int, bit: int) -> None:
    made = record("a")
    data = bytearray(pack(made))
    data[position % len(data)] ^= 1 << bit

    assert unpack(bytes(data), made.address) is None


@given(length=st.integers(min_value=0))
def test_a_record_that_was_cut_is_none(length: int) -> None:
    data = pack(record("a"))

    assert unpack(data[: length % len(data)], address("a")) is None


def test_a_record_in_another_ones_place_is_none() -> None:
    assert unpack(pack(record("a")), address("b")) is None


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "cut": lambda data: data[:-1],
    "empty": lambda _data: b"",
    "longer": lambda data: data + b"x",
}


@pytest.mark.parametrize("kind", ["blobs", "actions"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_miss_with_a_warning_and_is_mended_by_the_next_put(
    tmp_path: Path, kind: str, damage: str
) -> None:
    said: list[str] = []
    store = Store(local=LocalStore(tmp_path / "store"), warn=said.append)
    made = put(store.local, "a", b"some bytes of a log")
    assert made.log is not None
    (file,) = (path for path in (store.local.root / kind).rglob("*") if path.is_file())
    data = file.read_bytes()
    file.write_bytes(DAMAGE[damage](data))

    got = store.find(made.address) if kind == "actions" else store.fetch(made.log, tmp_path)

    assert got is None
    assert len(said) == 1
    assert "damaged, and counts as missing" in said[0]
    put(store.local, "a", b"some bytes of a log")
    assert store.find(made.address) == made
    assert store.fetch(made.log, tmp_path) is not None


def test_a_directory_for_downloads_is_made_only_where_something_is_downloaded(
    tmp_path: Path,
) -> None:
    store = Store(local=LocalStore(tmp_path / "store"), warn=pytest.fail)
    made = put(store.local, "a", b"some bytes of a log")
    assert made.log is not None

    assert store.fetch(made.log, tmp_path / "scratch") is not None
    assert not (tmp_path / "scratch").exists()


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
    assert all(local.record(address(f"r{each}"))[0] is not None for each in range(20))
    assert list((local.root / "tmp").iterdir()) == []


def test_the_results_used_last_stay(local: LocalStore) -> None:
    old, new = (put(local, name, name.encode() * 50_000) for name in ("old", "new"))
    age_all(local, 100)
    assert old.log is not None
    assert new.log is not None
    for path in local.root.rglob("*"):
        if path.name in {old.address, old.log.sha256}:
            age(path, 100)

    freed = local.collect(200_000)

    assert freed > 100_000
    assert local.record(old.address) == (None, False)
    assert local.blob(old.log) == (None, False)
    assert local.record(new.address)[0] == new
    assert local.blob(new.log)[0] is not None


def test_a_blob_that_another_result_names_stays(local: LocalStore) -> None:
    first = put(local, "first", b"shared" * 10)
    age_all(local, 100)
    second = put(local, "second", b"shared" * 10)
    age_all(local, 100)

    local.collect(local.usage().size - 1)

    assert second.log is not None
    assert local.record(first.address)[0] is None
    assert local.record(second.address)[0] == second
    assert local.blob(second.log)[0] is not None


def test_nothing_that_a_run_has_used_is_collected(local: LocalStore) -> None:
    used, unused = put(local, "used", b"1" * 1000), put(local, "unused", b"2" * 1000)
    age_all(local, 100)
    with local.lease():
        assert local.record(used.address)[0] is not None
        assert used.log is not None
        assert local.blob(used.log)[0] is not None

        LocalStore(local.root).collect(0)

        assert local.record(unused.address) == (None, False)
        assert local.record(used.address)[0] == used
        assert local.blob(used.log)[0] is not None
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


def test_a_store_that_cannot_be_written_keeps_nothing_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file is in the way")
    said: list[str] = []
    store = Store(local=LocalStore(tmp_path / "store"), warn=said.append)

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
