"""Make sections of an ELF file smaller, without moving anything else that a program can see.

Addresses stay. Whole pages at the end of a section are cut out of the file, and the segment that
held them is split in two, so that nothing is loaded there. The program headers, of which there are
more now, move to the freed room. Words that hold addresses inside of the section are changed with
its content: addends of relative relocations, the words that these are for, symbols, and the words
of sections that the caller names.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.wheel.elf import Meter

_IDENT = b"\x7fELF\x02\x01"
"""64 bits, little-endian."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_RELA = struct.Struct("<QQq")
_SYMBOL = struct.Struct("<IBBHQQ")
_WORD = struct.Struct("<Q")
_NOBITS, _SYMTAB, _TABLE, _RELR, _DYNSYM = 8, 2, 4, 19, 11
_LOAD, _PHDR = 1, 6
_ALLOC = 2
_RELATIVE = {62: 8, 183: 1027}
"""Machine -> its relocation that adds the load address: R_X86_64_RELATIVE, R_AARCH64_RELATIVE."""
_PAGE = 4096
_LARGEST_PAGE = {62: 4096, 183: 65536}
_RESERVED = 0xFF00
_MOST_SEGMENTS = 64
_LARGEST_ALIGNMENT = 1 << 24


class CannotShrinkError(ValueError):
    """A file whose sections cannot be made smaller; nothing was changed."""


class Segment(NamedTuple):
    """A program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class Section(NamedTuple):
    """A section header, with its number and name."""

    number: int
    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    align: int


class NewContent(NamedTuple):
    """What becomes of a section.

    Attributes:
        content: its new content, no longer than the old one.
        moves: place in the section of what addresses may point to -> its new place.
    """

    content: bytes
    moves: Mapping[int, int]


class _Hole(NamedTuple):
    """Addresses from `start` to `end`, both at pages, that are loaded no more."""

    start: int
    end: int


class ElfImage:
    """A 64-bit ELF file in memory."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        """Read its headers.

        Raises:
            CannotShrinkError: they are malformed, or of another kind.
        """
        self.data = bytearray(data)
        self._meter = meter
        if not data.startswith(_IDENT) or len(data) < _HEADER.size:
            raise CannotShrinkError("not a 64-bit little-endian ELF file")
        header = _HEADER.unpack_from(data)
        self.machine, self.phoff, self.shoff = header[2], header[5], header[6]
        self.phentsize, self.phnum, self.shentsize, self.shnum, shstrndx = header[9:14]
        if self.machine not in _RELATIVE:
            raise CannotShrinkError("neither for x86_64 nor for aarch64")
        if self.phentsize != _SEGMENT.size or self.shentsize != _SECTION.size:
            raise CannotShrinkError("headers of an unknown size")
        if self.phnum > _MOST_SEGMENTS:
            raise CannotShrinkError(f"{self.phnum} program headers")
        self.check(self.phoff, self.phnum * _SEGMENT.size)
        self.check(self.shoff, self.shnum * _SECTION.size)
        if shstrndx >= self.shnum:
            raise CannotShrinkError("its sections have no names")
        self.segments = [
            Segment(*_SEGMENT.unpack_from(data, self.phoff + number * _SEGMENT.size))
            for number in range(self.phnum)
        ]
        raw = [
            _SECTION.unpack_from(data, self.shoff + number * _SECTION.size)
            for number in range(self.shnum)
        ]
        self._loaded = sorted(
            (each for each in self.segments if each.type == _LOAD and each.memsz),
            key=lambda each: each.vaddr,
        )
        if any(one.vaddr + one.memsz > two.vaddr for one, two in pairwise(self._loaded)):
            raise CannotShrinkError("its segments overlap")
        names = raw[shstrndx][4]
        self.sections = []
        for number, each in enumerate(raw):
            at = names + each[0]
            name = bytes(self.data[at : at + 64]).partition(b"\0")[0].decode("latin-1")
            kind, flags, address, offset, size = each[1:6]
            self.sections.append(Section(number, name, kind, flags, address, offset, size, each[8]))
            if each[1] != _NOBITS:
                self.check(each[4], each[5])

    def check(self, offset: int, size: int) -> None:
        """Refuse what lies outside of the file."""
        if offset + size > len(self.data):
            raise CannotShrinkError("headers point outside of the file")

    def place(self, address: int, size: int = 8) -> int | None:
        """Return where in the file the bytes of an address are; None if nothing is loaded there."""
        number = bisect_right(self._loaded, address, key=attrgetter("vaddr"))
        if not number:
            return None
        each = self._loaded[number - 1]
        end = each.vaddr + min(each.filesz, len(self.data) - each.offset)
        return each.offset + address - each.vaddr if address + size <= end else None

    def sharing(self, section: Section) -> str:
        """Return what else is in the bytes of a section; empty for nothing."""
        parts = [
            (each.offset, each.size, f"the section {each.name!r}")
            for each in self.sections
            if each.type != _NOBITS and each.number != section.number
        ]
        parts += [
            (each.offset, each.filesz, f"a segment of type {each.type:#x}")
            for each in self.segments
            if each.type != _LOAD
        ]
        parts += [
            (0, _HEADER.size, "the headers"),
            (self.phoff, self.phnum * _SEGMENT.size, "the headers"),
            (self.shoff, self.shnum * _SECTION.size, "the headers"),
        ]
        start, end = section.offset, section.offset + section.size
        found = (what for at, size, what in parts if size and at < end and start < at + size)
        return next(found, "")

    def word(self, offset: int) -> int:
        """Return a word of the file."""
        value: int = _WORD.unpack_from(self.data, offset)[0]
        return value

    def pointers(self, into: Iterable[Section], words_of: Iterable[str]) -> dict[int, int]:
        """Return place in the file -> value of the words that hold an address in some sections.

        All words of sections named in `words_of` count.
        """
        ranges = [range(each.addr, each.addr + each.size) for each in into]
        found = (
            (place, value)
            for place in self._candidates(set(words_of))
            if any((value := self.word(place)) in each for each in ranges)
        )
        return dict(found)

    def symbols(self) -> Iterator[int]:
        """Yield the places of the values of symbols that are in a section."""
        for section in self.sections:
            if section.type in {_SYMTAB, _DYNSYM}:
                end = section.offset + section.size
                self._meter(section.size // _SYMBOL.size, 0, "symbols")
                for place in range(section.offset, end - _SYMBOL.size + 1, _SYMBOL.size):
                    if 0 < _SYMBOL.unpack_from(self.data, place)[3] < _RESERVED:
                        yield place + 8

    def _candidates(self, words_of: set[str]) -> Iterator[int]:
        """Yield the places of words that may hold an address."""
        for section in self.sections:
            start, end = section.offset, section.offset + section.size
            if section.type == _NOBITS:
                continue
            if section.type in {_TABLE, _RELR} or section.name in words_of:
                self._meter(section.size // 8, 0, "pointers")
            if section.type == _TABLE and section.flags & _ALLOC:
                yield from self._relocated(start, end)
            elif section.type == _RELR:
                yield from self._packed(start, end)
            elif section.name in words_of:
                yield from range(start + -start % 8, end - 7, 8)

    def _relocated(self, start: int, end: int) -> Iterator[int]:
        kind = _RELATIVE[self.machine]
        for place in range(start, end - _RELA.size + 1, _RELA.size):
            address, info, addend = _RELA.unpack_from(self.data, place)
            if info & 0xFFFFFFFF == kind and addend >= 0:
                yield place + 16
                own = self.place(address)
                if own is not None and self.word(own) == addend:
                    yield own

    def _packed(self, start: int, end: int) -> Iterator[int]:
        """Yield the places of words that a packed table (SHT_RELR) names."""
        address = 0
        for place in range(start, end - 7, 8):
            entry = self.word(place)
            if entry & 1:
                self._meter(entry.bit_count(), 0, "pointers")
                words = [address + 8 * bit for bit in range(63) if entry >> (bit + 1) & 1]
                address += 63 * 8
            else:
                words, address = [entry], entry + 8
            yield from (own for own in map(self.place, words) if own is not None)


def shrink(elf: ElfImage, changes: Mapping[Section, NewContent], words_of: Sequence[str]) -> bytes:
    """Return a file whose sections have new contents.

    Args:
        elf: the file, which is used up.
        changes: what becomes of sections, of a segment that is loaded each.
        words_of: names of sections whose words may all hold addresses.

    Raises:
        CannotShrinkError: a section is in no segment, or something points to what is no more.
    """
    for section in changes:
        at = elf.place(section.addr, section.size)
        if not section.flags & _ALLOC or at != section.offset:
            raise CannotShrinkError(f"{section.name} is in no segment")
        if other := elf.sharing(section):
            raise CannotShrinkError(f"{section.name} shares bytes with {other}")
    try:
        _redirect(elf, changes, words_of)
        for section, new in changes.items():
            end = section.offset + section.size
            elf.data[section.offset : end] = new.content.ljust(section.size, b"\0")
        return _cut(elf, changes)
    except struct.error as error:
        raise CannotShrinkError(f"addresses beyond 64 bits: {error}") from error


def _redirect(
    elf: ElfImage, changes: Mapping[Section, NewContent], words_of: Sequence[str]
) -> None:
    """Change the words that hold an address in a section whose content moves."""
    moved = {
        section.addr + old: section.addr + new
        for section, change in changes.items()
        for old, new in change.moves.items()
    }
    starts = {section.addr for section in changes}
    for place, address in elf.pointers(changes, words_of).items():
        if address in moved:
            _WORD.pack_into(elf.data, place, moved[address])
        elif address not in starts:
            raise CannotShrinkError(f"something points into the middle of what moves: {address:#x}")
    for place in elf.symbols():
        if (address := elf.word(place)) in moved:
            _WORD.pack_into(elf.data, place, moved[address])


def _cut(elf: ElfImage, changes: Mapping[Section, NewContent]) -> bytes:
    """Cut the free pages out of the file."""
    align = _alignment(elf)
    sizes = {section: len(new.content) for section, new in changes.items()}
    # The section with the most free room takes the program headers, too.
    owner = max(changes, key=lambda section: section.size - sizes[section])
    table = owner.addr + sizes[owner] + -(owner.addr + sizes[owner]) % 8
    ends = {section: section.addr + size for section, size in sizes.items()}
    ends[owner] = table + _SEGMENT.size * (elf.phnum + len(changes))
    found = {
        section: _Hole(start, end)
        for section, first in ends.items()
        if (start := first + -first % align) < (end := _down(section.addr + section.size, align))
    }
    holes = sorted(found.values()) if owner in found else []
    segments = [
        each._replace(align=min(each.align, align)) if each.type == _LOAD and holes else each
        for each in elf.segments
    ]
    for hole in holes:
        segments = [part for each in segments for part in _split(each, hole)]
    cuts = sorted(
        (at := section.offset + hole.start - section.addr, at + hole.end - hole.start)
        for section, hole in found.items()
        if hole in holes
    )
    if holes:
        segments = [_table_at(each, table, len(segments)) for each in segments]
    _write_headers(elf, segments, cuts, sizes, owner.offset + table - owner.addr if holes else None)
    for start, end in reversed(cuts):
        del elf.data[start:end]
    return bytes(elf.data)


def _alignment(elf: ElfImage) -> int:
    """Return what segments are aligned to when a part is cut out.

    That is the largest page of the machine's kernels, not the 2 MiB that many linkers take.
    """
    segments = max((each.align for each in elf.segments if each.type == _LOAD), default=0)
    sections = max((each.align for each in elf.sections if each.flags & _ALLOC), default=0)
    align = max(min(segments, max(_LARGEST_PAGE[elf.machine], sections)), _PAGE)
    if align > _LARGEST_ALIGNMENT or align & (align - 1):
        raise CannotShrinkError(f"its segments are aligned to {align}")
    return align


def _down(address: int, align: int) -> int:
    return address - address % align


def _split(segment: Segment, hole: _Hole) -> list[Segment]:
    """Return what is left of a segment around a hole."""
    end = segment.vaddr + segment.filesz
    if segment.type != _LOAD or not (segment.vaddr <= hole.start and hole.end <= end):
        return [segment]
    head = hole.start - segment.vaddr
    before = segment._replace(filesz=head, memsz=head)
    gone = hole.end - segment.vaddr
    after = segment._replace(
        offset=segment.offset + gone,
        vaddr=segment.vaddr + gone,
        paddr=segment.paddr + gone,
        filesz=segment.filesz - gone,
        memsz=segment.memsz - gone,
    )
    return [each for each in (before, after) if each.memsz]


def _table_at(segment: Segment, address: int, count: int) -> Segment:
    """Return the program header of the program headers themselves, where they are now."""
    if segment.type != _PHDR:
        return segment
    size = count * _SEGMENT.size
    return segment._replace(vaddr=address, paddr=address, filesz=size, memsz=size)


def _write_headers(
    elf: ElfImage,
    segments: Sequence[Segment],
    cuts: Sequence[tuple[int, int]],
    sizes: Mapping[Section, int],
    table: int | None,
) -> None:
    """Write all headers as they are after the cuts; program headers go to `table`, or stay."""
    table = elf.phoff if table is None else table

    def now(offset: int) -> int:
        return offset - sum(end - start for start, end in cuts if end <= offset)

    for number, segment in enumerate(segments):
        offset = now(table) if segment.type == _PHDR else now(segment.offset)
        row = segment._replace(offset=offset)
        _SEGMENT.pack_into(elf.data, table + number * _SEGMENT.size, *row)
    for section in elf.sections:
        at = elf.shoff + section.number * _SECTION.size
        _WORD.pack_into(elf.data, at + 24, now(section.offset))
        _WORD.pack_into(elf.data, at + 32, sizes.get(section, section.size))
    _WORD.pack_into(elf.data, 32, now(table))
    _WORD.pack_into(elf.data, 40, now(elf.shoff))
    struct.pack_into("<H", elf.data, 56, len(segments))
