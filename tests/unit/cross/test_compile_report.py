"""What the links counted of a build, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cross.native_gcc import count_calls
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.result import CompilerCacheStats, CompileReport
from orchestrator.models.target import EmulationMode
from orchestrator.models.wheel import ElfFile

PLANNED = CompileReport(emulation=EmulationMode.ACCELERATED, compiler="native g++")


def counted(
    scratch: Path,
    calls: str | None,
    planned: CompileReport = PLANNED,
    cache: CompilerCacheStats | None = None,
    files: tuple[ElfFile, ...] = (),
) -> CompileReport:
    """Return the report of a build whose links wrote these calls, or nothing."""
    (scratch / "native").mkdir()
    if calls is not None:
        (scratch / "native" / "calls").write_text(calls)
    found = count_calls(planned, scratch, cache, files)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("calls", "native", "emulated", "why"),
    [
        ("native\nown\nnative\n", 2, 1, ""),
        ("Rust\nnative\n", 1, 0, "Rust compiled under QEMU"),
        ("CUDA\nnative\nFortran\nown\n", 1, 1, "Fortran and CUDA compiled under QEMU"),
        ("own\n", 0, 1, "no compiler was called by a name that PATH leads to"),
        (None, 0, 0, "no compiler was called by a name that PATH leads to"),
    ],
)
def test_what_was_not_compiled_natively_is_said(
    tmp_path: Path, calls: str | None, native: int, emulated: int, why: str
) -> None:
    found = counted(tmp_path, calls)
    assert (found.native, found.emulated, found.why) == (native, emulated, why)


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ("nvcc\nnative\nnative\n", ""),
        ("nvcc\nnative\nCUDA\nnative\n", "CUDA compiled under QEMU (at hand: native nvcc 13.0.88)"),
    ],
)
def test_kernels_that_a_native_nvcc_compiled_are_counted(
    tmp_path: Path, calls: str, why: str
) -> None:
    found = counted(tmp_path, calls, replace(PLANNED, cuda="native nvcc 13.0.88"))
    assert (found.nvcc, found.native, found.why) == (1, 2, why)


def test_what_the_compiler_cache_had_needs_no_compiler(tmp_path: Path) -> None:
    assert counted(tmp_path, None, cache=CompilerCacheStats(hits=3, misses=0)).why == ""


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (("two.cpython-312-aarch64-linux-gnu.so", "cpython-312"), "Fortran compiled under QEMU"),
        # A grafted library was compiled by somebody else.
        (("two.libs/libopenblas-0a.so", None), ""),
    ],
)
def test_fortran_that_links_itself_is_known_by_its_library(
    tmp_path: Path, file: tuple[str, str | None], why: str
) -> None:
    module = ElfFile(
        file=file[0],
        arch=Arch.AARCH64,
        libc=Libc.MANYLINUX,
        soname="",
        needed=("libgfortran-8a9d71eb.so.5.0.0", "libc.so.6"),
        rpath=(),
        python_abi=file[1],
        isa="",
    )
    assert counted(tmp_path, "native\n", files=(module,)).why == why


def test_a_build_without_links_is_left_as_it_was_planned(tmp_path: Path) -> None:
    assert count_calls(PLANNED, tmp_path, None, ()) is PLANNED
    assert count_calls(None, tmp_path, None, ()) is None
