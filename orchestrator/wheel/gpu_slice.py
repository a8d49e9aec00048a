"""Take code for other architectures out of the fat binaries of a file (CUDA).

Each container keeps what the driver would take on the architectures that are asked for: machine
code for them; else for an earlier one of the same major number; else PTX, which is compiled when a
program starts. A container in which nothing would run keeps its smallest entry, so that a program
fails as it did before.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import DeviceKind
from orchestrator.wheel import fatbin
from orchestrator.wheel.device_code import Cursor, Entry
from orchestrator.wheel.elf import ElfBytes
from orchestrator.wheel.elf_shrink import CannotShrinkError, ElfImage, NewContent, shrink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.wheel.elf import Meter

SECTIONS = (".nv_fatbin", "__nv_relfatbin")
_WRAPPERS = ".nvFatBinSegment"
"""What the runtime registers: each has the address of a container."""

_LARGEST_ALIGNMENT = 64
_MOST_SECTIONS = 16

_ARCH = re.compile(r"(?:sm|compute)_(\d{1,4})([af]?)")


class Slice(NamedTuple):
    """What a slice has.

    Attributes:
        archs: architectures as numbers: the 90 of ``sm_90``.
        ptx: whether PTX stays.
    """

    archs: frozenset[int]
    ptx: bool


class _Container(NamedTuple):
    start: int
    end: int
    header: int
    entries: tuple[tuple[int, Entry], ...]


def number_of(entry: Entry) -> int:
    """Return the 90 of ``sm_90a``; 0 of code for something else."""
    match = _ARCH.fullmatch(entry.arch)
    return int(match[1]) if match else 0


def kept(entries: Sequence[Entry], wanted: Slice) -> list[Entry]:
    """Return the entries of a container that a slice keeps, in their order."""
    found = {id(each) for arch in wanted.archs for each in _run_on(entries, arch)}
    for each in entries:
        if each.kind is DeviceKind.OTHER or (wanted.ptx and each.kind is DeviceKind.PTX):
            found.add(id(each))
    if not found and entries:
        found.add(id(min(entries, key=lambda each: each.size)))
    return [each for each in entries if id(each) in found]


def _run_on(entries: Iterable[Entry], arch: int) -> list[Entry]:
    """Return what the driver takes, or may take, for an architecture."""
    code: dict[int, list[Entry]] = {}
    ptx: dict[int, list[Entry]] = {}
    for each in entries:
        number, suffix = number_of(each), each.arch[-1]
        if not 0 < number <= arch:
            continue
        if each.kind is DeviceKind.PTX and (suffix.isdigit() or number == arch):
            ptx.setdefault(number, []).append(each)
        # Code for one architecture alone (sm_90a) runs nowhere else; that for a family may.
        elif number == arch or (suffix != "a" and number // 10 == arch // 10):
            code.setdefault(number, []).append(each)
    best = code or ptx
    return best[max(best)] if best else []


def slice_file(data: bytes, wanted: Slice, meter: Meter) -> bytes:
    """Return a file without code for other architectures.

    Raises:
        MalformedCodeError, CannotShrinkError: it cannot be read, or not be made smaller.
    """
    if data.startswith(fatbin.MAGIC):
        return _whole(data, wanted, meter)
    elf = ElfImage(data, meter)
    sections = [each for each in elf.sections if each.name in SECTIONS and each.size]
    if len(sections) > _MOST_SECTIONS:
        raise CannotShrinkError(f"it has {len(sections)} sections of code for GPUs")
    changes = {}
    for section in sections:
        content = data[section.offset : section.offset + section.size]
        containers = _containers(content, meter)
        values = elf.pointers([section], [_WRAPPERS]).values()
        pointed = {value - section.addr for value in values}
        align = min(max(section.align, 8), _LARGEST_ALIGNMENT)
        changes[section] = _packed(content, containers, wanted, pointed, align)
    if not changes:
        return data
    return shrink(elf, changes, [_WRAPPERS])


def _whole(data: bytes, wanted: Slice, meter: Meter) -> bytes:
    containers = _containers(data, meter)
    return _packed(data, containers, wanted, {each.start for each in containers}, 8).content


def _containers(data: bytes, meter: Meter) -> list[_Container]:
    cursor = Cursor(ElfBytes(data), 0, len(data), meter)
    found = []
    for start, group in groupby(fatbin.pieces(cursor), key=lambda piece: piece.container):
        pieces = list(group)
        entries = tuple((each.offset, each.entry) for each in pieces if each.entry is not None)
        found.append(_Container(start, pieces[-1].offset, pieces[0].header, entries))
    return found


def _packed(
    data: bytes, containers: Iterable[_Container], wanted: Slice, pointed: set[int], align: int
) -> NewContent:
    """Pack containers closely; one that no word points to stays where it is: code may name it."""
    out, moves = bytearray(), {}
    for each in containers:
        packed = len(out) + -len(out) % align
        start = min(packed, each.start) if each.start in pointed else each.start
        moves[each.start] = start
        out += bytes(start - len(out))
        out += _sliced(data, each, wanted)
    return NewContent(bytes(out), moves)


def _sliced(data: bytes, container: _Container, wanted: Slice) -> bytes:
    stay = {id(each) for each in kept([entry for _, entry in container.entries], wanted)}
    header = data[container.start : container.start + container.header]
    parts = [data[at : at + each.size] for at, each in container.entries if id(each) in stay]
    return fatbin.container(header, b"".join(parts))
