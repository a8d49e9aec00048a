"""Whether a target that is built once more comes out as it did before."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError, ConfigError, Problem, SourceError
from orchestrator.fsutil import file_sha256, install_file
from orchestrator.store.result_record import Blob
from orchestrator.wheel import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.models.target import Digest, Source, TargetId
    from orchestrator.models.wheel import WheelFacts, WheelReport
    from orchestrator.store.cas import Store
    from orchestrator.wheel import Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedWheel:
    """What somebody, named in words, says of an earlier wheel.

    Its folder may still have it; without one, only the store may.
    """

    facts: WheelFacts
    origin: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildRequest:
    """A target that is built although it was built before.

    Attributes:
        target_id: the target.
        claim: the wheel to compare with; None for the one that the store has.
        strict: whether no other wheel will do, also where nobody has its bytes any more.
        digest: digest of the source that it must be built of; None for the source as it is.
        epoch: SOURCE_DATE_EPOCH of that build, in seconds; None for the source's own.
        foreign: what a file says that targets run, and the user's matrix does not; only a container
            may run it.
    """

    target_id: TargetId
    claim: RecordedWheel | None
    strict: bool = False
    digest: Digest | None = None
    epoch: int | None = None
    foreign: Mapping[TargetId, tuple[str, ...]] = field(default_factory=dict)

    def check_on_host(self, targets: Iterable[TargetId]) -> None:
        """Make sure that this host runs nothing of a file for targets without a container.

        Raises:
            ConfigError: it would.
        """
        problems = [
            Problem(
                what=f"outside of a container it would run what the matrix here does not: {what}",
                where=target_id,
                hint="build in a container, or read the file and say --trust-commands",
            )
            for target_id in targets
            for what in self.foreign.get(target_id, ())
        ]
        if problems:
            raise ConfigError(*problems)

    def source(self, found: Source) -> Source:
        """Return a source as that build saw it.

        Raises:
            SourceError: it is another one.
        """
        if self.digest is not None and found.digest != self.digest:
            raise SourceError.of(
                f"the source is not the one that was built: its digest is {found.digest} here, "
                f"and {self.digest} there",
                where="project.source",
                hint="check out the commit of that run, without changes or new files of your own",
            )
        return found if self.epoch is None else replace(found, epoch=self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousWheel:
    """An earlier wheel: what is said of it, and the very file where somebody still has it."""

    claim: RecordedWheel
    wheel: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """A wheel, and the one before, where somebody knows it.

    The differences are None where they cannot be told; where there are none, not one byte differs.
    """

    earlier: PreviousWheel | None
    wheel: WheelReport
    differences: tuple[Difference, ...] | None


def save_previous(
    again: RebuildRequest, store: Store, addresses: Iterable[Digest], folder: Path
) -> PreviousWheel | None:
    """Save the earlier wheel, if somebody knows it, before the next build replaces it.

    The addresses are where the store may have a record of it, the likeliest first. The folder is
    private, and where possible on the file system of the wheels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = None if again.claim is None else _find_bytes(again.claim, store, folder)
    if again.strict or (first is not None and first.wheel is not None):
        return first
    for address in addresses:
        record = store.find(address)
        if record is not None and record.wheel is not None:
            claim = RecordedWheel(facts=record.wheel, origin="the store")
            found = _find_bytes(claim, store, folder)
            if first is None or found.wheel is not None:
                return found
    return first


def compare_with(earlier: PreviousWheel | None, wheel: WheelReport, output: Path) -> RebuildReport:
    """Compare a wheel in the output directory with the one before."""
    differences: tuple[Difference, ...] | None = None
    if earlier is not None and earlier.claim.facts.sha256 == wheel.sha256:
        differences = ()
    elif earlier is not None and earlier.wheel is not None:
        with contextlib.suppress(BadWheelError, OSError):
            differences = compare(earlier.wheel, output / wheel.filename)
    return RebuildReport(earlier=earlier, wheel=wheel, differences=differences)


def _find_bytes(claim: RecordedWheel, store: Store, folder: Path) -> PreviousWheel:
    """Find a wheel's bytes, and give them a name in a private directory."""
    facts = claim.facts
    place = folder / facts.filename
    own = None if claim.folder is None else claim.folder / facts.filename
    with contextlib.suppress(OSError):
        if own is not None and own.is_file() and file_sha256(own) == facts.sha256:
            # Another name: what replaces the file later is renamed to its name.
            install_file(own, place, link=True)
            return PreviousWheel(claim=claim, wheel=place)
        found = store.fetch(Blob(sha256=facts.sha256, size=facts.size), folder)
        if found is not None:
            install_file(found, place, link=True)
            return PreviousWheel(claim=claim, wheel=place)
    return PreviousWheel(claim=claim, wheel=None)
