"""Choose what compiles a target, and how much of its build is emulated. Pure.

That is what the matrix asks for, else what is safe for such a target. It is a part of the cache key
and the same on every machine; a machine checks before the build whether it can do it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.target import CompilePlan, CompilerKind, CudaSource, EmulationMode
from orchestrator.plan.devices import WITHOUT, cuda_version, index_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.config.settings import Build

_DEVICES = ("cuda", "rocm")
"""Axes whose value names a compiler of its own, which calls ours."""

_DEVICE = re.compile(r"(cu|rocm)\d[\d.]*")
"""A value that names such a compiler whatever its axis is called: ``cu130``."""


def compile_plan(
    build: Build,
    *,
    libc: Libc,
    baseline: str,
    axes: Mapping[str, str],
    where: Callable[[str], str],
) -> CompilePlan:
    """Return what compiles a target, and how much is emulated where its architecture is foreign.

    Args:
        build: what the matrix says.
        libc: the target's libc.
        baseline: the libc version that the wheel may need at most; empty for any.
        axes: the values of its cell, its architecture among them.
        where: dotted path of what set a key of ``[build]``.

    Raises:
        ConfigError: the settings contradict each other, or the target.
    """
    by_gcc = _is_crossed_by_gcc(build, libc, axes)
    kind, key = _compiler(build, CompilerKind.GCC if by_gcc else CompilerKind.ZIG)
    no_zig = _no_zig(libc, axes)
    if kind is CompilerKind.ZIG:
        _check_zig(build, no_zig, key, where)
    else:
        _check_gcc(build, where, may_cross=by_gcc)
    floor = _glibc(build, Arch(axes["arch"]), baseline, where)
    emulation, reason = _emulation(build, libc, axes)
    alone = "" if (no_zig and not by_gcc) or _needs_image(build, axes) else floor
    alone_by = CompilerKind.GCC if by_gcc else CompilerKind.ZIG
    if alone:
        reason += f"; cross, by {alone_by}, where no engine runs its image"
    return CompilePlan(
        emulation=emulation,
        compiler=kind,
        baseline=floor if kind is CompilerKind.ZIG else "",
        alone=alone,
        alone_by=alone_by,
        why=reason,
    )


def _check_zig(build: Build, no_zig: str, key: str, where: Callable[[str], str]) -> None:
    gcc, accelerated = 'build.compiler = "gcc"', 'build.emulation = "accelerated"'
    if no_zig:
        hint = f"{accelerated if key == 'emulation' else gcc} for these targets"
        raise ConfigError.of(no_zig, where=where(key), hint=hint)
    if build.emulation is EmulationMode.FULL:
        hint = f"{accelerated}, or {gcc}"
        raise ConfigError.of("zig is never emulated", where=where("emulation"), hint=hint)


def _check_gcc(build: Build, where: Callable[[str], str], *, may_cross: bool) -> None:
    if build.baseline is not None:
        raise ConfigError.of(
            "gcc builds for the image's glibc only",
            where=where("baseline"),
            hint='build.compiler = "zig" builds for any; or name an older image',
        )
    if build.emulation is EmulationMode.CROSS and not may_cross:
        raise ConfigError.of(
            "gcc cross-compiles with an image's headers and libraries, and so only in an image",
            where=where("compiler"),
            hint='build.emulation = "accelerated", or leave the compiler out: zig needs no image',
        )


def without_engine(planned: CompilePlan) -> CompilePlan | None:
    """Return what compiles a foreign target where no engine runs its image; None: nothing may."""
    if not planned.alone:
        return None
    by_zig = planned.alone_by is CompilerKind.ZIG
    return CompilePlan(
        emulation=EmulationMode.CROSS,
        compiler=planned.alone_by,
        baseline=planned.alone if by_zig else "",
        why="no container engine runs its image",
    )


def _is_crossed_by_gcc(build: Build, libc: Libc, axes: Mapping[str, str]) -> bool:
    """Whether a cross build is one by the distribution's cross gcc: for CUDA of the package index.

    nvcc's headers refuse the clang and the C++ library that zig has. The index has nvcc for
    x86_64, and headers and libraries for aarch64, of one CUDA.
    """
    from_index = build.cuda in {None, CudaSource.INDEX}
    if "torch" in axes or libc is not Libc.MANYLINUX or not from_index:
        return False
    if Arch(axes["arch"]) is not Arch.AARCH64:
        return False
    versions = (
        cuda_version(value, plain=name == "cuda")
        for name, value in axes.items()
        if name == "cuda" or build.cuda
    )
    version = next(filter(None, versions), "")
    return bool(version) and not index_fault(version)


def _compiler(build: Build, crossed_by: CompilerKind) -> tuple[CompilerKind, str]:
    """Return the compiler, and the key that decides about it."""
    if build.compiler is not None:
        return build.compiler, "compiler"
    if build.baseline is not None:
        return CompilerKind.ZIG, "baseline"
    if build.emulation is EmulationMode.CROSS:
        return crossed_by, "emulation"
    return CompilerKind.GCC, "compiler"


def _no_zig(libc: Libc, axes: Mapping[str, str]) -> str:
    if "torch" in axes:
        return "zig's C++ library is not torch's: their objects cannot be shared"
    if _device(axes):
        return f"{_device(axes)}'s compiler needs gcc"
    if libc is not Libc.MANYLINUX:
        return "zig is used for glibc only"
    return ""


def _needs_image(build: Build, axes: Mapping[str, str]) -> bool:
    """Whether a target is built only in its image although zig could compile it without."""
    chosen = build.emulation is not None or build.compiler is CompilerKind.GCC
    tag = PythonTag.match(axes.get("python", "").removeprefix(ABI3))
    known = (tag is None or tag.implementation == "cpython") and Arch(axes["arch"]).facts.cross
    return chosen or not known or build.before_all is not None


def _emulation(build: Build, libc: Libc, axes: Mapping[str, str]) -> tuple[EmulationMode, str]:
    if build.emulation is not None:
        return build.emulation, "as asked for"
    if libc is not Libc.MANYLINUX:
        return EmulationMode.FULL, "native cross compilers are for glibc"
    device = _device(axes)
    if device.startswith("rocm"):
        return EmulationMode.FULL, f"{device}'s compiler runs where the build runs"
    languages = "C, C++, CUDA" if device else "C, C++"
    return EmulationMode.ACCELERATED, f"{languages} and uv natively, the rest under QEMU"


def _device(axes: Mapping[str, str]) -> str:
    for name, value in axes.items():
        if name in _DEVICES and value not in WITHOUT:
            return name
        if _DEVICE.fullmatch(value):
            return value
    return ""


def cuda(axes: Mapping[str, str]) -> str:
    """Return the CUDA version of a cell: ``13.0``; empty for none, or an unknown one."""
    versions = (cuda_version(value, plain=name == "cuda") for name, value in axes.items())
    return next((version for version in versions if "." in version), "")


def _glibc(build: Build, arch: Arch, baseline: str, where: Callable[[str], str]) -> str:
    """Return the glibc to build for: what is asked for, the target's baseline, or the oldest."""
    wanted = build.baseline or baseline or "2.17"
    if baseline and _number(wanted) > _number(baseline):
        raise ConfigError.of(
            f"glibc {wanted} is newer than the {baseline} that the wheel may need",
            where=where("baseline"),
            hint="leave it out: the target's own baseline counts then",
        )
    return max(wanted, arch.facts.first_glibc or wanted, key=_number)


def _number(version: str) -> int:
    return int(version.partition(".")[2])
