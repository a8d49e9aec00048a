"""What is said of an environment that differs from its cell: both, the package, and its index."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.builders import environment_check
from orchestrator.builders.environment_check import (
    ANSWER,
    environment_question,
    hear_environment,
    unwanted_nvcc,
)
from orchestrator.host.emulation import Execution
from orchestrator.models.result import BuildEnvironment, Failure, FailureKind, RequirementFile
from orchestrator.models.target import Cell, EnvironmentSpec, Target, TargetSteps
from tests.factories import target

TORCH = {"version": "2.13.0+cpu", "cuda": "none", "hip": "none", "cxx11abi": "1"}
FACTS: dict[str, Any] = {
    "python": {"tag": "cp312", "version": "3.12.4"},
    "packages": {"six": "1.17.0", "torch": "2.13.0+cpu"},
    "torch": TORCH,
    "nvcc": {"/cuda/bin/nvcc": "13.2.78"},
    "cuda": [],
}
INDEXES = (("torch", "https://user:secret@host/cu130"), ("s*", "https://host/other"))
CELL = target(steps=TargetSteps(environment=EnvironmentSpec(indexes=INDEXES)))


def hear(
    answer: dict[str, Any],
    target: Target = CELL,
    *,
    locked: dict[str, RequirementFile] | None = None,
    log: Callable[[str], object] = lambda _line: None,
) -> tuple[BuildEnvironment, Failure | None]:
    line = ANSWER + json.dumps(answer)
    said = hear_environment(line, target=target, locked=locked or {}, log=log)
    assert said is not None
    return said


def heard(
    what: str, axis: str, value: str, found: str, where: str = "x", **locked: RequirementFile
) -> Failure:
    wrong = {"what": what, "axis": axis, "value": value, "found": found, "where": where}
    _, failure = hear({**FACTS, "wrong": [wrong]}, locked=locked)
    assert failure is not None
    assert failure.kind is FailureKind.ENVIRONMENT
    return failure


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        (
            ("torch.version.cuda", "cuda", "13.0", "none"),
            ("the cell has cuda 13.0, but torch 2.13.0+cpu is for no CUDA "
            "(from https://user:****@host/cu130)"),
            "indexes.torch is https://user:****@host/cu130",
        ),
        (
            ("torch", "torch", "2.13", "2.12.1"),
            ("the cell has torch 2.13, but torch 2.12.1 compiles "
            "(from https://user:****@host/cu130)"),
            "the index that has torch for torch 2.13",
        ),
        (
            ("nvcc", "cuda", "13.0", "13.2.78", "/cuda/bin/nvcc"),
            "the cell has cuda 13.0, but /cuda/bin/nvcc is nvcc 13.2.78",
            'build.cuda = "index"',
        ),
        (
            ("C++ ABI of torch", "cxx11abi", "FALSE", "1"),
            "the cell has cxx11abi FALSE, but torch 2.13.0+cpu has C++ ABI 1",
            "exclude this cell, or correct axes.cxx11abi",
        ),
        (
            ("six", "six", "1.16.0", "1.17.0"),
            "the cell has six 1.16.0, but six 1.17.0 compiles (from https://host/other)",
            'build.requires = ["six=={six}"]',
        ),
        (
            ("torch", "torch", "2.13", ""),
            "the cell has torch 2.13, but the environment that compiles has no torch",
            'build.requires = ["torch=={torch}.*"]',
        ),
        (("nvcc", "cuda", "13.0", ""), "but the build finds no nvcc", "CUDA_HOME"),
        (("python", "python", "cp312", "cp311", "/p"), "but /p is cp311", "on PATH"),
    ],
)  # fmt: skip
def test_a_difference_names_both(wrong: tuple[str, ...], message: str, hint: str) -> None:
    failure = heard(*wrong)
    assert message in failure.message
    assert hint in failure.hint
    assert "secret" not in failure.message + failure.hint


def test_what_compiles_is_kept_and_logged() -> None:
    log: list[str] = []
    kept, failure = hear({**FACTS, "wrong": []}, log=log.append)
    assert failure is None
    assert dict(kept.packages) == FACTS["packages"]
    assert " ".join(log) == (
        "compiling with Python 3.12.4, torch 2.13.0+cpu (CUDA none, ROCm none, C++ ABI 1), "
        "nvcc 13.2.78 (/cuda/bin/nvcc), six 1.17.0"
    )


@pytest.mark.parametrize(
    "line",
    [
        "running build_ext",
        *(f"{ANSWER}{said}" for said in ("", "[]", "{}", '{"wrong": 1}', "null", '{"python": []}')),
        ANSWER + "[" * 100_000,
    ],
)
def test_what_the_project_prints_is_no_answer(line: str) -> None:
    assert hear_environment(line, target=CELL, locked={}, log=pytest.fail) is None


@pytest.mark.parametrize(
    ("execution", "variant", "asks"),
    [
        (Execution.NATIVE, (), True),
        (Execution.EMULATED, (), False),
        (Execution.EMULATED, (("six", "1.16"),), True),
    ],
)
def test_under_qemu_nothing_is_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
    execution: Execution,
    variant: tuple[tuple[str, str], ...],
    *,
    asks: bool,
) -> None:
    monkeypatch.setattr(environment_check, "how", lambda *_: execution)
    assert bool(environment_question(target(variant=variant))) is asks


@pytest.mark.parametrize(
    ("version", "index"),
    [("1.17.0", "https://own/simple"), ("1.15.0", "https://host/other")],
)
def test_a_package_that_was_locked_names_its_index(version: str, index: str) -> None:
    locked = RequirementFile(
        name="six",
        version=version,
        filename=f"six-{version}-py3-none-any.whl",
        sha256="0" * 64,
        url="https://own/six.whl",
        index="https://own/simple",
    )
    failure = heard("six", "six", "1.16.0", "1.17.0", six=locked)
    assert failure.message.endswith(f"six 1.17.0 compiles (from {index})")


@pytest.mark.parametrize(
    ("variant", "nvcc", "noted"),
    [
        ((("cuda", "cpu"),), {"/usr/bin/nvcc": "13.2.78"}, True),
        ((("cuda", "cpu"),), {}, False),
        ((("torch", "2.13"), ("cuda", "cu132")), {"/usr/bin/nvcc": "13.2.78"}, False),
        ((("six", "1.17"),), {"/usr/bin/nvcc": "13.2.78"}, False),
    ],
)
def test_an_nvcc_that_a_cell_without_cuda_finds_is_noted(
    variant: Cell, nvcc: dict[str, str], *, noted: bool
) -> None:
    cell = target(variant=variant)
    log: list[str] = []
    environment, _ = hear({**FACTS, "nvcc": nvcc, "wrong": []}, cell, log=log.append)
    note = unwanted_nvcc(cell, environment)
    assert log[1:] == ([note] if noted else [])
    assert bool(note) == noted
    assert ("nvcc 13.2.78 (/usr/bin/nvcc)" in note) == noted
    assert unwanted_nvcc(cell, None) == "", "nobody has asked the environment yet"
