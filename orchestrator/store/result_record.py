"""The record of an action: how its target was made, and the blobs of its result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from orchestrator.errors import ConfigError
from orchestrator.models.json_form import Finite

# pydantic reads these when the program runs.
from orchestrator.models.provenance import Provenance  # noqa: TC001
from orchestrator.models.reading import LIMITS, adapter, read_json
from orchestrator.models.result import (  # noqa: TC001
    BuildEnvironment,
    CompileReport,
    ContainerInfo,
    Seconds,
)
from orchestrator.models.target import BackendName, Digest, TargetId  # noqa: TC001
from orchestrator.models.untrusted import FileMode, RelativePath, Size  # noqa: TC001
from orchestrator.models.wheel import Finding, WheelReport  # noqa: TC001
from orchestrator.store.seals import HERE, SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1
"""A part of every address: records of another format are never read."""

TOOLS: Final = ("twine",)
"""Rules whose findings come from programs."""

LARGEST: Final = 64 << 20
"""Bytes of a record. One of a wheel with 20,000 members has some 5 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes, by their hash.

    Attributes:
        sha256: their hash.
        size: their number.
    """

    sha256: Digest
    size: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file of a library.

    Attributes:
        path: relative to the source.
        mode: permission bits.
        blob: its contents.
    """

    path: RelativePath
    mode: FileMode
    blob: Blob


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyVerdict:
    """What `verify` found in a wheel, without the toolchain's checks.

    Attributes:
        demands: digest of the demands.
        findings: the findings, at the levels of these demands.
    """

    demands: Digest
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An action's result.

    Attributes:
        address: digest of everything that could change the result; the record's name.
        target_id: the target that was built.
        document: the content of the digest.
        sources: a blob that lists the source's files with their digests.
        backend: what built it.
        reason: why that backend.
        duration: of the build, in wall-clock seconds.
        tested: the additional Pythons that it was tested on.
        compiled: how it was compiled for a foreign architecture.
        log: the build's log; None if it could not be read.
        wheel: the report on the wheel, without findings; None for a library.
        verdicts: the findings of `verify`, for each set of demands so far.
        said: the findings of the toolchain's checks and of the build, whatever level their rules
            have.
        unasked: the checks that did not run, as their rule was off.
        outputs: the files of a library.
        environment: what was in the environment that compiled it; None if nobody asked.
        provenance: from what commit and in which CI run it was built; None if nobody recorded it.
        container: the container that it was built in; None without one.
        origin: where it comes from, as it was found out when it was read: `HERE`, the ID of a
            trusted key, or `SHARED`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    address: Digest
    target_id: TargetId
    document: Annotated[dict[str, Any], Finite()]
    sources: Blob | None
    backend: BackendName
    reason: str
    duration: Seconds
    tested: tuple[str, ...] = ()
    compiled: CompileReport | None = None
    log: Blob | None = None
    wheel: WheelReport | None = None
    verdicts: tuple[VerifyVerdict, ...] = ()
    said: tuple[Finding, ...] = ()
    unasked: tuple[str, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    environment: BuildEnvironment | None = None
    provenance: Provenance | None = None
    container: ContainerInfo | None = None
    origin: str = field(default=HERE, compare=False, metadata={"exclude": True})

    @property
    def claim(self) -> Record:
        """The same as somebody's claim, without the verdicts on its wheel and how it was built."""
        said = tuple(finding for finding in self.said if finding.rule not in TOOLS)
        unknown = replace(self, environment=None, provenance=None, container=None)
        return replace(unknown, verdicts=(), said=said, unasked=TOOLS, origin=SHARED)

    @property
    def artefact(self) -> Blob | None:
        """The wheel itself."""
        if self.wheel is None:
            return None
        return Blob(sha256=self.wheel.sha256, size=self.wheel.size)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything it names."""
        one = (self.sources, self.log, self.artefact)
        named = (*one, *(each.blob for each in self.outputs))
        return tuple(each for each in named if each is not None)


def blob_name(sha256: Digest) -> str:
    """Return where a store has a blob."""
    return f"blobs/{sha256[:2]}/{sha256}"


def record_name(address: Digest) -> str:
    """Return where a store has the record of an action."""
    return f"actions/{address[:2]}/{address}"


class RemoteError(Exception):
    """The shared store cannot be used: it is down, slow, forbidden, or not configured."""


class RefusedError(RemoteError):
    """The shared store accepts no uploads; reading may still work."""


class UnreadableRecordError(Exception):
    """Bytes are no record: they are damaged, or somebody made them so."""


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record as a file has it: its seal (`orchestrator.store.seals`) is of the body."""

    record: Record
    seal: str
    body: bytes


def pack(record: Record, seal: Callable[[bytes], str] = lambda _body: "") -> bytes:
    """Return a record as bytes that begin with their checksum and their seal."""
    body = adapter(Record).dump_json(record)
    return f"{hashlib.sha256(body).hexdigest()} {seal(body)}".rstrip().encode() + b"\n" + body


def unpack(data: bytes, address: Digest) -> SealedRecord:
    """Return the record that `pack` made for this address; the seal is not looked at.

    Raises:
        UnreadableRecordError: there is none.
    """
    first, _, body = data.partition(b"\n")
    digest, _, seal = first.partition(b" ")
    if hashlib.sha256(body).hexdigest().encode() != digest or not seal.isascii():
        raise UnreadableRecordError("is damaged")
    try:
        record = read_json(Record, body, where="", largest=LARGEST)
    except ConfigError as error:
        problem = error.problems[0]
        raise UnreadableRecordError(f"is not a record ({problem.where}: {problem.what})") from None
    if record.address != address:
        raise UnreadableRecordError("is the record of something else")
    return SealedRecord(record, seal.decode(), body)
