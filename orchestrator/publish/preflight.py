"""Which wheels a destination would refuse, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.config.destinations import DESTINATIONS, refusals
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from packaging.version import Version

    from orchestrator.models.target import Digest
    from orchestrator.models.wheel_name import WheelName
    from orchestrator.source.sdist import SdistName


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateWheel:
    """A wheel, or the sdist, that is to be published.

    Attributes:
        path: the file.
        name: its name, parsed; None if it is not a wheel's.
        sha256: of the file; empty if it cannot be read.
        size: in bytes.
        wrong: what ``verify`` found wrong.
        index_refusals: why PyPI's program would refuse it; see `wheel.index_rules`.
        attestations: the PEP 740 attestations beside it.
        target_id: the target that made it; empty if unknown.
        to: its destinations.
    """

    path: Path
    name: WheelName | SdistName | None
    sha256: Digest
    size: int
    wrong: tuple[str, ...] = ()
    index_refusals: tuple[str, ...] = ()
    attestations: tuple[Path, ...] = ()
    target_id: str = ""
    to: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """The file's name."""
        return self.path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFiles:
    """What a destination has.

    Attributes:
        files: file name -> SHA-256 (empty if unknown), of the files that were asked for.
        sizes: project -> bytes of all its files, as far as the destination says.
        count: how many files count for its limit.
        begun: file name -> SHA-256 of files that were announced and have not arrived.
        closed: releases that take no more files (project, version) -> since when, as text.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    count: int = 0
    begun: Mapping[str, str] = field(default_factory=dict)
    closed: Mapping[tuple[str, Version], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedLimits:
    """Bytes that an index has granted a project beyond its usual limits; None for no more."""

    file_size: int | None = None
    project_size: int | None = None


def name_taken(wheel: CandidateWheel, there: str) -> str:
    """Return the refusal of a wheel whose name another file has."""
    return (
        f"another file of this name is there: its SHA-256 is {there or 'not known'}, "
        f"ours {wheel.sha256}"
    )


def name_claimed(wheel: CandidateWheel, theirs: str) -> str:
    """Return the refusal of a wheel whose name another publisher has claimed."""
    return (
        f"another wheel with the SHA-256 {theirs or 'not known'} has claimed this name, and has "
        f"not arrived (ours is {wheel.sha256}): if nobody is sending it any more, remove "
        f"{wheel.filename}.sha256"
    )


def find_refusals(
    place: str, wheels: Sequence[CandidateWheel], held: DestinationFiles, granted: GrantedLimits
) -> dict[str, tuple[str, ...]]:
    """Return why a destination refuses wheels: file name -> reasons, of the refused ones only."""
    reasons = {wheel.filename: [*_refusals_of(place, wheel, held, granted)] for wheel in wheels}
    new = [wheel for wheel in wheels if wheel.filename not in held.files]
    for wheel, why in _over_project_limits(place, new, held, granted):
        reasons[wheel.filename].append(why)
    return {name: tuple(why) for name, why in reasons.items() if why}


def _refusals_of(
    place: str, wheel: CandidateWheel, held: DestinationFiles, granted: GrantedLimits
) -> Iterator[str]:
    yield from wheel.wrong
    there = held.files.get(wheel.filename)
    theirs = held.begun.get(wheel.filename, wheel.sha256)
    if there is not None and there != wheel.sha256:
        yield name_taken(wheel, there)
    elif theirs != wheel.sha256:
        yield name_claimed(wheel, theirs)
    rules = DESTINATIONS.get(place)
    if rules is None or wheel.name is None:
        return
    if rules.is_pypi and there is None:
        yield from (f"{place}: {why}" for why in wheel.index_refusals)
        if since := held.closed.get((wheel.name.name, wheel.name.version)):
            yield f"{place} takes no more files for a release of {since}: make a new version"
    version = str(wheel.name.version)
    # A wheel may have many platform tags, but one version: its refusal is reported once.
    yield from dict.fromkeys(
        why for tag in wheel.name.platforms for why in refusals(place, tag=tag, version=version)
    )
    limit = (rules.granted and granted.file_size) or rules.file_size
    if wheel.size > limit:
        hint = "; if the index granted more, say --max-file-size" if rules.granted else ""
        yield f"{shown(wheel.size)}: {place} takes no file over {shown(limit)}{hint}"


def _over_project_limits(
    place: str, wheels: Iterable[CandidateWheel], held: DestinationFiles, granted: GrantedLimits
) -> Iterator[tuple[CandidateWheel, str]]:
    """Yield the wheels that do not fit beside what is there and the wheels before them."""
    rules = DESTINATIONS.get(place)
    if rules is None:
        return
    sizes, count = dict(held.sizes), held.count
    limit = (rules.granted and granted.project_size) or rules.project_size
    for wheel in wheels:
        project = wheel.name.name if wheel.name else ""
        sizes[project] = sizes.get(project, 0) + wheel.size
        count += 1
        if limit and sizes[project] > limit:
            text = f"with it, {project} has {shown(sizes[project])}: {place} takes no more than "
            yield wheel, f"{text}{shown(limit)}; --max-project-size says what it has granted"
        if rules.files and count > rules.files:
            yield wheel, f"it is file {count}: {place} takes no more than {rules.files}"


def shown(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return count_of(size, "byte")
