"""Read what the loader reads of a Mach-O file: its architectures, and what each one needs.

Layouts are those of Apple's ``mach-o/fat.h``, ``loader.h`` and ``nlist.h``; the trie of exports is
described in dyld's ``MachOTrie.hpp``. See `orchestrator.wheel.binary` about hostile bytes.
"""

from __future__ import annotations

import struct
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.wheel.abi3 import is_python_name
from orchestrator.wheel.binary import Binary, BinaryImage, BinaryKind, MalformedBinaryError, decoded
from orchestrator.wheel.elf import INITS, ElfBytes, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.wheel.elf import ByteSource, Meter

_THIN = {
    b"\xfe\xed\xfa\xce": (">", False),
    b"\xce\xfa\xed\xfe": ("<", False),
    b"\xfe\xed\xfa\xcf": (">", True),
    b"\xcf\xfa\xed\xfe": ("<", True),
}
"""Magic number -> byte order, and whether words have 64 bits."""
_FAT = {
    b"\xca\xfe\xba\xbe": (">", "IIIII"),
    b"\xbe\xba\xfe\xca": ("<", "IIIII"),
    b"\xca\xfe\xba\xbf": (">", "IIQQII"),
    b"\xbf\xba\xfe\xca": ("<", "IIQQII"),
}
"""Magic number -> byte order, and the layout of an entry: cputype, cpusubtype, offset, size, ..."""

FIRST_BYTES = frozenset(magic[:1] for magic in (*_THIN, *_FAT))
HEAD = 8
"""Bytes that tell whether a file is one."""
_MAX_SLICES = 42
"""Class files of Java begin like fat files, with a version of 45 or more as their number."""
_ARCHIVE = b"!<arch>\n"

_ARCHES = {
    (7, 3): "i386",
    (0x01000007, 3): "x86_64",
    (0x01000007, 8): "x86_64h",
    (0x0100000C, 0): "arm64",
    (0x0100000C, 1): "arm64",
    (0x0100000C, 2): "arm64e",
    (0x0200000C, 1): "arm64_32",
    (18, 0): "ppc",
    (0x01000012, 0): "ppc64",
}
"""cputype, cpusubtype -> name."""
_SUBTYPE = 0x00FFFFFF  # the rest are capability bits
_PLATFORMS = {
    1: "macOS",
    2: "iOS",
    3: "tvOS",
    4: "watchOS",
    5: "bridgeOS",
    6: "Mac Catalyst",
    7: "iOS Simulator",
    8: "tvOS Simulator",
    9: "watchOS Simulator",
    10: "DriverKit",
    11: "visionOS",
    12: "visionOS Simulator",
}
_KINDS = {2: BinaryKind.PROGRAM, 6: BinaryKind.LIBRARY, 8: BinaryKind.LIBRARY}

_LC_SYMTAB, _LC_DYSYMTAB, _LC_ID_DYLIB, _LC_CODE_SIGNATURE = 0x2, 0xB, 0xD, 0x1D
_LC_RPATH, _LC_BUILD_VERSION = 0x8000001C, 0x32
_LC_DYLD_INFO, _LC_EXPORTS_TRIE = frozenset({0x22, 0x80000022}), 0x80000033
_LC_LOADS = frozenset({0xC, 0x80000018, 0x8000001F, 0x20, 0x80000023})
_LC_OPTIONAL = frozenset({0x80000018, 0x20})
_LC_MINIMA = {0x24: 1, 0x25: 2, 0x2F: 3, 0x30: 4}
"""LC_VERSION_MIN_* -> number of the platform."""
_USE_MARKER, _USE_WEAK = 0x1A741800, 1
"""dylib_use_command: a newer form of the commands that load."""
_SIGNATURE = b"\xfa\xde\x0c\xc0"

_MAX_COMMANDS = 4 << 20
_MAX_SYMBOLS = 1 << 20
_N_STAB, _N_TYPE, _N_EXT, _N_UNDF, _N_SECT, _N_WEAK_REF = 0xE0, 0x0E, 0x01, 0, 0xE, 0x40
_FROM_ANYWHERE = frozenset({0, 0xFE})
"""Ordinals of symbols that no certain library has: of a flat namespace, and looked up."""
_INITS = tuple("_" + prefix.decode() for prefix in INITS)
_MAX_ULEB = 10


def is_macho(head: bytes | bytearray) -> bool:
    """Whether a file with these first 8 bytes is a Mach-O file, for one architecture or several."""
    magic = bytes(head[:4])
    if magic in _FAT and len(head) >= HEAD:
        (count,) = struct.unpack_from(_FAT[magic][0] + "I", head, 4)
        return 0 < int(count) <= _MAX_SLICES
    return magic in _THIN


def parse(
    data: bytes | ByteSource, *, meter: Meter = lambda _steps, _read, _what: None
) -> tuple[Binary, ...]:
    """Read a Mach-O file, and return what it has for each architecture.

    There is none for an archive of objects, which nothing loads.

    Raises:
        MalformedBinaryError: it is not one, or is inconsistent. Errors of `data.read` and of
            `meter` are passed on.
    """
    source = ElfBytes(data) if isinstance(data, bytes) else data
    whole = BinaryImage(source, meter, 0, source.size)
    head = whole.load(0, min(HEAD, source.size), "header")
    if head[:4] not in _FAT:
        return (_slice(whole),)
    if not is_macho(head):
        raise MalformedBinaryError("it has no slices, or too many")
    parts = sorted(_parts(whole, head))
    for one, other in pairwise(parts):
        if one.offset + one.size > other.offset:
            raise MalformedBinaryError(f"{one.arch} and {other.arch} overlap")
    if len({part.arch for part in parts}) < len(parts):
        raise MalformedBinaryError("it has one architecture twice")
    # In the order of the file, as the bytes may be inflated in this order.
    return tuple(info for part in parts for info in _of_part(source, meter, part))


class _Part(NamedTuple):
    offset: int
    size: int
    arch: str


def _parts(whole: BinaryImage, head: bytes) -> Iterator[_Part]:
    whole.order, layout = _FAT[head[:4]]
    (count,) = struct.unpack_from(whole.order + "I", head, 4)
    for cpu, subtype, offset, size, *_ in whole.rows(layout, HEAD, count, "fat header"):
        arch = _arch(cpu, subtype)
        whole.check(offset, size, f"slice for {arch}")
        yield _Part(offset, size, arch)


def _of_part(source: ByteSource, meter: Meter, part: _Part) -> Iterator[Binary]:
    image = BinaryImage(source, meter, part.offset, part.size)
    if image.load(0, min(HEAD, part.size), "slice") == _ARCHIVE:
        return
    info = _slice(image)
    if info.arch != part.arch:
        raise MalformedBinaryError(f"the slice for {part.arch} is for {info.arch}")
    yield info


def _arch(cpu: int, subtype: int) -> str:
    return _ARCHES.get((cpu, subtype & _SUBTYPE), f"cpu {cpu:#x}.{subtype & _SUBTYPE}")


class _Commands:
    """The load commands of one architecture."""

    def __init__(self, image: BinaryImage, *, wide: bool) -> None:
        self._image = image
        self._wide = wide
        self.platforms: dict[int, int] = {}
        self.name = ""
        self.needed: list[str] = []
        self.optional: list[str] = []
        self.rpath: list[str] = []
        self.tables: dict[int, tuple[int, ...]] = {}

    def read(self, offset: int, count: int, size: int) -> None:
        what = "load commands"
        if size > _MAX_COMMANDS or count * HEAD > size:
            raise MalformedBinaryError(f"{count} load commands in {size} bytes")
        block = self._image.load(offset, size, what)
        self._image.spend(count, 0, what)
        at = 0
        for _ in range(count):
            if at + HEAD > size:
                raise MalformedBinaryError(f"{count} load commands in {size} bytes")
            kind, length = struct.unpack_from(self._image.order + "II", block, at)
            if length < HEAD or at + length > size:
                raise MalformedBinaryError(f"a load command of {length} bytes at {at}")
            try:
                self._command(kind, block[at : at + length])
            except struct.error as error:
                raise MalformedBinaryError(f"load command {kind:#x} is too short") from error
            at += length

    def _words(self, layout: str, command: bytes, at: int = HEAD) -> tuple[int, ...]:
        return struct.unpack_from(self._image.order + layout, command, at)

    def _command(self, kind: int, command: bytes) -> None:
        if kind in _LC_LOADS:
            _, marker, _, _, flags = self._words("IIIII", command.ljust(28, b"\0"))
            weak = marker == _USE_MARKER and flags & _USE_WEAK
            names = self.optional if weak or kind in _LC_OPTIONAL else self.needed
            names.append(self._text(command))
        elif kind == _LC_RPATH:
            self.rpath.append(self._text(command))
        elif kind == _LC_ID_DYLIB:
            self.name = self._text(command)
        elif kind == _LC_BUILD_VERSION:
            platform, minimum = self._words("II", command)
            self.platforms[platform] = minimum
        elif kind in _LC_MINIMA:
            self.platforms.setdefault(_LC_MINIMA[kind], *self._words("I", command))
        elif kind in {_LC_SYMTAB, _LC_EXPORTS_TRIE, _LC_CODE_SIGNATURE}:
            self.tables[kind] = self._words("IIII" if kind == _LC_SYMTAB else "II", command)
        elif kind == _LC_DYSYMTAB:
            self.tables[kind] = self._words("IIIIII", command)
        elif kind in _LC_DYLD_INFO:
            self.tables[_LC_EXPORTS_TRIE] = self._words("II", command, 40)

    def _text(self, command: bytes) -> str:
        (start,) = self._words("I", command)
        if not HEAD <= start < len(command):
            raise MalformedBinaryError("a name is outside of its load command")
        return decoded(command[start:].partition(b"\0")[0])

    def signed(self) -> bool:
        offset, size = self.tables.get(_LC_CODE_SIGNATURE, (0, 0))
        self._image.check(offset, size, "code signature")
        return size >= len(_SIGNATURE) and (
            self._image.load(offset, len(_SIGNATURE), "code signature") == _SIGNATURE
        )

    def symbols(self) -> tuple[list[str], list[Symbol]]:
        """Return the functions that make it a module, and the names that it needs of Python."""
        offset, count, names_at, names_size = self.tables.get(_LC_SYMTAB, (0, 0, 0, 0))
        ranges = [(0, count)]
        if _LC_DYSYMTAB in self.tables:
            _, _, defined, defined_count, undefined, undefined_count = self.tables[_LC_DYSYMTAB]
            ranges = [(defined, defined_count), (undefined, undefined_count)]
        tables = []
        for first, number in ranges:
            if first + number > count or number > _MAX_SYMBOLS:
                raise MalformedBinaryError(f"{number} symbols from {first} of {count}")
            at = offset + first * (16 if self._wide else 12)
            layout = "IBBHQ" if self._wide else "IBBHI"
            tables.append(self._image.rows(layout, at, number, "symbols"))
        stripped = not any(number for _, number in ranges)
        names = b"" if stripped else self._image.load(names_at, names_size, "string table")
        inits, python = self._pick(chain.from_iterable(tables), names)
        # The exports say it again: only where the symbols were stripped are they needed.
        return inits if ranges[0][1] else list(self._exported()), python

    def _pick(
        self, rows: Iterable[tuple[int, ...]], names: bytes
    ) -> tuple[list[str], list[Symbol]]:
        inits: dict[str, None] = {}
        undefined: dict[str, Symbol] = {}
        for name_at, kind, _, flags, _ in rows:
            if kind & _N_STAB or not kind & _N_EXT:
                continue
            # Few names matter, and these are short: none is decoded for nothing.
            if kind & _N_TYPE == _N_SECT and names.startswith(_INIT_BYTES, name_at):
                inits[self._name(names, name_at)] = None
            elif kind & _N_TYPE == _N_UNDF and names.startswith(_PYTHON_BYTES, name_at):
                name = self._name(names, name_at)
                if flags >> 8 in _FROM_ANYWHERE and is_python_name(name):
                    undefined[name] = Symbol(name, "", "", weak=bool(flags & _N_WEAK_REF))
        return list(inits), list(undefined.values())

    def _name(self, names: bytes, at: int) -> str:
        stop = names.find(b"\0", at)
        if stop < 0:
            raise MalformedBinaryError("a name is not in the string table")
        self._image.spend(1 + (stop - at) // HEAD, 0, "names")
        return decoded(names[at + 1 : stop])

    def _exported(self) -> Iterator[str]:
        """Yield the functions that make it a module, from the exports: the rest may be stripped."""
        offset, size = self.tables.get(_LC_EXPORTS_TRIE, (0, 0))
        if size:
            trie = self._image.load(offset, size, "exports")
            for name in _Trie(trie, self._image).names():
                yield name.removeprefix("_")


_INIT_BYTES = tuple(prefix.encode() for prefix in _INITS)
_PYTHON_BYTES = (b"_Py", b"__Py")


class _Trie:
    """The names that a file exports. Each node is read once, whatever leads there."""

    def __init__(self, data: bytes, image: BinaryImage) -> None:
        self._data = data
        self._spend = image.spend

    def names(self) -> Iterator[str]:
        """Yield those that begin like a function that makes a module."""
        seen: set[int] = set()
        waiting = [(0, "")]
        while waiting:
            at, prefix = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            self._spend(1 + len(prefix) // HEAD, 0, "exports")
            size, at = self._number(at)
            if size and prefix.startswith(_INITS):
                yield prefix
            waiting += self._children(at + size, prefix)

    def _children(self, at: int, prefix: str) -> Iterator[tuple[int, str]]:
        if at >= len(self._data):
            raise MalformedBinaryError("exports lead outside of their table")
        count = self._data[at]
        at += 1
        for _ in range(count):
            stop = self._data.find(b"\0", at)
            if stop < 0:
                raise MalformedBinaryError("no end of a name in the exports")
            self._spend(1 + (stop - at) // HEAD, 0, "exports")
            name = prefix + decoded(self._data[at:stop])
            child, at = self._number(stop + 1)
            if any(name.startswith(init) or init.startswith(name) for init in _INITS):
                yield child, name

    def _number(self, at: int) -> tuple[int, int]:
        """Return a ULEB128, and where it ends."""
        value = 0
        for place in range(_MAX_ULEB):
            if at + place >= len(self._data):
                break
            byte = self._data[at + place]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:  # noqa: PLR2004 - the last one
                return value, at + place + 1
        raise MalformedBinaryError("a number in the exports has no end")


def _slice(image: BinaryImage) -> Binary:
    """Read what there is for one architecture."""
    magic = image.load(0, min(4, image.size), "header")
    if magic not in _THIN:
        raise MalformedBinaryError("no Mach-O header")
    image.order, wide = _THIN[magic]
    cpu, subtype, kind, count, size, _ = image.unpack("IIIIII", 4, "header")
    commands = _Commands(image, wide=wide)
    commands.read(32 if wide else 28, count, size)
    inits, undefined = commands.symbols()
    # A library for macOS and Mac Catalyst says both.
    platforms = commands.platforms
    platform = 1 if 1 in platforms or not platforms else next(iter(platforms))
    minimum = platforms.get(platform)
    return Binary(
        system=_PLATFORMS.get(platform, f"platform {platform}"),
        arch=_arch(cpu, subtype),
        kind=_KINDS.get(kind, BinaryKind.OTHER),
        minimum=None if minimum is None else (minimum >> 16, minimum >> 8 & 0xFF),
        name=commands.name,
        needed=tuple(commands.needed),
        optional=tuple(commands.optional),
        rpath=tuple(commands.rpath),
        inits=tuple(inits),
        undefined=tuple(undefined),
        signed=commands.signed(),
    )
