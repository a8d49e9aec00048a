"""One reading pass over a wheel: its ELF files and, where asked, the hash of every member."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.wheel import elf
from orchestrator.wheel.inflate import DamagedError
from orchestrator.wheel.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.inflate import Packed

_THREADS = 2
_LARGE = 1 << 18


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
    jobs: list[_Job] = []
    for member in archive.members:
        name = member.filename
        packed = archive.packed(name)
        algorithm = None if algorithms is None else algorithms[name]
        if (job := _job(name, packed, algorithm)) is not None:
            jobs.append(job)
    results = dict(_run(jobs))
    elves: list[ElfMember] = []
    malformed: list[Broken] = []
    unreadable: list[Broken] = []
    hashes: dict[str, str] = {}
    for job in jobs:
        result = results[job.name]
        if isinstance(result, Broken):
            unreadable.append(result)
            continue
        info, why = result
        if job.hasher is not None:
            hashes[job.name] = _record_form(job.hasher)
        if info is not None:
            elves.append(ElfMember(job.name, info))
        if why:
            malformed.append(Broken(job.name, why))
    return Scan(
        elves=tuple(elves),
        malformed=tuple(malformed),
        unreadable=tuple(unreadable),
        hashes=hashes,
    )


class _Job(NamedTuple):
    """A member to be read."""

    name: str
    packed: Packed
    hasher: hashlib._Hash | None
    is_elf: bool


_Result = Broken | tuple[elf.ElfInfo | None, str]
"""Why a member cannot be read; or what it is as an ELF file, and why it is not a sound one."""


def _job(name: str, packed: Packed, algorithm: str | None) -> _Job | None:
    """Return what has to be done about a member."""
    # Half of all members end so, and auditwheel does not look into them either.
    may_be = packed.size >= len(elf.MAGIC) and not name.endswith(".py")
    try:
        is_elf = may_be and elf.is_elf(packed.head(len(elf.MAGIC)))
    except DamagedError:
        is_elf = True  # what cannot be begun is found out, and said, when it is read
    if algorithm is None:
        return _Job(name, packed, None, is_elf) if is_elf else None
    return _Job(name, packed, hashlib.new(algorithm), is_elf)


def _run(jobs: Sequence[_Job]) -> Iterator[tuple[str, _Result]]:
    """Read the large members in threads, as inflating and hashing leave Python's lock alone.

    There are few threads whatever the machine: each may hold tables of 100 MB.
    """
    large = [job for job in jobs if job.packed.size > _LARGE]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        # The largest first, so that none is left alone at the end.
        some = sorted(large, key=lambda job: -job.packed.size)
        waiting = [(job.name, pool.submit(_read, job)) for job in some]
        yield from ((job.name, _read(job)) for job in jobs if job.packed.size <= _LARGE)
        yield from ((name, future.result()) for name, future in waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(job: _Job) -> _Result:
    """Read a member as an ELF file if it is one, and hash it whether or not it is a sound one."""
    see = job.hasher.update if job.hasher else None
    info, why = None, ""
    try:
        if job.is_elf:
            window = Window(job.packed, see)
            try:
                info = elf.parse(window)
            except elf.MalformedElfError as error:
                why = str(error)
            if see:
                window.finish()
        elif see:
            for piece in job.packed.pieces():
                see(piece)
    except DamagedError as error:
        return Broken(job.name, f"cannot be read: {error}")
    return info, why


def record_hash(algorithm: str, content: bytes) -> str:
    """Return a hash as RECORD writes it: ``sha256=`` and unpadded URL-safe base64."""
    return _record_form(hashlib.new(algorithm, content))


def _record_form(hasher: hashlib._Hash) -> str:
    digest = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii")
    return f"{hasher.name}={digest}"
