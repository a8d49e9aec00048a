"""Whatever stands in a document: it becomes a value, or an error that says where."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.models.reading import (
    LIMITS,
    LONGEST_TEXT,
    ini_tables,
    json_value,
    parse,
    read_json,
    toml_value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A part of a document, which says nothing of limits."""

    text: str = ""
    number: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """A document."""

    __pydantic_config__: ClassVar[dict[str, Any]] = LIMITS

    inner: Inner = Inner()


def test_a_text_of_a_part_has_the_limit_of_the_document() -> None:
    assert parse(Outer, {"inner": {"text": "x" * LONGEST_TEXT}}).inner.text
    with pytest.raises(ConfigError, match=r"^f: inner\.text: "):
        parse(Outer, {"inner": {"text": "x" * (LONGEST_TEXT + 1)}}, where="f")


NO_DOCUMENTS = (
    *(b"", b"\xff\xfe", b"[" * 100_000, b'{"inner":' * 50_000, b'"\\ud800"', b"1" * 10_000),
    *(b"null", b"[]", b'{"inner": []}'),
    *(
        b'{"inner": {"number": %b}}' % each
        for each in (b"NaN", b"Infinity", b"-Infinity", b"1e400")
    ),
)


@pytest.mark.parametrize("data", NO_DOCUMENTS)
def test_what_is_no_document_is_an_error_that_names_the_file(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^f: "):
        read_json(Outer, data, where="f")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"a = [" * 50_000,
        b"a = " + b"{a=" * 50_000,
        b"a = " + b"9" * 10_000,
        b".".join([b"a"] * 1_000_000) + b" = 1",
        b" . ".join([b"'a'"] * 200) + b" = 1",
        b"[" + b".".join([b'"a"'] * 200) + b"]",
        b"x = {" + b".".join([rb'"\""'] * 200) + b" = 1}",
        b"a = 2020-02-31",
    ],
    ids=lambda data: f"{data[:6]!r}",
)
def test_what_is_no_toml_is_an_error_that_names_the_file(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^f(:1:\d+)?: not valid TOML: "):
        toml_value(data, where="f")


def test_a_text_may_have_any_number_of_dots() -> None:
    text = f'a.b."c.d" = "{"x. " * 1000}"\nv = "{"1." * 1000}"'
    assert toml_value(text, where="f")["a"]["b"]["c.d"].startswith("x. x.")


def test_a_document_that_is_too_large_is_not_read() -> None:
    with pytest.raises(ConfigError, match="it has 3 bytes; at most 2 are read"):
        json_value(b"[0]", where="f", largest=2)
    with pytest.raises(ConfigError, match="it has 3 bytes; at most 2 are read"):
        read_json(Outer, b"[0]", where="f", largest=2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON | st.fixed_dictionaries({"inner": st.fixed_dictionaries({"text": JSON})}))
def test_any_json_is_a_value_or_an_error(value: Any) -> None:
    with suppress(ConfigError):
        made = read_json(Outer, json.dumps(value).encode(), where="f")
        assert isinstance(made.inner.text, str)


@pytest.mark.parametrize("text", [r'"\ud800"', r'["\uDBff x", {"a\udc00": 1}]', '"\ud800"'])
def test_half_a_surrogate_pair_becomes_a_question_mark(text: str) -> None:
    found = json_value(text, where="f")

    assert "?" in json.dumps(found, ensure_ascii=False).encode("utf-8").decode()
    assert json_value(r'"\ud83d\ude00"', where="f") == "\U0001f600", "a whole pair is a character"
    assert json_value(r'"\udcff"', where="f", names=True) == "\udcff", "a byte of a file's name"


LONG = 20_000

INI = {
    "lines without a delimiter": "[a]\n" + "x\n" * LONG,
    "spaces without a delimiter": f"[a]\nx{' ' * LONG * 50}y\n",
    "other spaces": f"[a]\nx{chr(0xA0) * LONG * 50}y\n",
    "anything": "x" * (LONG * 100),
    "no section": "x = 1\n",
    "no section, and a name": "[]\nx = 1\n",
}


@pytest.mark.parametrize("text", INI.values(), ids=INI)
def test_what_is_no_ini_file_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ini_tables(text, where="setup.cfg")
    assert caught.value.problems[0].where == "setup.cfg"
    assert len(caught.value.problems[0].what) < LONG


def test_an_ini_file_has_its_names_and_no_value_of_another() -> None:
    text = f"[a]\nX-y = 1\nz = %(X-y)s{' ' * LONG}%(q)s\n  more\nz = %\n"
    assert dict(ini_tables(text, where="")["a"]) == {"X-y": "1", "z": "%"}
    with pytest.raises(ConfigError, match="already exists"):
        ini_tables(text, where="", strict=True)
    assert dict(ini_tables("[a]\nb:c = 1\n", where="", delimiters=("=",))["a"]) == {"b:c": "1"}


@pytest.mark.parametrize("base", ["0x", "+0x", "0o", "-0b"])
@pytest.mark.parametrize(
    "before", ["a = ", "a = [1,\n ", "a = {b = ", "a=", "a = [", "a = {b=1, c= "]
)
def test_a_number_that_python_cannot_write_is_no_toml(base: str, before: str) -> None:
    """Its digits are read in time that grows with them, and then no message can have it."""
    end = "]" if "[" in before else "}" if "{" in before else ""
    with pytest.raises(ConfigError, match="a number more than 1000 digits"):
        toml_value(f"{before}{base}{'1' * 20_000}{end}", where="x.toml")
    assert toml_value(f"{before}0x{'1' * 100}{end}", where="x.toml")
    assert toml_value(f"a = '0x{'1' * 20_000}'", where="x.toml")
