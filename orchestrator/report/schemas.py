"""What stands in the JSON documents of the command line: their fields, their schemas, their reader.

The schema's version changes when a reader of the old one would be wrong about the new one; a new
field is no such change. So a reader ignores what it does not know, and what an older program did
not write yet has a default.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import ConfigError, Problem
from orchestrator.models.result import FailureKind, Status
from orchestrator.models.wheel import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = 1
"""The version of every document."""

MANY = 5
"""Things that are wrong with a document that are reported at once."""


class Document(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
        allow_inf_nan=False,
        # Compiled when it is used: a build needs none of them.
        defer_build=True,
    )


Instant = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Seconds since the epoch, up to the year 9999."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""A time that something took."""

Values = dict[str, str]
"""Axis -> value."""


class Facts(Document):
    """What is planned for a target."""

    python: str
    """PEP 425 python tag and ABI shorthand: `cp312`, `cp314t`; empty for a library."""
    arch: str
    """CPU architecture, as in platform tags."""
    libc: str
    """`manylinux` or `musllinux`."""
    variant: Values
    """The values of all axes other than python, arch and libc, in the order of target IDs."""
    version: str
    """The PEP 440 version of the wheel, canonical."""
    build_tag: str
    """The PEP 427 build tag; empty for none."""
    image: str
    """The container image: a reference, or an alias that the locked cibuildwheel pins."""
    runner: str
    """The CI runner's label."""
    emulated: bool
    """Whether that runner needs QEMU for this architecture."""
    cost: float
    """How long it takes compared with other targets."""
    abi3: str
    """The lowest Python that a wheel for the stable ABI serves (`cp39`); else empty."""
    baseline: str
    """The libc version that the wheel may need at most (`2.28`); empty for any."""
    derived: Values
    """Properties that follow from the values: `cxx11abi`, `gpu_archs`."""
    covers: tuple[Values, ...]
    """The cells of the matrix that the target stands for: axis -> value."""
    test_pythons: tuple[str, ...]
    """Other Pythons that an abi3 wheel is tested on."""
    needs: tuple[str, ...]
    """IDs of the libraries whose outputs go into its source."""
    publish: tuple[str, ...] = ()
    """Where the wheel is meant to go."""
    library: str | None
    """The library's name; null for a wheel."""


# plan --format json


class PlannedTarget(Facts):
    """One target of a plan."""

    id: str
    """Stable, readable, unique: `cp312-manylinux_x86_64-cu126-torch2.8`."""
    env: Values
    """The build's environment."""
    key: str
    """SHA-256 of everything that can influence the wheel's bytes."""
    host_key: str = ""
    """The same where the direct backend builds it on the host, without a container."""
    line: int | None = None
    """The line of the matrix file that says most about it: its last override, or its values."""


class UndeterminedTarget(Document):
    """A target whose version nobody has been asked for yet."""

    id: str
    """The ID that the target will have."""
    reason: str
    """What is not known, and who knows it."""


class ExcludedCell(Document):
    """A cell that is not built."""

    cell: Values
    """Axis -> value."""
    rule: str
    """Dotted path of the rule: `exclude[0]`."""
    reason: str
    """The rule's reason, or the rule in words."""


class PlannedJob(Document):
    """What one machine of a CI system builds."""

    id: str
    """Its number in the plan: `01`; `orchestrator build --plan FILE --job ID` builds it."""
    name: str
    """What people read in a list of jobs."""
    runner: tuple[str, ...]
    """The labels of its runner; it must have all of them."""
    emulated: tuple[str, ...]
    """The architectures that need QEMU there, as in platform tags."""
    targets: tuple[str, ...]
    """IDs of its wheels, and of the libraries it builds for them, in the order of the plan. A wheel
    is in exactly one job, a library in each job that needs it."""
    cost: float
    """What they cost together; 1 is an ordinary target."""


class PlanInputs(Document):
    """What all targets of a plan were made from."""

    source: str
    """SHA-256 over the source tree."""
    name: str
    """The project's name, PEP 503 normalised; empty where the source does not say."""
    epoch: int
    """SOURCE_DATE_EPOCH of the builds, in seconds."""
    toolchain: str
    """Digest of the locked toolchain."""
    builder: str
    """The version of this program, with a digest of the parts of it that make wheels."""


class PlanDocument(Document):
    """`orchestrator plan --format json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    channel: str
    """The channel it was made for; empty for none."""
    matrix: str = ""
    """The matrix file, as `--matrix` named it."""
    targets: tuple[PlannedTarget, ...]
    """Libraries first, then wheels, in the order of the matrix."""
    undetermined: tuple[UndeterminedTarget, ...]
    """What becomes a target once somebody has been asked for its version."""
    excluded: tuple[ExcludedCell, ...]
    """What is not built, and why."""
    jobs: tuple[PlannedJob, ...] = ()
    """The targets as jobs of a CI system."""
    inputs: PlanInputs | None = None
    """What its targets were made from; null for a plan without targets."""


# inspect --json


class Finding(Document):
    """One thing that `verify` found."""

    rule: str
    """Stable name of the rule (docs/verify.md)."""
    severity: Severity
    """An error keeps a wheel out of `dist/`."""
    message: str
    """What, where in the wheel, expected and got."""


class Reason(Document):
    """One versioned symbol set of one file that keeps a wheel from a lower tag."""

    file: str
    """Member of the wheel."""
    library: str
    """The library that the symbols come from: `libc.so.6`."""
    symbol_version: str
    """The version reference that rules: `GLIBC_2.28`."""
    symbols: tuple[str, ...]
    """The symbols that need it, sorted; may be empty when the file does not say."""


class Wheel(Document):
    """The truth about a wheel file."""

    filename: str
    """The file's name."""
    sha256: str
    """SHA-256 of the whole file."""
    size: int
    """Bytes."""
    version: str
    """The version in the file name."""
    declared_tags: tuple[str, ...]
    """The expanded tags of the file name, sorted (PEP 425)."""
    observed_tag: str
    """The platform tag that its ELF files really need; `any` where it has none."""
    reasons: tuple[Reason, ...]
    """What stands in the way of the next lower tag."""
    external_libs: dict[str, tuple[str, ...]]
    """Library outside of the wheel and the policy -> members that need it."""
    isa: str
    """The highest x86-64 micro-architecture level that its ELF files ask for, or empty."""
    abi3: bool
    """Whether every extension module has the stable ABI's file suffix."""
    problems: tuple[Finding, ...]
    """What is wrong with it."""


class TagStep(Document):
    """What keeps a wheel from one lower platform tag."""

    tag: str
    """The lower tag."""
    reasons: tuple[Reason, ...]
    """What stands in its way, and not in that of the tags above it."""
    remedies: tuple[str, ...]
    """What would remove the reasons."""


class ElfFile(Document):
    """One ELF file of a wheel."""

    file: str
    """Member of the wheel."""
    arch: str | None
    """The architecture that a platform tag names; null when none does."""
    libc: str | None
    """The C library it uses; null when it does not say."""
    soname: str
    """DT_SONAME, or empty."""
    needed: tuple[str, ...]
    """DT_NEEDED, in order."""
    rpath: tuple[str, ...]
    """DT_RUNPATH or else DT_RPATH, split at colons."""
    python_abi: str | None
    """`cpython-312`, `abi3`, ... of an extension module; null when it is none."""
    isa: str
    """The x86-64 micro-architecture level it asks for, or empty."""


class InspectedWheel(Wheel):
    """A wheel with all that would be too long for the results of a whole matrix."""

    path: str
    """Where the file is, as given."""
    steps: tuple[TagStep, ...]
    """What keeps it from each lower tag; the next lower one first."""
    elf_files: tuple[ElfFile, ...]
    """The ELF files in it, in the order of the archive."""


class InspectDocument(Document):
    """`orchestrator inspect --json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    wheels: tuple[InspectedWheel, ...]
    """In the order given."""


# verify --json


class VerifiedFile(Document):
    """A file that cannot be read as a wheel at all."""

    path: str
    """Where the file is, as given."""
    ok: bool
    """Whether it is what it says: no finding is an error."""
    problems: tuple[Finding, ...]
    """What was found."""


class VerifiedWheel(Wheel):
    """A wheel, and what was found."""

    path: str
    """Where the file is, as given."""
    ok: bool
    """Whether it is what it says: no finding is an error."""


class VerifyDocument(Document):
    """`orchestrator verify --json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    wheels: tuple[VerifiedWheel | VerifiedFile, ...]
    """In the order given."""


# doctor --json


class Check(Document):
    """One thing that `doctor` looked at."""

    name: str
    """What was looked at."""
    status: Literal["ok", "warn", "fail"]
    """`fail`: something that the matrix needs cannot be done here."""
    detail: str
    """What was found."""
    fix: str
    """What to do; empty when there is nothing to do."""


class DoctorDocument(Document):
    """`orchestrator doctor --json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    checks: tuple[Check, ...]
    """In the order in which they were made."""


# explain


class Explained(Document):
    """One thing about a target."""

    what: str
    """Its name."""
    level: Annotated[int, Field(ge=0)]
    """How deep it is below the one before it that has a lower level."""
    value: str
    """What it is; secrets are masked."""
    origin: str
    """The dotted path in matrix.toml that set it, or where else it comes from; may be empty."""
    line: Annotated[int, Field(ge=1)] | None
    """The line of matrix.toml; null where that did not set it."""


class ExplainDocument(Document):
    """`orchestrator explain TARGET --json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    id: str
    """The target."""
    rows: tuple[Explained, ...]
    """Everything about it, in the order of the table."""


# results.json


class Answer(Document):
    """What one source of the version said."""

    source: str
    """The source as written."""
    value: str
    """What it said; empty for nothing."""
    note: str
    """Why it said nothing, or where it was asked."""


class VersionPart(Document):
    """One part of a version, with everything that it could have come from."""

    name: str
    """`base`, `dev`, `local`, ... or the user's own name."""
    value: str
    """Its value; empty when no source had one."""
    source: str | None
    """The source that won, or the template it was made from."""
    sources: tuple[Answer, ...]
    """What each source said, in order of rank."""


class Variable(Document):
    """An environment variable of a build."""

    name: str
    """Its name."""
    value: str | None
    """Its value; null where the name says that it is a secret."""
    origin: str
    """Dotted path of what set it."""
    shell: bool
    """Whether `$NAME` and `$(command)` in it are evaluated in the build's environment."""


class Commands(Document):
    """What happens to the source, step by step; null: what the project itself says."""

    before_all: str | None
    """Run once before everything."""
    before_build: str | None
    """Run before the wheel is built."""
    config_settings: tuple[tuple[str, str], ...]
    """PEP 517 config settings, in order."""
    repair: str | None
    """`none`, `auditwheel`, or a command."""
    repair_refused: str
    """What to do when auditwheel refuses: `fail` or `keep`."""
    external: tuple[str, ...]
    """Libraries that may stay outside of the wheel."""
    normalise: bool
    """Whether order, times and modes of the members are made the same everywhere."""
    test_command: str | None
    """Run with the wheel installed."""
    test_requires: tuple[str, ...]
    """Requirements of the test (PEP 508)."""
    smoke: bool = True
    """Whether a wheel that was compiled natively for an emulated machine is imported there."""
    timeout: int | None
    """Seconds it may take."""
    timeouts: tuple[tuple[str, int], ...] = ()
    """(step, seconds it may take) where there is a limit."""


class Compiling(Document):
    """What compiles C and C++, as planned."""

    emulation: str
    """`full`, `accelerated` or `cross`, where the architecture is foreign."""
    compiler: str
    """`gcc` or `zig`."""
    baseline: str
    """The glibc that zig builds for; empty with gcc."""


class Library(Document):
    """A build that makes files for the source of wheels."""

    name: str
    """Its name in matrix.toml."""
    command: str
    """Run in the source."""
    outputs: tuple[str, ...]
    """Globs of the files that it makes."""


class Source(Document):
    """What was built."""

    name: str
    """The project's name, normalised (PEP 503)."""
    version: str | None
    """Its static version; null when dynamic."""
    digest: str
    """SHA-256 over the staged tree."""
    epoch: int
    """SOURCE_DATE_EPOCH, in seconds."""


class Request(Document):
    """Everything that could influence the wheel's bytes, beside what is planned for the target."""

    source: Source
    """What was built."""
    env: tuple[Variable, ...]
    """The build's environment."""
    commands: Commands
    """The steps."""
    compiling: Compiling | None = None
    """What compiles it; null where an earlier version wrote the file."""
    library: Library | None
    """What a library runs; null for a wheel."""
    pins: tuple[str, ...]
    """Requirements that the wheel's metadata must state."""
    on_mismatch: str
    """What to do with a wheel of another version: `fail` or `rewrite`."""
    cpus: float | None
    """CPUs of its container."""
    memory: str | None
    """Memory of its container, as the engine reads it."""
    toolchain: str
    """Digest of the locked toolchain."""
    builder: str
    """Version of orchestrator."""


class Compilations(Document):
    """What the compiler cache did."""

    hits: int
    """Compilations whose result was there already."""
    misses: int
    """Compilations that had to be done."""


class Compiled(Document):
    """How a target was compiled whose architecture is not that of the machine."""

    emulation: str
    """`full`, `accelerated` or `cross`."""
    compiler: str
    """What compiled, in words."""
    why: str
    """Why all of it, or more than was planned, was emulated; else empty."""
    native: int | None
    """Compilations and links of a native compiler; null where nobody counted."""
    not_run: str = ""
    """Why what was built ran nowhere, and was neither imported nor tested; else empty."""
    emulated: int | None
    """Calls of it that were left to the image's own compiler; null where nobody counted."""
    installer: str = ""
    """What installed the requirements of an accelerated build, in words; else empty."""
    cuda: str = ""
    """What native nvcc there was, or why there was none; empty where nobody expected one."""
    nvcc: int | None = None
    """Calls of nvcc that a native one did; null where nobody counted."""
    not_tested: str = ""
    """Why what was built was imported, but its test not run; else empty."""


class Container(Document):
    """What a target's container was made by, and of."""

    engine: str
    """`docker` or `podman`."""
    version: str
    """The engine's version."""
    rootless: bool
    """Whether it runs without root."""
    cgroup: str
    """Version of the control groups; empty when the engine did not say."""
    storage: str
    """The storage driver; empty when the engine did not say."""
    image: str
    """The reference that was asked for."""
    image_id: str
    """The engine's ID of what that was."""
    digest: str
    """`name@sha256:...` in the registry; empty for a local image."""


class Failure(Document):
    """Why a target has no wheel."""

    kind: FailureKind
    """The machine-readable kind."""
    step: str
    """The step that failed; empty before the first."""
    message: str
    """What happened, in one line."""
    hint: str
    """What to do about it."""


class Excerpt(Document):
    """Consecutive lines of a log."""

    line: int
    """Number of the first one, from 1."""
    text: tuple[str, ...]
    """The lines, without escape sequences."""


class LogEnd(Document):
    """What of a log says why a target failed."""

    error: int | None
    """Number of the line with the first error; null where none was recognised."""
    excerpts: tuple[Excerpt, ...]
    """Parts of the log, in order; the last one is its end."""


class Step(Document):
    """One step of a build."""

    name: str
    """`stage`, `build`, `test`, ..."""
    seconds: Seconds
    """Wall-clock time."""


class Result(Document):
    """How one target ended."""

    id: str
    """The target's ID."""
    key: str
    """The request's cache key; empty when no request could be made."""
    status: Status
    """How it ended."""
    backend: str | None
    """What built it; null when nothing could."""
    backend_reason: str
    """Why that backend."""
    container: Container | None = None
    """What its container was made by, and of; null without one."""
    duration: Seconds
    """Wall-clock seconds."""
    version_parts: tuple[VersionPart, ...] = ()
    """The parts of its planned version, with where each one came from."""
    compiler_cache: Compilations | None = None
    """What the compiler cache did; null where the build had none."""
    compiled: Compiled | None = None
    """How it was compiled for a foreign architecture; null for the machine's own."""
    wheel: Wheel | None
    """The wheel in `dist/`; null when there is none."""
    rejected: str | None = None
    """Where a wheel that is not what it says was kept aside."""
    log: str | None
    """The log file, relative to the parent of the results' directory where it lies below it."""
    failure: Failure | None
    """Why it failed; null when it did not."""
    run: str | None = None
    """The ID of the run that it is from."""
    started: Instant | None = None
    """When it started, in seconds since the epoch; null when it never did."""
    steps: tuple[Step, ...] = ()
    """Its steps, in order; those of earlier attempts too."""
    slot: Annotated[int, Field(ge=0)] | None = None
    """Its place among the targets of its run that ran at once, from 0."""
    cpu_seconds: Annotated[float, Field(ge=0, le=1e12)] | None = None
    """CPU time of its programs, user and system; null when nobody measured it."""
    attempts: int = 0
    """How often it was started."""
    cached: bool = False
    """Whether the wheel came from the store."""
    log_end: LogEnd | None = None
    """Why it failed, in the log's words; null for what did not fail."""
    target: Facts | None = None
    """What was planned; null where an earlier version wrote the file."""
    request: Request | None = None
    """What was built; null when no request could be made."""


class RunFacts(Document):
    """One run of `build` or `rebuild`."""

    id: str
    """Unique."""
    began: Instant
    """When it began, in seconds since the epoch."""
    channel: str
    """The channel it was planned for; empty for none."""
    jobs: int | None
    """Targets at once; null for as many as CPUs and memory allow."""
    cpus: int
    """CPUs of the machine that this program could use."""
    orchestrator: str
    """Version of this program."""


class ResultsDocument(Document):
    """`results.json`: how each target ended when it was last built."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = SCHEMA
    """The version of this schema."""
    runs: tuple[RunFacts, ...] = ()
    """The runs that the results are from, in the order in which they began."""
    results: tuple[Result, ...]
    """Sorted by ID."""


# publish --json


class Published(Document):
    """What became of a wheel at a destination."""

    wheel: str
    """The file's name."""
    sha256: str
    """Of the file; empty where it cannot be read."""
    size: int
    """In bytes."""
    target: str
    """ID of the target that made it; empty where nobody knows."""
    destination: str
    """Where it was to go, without credentials."""
    outcome: Literal[
        "uploaded", "already there", "would be uploaded", "refused", "failed", "not sent"
    ]
    """`not sent`: the run ended before, or something else was refused."""
    reasons: tuple[str, ...]
    """Why it was refused, failed or was not sent."""
    attempts: int
    """How often it was sent."""


class PublishDocument(Document):
    """`orchestrator publish --json`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """The version of this schema."""
    results: tuple[Published, ...]
    """One for each wheel and destination, in the order of the command line."""


DOCUMENTS: Mapping[str, type[Document]] = {
    "plan": PlanDocument,
    "inspect": InspectDocument,
    "verify": VerifyDocument,
    "results": ResultsDocument,
    "doctor": DoctorDocument,
    "explain": ExplainDocument,
    "publish": PublishDocument,
}
"""Name for `orchestrator schema` -> document."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a document, as this program writes it.

    Args:
        name: a key of `DOCUMENTS`.
    """
    model = DOCUMENTS[name]
    schema = _untitled(model.model_json_schema(by_alias=True, mode="serialization"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"orchestrator {name}",
        **schema,
    }


def _untitled(schema: Any) -> Any:
    """Leave out the titles that pydantic makes of the fields' names."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(each)
        for key, each in schema.items()
        if not (key == "title" and isinstance(each, str))
    }


def read_results(text: str | bytes, *, where: str) -> ResultsDocument:
    """Read a ``results.json``.

    Args:
        text: the file's contents.
        where: its name, for messages.

    Raises:
        ConfigError: it is none, or one of a later version of the schema.
    """
    made = "`orchestrator build` writes one beside the wheels"
    return _read(ResultsDocument, "a results.json", text, where=where, made=made)


def read_plan(text: str | bytes, *, where: str) -> PlanDocument:
    """Read what ``orchestrator plan --save`` wrote.

    Args:
        text: the file's contents.
        where: its name, for messages.

    Raises:
        ConfigError: it is none, or one of a later version of the schema.
    """
    made = "`orchestrator plan --save FILE` writes one"
    return _read(PlanDocument, "a plan", text, where=where, made=made)


D = TypeVar("D", bound=Document)


def _read(model: type[D], name: str, text: str | bytes, *, where: str, made: str) -> D:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError.of(f"not a JSON document: {error}", where=where) from None
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA:
        raise ConfigError.of(
            f"not {name} of schema {SCHEMA}"
            + (f" but of schema {version!r}" if version is not None else ""),
            where=where,
            hint=made,
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [
            Problem(what=each["msg"], where=f"{where}: {'.'.join(map(str, each['loc']))}")
            for each in error.errors(include_url=False, include_input=False)[:MANY]
        ]
        raise ConfigError(*problems) from None
