"""Check that a build has what its cell asks for, before the first compiler starts.

A script asks the environment that compiles (`scripts/ask_environment.py`). Its answer is one line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from orchestrator.host.redaction import masked
from orchestrator.models.result import BuildEnvironment, Failure, FailureKind, TorchBuild
from orchestrator.plan.expected_environment import (
    NVCC,
    PYTHON,
    TORCH,
    TORCH_ABI,
    TORCH_CUDA,
    TORCH_ROCM,
    questions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.target import Target

ASK_SCRIPT = Path(__file__).parent / "scripts" / "ask_environment.py"

ANSWER = "orchestrator: environment: "
"""The beginning of the line with the script's answer."""

STEP = "check"

_NAMES = {TORCH_CUDA: "CUDA", TORCH_ROCM: "ROCm"}


def question_text(target: Target) -> str:
    """Return the argument of the script."""
    return json.dumps([asdict(each) for each in questions(target)])


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEnvironment:
    """The answer of an environment.

    Attributes:
        environment: what is in it.
        failure: the difference from the cell; None if there is none.
    """

    environment: BuildEnvironment
    failure: Failure | None


def read_answer(line: str, target: Target, indexes: Mapping[str, str]) -> CheckedEnvironment | None:
    """Return what a line of the script's output says; None if it is no answer.

    Args:
        line: of the output.
        target: what is built.
        indexes: the package index of each distribution that was locked, by normalized name.
    """
    if not line.startswith(ANSWER):
        return None
    said: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
    packages: dict[str, str] = said["packages"]
    known = {name: masked(url) for name, url in indexes.items() if name in packages}
    environment = BuildEnvironment(
        python=said["python"]["version"],
        packages=tuple(packages.items()),
        indexes=tuple(sorted(known.items())),
        torch=TorchBuild(**said["torch"]) if said["torch"] else None,
        nvcc=tuple(said["nvcc"].items()),
    )
    differences = [_Difference(each, environment) for each in said["wrong"]]
    failure = _failure(differences, target) if differences else None
    return CheckedEnvironment(environment=environment, failure=failure)


def describe(environment: BuildEnvironment) -> str:
    """Return the versions that matter most, in one line for the log."""
    packages = dict(environment.packages)
    parts = [f"Python {environment.python}"]
    if torch := environment.torch:
        parts.append(
            f"torch {torch.version} (CUDA {torch.cuda}, ROCm {torch.hip}, C++ ABI {torch.cxx11abi})"
        )
    parts += [f"nvcc {version} ({call})" for call, version in environment.nvcc]
    parts += [f"{name} {version}" for name, version in packages.items() if name != TORCH]
    return ", ".join(parts)


def _failure(differences: list[_Difference], target: Target) -> Failure:
    first = differences[0]
    others = "".join(f"; {each.message}" for each in differences[1:])
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        step=STEP,
        message=f"{first.message}{others}",
        hint="; ".join(dict.fromkeys(each.hint(target) for each in differences)),
    )


class _Difference:
    """One wrong answer, in words."""

    def __init__(self, wrong: dict[str, Any], environment: BuildEnvironment) -> None:
        self._what, self._axis, self._value = wrong["what"], wrong["axis"], wrong["value"]
        self._found, self._where = wrong["found"], wrong["where"]
        self._environment = environment

    @property
    def message(self) -> str:
        """Both versions, the package, and its index."""
        return f"the cell has {self._axis} {self._value}, but {self._is}"

    @property
    def _is(self) -> str:
        torch = self._environment.torch
        version = torch.version if torch else ""
        if self._what == PYTHON:
            return f"{self._where} is {self._found}"
        if self._what == NVCC:
            return (
                f"{self._where} is nvcc {self._found}" if self._found else "the build finds no nvcc"
            )
        if self._what == TORCH_ABI:
            return f"torch {version} has C++ ABI {self._found}{self._origin(TORCH)}"
        if self._what in _NAMES:
            name = _NAMES[self._what]
            built = f"for no {name}" if self._found == "none" else f"for {name} {self._found}"
            return f"torch {version} is {built}{self._origin(TORCH)}"
        if not self._found:
            return f"the environment that compiles has no {self._what}"
        return f"{self._what} {self._found} compiles{self._origin(self._what)}"

    def _origin(self, package: str) -> str:
        index = dict(self._environment.indexes).get(package)
        if index:
            return f" (from {index})"
        return " (from no index of the lock: before-build, or the image, installed it)"

    def hint(self, target: Target) -> str:
        """What to write."""
        if self._what == PYTHON:
            return "the build must use the Python of its cell: look for what replaces it on PATH"
        if self._what == NVCC:
            return (
                'build.cuda = "index", "host" or "image" says where nvcc comes from; CUDA_HOME and '
                "CUDACXX in [env] override it"
            )
        if self._what == TORCH_ABI:
            return f"exclude this cell, or correct axes.{self._axis}"
        package = TORCH if self._what in _NAMES else self._what
        spec = dict(target.steps.environment.indexes)
        index = spec.get(str(canonicalize_name(package)))
        if self._what in _NAMES or (self._found and package == TORCH and index):
            named = f"indexes.{package} is {masked(index)}" if index else f"set indexes.{package}"
            return f"{named}: the index that has {package} for {self._axis} {self._value}"
        axis = f"{{{self._axis}}}"
        exact = "" if self._value.count(".") > 1 else ".*"
        return (
            f'build.requires = ["{package}=={axis}{exact}"], and no other version in before-build'
        )
