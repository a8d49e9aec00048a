"""One reading pass over a wheel: its ELF files and, where asked, the hash of every member."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import BadWheelError
from orchestrator.wheel import elf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.wheel.archive import WheelArchive


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
        if algorithms is None and member.file_size < elf.SMALLEST:
            continue
        try:
            data, digest = _read(archive, name, None if algorithms is None else algorithms[name])
            if digest:
                hashes[name] = digest
            if data:
                elves.append(ElfMember(name, elf.parse(data)))
        except BadWheelError as error:
            unreadable.append(Broken(name, error.problems[0].what))
        except elf.MalformedElfError as error:
            malformed.append(Broken(name, str(error)))
    return Scan(
        elves=tuple(elves),
        malformed=tuple(malformed),
        unreadable=tuple(unreadable),
        hashes=hashes,
    )


def record_hash(algorithm: str, content: bytes) -> str:
    """Return a hash as RECORD writes it: ``sha256=`` and unpadded URL-safe base64."""
    return _record_form(hashlib.new(algorithm, content))


def _record_form(hasher: hashlib._Hash) -> str:
    digest = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii")
    return f"{hasher.name}={digest}"


def _read(archive: WheelArchive, name: str, algorithm: str | None) -> tuple[bytes, str]:
    """Return the content of an ELF file (empty for any other) and the hash asked for."""
    chunks = archive.chunks(name, first=elf.SMALLEST)
    head = next(chunks)
    is_elf = len(head) == elf.SMALLEST and elf.is_elf(head)
    if algorithm is None:
        return (head + b"".join(chunks) if is_elf else b""), ""
    hasher = hashlib.new(algorithm, head)
    kept = [head] if is_elf else []
    for chunk in chunks:
        hasher.update(chunk)
        if is_elf:
            kept.append(chunk)
    return b"".join(kept), _record_form(hasher)
