"""The one error system: who returns a problem, what an error carries, and how it travels."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import orchestrator
from orchestrator import errors
from orchestrator.errors import (
    EnvironmentProblemError,
    ErrorKind,
    OrchestratorError,
    Problem,
    closest,
)

PACKAGE = Path(orchestrator.__file__).parent


def returns_a_problem(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function may return a `Problem` or an error beside, or instead of, its result."""
    union = [n for n in ast.walk(function.returns or ast.Pass()) if isinstance(n, ast.BinOp)]
    sides = [side for each in union for side in (each.left, each.right)]
    return any(isinstance(side, ast.Name) and side.id == "Problem" for side in sides)


def test_no_function_returns_a_problem_where_it_should_raise() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and returns_a_problem(node)
    ]
    assert found == []


def test_a_function_that_returns_a_problem_is_found() -> None:
    tree = ast.parse("def find(a) -> Path | Problem: ...\ndef make() -> Problem | None: ...\n")
    assert [returns_a_problem(each) for each in tree.body if isinstance(each, ast.FunctionDef)] == [
        True,
        True,
    ]


ERRORS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, OrchestratorError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_reaches_another_process_whole(error: type[OrchestratorError]) -> None:
    raised = error.of("gone", where="x", hint="look", kind=ErrorKind.NOT_FOUND, transient=True)
    found = pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own
    assert type(found) is error
    assert issubclass(error, Exception)
    assert found.problems == (Problem(what="gone", where="x", hint="look"),)
    assert (found.kind, found.transient) == (ErrorKind.NOT_FOUND, True)
    assert (str(found), found.exit_code) == ("x: gone\n  hint: look", error.exit_code)


def test_several_problems_are_told_once_each() -> None:
    one, two = Problem(what="a", hint="do x"), Problem(what="b", hint="do x")
    error = EnvironmentProblemError(one, two, one)
    assert (error.what, error.hint) == ("a; b", "do x")


def test_a_hint_that_asks_ends_with_its_question() -> None:
    assert closest("cudaa", ["cuda"]) == "did you mean 'cuda'?"
    assert closest("cudaa", ["cuda"], "or leave it") == "did you mean 'cuda'? Or leave it"
    assert closest("x", ["cuda", "arch"], "or leave it") == "known: arch, cuda; or leave it"


def test_no_hint_goes_on_behind_a_question_with_a_semicolon() -> None:
    room = Path(orchestrator.__file__).parent
    joined = [
        f"{file.name}: {line.strip()}"
        for file in room.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "{closest(" in line and ")};" in line
    ]
    assert not joined
