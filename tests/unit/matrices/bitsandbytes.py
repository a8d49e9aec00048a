"""bitsandbytes: 38 builds of libraries feed 5 wheels.

Source: ``.github/workflows/python-package.yml`` of bitsandbytes-foundation/bitsandbytes, commit
95f9af309d4d5793847169c39288dcd3fcbdf564 (2026-08-19). Four jobs build shared libraries:

- build-cpu: 5 systems;
- build-cuda: 3 systems by 7 CUDA versions, and CUDA 13.4.0 for Windows on Arm: 22;
- build-xpu: 2 systems by 2 oneAPI versions: 4;
- build-rocm: Linux by 5 ROCm versions, and 7.2.1 and 7.14.0 for Windows: 7.

build-wheels makes one wheel a system. It downloads every ``shared_library*_<os>_<arch>*`` artefact
and copies ``output/<os>/<arch>/*`` into ``bitsandbytes/``: a library goes into the wheel with
which it agrees on ``os`` and ``arch``. Nothing is excluded, and nothing had to be reconstructed.

The runner names stand for (os, arch) as below; build-xpu's windows-2022 and the others'
windows-2025 are the same system. The wheels are ``py3-none-<platform>`` whatever Python packs them
(``set_platform_tag.py``; the workflow uses 3.12): they hold libraries that ctypes opens.
"""

from __future__ import annotations

from tests.unit.matrices.ground import Cell, cell

LIBRARIES = 38
WHEELS = 5
LIBRARIES_BY_BACKEND = {"cpu": 5, "cuda": 22, "xpu": 4, "rocm": 7}
LIBRARIES_BY_WHEEL = {
    ("linux", "x86_64"): 15,
    ("linux", "aarch64"): 8,
    ("windows", "x86_64"): 12,
    ("windows", "aarch64"): 2,
    ("macos", "aarch64"): 1,
}

SYSTEMS = {
    "ubuntu-22.04": ("linux", "x86_64"),
    "ubuntu-22.04-arm": ("linux", "aarch64"),
    "windows-2025": ("windows", "x86_64"),
    "windows-2022": ("windows", "x86_64"),
    "windows-11-arm": ("windows", "aarch64"),
    "windows-11-vs2026-arm": ("windows", "aarch64"),
    "macos-15": ("macos", "aarch64"),
}
WHEEL_RUNNERS = ("ubuntu-22.04", "ubuntu-22.04-arm", "windows-2025", "windows-11-arm", "macos-15")
PLATFORM_TAGS = {
    ("linux", "x86_64"): "manylinux_2_24_x86_64",
    ("linux", "aarch64"): "manylinux_2_24_aarch64",
    ("windows", "x86_64"): "win_amd64",
    ("windows", "aarch64"): "win_arm64",
    ("macos", "aarch64"): "macosx_14_0_arm64",
}
CUDA = ("11.8.0", "12.1.1", "12.4.1", "12.6.3", "12.8.1", "13.0.2", "13.2.0")
ROCM = ("6.4.4", "7.0.2", "7.1.1", "7.2.4", "7.14.0")
ONEAPI = ("2025", "2026")


def libraries() -> frozenset[Cell]:
    """The builds of libraries; each has the axis of its own backend's version and no other."""
    return frozenset(
        [_library(runner, "cpu") for runner in WHEEL_RUNNERS]
        + [
            _library(runner, "cuda", cuda=version)
            for runner in ("ubuntu-22.04", "ubuntu-22.04-arm", "windows-2025")
            for version in CUDA
        ]
        + [_library("windows-11-vs2026-arm", "cuda", cuda="13.4.0")]
        + [
            _library(runner, "xpu", oneapi=version)
            for runner in ("ubuntu-22.04", "windows-2022")
            for version in ONEAPI
        ]
        + [_library("ubuntu-22.04", "rocm", rocm=version) for version in ROCM]
        + [_library("windows-2025", "rocm", rocm=version) for version in ("7.2.1", "7.14.0")]
    )


def expected() -> frozenset[Cell]:
    """The wheels."""
    return frozenset(_wheel(runner) for runner in WHEEL_RUNNERS)


def feeds() -> dict[Cell, frozenset[Cell]]:
    """Each wheel and the libraries that it holds."""
    return {
        wheel: frozenset(library for library in libraries() if wheel <= library)
        for wheel in expected()
    }


def _library(runner: str, backend: str, **version: str) -> Cell:
    os, arch = SYSTEMS[runner]
    return cell(os=os, arch=arch, backend=backend, **version)


def _wheel(runner: str) -> Cell:
    os, arch = SYSTEMS[runner]
    return cell(os=os, arch=arch)
