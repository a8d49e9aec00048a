"""Files: locks, whole files, links, copies and removal. No other module does these itself."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOK_AGAIN = 0.2
"""Seconds between two attempts to take a lock that another process holds."""

PARTIAL = ".partial"
"""The last part of a file's name while the file is being written."""

NEW = ".new-"
"""The first part of a directory's name while it is made, or removed."""

_NO_REFERENCES = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)
"""Answers of copy_file_range(2) after which the bytes can still be copied one by one."""


class NoLocksError(OSError):
    """This file system has no locks: some network file systems, and servers without a daemon."""


# Locks: flock(2), which the kernel releases when the last process that has the file open ends.


def take_lock(
    path: Path,
    *,
    shared: bool = False,
    create: bool = True,
    wait: bool | Callable[[], bool] = True,
) -> int:
    """Return a descriptor that holds the lock of a file or directory; closing it releases the lock.

    Args:
        path: the file or directory. If the name leads to another file by the time the lock is
            taken, because its holder removed or replaced the file, that one is locked instead.
        shared: allow other shared locks at the same time.
        create: make an empty file if nothing is there.
        wait: whether to wait while another process holds it; or a function that is called every
            `LOOK_AGAIN` seconds meanwhile, and stops the waiting by returning False.

    Raises:
        BlockingIOError: another process holds it, and nobody waits any longer.
        NoLocksError: the file system has no locks.
        OSError: the file cannot be opened, or is not there and may not be made.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait is True else fcntl.LOCK_NB)
    while True:
        descriptor = _open(path, create=create)
        try:
            _flock(descriptor, path, how, wait=wait)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    create: bool = True,
    wait: bool | Callable[[], bool] = True,
) -> Iterator[int]:
    """Hold a lock for a while; see `take_lock`."""
    descriptor = take_lock(path, shared=shared, create=create, wait=wait)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, *, create: bool) -> int:
    # For writing where that is allowed: NFS has no exclusive locks on files opened for reading.
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except OSError as error:
        if error.errno not in {errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY)
        raise


def _flock(descriptor: int, path: Path, how: int, *, wait: bool | Callable[[], bool]) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, how)
        except BlockingIOError:
            if not callable(wait) or not wait():
                text = "another process holds it"
                raise BlockingIOError(errno.EWOULDBLOCK, text, str(path)) from None
        except OSError as error:
            reason = f"file locks do not work here ({error.strerror})"
            raise NoLocksError(error.errno, reason, str(path)) from error
        time.sleep(LOOK_AGAIN)


# Whole files


@contextlib.contextmanager
def replacing(
    path: Path,
    *,
    aside: Path | None = None,
    mode: int | None = None,
    durable: bool = True,
    parents: bool = True,
) -> Iterator[Path]:
    """Yield the name of an empty file that gets its final name when the block ends without error.

    Other processes see the old file or the whole new one. On an error nothing is left, and an
    error that names no other file names the destination.

    Args:
        path: the final name.
        aside: the directory of the file until then, on the same file system; default: beside.
        mode: permission bits; default: what the umask allows.
        durable: whether the file has to survive a crash of the machine.
        parents: whether a missing directory is made; a file that a user named has none made.
    """
    folder = path.parent if aside is None else aside
    # `remove_partial` reads the process ID. A name may be as long as file systems allow: clip it.
    partial = folder / f".{path.name[:60]}.{os.urandom(4).hex()}.{os.getpid()}{PARTIAL}"
    try:
        for each in {path.parent, folder} if parents else ():
            each.mkdir(parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield partial
        if mode is not None:
            partial.chmod(mode)
        if durable:
            _sync(partial)
        partial.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(partial):
            error.filename, error.filename2 = str(path), None
        elif str(error.filename2) == str(partial):
            error.filename2 = str(path)
        raise
    finally:
        # Still there after an error, and where both names were already links of one file.
        with contextlib.suppress(OSError):
            partial.unlink()
    if durable:
        _sync(path.parent)


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Yield an empty directory that gets its final name when the block ends without error.

    Its parent may hold anything else, and is removed afterwards. If another process has made the
    same directory meanwhile, that one stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=NEW, dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        yield made
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def write_whole(
    path: Path, content: bytes | str, *, durable: bool = True, parents: bool = True
) -> None:
    """Write a file whole or not at all; text as UTF-8. Raises OSError, which names the file.

    A symbolic link stays one. What is not a regular file, such as a pipe or ``/dev/stdout``, is
    written to as it is. The options are those of `replacing`.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with replacing(path.resolve(), durable=durable, parents=parents) as partial:
        partial.write_bytes(data)


def remove_partial(folder: Path) -> None:
    """Remove what `replacing` has left in a directory for processes that were killed."""
    for path in folder.glob(f".*{PARTIAL}"):
        process = path.name.removesuffix(PARTIAL).rpartition(".")[2]
        if process.isdigit() and not Path("/proc", process).exists():
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make a file's contents, or a directory's names, survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Copies and links


def copy_file(source: Path, place: Path, *, keep: bool = False) -> None:
    """Copy a file's contents; where the file system can, only a reference to them.

    Args:
        source: the file; a symbolic link is followed.
        place: the new file, or one that is overwritten.
        keep: whether mode and times are copied as well.
    """
    _copy(source, place)
    if keep:
        shutil.copystat(source, place)


def _copy(source: Path, place: Path) -> None:
    plain = source.is_file()
    if plain and place.exists():
        plain = place.is_file() and not place.samefile(source)
    if not plain:
        shutil.copyfile(source, place)  # says what is wrong
        return
    with source.open("rb") as old, place.open("wb") as new:
        try:
            old.seek(copy_range(old.fileno(), new.fileno(), 0, os.fstat(old.fileno()).st_size))
        except OSError as error:
            error.filename, error.filename2 = str(source), str(place)
            raise
        shutil.copyfileobj(old, new)


def copy_range(source: int, dest: int, begin: int, end: int) -> int:
    """Append bytes of an open file to another, if the kernel can; return where it stopped.

    btrfs, XFS and NFS 4.2 copy a reference instead of the bytes.
    """
    try:
        while begin < end and hasattr(os, "copy_file_range"):
            count = os.copy_file_range(source, dest, end - begin, begin)
            if not count:
                break
            begin += count
    except OSError as error:
        if error.errno not in _NO_REFERENCES:
            raise
    return begin


def copy_tree(source: Path, place: Path) -> None:
    """Copy a directory with modes, times and symbolic links; raises shutil.Error (an OSError)."""

    def copy(old: str, new: str) -> None:
        copy_file(Path(old), Path(new), keep=True)

    shutil.copytree(source, place, symlinks=True, copy_function=copy)


def copy_any(source: Path, place: Path) -> None:
    """Copy a file or a directory with modes and times; missing parents are made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        copy_tree(source, place)
    else:
        copy_file(source, place, keep=True)


def install_file(source: Path, place: Path, *, link: bool = False) -> None:
    """Put a file to its place, whole or not at all; raises OSError.

    Args:
        source: the file; it stays where it is.
        place: where it shall be; a file that is there is replaced, and never written into.
        link: whether it may be another name of the same file, which is on the disk already.
    """
    if link:
        with contextlib.suppress(OSError):
            os.link(source, place)
            return  # a name that nobody had: there was nothing to replace
    with replacing(place, durable=not link) as partial:
        if link:
            partial.unlink()
            with contextlib.suppress(OSError):
                os.link(source, partial)
                return
        _copy(source, partial)
        if link:
            _sync(partial)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# Removal


def remove_tree(root: Path, *, ignore_errors: bool = False) -> None:
    """Remove a directory if it is there, even one with directories that nobody may write to.

    Args:
        root: the directory; a symbolic link is refused.
        ignore_errors: leave there what cannot be removed, instead of raising OSError.
    """
    shutil.rmtree(root, ignore_errors=True)
    if not os.path.lexists(root):
        return
    if not root.is_symlink():
        for folder, _, _ in os.walk(root):  # top down: each is readable before it is listed
            with contextlib.suppress(OSError):
                Path(folder).chmod(0o700)
    shutil.rmtree(root, ignore_errors=ignore_errors)


def make_empty(folder: Path) -> None:
    """Make a directory, or remove everything that is in it."""
    remove_tree(folder)
    folder.mkdir()
