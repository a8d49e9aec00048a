"""Choose what compiles a target, and how much of its build is emulated. Pure.

That is what the matrix asks for, else what is safe for such a target. It is a part of the cache key
and the same on every machine; a machine checks before the build whether it can do it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.target import CompilePlan, CompilerKind, EmulationMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DEVICES = ("cuda", "rocm")
"""Axes whose value names a compiler of its own, which calls ours."""

_NO_DEVICE = frozenset({"cpu", "none"})

_DEVICE = re.compile(r"(cu|rocm)\d[\d.]*")
"""A value that names such a compiler whatever its axis is called: ``cu130``."""

_CUDA = re.compile(r"(?:cu(?:da)?)?(?:(?P<major>\d+)\.(?P<minor>\d+)(?:\.\d+)*|(?P<digits>\d{3}))")
"""How the version of CUDA is written: ``13.0``, ``13.0.1``, ``cu130``, ``130``."""

_INSTEAD = ('build.compiler = "gcc"', 'build.emulation = "accelerated"')
"""What to say instead of zig, and of a cross build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSettings:
    """What the matrix says; None for nothing.

    Attributes:
        emulation: how much is emulated.
        compiler: what compiles.
        baseline: the glibc that it builds for.
    """

    emulation: EmulationMode | None = None
    compiler: CompilerKind | None = None
    baseline: str | None = None


def compile_plan(  # noqa: PLR0913 - keyword-only but for one
    asked: CompileSettings,
    *,
    libc: Libc,
    baseline: str,
    axes: Mapping[str, str],
    prepared: bool = False,
    where: Callable[[str], str],
) -> CompilePlan:
    """Return what compiles a target, and how much is emulated where its architecture is foreign.

    Args:
        asked: what the matrix says.
        libc: its libc.
        baseline: the libc version that the wheel may need at most; empty for any.
        axes: the values of its cell, its architecture among them.
        prepared: whether a command prepares the image first.
        where: dotted path of what set a key of ``[build]``.

    Raises:
        ConfigError: the settings contradict each other, or the target.
    """
    kind, why = _compiler(asked)
    if kind is CompilerKind.ZIG:
        _check_zig(asked, libc, axes, why, where)
    else:
        _check_gcc(asked, where)
    floor = _glibc(asked, Arch(axes["arch"]), baseline, where)
    emulation, reason = _emulation(asked, libc, axes)
    alone = "" if prepared or _needs_image(asked, libc, axes) else floor
    if alone:
        reason += "; cross, by zig, without an engine"
    return CompilePlan(
        emulation=emulation,
        compiler=kind,
        baseline=floor if kind is CompilerKind.ZIG else "",
        alone=alone,
        why=reason,
    )


def _check_zig(
    asked: CompileSettings,
    libc: Libc,
    axes: Mapping[str, str],
    why: str,
    where: Callable[[str], str],
) -> None:
    if problem := _no_zig(libc, axes):
        hint = f"{_INSTEAD[why == 'emulation']} for these targets"
        raise ConfigError.of(problem, where=where(why), hint=hint)
    if asked.emulation is EmulationMode.FULL:
        hint = 'build.emulation = "accelerated", or build.compiler = "gcc"'
        raise ConfigError.of("zig is never emulated", where=where("emulation"), hint=hint)


def _check_gcc(asked: CompileSettings, where: Callable[[str], str]) -> None:
    if asked.baseline is not None:
        raise ConfigError.of(
            "gcc builds for the image's glibc only",
            where=where("baseline"),
            hint='build.compiler = "zig" builds for any; or name an older image',
        )
    if asked.emulation is EmulationMode.CROSS:
        raise ConfigError.of(
            "gcc cross-compiles with an image's headers and libraries, and so only in an image",
            where=where("compiler"),
            hint='build.emulation = "accelerated", or leave the compiler out: zig needs no image',
        )


def without_engine(planned: CompilePlan) -> CompilePlan | None:
    """Return what compiles a foreign target where no engine runs its image; None where nothing may.

    Args:
        planned: from `compile_plan`.
    """
    if not planned.alone:
        return None
    return CompilePlan(
        emulation=EmulationMode.CROSS,
        compiler=CompilerKind.ZIG,
        baseline=planned.alone,
        why="no container engine answers",
    )


def _compiler(asked: CompileSettings) -> tuple[CompilerKind, str]:
    """The compiler, and the key that decides about it."""
    if asked.compiler is not None:
        return asked.compiler, "compiler"
    if asked.baseline is not None:
        return CompilerKind.ZIG, "baseline"
    if asked.emulation is EmulationMode.CROSS:
        return CompilerKind.ZIG, "emulation"
    return CompilerKind.GCC, "compiler"


def _no_zig(libc: Libc, axes: Mapping[str, str]) -> str:
    if "torch" in axes:
        return "zig's C++ library is not torch's: their objects cannot be shared"
    if _device(axes):
        return f"{_device(axes)}'s compiler needs gcc"
    if libc is not Libc.MANYLINUX:
        return "zig is used for glibc only"
    return ""


def _needs_image(asked: CompileSettings, libc: Libc, axes: Mapping[str, str]) -> bool:
    """Whether a target must not be built without its image unless the matrix says so."""
    chosen = asked.emulation is not None or asked.compiler is CompilerKind.GCC
    tag = PythonTag.match(axes.get("python", "").removeprefix(ABI3))
    known = (tag is None or tag.implementation == "cpython") and Arch(axes["arch"]).facts.cross
    return chosen or not known or bool(_no_zig(libc, axes))


def _emulation(
    asked: CompileSettings, libc: Libc, axes: Mapping[str, str]
) -> tuple[EmulationMode, str]:
    if asked.emulation is not None:
        return asked.emulation, "as asked for"
    if libc is not Libc.MANYLINUX:
        return EmulationMode.FULL, "native cross compilers are for glibc"
    device = _device(axes)
    if device.startswith("rocm"):
        return EmulationMode.FULL, f"{device}'s compiler runs where the build runs"
    languages = "C, C++, CUDA" if device else "C, C++"
    return EmulationMode.ACCELERATED, f"{languages} and uv natively, the rest under QEMU"


def _device(axes: Mapping[str, str]) -> str:
    for name, value in axes.items():
        if name in _DEVICES and value not in _NO_DEVICE:
            return name
        if _DEVICE.fullmatch(value):
            return value
    return ""


def cuda(axes: Mapping[str, str]) -> str:
    """Return the version of CUDA that a target is for: ``13.0``; empty for none, or an unknown one.

    Args:
        axes: the values of its cell.
    """
    for name, value in axes.items():
        found = _CUDA.fullmatch(value)
        if found is None or (name != "cuda" and not value.startswith("cu")):
            continue
        digits = found["digits"]
        return f"{found['major']}.{found['minor']}" if not digits else f"{digits[:-1]}.{digits[-1]}"
    return ""


def _glibc(asked: CompileSettings, arch: Arch, baseline: str, where: Callable[[str], str]) -> str:
    """The glibc to build for: what is asked for, else the target's own baseline, else the oldest.

    No older one than the architecture's first.
    """
    wanted = asked.baseline or baseline or "2.17"
    if baseline and _number(wanted) > _number(baseline):
        raise ConfigError.of(
            f"glibc {wanted} is newer than the {baseline} that the wheel may need",
            where=where("baseline"),
            hint="leave it out: the target's own baseline counts then",
        )
    return max(wanted, arch.facts.first_glibc or wanted, key=_number)


def _number(version: str) -> int:
    return int(version.partition(".")[2])
