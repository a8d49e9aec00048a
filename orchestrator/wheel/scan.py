"""Read a wheel once: its compiled files and, if wanted, the hash of every member."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.models.platforms import Arch
from orchestrator.wheel import elf, gpu, macho, pe
from orchestrator.wheel.binary import MalformedBinaryError
from orchestrator.wheel.inflate import DamagedError, MemberWindow

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.wheel.archive import Blocks, WheelArchive
    from orchestrator.wheel.binary import Binary
    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.inflate import CompressedMember

    class _Reader(Protocol):
        def __call__(self, data: elf.ByteSource, /, *, meter: elf.Meter) -> tuple[Binary, ...]: ...


_FIRST_BYTES = frozenset({pe.MAGIC[:1], *macho.FIRST_BYTES})
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


class BinaryMember(NamedTuple):
    """A PE file in a wheel, or what a Mach-O file has for one architecture."""

    name: str
    info: Binary


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is in the members.

    Attributes:
        elves: the ELF files, in the order of the archive.
        binaries: the Mach-O and PE files, likewise.
        malformed: member that starts as an ELF file but is none -> why.
        unsound: member that starts as a Mach-O or PE file but is none -> why.
        unreadable: member whose bytes are damaged (CRC, compression) -> why.
        hashes: member -> hash as RECORD writes it; only those asked for.
        devices: member -> what it has for GPUs.
    """

    elves: tuple[ElfMember, ...] = ()
    binaries: tuple[BinaryMember, ...] = ()
    malformed: Mapping[str, str] = field(default_factory=dict)
    unsound: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, gpu.DeviceFile] = field(default_factory=dict)


class _Seen(NamedTuple):
    """What one member is."""

    info: elf.ElfInfo | None = None
    binaries: tuple[Binary, ...] = ()
    malformed: str = ""
    unsound: str = ""
    unreadable: str = ""
    hash: str = ""
    device: gpu.DeviceFile | None = None


def scan(archive: WheelArchive, algorithms: Mapping[str, str] | None = None) -> Scan:
    """Read a wheel once.

    Large members are read in threads: inflating and hashing release Python's lock. There are few
    threads on every machine, as each may need 100 MB for tables.

    The algorithms are member -> `hashlib` name. Without them only the first bytes of members that
    are not compiled files are read.

    Raises:
        OverBudgetError: that costs too much.
    """
    # The largest first, so that the last one is short.
    large = sorted(archive.members, key=lambda member: -member.file_size)
    large = [member for member in large if member.file_size > _LARGE]
    # In the order of the file, so that neighbours are read at once.
    small = sorted(archive.members, key=attrgetter("header_offset"))
    small = [member for member in small if member.file_size <= _LARGE]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        blocks = archive.blocks()
        waiting = {
            job.name: pool.submit(job.run) for job in _jobs(archive, large, algorithms, blocks)
        }
        done = {job.name: job.run() for job in _jobs(archive, small, algorithms, blocks)}
        done |= {name: future.result() for name, future in waiting.items()}
    finally:
        pool.shutdown(cancel_futures=True)
    seen = {m.filename: done[m.filename] for m in archive.members if m.filename in done}
    return Scan(
        elves=tuple(ElfMember(name, one.info) for name, one in seen.items() if one.info),
        binaries=tuple(
            BinaryMember(name, info) for name, one in seen.items() for info in one.binaries
        ),
        malformed={name: one.malformed for name, one in seen.items() if one.malformed},
        unsound={name: one.unsound for name, one in seen.items() if one.unsound},
        unreadable={name: one.unreadable for name, one in seen.items() if one.unreadable},
        hashes={name: one.hash for name, one in seen.items() if one.hash},
        devices={name: one.device for name, one in seen.items() if one.device},
    )


class _Job(NamedTuple):
    """A member to be read; its first bytes are `head`."""

    name: str
    packed: CompressedMember
    budget: Budget
    algorithm: str | None
    head: bytes

    def meter(self, steps: int, read: int, what: str) -> None:
        """See `elf.parse`."""
        self.budget.spend(steps, read, f"{what} of {self.name}")

    def run(self) -> _Seen:
        """Parse a member if it is compiled, and hash it even if it is malformed."""
        hasher = hashlib.new(self.algorithm) if self.algorithm else None
        see = hasher.update if hasher else None
        seen = _Seen()
        try:
            if _is_compiled(self.name, self.head):
                window = MemberWindow(self.packed, see)
                seen = self._parse(window)
                if see:
                    window.finish()
            elif see:
                for piece in self.packed.pieces():
                    see(piece)
        except DamagedError as error:
            return _Seen(unreadable=f"cannot be read: {error}")
        return seen._replace(hash=record_hash(hasher)) if hasher else seen

    def _parse(self, window: MemberWindow) -> _Seen:
        if (read := _binary_reader(self.head)) is not None:
            try:
                return _Seen(binaries=read(window, meter=self.meter))
            except MalformedBinaryError as error:
                return _Seen(unsound=str(error))
        info = None
        if elf.is_elf(self.head):
            try:
                info = elf.parse(window, meter=self.meter)
            except elf.MalformedElfError as error:
                return _Seen(malformed=str(error))
        return _Seen(info, device=gpu.read(window, info, self.meter))


def _jobs(
    archive: WheelArchive,
    members: Iterable[zipfile.ZipInfo],
    algorithms: Mapping[str, str] | None,
    blocks: Blocks,
) -> Iterator[_Job]:
    """Iterate over what there is to read."""
    for member in members:
        name, packed = member.filename, archive.packed(member.filename)
        try:
            head = packed.head(min(packed.size, macho.HEAD), blocks.read)
        except DamagedError:
            head = elf.MAGIC  # reading it reports the damage
        if algorithms is not None or _is_compiled(name, head):
            algorithm = algorithms[name] if algorithms is not None else None
            yield _Job(name, packed, archive.budget, algorithm, head)


def _is_compiled(name: str, head: bytes) -> bool:
    if elf.is_elf(head) or gpu.is_device_code(name, head):
        return True
    return _binary_reader(head) is not None


def _binary_reader(head: bytes) -> _Reader | None:
    """Return what reads a file with these first bytes; None if it is neither Mach-O nor PE."""
    if head[:1] not in _FIRST_BYTES:  # nearly every member ends here
        return None
    if head[:2] == pe.MAGIC:
        return pe.parse
    return macho.parse if macho.is_macho(head) else None


def record_hash(hasher: hashlib._Hash) -> str:
    """Return a hash as RECORD writes it: ``sha256=`` and unpadded URL-safe base64."""
    digest = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii")
    return f"{hasher.name}={digest}"
