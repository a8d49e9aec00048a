"""Check that a build has what its cell asks for, before the first compiler starts.

A script asks the environment that compiles (`scripts/ask_environment.py`). Its answer is one line.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.host.redaction import masked
from orchestrator.models.reading import json_value
from orchestrator.models.result import BuildEnvironment, Failure, FailureKind, TorchBuild
from orchestrator.plan.expected_environment import (
    NONE,
    NVCC,
    PYTHON,
    TORCH,
    TORCH_ABI,
    TORCH_CUDA,
    TORCH_ROCM,
    compiles_cuda,
    questions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.models.result import RequirementFile
    from orchestrator.models.target import Target

ASK_SCRIPT = Path(__file__).parent / "scripts" / "ask_environment.py"

ANSWER = "orchestrator: environment: "
"""The beginning of the line with the script's answer."""

STEP = "check"

_DEVICES = {TORCH_CUDA: "CUDA", TORCH_ROCM: "ROCm"}


def environment_question(target: Target) -> str:
    """Return what the frontend script asks the environment of a target, as JSON.

    It is empty where the answer is not worth a Python under QEMU.
    """
    asked = questions(target)
    emulated = how(host_arch(), target.arch) is Execution.EMULATED
    return json.dumps([asdict(each) for each in asked]) if len(asked) > 1 or not emulated else ""


def hear_environment(
    line: str,
    *,
    target: Target,
    locked: Mapping[str, RequirementFile],
    log: Callable[[str], object],
) -> tuple[BuildEnvironment, Failure | None] | None:
    """Return what a line of a build says about its environment, and how that is wrong.

    `locked` has the file that a package was resolved to, by its normalised name.
    None comes of a line that is no answer of the script. `log` takes what the target's log says.
    """
    if not line.startswith(ANSWER):
        return None
    try:
        said = json_value(line.removeprefix(ANSWER), where="environment")
        environment = BuildEnvironment(
            python=said["python"]["version"],
            packages=tuple(said["packages"].items()),
            files=tuple(
                locked[name]
                for name, version in said["packages"].items()
                if name in locked and locked[name].version in {"", version}
            ),
            torch=TorchBuild(**said["torch"]) if said["torch"] else None,
            nvcc=tuple(said["nvcc"].items()),
        )
        indexes = target.steps.environment.indexes
        wrong = [_explain(each, environment, indexes) for each in said["wrong"]]
    except (ConfigError, ValueError, LookupError, TypeError, AttributeError):
        return None  # not of our script: the project's programs print there too
    log(f"compiling with {_describe(environment)}")
    if note := unwanted_nvcc(target, environment):
        log(note)
    if not wrong:
        return environment, None
    failure = Failure(
        kind=FailureKind.ENVIRONMENT,
        step=STEP,
        message="; ".join(message for message, _ in wrong),
        hint="; ".join(dict.fromkeys(hint for _, hint in wrong)),
    )
    return environment, failure


def unwanted_nvcc(target: Target, environment: BuildEnvironment | None) -> str:
    """Return what to know where a cell is for no CUDA, and its build may call an nvcc; else empty.

    An nvcc on PATH cannot be hidden from a build without the programs beside it.
    """
    nvcc = next(iter(environment.nvcc), None) if environment else None
    if nvcc is None or compiles_cuda(target) is not False:
        return ""
    return (
        f"this cell is for no CUDA, and its build finds nvcc {nvcc[1]} ({nvcc[0]}): a project that "
        "compiles for CUDA wherever it finds one must be told not to, in [env]"
    )


def _describe(environment: BuildEnvironment) -> str:
    """Return the versions that matter most, in one line for the log."""
    parts = [f"Python {environment.python}"]
    if torch := environment.torch:
        parts.append(
            f"torch {torch.version} (CUDA {torch.cuda}, ROCm {torch.hip}, C++ ABI {torch.cxx11abi})"
        )
    parts += [f"nvcc {version} ({call})" for call, version in environment.nvcc]
    parts += [f"{name} {version}" for name, version in environment.packages if name != TORCH]
    return ", ".join(parts)


def _explain(
    wrong: Mapping[str, str],
    environment: BuildEnvironment,
    indexes: Sequence[tuple[str, str]],
) -> tuple[str, str]:
    """Return one wrong answer in words (both versions, the package, its index), and a hint."""
    what, axis, value, found = (wrong[each] for each in ("what", "axis", "value", "found"))
    package = TORCH if what in {*_DEVICES, TORCH_ABI} else what
    torch = environment.torch.version if environment.torch else ""
    assigned = masked(next((url for name, url in indexes if fnmatchcase(package, name)), ""))
    index = next((each.index for each in environment.files if each.name == package), "")
    origin = f" (from {index or assigned})" if index or assigned else ""
    named = f"indexes.{package} is {assigned}" if assigned else f"set indexes.{package}"
    use_index = f"{named}: the index that has {package} for {axis} {value}"
    if what == PYTHON:
        says, hint = f"{wrong['where']} is {found}", _PYTHON_HINT
    elif what == NVCC:
        says = f"{wrong['where']} is nvcc {found}" if found else "the build finds no nvcc"
        hint = _NVCC_HINT
    elif what == TORCH_ABI:
        says = f"torch {torch} has C++ ABI {found}{origin}"
        hint = f"exclude this cell, or correct axes.{axis}"
    elif device := _DEVICES.get(what):
        built = f"no {device}" if found == NONE else f"{device} {found}"
        says, hint = f"torch {torch} is for {built}{origin}", use_index
    else:
        missing = f"the environment that compiles has no {what}"
        says = f"{what} {found} compiles{origin}" if found else missing
        exact = "" if value.count(".") > 1 else ".*"
        pin = f'build.requires = ["{package}=={{{axis}}}{exact}"]'
        hint = f"{pin}, and no other version in before-build"
        if found and package == TORCH and assigned:
            hint = use_index
    return f"the cell has {axis} {value}, but {says}", hint


_PYTHON_HINT = "the build must use the Python of its cell: look for what replaces it on PATH"

_NVCC_HINT = (
    'build.cuda = "index", "host" or "image" says where nvcc comes from; CUDA_HOME and CUDACXX in '
    "[env] override it"
)
