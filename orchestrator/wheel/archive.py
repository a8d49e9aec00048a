"""Opens a wheel: file name (PEP 427), zip directory, dist-info, members.

Nothing is extracted. Members are read in memory or streamed, and their compressed bytes can be
had as they are, for copying.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import TYPE_CHECKING, BinaryIO, Self

from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename

from orchestrator.errors import BadWheelError
from orchestrator.models import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path
    from types import TracebackType

    from packaging.tags import Tag
    from packaging.version import Version

CHUNK = 1 << 20
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""APPNOTE 4.3.7: signature, version, flags, method, time, date, CRC, sizes, lengths."""
LOCAL_MAGIC = b"PK\x03\x04"
DESCRIPTOR_MAGIC = b"PK\x07\x08"

FLAG_DESCRIPTOR = 0x8
_FLAGS_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UNIX = 3
# What a broken zip makes zipfile, zlib, lzma and bz2 raise.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """A wheel's file name (PEP 427), as written and as meant.

    Attributes:
        distribution: name as written.
        version_text: version as written.
        build: build tag as written, or empty.
        python: python tags as written (``py2.py3``).
        abi: ABI tags as written.
        platform: platform tags as written.
        name: the name, PEP 503 normalised.
        version: the version.
        tags: the expanded tags.
    """

    distribution: str
    version_text: str
    build: str
    python: str
    abi: str
    platform: str
    name: NormalizedName
    version: Version
    tags: frozenset[Tag]

    @classmethod
    def parse(cls, filename: str) -> WheelName:
        """Take a file name apart.

        Raises:
            BadWheelError: it does not follow PEP 427.
        """
        try:
            name, version, _, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename as error:
            raise BadWheelError.of(str(error), where=filename) from error
        parts = filename.removesuffix(".whl").split("-")
        return cls(
            distribution=parts[0],
            version_text=parts[1],
            build="-".join(parts[2:-3]),
            python=parts[-3],
            abi=parts[-2],
            platform=parts[-1],
            name=name,
            version=version,
            tags=tags,
        )

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags, sorted."""
        return tuple(sorted({tag.platform for tag in self.tags}))

    def __str__(self) -> str:
        parts = [self.distribution, self.version_text, self.build]
        parts += [self.python, self.abi, self.platform]
        return "-".join(part for part in parts if part) + ".whl"


class WheelArchive:
    """An open wheel; use `open_wheel` to get one, and close it (or use ``with``).

    Attributes:
        path: the file.
        name: its file name, taken apart.
        members: the files in it, without directory entries, in the order of the zip directory.
        entries: the same with directory entries.
        dist_info: name of its ``.dist-info`` directory.
        comment: the zip comment.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Read and check the zip directory of an open file.

        Raises:
            BadWheelError: it is not a wheel that can be read.
        """
        self.path = path
        self.name = WheelName.parse(path.name)
        self._file = file
        with self._reading():
            self._zip = zipfile.ZipFile(file)
        self.entries = tuple(self._zip.infolist())
        self.comment = self._zip.comment
        self._check_entries()
        self.members = tuple(entry for entry in self.entries if not entry.is_dir())
        self.dist_info = self._find_dist_info()
        self._by_name = {member.filename: member for member in self.members}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def read(self, name: str) -> bytes:
        """Return a member's content.

        Raises:
            BadWheelError: there is no such member, or it is damaged (CRC included).
        """
        return b"".join(self.chunks(name))

    def chunks(self, name: str, first: int = CHUNK) -> Iterator[bytes]:
        """Iterate over a member's content; see `read`.

        Args:
            name: the member.
            first: how much the first chunk has at most; what is not asked for is not inflated.
        """
        if name not in self._by_name:
            raise BadWheelError.of(f"no member {name!r}", where=self.path.name)
        with self._reading(name), self._zip.open(self._by_name[name]) as stream:
            # zipfile checks the CRC when it reaches the end.
            yield stream.read(first)
            while chunk := stream.read(CHUNK):
                yield chunk

    def headers(self, name: str) -> Message:
        """Return the headers of METADATA or WHEEL (RFC 822 form, UTF-8).

        Args:
            name: file in the dist-info directory.

        Raises:
            BadWheelError: the file is missing, damaged or not UTF-8.
        """
        try:
            text = self.read(f"{self.dist_info}/{name}").decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadWheelError.of(f"{name} is not UTF-8: {error}", where=self.path.name) from error
        return HeaderParser().parsestr(text)

    def digest(self) -> tuple[Digest, int]:
        """Return SHA-256 and size of the wheel file itself."""
        hasher = hashlib.sha256()
        size = 0
        while chunk := os.pread(self._file.fileno(), CHUNK, size):
            hasher.update(chunk)
            size += len(chunk)
        return Digest(hasher.hexdigest()), size

    def mode(self) -> int:
        """Return the permission bits of the wheel file."""
        return stat.S_IMODE(os.fstat(self._file.fileno()).st_mode)

    def local_header(self, entry: zipfile.ZipInfo) -> bytes:
        """Return an entry's local header as it is: fixed part, name and extra fields."""
        fixed = self.raw(entry.header_offset, LOCAL_HEADER.size)
        if fixed[:4] != LOCAL_MAGIC:
            raise BadWheelError.of(f"{entry.filename!r} has no local header", where=self.path.name)
        fields = LOCAL_HEADER.unpack(fixed)
        return fixed + self.raw(entry.header_offset + len(fixed), fields[-2] + fields[-1])

    def raw(self, offset: int, size: int) -> bytes:
        """Return bytes of the wheel file itself."""
        found = os.pread(self._file.fileno(), size, offset)
        if len(found) != size:
            raise BadWheelError.of(
                f"{size} bytes expected at {offset}, the file ends before", where=self.path.name
            )
        return found

    @contextmanager
    def _reading(self, member: str = "") -> Iterator[None]:
        try:
            yield
        except _ZIP_ERRORS as error:
            what = f"member {member!r} cannot be read" if member else "not a readable zip file"
            raise BadWheelError.of(f"{what}: {error}", where=self.path.name) from error

    def _check_entries(self) -> None:
        seen: set[str] = set()
        for entry in self.entries:
            flaw = _flaw(entry)
            if flaw is None and entry.filename in seen:
                flaw = "is there twice"
            if flaw is not None:
                raise BadWheelError.of(
                    f"member {entry.orig_filename!r} {flaw}",
                    where=self.path.name,
                    hint="no installer can be trusted to handle it; build the wheel again",
                )
            seen.add(entry.filename)
        self._check_overlaps()

    def _check_overlaps(self) -> None:
        """Refuse entries that share bytes: that is how a small zip holds petabytes."""
        end = 0
        for entry in sorted(self.entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < end:
                raise BadWheelError.of(
                    f"member {entry.filename!r} overlaps another", where=self.path.name
                )
            end = entry.header_offset + LOCAL_HEADER.size + entry.compress_size
        if end > self._zip.start_dir:
            raise BadWheelError.of("the zip directory overlaps a member", where=self.path.name)

    def _find_dist_info(self) -> str:
        tops = {entry.filename.split("/", 1)[0] for entry in self.entries if "/" in entry.filename}
        found = sorted(top for top in tops if top.endswith(".dist-info"))
        if len(found) != 1:
            count = f"{len(found)} .dist-info directories ({', '.join(found)})" if found else ""
            raise BadWheelError.of(
                count or "no .dist-info directory",
                where=self.path.name,
                hint="a wheel has exactly one (PEP 427)",
            )
        return found[0]


def open_wheel(path: Path) -> WheelArchive:
    """Open a wheel and check that it is one.

    Args:
        path: the file.

    Raises:
        BadWheelError: the file is missing, misnamed, no zip file, or holds members that no
            wheel may have (outside names, duplicates, links, encryption).
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadWheelError.of(f"cannot be opened: {error.strerror}", where=str(path)) from error
    try:
        return WheelArchive(path, file)
    except BaseException:
        file.close()
        raise


def _flaw(entry: zipfile.ZipInfo) -> str | None:
    """Say what is wrong with a zip entry that no wheel may have; None when nothing is."""
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    if "\0" in name or "\\" in name:
        return "has a backslash or NUL in its name"
    if name.startswith("/") or parts[0].endswith(":"):
        return "has an absolute name"
    if not name or any(part in {"", ".", ".."} for part in parts):
        return "has a name that leaves the wheel or is not normal"
    if entry.flag_bits & _FLAGS_ENCRYPTED:
        return "is encrypted"
    if entry.create_system == _UNIX and stat.S_ISLNK(entry.external_attr >> 16):
        return "is a symbolic link"
    return None
