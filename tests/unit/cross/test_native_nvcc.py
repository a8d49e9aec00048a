"""What a target's container gets to compile CUDA's kernels natively: covers, variables, reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.containers.access import Access
from orchestrator.containers.toolkits import Toolkit
from orchestrator.cross.native_nvcc import VARIABLES, NativeNvcc, find
from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.target import EnvVar, TargetSteps
from orchestrator.plan.compilers import cuda
from orchestrator.provision.nvcc import Nvcc
from tests.unit.cross.test_native_uv import request

PLAIN = Access(links=(), env=(), private=(), mounts=())
NEWEST = {"13.0": "13.0.88"}
THERE = "/opt/orchestrator-native"


def provide(version: str) -> Nvcc:
    exact = NEWEST.get(version, version)
    if exact.startswith("12."):
        raise EnvironmentProblemError.of("no wheels")
    build = f"cuda_{exact}/compiler.1_0"
    return Nvcc(folder=Path("/cache", exact), version=exact, build=build, profile="same")


def toolkit(version: str, profile: str = "same") -> Toolkit:
    return Toolkit(version=version, profile=profile, nvcc=f"/usr/local/cuda-{version}/bin/nvcc")


def found(toolkits: list[Toolkit], version: str) -> NativeNvcc:
    made = find(toolkits, version, provide)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("axes", "version"),
    [
        ({"cuda": "13.0"}, "13.0"),
        ({"cuda": "13.0.1"}, "13.0"),
        ({"cuda": "128"}, "12.8"),
        ({"device": "cu130"}, "13.0"),
        ({"device": "cuda12.6"}, "12.6"),
        ({"torch": "2.8", "gpu": "cu126"}, "12.6"),
        ({"cuda": "cpu"}, ""),
        ({"device": "cuts2"}, ""),
        ({"solver": "13.0"}, ""),
        ({"python": "cp313"}, ""),
        ({}, ""),
    ],
)
def test_the_version_of_cuda_is_read_from_the_axes(axes: dict[str, str], version: str) -> None:
    assert cuda(axes) == version


def test_an_nvcc_of_the_image_is_covered_and_needs_no_variable() -> None:
    made = found([toolkit("13.0.48")], "13.0")
    assert (made.covers, made.variables) == (("/usr/local/cuda-13.0.48/bin/nvcc",), ())
    assert made.what == "native nvcc 13.0.48"


def test_one_with_settings_of_its_own_is_left_alone() -> None:
    assert found([toolkit("13.0.48", profile="a distribution's")], "").covers == ()


def test_a_toolkit_that_the_build_will_bring_is_named_by_variables() -> None:
    made = found([], "13.0")
    assert (made.variables, made.what) == (VARIABLES, "native nvcc 13.0.88")


def test_several_toolkits_have_a_native_one_each() -> None:
    made = found([toolkit("13.2.51"), toolkit("12.8.93")], "13.0")
    assert [each.version for each in made.natives] == ["13.2.51", "13.0.88"]
    assert made.covers == ("/usr/local/cuda-13.2.51/bin/nvcc",)
    assert made.variables == VARIABLES
    assert made.what.endswith("; no native nvcc 12.8.93: no wheels")


def test_where_there_is_none_the_build_is_left_as_it_was(tmp_path: Path) -> None:
    made = found([], "12.8")
    assert made.what == "no native nvcc 12.8: no wheels"
    assert made.add_to(PLAIN, tmp_path / "program", tmp_path, "/log") is PLAIN


def test_nothing_is_fetched_for_a_target_without_cuda() -> None:
    assert find([], "", lambda _: pytest.fail("nobody wants one")) is None


def test_what_a_build_may_replace_is_not_covered() -> None:
    made = found([toolkit("13.0.48")], "")
    prepared = TargetSteps(before_all="dnf install cuda")
    for each in (request(steps=prepared), request(own=("before-all",))):
        settled = made.for_target(each, ())
        assert (settled.covers, settled.variables) == ((), VARIABLES)
    assert made.for_target(request(steps=TargetSteps(before_build="make")), ()) == made


def test_what_the_project_chooses_itself_is_left_to_it() -> None:
    made = found([], "13.0")
    own = EnvVar(name="CUDACXX", value="clang++", shell=False, origin="")
    settled = made.for_target(request(env=(own,)), ("environment = { PYTORCH_NVCC = 'x' }",))
    assert settled.variables == ("NVCC",)


def test_a_container_gets_the_programs_and_what_stands_for_them(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"static")
    native = provide("13.0.88")
    covers = ("/usr/local/cuda/bin/nvcc",)
    kernels = NativeNvcc(natives=(native,), covers=covers, variables=("NVCC",))
    own = kernels.add_to(PLAIN, tmp_path / "program", tmp_path / "scratch", "/log")

    here = tmp_path / "scratch/nvcc"
    assert own.mounts == (
        (Path("/cache/13.0.88"), Path(f"{THERE}/cuda/13.0.88"), False),
        (here, Path(f"{THERE}/nvcc"), False),
        (here / "nvcc", Path("/usr/local/cuda/bin/nvcc"), False),
    )
    assert (here / "compiler.conf").read_text() == (
        f"log /log\nnvcc cuda_13.0.88/compiler.1_0 {THERE}/cuda/13.0.88\n"
    )
    # ccache tells compilers apart by their file, and this one stands for any toolkit.
    cache = replace(PLAIN, env=(("CMAKE_CUDA_COMPILER_LAUNCHER", "ccache"), ("NVCC", "ccache")))
    assert dict(cache.in_front_of(own).env) == {
        "NVCC": f"{THERE}/nvcc/nvcc",
        "CMAKE_CUDA_COMPILER_LAUNCHER": "",
    }


def test_another_version_is_another_compiler_to_ccache(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"static")
    files = set()
    for version in ("13.0", "13.2.51"):
        kernels = found([toolkit(version)], "")
        kernels.add_to(PLAIN, tmp_path / "program", tmp_path / version, "/log")
        files.add((tmp_path / version / "nvcc/nvcc").read_bytes())
    assert len(files) == 2
