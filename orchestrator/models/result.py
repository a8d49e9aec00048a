"""How a target ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from orchestrator.models.json_form import Limits
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    EmulationMode,
    TargetId,
    VersionPart,
)
from orchestrator.models.wheel import WheelFacts, WheelReport

Instant = Annotated[float, Limits(le=253_402_300_799, digits=3)]
"""Seconds since the epoch, up to the year 9999."""

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
    BUILD = "build"
    REPAIR = "repair"
    AUDIT = "audit"
    TEST = "test"
    NO_WHEEL = "no-wheel"
    NEEDS = "needs"
    TIMEOUT = "timeout"
    DISK = "disk"
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
        transient: whether the same build may well succeed a little later.
    """

    kind: FailureKind
    message: str
    hint: str = ""
    step: str = ""
    transient: bool = field(default=False, metadata={"exclude": True})


class Status(StrEnum):
    """How a target ended."""

    OK = "ok"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


class CompilerCacheUse(StrEnum):
    """Where compiled objects are kept for the next build."""

    LOCAL = "local"
    REMOTE = "remote"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCacheStats:
    """What the compiler cache did for one target.

    Attributes:
        hits: compilations whose result was there already.
        misses: compilations that had to be done.
    """

    hits: int
    misses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileReport:
    """How a target was compiled whose architecture is not this machine's.

    Attributes:
        emulation: how much was emulated.
        compiler: what compiled, in words.
        why: why all of it, or more than was planned, was emulated; else empty.
        native: compilations and links that a native compiler did; None where nobody counted.
        not_run: why what was built ran nowhere, and was neither imported nor tested; else empty.
        emulated: calls of it that were left to the image's own compiler; None where nobody counted.
        installer: what installed the requirements of an accelerated build, in words; else empty.
        cuda: what native nvcc there was, or why there was none, in words; empty where nobody
            expected one.
        nvcc: calls of nvcc that a native one did; None where nobody counted.
        not_tested: why what was built was imported, but its test not run; else empty.
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
    """What a target's container is made by, and of.

    Attributes:
        engine: ``docker`` or ``podman``.
        version: the engine's version.
        rootless: whether it runs without root.
        cgroup: version of the control groups (``v2``), empty when it did not say.
        storage: its storage driver, empty when it did not say.
        image: the reference that was asked for.
        image_id: the engine's ID of what that was.
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
        key: the request's cache key; empty when no request could be made.
        status: how it ended.
        backend: what built it; None when nothing could.
        backend_reason: why that backend.
        wheel: the wheel in ``dist/``; None when there is none.
        rejected: where a wheel that is not what it says was kept aside.
        log: the target's log file; in documents relative to the parent of their own directory
            where it lies below that.
        duration: wall-clock seconds.
        failure: why it failed, when it did.
        parts: the parts of its planned version, with where each one came from.
        container: what its container was made by and of; None without one.
        compiler_cache: what the compiler cache did; None where the build had none.
        compiled: how it was compiled for a foreign architecture; None for this machine's own.
        started: when the last attempt started, in seconds since the epoch; None if it never did.
        steps: the steps of the last attempt, in order.
        slot: the place among the targets that ran at once, from 0; None when it never ran.
        cpu_seconds: CPU time of its programs, user and system; None when nobody measured it.
        attempts: how often it was started.
        cached: whether the wheel came from the store.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Consecutive lines of a log.

    Attributes:
        line: number of the first one, from 1.
        text: the lines, plain.
    """

    line: int
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """What of a log says why a target failed.

    Attributes:
        error: number of the line with the first error, from 1; None where none was recognised.
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
        wheel: report on the wheel in ``dist/``; None when there is none.
        request: what was built; None when no request could be made.
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
