"""The cache: entries are whole or not there, held by who uses them, pruned when nobody does."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import orchestrator
from orchestrator import fsutil
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.host.process import Cancel
from orchestrator.provision import toolchain, zig
from orchestrator.provision.cache_dir import (
    AREAS,
    FOREIGN_PYTHONS,
    IN_USE,
    NVCC,
    TOOLCHAIN,
    ZIG,
    CacheEntry,
    default_cache_dir,
    existing_entry,
    prune,
)

PACKAGE = Path(orchestrator.__file__).parent
DOCS = PACKAGE.parent / "docs"


def fill(made: Path) -> None:
    (made / "file").write_text("1")
    (made.parent / "scratch").write_text("2")


def provided(cache: Path, name: str, make: Callable[[Path], object] = fill) -> CacheEntry:
    return NVCC.provide(cache, name, make)


def of_another_version(cache: Path, name: str) -> Path:
    """Make an entry as another version of this program does."""
    entry = provided(cache, name)
    return entry.folder.rename(NVCC.place(cache) / f"0123456789abcdef-{name}")


def names(cache: Path) -> list[str]:
    found = (each.name.partition("-")[2] for each in NVCC.place(cache).iterdir())
    return sorted(filter(None, found))


def test_an_entry_is_made_once_and_nothing_else_stays(tmp_path: Path) -> None:
    made = provided(tmp_path, "one")
    assert provided(tmp_path, "one", lambda _made: pytest.fail("it is there")) == made
    assert made.folder == NVCC.folder(tmp_path, "one")
    assert sorted(each.name for each in made.folder.iterdir()) == ["file", IN_USE]
    assert names(tmp_path) == ["one"]


def test_nothing_is_left_of_one_that_cannot_be_made(tmp_path: Path) -> None:
    def fail(made: Path) -> None:
        fill(made)
        raise EnvironmentProblemError.of("no network")

    with pytest.raises(EnvironmentProblemError, match="no network"):
        provided(tmp_path, "one", fail)
    assert names(tmp_path) == []


def test_of_several_at_once_one_makes_it_and_the_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsutil, "LOOK_AGAIN", 0)
    told, made = threading.Event(), []
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        told.set()

    def slow(folder: Path) -> None:
        made.append(folder)
        waiter.start()
        assert told.wait(60)

    waiter = threading.Thread(target=lambda: NVCC.provide(tmp_path, "one", made.append, say=say))
    provided(tmp_path, "one", slow)
    waiter.join()
    assert len(made) == 1
    assert lines == [
        f"waiting for process {os.getpid()} on {os.uname().nodename}, which has {tmp_path / 'nvcc'}"
    ]


def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    cancel = Cancel()
    with (
        NVCC.locked(tmp_path, print, Cancel()),
        pytest.raises(EnvironmentProblemError, match="cancelled") as caught,
    ):
        NVCC.provide(tmp_path, "one", fill, say=lambda _: cancel.set(), cancel=cancel)
    assert caught.value.kind is ErrorKind.CANCELLED


def test_a_place_that_cannot_be_taken_is_an_error(tmp_path: Path) -> None:
    NVCC.place(tmp_path).write_text("a file")
    with pytest.raises(EnvironmentProblemError, match="nvcc"):
        provided(tmp_path, "one")


def test_what_is_used_or_of_this_version_is_not_pruned(tmp_path: Path) -> None:
    used, unused = (of_another_version(tmp_path, each) for each in ("used", "unused"))
    held = existing_entry(used)
    provided(tmp_path, "new")
    killed = [NVCC.place(tmp_path) / name for name in (".new-x", ".old-x")]
    for each in killed:
        each.mkdir()
    (NVCC.place(tmp_path) / "newest-13.0").write_text("no entry")
    assert NVCC.prune(tmp_path, print) == (*killed, unused)
    assert used.is_dir()
    assert held is not None
    del held
    assert NVCC.prune(tmp_path, print) == (used,)
    assert names(tmp_path) == ["13.0", "new"]
    assert NVCC.prune(tmp_path / "nothing", print) == ()


def test_a_new_one_takes_the_place_of_what_was_not_used_for_long(tmp_path: Path) -> None:
    _recent, stale = (of_another_version(tmp_path, each) for each in ("recent", "stale"))
    os.utime(stale / IN_USE, (1e9, 1e9))
    provided(tmp_path, "new")
    assert names(tmp_path) == ["new", "recent"]


def test_where_there_are_no_locks_it_is_used_all_the_same_and_nothing_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    old = of_another_version(tmp_path, "old")
    os.utime(old / IN_USE, (1e9, 1e9))
    monkeypatch.setattr(fcntl, "flock", no_locks)

    def slow(made: Path) -> None:
        fill(made)
        provided(tmp_path, "one")  # another process is faster

    assert provided(tmp_path, "one", slow).hold is None
    assert names(tmp_path) == ["old", "one"]
    with pytest.raises(EnvironmentProblemError, match="nobody knows what is in use"):
        NVCC.prune(tmp_path, print)


def test_one_that_somebody_else_keeps_for_all_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_path: Path) -> None:
        raise PermissionError

    entry = provided(tmp_path, "one")
    (entry.folder / IN_USE).unlink()
    monkeypatch.setattr(Path, "touch", read_only)
    assert provided(tmp_path, "one").hold is None


def test_the_areas_of_other_versions_are_all_pruned(tmp_path: Path) -> None:
    old = [area.place(tmp_path) / "0123456789abcdef-x" for area in AREAS]
    new = [area.folder(tmp_path, "x") for area in AREAS]
    for each in (*old, *new):
        each.mkdir(parents=True)
    removed = prune(tmp_path, print)
    assert list(removed) == [old[i] for i, area in enumerate(AREAS) if area.recipe]
    assert all(each.is_dir() for each in new)
    assert {"nvcc", "cross-gcc", "foreign-pythons", "portable", "native"} <= {
        each.parent.name for each in removed
    }


def test_entries_depend_on_the_files_that_decide_about_them() -> None:
    assert TOOLCHAIN.version == toolchain.lock_digest()[:16]
    assert ZIG.version == zig.lock_digest()[:16]
    for area in AREAS:
        for pattern in area.recipe:
            assert list(PACKAGE.glob(pattern)), f"{area.name}: no {pattern}"
    assert len({area.version for area in AREAS if area.recipe}) == len(
        [area for area in AREAS if area.recipe]
    )
    assert FOREIGN_PYTHONS.is_current(FOREIGN_PYTHONS.folder(Path("/"), "python3.13-x").name)


def test_all_that_is_in_the_cache_is_in_the_table_and_in_the_docs() -> None:
    text = (DOCS / "reference/toolchain.md").read_text("utf-8")
    missing = [area.name for area in AREAS if f"`{area.name}/`" not in text]
    assert missing == []
    known = {area.name for area in AREAS}
    used = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r'cache_dir(?:\.absolute\(\))? / "([\w-]+)"', path.read_text())
    }
    assert used <= known


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, "/h/.cache/orchestrator"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/orchestrator"),
        ({"XDG_CACHE_HOME": "rel"}, "/h/.cache/orchestrator"),
        ({"ORCHESTRATOR_CACHE_DIR": "/o"}, "/o"),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], place: str) -> None:
    assert default_cache_dir({"HOME": "/h", **environ}) == Path(place)
