"""Open a wheel: file name (PEP 427), zip directory, dist-info, members.

Nothing is extracted. Members are streamed, and their compressed bytes can be copied. Wheels come
from anywhere: what two zip readers could understand differently is refused, and neither memory nor
time depends on what a file only claims.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
from contextlib import contextmanager
from email.parser import HeaderParser
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Self

from orchestrator.errors import BadWheelError, clipped
from orchestrator.fsutil import copy_range, open_regular
from orchestrator.models.target import Digest
from orchestrator.models.untrusted import LONGEST_NAME
from orchestrator.models.wheel_name import WheelName
from orchestrator.models.words import count_of
from orchestrator.wheel.budget import Budget
from orchestrator.wheel.inflate import METHODS, CompressedMember, DamagedError, fastest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from io import BufferedReader
    from pathlib import Path
    from types import TracebackType


CHUNK = 1 << 20
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""APPNOTE 4.3.7: signature, version, flags, method, time, date, CRC, sizes, lengths."""
LOCAL_MAGIC = b"PK\x03\x04"
DESCRIPTOR_MAGIC = b"PK\x07\x08"
# APPNOTE 4.3.14 to 4.3.16: the records that end a zip file.
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")
MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF
EXTRA_ZIP64, EXTRA_UNICODE_PATH = 1, 0x7075

# The other methods that Python can read or write.
_METHOD_NAMES = {12: "bzip2", 14: "lzma", 93: "zstandard"}
FLAG_DESCRIPTOR = 0x8
FLAG_UTF8 = 0x800
_FLAGS_ENCRYPTED = 0x1 | 0x40 | 0x2000
_KINDS = frozenset({0, stat.S_IFREG, stat.S_IFDIR})

TEXT_LIMIT = 64 << 20
"""Largest member that `WheelArchive.read` reads, in bytes."""
_MAX_HEADERS = 1 << 20
_BLANK_LINE = re.compile(r"^\r?\n", re.MULTILINE)
# The largest wheels have some 20,000 members and directories of 3 MB. Python needs about ten times
# that to read them.
_MAX_DIRECTORY = 32 << 20
# An entry of the directory has at least so many bytes (APPNOTE 4.3.12), and what Python makes of it
# takes as much memory as so many steps of other loops.
_ENTRY_SIZE = 46
_ENTRY_STEPS = 4
_EXTRA_SIZE = 4
"""Bytes of the smallest extra field."""
_LONGEST_PATH = 4095
"""Bytes of a path, as Linux allows it."""
# Deflate cannot pack 1032 bytes into less than one.
_DEFLATE_RATIO = 1032
# Real wheels unpack to at most about ten times their size; small ones may contain many zeros.
_BOMB_SIZE = 1 << 30
_BOMB_RATIO = 100

# What zipfile raises for a broken zip file.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, struct.error, EOFError, IndexError),
    *(OSError, OverflowError, RuntimeError, ValueError),
)


class Blocks:
    """Reads small neighbouring pieces of a file with few system calls.

    Reading ten thousand headers one by one costs as much as reading the whole wheel again.
    """

    _SIZE = 1 << 16

    def __init__(self, file: int, budget: Budget) -> None:
        """Take a file descriptor; only one thread may read at a time."""
        self._file = file
        self._budget = budget
        self._start = 0
        self._block = b""

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file; fewer at its end."""
        at = offset - self._start
        if at < 0 or at + size > len(self._block):
            self._start, at = offset, 0
            self._block = os.pread(self._file, max(size, self._SIZE), offset)
            # In another order than they stand, each piece costs a whole block.
            self._budget.spend(1, len(self._block), "headers")
        return self._block[at : at + size]


class WheelArchive:
    """An open wheel, from `open_wheel`; close it, or use ``with``.

    Attributes:
        path: the file.
        name: its file name, parsed.
        members: its files, without directory entries, in the order of the zip directory.
        entries: the same with directory entries.
        dist_info: name of its ``.dist-info`` directory.
        comment: the zip comment.
        directory: where the zip directory begins. The entries before it have no gaps.
        budget: what everything that is read of it may cost.
    """

    def __init__(self, path: Path, file: BufferedReader) -> None:
        """Read and check the zip directory of an open file, called `path` in what is said of it.

        Raises as `open_wheel`.
        """
        self.path = path
        self.name = WheelName.parse(path.name)
        self._file = file
        self._engine = fastest()
        self.budget = Budget(path.name, os.fstat(file.fileno()).st_size)
        with self._reading():
            count, self.directory, size = _check_ending(file)
            self.budget.spend(_ENTRY_STEPS * (size // _ENTRY_SIZE), size, "zip directory")
            self._zip = zipfile.ZipFile(file)
            if len(self._zip.infolist()) != count:
                raise zipfile.BadZipFile("its end record has another number of members")
        self.entries = tuple(self._zip.infolist())
        self.comment = self._zip.comment
        self._check_entries()
        self._bodies: dict[str, int] = {}
        self._check_layout()
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
            BadWheelError: the member is missing, damaged (CRC included), or larger than
                `TEXT_LIMIT`.
        """
        packed = self.packed(name)
        if packed.size > TEXT_LIMIT:
            raise self.bad(
                f"member {name!r} has {packed.size} bytes; at most {TEXT_LIMIT} are read"
            )
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Iterate over a member's content; see `read`. It is inflated as you go."""
        packed = self.packed(name)
        with self._reading(name):
            yield from packed.pieces()

    def packed(self, name: str) -> CompressedMember:
        """Return a member's compressed bytes; reading them raises `DamagedError`.

        Raises:
            BadWheelError: the member is missing.
        """
        member = self._by_name.get(name)
        if member is None:
            raise self.bad(f"no member {name!r}")
        return CompressedMember(
            pread=self.raw,
            engine=self._engine,
            offset=self._bodies[name],
            compressed=member.compress_size,
            size=member.file_size,
            crc=member.CRC,
            method=member.compress_type,
            spend=self.budget.spend,
        )

    def headers(self, name: str) -> Message:
        """Return the headers of METADATA or WHEEL (RFC 822 form, UTF-8).

        Args:
            name: file in the dist-info directory.

        Raises:
            BadWheelError: the file is missing, damaged, not UTF-8, or its headers are too long.
        """
        try:
            text = self.read(f"{self.dist_info}/{name}").decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.bad(f"{name} is not UTF-8: {error}") from error
        blank = _BLANK_LINE.search(text)
        if (size := blank.start() if blank else len(text)) > _MAX_HEADERS:
            raise self.bad(f"{name} has {size} bytes of headers")
        # The parser makes a string of every line, also of the description.
        self.budget.text(size, name)
        return HeaderParser().parsestr(text[:size])

    def digest(self) -> tuple[Digest, int]:
        """Return SHA-256 and size of the wheel file itself."""
        self._file.seek(0)
        digest = hashlib.file_digest(self._file, "sha256").hexdigest()
        return Digest(digest), os.fstat(self._file.fileno()).st_size

    def mode(self) -> int:
        """Return the permission bits of the wheel file."""
        return stat.S_IMODE(os.fstat(self._file.fileno()).st_mode)

    def blocks(self) -> Blocks:
        """Return a reader of the wheel file itself, for many small members."""
        return Blocks(self._file.fileno(), self.budget)

    def local_header(self, entry: zipfile.ZipInfo, blocks: Blocks | None = None) -> bytes:
        """Return the bytes of an entry's local header: fixed part, name and extra fields."""
        # One read suffices if the extra fields are as long as the directory's, as they mostly are.
        guess = LOCAL_HEADER.size + len(entry.orig_filename) + len(entry.extra)
        read = (blocks or self.blocks()).read
        header = read(entry.header_offset, guess)
        if len(header) < LOCAL_HEADER.size or header[:4] != LOCAL_MAGIC:
            raise self._flawed(entry, "has no local header")
        fields = LOCAL_HEADER.unpack_from(header)
        size = LOCAL_HEADER.size + fields[-2] + fields[-1]
        return header[:size] if len(header) >= size else self.raw(entry.header_offset, size)

    def local_extra(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the extra fields of an entry's local header."""
        header = self.local_header(entry)
        return header[LOCAL_HEADER.size + LOCAL_HEADER.unpack_from(header)[-2] :]

    def raw(self, offset: int, size: int) -> bytes:
        """Return bytes of the wheel file itself."""
        found = os.pread(self._file.fileno(), size, offset)
        if len(found) != size:
            raise self.bad(f"{count_of(size, 'byte')} expected at {offset}, the file ends before")
        return found

    def body(self, entry: zipfile.ZipInfo) -> int:
        """Return where an entry's compressed bytes begin."""
        return self._bodies[entry.filename]

    def descriptor(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the data descriptor after an entry (APPNOTE 4.3.9); empty if it has none.

        Its signature is optional and its width is unknown, so its values identify it.

        Raises:
            BadWheelError: it disagrees with the zip directory.
        """
        if not entry.flag_bits & FLAG_DESCRIPTOR:
            return b""
        offset = self.body(entry) + entry.compress_size
        values = entry.CRC, entry.compress_size, entry.file_size
        found = os.pread(self._file.fileno(), 24, offset)
        for magic in (DESCRIPTOR_MAGIC, b""):
            # Wide first: an empty member's wide descriptor begins like the narrow one.
            for layout in ("<IQQ", "<III"):
                if layout == "<III" and max(values) > MAX32:
                    continue
                expected = magic + struct.pack(layout, *values)
                if found.startswith(expected):
                    return expected
        raise self._flawed(
            entry, "is ambiguous: its data descriptor disagrees with the zip directory"
        )

    def copy(self, begin: int, end: int, out: BinaryIO) -> None:
        """Append bytes of the wheel file to another file, inside the kernel if possible."""
        if end - begin >= CHUNK:
            out.flush()
            begin = copy_range(self._file.fileno(), out.fileno(), begin, end)
            # Only a seek tells the file object that its position has moved.
            out.seek(0, os.SEEK_END)
        out.writelines(self.raw(at, min(CHUNK, end - at)) for at in range(begin, end, CHUNK))

    @contextmanager
    def _reading(self, member: str = "") -> Iterator[None]:
        try:
            yield
        except (*_ZIP_ERRORS, DamagedError) as error:
            what = f"member {member!r} cannot be read" if member else "not a readable zip file"
            raise self.bad(f"{what}: {error}") from error

    def bad(self, what: str, hint: str = "") -> BadWheelError:
        """Return an error about this wheel."""
        return BadWheelError.of(clipped(what), where=self.path.name, hint=hint)

    def _flawed(self, entry: zipfile.ZipInfo, flaw: str) -> BadWheelError:
        hint = "no installer can be trusted to handle it; build the wheel again"
        return self.bad(f"member {entry.orig_filename!r} {flaw}", hint)

    def _check_entries(self) -> None:
        for entry in self.entries:
            if entry.extra:
                self.budget.spend(len(entry.extra) // _EXTRA_SIZE, 0, "extra fields")
            if flaw := _flaw_of_name(entry) or _flaw_of_kind(entry):
                raise self._flawed(entry, flaw)
        self._check_places()
        self._check_bomb()

    def _check_places(self) -> None:
        """Refuse entries that would be unpacked to the same place, or below a file."""
        # "\0" sorts before all that a name may have: what is in a directory follows it at once.
        # A set of all directories would have every name once for each directory above it.
        names = [entry.filename.replace("/", "\0") for entry in self.entries]
        names.sort()
        for upper, lower in pairwise(names):
            # A directory's own entry ends in "\0".
            if not lower.startswith(upper) or (upper.endswith("\0") and lower != upper):
                continue
            if lower.rstrip("\0") == upper.rstrip("\0"):
                raise self._flawed(self._entry(upper), "is there twice")
            if lower.startswith(upper + "\0"):
                raise self._flawed(self._entry(upper), "is a file and a directory at once")

    def _entry(self, place: str) -> zipfile.ZipInfo:
        name = place.replace("\0", "/")
        return next(entry for entry in reversed(self.entries) if entry.filename == name)

    def _check_bomb(self) -> None:
        unpacked = sum(entry.file_size for entry in self.entries)
        self.budget.unpacked(unpacked)
        size = os.fstat(self._file.fileno()).st_size
        if unpacked > max(_BOMB_SIZE, _BOMB_RATIO * size):
            raise self.bad(f"a zip bomb: {count_of(size, 'byte')} claim to hold {unpacked}")

    def _check_layout(self) -> None:
        """Compare every local header with the zip directory, and note where the bodies begin.

        Entries that share bytes are refused: so a small zip file can hold petabytes. Bytes outside
        entries are refused: an installer that unpacks while downloading could find members there.
        """
        end = 0
        blocks = self.blocks()
        for entry in sorted(self.entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < end:
                raise self._flawed(entry, "overlaps another")
            if entry.header_offset > end:
                raise self._flawed(entry, f"follows bytes that belong to no member, from {end} on")
            header = self.local_header(entry, blocks)
            extra = len(header) - LOCAL_HEADER.size - len(entry.orig_filename)
            if extra > 0:
                self.budget.spend(extra // _EXTRA_SIZE, 0, "extra fields")
            if not _agrees(header, entry):
                raise self._flawed(
                    entry, "is ambiguous: its local header disagrees with the zip directory"
                )
            body = self._bodies[entry.filename] = entry.header_offset + len(header)
            end = body + entry.compress_size
            if end > self.directory:
                raise self._flawed(entry, "overlaps the zip directory")
            if entry.flag_bits & FLAG_DESCRIPTOR:
                end += len(self.descriptor(entry))
        if end != self.directory:
            raise self.bad(f"bytes before the zip directory belong to no member, from {end} on")

    def _find_dist_info(self) -> str:
        tops = {entry.filename.split("/", 1)[0] for entry in self.entries if "/" in entry.filename}
        found = sorted(top for top in tops if top.endswith(".dist-info"))
        if len(found) != 1:
            number = count_of(len(found), ".dist-info directory")
            count = f"{number} ({', '.join(found)})" if found else ""
            hint = "a wheel has exactly one (PEP 427)"
            raise self.bad(count or "no .dist-info directory", hint)
        return found[0]


def open_wheel(path: Path, filename: str = "") -> WheelArchive:
    """Open a wheel and check that it is one.

    Args:
        path: the file.
        filename: the name that it is to have; empty if it has it already.

    Raises:
        BadWheelError: the file is missing, misnamed, not a zip file, or has members that no wheel
            may have (outside names, duplicates, links, encryption).
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise BadWheelError.of(f"cannot be opened: {error.strerror}", where=str(path)) from error
    try:
        return WheelArchive(path.with_name(filename or path.name), file)
    except BaseException:
        file.close()
        raise


def _check_ending(file: BinaryIO) -> tuple[int, int, int]:
    """Check the records that end a zip file; return entries, offset and size of its directory.

    Nothing that they announce is in memory yet. BadZipFile: they are missing or inconsistent, bytes
    surround the zip file or stand between them, or its directory is larger than any wheel's.
    """
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - END.size - MAX16)
    tail = os.pread(file.fileno(), size - start, start)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - END.size + 4)
    if at < 0:
        raise zipfile.BadZipFile("it has no end record")
    disk: int
    length: int
    offset: int
    _, disk, _, _, count, length, offset, comment = END.unpack_from(tail, at)
    if disk or start + at + END.size + comment != size:
        raise zipfile.BadZipFile("its end record is not at its end")
    end = start + at
    locator = os.pread(file.fileno(), LOCATOR64.size, max(0, end - LOCATOR64.size))
    if locator.startswith(b"PK\x06\x07"):
        # A zip64 file: this record has the true values, but some readers use the other one.
        place = end - LOCATOR64.size - END64.size
        _, _, end, _ = LOCATOR64.unpack(locator)
        record = os.pread(file.fileno(), END64.size, place) if end == place else b""
        if not record.startswith(b"PK\x06\x06"):
            raise zipfile.BadZipFile("its zip64 end record is not where it should be")
        _, extent, *_, count64, length64, offset64 = END64.unpack(record)
        if extent != END64.size - 12:  # the signature and this number do not count
            raise zipfile.BadZipFile("its zip64 end record has another size than it should")
        pairs = ((count, count64, MAX16), (length, length64, MAX32), (offset, offset64, MAX32))
        if any(narrow not in {wide, limit} for narrow, wide, limit in pairs):
            raise zipfile.BadZipFile("its two end records disagree")
        count, length, offset = count64, length64, offset64
    if offset + length != end:
        raise zipfile.BadZipFile("its directory is not where its end record says")
    if length > _MAX_DIRECTORY:
        raise zipfile.BadZipFile(f"its directory has {length} bytes; at most {_MAX_DIRECTORY}")
    return count, offset, length


def _agrees(header: bytes, entry: zipfile.ZipInfo) -> bool:
    """Whether a local header agrees with the zip directory.

    Installers that unpack while they download see only the local header.
    """
    _, _, flags, method, _, _, crc, packed, size, name_size, rest = LOCAL_HEADER.unpack_from(header)
    name = encoded(entry, entry.orig_filename)
    if len(name) != name_size or not header.startswith(name, LOCAL_HEADER.size):
        return False
    differing = (flags ^ entry.flag_bits) & (_FLAGS_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_UTF8)
    if method != entry.compress_type or differing:
        return False
    extra = header[LOCAL_HEADER.size + name_size :] if rest else b""
    if extra and _has_other_name(extra, name):
        return False
    said = [crc, packed, size]
    if MAX32 in said:
        wide = _zip64_sizes(extra)
        # APPNOTE 4.5.3: the field has the sizes that do not fit, the size before the packed one.
        for index in (2, 1):
            if said[index] == MAX32 and wide:
                said[index] = wide.pop(0)
    truth = [entry.CRC, entry.compress_size, entry.file_size]
    # A program that writes to a pipe knows the values later: the data descriptor has them.
    return said == truth or (bool(entry.flag_bits & FLAG_DESCRIPTOR) and not any(said))


def _zip64_sizes(extra: bytes) -> list[int]:
    field = next((field[4:20] for kind, field in extra_fields(extra) if kind == 1), b"")
    return [value for (value,) in struct.iter_unpack("<Q", field[: len(field) & ~7])]


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over extra fields (APPNOTE 4.5.1): type, and bytes with type and size."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at : at + 4 + size]
        at += 4 + size


def encoded(entry: zipfile.ZipInfo, name: str) -> bytes:
    """Return the bytes of a name, in the encoding that the entry's flags promise."""
    # Python's cp437 is slow, and nearly all names are the same in both.
    utf8 = entry.flag_bits & FLAG_UTF8 or name.isascii()
    return name.encode("utf-8" if utf8 else "cp437", "replace")


def _flaw_of_name(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename
    if "\0" in name or "\\" in name:
        return "has a backslash or NUL in its name"
    framed = f"/{name.removesuffix('/')}/"
    if name.startswith("/") or (":/" in framed and ":/" in framed[: framed.index("/", 1) + 1]):
        return "has an absolute name"
    if "//" in framed or ("/." in framed and ("/./" in framed or "/../" in framed)):
        return "has a name that leaves the wheel or is not normal"
    # A character has at most four bytes.
    if 4 * len(name) > LONGEST_NAME:
        raw = name.encode("utf-8", "surrogatepass")
        if len(raw) > _LONGEST_PATH or max(map(len, raw.split(b"/"))) > LONGEST_NAME:
            return "has a name that is too long for file systems"
    return None if name.isascii() and not entry.extra else _flaw_of_encoding(entry, name)


def _flaw_of_encoding(entry: zipfile.ZipInfo, name: str) -> str | None:
    if not name.isascii() and not entry.flag_bits & FLAG_UTF8:
        return "has a name that is not marked as UTF-8: installers read it differently"
    if entry.extra and _has_other_name(entry.extra, name.encode()):
        return "has a second name in its extra fields"
    return None


def _has_other_name(extra: bytes, name: bytes) -> bool:
    """Whether there is an Info-ZIP Unicode path (APPNOTE 4.6.9) that is another name."""
    fields = extra_fields(extra)
    return any(kind == EXTRA_UNICODE_PATH and field[9:] != name for kind, field in fields)


def _flaw_of_kind(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & _FLAGS_ENCRYPTED:
        return "is encrypted"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in _KINDS:
        return "is a symbolic link" if stat.S_ISLNK(kind) else "is neither a file nor a directory"
    return _flaw_of_size(entry)


def _flaw_of_size(entry: zipfile.ZipInfo) -> str | None:
    if entry.compress_type not in METHODS:
        method = _METHOD_NAMES.get(entry.compress_type, str(entry.compress_type))
        return f"is compressed with {method}; installers can rely on deflate only"
    if entry.is_dir() and (entry.file_size or entry.compress_size > 2):  # noqa: PLR2004 - deflated nothing
        return "is a directory that holds bytes"
    stored = entry.compress_type == zipfile.ZIP_STORED
    if stored and entry.file_size != entry.compress_size:
        return f"is stored in {count_of(entry.compress_size, 'byte')}, but claims {entry.file_size}"
    if not stored and entry.file_size > _DEFLATE_RATIO * entry.compress_size:
        return f"claims {count_of(entry.file_size, 'byte')}; {entry.compress_size} cannot hold them"
    return None
