"""File mechanics: locks, whole files, copies and removal, with the errors of the system."""

from __future__ import annotations

import errno
import fcntl
import gc
import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from orchestrator import fsutil
from orchestrator.fsutil import (
    DEEPEST,
    NoLocksError,
    OutsideError,
    copy_beneath,
    copy_file,
    copy_tree,
    file_sha256,
    install_file,
    locked,
    make_beneath,
    making,
    open_beneath,
    read_beneath,
    read_file,
    remove_partial,
    remove_tree,
    replacing,
    resolve_beneath,
    take_lock,
    walk,
    write_whole,
)


@pytest.fixture(autouse=True, scope="module")
def _others_leave_nothing() -> None:
    gc.collect()  # what earlier tests left in a circle is closed when that is found


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = names(Path("/proc/self/fd"))
    yield
    assert names(Path("/proc/self/fd")) == before


def failing(code: int) -> Callable[..., object]:
    def fail(*_: object, **_keywords: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# Locks


def test_one_process_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError, match="another process") as caught:
            take_lock(tmp_path / "lock", wait=False)
        assert caught.value.filename == str(tmp_path / "lock")
        with pytest.raises(BlockingIOError):
            take_lock(tmp_path / "lock", wait=False, shared=True)
    with locked(tmp_path / "lock", wait=False):
        pass


def test_shared_locks_are_held_together(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, shared=True), locked(path, shared=True), pytest.raises(BlockingIOError):
        take_lock(path, wait=False)


def test_a_directory_can_be_locked(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BlockingIOError):
        take_lock(tmp_path, wait=False)
    assert names(tmp_path) == []


def test_who_waits_is_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsutil, "LOOK_AGAIN", 0)
    held, asked = take_lock(tmp_path / "lock"), 0

    def waiting() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            os.close(held)
        return True

    with locked(tmp_path / "lock", wait=waiting):
        assert asked == 3


def test_waiting_can_be_given_up_and_ends_with_an_error(tmp_path: Path) -> None:
    def cancelled() -> bool:
        raise KeyboardInterrupt

    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError):
        take_lock(tmp_path / "lock", wait=lambda: False)
    with locked(tmp_path / "lock"), pytest.raises(KeyboardInterrupt):
        take_lock(tmp_path / "lock", wait=cancelled)


def test_waiting_in_the_kernel_ends_with_the_other_one(tmp_path: Path) -> None:
    held = take_lock(tmp_path / "lock")
    waiter = threading.Thread(target=lambda: os.close(take_lock(tmp_path / "lock")))
    waiter.start()
    os.close(held)
    waiter.join()


def test_a_lock_that_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take_lock(tmp_path / "lock", create=False)
    assert names(tmp_path) == []


def test_a_name_that_was_removed_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = tmp_path / "lock", fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        really(descriptor, how)
        if path.read_bytes() == b"old":  # its holder removes it before letting it go
            path.unlink()

    path.write_bytes(b"old")
    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), path.stat())


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, *, wait: bool
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(code))
    with pytest.raises(NoLocksError, match="do not work here") as caught:
        take_lock(tmp_path / "lock", wait=wait)
    assert caught.value.errno == code
    assert caught.value.filename == str(tmp_path / "lock")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_lock_that_only_others_may_write_can_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    really = os.open

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(code, os.strerror(code), str(path))
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", opened)
    with pytest.raises(OSError, match=os.strerror(code)):
        take_lock(tmp_path / "lock")
    (tmp_path / "lock").touch()
    with locked(tmp_path / "lock"):
        pass


# Whole files


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with replacing(path) as partial:
        assert partial.parent == path.parent
        assert not path.exists()
        partial.write_bytes(b"one")
    assert path.read_bytes() == b"one"

    def interrupted() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"one"
    assert names(path.parent) == ["file"]


def test_its_mode_is_that_of_the_umask_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "one", "1")
        with replacing(tmp_path / "two", mode=0o644):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "two").stat().st_mode & 0o777 == 0o644


def test_the_contents_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def renamed(old: Path, new: Path) -> Path:
        steps.append("rename")
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "file", b"1")
    assert steps == ["file", "rename", "folder"]
    steps.clear()
    write_whole(tmp_path / "file", b"2", durable=False)
    assert steps == ["rename"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(
    ("where", "name"), [(os, "fsync"), (Path, "replace"), (Path, "write_bytes"), (os, "open")]
)
def test_an_error_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, where: object, name: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(where, name, failing(code))
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_whole(path, "new")
    monkeypatch.undo()
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_real_error_names_the_file_and_not_its_part(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path / "file"):
        pass
    assert caught.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == ["file"]


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        install_file(tmp_path / "missing", tmp_path / "file")
    assert caught.value.filename in {str(tmp_path / "missing"), tmp_path / "missing"}
    assert names(tmp_path) == []


def test_a_directory_is_whole_or_not_there(tmp_path: Path) -> None:
    def interrupted() -> None:
        with making(tmp_path / "a" / "b") as made:
            (made / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path / "a") == []
    with making(tmp_path / "a" / "b") as made:
        (made / "file").touch()
        (made.parent / "scratch").touch()
        assert not (tmp_path / "a" / "b").exists()
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "a" / "b") == ["file"]


def test_a_directory_that_another_process_has_made_stays(tmp_path: Path) -> None:
    with making(tmp_path / "a") as slow:
        (slow / "slow").touch()
        with making(tmp_path / "a") as fast:
            (fast / "fast").touch()
    assert names(tmp_path / "a") == ["fast"]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), making(tmp_path / "file"):
        pass


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "1"


def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), "1")
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_whole(tmp_path / "pipe", "through")
    reader.join()
    assert read == ["through"]
    assert names(tmp_path) == ["pipe"]


def test_parts_of_dead_processes_are_removed(tmp_path: Path) -> None:
    pid = 2**22 + 1  # more than the kernel gives
    (tmp_path / f".a.whl.{pid}.partial").touch()
    (tmp_path / f".b.whl.0123abcd.{pid}.partial").touch()
    (tmp_path / ".somebody-else's.partial").touch()
    with replacing(tmp_path / "c.whl") as partial:
        remove_partial(tmp_path)
        assert names(tmp_path) == sorted([".somebody-else's.partial", partial.name])


def test_a_part_that_cannot_be_removed_stays(tmp_path: Path) -> None:
    (tmp_path / f".a.{2**22 + 1}.partial").mkdir()
    remove_partial(tmp_path)
    assert len(names(tmp_path)) == 1


def test_a_lock_whose_descriptor_cannot_be_closed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with locked(tmp_path / "lock"):
        monkeypatch.setattr(os, "close", fail)
    monkeypatch.undo()


# Copies and links


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_copy_has_the_contents(tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    copy_file(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    assert file_sha256(tmp_path / "copy") == file_sha256(tmp_path / "source")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_bytes_are_copied_where_references_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (tmp_path / "source").write_bytes(b"12345")
    really, calls = os.copy_file_range, 0

    def some(old: int, new: int, _count: int, begin: int) -> int:
        nonlocal calls
        calls += 1
        return really(old, new, 2, begin) if calls == 1 else failing(code)()  # type: ignore[return-value]

    monkeypatch.setattr(os, "copy_file_range", some)
    copy_file(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"12345"


@pytest.mark.parametrize("how", [install_file, copy_file, copy_tree])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("kernel", [True, False])
def test_a_full_disk_names_where_it_is_full_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Path, Path], None],
    code: int,
    *,
    kernel: bool,
) -> None:
    source, place = tmp_path / "source", tmp_path / "place"
    if how is copy_tree:
        source.mkdir()
        (source / "a").write_bytes(b"1")
        (source / "b").write_bytes(b"2")
    else:
        source.write_bytes(b"1")

    def half(_: object, new: IO[bytes]) -> None:
        new.write(b"half")
        failing(code)()

    monkeypatch.setattr(os, "copy_file_range", failing(code if kernel else errno.EXDEV))
    monkeypatch.setattr(shutil, "copyfileobj", half)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        how(source, place)
    error = caught.value
    inner = Path(str(error.filename)).name if how is copy_tree else ""
    both = (str(source / inner), str(place / inner))
    assert error.errno == code
    # Of an error that reading has as well, nobody knows whose it is.
    assert (error.filename, error.filename2) == (both if code == errno.EIO else (both[1], None))
    assert names(tmp_path) == (["place", "source"] if how is copy_tree else ["source"])
    assert how is not copy_tree or names(place) == []


FAULTS = {
    os: (
        *("open", "fsync", "replace", "rename", "mkdir"),
        *("chmod", "fchmod", "stat", "fstat", "utime"),
    ),
    io: ("open",),
    fcntl: ("flock",),
}
CODES = (
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EMLINK),
    *(errno.EXDEV, errno.ENOLCK, errno.EMFILE, errno.ESTALE),
)


def put_aside(folder: Path) -> None:
    with replacing(folder / "place", aside=folder / "aside", mode=0o600) as partial:
        assert partial.parent == folder / "aside"
        partial.write_text("new")


def put_folder(folder: Path) -> None:
    with making(folder / "made") as made:
        os.close(os.open(made / "place", os.O_CREAT | os.O_WRONLY))


def put_under_lock(folder: Path) -> None:
    with locked(folder / "lock"), locked(folder, wait=False):
        pass


USES: dict[str, Callable[[Path], None]] = {
    "file": lambda folder: write_whole(folder / "place", "new"),
    "copy": lambda folder: install_file(folder / "source", folder / "place"),
    "link": lambda folder: install_file(folder / "source", folder / "place", link=True),
    "beneath": lambda folder: copy_beneath(folder, "source", folder / "below"),
    "aside": put_aside,
    "folder": put_folder,
    "lock": put_under_lock,
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_any_call_may_fail_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], None], code: int
) -> None:
    """Every call of the system in turn: afterwards all is as it was, or as it should be."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "source").write_text("new")
        (folder / "place").write_text("old")
        left = number

        def fault(really: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    raise OSError(code, os.strerror(code), *map(str, arguments[:1]))
                return really(*arguments, **named)

            return call

        raised: OSError | None = None
        with monkeypatch.context() as patch:
            for module, functions in FAULTS.items():
                for name in functions:
                    patch.setattr(module, name, fault(getattr(module, name)))
            try:
                use(folder)
            except OSError as error:
                raised = error
        # A directory that cannot be removed afterwards stays, under a name that nobody sees.
        there = {path.name for path in folder.iterdir() if not path.name.startswith(fsutil.NEW)}
        assert there <= {"source", "place", "made", "below", "lock", "aside"}
        assert (folder / "place").read_text() in {"old", "new"}
        assert not (folder / "below").exists() or (folder / "below").read_text() == "new"
        assert not (folder / "made").exists() or names(folder / "made") == ["place"]
        assert not (folder / "aside").exists() or names(folder / "aside") == []
        if raised is not None:
            said = f"{raised.filename} {raised.filename2}"
            assert ".partial" not in said
            assert ".new-" not in said
        if left > 0:
            assert raised is None
            break
    assert number > 2


def test_names_may_be_as_long_as_file_systems_allow(tmp_path: Path) -> None:
    """File systems count bytes, of which a letter may have four."""
    for letter in ("\N{PILE OF POO}", "語", "ä", "x"):
        name = letter * (255 // len(letter.encode()))
        write_whole(tmp_path / name, "1")
        with making(tmp_path / name[:-1]) as made:
            (made / "x").touch()
    assert len(names(tmp_path)) == 8


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_sync_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    really = os.fsync

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            failing(code)()
        really(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if code == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            write_whole(tmp_path / "file", "1")
        assert caught.value.filename == str(tmp_path)
    else:
        write_whole(tmp_path / "file", "1")
    assert (tmp_path / "file").read_text() == "1"


def test_links_in_a_circle_are_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)) as caught:
        write_whole(tmp_path / "a", "1")
    assert caught.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_mode_and_times_are_copied_where_they_matter(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"1")
    source.chmod(0o750)
    os.utime(source, (1e9, 1e9))
    copy_file(source, tmp_path / "kept", keep=True)
    copy_file(source, tmp_path / "plain")
    kept, plain = (tmp_path / "kept").stat(), (tmp_path / "plain").stat()
    assert (kept.st_mode & 0o777, kept.st_mtime) == (0o750, 1e9)
    assert plain.st_mode & 0o111 == 0
    assert plain.st_mtime != 1e9


def test_a_file_is_not_copied_onto_itself_and_no_pipe_is_read(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    (tmp_path / "link").symlink_to("source")
    with pytest.raises(shutil.SameFileError):
        copy_file(tmp_path / "source", tmp_path / "link")
    assert (tmp_path / "source").read_bytes() == b"1"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(shutil.SpecialFileError):
        copy_file(tmp_path / "pipe", tmp_path / "copy")


def test_a_tree_keeps_modes_times_and_links(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    (source / "a" / "program").write_bytes(b"1")
    (source / "a" / "program").chmod(0o755)
    os.utime(source / "a" / "program", (1e9, 1e9))
    (source / "link").symlink_to("nowhere")
    copy_tree(source, tmp_path / "copy")
    made = (tmp_path / "copy/a/program").stat()
    assert (made.st_mode & 0o777, made.st_mtime) == (0o755, 1e9)
    assert (tmp_path / "copy/link").readlink() == Path("nowhere")


def test_a_link_is_another_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1")
    install_file(tmp_path / "source", tmp_path / "new" / "link", link=True)
    assert (tmp_path / "new" / "link").samefile(tmp_path / "source")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_links_do_not_work_it_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    (tmp_path / "source").write_bytes(b"1")
    install_file(tmp_path / "source", tmp_path / "copy", link=True)
    assert (tmp_path / "copy").read_bytes() == b"1"
    assert not (tmp_path / "copy").samefile(tmp_path / "source")
    assert names(tmp_path) == ["copy", "source"]


@pytest.mark.parametrize("link", [True, False])
def test_what_is_replaced_keeps_its_contents_under_its_other_name(
    tmp_path: Path, *, link: bool
) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    os.link(tmp_path / "old", tmp_path / "place")
    for _ in range(2):  # the second time both are one file already
        install_file(tmp_path / "source", tmp_path / "place", link=link)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert (tmp_path / "place").read_bytes() == b"new"
    assert (tmp_path / "place").samefile(tmp_path / "source") is link
    assert names(tmp_path) == ["old", "place", "source"]


# Removal


def test_a_tree_is_removed_with_directories_that_cannot_be_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").touch()
    for folder in (root / "a" / "b", root / "a"):
        folder.chmod(0)
    remove_tree(root)
    assert names(tmp_path) == []
    remove_tree(root)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of rmtree
def test_a_tree_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    """Deeper than Python's recursion, and than the longest path."""
    root, here = tmp_path / "root", os.open(tmp_path, os.O_RDONLY)
    os.mkdir("root", dir_fd=here)
    inner = os.open("root", os.O_RDONLY, dir_fd=here)
    for _ in range(2_500):
        os.mkdir("ab", dir_fd=inner)
        outer, inner = inner, os.open("ab", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=inner))
    os.close(inner)
    os.close(here)
    remove_tree(root)
    assert names(tmp_path) == []


def test_directories_are_made_writable_once_they_resist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the superuser, who may write everywhere, would not see it."""
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a").chmod(0o500)
    really = os.rmdir

    def rmdir(path: object, *, dir_fd: int | None = None) -> None:
        if (root / "a").exists() and (root / "a").stat().st_mode & 0o777 == 0o500:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        really(path, dir_fd=dir_fd)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove_tree(root)
    assert names(tmp_path) == []


def test_what_cannot_be_removed_is_an_error_unless_it_may_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(os, "rmdir", failing(errno.EBUSY))
    remove_tree(tmp_path / "root", ignore_errors=True)
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        remove_tree(tmp_path / "root")


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir(mode=0o500)
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(OSError, match="symbolic link"):
        remove_tree(tmp_path / "link")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    remove_tree(tmp_path / "root")
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o500


def test_a_directory_that_is_missing_is_made_only_where_it_may(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "file", "x", parents=False)
    assert not list(tmp_path.iterdir())

    write_whole(tmp_path / "made" / "file", "x")
    assert (tmp_path / "made" / "file").read_text() == "x"


# Below a directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").write_text("inside")
    (tmp_path / "secret").write_text("hunter2")
    for name, target in {
        "link": "a/file",
        "dir": "a",
        "a/up": "../a/b/../file",
        "far": "dir/up",
        "loop": "loop",
        "out": "../secret",
        "again": "../tree/a/file",
        "absolute": str(root / "a" / "file"),
        "parent": "a/b/../../..",
        "dangling": "a/nothing/../x",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a/file", "a/file"),
        ("./a//b/../file", "a/file"),
        ("link", "a/file"),
        ("dir/file", "a/file"),
        ("far", "a/file"),
        ("dir/b", "a/b"),
        ("dangling", "a/x"),
        ("nothing/at/all", "nothing/at/all"),
        (".", "."),
    ],
)
def test_a_path_below_a_directory_without_links(tree: Path, name: str, inside: str) -> None:
    assert resolve_beneath(tree, name) == Path(inside)


@pytest.mark.parametrize(
    "name",
    ["..", "a/../..", "/etc", "out", "again", "absolute", "parent", "parent/secret", "dir/../../x"],
)
def test_a_path_that_leaves_the_directory(tree: Path, name: str) -> None:
    with pytest.raises(OutsideError) as caught:
        resolve_beneath(tree, name)
    assert caught.value.filename == name


def test_a_link_to_itself_has_no_end(tree: Path) -> None:
    with pytest.raises(OSError, match="levels of symbolic links") as caught:
        resolve_beneath(tree, "loop")
    assert not isinstance(caught.value, OutsideError)


@pytest.mark.parametrize("name", ["link", "dir/file", "out", "absolute", "a", "..", "/etc/passwd"])
def test_nothing_but_a_file_is_opened_and_no_link_is_followed(tree: Path, name: str) -> None:
    with pytest.raises(OSError, match=re.escape(str(tree / name))):
        open_beneath(tree, name)


def test_neither_pipes_nor_devices_are_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe")

    with pytest.raises(OSError, match="is not a regular file"):
        open_beneath(tree, "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        open_beneath(Path("/dev"), "null")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "is not a regular file"),
        ("to-pipe", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("dir", "Is a directory"),
        ("gone", "No such file"),
        ("huge", "has more than 100 bytes"),
    ],
)
def test_only_a_regular_file_is_read_and_no_more_than_the_limit(
    tree: Path, name: str, why: str
) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "to-pipe").symlink_to("pipe")
    (tree / "dir").mkdir(exist_ok=True)
    with (tree / "huge").open("wb") as sparse:
        sparse.truncate(1 << 40)

    with pytest.raises(OSError, match=why) as caught:
        read_file(tree / name, limit=100)
    assert caught.value.filename == str(tree / name)


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("file")

    assert read_file(tmp_path / "link", limit=100) == b"x" * size


def test_a_file_without_a_size_is_read_to_its_end() -> None:
    assert read_file(Path("/proc/self/mountinfo")).endswith(b"\n")


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process exchanges a directory between any two steps."""
    real = os.open

    def exchange(path: str | Path, flags: int, mode: int = 0o777, **more: int) -> int:
        if Path(path).name == "a":
            (tree / "a").rename(tree / "was")
            (tree / "a").symlink_to(tree.parent)
        return real(path, flags, mode, **more)

    (tree.parent / "file").write_text("hunter2")
    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(OSError, match="a/file"):
        open_beneath(tree, "a/file")


def test_a_file_is_read_through_links_that_stay(tree: Path) -> None:
    assert read_beneath(tree, "far", limit=100) == b"inside"
    assert read_beneath(tree, "far", limit=2) == b"in"
    with pytest.raises(OutsideError):
        read_beneath(tree, "out", limit=100)


def deep(root: Path, levels: int) -> None:
    """Make directories in one another; their paths are longer than one call takes."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_only_so_many_directories_in_one_another_are_looked_into(tmp_path: Path) -> None:
    deep(tmp_path, DEEPEST)
    assert len([*walk(tmp_path)]) == DEEPEST + 1
    (tmp_path / "more").mkdir()
    deep(tmp_path / "more", DEEPEST)
    with pytest.raises(OSError, match=f"more than {DEEPEST} directories in one another") as caught:
        list(walk(tmp_path))
    assert caught.value.filename == str(tmp_path)


def test_a_copy_replaces_a_link_and_has_a_plain_mode(tree: Path, tmp_path: Path) -> None:
    (tree / "a" / "file").chmod(0o6777)
    os.utime(tree / "a" / "file", (7, 7))
    place = tmp_path / "place"
    place.symlink_to("secret")

    copy_beneath(tree, "a/file", place)

    assert place.read_text() == "inside"
    assert (place.stat().st_mode & 0o7777, place.stat().st_mtime) == (0o755, 7)
    assert (tmp_path / "secret").read_text() == "hunter2"


def test_directories_are_made_below_no_link(tree: Path) -> None:
    make_beneath(tree, Path("a/new/deep"))
    assert (tree / "a/new/deep").is_dir()
    for name in ("dir/x", "out/x", "a/file/x"):
        with pytest.raises(OSError, match=r"is not a directory|Not a directory"):
            make_beneath(tree, Path(name))
    assert not (tree / "a" / "x").exists()


def test_a_short_name_ends_with_its_block_and_those_of_killed_processes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, folder = tmp_path / "names", tmp_path / "folder"
    names.mkdir()
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(names))
    (names / "orchestrator-dead.tmp").symlink_to(tmp_path / "gone")
    (names / "orchestrator-file.tmp").touch()

    with fsutil.short_name(folder) as short:
        (short / "file").touch()
        fsutil.remove_dead_names()
        assert sorted(each.name for each in names.iterdir()) == sorted(
            [short.name, "orchestrator-file.tmp"]
        )

    assert (folder / "file").exists()
    assert not short.is_symlink()
