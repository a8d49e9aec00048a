"""The JSON documents of the command line: what is in them, their schemas, and their reader.

Documents are dataclasses, and most of what is in them are the program's own values from
`orchestrator.models`: pydantic derives the JSON Schema, the writer and the reader from these. A
field's description is the one in the docstring.

The schema's version changes when a reader of the old one would be wrong about the new one; a new
field is no such change. So a reader ignores what it does not know, and what an older program did
not write yet has a default.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic.json_schema import GenerateJsonSchema

from orchestrator.doctor.check import Check  # noqa: TC001 - pydantic reads these
from orchestrator.errors import ConfigError, clipped
from orchestrator.models.json_form import TABLE, Limits
from orchestrator.models.provenance import Instant  # noqa: TC001 - pydantic reads it
from orchestrator.models.reading import LIMITS, LONGEST_TEXT, adapter, json_value, parse
from orchestrator.models.result import LogEnd, ResultFacts, SdistFacts, UploadOutcome
from orchestrator.models.target import (
    Cell,
    CompilePlan,
    EnvironmentSpec,
    EnvVar,
    Exclusion,
    Job,
    LibraryStep,
    OnMismatch,
    Source,
    TargetFacts,
    TargetId,
    TargetSteps,
)
from orchestrator.models.wheel import Finding, WheelFacts, WheelReport

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = 1
"""The version of every document."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON document.

    Attributes:
        schema: the version of this schema.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    schema: Literal[1] = SCHEMA


# plan --format json


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget(TargetFacts):
    """One target of a plan.

    Attributes:
        id: stable, readable, unique: ``cp312-manylinux_x86_64-cu126-torch2.8``.
        env: the build's environment.
        key: SHA-256 of everything that can influence the wheel's bytes.
        host_key: the same where the direct backend builds it on the host, without a container.
        environment: what its build finds in its environment.
        line: the line of the matrix file that says most about it: its last override, or its values.
    """

    id: TargetId
    env: Annotated[Cell, TABLE]
    key: str
    host_key: str = ""
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeterminedTarget:
    """A target whose version is not known yet.

    Attributes:
        id: the ID that the target will have.
        reason: what is not known, and what knows it.
    """

    id: TargetId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ElsewhereTarget:
    """A target for another system than Linux, which nothing here builds.

    Attributes:
        id: the target's ID.
        system: the system, in words: ``Windows``.
    """

    id: TargetId
    system: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """What all targets of a plan were made from.

    The metadata `path` is where a build request has it.

    Attributes:
        source: SHA-256 over the source tree.
        name: the project's name, PEP 503 normalised; empty if unknown.
        epoch: SOURCE_DATE_EPOCH of the builds, in seconds.
        toolchain: digest of the locked toolchain.
        builder: the version of this program, with a digest of the parts of it that make wheels.
    """

    source: str = field(metadata={"path": "source.digest"})
    name: str = field(metadata={"path": "source.name"})
    epoch: int = field(metadata={"path": "source.epoch"})
    toolchain: str = field(metadata={"path": "toolchain_digest"})
    builder: str = field(metadata={"path": "builder_version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument(Document):
    """``orchestrator plan --format json``.

    Attributes:
        channel: the channel it was made for; empty for none.
        matrix: the matrix file, as ``--matrix`` named it.
        targets: libraries first, then wheels, in the order of the matrix.
        undetermined: future targets whose version is not known yet.
        excluded: cells that are not built, and why.
        jobs: the targets as jobs of a CI system.
        inputs: what its targets were made from; None for a plan without targets.
        elsewhere: targets for other systems.
        sdist: whether a job makes the project's sdist; None if the matrix does not say.
    """

    channel: str
    matrix: str = ""
    targets: tuple[PlannedTarget, ...]
    undetermined: tuple[UndeterminedTarget, ...]
    excluded: tuple[Exclusion, ...]
    jobs: tuple[Job, ...] = ()
    inputs: PlanInputs | None = None
    elsewhere: tuple[ElsewhereTarget, ...] = ()
    sdist: bool | None = False


# inspect --json, verify --json


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedWheel(WheelReport):
    """All about a wheel file.

    Attributes:
        path: where the file is, as given.
    """

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectDocument(Document):
    """``orchestrator inspect --json``.

    Attributes:
        wheels: in the order given.
    """

    wheels: tuple[InspectedWheel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedFile:
    """A file that cannot be read as a wheel at all.

    Attributes:
        path: where the file is, as given.
        ok: whether no finding is an error.
        problems: the findings.
    """

    path: str
    ok: bool
    problems: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedWheel(WheelFacts):
    """A wheel and the findings about it.

    Attributes:
        path: where the file is, as given.
        ok: whether no finding is an error, and all was examined (`not_examined` is empty).
    """

    path: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyDocument(Document):
    """``orchestrator verify --json``.

    Attributes:
        wheels: in the order given.
    """

    wheels: tuple[VerifiedWheel | VerifiedFile, ...]


# doctor --json, explain --json


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorDocument(Document):
    """``orchestrator doctor --json``.

    Attributes:
        checks: in the order in which they were run.
    """

    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One thing about a target.

    Attributes:
        what: its name.
        level: depth below the last row with a lower level.
        value: what it is; secrets are masked. None for nothing, or what only a build can tell.
        note: what people have to know about the value: its unit, a condition; may be empty.
        origin: the dotted path in matrix.toml that set it, or another origin; may be empty.
        line: the line of matrix.toml; None if another origin set it.
    """

    what: str
    level: Annotated[int, Limits()]
    value: str | int | float | bool | tuple[str, ...] | None
    note: str
    origin: str
    line: Annotated[int, Limits(ge=1)] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainDocument:
    """``orchestrator explain TARGET --json``.

    Attributes:
        schema: the version of this schema; in 1, each value was a text with its note.
        id: the target.
        excluded: whether it is a cell that the matrix excludes; its rows say by which rule.
        rows: everything about it, in the order of the table.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    schema: Literal[2] = 2
    id: str
    excluded: bool = False
    rows: tuple[Explained, ...]


# results.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that influences the wheel's bytes, beside the target.

    The metadata `path` is where a build request has it.

    Attributes:
        source: what was built.
        env: the build's environment; the value of a variable with a secret's name is None.
        commands: the steps.
        compiling: what compiles it; None in files of earlier versions.
        library: what a library runs; None for a wheel.
        pins: requirements that the wheel's metadata must state.
        on_mismatch: what to do with a wheel of another version.
        cpus: CPUs of its container.
        memory: memory of its container, as the engine reads it.
        toolchain: digest of the locked toolchain.
        builder: version of orchestrator.
    """

    source: Source = field(metadata={"path": "source"})
    env: tuple[EnvVar, ...] = field(metadata={"path": "target.env"})
    commands: TargetSteps = field(metadata={"path": "target.steps"})
    compiling: CompilePlan | None = field(default=None, metadata={"path": "target.compiling"})
    library: LibraryStep | None = field(metadata={"path": "target.library"})
    pins: tuple[str, ...] = field(metadata={"path": "target.pins"})
    on_mismatch: OnMismatch = field(metadata={"path": "target.on_mismatch"})
    cpus: float | None = field(metadata={"path": "target.resources.cpus"})
    memory: str | None = field(metadata={"path": "target.resources.memory"})
    toolchain: str = field(metadata={"path": "toolchain_digest"})
    builder: str = field(metadata={"path": "builder_version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(ResultFacts):
    """How one target ended.

    Attributes:
        run: the ID of its run.
        log_end: the parts of the log that say why it failed; None if it did not.
        target: what was planned; None in files of earlier versions.
        request: what was built; None if there was no request.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    run: str | None = None
    log_end: LogEnd | None = None
    target: TargetFacts | None = None
    request: Request | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run of ``build`` or ``rebuild``.

    Attributes:
        id: unique.
        began: its start, in seconds since the epoch.
        channel: the channel it was planned for; empty for none.
        jobs: concurrent targets; None for as many as CPUs and memory allow.
        cpus: usable CPUs of the machine.
        orchestrator: version of this program.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    id: str
    began: Instant
    channel: str
    jobs: int | None
    cpus: int
    orchestrator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsDocument(Document):
    """``results.json``: how each target ended when it was last built.

    Attributes:
        runs: the runs of the results, in the order of their start.
        results: sorted by ID.
        sdist: the project's sdist; None if none was to be made.
    """

    runs: tuple[RunFacts, ...] = ()
    results: tuple[Result, ...]
    sdist: SdistFacts | None = None


# coverage --format json


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTarget:
    """A planned wheel that an index has.

    Attributes:
        id: the target.
        files: its files there; several where there are several builds of it.
    """

    id: TargetId
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingTarget:
    """A planned wheel that an index lacks.

    Attributes:
        id: the target.
        version: the version that it would have.
        cells: the cells of the matrix that it would serve.
    """

    id: TargetId
    version: str
    cells: tuple[Annotated[Cell, TABLE], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageDocument:
    """``orchestrator coverage --format json``.

    Attributes:
        schema: the version of this schema; 1 knew no sdists.
        indexes: the addresses, as given, without a login.
        has: planned wheels that the index has.
        lacks: planned wheels that it does not have, or only yanked ones.
        unknown: targets whose version is not known.
        beyond: files of a planned version that no target makes.
        yanked: yanked files of planned wheels.
        other_versions: number of files whose version is not planned.
        select: what ``--select`` takes to build just what is lacking; None when nothing is.
        sdists: sdists of planned versions that the index has.
        lacks_sdist: whether the matrix asks for the sdist (``project.sdist``), and it has none.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    schema: Literal[2] = 2
    indexes: tuple[str, ...]
    has: tuple[HeldTarget, ...]
    lacks: tuple[LackingTarget, ...]
    unknown: tuple[str, ...]
    beyond: tuple[str, ...]
    yanked: tuple[str, ...]
    other_versions: int
    select: str | None
    sdists: tuple[str, ...] = ()
    lacks_sdist: bool = False


# publish --json


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of a wheel at a destination.

    Attributes:
        wheel: the file's name.
        sha256: of the file; empty if it cannot be read.
        size: in bytes.
        target: ID of the target that made it; empty if unknown.
        destination: where to, without credentials.
        outcome: what became of it.
        reasons: why it was not uploaded.
        attempts: number of uploads.
    """

    wheel: str
    sha256: str
    size: int
    target: str
    destination: str
    outcome: UploadOutcome
    reasons: tuple[str, ...]
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishDocument(Document):
    """``orchestrator publish --json``.

    Attributes:
        results: one for each wheel and destination, in the order of the command line.
    """

    results: tuple[Published, ...]


DOCUMENTS: Mapping[str, type[Document | CoverageDocument | ExplainDocument]] = {
    "plan": PlanDocument,
    "inspect": InspectDocument,
    "verify": VerifyDocument,
    "results": ResultsDocument,
    "doctor": DoctorDocument,
    "explain": ExplainDocument,
    "coverage": CoverageDocument,
    "publish": PublishDocument,
}
"""Name for `orchestrator schema` -> document."""


# Schemas


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one of `DOCUMENTS`, as this program writes it."""
    schema = adapter(DOCUMENTS[name]).json_schema(
        by_alias=True, mode="serialization", schema_generator=_SchemaGenerator
    )
    for each in (schema, *schema.get("$defs", {}).values()):
        each.pop("title", None)  # the name of a class of ours
        each["description"] = _plain(each["description"].splitlines()[0])
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": f"orchestrator {name}", **schema}


class _SchemaGenerator(GenerateJsonSchema):
    """Describes a class and its fields in the words of its docstring."""

    def str_schema(self, schema: Any) -> dict[str, Any]:
        described = super().str_schema(schema)
        if described.get("maxLength") == LONGEST_TEXT:  # which every text has
            del described["maxLength"]
        return described

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        described = super().dataclass_schema(schema)
        cls = schema["cls"]
        texts = _descriptions(cls)
        properties = {}
        for each in fields(cls):
            name = each.metadata.get("alias", each.name)
            if name in described["properties"]:
                text = {"description": texts[each.name]}
                properties[name] = text | described["properties"][name]
                properties[name].pop("title", None)
        # Whatever has a default when it is read, is always written.
        return described | {"properties": properties, "required": list(properties)}


_ATTRIBUTE = re.compile(r"^    (\w+): (.+(?:\n {5,}.+)*)", re.MULTILINE)


def _descriptions(cls: type) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say about each attribute."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for name, text in _ATTRIBUTE.findall(section):
            found.setdefault(name, _plain(text[0].upper() + text[1:]))
    return found


def _plain(text: str) -> str:
    """Return a docstring's words as Markdown about JSON."""
    joined = " ".join(text.replace("``", "`").split())
    return re.sub(r"\bNone\b", "null", joined)


# Reading and writing


def to_json_value(value: object) -> dict[str, Any]:
    """Return a document, or a dataclass of one, as JSON has it, in dictionaries and lists."""
    found: dict[str, Any] = adapter(type(value)).dump_python(value, by_alias=True, mode="json")
    return found


def read_results(text: str | bytes, *, where: str) -> ResultsDocument:
    """Read a ``results.json``; errors are those of `_read`."""
    return check_results(json_value(text, where=where), where=where)


def check_results(data: Any, *, where: str) -> ResultsDocument:
    """Read the JSON data of a ``results.json``; errors are those of `_read`."""
    made = "`orchestrator build` writes one beside the wheels"
    return _read(ResultsDocument, "a results.json", data, where=where, made=made)


def read_plan(text: str | bytes, *, where: str) -> PlanDocument:
    """Read what ``orchestrator plan --save`` wrote; errors are those of `_read`."""
    made = "`orchestrator plan --save FILE` writes one"
    return _read(PlanDocument, "a plan", json_value(text, where=where), where=where, made=made)


def _read(kind: type[T], name: str, data: Any, *, where: str, made: str) -> T:
    """Read the JSON data of a document.

    Raises:
        ConfigError: it is none, or one of a later version of the schema.
    """
    version = data.get("schema") if isinstance(data, dict) else None
    if version != SCHEMA:
        other = f" but of schema {clipped(repr(version))}" if version is not None else ""
        raise ConfigError.of(f"not {name} of schema {SCHEMA}{other}", where=where, hint=made)
    return parse(kind, data, where=where)
