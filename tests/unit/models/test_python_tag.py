"""Python tags are read and written in one place."""

from __future__ import annotations

import pytest

from orchestrator.config.check import OLDER
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.python_tag import PythonTag, axis_value, stable_tag


@pytest.mark.parametrize(
    ("text", "words", "programs", "uv", "directory"),
    [
        ("cp312", "CPython 3.12", ("python3.12",), "cpython@3.12", "cp312-cp312"),
        (
            "cp314t",
            "CPython 3.14 (free-threaded)",
            ("python3.14t", "python3.14"),
            "cpython@3.14t",
            "cp314-cp314t",
        ),
        (
            "pp311",
            "PyPy 3.11",
            ("pypy3.11", "pypy3", "pypy", "python3.11"),
            "pypy@3.11",
            "pp311-*",
        ),
        (
            "gp312_250",
            "GraalPy 3.12",
            ("graalpy3.12", "graalpy3", "graalpy", "python3.12"),
            "graalpy@3.12",
            "graalpy312-graalpy250_*",
        ),
    ],
)
def test_names(text: str, words: str, programs: tuple[str, ...], uv: str, directory: str) -> None:
    tag = PythonTag.parse(text)
    assert str(tag) == text
    assert (tag.words, tag.programs, tag.uv_request) == (words, programs, uv)
    assert tag.image_directory == directory


@pytest.mark.parametrize(
    "text",
    [
        *("cp27", "py3", "cp312-cp312", "pp311t", "3.12", "cp3", "", "CP312"),
        *("gp312", "gp312t_250", "cp312_250", "pp311_73", "gp312_", "graalpy312"),
    ],
)
def test_everything_else_is_no_tag(text: str) -> None:
    assert PythonTag.match(text) is None
    with pytest.raises(ConfigError, match="is not a Python tag") as raised:
        PythonTag.parse(text)
    (hint,) = (each.hint for each in raised.value.problems)
    for word in hint.replace(",", "").split():
        assert word in {"such", "as", "or"} or PythonTag.match(word)


def test_every_python_of_the_builder_is_a_tag() -> None:
    for text in builder_facts().pythons | OLDER:
        assert str(PythonTag.parse(text)) == text


def test_the_order() -> None:
    tags = ["pp310", "cp314t", "gp312_250", "cp310", "cp313t", "gp312_242", "cp314", "cp39"]
    ordered = ["cp39", "cp310", "cp314", "cp313t", "cp314t", "gp312_242", "gp312_250", "pp310"]
    assert sorted(tags, key=PythonTag.parse) == ordered


@pytest.mark.parametrize(
    ("interpreter", "abi", "value"),
    [
        ("cp312", "cp312", "cp312"),
        ("cp314", "cp314t", "cp314t"),
        ("cp39", "abi3", "abi3-cp39"),
        ("cp315", "abi3t", "abi3-cp315t"),
        ("pp311", "pypy311_pp73", "pp311"),
        ("graalpy312", "graalpy250_312_native", "gp312_250"),
        ("py3", "none", "py3"),
        ("cp312", "none", "cp312"),
    ],
)
def test_the_tags_of_a_wheel_say_which_value_it_is_for(
    interpreter: str, abi: str, value: str
) -> None:
    assert axis_value(interpreter, abi) == value


def test_versions_and_the_stable_abi() -> None:
    assert PythonTag.of_version("3.14.0a2") == PythonTag.parse("cp314")
    assert PythonTag.parse("pp311").version == "3.11"
    assert PythonTag.parse("cp314t").soabi == "cpython-314t"
    tags = map(PythonTag.parse, ("cp38", "cp39", "cp310", "cp314t", "pp311"))
    assert [str(tag) for tag in tags if tag.serves_abi3("cp39")] == ["cp39", "cp310"]
    tags = map(PythonTag.parse, ("cp314", "cp315", "cp314t", "cp315t", "cp316t", "pp316"))
    assert [str(tag) for tag in tags if tag.serves_abi3("cp315t")] == ["cp315", "cp315t", "cp316t"]
    assert not PythonTag.parse("cp314t").serves_abi3("cp314t")
    assert (stable_tag("cp39"), stable_tag("cp315t")) == ("cp39-abi3", "cp315-abi3t")
