"""Check that a build has what its cell asks for, before the first compiler starts.

A script asks the environment that compiles (`scripts/ask_environment.py`). Its answer is one line.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.host.redaction import masked
from orchestrator.models.reading import json_value
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
    from orchestrator.builders.base import BuildContext

ASK_SCRIPT = Path(__file__).parent / "scripts" / "ask_environment.py"

ANSWER = "orchestrator: environment: "
"""The beginning of the line with the script's answer."""

STEP = "check"

_NAMES = {TORCH_CUDA: "CUDA", TORCH_ROCM: "ROCm"}


def environment_question(job: BuildContext) -> dict[str, object]:
    """Return what the frontend script asks an environment, and the toolkit that it completes.

    It asks nothing where the answer is not worth a Python under QEMU.
    """
    target = job.request.target
    asked = questions(target)
    emulated = how(host_arch(), target.arch) is Execution.EMULATED
    text = json.dumps([asdict(each) for each in asked]) if len(asked) > 1 or not emulated else ""
    return {"questions": text, "cuda": dict(job.compilers.env).get("CUDA_HOME", "")}


def hear_environment(line: str, job: BuildContext) -> Failure | None:
    """Note what a line of a build says about its environment; return how that is wrong.

    A line that is no answer of the script says nothing.
    """
    if not line.startswith(ANSWER):
        return None
    try:
        said = json_value(line.removeprefix(ANSWER), where="environment")
        environment = _environment(said)
        indexes = _Indexes(job)
        differences = [_Difference(each, environment, indexes) for each in said["wrong"]]
    except (ConfigError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not of our script: the project's programs print there too
    job.timer.environment = environment
    job.log(f"compiling with {describe(environment)}")
    return _failure(differences) if differences else None


def _environment(said: dict[str, Any]) -> BuildEnvironment:
    return BuildEnvironment(
        python=said["python"]["version"],
        packages=tuple(said["packages"].items()),
        torch=TorchBuild(**said["torch"]) if said["torch"] else None,
        nvcc=tuple(said["nvcc"].items()),
    )


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


def _failure(differences: list[_Difference]) -> Failure:
    first = differences[0]
    others = "".join(f"; {each.message}" for each in differences[1:])
    return Failure(
        kind=FailureKind.ENVIRONMENT,
        step=STEP,
        message=f"{first.message}{others}",
        hint="; ".join(dict.fromkeys(each.hint for each in differences)),
    )


class _Indexes:
    """Which package index each package of a build comes from."""

    def __init__(self, job: BuildContext) -> None:
        prepared = job.requirements.prepared
        self._assigned = job.request.target.steps.environment.indexes
        self._locked = prepared.locked if prepared else {}

    def assigned(self, package: str) -> str:
        """Return the index that alone serves a package; empty if none does."""
        found = (url for name, url in self._assigned if fnmatchcase(package, name))
        return masked(next(found, ""))

    def of(self, package: str, version: str) -> str:
        """Return the index that a package was locked from, or that alone serves it; else empty."""
        locked, index = self._locked.get(package, ("", ""))
        return masked(index) if locked == version and index else self.assigned(package)


class _Difference:
    """One wrong answer, in words."""

    def __init__(
        self, wrong: dict[str, Any], environment: BuildEnvironment, indexes: _Indexes
    ) -> None:
        self._what, self._axis, self._value = wrong["what"], wrong["axis"], wrong["value"]
        self._found, self._where = wrong["found"], wrong["where"]
        self._environment, self._indexes = environment, indexes

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
        version = dict(self._environment.packages).get(package, "")
        index = self._indexes.of(package, version)
        return f" (from {index})" if index else ""

    @property
    def hint(self) -> str:
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
        index = self._indexes.assigned(package)
        if self._what in _NAMES or (self._found and package == TORCH and index):
            named = f"indexes.{package} is {index}" if index else f"set indexes.{package}"
            return f"{named}: the index that has {package} for {self._axis} {self._value}"
        axis = f"{{{self._axis}}}"
        exact = "" if self._value.count(".") > 1 else ".*"
        return (
            f'build.requires = ["{package}=={axis}{exact}"], and no other version in before-build'
        )
