"""Unpack an sdist (PEP 517, 625, 721): nothing in it lands outside, leads outside, or never ends.

Links are made last. So nothing is ever written through one.
"""

from __future__ import annotations

import calendar
import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.fsutil import (
    OutsideError,
    make_beneath,
    making,
    open_regular,
    plain_mode,
    resolve_beneath,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

MOST_MEMBERS = 500_000
MOST_BYTES = 16 << 30
"""Files and bytes of the largest sdist; torch's with all submodules has 60,000 files of 2 GB."""

_LONGEST_TAR = MOST_BYTES + (MOST_MEMBERS << 11)
"""Bytes that a tar file unpacks to, with its headers, and what nobody asks for."""

_LOOKED_AT = 20_000
"""Members among which the files at the top are looked for."""

_LARGEST_READ = 1 << 20
"""Bytes of the longest name, and of what is read at once."""

_LATEST = (1 << 32) - 1
"""A time that a zip file can still say (2106)."""

_DAMAGE = (
    *(OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, OverflowError),
    RuntimeError,  # zipfile: encrypted, or an unknown compression; tarfile: too many headers
    ValueError,  # a member that is refused, or a date that is none
)
"""Errors of unpacking an archive that is damaged, or means harm."""

_ARCHIVE_IS_WRONG = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL}
    | {errno.ENOENT}  # a hard link to nothing
)
"""Answers of the system that are about names in the archive, and not about this machine."""


def unpack(archive: Path, dest: Path) -> str:
    """Unpack an sdist; ``dest``, which must not exist, gets what its one directory holds.

    Returns the name of that directory.

    Raises:
        SourceError: it is damaged, too large, or not an sdist.
    """
    with making(dest) as made:
        unpacked = _Unpacked(root=made, left=MOST_BYTES)
        try:
            unpacked.take(_members(archive))
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno not in {None, *_ARCHIVE_IS_WRONG}:
                raise
            raise SourceError.of(f"cannot be unpacked: {error}", where=str(archive)) from None
        tops = [path for path in made.iterdir() if path.name != "pax_global_header"]
        if len(tops) != 1 or tops[0].is_symlink() or not tops[0].is_dir():
            raise SourceError.of("does not hold a single directory (PEP 517)", where=str(archive))
        holder = made.rename(made.with_name("holder"))
        (holder / tops[0].name).rename(made)
    return tops[0].name


def read_top(archive: Path, names: Collection[str], *, limit: int) -> dict[str, bytes]:
    """Return some files of an sdist's one directory, without unpacking it.

    Raises:
        SourceError: it is damaged.
    """
    found: dict[str, bytes] = {}
    try:
        for number, member in enumerate(_members(archive)):
            _, *inner = _inside(member.name).parts or ("",)
            name = "/".join(inner)
            if name in names and not (member.folder or member.link or member.same):
                found[name] = _beginning(member, limit)
            if len(found) == len(names) or number >= _LOOKED_AT:
                break
    except _DAMAGE as error:
        raise SourceError.of(f"cannot be read: {error}", where=str(archive)) from None
    return found


def _beginning(member: _Member, limit: int) -> bytes:
    parts: list[bytes] = []
    with member.open() as content:
        while limit > 0 and (data := content.read(min(limit, _LARGEST_READ // 4))):
            parts.append(data)
            limit -= len(data)
    return b"".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One member; ``link`` is where a symbolic link leads, ``same`` the name of the same file."""

    name: str
    mode: int = 0o644
    time: int = 0
    folder: bool = False
    link: str = ""
    same: str = ""
    open: Callable[[], IO[bytes]] = io.BytesIO


@dataclass(slots=True, kw_only=True)
class _Unpacked:
    """What was unpacked so far; errors of the archive are ValueErrors."""

    root: Path
    left: int
    links: dict[PurePosixPath, str] = field(default_factory=dict)

    def take(self, members: Iterable[_Member]) -> None:
        for number, member in enumerate(members):
            if number >= MOST_MEMBERS:
                raise ValueError(f"more than {MOST_MEMBERS} files")
            name = _inside(member.name)
            if member.folder:
                make_beneath(self.root, name)
            elif member.link:
                self.links[name] = member.link
            elif member.same:
                self._write(name, member, partial(io.FileIO, self.root / _inside(member.same)))
            else:
                self._write(name, member, member.open)
        for name, target in self.links.items():
            self._link(name, target)
        for name, target in self.links.items():
            self._check_link(name, target)

    def _write(self, name: PurePosixPath, member: _Member, opened: Callable[[], IO[bytes]]) -> None:
        make_beneath(self.root, name.parent)
        place, content = self.root / name, opened()
        place.unlink(missing_ok=True)  # the last one of a name counts, as with tar
        self.links.pop(name, None)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with content, os.fdopen(descriptor, "wb") as file:
            while data := content.read(_LARGEST_READ // 4):
                self.left -= len(data)
                if self.left < 0:
                    raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
                file.write(data)
            os.fchmod(descriptor, plain_mode(member.mode))
        time = min(max(member.time, 0), _LATEST)
        os.utime(place, (time, time))

    def _link(self, name: PurePosixPath, target: str) -> None:
        make_beneath(self.root, name.parent)
        place = self.root / name
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    def _check_link(self, name: PurePosixPath, target: str) -> None:
        if target.startswith("/"):
            raise ValueError(f"{str(name)!r} is a link to an absolute path, {target!r}")
        top, *inner = name.parts
        with suppress(OSError):  # a link to itself leads nowhere
            try:
                resolve_beneath(self.root / top, PurePosixPath(*inner))
            except OutsideError:
                what = f"{str(name)!r} is a link to {target!r}, outside the destination"
                raise ValueError(what) from None


def _inside(name: str) -> PurePosixPath:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"{name!r} would land outside the destination")
    return PurePosixPath(*parts)


def is_zip(archive: Path) -> bool:
    """Whether an archive is a zip file, as pip decides it."""
    return zipfile.is_zipfile(archive)


def has_sparse(archive: Path) -> bool:
    """Whether a tar file that can be unpacked has members of GNU tar's sparse formats."""
    with tarfile.open(archive) as tar:
        return any(member.issparse() for member in tar)


def _members(archive: Path) -> Iterator[_Member]:
    """Yield the members of a tar or zip file; raises ValueError where it could be either."""
    with open_regular(archive) as stream:
        packed = stream.read(len(_GZIP)) == _GZIP
    if not is_zip(archive):
        return _tar_members(archive)
    if packed:  # pip looks for a zip file first, uv at the file's name
        raise ValueError("it is a tar and a zip file, which installers read differently")
    return _zip_members(archive)


_GZIP = b"\x1f\x8b"
"""The first bytes of a gzip file (RFC 1952)."""


class _Uncompressed(gzip.GzipFile):
    """A tar stream of which tarfile takes no header of gigabytes into memory.

    Older Pythons ask for a header at once, later ones for one piece after the other.

    Attributes:
        room: bytes that the headers of the next member may still have; None while contents are
            read.
    """

    room: int | None = _LARGEST_READ

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_place(offset)
        return super().seek(offset, whence)

    def _check_place(self, place: int) -> None:
        if place > _LONGEST_TAR:
            raise ValueError(f"more than {_LONGEST_TAR >> 20} MiB")

    def read(self, size: int | None = -1) -> bytes:
        self._check_place(self.tell())
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise ValueError(f"a name or a header of {size} bytes")
        data = super().read(size)
        if self.room is not None:
            self.room -= len(data)
            if self.room < 0:
                raise ValueError(f"a name or a header of more than {_LARGEST_READ} bytes")
        return data


def _tar_members(archive: Path) -> Iterator[_Member]:
    with _Uncompressed(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as bundle:
            while (info := bundle.next()) is not None:
                stream.room = None
                yield _tar_member(bundle, info)
                bundle.members = []  # type: ignore[attr-defined] # it would keep them all in memory
                stream.room = _LARGEST_READ
        stream.room = None
        # tarfile stops at the last member; gzip compares its checksum at the end of the file.
        while stream.read(_LARGEST_READ):
            pass


def _tar_member(bundle: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
        raise ValueError(f"{info.name!r} is a special file")

    def opened() -> IO[bytes]:
        content = bundle.extractfile(info)
        if content is None:
            raise ValueError(f"{info.name!r} has no content")
        return content

    return _Member(
        name=info.name,
        mode=info.mode,
        time=int(info.mtime),
        folder=info.isdir(),
        link=info.linkname if info.issym() else "",
        same=info.linkname if info.islnk() else "",
        open=opened,
    )


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            year, month, day, *clock = info.date_time
            mode = info.external_attr >> 16
            is_link = stat.S_ISLNK(mode)
            yield _Member(
                name=info.filename,
                mode=mode,
                # A zip without times has zeros there.
                time=calendar.timegm((year, max(month, 1), max(day, 1), *clock)),
                folder=info.is_dir(),
                link=os.fsdecode(_short(bundle, info)) if is_link else "",
                open=partial(bundle.open, info),
            )


def _short(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with bundle.open(info) as content:
        return content.read(4096)
