"""What compiles a target, and how much of its build is emulated."""

from __future__ import annotations

import pytest

from orchestrator.config.settings import Build
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Libc
from orchestrator.models.target import CompilePlan, CompilerKind, CudaSource, EmulationMode
from orchestrator.plan.compilers import compile_plan, without_engine


def chosen(
    asked: Build | None = None,
    axes: dict[str, str] | None = None,
    *,
    libc: Libc = Libc.MANYLINUX,
    baseline: str = "",
) -> CompilePlan:
    return compile_plan(
        asked or Build(),
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
    assert planned.why.endswith("cross, by zig, where no engine runs its image")


@pytest.mark.parametrize(
    ("asked", "axes", "libc"),
    [
        (Build(emulation=EmulationMode.ACCELERATED), {}, Libc.MANYLINUX),
        (Build(compiler=CompilerKind.GCC), {}, Libc.MANYLINUX),
        (Build(), {"torch": "2.8"}, Libc.MANYLINUX),
        (Build(), {"device": "cu130"}, Libc.MANYLINUX),
        (Build(), {"python": "pp311"}, Libc.MANYLINUX),
        (Build(), {"arch": "s390x"}, Libc.MANYLINUX),
        (Build(), {}, Libc.MUSLLINUX),
    ],
)
def test_what_needs_its_image_stays_with_it(asked: Build, axes: dict[str, str], libc: Libc) -> None:
    planned = chosen(asked, axes, libc=libc)

    assert without_engine(planned) is None
    assert "zig" not in planned.why


@pytest.mark.parametrize(
    ("asked", "axes", "crossed"),
    [
        (Build(), {"cuda": "13.0"}, True),
        (Build(), {"cuda": "12.8"}, False),  # the index has no nvcc of it
        (Build(), {"cuda": "13.0", "torch": "2.13"}, False),
        (Build(), {"device": "cu130"}, False),  # the project brings its own toolkit
        (Build(cuda=CudaSource.INDEX), {"device": "cu130"}, True),
        (Build(cuda=CudaSource.HOST), {"cuda": "13.0"}, False),
        (Build(emulation=EmulationMode.FULL), {"cuda": "13.0"}, False),
        (Build(), {"cuda": "13.0", "arch": "riscv64"}, False),
    ],
)
def test_cuda_of_the_index_is_crossed_by_gcc(
    asked: Build, axes: dict[str, str], *, crossed: bool
) -> None:
    made = without_engine(chosen(asked, axes))
    by_gcc = CompilePlan(emulation=EmulationMode.CROSS, compiler=CompilerKind.GCC)
    assert made == (by_gcc if crossed else None)


def test_a_cross_build_that_is_asked_for_has_gcc_for_cuda() -> None:
    made = chosen(Build(emulation=EmulationMode.CROSS), {"cuda": "13.0"})
    assert made == CompilePlan(emulation=EmulationMode.CROSS, compiler=CompilerKind.GCC)


def test_an_image_that_is_prepared_first_is_needed() -> None:
    planned = compile_plan(
        Build.model_validate({"before-all": "yum install -y cmake"}),
        libc=Libc.MANYLINUX,
        baseline="",
        axes={"arch": "aarch64"},
        where=str,
    )

    assert without_engine(planned) is None


def test_musl_is_emulated_as_a_whole() -> None:
    assert chosen(libc=Libc.MUSLLINUX).emulation is EmulationMode.FULL


@pytest.mark.parametrize("mode", EmulationMode)
def test_what_the_matrix_says_counts(mode: EmulationMode) -> None:
    assert chosen(Build(emulation=mode)).emulation is mode


@pytest.mark.parametrize(
    ("asked", "arch", "baseline", "glibc"),
    [
        (Build(baseline="2.28"), "aarch64", "", "2.28"),
        (Build(compiler=CompilerKind.ZIG), "aarch64", "", "2.17"),
        (Build(compiler=CompilerKind.ZIG), "aarch64", "2.28", "2.28"),
        (Build(baseline="2.17"), "aarch64", "2.28", "2.17"),
        (Build(baseline="2.17"), "riscv64", "", "2.27"),
        (Build(emulation=EmulationMode.CROSS), "loongarch64", "", "2.36"),
    ],
)
def test_zig_builds_for_one_glibc(asked: Build, arch: str, baseline: str, glibc: str) -> None:
    made = chosen(asked, axes={"arch": arch}, baseline=baseline)

    assert (made.compiler, made.baseline) == (CompilerKind.ZIG, glibc)


@pytest.mark.parametrize(
    ("asked", "axes", "where", "what"),
    [
        (Build(compiler=CompilerKind.ZIG), {"torch": "2.8"}, "build.compiler", "torch"),
        (Build(baseline="2.17"), {"torch": "2.8"}, "build.baseline", "torch"),
        (
            Build(emulation=EmulationMode.CROSS),
            {"torch": "2.8"},
            "build.emulation",
            "torch",
        ),
        (Build(compiler=CompilerKind.ZIG), {"cuda": "12.8"}, "build.compiler", "cuda"),
        (
            Build(compiler=CompilerKind.GCC, emulation=EmulationMode.CROSS),
            {},
            "build.compiler",
            "gcc cross-compiles",
        ),
        (
            Build(compiler=CompilerKind.GCC, baseline="2.17"),
            {},
            "build.baseline",
            "gcc builds for the image's glibc",
        ),
    ],
)
def test_what_cannot_be_is_an_error_of_the_plan(
    asked: Build, axes: dict[str, str], where: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        chosen(asked, axes)

    assert caught.value.problems[0].where == where


def test_a_baseline_above_what_the_wheel_may_need_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"glibc 2\.34 is newer than the 2\.28"):
        chosen(Build(baseline="2.34"), baseline="2.28")
