"""Readers of records, results and plans: whatever stands there, nothing bad comes in."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.models.target import BackendName, Digest, TargetId
from orchestrator.models.untrusted import FileMode, RelativePath
from orchestrator.models.wheel_name import WheelFilename
from orchestrator.report import schemas
from orchestrator.report.results import read_each
from orchestrator.report.serialize import dumps
from orchestrator.run.cache_diff import changes, check_document, read_files
from orchestrator.store.result_record import (
    Blob,
    OutputFile,
    Record,
    UnreadableRecordError,
    VerifyVerdict,
    pack,
    unpack,
)
from tests.conftest import examples
from tests.factories import WHEEL

DOCUMENTS = Path(__file__).parents[1] / "unit" / "report" / "documents"
ADDRESS = Digest("a" * 64)
BLOB = Blob(sha256=Digest("b" * 64), size=3)
RECORD = Record(
    address=ADDRESS,
    target_id=TargetId("t"),
    document={"request": {"env": [["A", "1", False]], "source": ["demo", "d", 1]}, "place": {}},
    sources=BLOB,
    backend=BackendName.DIRECT,
    reason="r",
    duration=1.0,
    tested=("cp312",),
    log=BLOB,
    wheel=WHEEL,
    verdicts=(VerifyVerdict(demands=ADDRESS, findings=()),),
    outputs=(OutputFile(path=RelativePath("a/b"), mode=FileMode(0o644), blob=BLOB),),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
PATHS = st.text(alphabet="./\\~ab:\0\n-0129é\u202e\ud800", max_size=300)
HOSTILE = st.one_of(
    JSON,
    PATHS,
    PATHS.map(lambda text: f"{text}-1.0-py3-none-any.whl"),
    st.sampled_from(["/etc/passwd", "..", "../" * 9, "x" * 5000, "1" * 5000, "0" * 64, "", "NaN"]),
    st.sampled_from([-1, 0o4755, 0o777, 1 << 62, 10**400, 1e308, True]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


@st.composite
def spoilt(draw: st.DrawFn, document: Any) -> Any:
    """A document with something else in some places, or with some of them missing."""
    made = deepcopy(document)
    for path in draw(st.lists(st.sampled_from(places(document)), min_size=1, max_size=3)):
        with suppress(LookupError, TypeError):
            inner = made
            for key in path[:-1]:
                inner = inner[key]
            if draw(st.booleans()) and isinstance(inner, dict):
                del inner[path[-1]]
            inner[path[-1]] = draw(HOSTILE)
    return made


def check(value: Any) -> None:
    """Nothing in a value of ours leads out, grants too much, or has no end."""
    if isinstance(value, WheelFilename | RelativePath):
        assert not {"", ".", ".."} & set(value.split("/"))
        assert value.isprintable()
        assert len(value.encode()) <= 1024
    if isinstance(value, WheelFilename):
        assert "/" not in value
    if isinstance(value, FileMode):
        assert value & ~0o755 == 0
    if is_dataclass(value):
        for each in fields(value):
            inner = getattr(value, each.name)
            if each.name in {"filename", "path"} and inner is not None:
                assert isinstance(inner, WheelFilename | RelativePath)
            if each.name in {"sha256", "address", "demands"}:
                assert len(inner) == 64
                assert set(inner) <= set("0123456789abcdef")
            check(inner)
    if isinstance(value, tuple):
        for each in value:
            check(each)


def sealed(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + b"\n" + data


@examples(300)
@given(spoilt(json.loads(pack(RECORD).partition(b"\n")[2])))
def test_a_record_is_sound_or_refused(body: Any) -> None:
    with suppress(UnreadableRecordError):
        found = unpack(sealed(json.dumps(body).encode()), ADDRESS).record
        check(found)
        assert found.address == ADDRESS
        assert found.origin == "here", "what it says of this is not read"
        assert unpack(pack(found), ADDRESS).record == found


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_bytes_are_a_record_or_refused(data: bytes, seal: bytes) -> None:
    first = hashlib.sha256(data).hexdigest().encode()
    for whole in (data, sealed(data), first + b" " + seal + b"\n" + data):
        with suppress(UnreadableRecordError):
            unpack(whole, ADDRESS)


@examples(200)
@given(spoilt(RECORD.document), spoilt({"setup.py": ["file", "0" * 64]}))
def test_what_a_record_was_made_from_is_compared_or_refused(document: Any, files: Any) -> None:
    with suppress(ConfigError):
        check_document(document)
        before = read_files(json.dumps(files).encode())
        changes(document, RECORD.document, files_before=before, files_now={"a": ("file", "1")})


RESULTS = json.loads((DOCUMENTS / "results.json").read_text("utf-8"))
PLAN = json.loads((DOCUMENTS / "plan.json").read_text("utf-8"))


@examples(150)
@given(spoilt(RESULTS))
def test_results_are_sound_or_refused(document: Any) -> None:
    with suppress(ConfigError):
        found = schemas.read_results(json.dumps(document), where="f")
        check(found)
        text = dumps(schemas.to_json_value(found))
        assert dumps(schemas.to_json_value(schemas.read_results(text, where="f"))) == text


@examples(150)
@given(spoilt(PLAN))
def test_a_plan_is_sound_or_refused(document: Any) -> None:
    with suppress(ConfigError):
        found = schemas.read_plan(json.dumps(document), where="f")
        check(found)
        text = dumps(schemas.to_json_value(found))
        assert dumps(schemas.to_json_value(schemas.read_plan(text, where="f"))) == text


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@examples(100)
@given(spoilt(RESULTS["results"]))
def test_a_bad_result_costs_itself(rows: list[Any]) -> None:
    good = RESULTS["results"][0] | {"id": "good"}
    document = RESULTS | {"results": [*rows, good]}

    found = read_each(json.dumps(document).encode(), where="f")

    assert "good" in {each.result.target_id for each in found.results}
    assert len(found.results) + len(found.refused) == len(rows) + 1
    check(tuple(each.result for each in found.results))
    json.loads(dumps({"results": [each.raw for each in found.results]}), parse_constant=refuse)
