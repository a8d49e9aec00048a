"""Read what the loader reads of an ELF file, and little more.

Layouts are those of the System V gABI and of the GNU extensions that the Linux Standard Base
describes (symbol versions, GNU hash) and the x86-64 psABI (program properties). The bytes are not
trusted: every offset, size and count is checked before use, and limits bound every walk and table.

Tables are read in the order in which linkers write them. Section headers, at the very end, are read
only if the segments do not suffice: so a file need not be inflated to its end.

This file imports nothing of ours and runs on Python 3.8: `builders/scripts/repair.py` uses it in
containers, where it may be emulated.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    Meter = Callable[[int, int, str], None]
    """Gets turns of a loop, bytes, and what they are for; raises where it is too much."""

MAGIC = b"\x7fELF"
# Bytes of the smallest ELF header (32-bit).
_SMALLEST = 52

# Segments, sections and dynamic tags.
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE, _PT_GNU_STACK = 1, 2, 3, 4, 0x6474E551
_PF_X = 1
_ET_EXEC = 2
_DT_FLAGS_1, _DF_1_PIE = 0x6FFFFFFB, 0x08000000
_SHT_NOTE, _SHT_NOBITS, _SHT_DYNSYM = 7, 8, 11
_SHF_TLS = 0x400
_DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SONAME = 1, 4, 5, 6, 10, 14
_DT_RPATH, _DT_RUNPATH, _DT_GNU_HASH = 15, 29, 0x6FFFFEF5
_DT_VERSYM, _DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF
_PN_XNUM = 0xFFFF
_STB_WEAK = 2
_STT_DATA_OR_FUNC = frozenset({1, 2})
_NT_GNU_PROPERTY_TYPE_0 = 5
_X86_ISA_1_NEEDED = 0xC0008002

_EM_386, _EM_S390, _EM_ARM, _EM_X86_64 = 3, 22, 40, 62
_EXECUTABLE_STACKS = frozenset({_EM_386, _EM_S390, _EM_ARM, _EM_X86_64})
"""Where glibc takes a file without PT_GNU_STACK for one that needs an executable stack."""

# A version index has 15 bits (LSB 10.7), so no honest file has more entries.
_MAX_VERSIONS = 1 << 15
_MAX_SECTIONS = 1 << 20
_MAX_SEGMENTS = 1 << 16
_MAX_ENTRIES = 1 << 16
# The largest libraries there are have tens of thousands.
_MAX_UNDEFINED = 1 << 18
# Names that begin like Python's own; bindings generators export some thousands.
_MAX_PYTHON_NAMES = 1 << 16
# The largest CUDA libraries have a few MB of names. Names may overlap in the string table: without
# a limit a small file could ask for terabytes.
_MAX_NAME_BYTES = 32 << 20
# Bytes of all tables of a file together: they are kept in memory. The largest libraries, in
# TensorFlow and torch, have some 50 MB.
_MAX_TABLES = 96 << 20
_MAX_NOTES = 4 << 20
_LONGEST_SECTION = 64
# Bytes of names to a step.
_STEP_BYTES = 16
# Small records are read from blocks of this size.
_BLOCK = 1 << 14
_SYMBOLS_AT_ONCE = 1 << 16
# Bytes of a few hashes; an honest chain has not many more.
_FEW_WORDS = 128
_LOWEST_BIT = bytes(byte & 1 for byte in range(256))
_NATIVE = "<" if sys.byteorder == "little" else ">"

INITS = (b"PyInit_", b"PyModExport_", b"PyInitU_", b"PyModExportU_", b"_cffi_pypyinit_")
"""Prefixes of the functions that make a library a Python extension (PEP 489, PEP 793)."""

_PYTHON_NAMES = (*INITS, b"\0Py", b"\0_Py")
"""How names begin in the string table that Python's C API may have."""

ISA_LEVELS = ((8, "x86-64-v4"), (4, "x86-64-v3"), (2, "x86-64-v2"))
"""Bits of GNU_PROPERTY_X86_ISA_1_NEEDED above the baseline, and their names, highest first."""


class MalformedElfError(ValueError):
    """The bytes start as an ELF file but cannot be read as one."""


class ByteSource(Protocol):
    """An ELF file's bytes."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    def read(self, offset: int, size: int, /) -> bytes | bytearray:
        """Return bytes inside the file."""
        ...


class VersionNeed(NamedTuple):
    """One library and the symbol versions needed of it (``.gnu.version_r``)."""

    library: str
    versions: tuple[str, ...]


class Symbol(NamedTuple):
    """An undefined dynamic symbol. Library and version are empty when it has no version."""

    name: str
    library: str
    version: str
    weak: bool


class ElfInfo(NamedTuple):
    """What a loader and an auditor need to know about an ELF file.

    Attributes:
        bits: 32 or 64.
        little_endian: byte order.
        machine: e_machine.
        flags: e_flags.
        interpreter: PT_INTERP, empty for a library.
        soname: DT_SONAME, or empty.
        needed: DT_NEEDED, in order.
        rpath: DT_RPATH, split at colons.
        runpath: DT_RUNPATH, split at colons.
        versions: symbol versions needed, in the order of the file.
        undefined: undefined dynamic symbols, in the order of the file.
        inits: names of the functions that make it a Python extension (``PyInit_*``).
        python_names: the defined dynamic symbols that are named like Python's C API.
        isa: bits of GNU_PROPERTY_X86_ISA_1_NEEDED; 0 if missing or not x86-64.
        align: the smallest alignment of a PT_LOAD segment, 0 without one.
        executable_stack: whether glibc gives it one, or refuses to.
        program: whether it is a program (ET_EXEC, or DF_1_PIE), not a library.
    """

    bits: int
    little_endian: bool
    machine: int
    flags: int
    interpreter: str
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    versions: tuple[VersionNeed, ...]
    undefined: tuple[Symbol, ...]
    inits: tuple[str, ...]
    python_names: tuple[str, ...]
    isa: int
    align: int
    executable_stack: bool
    program: bool

    @property
    def isa_level(self) -> str:
        """``x86-64-v3`` and the like; empty for the baseline or an architecture without levels."""
        if not self.isa & ~1:
            return ""
        return next((name for bit, name in ISA_LEVELS if self.isa & bit), "x86-64-unknown")


def is_elf(head: bytes | bytearray) -> bool:
    """Whether a file with these first bytes is an ELF file."""
    return head[:4] == MAGIC


def parse(
    data: bytes | bytearray | memoryview | ByteSource,
    *,
    symbols: bool = True,
    meter: Meter = lambda _steps, _read, _what: None,
) -> ElfInfo:
    """Read an ELF file.

    Args:
        data: the whole file, or a source of its bytes.
        symbols: whether to read the symbol table; if not, its names are missing.
        meter: gets what is read before it is used.

    Raises:
        MalformedElfError: it is not an ELF file, or is inconsistent. Errors of `data.read` and of
            `meter` are passed on.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = ElfBytes(bytes(data))
    image = _Image(data, meter)
    header = image.header()
    segments = tuple(image.segments(header))
    interpreter = _interpreter(image, segments)
    dynamic = _Dynamic(image, header, segments)
    undefined, versions, defined = dynamic.tables(symbols=symbols)
    # The notes come last: they are near the beginning or, after patchelf, at the end.
    isa = _isa(image, header, segments) if header.machine == _EM_X86_64 and image.wide else 0
    return ElfInfo(
        bits=image.bits,
        little_endian=image.order == "<",
        machine=header.machine,
        flags=header.flags,
        interpreter=interpreter,
        soname=dynamic.string_of(_DT_SONAME),
        needed=dynamic.strings_of(_DT_NEEDED),
        rpath=_split_path(image, dynamic.string_of(_DT_RPATH)),
        runpath=_split_path(image, dynamic.string_of(_DT_RUNPATH)),
        versions=versions,
        undefined=undefined,
        inits=tuple(name for name in defined if name.startswith(_INITS)),
        python_names=defined,
        isa=isa,
        align=min((part.align for part in segments if part.type == _PT_LOAD), default=0),
        executable_stack=_executable_stack(header.machine, segments),
        program=header.type == _ET_EXEC or dynamic.is_pie,
    )


def find_sections(
    source: ByteSource, wanted: Container[bytes], meter: Meter, *, unloaded: float = math.inf
) -> tuple[tuple[str, int, int], ...]:
    """Return name, offset and size of the sections with these names, in the order of the file.

    There are none if the section headers follow more than `unloaded` bytes that are not loaded:
    names and debug information, that need not be read for anything else.

    Raises:
        MalformedElfError: see `parse`.
    """
    image = _Image(source, meter)
    header = image.header()
    loaded = max((part.offset + part.filesz for part in image.segments(header)), default=0)
    if header.shoff - loaded > unloaded:
        return ()
    sections = tuple(image.sections(header)) if header.shnum else ()
    if header.shstrndx >= len(sections):
        return ()
    table = sections[header.shstrndx]
    names = bytes(image.load(table.offset, min(table.size, _MAX_NOTES), "section names"))
    found = []
    for section in sections:
        name = names[section.name : section.name + _LONGEST_SECTION].partition(b"\0")[0]
        if name in wanted and section.type != _SHT_NOBITS:
            image.check(section.offset, section.size, name.decode())
            found.append((section.offset, section.size, name.decode()))
    return tuple((name, offset, size) for offset, size, name in sorted(found))


def end_of_loaded(source: ByteSource, meter: Meter, most: int) -> bytes:
    """Return the last bytes that are loaded, which linkers keep for variables; at most `most`.

    Raises:
        MalformedElfError: see `parse`.
    """
    image = _Image(source, meter)
    parts = [part for part in image.segments(image.header()) if part.type == _PT_LOAD]
    end = max((part.offset + part.filesz for part in parts), default=0)
    begin = max(0, end - most)
    return bytes(image.load(begin, end - begin, "variables"))


class ElfBytes:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        """Take its bytes."""
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int, /) -> bytes:
        """Return bytes inside the file."""
        return self._data[offset : offset + size]


class _Header(NamedTuple):
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class _Segment(NamedTuple):
    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    align: int


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    addralign: int
    entsize: int


class _Image:
    """An ELF file's bytes; no read can leave them."""

    def __init__(self, source: ByteSource, spend: Meter) -> None:
        self._source = source
        self.spend = spend
        head = source.read(0, min(_SMALLEST, source.size))
        if len(head) < _SMALLEST or not is_elf(head):
            raise MalformedElfError("no ELF header")
        bits, order = {1: 32, 2: 64}.get(head[4]), {1: "<", 2: ">"}.get(head[5])
        if bits is None or order is None:
            raise MalformedElfError(f"unknown class {head[4]} or byte order {head[5]}")
        self.bits = bits
        self.order = order
        self.wide = bits == 64  # noqa: PLR2004
        self.word = "Q" if self.wide else "I"
        self.section_layout = "II" + self.word * 4 + "II" + self.word * 2
        self._left = _MAX_TABLES
        self._block: tuple[int, bytes | bytearray] = (0, b"")

    def check(self, offset: int, size: int, what: str) -> None:
        """Refuse a table that is not inside the file."""
        if offset < 0 or size < 0 or offset + size > self._source.size:
            end = self._source.size
            raise MalformedElfError(f"{what}: {size} bytes at {offset}, but the file ends at {end}")

    def load(self, offset: int, size: int, what: str) -> bytes | bytearray:
        """Return `size` bytes at `offset`."""
        self.check(offset, size, what)
        self._left -= size
        if self._left < 0:
            raise MalformedElfError(f"{what}: {size} bytes; at most {_MAX_TABLES} are read")
        self.spend(1, size, what)
        return self._source.read(offset, size)

    def slice(self, offset: int, size: int, what: str) -> memoryview:
        """Return `size` bytes at `offset`, to be sliced without copying."""
        return memoryview(self.load(offset, size, what))

    def unpack(self, layout: str, offset: int, what: str) -> tuple[int, ...]:
        """Return the few integers at `offset`."""
        size = struct.calcsize("=" + layout)
        self.check(offset, size, what)
        start, block = self._block
        if offset < start or offset + size > start + len(block):
            start, length = offset, min(_BLOCK, self._source.size - offset)
            self.spend(1, length, what)
            block = self._source.read(start, length)
            self._block = start, block
        return struct.unpack_from(self.order + layout, block, offset - start)

    def table(self, layout: str, offset: int, count: int, what: str) -> Iterator[tuple[int, ...]]:
        """Iterate over `count` records at `offset`."""
        self.spend(count, 0, what)
        view = self.slice(offset, count * struct.calcsize("=" + layout), what)
        return struct.iter_unpack(self.order + layout, view)

    def column(self, view: memoryview, code: str, first: int, step: int) -> array[int]:
        """Return every `step`-th integer of a table."""
        cells: array[int] = array(code, bytes(view))
        if self.order != _NATIVE:
            cells.byteswap()
        return cells[first::step]

    def even_words(self, offset: int, what: str) -> int:
        """Return how many even 32-bit words there are before the first odd one."""
        lowest = 0 if self.order == "<" else 3
        count, size = 0, _FEW_WORDS
        while True:
            at = offset + 4 * count
            size = max(4, min(2 * size, (self._source.size - at) // 4 * 4))
            odd = bytes(self.load(at, size, what)[lowest::4]).translate(_LOWEST_BIT)
            if (place := odd.find(1)) >= 0:
                return count + place
            count += len(odd)

    def header(self) -> _Header:
        layout = "HHI" + self.word * 3 + "IHHHHHH"
        header = _Header(*self.unpack(layout, 16, "ELF header"))
        if header.shoff == 0:
            return header._replace(shnum=0)
        # Seldom read, but a file without them has been cut off.
        size = struct.calcsize("=" + self.section_layout)
        self.check(header.shoff, header.shnum * size, "section headers")
        if header.shnum and header.shentsize != size:
            raise MalformedElfError(f"section headers of {header.shentsize} bytes")
        if header.shnum == 0 or header.phnum == _PN_XNUM:
            # Counts that need more than 16 bits stand in the first section header (gABI 4).
            first = _Section(*self.unpack(self.section_layout, header.shoff, "section headers"))
            header = header._replace(
                shnum=header.shnum or first.size,
                phnum=first.info if header.phnum == _PN_XNUM else header.phnum,
            )
        return header

    def segments(self, header: _Header) -> Iterator[_Segment]:
        layout = "IIQQQQQQ" if self.wide else "IIIIIIII"
        if not header.phnum:
            return
        if header.phentsize != struct.calcsize("=" + layout):
            raise MalformedElfError(f"program headers of {header.phentsize} bytes")
        if header.phnum > _MAX_SEGMENTS:
            raise MalformedElfError(f"{header.phnum} segments")
        for row in self.table(layout, header.phoff, header.phnum, "program headers"):
            if self.wide:
                kind, flags, offset, vaddr, _, filesz, _, align = row
            else:
                kind, offset, vaddr, _, filesz, _, flags, align = row
            yield _Segment(kind, flags, offset, vaddr, filesz, align)

    def sections(self, header: _Header) -> Iterator[_Section]:
        if header.shnum > _MAX_SECTIONS:
            raise MalformedElfError(f"{header.shnum} sections")
        rows = self.table(self.section_layout, header.shoff, header.shnum, "section headers")
        yield from map(_Section._make, rows)


class _Strings:
    """A string table. All names that are read of it have a bounded length together."""

    def __init__(self, spend: Meter, data: bytes | bytearray = b"") -> None:
        self._spend = spend
        self._data = data
        self._last = data.rfind(b"\0")
        self._left = _MAX_NAME_BYTES

    def names(self, indices: Sequence[int]) -> list[str]:
        if not indices:
            return []
        find = self._data.find
        if (index := max(indices)) > self._last:
            raise MalformedElfError(f"string {index} is not in its string table")
        before = self._left
        stops = []
        for index in indices:
            # Names may overlap: each search counts before the next one.
            stops.append(stop := find(b"\0", index))
            self._left -= stop - index
            if self._left < 0:
                raise MalformedElfError(f"more than {_MAX_NAME_BYTES} bytes of names")
        self._spend(2 * len(stops) + (before - self._left) // _STEP_BYTES, 0, "names")
        # No name has a NUL in it, so all can be decoded at once.
        parts = [self._data[index:stop] for index, stop in zip(indices, stops)]
        return b"\0".join(parts).decode("utf-8", "backslashreplace").split("\0")

    def python_names(self) -> frozenset[int]:
        """Where names are that Python's C API may have; faster than decoding all."""
        found: set[int] = set()
        for word in _PYTHON_NAMES:
            begin = word.startswith(b"\0")
            at = self._data.find(word)
            while at >= 0 and len(found) < _MAX_PYTHON_NAMES:
                found.add(at + begin)
                at = self._data.find(word, at + 1)
        self._spend(len(found), 0, "names")
        return frozenset(found)


class _Need(NamedTuple):
    """A needed library and its versions, as (name offset, (index, name offset) ...)."""

    library: int
    versions: tuple[tuple[int, int], ...]


class _Dynamic:
    """The dynamic segment: the entries and the tables they lead to."""

    def __init__(self, image: _Image, header: _Header, segments: tuple[_Segment, ...]) -> None:
        self._image = image
        self._header = header
        self._loads = [segment for segment in segments if segment.type == _PT_LOAD]
        self._strings = _Strings(image.spend)
        self._entries: dict[int, list[int]] = {}
        self._tables: list[tuple[int, str]] = []
        dynamic = next((segment for segment in segments if segment.type == _PT_DYNAMIC), None)
        if dynamic is None:
            return
        try:
            self._read(dynamic)
        except MalformedElfError:
            # Separate debug files have the segment without its bytes, as the section tells.
            if not _without_bytes(image, header, dynamic):
                raise
            self._entries = {}

    def _read(self, dynamic: _Segment) -> None:
        """Read the entries, and find the tables in the order of the file."""
        count = min(dynamic.filesz // (16 if self._image.wide else 8), _MAX_ENTRIES)
        layout = self._image.word * 2
        for tag, value in self._image.table(layout, dynamic.offset, count, "dynamic segment"):
            if tag == 0:
                break
            self._entries.setdefault(tag, []).append(value)
        self._tables = sorted(
            (self._offset(address, what), what)
            for tag, what in _TABLES.items()
            if (address := self._last(tag)) is not None
        )

    @property
    def is_pie(self) -> bool:
        """Whether the file is a position-independent program."""
        return bool((self._last(_DT_FLAGS_1) or 0) & _DF_1_PIE)

    def _last(self, tag: int) -> int | None:
        """Return the last value with this tag, which is the one the loader uses."""
        values = self._entries.get(tag)
        return values[-1] if values else None

    def _offset(self, address: int, what: str) -> int:
        """Return the file offset of the byte that is loaded at `address`."""
        for load in self._loads:
            if load.vaddr <= address < load.vaddr + load.filesz:
                return load.offset + address - load.vaddr
        raise MalformedElfError(f"{what}: address {address:#x} is in no loaded segment")

    def strings_of(self, tag: int) -> tuple[str, ...]:
        """Return the names that the entries with this tag point to."""
        return tuple(self._strings.names(self._entries.get(tag, ())))

    def string_of(self, tag: int) -> str:
        """Return the last such name, or an empty string."""
        return "".join(self._strings.names(self._entries.get(tag, [])[-1:]))

    def tables(
        self, *, symbols: bool
    ) -> tuple[tuple[Symbol, ...], tuple[VersionNeed, ...], tuple[str, ...]]:
        """Read the tables, the symbol table only if wanted.

        Returns:
            The undefined symbols, the versions needed of each library (LSB 10.7.3), and the
            defined symbols that are named like Python's C API.
        """
        table, count = self._symbol_table() if symbols else (0, 0)
        rows: memoryview = memoryview(b"")
        indices: memoryview = memoryview(b"")
        needs: tuple[_Need, ...] = ()
        # In the order of the file, as the bytes may be inflated in this order.
        for offset, what in self._tables:
            if what == _TABLES[_DT_SYMTAB]:
                rows = self._image.slice(table, count * (24 if self._image.wide else 16), what)
            elif what == _TABLES[_DT_VERSYM]:
                indices = self._image.slice(offset, count * 2, what)
            elif what == _TABLES[_DT_VERNEED]:
                needs = self._needs(offset)
            else:
                size = self._last(_DT_STRSZ) or 0
                self._strings = _Strings(self._image.spend, self._image.load(offset, size, what))
        return self._named(rows, indices, needs)

    def _named(
        self, rows: memoryview, indices: memoryview, needs: tuple[_Need, ...]
    ) -> tuple[tuple[Symbol, ...], tuple[VersionNeed, ...], tuple[str, ...]]:
        python = self._strings.python_names() if rows else frozenset()
        versions: list[VersionNeed] = []
        by_index: dict[int, tuple[str, str]] = {}
        for need in needs:
            places = [need.library, *(name for _, name in need.versions)]
            library, *some = self._strings.names(places)
            versions.append(VersionNeed(library, tuple(some)))
            by_index.update(
                {index: (library, version) for (index, _), version in zip(need.versions, some)}
            )
        undefined, defined = self._pick(rows, indices, python, by_index)
        return tuple(undefined), tuple(versions), tuple(self._strings.names(defined))

    def _needs(self, offset: int) -> tuple[_Need, ...]:
        needs: list[_Need] = []
        left = _MAX_VERSIONS
        for _ in range(self._last(_DT_VERNEEDNUM) or 0):
            _, count, file, aux, step = self._image.unpack("HHIII", offset, "version needs")
            left -= count + 1
            if left < 0:
                raise MalformedElfError(f"more than {_MAX_VERSIONS} symbol versions")
            self._image.spend(count + 1, 0, "version needs")
            needs.append(_Need(file, tuple(self._aux(offset + aux, count))))
            if step == 0:
                break
            offset += step
        return tuple(needs)

    def _aux(self, offset: int, count: int) -> Iterator[tuple[int, int]]:
        for _ in range(count):
            _, _, other, name, step = self._image.unpack("IHHII", offset, "version needs")
            yield other & 0x7FFF, name
            if step == 0:
                break
            offset += step

    def _pick(
        self,
        rows: memoryview,
        indices: memoryview,
        python: frozenset[int],
        versions: Mapping[int, tuple[str, str]],
    ) -> tuple[list[Symbol], list[int]]:
        """Pick the undefined symbols, and the defined ones with these names.

        Few of a library's hundreds of thousands of symbols matter: they are searched by column, in
        blocks.
        """
        undefined: list[Symbol] = []
        defined: list[int] = []
        size, info_at, section_at = (24, 4, 3) if self._image.wide else (16, 12, 7)
        self._image.spend(len(rows) // size // 8, 0, _TABLES[_DT_SYMTAB])
        for start in range(0, len(rows) // size, _SYMBOLS_AT_ONCE):
            block = rows[start * size : (start + _SYMBOLS_AT_ONCE) * size]
            names = self._image.column(block, "I", 0, size // 4)
            sections = self._image.column(block, "H", section_at, size // 2)
            infos = block[info_at::size].tolist()
            some = indices[start * 2 : (start + len(names)) * 2]
            numbers = self._image.column(some, "H", 0, 1)
            places = [i for i, section in enumerate(sections) if not section and names[i]]
            if len(undefined) + len(places) > _MAX_UNDEFINED:
                raise MalformedElfError(f"more than {_MAX_UNDEFINED} undefined symbols")
            text = self._strings.names([names[i] for i in places])
            kinds = [
                versions.get(numbers[place] & 0x7FFF, _UNVERSIONED) if numbers else _UNVERSIONED
                for place in places
            ]
            undefined += [
                Symbol(name, library, version, infos[place] >> 4 == _STB_WEAK)
                for name, (library, version), place in zip(text, kinds, places)
            ]
            if not python.isdisjoint(names):
                self._image.spend(len(names) // 4, 0, _TABLES[_DT_SYMTAB])
                defined += {  # a table may have one symbol a million times
                    name: None
                    for name, section, info in zip(names, sections, infos)
                    if name in python and section and info & 15 in _STT_DATA_OR_FUNC
                }
        return undefined, defined

    def _symbol_table(self) -> tuple[int, int]:
        """Return offset and number of the dynamic symbols.

        The loader never needs the number, so no dynamic entry has it: it follows from a hash
        table or the section header.
        """
        address = self._last(_DT_SYMTAB)
        if address is None:
            return 0, 0
        offset = self._offset(address, _TABLES[_DT_SYMTAB])
        if (table := self._last(_DT_HASH)) is not None:
            return offset, self._count_by_hash(self._offset(table, "hash table"))
        count = 0
        if (table := self._last(_DT_GNU_HASH)) is not None:
            count = self._count_by_gnu_hash(self._offset(table, "GNU hash table"))
        # A GNU hash table omits undefined symbols, and is empty if there are no others.
        return offset, count or self._count_by_section(offset)

    def _count_by_hash(self, offset: int) -> int:
        """Return the number of symbols (gABI, chapter 5).

        The s390x ABI alone has 64-bit words in this table. GNU ld writes those; lld, mold and zig
        write 32-bit ones, whose first one, the number of buckets, is not 0.
        """
        buckets, chains = self._image.unpack("II", offset, "hash table")
        if self._header.machine == _EM_S390 and self._image.wide and not buckets:
            return self._image.unpack("QQ", offset, "hash table")[1]
        return chains

    def _count_by_section(self, offset: int) -> int:
        for section in self._image.sections(self._header):
            if section.type == _SHT_DYNSYM and section.offset == offset:
                return section.size // (24 if self._image.wide else 16)
        return 0

    def _count_by_gnu_hash(self, offset: int) -> int:
        """Return the number of symbols; 0 if the table is empty."""
        what = "GNU hash table"
        buckets, first, bloom, _ = self._image.unpack("IIII", offset, what)
        start = offset + 16 + bloom * (8 if self._image.wide else 4)
        view = self._image.slice(start, buckets * 4, what)
        self._image.spend(buckets // 8, 0, what)
        last = max(self._image.column(view, "I", 0, 1), default=0)
        if last == 0:
            return 0
        if last < first:
            return first
        chain = start + buckets * 4 + (last - first) * 4
        # The last chain ends with an odd hash.
        return last + self._image.even_words(chain, what) + 1


_UNVERSIONED = ("", "")
_INITS = tuple(word.decode() for word in INITS)
_TABLES = {
    _DT_SYMTAB: "dynamic symbols",
    _DT_STRTAB: "string table",
    _DT_VERSYM: "symbol versions",
    _DT_VERNEED: "version needs",
}


def _without_bytes(image: _Image, header: _Header, dynamic: _Segment) -> bool:
    """Whether a section tells that the file lacks the dynamic segment's bytes."""
    return any(
        section.type == _SHT_NOBITS
        and section.addr == dynamic.vaddr
        and not section.flags & _SHF_TLS
        for section in image.sections(header)
    )


def _split_path(image: _Image, path: str) -> tuple[str, ...]:
    image.spend(path.count(":"), 0, "run paths")
    return tuple(path.split(":")) if path else ()


def _interpreter(image: _Image, segments: tuple[_Segment, ...]) -> str:
    for segment in segments:
        if segment.type == _PT_INTERP:
            raw = bytes(image.slice(segment.offset, min(segment.filesz, 4096), "interpreter"))
            return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    return ""


def _executable_stack(machine: int, segments: tuple[_Segment, ...]) -> bool:
    """Whether a file that can be loaded needs an executable stack, by its PT_GNU_STACK."""
    if not any(part.type == _PT_LOAD for part in segments):
        return False
    asked = [part.flags & _PF_X for part in segments if part.type == _PT_GNU_STACK]
    return bool(asked[-1]) if asked else machine in _EXECUTABLE_STACKS


def _isa(image: _Image, header: _Header, segments: tuple[_Segment, ...]) -> int:
    """Return the bits of GNU_PROPERTY_X86_ISA_1_NEEDED, of all notes together."""
    notes = [(part.offset, part.filesz, part.align) for part in segments if part.type == _PT_NOTE]
    if not segments:
        # An object file (.o) has sections only.
        notes = [
            (section.offset, section.size, section.addralign)
            for section in image.sections(header)
            if section.type == _SHT_NOTE
        ]
    isa = 0
    for offset, size, align in dict.fromkeys(notes):
        image.check(offset, size, "notes")
        view = image.slice(offset, min(size, _MAX_NOTES), "notes")
        # Segments may overlap. A note takes 12 bytes, a property in it 8.
        image.spend(len(view) // 8, 0, "notes")
        for kind, name, content in _notes(image, view, 8 if align == 8 else 4):  # noqa: PLR2004
            if kind == _NT_GNU_PROPERTY_TYPE_0 and name == b"GNU\0":
                isa |= _isa_of_properties(image, content)
    return isa


def _notes(image: _Image, view: memoryview, align: int) -> Iterator[tuple[int, bytes, memoryview]]:
    """Iterate over the notes, up to one that exceeds its table."""
    layout = struct.Struct(image.order + "III")
    at = 0
    while at + 12 <= len(view):
        name_size, size, kind = layout.unpack_from(view, at)
        start = at + 12 + _round_up(name_size, 4)
        if start + size > len(view):
            return
        yield kind, bytes(view[at + 12 : at + 12 + min(name_size, 64)]), view[start : start + size]
        at = _round_up(start + size, align)


def _isa_of_properties(image: _Image, content: memoryview) -> int:
    layout = struct.Struct(image.order + "II")
    at = isa = 0
    while at + 8 <= len(content):
        kind, size = layout.unpack_from(content, at)
        value = content[at + 8 : at + 8 + size]
        if kind == _X86_ISA_1_NEEDED and len(value) == 4:  # noqa: PLR2004
            isa |= int.from_bytes(value, "little")
        at = _round_up(at + 8 + size, 8 if image.wide else 4)
    return isa


def _round_up(value: int, to: int) -> int:
    return -(-value // to) * to
