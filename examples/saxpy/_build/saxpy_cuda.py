"""What SAXPY_CUDA and SAXPY_CUDA_ARCHS mean: requirements, the compiler's place, its arguments."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.metadata import files as files_of
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SUPPORTED = ("13.0", "13.2")

# Turing, Ampere, Hopper, Blackwell (data centre), Blackwell (workstation): what CUDA 13 still
# compiles for, thinned out, since each one costs compile time and wheel size.
DEFAULT_ARCHS = "75;80;90;100;120"

# nvcc's own metadata asks for the other three at *any* version, so that a fresh nvvm would join
# an older nvcc: each one is pinned here.
COMPILER_WHEELS = (
    "nvidia-cuda-nvcc",  # nvcc, cudafe++, ptxas, fatbinary
    "nvidia-nvvm",  # cicc, libdevice
    "nvidia-cuda-crt",  # headers that nvcc includes in every translation unit
    "nvidia-cuda-runtime",  # cuda_runtime.h, libcudart.so.13
)

# For the host compiler, called by setuptools and by nvcc alike. Nothing throws here, and
# exceptions cannot cross Python's C API: without their handlers, a wheel made with GCC 14 needs
# no newer libstdc++ (CXXABI_1.3.15) than one made with GCC 10.
HOST_FLAGS = ["-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-exceptions"]


def requested_cuda(environ: Mapping[str, str]) -> str | None:
    """Return the CUDA version to build for, such as "13.0", or None for a CPU build."""
    value = environ.get("SAXPY_CUDA", "")
    if not value:
        return None
    if value not in SUPPORTED:
        # SystemExit, not an exception: frontends show a backend's output, and a traceback
        # would bury the one line that helps.
        known = ", ".join(SUPPORTED)
        msg = (
            f"saxpy: SAXPY_CUDA={value!r} is not a CUDA version that saxpy builds for; "
            f"use one of: {known}; or leave it unset or empty for a CPU build"
        )
        raise SystemExit(msg)
    return value


def requested_archs(environ: Mapping[str, str]) -> list[str]:
    """Return the GPU architectures to compile for, such as ["80", "90a"]."""
    value = environ.get("SAXPY_CUDA_ARCHS", "") or DEFAULT_ARCHS
    archs = value.split(";")
    if not all(re.fullmatch(r"[0-9]{2,3}[af]?", arch) for arch in archs):
        msg = (
            f"saxpy: SAXPY_CUDA_ARCHS={value!r} is not a list of compute capabilities without "
            f"a dot, separated by semicolons, such as {DEFAULT_ARCHS!r}"
        )
        raise SystemExit(msg)
    return archs


def compiler_requirements(cuda: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return the build requirements that bring a compiler for `cuda`.

    A CPU build needs none, nor does a build whose CUDA_HOME is a toolkit of that very version.
    """
    if not cuda or given_toolkit(cuda, environ):
        return []
    return [f"{wheel}=={cuda}.*" for wheel in COMPILER_WHEELS]


def runtime_requirements(cuda: str | None) -> list[str]:
    """Return what a wheel built for `cuda` needs installed.

    A program built with one CUDA 13 toolkit runs with the runtime library of the same or any
    later 13.x, hence a range: pinned to the minor, two packages could not share an environment.
    """
    if not cuda:
        return []
    major = int(cuda.partition(".")[0])
    return [f"nvidia-cuda-runtime>={cuda},<{major + 1}"]


def given_toolkit(cuda: str, environ: Mapping[str, str]) -> Path | None:
    """Return the toolkit that CUDA_HOME names, if its nvcc is one of `cuda`.

    Another version would give a wheel that is not what its label says.
    """
    root = Path(environ.get("CUDA_HOME") or "/nonexistent")
    nvcc = root / "bin" / "nvcc"
    whole = nvcc.is_file() and (root / "include" / "cuda_runtime.h").is_file()
    return root if whole and f", V{cuda}.".encode() in _version_text(str(nvcc), root) else None


def toolkit(cuda: str, environ: Mapping[str, str]) -> Path:
    """Return the toolkit of `cuda`: CUDA_HOME's, or the one of the compiler's wheels.

    The wheels' own records say where it is (its bin/ has nvcc).
    """
    given = given_toolkit(cuda, environ)
    if given:
        return given
    for wheel in COMPILER_WHEELS:
        found = _installed(wheel)
        if not found.startswith(f"{cuda}."):
            msg = (
                f"saxpy: SAXPY_CUDA={cuda} needs {wheel}=={cuda}.* in the build environment, "
                f"which has {found}; build isolation installs it"
            )
            raise SystemExit(msg)
    nvcc = next(f for f in files_of("nvidia-cuda-nvcc") or () if f.match("bin/nvcc"))
    return Path(nvcc.locate()).resolve().parents[1]


def _installed(wheel: str) -> str:
    try:
        return version(wheel)
    except PackageNotFoundError:
        return "none"


def compiler(root: Path, environ: Mapping[str, str]) -> str:
    """Return the nvcc to call: as with CMake, CUDACXX may name a program in its place.

    It is told which toolkit is meant by CUDA_HOME, and has to be an nvcc of that very version: a
    cache's, or a native one where the rest of the build is emulated.
    """
    own, named = str(root / "bin" / "nvcc"), environ.get("CUDACXX", "")
    same = named and _version_text(named, root) == _version_text(own, root)
    return named if same else own


def _version_text(nvcc: str, root: Path) -> bytes:
    env = {**os.environ, "CUDA_HOME": str(root)}
    said = subprocess.run([nvcc, "--version"], env=env, capture_output=True, check=False)
    return said.stdout


def nvcc_command(nvcc: str, source: str, output: str, archs: list[str]) -> list[str]:
    """Return the command that compiles `source` with `nvcc`, for every arch.

    The last arch goes in as PTX too, which drivers compile for GPUs that are newer than it.
    """
    targets = [f"arch=compute_{arch},code=sm_{arch}" for arch in archs]
    targets.append(f"arch=compute_{archs[-1]},code=compute_{archs[-1]}")
    return [
        nvcc,
        "-std=c++17",
        "--compiler-options=" + ",".join(HOST_FLAGS),
        *(f"--generate-code={target}" for target in targets),
        "--compile",
        source,
        "--output-file",
        output,
    ]
