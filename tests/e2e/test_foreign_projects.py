"""Real projects, and other build systems, with native compilers in emulated containers.

Everything is built for aarch64 with podman. What takes minutes under QEMU is marked `nightly`.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from orchestrator.wheel.scan import arch_of
from tests.conftest import REPOSITORY, log_of, podman, ran
from tests.e2e.test_foreign import (
    CROSSING,
    assert_needs_are_equal,
    built,
    exported,
    modules,
    parts,
)
from tests.factories import project_file, project_files, write_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]

TARGET = "cp311-manylinux_aarch64"


def write(folder: Path, image: str, source: str, more: str = "", *arguments: str) -> None:
    given = {"image": image, "source": source, "arguments": list(arguments)}
    (folder / "matrix.toml").write_text(
        project_file("foreign_projects.toml").format(**given) + more
    )


def outcomes(log: str) -> list[str]:
    """What a suite says of each test: `PASSED tests/test_a.py::test_b`, without where it ran."""
    found = re.findall(r"(?m)^(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*", log)
    return sorted(re.sub(r"/\S*/|0x[0-9a-f]+", "", each) for each in found)


def pytest_itself(folder: Path) -> Path:
    """Copy the pytest that runs here: it is pure Python, and under QEMU pip takes its time."""
    for name in ("pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        for file in metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                place = folder / file
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), place)
    return folder


def assert_native(result: dict[str, Any], *, calls: int) -> None:
    """A native compiler was called at least so often, and the image's own for nothing."""
    assert result["compiled"]["emulation"] == "accelerated", result["compiled"]
    assert result["compiled"]["native"] >= calls, result["compiled"]
    assert result["compiled"]["why"] == ""


def assert_of_the_image(folder: Path, result: dict[str, Any]) -> None:
    """Nothing of this host, and nothing of where compilers are mounted, is in a wheel."""
    for name, info in modules(folder, result).items():
        assert arch_of(info) == "aarch64"
        assert name.endswith("-aarch64-linux-gnu.so")
        assert not info.rpath
        assert all(each.startswith("$ORIGIN/../nvidia/") for each in info.runpath)
        assert info.align >= 1 << 16
    for name, data in parts(folder, result).items():
        for trace in (b"orchestrator", b"x86_64", bytes(folder)):
            assert trace not in data, name


SUITES = {
    "markupsafe==3.0.2": ("{project}/tests", 70),
    "msgpack==1.1.1": ("{project}/test", 100),
    "kiwisolver==1.4.8": ("{project}/py/tests", 50),
    "regex==2024.11.6": ("--pyargs regex.test_regex", 90),
}
"""Requirement of an sdist -> its own tests, and how many pass at least."""


@pytest.mark.nightly
@pytest.mark.parametrize("requirement", SUITES)
def test_a_project_s_own_tests_and_symbols_are_those_of_the_fully_emulated_wheel(
    emulated: str, tmp_path: Path, requirement: str
) -> None:
    # Tests that fail under QEMU are to fail alike; the command must not end the build.
    tests, least = SUITES[requirement]
    options = "-q -rA --tb=line -p no:cacheprovider"
    command = f"PYTHONPATH=/pytest python -m pytest {options} {tests} || true"
    mount = f"--volume={pytest_itself(tmp_path / 'pytest')}:/pytest:ro"
    found = {}
    for mode in ("full", "accelerated"):
        folder = tmp_path / mode
        folder.mkdir()
        more = f'[build]\nemulation = "{mode}"\n[test]\ncommand = {command!r}\n'
        write(folder, emulated, requirement, more, mount)
        found[mode] = built(folder, "--backend=direct")[TARGET]
    full, fast = tmp_path / "full", tmp_path / "accelerated"

    assert found["full"]["compiled"]["native"] is None
    assert_native(found["accelerated"], calls=2)
    assert_of_the_image(fast, found["accelerated"])
    passed = outcomes(log_of(fast, TARGET))
    assert passed == outcomes(log_of(full, TARGET))
    assert sum(each.startswith("PASSED") for each in passed) >= least
    tags = {each["wheel"]["observed_tag"] for each in found.values()}
    assert len(tags) == 1
    assert exported(fast, found["accelerated"]) == exported(full, found["full"])
    before, now = modules(full, found["full"]), modules(fast, found["accelerated"])
    assert now, "there is a module to compare"
    assert_needs_are_equal(now, before)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("requirement", "calls", "module"),
    [
        pytest.param("contourpy==1.2.1", 15, "contourpy._contourpy", id="meson"),
        pytest.param("phik==0.12.4", 2, "phik.lib._phik", id="cmake"),
    ],
)
def test_a_build_system_compiles_with_native_compilers(
    emulated: str, tmp_path: Path, requirement: str, calls: int, module: str
) -> None:
    write(tmp_path, emulated, requirement)
    result = built(tmp_path)[TARGET]
    assert result["backend"] == "cibuildwheel"
    assert_native(result, calls=calls)
    assert_of_the_image(tmp_path, result)
    assert f"importing {module}" in log_of(tmp_path, TARGET)


@pytest.mark.nightly
def test_exceptions_cross_two_pybind11_modules_of_cibuildwheel(
    emulated: str, tmp_path: Path
) -> None:
    names = ("shared.h", "thrower.cpp", "catcher.cpp", "pyproject.toml")
    pybind11 = {name: text for name, text in project_files("odd").items() if name in names}
    pybind11["setup.py"] = """\
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
setup(ext_modules=[Pybind11Extension(each, [each + ".cpp"], cxx_std=17)
                   for each in ("thrower", "catcher")])
"""
    write_files(tmp_path / "project", pybind11)
    write(tmp_path, emulated, "project", CROSSING.format(more=""))
    result = built(tmp_path)[TARGET]
    assert result["backend"] == "cibuildwheel"
    assert_native(result, calls=4)
    assert_of_the_image(tmp_path, result)
    log = log_of(tmp_path, TARGET)
    assert "CAUGHT thrown1 thrown2" in log
    assert "PASSED thrown" in log


APT = """
[build]
before-all = "apt-get -qq update && apt-get -qq install -y --no-install-recommends {}"
"""


def fortran() -> dict[str, str]:
    changes = {
        "{languages}": "'fortran', ",
        "{sources}": "'squared.f90', c_args: '-DWITH_FORTRAN', ",
    }
    files = project_files("mixed")
    for old, new in changes.items():
        files = {name: text.replace(old, new) for name, text in files.items()}
    return files


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("language", "packages", "test"),
    [
        ("Fortran", "gfortran", "import mixed; assert mixed.square(3.0) == 9"),
        ("Rust", "cargo rustc", "import rusty; assert rusty.answer() == 42"),
    ],
)
def test_what_else_is_compiled_under_qemu_is_linked_natively_and_said(
    emulated: str, tmp_path: Path, language: str, packages: str, test: str
) -> None:
    files = fortran() if language == "Fortran" else project_files("rust")
    write_files(tmp_path / "project", files)
    command = f"[test]\ncommand = \"python -c '{test}'\"\n"
    write(tmp_path, emulated, "project", APT.format(packages) + command)
    compiled = built(tmp_path)[TARGET]["compiled"]
    assert compiled["emulation"] == "accelerated"
    assert compiled["native"] >= 1
    assert compiled["why"] == f"{language} compiled under QEMU"


SAXPY = project_file("saxpy.toml")


def kernels(folder: Path, result: dict[str, Any]) -> dict[str, bytes]:
    """Module -> its section of kernels, of those that have one."""
    found = {}
    for name, data in parts(folder, result).items():
        section = ELFFile(io.BytesIO(data)).get_section_by_name(".nv_fatbin")
        if section is not None:
            found[name] = section.data()
    return found


@pytest.mark.nightly
def test_kernels_that_a_native_nvcc_compiles_are_the_same_bytes(
    emulated: str, tmp_path: Path
) -> None:
    target, found = f"{TARGET}-cu130", {}
    by_path = SAXPY.replace("[env]", '[env]\nCUDACXX = ""\nNVCC = ""')
    accelerated = 'emulation = "accelerated"\n'
    for how, more in {
        "full": SAXPY + 'emulation = "full"\n',
        "emulated nvcc": by_path + accelerated,
        "native nvcc": SAXPY + accelerated,
    }.items():
        (tmp_path / how).mkdir()
        write(tmp_path / how, emulated, str(REPOSITORY / "examples/saxpy"), more)
        found[how] = built(tmp_path / how)[target]

    compiled = found["emulated nvcc"]["compiled"]
    assert (compiled["emulation"], compiled["nvcc"]) == ("accelerated", 0)
    assert compiled["native"] >= 4
    assert compiled["why"].startswith("CUDA compiled under QEMU (at hand: native nvcc 13.0.")
    assert_native(found["native nvcc"], calls=4)
    compiled = found["native nvcc"]["compiled"]
    assert compiled["nvcc"] == 1
    assert compiled["cuda"].startswith("native nvcc 13.0.")
    assert_of_the_image(tmp_path / "native nvcc", found["native nvcc"])
    assert "importing saxpy._cuda" in log_of(tmp_path / "native nvcc", target)
    whole = {how: parts(tmp_path / how, result) for how, result in found.items()}
    compiled_by = {how: kernels(tmp_path / how, result) for how, result in found.items()}
    # The image's own g++ may be another revision than the native one: it is left out of this.
    assert whole["native nvcc"] == whole["emulated nvcc"]
    assert compiled_by["native nvcc"] == compiled_by["emulated nvcc"] == compiled_by["full"]
    assert list(compiled_by["full"]) == ["saxpy/_cuda.cpython-311-aarch64-linux-gnu.so"]


WITH_TOOLKIT = """\
FROM {image}
COPY nvidia/cu13 /usr/local/cuda-13.0
RUN cd /usr/local && mkdir -p cuda-13.0/targets/sbsa-linux && ln -s cuda-13.0 cuda && \\
    mv cuda/include cuda/lib cuda/targets/sbsa-linux/ && \\
    ln -s targets/sbsa-linux/include cuda/include && ln -s targets/sbsa-linux/lib cuda/lib64
ENV PATH=/usr/local/cuda/bin:$PATH
"""


@pytest.fixture
def with_toolkit(emulated: str, tmp_path: Path) -> Iterator[str]:
    """An image with a CUDA toolkit, as vendors lay it out."""
    folder = tmp_path / "image"
    packages = ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-runtime")
    install = ("-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:")
    where = ("--platform=manylinux2014_aarch64", f"--target={folder}")
    ran(sys.executable, *install, *where, *(f"{name}==13.0.*" for name in packages), code=0)
    (folder / "Containerfile").write_text(WITH_TOOLKIT.format(image=emulated))
    name = f"localhost/orchestrator-test-cuda:{tmp_path.name[-40:].lower()}"
    made = podman("build", "-q", "--platform=linux/arm64", "-t", name, str(folder), timeout=600)
    assert made.code == 0, made.all
    yield name
    podman("rmi", "--force", name)


@pytest.mark.nightly
def test_an_nvcc_of_the_image_is_native_however_it_is_called(
    with_toolkit: str, tmp_path: Path
) -> None:
    write_files(tmp_path / "project", project_files("kernel"))
    write(tmp_path, with_toolkit, "project", '[build]\nemulation = "accelerated"\n')
    result = built(tmp_path)[TARGET]
    assert_native(result, calls=10)
    assert result["compiled"]["nvcc"] >= 4, "setup.py is run more than once"
    assert result["compiled"]["cuda"].startswith("native nvcc 13.0.")
    assert kernels(tmp_path, result)
    (module,) = parts(tmp_path, result).values()
    assert b"/usr/local/cuda/bin/crt/link.stub" in module
    # libcudart_static itself has the name of the other architecture: only this is of ours.
    assert b"orchestrator" not in module
