"""Which wheel may go where, and why not; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.config.destinations import DESTINATIONS, refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.models.target import Digest
    from orchestrator.wheel.archive import WheelName


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateWheel:
    """A wheel that is to be published.

    Attributes:
        path: the file.
        name: its name, taken apart; None where it is no wheel's.
        sha256: of the file; empty where it cannot be read.
        size: in bytes.
        wrong: what ``verify`` says is wrong with it.
        attestations: the PEP 740 attestations that lie beside it.
        target_id: the target that made it; empty where nobody knows.
        to: where it is meant to go.
    """

    path: Path
    name: WheelName | None
    sha256: Digest
    size: int
    wrong: tuple[str, ...] = ()
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
        files: file name -> SHA-256, of those that are asked for; empty where it cannot be known.
        sizes: project -> bytes of all its files; without those where the place does not say.
        count: how many files it has that count for its limit.
        begun: file name -> SHA-256 of files that have a name already, and have not arrived.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    count: int = 0
    begun: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedLimits:
    """Bytes that an index has granted a project beyond what everybody gets; None for no more."""

    file_size: int | None = None
    project_size: int | None = None


def another(wheel: CandidateWheel, there: str) -> str:
    """Return the refusal of a wheel whose name another file has."""
    return (
        f"another file of this name is there: its SHA-256 is {there or 'not known'}, "
        f"ours {wheel.sha256}"
    )


def begun(wheel: CandidateWheel, theirs: str) -> str:
    """Return the refusal of a wheel whose name another one is to have."""
    return (
        f"another wheel with the SHA-256 {theirs or 'not known'} was to have this name, and has "
        f"not arrived (ours is {wheel.sha256}): if nobody is sending it any more, remove "
        f"{wheel.filename}.sha256"
    )


def refused(
    place: str, wheels: Iterable[CandidateWheel], held: DestinationFiles, granted: GrantedLimits
) -> dict[str, tuple[str, ...]]:
    """Return file name -> why a destination would not take it, of those it would not take.

    Args:
        place: the destination's name.
        wheels: all that are to go there.
        held: what it has.
        granted: what it has granted.
    """
    wheels = tuple(wheels)
    found = {each.filename: [*_own(place, each, held, granted)] for each in wheels}
    coming = [each for each in wheels if each.filename not in held.files]
    for each, why in _together(place, coming, held, granted):
        found[each.filename].append(why)
    return {name: tuple(reasons) for name, reasons in found.items() if reasons}


def _own(
    place: str, wheel: CandidateWheel, held: DestinationFiles, granted: GrantedLimits
) -> Iterator[str]:
    yield from wheel.wrong
    there = held.files.get(wheel.filename)
    theirs = held.begun.get(wheel.filename, wheel.sha256)
    if there is not None and there != wheel.sha256:
        yield another(wheel, there)
    elif theirs != wheel.sha256:
        yield begun(wheel, theirs)
    rules = DESTINATIONS.get(place)
    if rules is None or wheel.name is None:
        return
    version = str(wheel.name.version)
    reasons = (
        why for tag in wheel.name.platforms for why in refusals(place, tag=tag, version=version)
    )
    # A wheel may have many platform tags; one version.
    yield from dict.fromkeys(reasons)
    limit = (rules.granted and granted.file_size) or rules.file_size
    if wheel.size > limit:
        hint = "; --max-file-size says what it has granted" if rules.granted else ""
        yield f"{shown(wheel.size)}: {place} takes no file over {shown(limit)}{hint}"


def _together(
    place: str, coming: Iterable[CandidateWheel], held: DestinationFiles, granted: GrantedLimits
) -> Iterator[tuple[CandidateWheel, str]]:
    """Yield the wheels for which there is no room beside those before them."""
    rules = DESTINATIONS.get(place)
    if rules is None:
        return
    sizes, count = dict(held.sizes), held.count
    limit = (rules.granted and granted.project_size) or rules.project_size
    for each in coming:
        project = each.name.name if each.name else ""
        sizes[project] = sizes.get(project, 0) + each.size
        count += 1
        if limit and sizes[project] > limit:
            text = f"with it, {project} has {shown(sizes[project])}: {place} takes no more than "
            yield each, f"{text}{shown(limit)}; --max-project-size says what it has granted"
        if rules.files and count > rules.files:
            yield each, f"it is file {count}: {place} takes no more than {rules.files}"


def shown(size: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} bytes"
