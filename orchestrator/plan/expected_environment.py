"""What a target's cell asks of the environment that compiles it, as patterns. Pure.

A script in that environment finds the facts (`builders/scripts/ask_environment.py`) and compares
them before the first compiler starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.plan.devices import WITHOUT, cuda_version, rocm_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.models.target import Target, TargetFacts

PYTHON, TORCH, TORCH_CUDA, TORCH_ROCM, TORCH_ABI, NVCC = (
    *("python", "torch", "torch.version.cuda", "torch.version.hip", "C++ ABI of torch", "nvcc"),
)
"""What is asked, beside the versions of distributions."""

NONE = "none"
"""The answer of a torch that is for no CUDA or no ROCm."""

_ALIASES = {"pytorch": TORCH}

_TORCH = re.compile(r"(?<![\w.-])torch(?![\w.-])")

_ABI = re.compile(r"(?:cxx11)?_?(?:abi)?_?(?:(1|true|on|yes)|0|false|off|no)", re.IGNORECASE)
"""A C++ ABI: ``TRUE``, ``0``, ``cxx11abiFALSE``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing that a cell asks of an environment.

    Attributes:
        what: a distribution, or one of the names above.
        axis: the axis that asks.
        value: its value.
        pattern: what the whole answer must match.
        required: whether a missing answer is wrong as well.
    """

    what: str
    axis: str
    value: str
    pattern: str
    required: bool = False


def questions(target: Target) -> tuple[Question, ...]:
    """Return what a target asks; a library asks nothing."""
    return tuple(_questions(target)) if target.python else ()


def cuda_of(target: Target) -> str:
    """Return the CUDA version that a target compiles for (``13.0``, ``13``); empty for none.

    A value such as ``cu130`` of an axis that is not called ``cuda`` counts beside a torch, or if
    the matrix says where CUDA comes from: other projects bring their own toolkit.
    """
    anywhere = _has_torch(target) or _names_cuda(target)
    for axis, value in _axes(target).items():
        found = cuda_version(value, plain=axis == "cuda")
        if found and (axis == "cuda" or anywhere):
            return found
    return ""


def compiles_cuda(target: Target) -> bool | None:
    """Whether a target compiles for CUDA beside a torch; False: for none; None: nothing says so."""
    if cuda_of(target):
        return True if _has_torch(target) else None
    axes = _axes(target)
    without = axes.get("cuda") in WITHOUT or "cpu" in axes.values()
    return False if without else None


def cxx11abi_of(target: TargetFacts) -> bool | None:
    """Return which C++ ABI of torch a target's axes, or the torch table, say; None: nothing."""
    value = dict((*target.derived, *target.variant)).get("cxx11abi", "")
    match = _ABI.fullmatch(value)
    return bool(match[1]) if match else None


def version_pattern(value: str) -> str:
    """Return what a version must match to be the value of an axis; empty if that is no version.

    ``2.13`` is any 2.13, as ``==2.13.*`` (PEP 440), and ``2.13.0`` exactly that one. Three digits
    (``126``) also stand for the 1.26 that they look like.
    """
    plain = value.removesuffix(".*")
    try:
        version = Version(plain)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return ""
    is_exact = len(version.release) > 2 or str(version) != version.base_version  # noqa: PLR2004
    if plain != value or not is_exact:
        series = rf"({_release(version.release)}{_compact(plain)})(\D.*)?"
        # PEP 440 pads with zeros: 1 is a 1.0, too.
        implied = rf"|{_release(version.release[:-1])}(\.?[a-z+].*)?"
        return series + implied * (version.release[-1] == 0 and len(version.release) > 1)
    significant = list(version.release)
    while len(significant) > 1 and significant[-1] == 0:
        significant.pop()
    suffix = re.escape(version.public.removeprefix(version.base_version))
    local = re.escape(f"+{version.local}") if version.local else r"(\+.*)?"
    return rf"{_release(significant)}(\.0+)*{suffix}{local}"


def _release(numbers: Iterable[int]) -> str:
    return r"\.".join(f"0*{number}" for number in numbers)


def _compact(value: str) -> str:
    """Return what else three or more digits may stand for: ``126`` for 1.26."""
    if not value.isdigit() or len(value) < 3:  # noqa: PLR2004
        return ""
    return rf"|{value[0]}\.{int(value[1:])}"


def _axes(target: Target) -> dict[str, str]:
    """Return the axes that say more than a name."""
    return {axis: value for axis, value in target.variant if axis not in target.label_only}


def _has_torch(target: Target) -> bool:
    return not _axes(target).keys().isdisjoint({TORCH, *_ALIASES})


def _names_torch(target: Target) -> bool:
    """Whether the matrix decides which torch a target is built with."""
    steps, spec = target.steps, target.steps.environment
    named = any(_TORCH.match(line) for line in spec.requires)
    served = any(fnmatchcase(TORCH, name) for name, _ in spec.indexes)
    told = _TORCH.search(f"{steps.before_all or ''} {steps.before_build or ''}")
    return _has_torch(target) or named or served or told is not None


def _names_cuda(target: Target) -> bool:
    return target.steps.environment.cuda is not None


def _questions(target: Target) -> Iterator[Question]:
    python = re.escape(target.python)
    yield Question(what=PYTHON, axis="python", value=target.python, pattern=python, required=True)
    axes = _axes(target)
    has_nvcc = bool(cuda_of(target))
    for axis, value in axes.items():
        if axis == "cxx11abi":
            yield from _abi(value)
        elif axis == "cuda" or cuda_version(value):
            yield from _cuda(target, axis, value, asks_nvcc=has_nvcc)
        elif axis == "rocm" or rocm_version(value):
            yield from _torch_device(TORCH_ROCM, axis, value, rocm_version(value, plain=True))
        else:
            yield from _distribution(axis, value)
    if "cxx11abi" not in axes:
        yield from _abi(dict(target.derived).get("cxx11abi", ""))


def _distribution(axis: str, value: str) -> Iterator[Question]:
    name = _ALIASES.get(axis, str(canonicalize_name(axis)))
    pattern = version_pattern(value)
    if name == TORCH and value.isdigit() and len(value) > 1:
        pattern = _torch_digits(value)
    if pattern or name == TORCH:
        yield Question(
            what=name, axis=axis, value=value, pattern=pattern or ".*", required=name == TORCH
        )


def _torch_digits(value: str) -> str:
    """Return the versions of torch that digits may stand for: ``28``, ``210``, ``271``."""
    minor = rf"{value[0]}\.{int(value[1:])}"
    patch = rf"|{value[0]}\.{value[1:-1]}\.{value[-1]}" if len(value) > 2 else ""  # noqa: PLR2004
    return rf"({minor}{patch})(\D.*)?"


def _cuda(target: Target, axis: str, value: str, *, asks_nvcc: bool) -> Iterator[Question]:
    version = cuda_version(value, plain=axis == "cuda")
    older = target.cuda_is_toolkit
    if version and not _names_torch(target):
        # The project alone decides about its torch, perhaps for headers that are for any CUDA.
        yield Question(what=TORCH_CUDA, axis=axis, value=value, pattern=r"\d.*")
    else:
        yield from _torch_device(TORCH_CUDA, axis, value, version, older=older)
    if version and asks_nvcc:
        pattern, required = _minor(version), _has_torch(target) or _names_cuda(target)
        yield Question(what=NVCC, axis=axis, value=value, pattern=pattern, required=required)


def _torch_device(
    what: str, axis: str, value: str, version: str, *, older: bool = False
) -> Iterator[Question]:
    """Ask what a torch is for; `older` allows an older CUDA of the same major version."""
    pattern = NONE if value in WITHOUT else _minor(version, older=older) if version else ""
    if pattern:
        yield Question(what=what, axis=axis, value=value, pattern=pattern)


def _minor(version: str, *, older: bool = False) -> str:
    major, _, minor = version.partition(".")
    if not minor:
        return rf"{major}(\..*)?"
    minors = "|".join(map(str, range(int(minor) + 1))) if older else minor
    return rf"{major}\.({minors})(\D.*)?"


def _abi(value: str) -> Iterator[Question]:
    match = _ABI.fullmatch(value)
    if match:
        abi = "1" if match[1] else "0"
        yield Question(what=TORCH_ABI, axis="cxx11abi", value=value, pattern=abi)
