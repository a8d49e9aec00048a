from __future__ import annotations

import contextlib
from typing import Any

import pytest

from orchestrator.discover.expressions import UnknownValueError, evaluate, interpolate
from tests.hostile_wheels import work

CONTEXTS: dict[str, dict[str, Any]] = {
    "matrix": {"os": "ubuntu-24.04", "cibw": {"arch": "auto"}, "plat": ["a", "b"], "off": "false"},
    "env": {"KNOWN": "x", "UNKNOWN": None},
    "inputs": {},
    "runner": {"os": "Linux"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("matrix.cibw.arch", "auto"),
        ("matrix['cibw']['arch']", "auto"),
        ("matrix.plat[1]", "b"),
        ("matrix.plat[7] || 'none'", "none"),
        ("matrix.cibw.build || '*'", "*"),
        ("matrix.missing.deep", ""),
        ("inputs.x && 'yes' || 'no'", "no"),
        ("matrix.os == 'UBUNTU-24.04' && 'yes' || 'no'", "yes"),
        ("matrix.os != 'x' && !matrix.off", True),
        ("(matrix.os == 'a' || runner.os == 'Linux') && 'l'", "l"),
        ("contains(matrix.os, 'ubuntu')", True),
        ("contains(matrix.plat, 'B')", True),
        ("startsWith(matrix.os, 'win') || endsWith(matrix.os, '.04')", True),
        ("format('{0}-{1}', matrix.os, 'it''s')", "ubuntu-24.04-it's"),
        ("'known' || github.ref", "known"),
        ("github.ref && false", False),
        ("env.KNOWN", "x"),
    ],
)
def test_what_the_file_itself_says_has_a_value(expression: str, value: object) -> None:
    assert evaluate(expression, CONTEXTS) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("github.ref", "github.ref || 'x'", "env.UNKNOWN", "!github.ref", "github.ref == 'x'"),
        *("fromJSON(matrix.os)", "hashFiles('x')", "contains(github.ref, 'x')"),
        *(
            "",
            "matrix.",
            "(matrix.os",
            "matrix.os matrix.os",
            "'open",
            "&&",
            "@",
            "f(",
            "matrix[",
            ")",
        ),
        "(" * 5000,
        "!" * 5000,
    ],
)
def test_anything_else_is_unknown(expression: str) -> None:
    with pytest.raises(UnknownValueError):
        evaluate(expression, CONTEXTS)


def test_texts_are_filled_in() -> None:
    assert (
        interpolate("cp${{ matrix.plat[0] }}-${{ matrix.off }}-${{x", CONTEXTS) == "cpa-false-${{x"
    )

    with pytest.raises(UnknownValueError):
        interpolate("${{ matrix.plat }}", CONTEXTS)


@pytest.mark.parametrize(
    "expression",
    [
        "1==" * 7000 + "1",
        "'" + "x" * 30_000 + "'",
        "matrix.plat['²']",
        f"matrix.plat[{'1' * 5000}]",
        "format('{0}'," + ",".join(f"'{{{n}}}{{{n}}}'" for n in range(1, 40)) + ")",
        "format('" + "{0}" * 5000 + "', 'xxxxxxxxxxxxxxxx')",
        "contains(matrix.plat, matrix.long)",
    ],
)
def test_long_expressions_take_time_that_grows_with_them(expression: str) -> None:
    contexts = {"matrix": {"plat": ["x"] * 300, "long": "y" * 100_000}}

    def use() -> None:
        with contextlib.suppress(UnknownValueError):
            assert len(str(evaluate(expression, contexts))) < 10_000

    assert work(use) < 5_000_000


def test_what_is_filled_in_is_filled_in_once() -> None:
    assert evaluate("format('{0}{1}{7}', '{1}', 'x')", {}) == "{1}x{7}"


def test_a_text_does_not_grow_without_end() -> None:
    contexts = {"env": {"A": "x" * 1000}}
    assert interpolate("${{env.A}}" * 4, contexts) == "x" * 4000
    with pytest.raises(UnknownValueError):
        interpolate("${{env.A}}" * 5, contexts)
    assert interpolate("x" * 100_000, contexts) == "x" * 100_000
    assert work(lambda: interpolate("${{" * 50_000, contexts)) < 5_000_000
