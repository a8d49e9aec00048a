"""The JSON documents, compared with those that the commit before this model wrote.

`documents/` holds what that commit wrote about the values below, and its schemas without prose.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.doctor.check import Check, CheckLevel
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.reading import parse
from orchestrator.models.result import (
    BuildResult,
    CompilerCacheStats,
    CompileReport,
    ContainerInfo,
    Failure,
    FailureKind,
    Status,
    StepTime,
    UploadOutcome,
)
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    CompilePlan,
    CompilerKind,
    Digest,
    EmulationMode,
    EnvVar,
    Exclusion,
    Job,
    LibraryStep,
    OnMismatch,
    OnRefusal,
    Plan,
    Source,
    Target,
    TargetId,
    TargetResources,
    TargetSteps,
    UnresolvedVersion,
    VersionAnswer,
    VersionPart,
    VersionQuestion,
)
from orchestrator.models.untrusted import WheelFilename
from orchestrator.models.wheel import ElfFile, Finding, Reason, Severity, TagStep, WheelReport
from orchestrator.publish import index_coverage
from orchestrator.report import schemas, serialize
from orchestrator.store.result_record import Record, pack, unpack
from tests import reports

FIXTURES = Path(__file__).parent / "documents"
SCHEMAS: dict[str, Any] = json.loads((FIXTURES / "schemas.json").read_text("utf-8"))
LOG = "== stage\n== build\ngcc -c a.c\na.c:1:1: error: no 'x' s3cr3t-value\nninja: build stopped\n"

CELL = (("python", "cp312"), ("libc", "manylinux"), ("arch", "x86_64"), ("cuda", "cu130"))
LIBRARY = LibraryStep(name="core", command="make -C core", outputs=("core/*.a",))
TARGET = Target(
    id=TargetId("cp312-manylinux_x86_64-cu130"),
    python="cp312",
    libc=Libc.MANYLINUX,
    arch=Arch.X86_64,
    variant=(("cuda", "cu130"),),
    version="1.0+cu130",
    build_tag="7",
    on_mismatch=OnMismatch.REWRITE,
    image="manylinux_2_28",
    env=(
        EnvVar(name="DEPTH", value="$(nproc)", origin="env", shell=True),  # noqa: S604
        EnvVar(name="API_TOKEN", value="s3cr3t-value", origin="env"),
        EnvVar(name="INDEX", value="https://me:pw@host/simple", origin="override[0].env"),
    ),
    steps=TargetSteps(
        before_build="curl -H s3cr3t-value https://me:pw@host",
        config_settings=(("cmake.define.A", "1"), ("cmake.define.A", "2")),
        repair="auditwheel",
        repair_refused=OnRefusal.KEEP,
        external=("cuda",),
        normalise=True,
        test_command="pytest",
        test_requires=("pytest>=8",),
        timeout=60,
        timeouts=(("build", 50),),
    ),
    resources=TargetResources(cpus=2.0, memory="1024b"),
    cost=1.5,
    runner=("self-hosted", "linux"),
    emulated=False,
    abi3="cp39",
    baseline="2.28",
    derived=(("gpu_archs", "90"),),
    covers=(CELL,),
    test_pythons=("cp313",),
    needs=(TargetId("core"),),
    pins=("torch==2.8.0",),
    parts=(
        VersionPart(
            name="base",
            value="1.0",
            source="env:V",
            answers=(
                VersionAnswer(source="env:V", value="1.0"),
                VersionAnswer(source="file:V", value="", note="not there"),
            ),
        ),
        VersionPart(name="local", value="", source=""),
    ),
    publish=("pypi",),
    compiling=CompilePlan(
        emulation=EmulationMode.ACCELERATED,
        compiler=CompilerKind.ZIG,
        baseline="2.17",
        alone="2.17",
        why="asked for",
    ),
)
CORE = replace(
    TARGET,
    id=TargetId("core"),
    python="",
    library=LIBRARY,
    needs=(),
    env=(),
    steps=TargetSteps(),
    parts=(),
    abi3="",
    test_pythons=(),
)


def request_of(target: Target) -> BuildRequest:
    return BuildRequest(
        target=target,
        source=Source(
            name="demo",
            version=None,
            digest=Digest("1" * 64),
            epoch=1_700_000_000,
            own_options=("before-all",),
        ),
        backend=BackendName.DIRECT,
        toolchain_digest=Digest("2" * 64),
        builder_version="0.1.0",
        key=Digest("3" * 64),
    )


REASON = Reason(
    file="demo/_C.so", library="libc.so.6", symbol_version="GLIBC_2.28", symbols=("fcntl64",)
)
WHEEL = WheelReport(
    filename=WheelFilename("demo-1.0+cu130-7-cp39-abi3-manylinux_2_28_x86_64.whl"),
    sha256=Digest("4" * 64),
    size=5_300_000,
    version="1.0+cu130",
    declared_tags=("cp39-abi3-manylinux_2_28_x86_64",),
    observed_tag="manylinux_2_28_x86_64",
    aliases=(),
    reasons=(REASON,),
    steps=(TagStep(tag="manylinux_2_17_x86_64", reasons=(REASON,), remedies=("an older glibc",)),),
    elf_files=(
        ElfFile(
            file="demo/_C.so",
            arch=Arch.X86_64,
            libc=None,
            soname="",
            needed=("libc.so.6",),
            rpath=("$ORIGIN",),
            python_abi="abi3",
            isa="",
        ),
    ),
    external_libs=(("libcudart.so.13", ("demo/_C.so",)),),
    isa="x86-64-v2",
    abi3=True,
    problems=(Finding(rule="gpu", message="no sm_90", severity=Severity.WARNING),),
)
BUILT = BuildResult(
    target_id=TARGET.id,
    key=Digest("3" * 64),
    status=Status.OK,
    backend=BackendName.CIBUILDWHEEL,
    backend_reason="podman 5.4 runs manylinux_2_28",
    wheel=WHEEL,
    rejected=None,
    log=None,
    duration=90.12345,
    failure=None,
    parts=TARGET.parts,
    container=ContainerInfo(
        engine="podman",
        version="5.4",
        rootless=True,
        cgroup="v2",
        storage="overlay",
        image="quay.io/pypa/manylinux_2_28_x86_64:2026",
        image_id="1234",
        digest="quay.io/pypa/manylinux_2_28_x86_64@sha256:" + "a" * 64,
    ),
    compiler_cache=CompilerCacheStats(hits=3, misses=4),
    compiled=CompileReport(
        emulation=EmulationMode.CROSS, compiler="zig 0.14", native=12, emulated=1, nvcc=2
    ),
    started=1_790_000_000.12345,
    steps=(StepTime(name="stage", seconds=2.00001), StepTime(name="build", seconds=80.0)),
    slot=0,
    cpu_seconds=70.98765,
    attempts=2,
    request=request_of(TARGET),
)


def outcomes(root: Path) -> list[BuildResult]:
    """How the targets of a run ended: well, badly, and as nothing that was asked for."""
    log = root / "logs" / "t.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(LOG, encoding="utf-8")
    failure = Failure(
        kind=FailureKind.BUILD, message="sent s3cr3t-value", hint="see the log", step="build"
    )
    failed = replace(
        BUILT,
        target_id=TargetId("failed"),
        status=Status.FAILED,
        wheel=None,
        rejected=Path("/elsewhere/bad.whl"),
        log=log,
        failure=failure,
    )
    lost = BuildResult(
        target_id=TargetId("lost"),
        key=Digest(""),
        status=Status.CANCELLED,
        backend=None,
        backend_reason="",
        wheel=None,
        rejected=None,
        log=None,
        duration=0.0,
        failure=Failure(kind=FailureKind.CANCELLED, message="another target failed"),
    )
    core = replace(
        BUILT,
        target_id=CORE.id,
        wheel=None,
        cached=True,
        container=None,
        compiled=None,
        compiler_cache=None,
        parts=(),
        request=request_of(CORE),
    )
    return [BUILT, failed, lost, core]


def of_results(root: Path) -> dict[str, Any]:
    made = [serialize.result(each, TARGET, root=root, run="r1") for each in outcomes(root)]
    run = reports.run() | {"jobs": None}
    return serialize.results_document(made, [run], earlier={})


def of_plan(_: Path) -> dict[str, Any]:
    question = VersionQuestion(source="scm")
    unknown = UnresolvedVersion(
        id=TargetId("u"), python="cp312", arch=Arch.X86_64, part="base", questions=(question,)
    )
    plan = Plan(
        targets=(CORE, TARGET),
        exclusions=(Exclusion(cell=CELL, rule="exclude[0]", reason="too old"),),
        undetermined=(unknown,),
        channel="nightly",
    )
    job = Job(
        id="01",
        name="x86_64",
        runner=("self-hosted", "linux"),
        emulated=(Arch.AARCH64,),
        targets=(CORE.id, TARGET.id),
        cost=3.0,
    )
    requests = [request_of(each) for each in plan.targets]
    lines = {TARGET.id: 12}
    return serialize.plan_document(plan, requests, jobs=[job], matrix="matrix.toml", lines=lines)


def of_inspect(_: Path) -> dict[str, Any]:
    return serialize.inspect_document([(Path("dist/a.whl"), WHEEL)])


def of_verify(_: Path) -> dict[str, Any]:
    unreadable = Finding(rule="unreadable", message="not a zip file")
    return serialize.verify_document(
        [(Path("dist/a.whl"), WHEEL.problems, WHEEL), (Path("b.whl"), (unreadable,), None)]
    )


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "results": of_results,
    "plan": of_plan,
    "inspect": of_inspect,
    "verify": of_verify,
}


def lacking(old: Any, new: Any, where: str = "") -> list[str]:
    """What stands in an old document, and not or otherwise in a new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{where}.{key}" for key in old if key not in new]
        both = [key for key in old if key in new]
        return gone + [each for k in both for each in lacking(old[k], new[k], f"{where}.{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [each for n, (a, b) in pairs for each in lacking(a, b, f"{where}[{n}]")]
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"]


def recorded(name: str) -> str:
    return without_host_keys((FIXTURES / f"{name}.json").read_text("utf-8"))


def without_host_keys(text: str) -> str:
    """Mask the digests that are computed here: they change with what a request holds."""
    return re.sub(r'"host_key": "[0-9a-f]{64}"', '"host_key": "a digest"', text)


@pytest.mark.parametrize("name", WRITERS)
def test_documents_say_all_that_they_said(name: str, tmp_path: Path) -> None:
    old = json.loads(recorded(name))
    new = json.loads(without_host_keys(serialize.dumps(WRITERS[name](tmp_path))))

    assert lacking(old, new) == []
    jsonschema.validate(old, SCHEMAS[name])
    jsonschema.validate(new, SCHEMAS[name])


@pytest.mark.parametrize("name", ["results", "plan"])
def test_documents_of_the_commit_before_are_read_as_those_of_today(
    name: str, tmp_path: Path
) -> None:
    read = {"results": schemas.read_results, "plan": schemas.read_plan}[name]
    new = without_host_keys(serialize.dumps(WRITERS[name](tmp_path)))

    assert read(recorded(name), where="") == read(new, where="")


def test_what_is_read_is_what_was_written() -> None:
    document = schemas.read_results((FIXTURES / "results.json").read_bytes(), where="")
    found = {each.target_id: each for each in document.results}[TARGET.id]
    steps = (StepTime(name="stage", seconds=2.0), StepTime(name="build", seconds=80.0))
    built = replace(
        BUILT, steps=steps, duration=90.123, started=1_790_000_000.123, cpu_seconds=70.988
    )
    names = {each.name for each in fields(BuildResult)} - {"wheel", "request"}

    assert {n: getattr(found, n) for n in names} == {n: getattr(built, n) for n in names}
    assert found.target is not None
    facts = [each.name for each in fields(found.target)]
    assert [getattr(found.target, n) for n in facts] == [getattr(TARGET, n) for n in facts]
    assert found.request is not None
    assert found.request.compiling == TARGET.compiling


def test_the_other_documents_fit_their_old_schemas() -> None:
    check = Check(name="podman", status=CheckLevel.WARN, detail="old", mend=lambda: None)
    row = schemas.Explained(what="image", level=1, value="x", origin="", line=None)
    published = schemas.Published(
        wheel="a.whl",
        sha256="",
        size=1,
        target="",
        destination="pypi",
        outcome=UploadOutcome.NOT_SENT,
        reasons=("no",),
        attempts=0,
    )
    held = index_coverage.IndexCoverage(
        has=((TARGET, ("a.whl",)),),
        lacks=(TARGET,),
        unknown=(TargetId("u"),),
        beyond=("b.whl",),
        yanked=(),
        others=2,
    )
    documents: dict[str, Any] = {
        "doctor": schemas.to_json_value(schemas.DoctorDocument(checks=(check,))),
        "explain": schemas.to_json_value(schemas.ExplainDocument(id="t", rows=(row,))),
        "publish": schemas.to_json_value(schemas.PublishDocument(results=(published,))),
        "coverage": index_coverage.document(held, indexes=["https://x"], expression=""),
    }
    for name, document in documents.items():
        text = serialize.dumps(document)
        jsonschema.validate(json.loads(text), SCHEMAS[name])
        jsonschema.validate(json.loads(text), schemas.json_schema(name))


def test_a_record_of_the_store_of_the_commit_before_is_found() -> None:
    record = Record(
        address=Digest("a" * 64),
        target_id=TARGET.id,
        document={},
        sources=None,
        backend=BackendName.DIRECT,
        reason="",
        duration=1.0,
        wheel=WHEEL,
    )
    body = json.loads(pack(record).partition(b"\n")[2])
    body["wheel"]["external_libs"] = [["libcudart.so.13", ["demo/_C.so"]]]  # as it was written
    text = json.dumps(body).encode()
    old = hashlib.sha256(text).hexdigest().encode() + b"\n" + text

    assert unpack(old, record.address).record == record
    assert unpack(pack(record), record.address).record == record


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterResult(schemas.Result):
    """A result with one thing more.

    Attributes:
        weather: how the sky was; None where nobody looked.
    """

    weather: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterDocument(schemas.Document):
    """Results with one thing more.

    Attributes:
        results: sorted by ID.
    """

    results: tuple[LaterResult, ...]


def test_a_new_field_is_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written, read, and described, and what lacks it is still read."""
    monkeypatch.setitem(schemas.DOCUMENTS, "results", LaterDocument)
    old = json.loads((FIXTURES / "results.json").read_text("utf-8"))
    results = parse(LaterDocument, old).results

    assert [each.weather for each in results] == [None] * 4
    sunny = replace(results[0], weather="sunny")
    assert parse(LaterResult, schemas.to_json_value(sunny)) == sunny
    described = schemas.json_schema("results")["$defs"]["LaterResult"]["properties"]["weather"]
    assert described["description"] == "How the sky was; null where nobody looked."
    assert described["anyOf"] == [{"type": "string"}, {"type": "null"}]


def test_every_field_is_described() -> None:
    for name in schemas.DOCUMENTS:
        schema = schemas.json_schema(name)
        for part in (schema, *schema["$defs"].values()):
            assert part["description"]
            for field in part.get("properties", {}).values():
                assert field["description"], part
