"""The JSON documents, compared with those that the commit before this model wrote.

`documents/` holds what that commit wrote, and its schemas without prose.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.doctor.check import Check, CheckLevel
from orchestrator.models.platforms import Arch
from orchestrator.models.reading import parse
from orchestrator.models.result import Status, StepTime, UploadOutcome
from orchestrator.models.target import (
    BackendName,
    CompilePlan,
    CompilerKind,
    Digest,
    EmulationMode,
    Job,
    TargetId,
    VersionAnswer,
)
from orchestrator.publish import index_coverage
from orchestrator.report import schemas, serialize
from orchestrator.store.result_record import Record, pack, unpack
from tests import factories
from tests.unit.report.test_reports import strict

FIXTURES = Path(__file__).parent / "documents"
SCHEMAS: dict[str, Any] = json.loads((FIXTURES / "schemas.json").read_text("utf-8"))


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


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["results", "plan", "inspect", "verify"])
def test_what_was_written_is_read_and_written_again_without_loss(name: str) -> None:
    old = recorded(name)
    value = parse(schemas.DOCUMENTS[name], old)
    new = json.loads(serialize.dumps(schemas.to_json_value(value)))

    assert lacking(old, new) == []
    assert parse(schemas.DOCUMENTS[name], new) == value
    for document in (old, new):
        jsonschema.validate(document, SCHEMAS[name])
    jsonschema.validate(new, strict(schemas.json_schema(name)))


def test_what_is_read_are_the_values_of_the_program() -> None:
    text = (FIXTURES / "results.json").read_bytes()
    results = {each.target_id: each for each in schemas.read_results(text, where="").results}
    found = results[TargetId("cp312-manylinux_x86_64-cu130")]

    assert found.status is Status.OK
    assert found.steps[1] == StepTime(name="build", seconds=80.0)
    assert found.parts[0].answers[1] == VersionAnswer(source="file:V", value="", note="not there")
    assert found.wheel is not None
    assert found.wheel.external_libs == (("libcudart.so.13", ("demo/_C.so",)),)
    assert found.target is not None
    assert found.target.runner == ("self-hosted", "linux")
    assert found.target.covers[0][0] == ("python", "cp312")
    assert found.request is not None
    assert found.request.compiling == CompilePlan(
        emulation=EmulationMode.ACCELERATED, compiler=CompilerKind.ZIG, baseline="2.17"
    )


def test_a_plan_says_what_its_requests_and_jobs_are() -> None:
    plan = factories.plan_of(
        '[project]\nsource = "demo==1.0"\n[axes]\npython = ["cp311"]\narch = ["x86_64"]\n'
        'kind = ["a", "b", "c"]\n[version]\nbase = "1.0"\n'
        'parts = { v = ["container-env:V"] }\nlocal = "{v}.{kind}"\n'
        '[[override]]\nwhen.kind = "a"\nversion.local = "a"\nenv.INDEX = "https://me:pw@host"\n'
        '[[exclude]]\nwhen.kind = "c"\nreason = "too old"\n'
    )
    (target,), (unknown,) = plan.targets, plan.undetermined
    request = factories.request(target)
    job = Job(
        id="01",
        name="n",
        runner=("linux",),
        cost=1.0,
        emulated=(Arch.AARCH64,),
        targets=(target.id,),
    )
    document = serialize.plan_document(
        plan, [request], jobs=[job], matrix="matrix.toml", lines={target.id: 12}
    )

    jsonschema.validate(document, strict(schemas.json_schema("plan")))
    (planned,) = document["targets"]
    assert (planned["id"], planned["key"], planned["line"]) == (target.id, request.key, 12)
    assert planned["env"]["INDEX"] == "https://me:****@host"
    assert document["undetermined"] == [{"id": unknown.id, "reason": unknown.reason}]
    assert [each["reason"] for each in document["excluded"]] == ["too old"]
    assert document["jobs"][0]["emulated"] == ["aarch64"]
    assert document["inputs"]["source"] == request.source.digest


def test_the_other_documents_fit_their_old_schemas() -> None:
    check = Check(name="podman", status=CheckLevel.WARN, detail="old", mend=lambda: None)
    row = schemas.Explained(what="image", level=1, value=("x",), note="", origin="", line=None)
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
    axes = '[axes]\npython = ["cp312", "cp313"]\narch = ["x86_64"]\n'
    plan = factories.plan_of(f'{axes}[version]\nbase = "1.0"\n')
    name = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    held = index_coverage.compare(plan, plan, [(name, False)], project="", indexes=["https://x"])
    assert held.has[0].files == (name,)
    documents: dict[str, Any] = {
        "doctor": schemas.to_json_value(schemas.DoctorDocument(checks=(check,))),
        "explain": schemas.to_json_value(schemas.ExplainDocument(id="t", rows=(row,))),
        "publish": schemas.to_json_value(schemas.PublishDocument(results=(published,))),
        "coverage": schemas.to_json_value(held),
    }
    for name, document in documents.items():
        text = serialize.dumps(document)
        if document["schema"] == 1:
            jsonschema.validate(json.loads(text), SCHEMAS[name])
        jsonschema.validate(json.loads(text), strict(schemas.json_schema(name)))
    newer = [name for name in documents if documents[name]["schema"] != 1]
    assert newer == ["explain", "coverage"]


def test_a_record_of_the_store_of_the_commit_before_is_found() -> None:
    record = Record(
        address=Digest("a" * 64),
        target_id=factories.TARGET.id,
        document={},
        sources=None,
        backend=BackendName.DIRECT,
        reason="",
        duration=1.0,
        wheel=replace(factories.WHEEL, external_libs=(("libcudart.so.13", ("demo/_C.so",)),)),
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
    results = parse(LaterDocument, recorded("results")).results

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
