"""Directories of the cache: whole or not there, held by who uses them, pruned when nobody does."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision import cache_dir, foreign_python, relocate, toolchain
from orchestrator.provision.cache_dir import (
    IN_USE,
    CacheEntry,
    make_once,
    provide_entry,
    prune_entries,
)

if TYPE_CHECKING:
    from pathlib import Path


def filled(made: Path) -> None:
    (made / "file").write_text("1")
    (made.parent / "scratch").write_text("2")


def names(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir() if each.name != "lock")


def test_one_is_made_once_and_nothing_else_stays(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "one"
    make_once(folder, filled)
    make_once(folder, lambda _made: pytest.fail("it is there"))
    assert names(folder.parent) == ["one"]
    assert names(folder) == ["file"]


def test_nothing_is_left_of_one_that_cannot_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "one"

    def fails(made: Path) -> None:
        filled(made)
        raise EnvironmentProblemError.of("no network")

    with pytest.raises(EnvironmentProblemError, match="no network"):
        make_once(folder, fails)
    assert names(folder.parent) == []


def test_another_process_may_have_been_faster(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "one"

    def slow(made: Path) -> None:
        filled(made)
        make_once(folder, filled)

    make_once(folder, slow)
    assert names(folder.parent) == ["one"]
    assert (folder / "file").read_text() == "1"


def test_a_place_that_cannot_be_taken_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.write_text("a file")
    with pytest.raises(OSError, match="one"):
        make_once(folder, filled)


def provided(folder: Path) -> CacheEntry:
    found = provide_entry(folder, filled, current=lambda name: name.endswith("new"))
    assert isinstance(found, CacheEntry)
    return found


def test_what_is_used_or_of_this_version_is_not_pruned(tmp_path: Path) -> None:
    def current(name: str) -> bool:
        return name.endswith("new")

    used, _unused, new = (tmp_path / "store" / each for each in ("used", "unused", "a-new"))
    held = provided(used)
    provided(tmp_path / "store" / "unused")
    provided(new)
    being_made = tmp_path / "store" / ".making-x"
    being_made.mkdir()
    removed = prune_entries(tmp_path / "store", current, print)
    assert [each.name for each in removed] == ["unused"]
    assert held.folder == used
    del held
    os.utime(being_made, (1e9, 1e9))
    removed = prune_entries(tmp_path / "store", current, print)
    assert [each.name for each in removed] == [".making-x", "used"], "whoever made it is gone"
    assert names(tmp_path / "store") == ["a-new"]
    assert prune_entries(tmp_path / "nothing", current, print) == ()


def test_a_new_one_takes_the_place_of_what_was_not_used_for_long(tmp_path: Path) -> None:
    place = tmp_path / "store"
    for each in ("recent", "stale"):
        provided(place / each)
    os.utime(place / "stale" / IN_USE, (1e9, 1e9))
    provided(place / "a-new")
    assert names(place) == ["a-new", "recent"]


def test_where_nothing_can_be_pruned_it_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache_dir, "_try_lock", no_locks)
    assert provided(tmp_path / "store" / "one").folder.is_dir()


def test_one_that_somebody_else_keeps_for_all_is_used_as_it_is(tmp_path: Path) -> None:
    provided(tmp_path / "store" / "one")
    (tmp_path / "store/one" / IN_USE).unlink()
    assert provided(tmp_path / "store" / "one").hold is None


def test_old_copies_of_programs_and_old_pythons_are_pruned(tmp_path: Path) -> None:
    ours = f"uv-{toolchain.lock_digest()[:16]}-x86_64-{relocate._recipe()}"
    for name in (ours, "uv-1111111111111111-x86_64-11111111"):
        (relocate.store(tmp_path) / name).mkdir(parents=True)
    assert [each.name[:4] for each in relocate.prune(tmp_path, print)] == ["uv-1"]
    assert names(relocate.store(tmp_path)) == [ours]
    python = f"python3.13-riscv64-{foreign_python._recipe()}"
    for name in (python, "python3.13-riscv64-11111111"):
        (foreign_python.store(tmp_path) / name).mkdir(parents=True)
    assert len(foreign_python.prune(tmp_path, print)) == 1
    assert names(foreign_python.store(tmp_path)) == [python]
