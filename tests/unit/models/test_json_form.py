"""Values whose JSON looks different: written, read back, and described."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator import models
from orchestrator.models.json_form import (
    HIDDEN,
    JOINED,
    LIST_TABLE,
    NULL_FOR_EMPTY,
    NULL_FOR_HIDDEN,
    TABLE,
    Finite,
    Limits,
)

PAIRS = tuple[tuple[str, str], ...]
LISTS = tuple[tuple[str, tuple[str, ...]], ...]


@pytest.mark.parametrize(
    ("kind", "value", "written", "described"),
    [
        (Annotated[PAIRS, TABLE], (("b", "1"), ("a", "2")), {"b": "1", "a": "2"}, "object"),
        (Annotated[LISTS, LIST_TABLE], (("lib", ("f", "g")),), {"lib": ["f", "g"]}, "object"),
        (
            Annotated[tuple[str, ...], JOINED],
            ("self-hosted", "linux"),
            "self-hosted, linux",
            "string",
        ),
        (Annotated[str, NULL_FOR_EMPTY], "", None, None),
        (Annotated[str, NULL_FOR_EMPTY], "x", "x", None),
        (Annotated[str, NULL_FOR_HIDDEN], HIDDEN, None, None),
        (Annotated[float, Limits(le=10, digits=3)], 1.5, 1.5, "number"),
    ],
)
def test_a_value_comes_back_from_its_form(
    kind: Any, value: object, written: object, described: str | None
) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    assert adapter.dump_python(value, mode="json") == written
    assert adapter.validate_python(written) == value
    assert adapter.validate_python(value) == value, "the value itself is read, too"
    assert adapter.json_schema(mode="serialization").get("type") == described


def test_numbers_are_rounded_when_written_and_refused_beyond_their_limits() -> None:
    adapter: TypeAdapter[float] = TypeAdapter(Annotated[float, Limits(ge=1, le=10, digits=3)])

    assert adapter.dump_python(1.23456) == 1.235
    for wrong in (0.5, 11.0, float("nan")):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "-1e999"])
def test_data_of_any_type_has_no_number_that_json_cannot_write(number: str) -> None:
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(Annotated[dict[str, Any], Finite()])

    assert adapter.validate_json('{"a": [1.5, {"b": null}]}') == {"a": [1.5, {"b": None}]}
    for place in ('{"a": %s}', '{"a": [{"b": [0, %s]}]}'):
        with pytest.raises(ValidationError, match="is no number of JSON"):
            adapter.validate_json(place % number)


def test_the_models_do_not_import_pydantic() -> None:
    """`orchestrator --help` imports them, and pydantic takes long."""
    for path in Path(models.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "pydantic" not in ast.unparse(node), path
