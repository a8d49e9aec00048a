"""What a wheel that is built once more is compared with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.models.target import BackendName, Digest, Source, TargetId
from orchestrator.models.wheel import WheelReport
from orchestrator.run.reproduce import (
    PreviousWheel,
    RebuildRequest,
    RecordedWheel,
    compare_with,
    save_previous,
)
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.result_record import Record
from tests.factories import WHEEL

ID = TargetId("t")
NAME = WHEEL.filename


def sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def wheel(data: bytes) -> WheelReport:
    return replace(WHEEL, filename=NAME, sha256=sha256(data), size=len(data))


def claim(data: bytes, folder: Path | None) -> RecordedWheel:
    return RecordedWheel(facts=wheel(data), origin="somebody", folder=folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that has a wheel at an address."""
    made = Store(local=LocalStore(tmp_path / "store"), warn=lambda _: None)
    made.local.put_bytes(b"stored")
    made.local.put_record(
        Record(
            address=sha256(b"address"),
            target_id=ID,
            document={},
            sources=None,
            backend=BackendName.DIRECT,
            reason="a test",
            duration=1.0,
            wheel=wheel(b"stored"),
        )
    )
    return made


def found(again: RebuildRequest, store: Store, folder: Path) -> tuple[str, bytes | None] | None:
    earlier = save_previous(again, store, [sha256(b"unknown"), sha256(b"address")], folder / "run")
    if earlier is None:
        return None
    return earlier.claim.origin, None if earlier.wheel is None else earlier.wheel.read_bytes()


def test_the_file_itself_counts_before_the_store(store: Store, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / NAME).write_bytes(b"the file")
    again = RebuildRequest(target_id=ID, claim=claim(b"the file", dist))

    assert found(again, store, tmp_path) == ("somebody", b"the file")

    (dist / NAME).write_bytes(b"another file")
    assert found(again, store, tmp_path) == ("the store", b"stored"), "it is not that file"
    (dist / NAME).unlink()
    assert found(again, store, tmp_path) == ("the store", b"stored")


def test_the_bytes_of_a_claim_may_be_in_the_store(store: Store, tmp_path: Path) -> None:
    again = RebuildRequest(target_id=ID, claim=claim(b"stored", tmp_path / "nowhere"), strict=True)

    assert found(again, store, tmp_path) == ("somebody", b"stored")


def test_a_strict_claim_is_replaced_by_nothing(store: Store, tmp_path: Path) -> None:
    again = RebuildRequest(target_id=ID, claim=claim(b"of CI", tmp_path), strict=True)

    assert found(again, store, tmp_path) == ("somebody", None)
    assert found(RebuildRequest(target_id=ID, claim=None, strict=True), store, tmp_path) is None


def test_what_is_kept_outlives_what_replaces_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"before")
    again = RebuildRequest(target_id=ID, claim=claim(b"before", tmp_path))
    earlier = save_previous(again, store, [], tmp_path / "run")
    aside = tmp_path / "aside"
    aside.write_bytes(b"after")
    aside.replace(tmp_path / NAME)

    assert earlier is not None
    assert earlier.wheel is not None
    assert earlier.wheel.read_bytes() == b"before"


def test_equal_hashes_need_no_files(tmp_path: Path) -> None:
    earlier = PreviousWheel(claim=claim(b"same", None), wheel=None)

    assert compare_with(earlier, wheel(b"same"), tmp_path).differences == ()
    assert compare_with(earlier, wheel(b"other"), tmp_path).differences is None
    assert compare_with(None, wheel(b"other"), tmp_path).differences is None


def test_what_is_no_wheel_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no wheel")
    earlier = PreviousWheel(claim=claim(b"other", None), wheel=tmp_path / NAME)

    assert compare_with(earlier, wheel(b"no wheel"), tmp_path).differences is None


def test_the_source_must_be_the_same_and_gets_that_epoch() -> None:
    here = Source(name="demo", version=None, digest=Digest("a" * 64), epoch=5)
    again = RebuildRequest(target_id=ID, claim=None, digest=here.digest, epoch=3)

    assert again.source(here).epoch == 3
    assert RebuildRequest(target_id=ID, claim=None).source(here) is here
    with pytest.raises(SourceError, match=r"a{64} here, and b{64} there"):
        RebuildRequest(target_id=ID, claim=None, digest=Digest("b" * 64)).source(here)
