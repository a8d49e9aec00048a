"""Real projects, and other build systems, with native compilers in emulated containers.

Everything is built for aarch64 with podman. What takes minutes under QEMU is marked `nightly`.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from orchestrator.wheel.scan import arch_of
from tests.conftest import REPOSITORY, podman
from tests.e2e.test_foreign import ODD, built, exported, log_of, modules
from tests.factories import project_file, project_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]

TARGET = "cp311-manylinux_aarch64"

MATRIX = project_file("foreign_projects.toml")


def write(folder: Path, image: str, source: str, more: str = "", *arguments: str) -> None:
    given = {"image": image, "source": source, "arguments": list(arguments)}
    (folder / "matrix.toml").write_text(MATRIX.format(**given) + more)


def project(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


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
    traces = (b"orchestrator", b"x86_64", bytes(folder))
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                assert not [each for each in traces if each in archive.read(name)], name


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An sdist with its own tests.

    Attributes:
        requirement: pinned.
        command: runs them.
        tests: that so many pass at least.
    """

    requirement: str
    command: str
    tests: int


SUITES = [
    pytest.param(
        Suite(requirement="markupsafe==3.0.2", command="{project}/tests", tests=70),
        id="markupsafe",
        marks=pytest.mark.nightly,
    ),
    pytest.param(
        Suite(requirement="msgpack==1.1.1", command="{project}/test", tests=100),
        id="msgpack",
        marks=pytest.mark.nightly,
    ),
    pytest.param(
        Suite(requirement="kiwisolver==1.4.8", command="{project}/py/tests", tests=50),
        id="kiwisolver",
        marks=pytest.mark.nightly,
    ),
    pytest.param(
        Suite(requirement="regex==2024.11.6", command="--pyargs regex.test_regex", tests=90),
        id="regex",
        marks=pytest.mark.nightly,
    ),
]


@pytest.mark.parametrize("suite", SUITES)
def test_a_project_s_own_tests_and_symbols_are_those_of_the_fully_emulated_wheel(
    emulated: str, tmp_path: Path, suite: Suite
) -> None:
    # Tests that fail under QEMU are to fail alike; the command must not end the build.
    options = "-q -rA --tb=line -p no:cacheprovider"
    command = f"PYTHONPATH=/pytest python -m pytest {options} {suite.command} || true"
    mount = f"--volume={pytest_itself(tmp_path / 'pytest')}:/pytest:ro"
    found = {}
    for mode in ("full", "accelerated"):
        folder = tmp_path / mode
        folder.mkdir()
        more = f'[build]\nemulation = "{mode}"\n[test]\ncommand = {command!r}\n'
        write(folder, emulated, suite.requirement, more, mount)
        found[mode] = built(folder, "--backend=direct")[TARGET]
    full, fast = tmp_path / "full", tmp_path / "accelerated"

    assert found["full"]["compiled"]["native"] is None
    assert_native(found["accelerated"], calls=2)
    assert_of_the_image(fast, found["accelerated"])
    passed = outcomes(log_of(fast, TARGET))
    assert passed == outcomes(log_of(full, TARGET))
    assert sum(each.startswith("PASSED") for each in passed) >= suite.tests
    tags = {each["wheel"]["observed_tag"] for each in found.values()}
    assert len(tags) == 1
    assert exported(fast, found["accelerated"]) == exported(full, found["full"])
    before, now = modules(full, found["full"]), modules(fast, found["accelerated"])
    assert before.keys() == now.keys()
    assert now, "there is a module to compare"
    for name, info in now.items():
        assert info.undefined == before[name].undefined
        assert info.versions == before[name].versions
        assert info.needed == before[name].needed


MESON = project_files("mixed")

SQUARE = """
[test]
command = "python -c 'import mixed; assert mixed.square(3.0) == 9'"
"""


def meson(languages: str = "", sources: str = "") -> dict[str, str]:
    return {
        name: text.replace("{languages}", languages).replace("{sources}", sources)
        for name, text in MESON.items()
    }


@pytest.mark.nightly
def test_meson_compiles_with_native_compilers(emulated: str, tmp_path: Path) -> None:
    write(tmp_path, emulated, "contourpy==1.2.1")
    result = built(tmp_path)[TARGET]
    assert result["backend"] == "cibuildwheel"
    assert_native(result, calls=15)
    assert_of_the_image(tmp_path, result)
    assert "importing contourpy._contourpy" in log_of(tmp_path, TARGET)


@pytest.mark.nightly
def test_cmake_compiles_with_native_compilers(emulated: str, tmp_path: Path) -> None:
    write(tmp_path, emulated, "phik==0.12.4")
    result = built(tmp_path)[TARGET]
    assert result["backend"] == "cibuildwheel"
    assert_native(result, calls=2)
    assert_of_the_image(tmp_path, result)
    assert "importing phik.lib._phik" in log_of(tmp_path, TARGET)


@pytest.mark.nightly
def test_exceptions_cross_two_pybind11_modules_of_cibuildwheel(
    emulated: str, tmp_path: Path
) -> None:
    pybind11 = {name: ODD[name] for name in ("shared.h", "thrower.cpp", "catcher.cpp")}
    pybind11["pyproject.toml"] = ODD["pyproject.toml"]
    pybind11["setup.py"] = """\
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
setup(ext_modules=[Pybind11Extension(each, [each + ".cpp"], cxx_std=17)
                   for each in ("thrower", "catcher")])
"""
    project(tmp_path, pybind11)
    write(tmp_path, emulated, "project", CROSSING)
    result = built(tmp_path)[TARGET]
    assert result["backend"] == "cibuildwheel"
    assert_native(result, calls=4)
    assert_of_the_image(tmp_path, result)
    log = log_of(tmp_path, TARGET)
    assert "CAUGHT thrown1 thrown2" in log
    assert "PASSED thrown" in log


CROSSING = """
[test]
command = '''python -c "
import catcher, thrower
print('CAUGHT', catcher.catch_it(thrower.function), catcher.catch_it(thrower.function))
try:
    catcher.pass_it(thrower.function)
except thrower.Shared as error:
    print('PASSED', error)
"'''
"""

APT = """
[build]
before-all = "apt-get -qq update && apt-get -qq install -y --no-install-recommends {}"
"""


@pytest.mark.nightly
def test_fortran_is_compiled_under_qemu_and_that_is_said(emulated: str, tmp_path: Path) -> None:
    mixed = meson("'fortran', ", "'squared.f90', c_args: '-DWITH_FORTRAN', ")
    project(tmp_path, mixed)
    write(tmp_path, emulated, "project", APT.format("gfortran") + SQUARE)
    result = built(tmp_path)[TARGET]
    compiled = result["compiled"]
    assert compiled["emulation"] == "accelerated"
    assert compiled["native"] >= 1
    assert compiled["why"] == "Fortran compiled under QEMU"


RUST = project_files("rust")


@pytest.mark.nightly
def test_rust_is_compiled_under_qemu_and_linked_natively_and_that_is_said(
    emulated: str, tmp_path: Path
) -> None:
    project(tmp_path, RUST)
    test = """
[test]
command = "python -c 'import rusty; assert rusty.answer() == 42'"
"""
    write(tmp_path, emulated, "project", APT.format("cargo rustc") + test)
    result = built(tmp_path)[TARGET]
    compiled = result["compiled"]
    assert compiled["emulation"] == "accelerated"
    assert compiled["native"] >= 1
    assert compiled["why"] == "Rust compiled under QEMU"


SAXPY = project_file("saxpy.toml")


def parts(folder: Path, result: dict[str, Any], name: str = "") -> dict[str, bytes]:
    """Module -> a section of it, of those that have one; or all of it."""
    found = {}
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        for each in archive.namelist():
            if each.endswith(".so"):
                content = archive.read(each)
                section = ELFFile(io.BytesIO(content)).get_section_by_name(name) if name else None
                if section is not None or not name:
                    found[each] = content if section is None else section.data()
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
    modules = {how: parts(tmp_path / how, result) for how, result in found.items()}
    kernels = {how: parts(tmp_path / how, result, ".nv_fatbin") for how, result in found.items()}
    # The image's own g++ may be another revision than the native one: it is left out of this.
    assert modules["native nvcc"] == modules["emulated nvcc"]
    assert kernels["native nvcc"] == kernels["emulated nvcc"] == kernels["full"]
    assert list(kernels["full"]) == ["saxpy/_cuda.cpython-311-aarch64-linux-gnu.so"]


KERNEL = project_files("kernel")

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
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:"]
    where = ["--platform=manylinux2014_aarch64", f"--target={folder}"]
    pins = [f"{name}==13.0.*" for name in packages]
    subprocess.run([*install, *where, *pins], check=True)
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
    project(tmp_path, KERNEL)
    write(tmp_path, with_toolkit, "project", '[build]\nemulation = "accelerated"\n')
    result = built(tmp_path)[TARGET]
    assert_native(result, calls=10)
    assert result["compiled"]["nvcc"] >= 4, "setup.py is run more than once"
    assert result["compiled"]["cuda"].startswith("native nvcc 13.0.")
    assert parts(tmp_path, result, ".nv_fatbin")
    (module,) = parts(tmp_path, result).values()
    assert b"/usr/local/cuda/bin/crt/link.stub" in module
    # libcudart_static itself has the name of the other architecture: only this is of ours.
    assert b"orchestrator" not in module
