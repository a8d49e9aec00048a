"""What compiles a target, and how much of its build is emulated."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Libc
from orchestrator.models.target import CompilePlan, CompilerKind, EmulationMode
from orchestrator.plan.compilers import CompileSettings, compile_plan, without_engine


def chosen(
    asked: CompileSettings | None = None,
    axes: dict[str, str] | None = None,
    *,
    libc: Libc = Libc.MANYLINUX,
    baseline: str = "",
) -> CompilePlan:
    return compile_plan(
        asked or CompileSettings(),
        libc=libc,
        baseline=baseline,
        axes={"arch": "aarch64", **(axes or {})},
        where=lambda key: f"build.{key}",
    )


def test_where_nothing_is_said_compilers_are_native_and_the_images_own() -> None:
    assert chosen() == CompilePlan(emulation=EmulationMode.ACCELERATED, compiler=CompilerKind.GCC)


@pytest.mark.parametrize("axes", [{"cuda": "12.8"}, {"device": "cu130"}])
def test_cuda_is_accelerated_and_by_gcc(axes: dict[str, str]) -> None:
    made = chosen(None, axes)

    assert (made.emulation, made.compiler) == (EmulationMode.ACCELERATED, CompilerKind.GCC)
    assert "CUDA" in made.why


@pytest.mark.parametrize("axes", [{"rocm": "6.4"}, {"device": "rocm6.4"}])
def test_rocm_s_compiler_is_emulated_with_all_the_rest(axes: dict[str, str]) -> None:
    made = chosen(None, axes)

    assert made.emulation is EmulationMode.FULL
    assert {*axes, *axes.values()} & set(made.why.replace("'", " ").split())


@pytest.mark.parametrize("axes", [{"cuda": "cpu"}, {"device": "cpu"}, {"solver": "cuts2"}])
def test_a_variant_for_the_cpu_is_accelerated(axes: dict[str, str]) -> None:
    assert chosen(None, axes).emulation is EmulationMode.ACCELERATED


@pytest.mark.parametrize(
    ("axes", "baseline", "glibc"),
    [
        ({}, "", "2.17"),
        ({}, "2.28", "2.28"),
        ({"arch": "riscv64", "python": "cp312"}, "", "2.27"),
        ({"arch": "loongarch64", "python": "abi3-cp39"}, "", "2.36"),
    ],
)
def test_without_an_engine_what_nobody_decided_about_is_cross_compiled(
    axes: dict[str, str], baseline: str, glibc: str
) -> None:
    planned = chosen(None, axes, baseline=baseline)
    made = without_engine(planned)

    assert made == CompilePlan(
        emulation=EmulationMode.CROSS, compiler=CompilerKind.ZIG, baseline=glibc
    )
    assert planned.why.endswith("cross, by zig, without an engine")


@pytest.mark.parametrize(
    ("asked", "axes", "libc"),
    [
        (CompileSettings(emulation=EmulationMode.ACCELERATED), {}, Libc.MANYLINUX),
        (CompileSettings(compiler=CompilerKind.GCC), {}, Libc.MANYLINUX),
        (CompileSettings(), {"torch": "2.8"}, Libc.MANYLINUX),
        (CompileSettings(), {"device": "cu130"}, Libc.MANYLINUX),
        (CompileSettings(), {"python": "pp311"}, Libc.MANYLINUX),
        (CompileSettings(), {"arch": "s390x"}, Libc.MANYLINUX),
        (CompileSettings(), {}, Libc.MUSLLINUX),
    ],
)
def test_what_needs_its_image_stays_with_it(
    asked: CompileSettings, axes: dict[str, str], libc: Libc
) -> None:
    planned = chosen(asked, axes, libc=libc)

    assert without_engine(planned) is None
    assert "zig" not in planned.why


def test_an_image_that_is_prepared_first_is_needed() -> None:
    planned = compile_plan(
        CompileSettings(),
        libc=Libc.MANYLINUX,
        baseline="",
        axes={"arch": "aarch64"},
        prepared=True,
        where=str,
    )

    assert without_engine(planned) is None


def test_musl_is_emulated_as_a_whole() -> None:
    assert chosen(libc=Libc.MUSLLINUX).emulation is EmulationMode.FULL


@pytest.mark.parametrize("mode", EmulationMode)
def test_what_the_matrix_says_counts(mode: EmulationMode) -> None:
    assert chosen(CompileSettings(emulation=mode)).emulation is mode


@pytest.mark.parametrize(
    ("asked", "arch", "baseline", "glibc"),
    [
        (CompileSettings(baseline="2.28"), "aarch64", "", "2.28"),
        (CompileSettings(compiler=CompilerKind.ZIG), "aarch64", "", "2.17"),
        (CompileSettings(compiler=CompilerKind.ZIG), "aarch64", "2.28", "2.28"),
        (CompileSettings(baseline="2.17"), "aarch64", "2.28", "2.17"),
        (CompileSettings(baseline="2.17"), "riscv64", "", "2.27"),
        (CompileSettings(emulation=EmulationMode.CROSS), "loongarch64", "", "2.36"),
    ],
)
def test_zig_builds_for_one_glibc(
    asked: CompileSettings, arch: str, baseline: str, glibc: str
) -> None:
    made = chosen(asked, axes={"arch": arch}, baseline=baseline)

    assert (made.compiler, made.baseline) == (CompilerKind.ZIG, glibc)


@pytest.mark.parametrize(
    ("asked", "axes", "where", "what"),
    [
        (CompileSettings(compiler=CompilerKind.ZIG), {"torch": "2.8"}, "build.compiler", "torch"),
        (CompileSettings(baseline="2.17"), {"torch": "2.8"}, "build.baseline", "torch"),
        (
            CompileSettings(emulation=EmulationMode.CROSS),
            {"torch": "2.8"},
            "build.emulation",
            "torch",
        ),
        (CompileSettings(compiler=CompilerKind.ZIG), {"cuda": "12.8"}, "build.compiler", "cuda"),
        (
            CompileSettings(compiler=CompilerKind.GCC, emulation=EmulationMode.CROSS),
            {},
            "build.compiler",
            "gcc cross-compiles",
        ),
        (
            CompileSettings(compiler=CompilerKind.GCC, baseline="2.17"),
            {},
            "build.baseline",
            "gcc builds for the image's glibc",
        ),
    ],
)
def test_what_cannot_be_is_an_error_of_the_plan(
    asked: CompileSettings, axes: dict[str, str], where: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        chosen(asked, axes)

    assert caught.value.problems[0].where == where


def test_a_baseline_above_what_the_wheel_may_need_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"glibc 2\.34 is newer than the 2\.28"):
        chosen(CompileSettings(baseline="2.34"), baseline="2.28")
