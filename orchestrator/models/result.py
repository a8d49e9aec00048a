"""How a target ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from orchestrator.models.json_form import TABLE, Limits
from orchestrator.models.provenance import Instant, Provenance
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    Cell,
    EmulationMode,
    TargetId,
    VersionPart,
)
from orchestrator.models.untrusted import SdistFilename, Size, VersionText
from orchestrator.models.wheel import WheelFacts, WheelReport

Seconds = Annotated[float, Limits(le=1e9, digits=3)]
"""A time that something took."""


class FailureKind(StrEnum):
    """Why a target has no wheel in ``dist/``."""

    CONFIGURATION = "configuration"
    NO_IDENTIFIER = "no-identifier"
    PURE_WHEEL = "pure-wheel"
    DUPLICATE_WHEEL = "duplicate-wheel"
    ENGINE = "engine"
    IMAGE = "image"
    SOURCE = "source"
    SETUP = "setup"
    ENVIRONMENT = "environment"
    BUILD = "build"
    REPAIR = "repair"
    AUDIT = "audit"
    TEST = "test"
    NO_WHEEL = "no-wheel"
    NEEDS = "needs"
    TIMEOUT = "timeout"
    DISK = "disk"
    MEMORY = "memory"
    BAD_WHEEL = "bad-wheel"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    OUT_OF_TIME = "out-of-time"
    MISSING = "missing"
    BUG = "bug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a target failed.

    Attributes:
        kind: the machine-readable kind.
        message: what happened, in one line.
        hint: what to do about it.
        step: the step that failed (``build``, ``test``, ...); empty before the first.
        transient: whether a retry may succeed.
        cause: the message in words that all targets with the same cause share; empty for the same.
    """

    kind: FailureKind
    message: str
    hint: str = ""
    step: str = ""
    transient: bool = field(default=False, metadata={"exclude": True})
    cause: str = field(default="", metadata={"exclude": True})


class Status(StrEnum):
    """How a target ended."""

    OK = "ok"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCacheStats:
    """What the compiler cache did for one target.

    Attributes:
        hits: compilations whose result was cached.
        misses: compilations that were run.
    """

    hits: int
    misses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileReport:
    """How a target for a foreign architecture was compiled.

    Attributes:
        emulation: how much was emulated.
        compiler: what compiled, in words.
        why: why more than planned was emulated; empty if nothing was.
        native: compilations and links by a native compiler; None if not counted.
        not_run: why the result was neither imported nor tested; empty if it was imported.
        emulated: its calls that the image's own compiler did; None if not counted.
        installer: what installed the build requirements, in words; empty for a full emulation.
        cuda: which native nvcc was used, or why none, in words; empty if none was expected.
        nvcc: calls of nvcc by a native one; None if not counted.
        not_tested: why the result was imported, but not tested; else empty.
    """

    emulation: EmulationMode
    compiler: str
    why: str = ""
    native: int | None = None
    not_run: str = ""
    emulated: int | None = None
    installer: str = ""
    cuda: str = ""
    nvcc: int | None = None
    not_tested: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """The engine and the image of a target's container.

    Attributes:
        engine: ``docker`` or ``podman``.
        version: the engine's version.
        rootless: whether it runs without root.
        cgroup: version of the control groups (``v2``); empty if unknown.
        storage: its storage driver; empty if unknown.
        image: the requested reference.
        image_id: the engine's ID of that image.
        digest: ``name@sha256:...`` in the registry; empty for a local image.
    """

    engine: str
    version: str
    rootless: bool
    cgroup: str
    storage: str
    image: str
    image_id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """The torch that an extension is compiled against.

    Attributes:
        version: with its local part: ``2.13.0+cu130``.
        cuda: ``torch.version.cuda``; ``none`` if it is for none.
        hip: ``torch.version.hip``; ``none`` if it is for no ROCm.
        cxx11abi: ``_GLIBCXX_USE_CXX11_ABI``: ``0`` or ``1``; empty if it does not tell.
    """

    version: str
    cuda: str
    hip: str
    cxx11abi: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementFile:
    """The file from which a requirement of a build was installed.

    Attributes:
        name: of the distribution, normalized (PEP 503).
        version: its version.
        filename: of the wheel or the sdist; empty if its index says no hashes.
        sha256: of it; empty if it is not known.
        url: where it was downloaded, without a login; empty as the filename.
        index: the index that offered it, without a login.
    """

    name: str
    version: str
    filename: str
    sha256: str
    url: str
    index: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEnvironment:
    """What was in the environment of a build, as it said before the first compiler started.

    Attributes:
        python: the version of its Python: ``3.12.4``.
        packages: the version of each distribution, by normalized name.
        files: those that were installed from a lock; what a build installs itself is none of them.
        torch: its torch; None without one.
        nvcc: the version of each nvcc that the build may call, by how it is called.
    """

    python: str
    packages: Annotated[Cell, TABLE] = ()
    files: tuple[RequirementFile, ...] = ()
    torch: TorchBuild | None = None
    nvcc: Annotated[Cell, TABLE] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """How long one step of a build took.

    Attributes:
        name: ``stage``, ``build``, ``test``, ...
        seconds: wall-clock time.
    """

    name: str
    seconds: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFacts:
    """How one target ended, as ``results.json`` has it.

    Attributes:
        target_id: the target.
        key: the request's cache key; empty if there was no request.
        status: how it ended.
        backend: what built it; None if nothing could.
        backend_reason: why that backend.
        wheel: the wheel in ``dist/``; None if there is none.
        rejected: where a wheel was put that failed `verify`.
        log: the target's log file; in ``results.json`` relative to the parent of its directory, if
            it is below that.
        duration: wall-clock seconds.
        failure: why there is no wheel; None if there is nothing to explain.
        parts: the parts of its planned version, each with its source.
        container: its container; None without one.
        compiler_cache: what the compiler cache did; None without one.
        compiled: how it was compiled for a foreign architecture; None for the machine's own.
        started: start of the last attempt, in seconds since the epoch; None if there was none.
        steps: the steps of the last attempt, in order.
        slot: its number among concurrent targets, from 0; None if it never ran.
        cpu_seconds: CPU time of its programs, user and system; None if not measured.
        attempts: number of attempts.
        cached: whether the wheel came from the store.
        environment: what was in the environment that compiled it; None if nobody asked.
        provenance: from what commit and in which CI run it was built; None if nobody recorded it.
    """

    target_id: TargetId = field(metadata={"alias": "id"})
    key: str
    status: Status
    backend: BackendName | None
    backend_reason: str
    wheel: WheelFacts | None
    rejected: Path | None = None
    log: Path | None
    duration: Seconds
    failure: Failure | None
    parts: tuple[VersionPart, ...] = field(default=(), metadata={"alias": "version_parts"})
    container: ContainerInfo | None = None
    compiler_cache: CompilerCacheStats | None = None
    compiled: CompileReport | None = None
    started: Instant | None = None
    steps: tuple[StepTime, ...] = ()
    slot: Annotated[int, Limits()] | None = None
    cpu_seconds: Annotated[float, Limits(le=1e12, digits=3)] | None = None
    attempts: int = 0
    cached: bool = False
    environment: BuildEnvironment | None = None
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SdistFacts:
    """The sdist of a run.

    Attributes:
        filename: its name in the output directory; None if there is none.
        version: its version, that of the wheels without their local part.
        sha256: of the file.
        size: in bytes.
        compared: the target whose wheel has the same members if built from it; empty if this run
            had no wheel to compare.
        failure: why there is none; None if there is.
    """

    filename: SdistFilename | None = None
    version: VersionText = ""
    sha256: str = ""
    size: Size = 0
    compared: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Consecutive lines of a log.

    Attributes:
        line: number of the first one, from 1.
        text: the lines, without escape sequences.
    """

    line: int
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """The parts of a log that say why a target failed.

    Attributes:
        error: number of the line with the first error, from 1; None if none was recognised.
        excerpts: parts of the log, in order; the last one is its end.
    """

    error: int | None
    excerpts: tuple[Excerpt, ...]

    @property
    def lines(self) -> tuple[tuple[int | None, str], ...]:
        """All lines with their numbers; None and no text stands for those in between."""
        found: list[tuple[int | None, str]] = []
        for excerpt in self.excerpts:
            found += [(None, "")] if found else []
            found += enumerate(excerpt.text, excerpt.line)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult(ResultFacts):
    """How one target ended.

    Attributes:
        wheel: report on the wheel in ``dist/``; None if there is none.
        request: what was built; None if there was no request.
    """

    wheel: WheelReport | None
    request: BuildRequest | None = None


class UploadOutcome(StrEnum):
    """What became of a wheel at a destination; ``not sent``: the run ended before that."""

    UPLOADED = "uploaded"
    THERE = "already there"
    WOULD = "would be uploaded"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_SENT = "not sent"
