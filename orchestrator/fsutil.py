"""Files: locks, whole files, links, copies and removal. No other module does these itself."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections import deque
from io import BufferedReader, FileIO
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING

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
        release_lock(descriptor)


def release_lock(descriptor: int) -> None:
    """Close a lock's descriptor: nothing was written, so an error of the disk says nothing."""
    with contextlib.suppress(OSError):
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
    # `remove_partial` reads the process ID. A name may be as long as file systems allow, which
    # count bytes: clip it.
    name = os.fsencode(path.name)[:100].decode("utf-8", "ignore")
    partial = folder / f".{name}.{os.urandom(4).hex()}.{os.getpid()}{PARTIAL}"
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
        _sync_names(path.parent)


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Yield an empty directory that gets its final name when the block ends without error.

    Its parent may hold anything else, and is removed afterwards. If another process has made the
    same directory meanwhile, that one stays. Errors have names below the final one.
    """
    with named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # What cannot be removed afterwards is no reason to fail: nobody sees a name like this.
        scratch = tempfile.TemporaryDirectory(
            prefix=NEW, dir=folder.parent, ignore_cleanup_errors=True
        )
    with scratch:
        made = Path(scratch.name, "made")
        try:
            made.mkdir()
            yield made
            made.rename(folder)
        except OSError as error:
            if error.filename == str(made) and error.filename2 is not None and folder.is_dir():
                return
            error.filename = _final(error.filename, made, folder)
            error.filename2 = _final(error.filename2, made, folder)
            raise


def _final(name: object, made: Path, folder: Path) -> str | None:
    """Return the name that something in a directory will have."""
    return None if name is None else str(name).replace(str(made), str(folder), 1)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Have an error name a file that the user knows."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def write_whole(
    path: Path, content: bytes | str, *, durable: bool = True, parents: bool = True
) -> None:
    """Write a file whole or not at all; text as UTF-8. Raises OSError, which names the file.

    A symbolic link stays one, and is an error if it leads to itself. What is not a regular file,
    such as a pipe or ``/dev/stdout``, is written to as it is. The options are those of `replacing`.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    real = Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for links in a circle
    if real.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    with replacing(real, durable=durable, parents=parents) as partial:
        partial.write_bytes(data)


def remove_partial(folder: Path, *, deep: bool = False) -> None:
    """Remove what `replacing` has left in a directory for processes that were killed.

    Args:
        folder: the directory.
        deep: whether also in the directories below it; no link is followed.
    """
    for path in (folder.rglob if deep else folder.glob)(f".*{PARTIAL}"):
        process = path.name.removesuffix(PARTIAL).rpartition(".")[2]
        if process.isdigit() and not Path("/proc", process).exists():
            with contextlib.suppress(OSError):
                path.unlink()


_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES})
"""Answers of file systems that cannot sync directories (FUSE, CIFS), or to who may not read one."""


def _sync_names(folder: Path) -> None:
    """Make a directory's names survive a crash of the machine, where the file system can."""
    try:
        with named(folder):
            _sync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync(path: Path) -> None:
    """Make a file's contents survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Copies and links


def copy_file(source: Path, place: Path, *, keep: bool = False) -> None:
    """Copy a file's contents; where the file system can, only a reference to them.

    On an error nothing is left at `place`. An error that only writing has names `place`, one that
    reading may have as well names both.

    Args:
        source: the file; a symbolic link is followed.
        place: the new file, or one that is overwritten.
        keep: whether mode and times are copied as well.
    """
    plain = source.is_file()
    if plain and place.exists():
        plain = place.is_file() and not place.samefile(source)
    if plain:
        with source.open("rb") as old, _copying(source, place), place.open("wb") as new:
            _copy_open(old, new)
    else:
        shutil.copyfile(source, place)  # says what is wrong
    if keep:
        shutil.copystat(source, place)


_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors that no file has which is only read."""


@contextlib.contextmanager
def _copying(source: Path, place: Path) -> Iterator[None]:
    """Have an error name the right file, and leave no part of a copy."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            place.unlink()
        if isinstance(error, OSError) and error.errno in _WRITING:
            error.filename, error.filename2 = str(place), None
        elif isinstance(error, OSError) and error.filename is None:
            error.filename, error.filename2 = str(source), str(place)
        raise


def _copy_open(old: IO[bytes], new: IO[bytes]) -> None:
    old.seek(copy_range(old.fileno(), new.fileno(), 0, os.fstat(old.fileno()).st_size))
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
    """Copy a directory with modes, times and symbolic links.

    Raises:
        OSError: the first error; no file is copied after it.
        shutil.Error: the same, of a link or a directory.
    """
    failed: list[OSError] = []

    def copy(old: str, new: str) -> None:
        if failed:  # copytree goes on, and would have an error for every file
            return
        try:
            copy_file(Path(old), Path(new), keep=True)
        except OSError as error:
            failed.append(error)
            raise

    try:
        shutil.copytree(source, place, symlinks=True, copy_function=copy)
    except shutil.Error:
        if failed:
            raise failed[0] from None
        raise


def copy_any(source: Path, place: Path) -> None:
    """Copy a file or a directory with modes and times; missing parents are made."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        copy_tree(source, place)
    else:
        copy_file(source, place, keep=True)


@contextlib.contextmanager
def short_name(folder: Path) -> Iterator[Path]:
    """Yield a short name of a directory, which is gone after the block: a link."""
    link = Path(tempfile.gettempdir(), f"orchestrator-{os.urandom(6).hex()}{_SHORT}")
    link.symlink_to(folder)
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)


_SHORT = ".tmp"


def remove_dead_names() -> None:
    """Remove the links that `short_name` left of processes that were killed."""
    for link in Path(tempfile.gettempdir()).glob(f"orchestrator-*{_SHORT}"):
        with contextlib.suppress(OSError):  # another user's
            if link.is_symlink() and not link.exists():
                link.unlink()


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
        copy_file(source, partial)
        if link:
            _sync(partial)


def read_file(path: Path, *, limit: int = 64 << 20) -> bytes:
    """Return the contents of a regular file; links to it are followed.

    Args:
        path: of the file.
        limit: bytes that it has at most.

    Raises:
        OSError: there is none, it is larger, or it is a pipe, a socket or a device.
    """
    with named(path), open_regular(path) as stream:
        # A larger number would have Python clear as much memory first.
        content = stream.read(min(os.fstat(stream.fileno()).st_size, limit) + 1)
        while len(content) <= limit and (more := stream.read(_STEP)):
            content += more
        if len(content) > limit:
            raise OSError(errno.EFBIG, f"has more than {limit} bytes")
    return content


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, also through links. Raises OSError, which names it."""
    with named(path):
        # Opening a device may do something, and opening a pipe waits.
        _check_regular(path.stat())
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return _regular(file)


_STEP = 1 << 16


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# Below a directory: somebody else decides what is there, and may have put links or devices there

_MOST_LINKS = 40
"""As many links in a path are followed by Linux (path_resolution(7))."""


class OutsideError(OSError):
    """A path leads out of the directory that it must not leave."""


def resolve_beneath(root: Path, name: PurePath | str) -> Path:
    """Return a path below a directory without links; nothing needs to be at its end.

    Raises:
        OutsideError: the path, or a link in it, leaves the directory, even to come back to it.
        OSError: it has too many links.
    """
    done: list[str] = []
    pending = deque(str(name).split("/"))
    links = 0
    if str(name).startswith("/"):
        raise OutsideError(errno.EXDEV, "is an absolute path", str(name))
    while pending:
        part = pending.popleft()
        if part == ".." and not done:
            raise OutsideError(errno.EXDEV, f"leads out of {root}", str(name))
        if part == "..":
            done.pop()
        elif part not in {"", "."}:
            target = _link(root.joinpath(*done, part))
            if target.startswith("/"):
                raise OutsideError(errno.EXDEV, f"leads to {target}", str(name))
            links += bool(target)
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(name))
            if target:
                pending.extendleft(reversed(target.split("/")))
            else:
                done.append(part)
    return Path(*done)


def _link(path: Path) -> str:
    """Return where a link leads; nothing if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return os.readlink(path)  # noqa: PTH115 - Path's removes what makes "./x" differ from "x"
    return ""


def open_beneath(root: Path, name: PurePath | str) -> BufferedReader:
    """Open a regular file below a directory, without following any link in its path.

    Each part is opened in the one before, so that no change meanwhile leads elsewhere.

    Raises:
        OSError: there is none, a part is a link, or it is a pipe, a socket or a device.
    """
    text = str(name)
    *folders, last = [part for part in text.split("/") if part not in {"", "."}] or ["."]
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if text.startswith("/") or last == ".." or ".." in folders:
            raise OutsideError(errno.EXDEV, f"leads out of {root}")
        folder = _open_first(root, folders, flags | os.O_DIRECTORY)
        try:
            for part in folders[1:]:
                outer, folder = folder, os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
                os.close(outer)
            # Opening a device may do something, and opening a pipe waits.
            _check_regular(os.stat(last, dir_fd=folder, follow_symlinks=False))
            file = os.open(last, flags | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        error.filename = str(root / name)
        raise
    return _regular(file)


def _open_first(root: Path, folders: list[str], flags: int) -> int:
    """Open the outermost directory below a root; the root itself if there is none."""
    if folders:  # the system follows the links on the way to it, and not the last one
        return os.open(os.path.join(root, folders[0]), flags)  # noqa: PTH118 - for speed
    return os.open(root, flags & ~os.O_NOFOLLOW)


def _regular(file: int) -> BufferedReader:
    try:
        _check_regular(os.fstat(file))
        return BufferedReader(FileIO(file))  # without the questions that `open` asks the system
    except BaseException:
        os.close(file)
        raise


def _check_regular(info: os.stat_result) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(info.st_mode):
        link = stat.S_ISLNK(info.st_mode)
        raise OSError(errno.ELOOP if link else errno.EINVAL, "is not a regular file")


def read_beneath(root: Path, name: PurePath | str, *, limit: int) -> bytes:
    """Return the first bytes of a file below a directory; links that stay in it are followed.

    Raises:
        OutsideError: it lies elsewhere.
        OSError: there is no such regular file.
    """
    with open_beneath(root, resolve_beneath(root, name)) as stream:
        return stream.read(limit)


DEEPEST = 200
"""Directories in one another that are looked into: `os.walk` and `shutil.rmtree` are recursive."""


def walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each directory below one as `os.walk` does, from the top.

    Raises:
        OSError: more than `DEEPEST` of them are in one another.
    """
    above = str(root).rstrip("/").count("/")
    for folder, folders, files in os.walk(root):
        if folder.count("/") - above > DEEPEST:
            why = f"has more than {DEEPEST} directories in one another"
            raise OSError(errno.ENAMETOOLONG, why, str(root))
        yield folder, folders, files


def files_below(root: Path) -> list[Path]:
    """Return what is below a directory, sorted, but directories; raises OSError as `walk`."""
    return sorted(Path(folder, name) for folder, _, names in walk(root) for name in names)


def copy_beneath(root: Path, name: PurePath | str, place: Path) -> None:
    """Copy a regular file below a directory to a new place, with its times, and its plain mode.

    No link is followed, neither in `name` nor at `place`; what is there already is replaced.
    """
    with open_beneath(root, name) as old:
        info = os.fstat(old.fileno())
        place.unlink(missing_ok=True)
        with _copying(root / name, place):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb", closefd=False) as new:
                    _copy_open(old, new)
                os.fchmod(descriptor, plain_mode(info.st_mode))
            finally:
                os.close(descriptor)
            os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns))


def plain_mode(mode: int) -> int:
    """Return the mode of a file of which only counts whether its owner may execute it."""
    return 0o755 if mode & stat.S_IXUSR else 0o644


def make_beneath(root: Path, folder: PurePath) -> None:
    """Make a directory below another one, and those above it.

    Raises:
        OSError: a link, or something else, is in its place.
    """
    here = root
    for part in folder.parts:
        here /= part
        with contextlib.suppress(FileExistsError):
            here.mkdir()
        if not stat.S_ISDIR(here.lstat().st_mode):
            raise OSError(errno.ENOTDIR, "is not a directory", str(here))


def is_private(info: os.stat_result) -> bool:
    """Whether a file or directory is ours or root's, and nobody else may change it.

    Its group may, if that is the one that systems make for each user, of the same number.
    """
    others = 0o002 if info.st_gid == info.st_uid else 0o022
    return info.st_uid in {os.geteuid(), 0} and not info.st_mode & others


# Removal


def remove_tree(root: Path, *, ignore_errors: bool = False) -> None:
    """Remove a directory if it is there, even one with directories that nobody may write to.

    Args:
        root: the directory; a symbolic link is refused.
        ignore_errors: leave there what cannot be removed, instead of raising OSError.
    """
    if not os.path.lexists(root):
        return
    with contextlib.suppress(RecursionError):
        shutil.rmtree(root, ignore_errors=True)
    if not os.path.lexists(root):
        return
    if root.is_symlink():
        if ignore_errors:
            return
        # Some Pythons say it without these words.
        raise OSError(errno.ELOOP, "is a symbolic link", str(root))
    _flatten(root)
    shutil.rmtree(root, ignore_errors=ignore_errors)


def _flatten(root: Path) -> None:
    """Make each directory below one writable, and move it up there: `rmtree` is recursive."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        root.chmod(0o700)
    with contextlib.suppress(OSError), _opened(root, flags) as top:
        below = _folders(top)
        while below:
            name = below.pop()
            with contextlib.suppress(OSError):
                os.chmod(name, 0o700, dir_fd=top)  # before it is read
                with _opened(name, flags, top) as folder:
                    for inner in _folders(folder):
                        moved = f".{secrets.token_hex(8)}"
                        os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                        below.append(moved)


@contextlib.contextmanager
def _opened(path: Path | str, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _folders(descriptor: int) -> list[str]:
    with os.scandir(descriptor) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def make_empty(folder: Path) -> None:
    """Make a directory, or remove everything that is in it."""
    remove_tree(folder)
    folder.mkdir()
