"""Read a wheel once: its ELF files and, if wanted, the hash of every member."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.platforms import Arch
from orchestrator.wheel import elf
from orchestrator.wheel.inflate import DamagedError
from orchestrator.wheel.window import MemberWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.wheel.archive import Blocks, WheelArchive
    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.inflate import CompressedMember

_THREADS = 2
_LARGE = 1 << 18


_ARCHES = {
    (arch.facts.elf.machine, arch.facts.elf.bits, arch.facts.elf.order == "<"): arch
    for arch in Arch
}


def arch_of(info: elf.ElfInfo) -> Arch | None:
    """Return the architecture of a platform tag.

    None if no tag names it, or the file breaks what the tag promises: EABI 5 and hard float on
    armv7l, and the like on RISC-V and LoongArch.
    """
    arch = _ARCHES.get((info.machine, info.bits, info.little_endian))
    mask, promised = arch.facts.elf.abi if arch else (0, 0)
    return arch if info.flags & mask == promised else None


class ElfMember(NamedTuple):
    """An ELF file in a wheel."""

    name: str
    info: elf.ElfInfo

    @property
    def arch(self) -> Arch | None:
        """See `arch_of`."""
        return arch_of(self.info)


class UnreadableMember(NamedTuple):
    """A member that could not be read, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is in the members.

    Attributes:
        elves: the ELF files, in the order of the archive.
        malformed: files that start as ELF but are not.
        unreadable: members whose bytes are damaged (CRC, compression).
        hashes: member -> hash as RECORD writes it; only those asked for.
    """

    elves: tuple[ElfMember, ...]
    malformed: tuple[UnreadableMember, ...]
    unreadable: tuple[UnreadableMember, ...]
    hashes: Mapping[str, str]


def scan(archive: WheelArchive, algorithms: Mapping[str, str] | None = None) -> Scan:
    """Read a wheel once.

    Args:
        archive: the wheel.
        algorithms: member -> hash algorithm (`hashlib` name). None: no hashes; then only the first
            bytes of members that are not ELF files are read.

    Raises:
        OverBudgetError: that costs too much.
    """
    results = _run(archive, algorithms)
    elves: list[ElfMember] = []
    malformed: list[UnreadableMember] = []
    unreadable: list[UnreadableMember] = []
    hashes: dict[str, str] = {}
    for job, result in results:
        if isinstance(result, UnreadableMember):
            unreadable.append(result)
            continue
        info, why = result
        if job.hasher is not None:
            hashes[job.name] = _record_form(job.hasher)
        if info is not None:
            elves.append(ElfMember(job.name, info))
        if why:
            malformed.append(UnreadableMember(job.name, why))
    return Scan(
        elves=tuple(elves),
        malformed=tuple(malformed),
        unreadable=tuple(unreadable),
        hashes=hashes,
    )


class _Job(NamedTuple):
    """A member to be read."""

    name: str
    packed: CompressedMember
    budget: Budget
    hasher: hashlib._Hash | None
    is_elf: bool

    def meter(self, steps: int, read: int, what: str) -> None:
        """See `elf.Meter`."""
        self.budget.spend(steps, read, f"{what} of {self.name}")


_Result = UnreadableMember | tuple[elf.ElfInfo | None, str]
"""Why a member cannot be read; or its facts as an ELF file, and why it is malformed."""


def _run(archive: WheelArchive, algorithms: Mapping[str, str] | None) -> list[tuple[_Job, _Result]]:
    """Read the members, large ones in threads: inflating and hashing release Python's lock.

    There are few threads on every machine: each may need 100 MB for tables.
    """
    blocks = archive.blocks()
    done: dict[str, tuple[_Job, _Result]] = {}
    pool = ThreadPoolExecutor(_THREADS)
    try:
        # The largest first, so that the last one is short.
        large = [member for member in archive.members if member.file_size > _LARGE]
        waiting = [
            (job, pool.submit(_read, job))
            for member in sorted(large, key=lambda member: -member.file_size)
            if (job := _job(archive, member.filename, algorithms, blocks))
        ]
        # In the order of the file, so that neighbours are read at once.
        for member in sorted(archive.members, key=attrgetter("header_offset")):
            if member.file_size <= _LARGE and (
                job := _job(archive, member.filename, algorithms, blocks)
            ):
                done[job.name] = job, _read(job)
        done |= {job.name: (job, future.result()) for job, future in waiting}
    finally:
        pool.shutdown(cancel_futures=True)
    return [done[member.filename] for member in archive.members if member.filename in done]


def _job(
    archive: WheelArchive, name: str, algorithms: Mapping[str, str] | None, blocks: Blocks
) -> _Job | None:
    """Return how to read a member; None if there is no need to."""
    packed = archive.packed(name)
    try:
        is_elf = packed.size >= len(elf.MAGIC) and elf.is_elf(
            packed.head(len(elf.MAGIC), blocks.read)
        )
    except DamagedError:
        is_elf = True  # reading it reports the damage
    if algorithms is None:
        return _Job(name, packed, archive.budget, None, is_elf) if is_elf else None
    return _Job(name, packed, archive.budget, hashlib.new(algorithms[name]), is_elf)


def _read(job: _Job) -> _Result:
    """Parse a member if it is an ELF file, and hash it even if it is malformed."""
    see = job.hasher.update if job.hasher else None
    info, why = None, ""
    try:
        if job.is_elf:
            window = MemberWindow(job.packed, see)
            try:
                info = elf.parse(window, meter=job.meter)
            except elf.MalformedElfError as error:
                why = str(error)
            if see:
                window.finish()
        elif see:
            for piece in job.packed.pieces():
                see(piece)
    except DamagedError as error:
        return UnreadableMember(job.name, f"cannot be read: {error}")
    return info, why


def record_hash(algorithm: str, content: bytes) -> str:
    """Return a hash as RECORD writes it: ``sha256=`` and unpadded URL-safe base64."""
    return _record_form(hashlib.new(algorithm, content))


def _record_form(hasher: hashlib._Hash) -> str:
    digest = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii")
    return f"{hasher.name}={digest}"
