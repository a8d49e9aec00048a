"""One reading pass over a wheel: its ELF files and, where asked, the hash of every member."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.wheel import elf
from orchestrator.wheel.inflate import DamagedError
from orchestrator.wheel.window import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.inflate import Packed


class ElfMember(NamedTuple):
    """An ELF file in a wheel."""

    name: str
    info: elf.ElfInfo


class Broken(NamedTuple):
    """A member that could not be read, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one pass over the members found.

    Attributes:
        elves: the ELF files, in the order of the archive.
        malformed: files that start as ELF but are not.
        unreadable: members whose bytes are damaged (CRC, compression).
        hashes: member -> hash as RECORD writes it; only those asked for.
    """

    elves: tuple[ElfMember, ...]
    malformed: tuple[Broken, ...]
    unreadable: tuple[Broken, ...]
    hashes: Mapping[str, str]


def scan(archive: WheelArchive, algorithms: Mapping[str, str] | None = None) -> Scan:
    """Read a wheel once.

    Args:
        archive: the wheel.
        algorithms: member -> hash algorithm (`hashlib` name) wanted for it. None when no hashes
            are wanted; then members that are not ELF files are not read beyond their first bytes.
    """
    elves: list[ElfMember] = []
    malformed: list[Broken] = []
    unreadable: list[Broken] = []
    hashes: dict[str, str] = {}
    for member in archive.members:
        name = member.filename
        hasher = hashlib.new(algorithms[name]) if algorithms is not None else None
        try:
            info = _read(archive.packed(name), hasher)
        except elf.MalformedElfError as error:
            malformed.append(Broken(name, str(error)))
        except DamagedError as error:
            unreadable.append(Broken(name, f"cannot be read: {error}"))
            continue
        else:
            if info is not None:
                elves.append(ElfMember(name, info))
        if hasher is not None:
            hashes[name] = _record_form(hasher)
    return Scan(
        elves=tuple(elves),
        malformed=tuple(malformed),
        unreadable=tuple(unreadable),
        hashes=hashes,
    )


def _read(packed: Packed, hasher: hashlib._Hash | None) -> elf.ElfInfo | None:
    """Read a member if it is an ELF file, and hash it whether or not it is, and is sound."""
    if packed.size >= elf.SMALLEST and elf.is_elf(packed.head(len(elf.MAGIC))):
        window = Window(packed, hasher.update if hasher else None)
        try:
            return elf.parse(window)
        finally:
            if hasher:
                window.finish()
    if hasher:
        for piece in packed.pieces():
            hasher.update(piece)
    return None


def record_hash(algorithm: str, content: bytes) -> str:
    """Return a hash as RECORD writes it: ``sha256=`` and unpadded URL-safe base64."""
    return _record_form(hashlib.new(algorithm, content))


def _record_form(hasher: hashlib._Hash) -> str:
    digest = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii")
    return f"{hasher.name}={digest}"
