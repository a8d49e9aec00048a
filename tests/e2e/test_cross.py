"""zig on this host: wheels for another architecture, and for an old glibc, without a container.

What was built for aarch64 is imported, and tested, in an image under QEMU; without an engine it is
imported under QEMU all the same.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.wheel.elf import parse
from orchestrator.wheel.scan import arch_of
from tests.conftest import orchestrator, results
from tests.factories import project_file, project_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]

IMAGE = "localhost/orchestrator-baseline:bookworm-{arch}"

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"

FILES = project_files("root")

MATRIX = project_file("root.toml")


MATH = "#include <math.h>"


def write(folder: Path, *, python: str, arch: str, build: str) -> None:
    (folder / "project").mkdir()
    for name, text in FILES.items():
        (folder / "project" / name).write_text(text)
    text = MATRIX.format(python=python, arch=arch, image=IMAGE.format(arch=arch), build=build)
    (folder / "matrix.toml").write_text(text)


def test_a_cross_build_is_tested_where_its_architecture_is_emulated(tmp_path: Path) -> None:
    write(tmp_path, python="cp311", arch="aarch64", build='emulation = "cross"')
    said = orchestrator("build", cwd=tmp_path)
    assert said.code == 0, said.all
    result = results(tmp_path / "dist")["cp311-manylinux_aarch64"]
    assert result["backend"] == "direct"
    assert result["compiled"]["emulation"] == "cross"
    assert result["wheel"]["observed_tag"] == "manylinux_2_17_aarch64"
    wheel = tmp_path / "dist" / result["wheel"]["filename"]
    with zipfile.ZipFile(wheel) as archive:
        module = archive.read("root.cpython-311-aarch64-linux-gnu.so")
    found = parse(module)
    assert arch_of(found) == "aarch64"
    assert os.fsencode(tmp_path) not in module, "no directory of this machine is in it"
    log = (tmp_path / ".orchestrator/logs/cp311-manylinux_aarch64.log").read_text()
    assert "importing root" in log
    assert "== test" in log


NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
"""With ``[engine] name = "docker"``, no engine answers."""


def without_engine(tmp_path: Path, *, code: int) -> Any:
    """Build where no engine answers, which must end with that exit code; return the result."""
    said = orchestrator("build", cwd=tmp_path, env=NO_ENGINE)
    assert said.code == code, said.all
    (result,) = results(tmp_path / "dist").values()
    assert result["container"] is None
    assert "NOT IMPORTED" not in said.all
    return result


def imports_on_this_host(tmp_path: Path, python: str, arch: str) -> None:
    write(tmp_path, python=python, arch=arch, build="")
    matrix = tmp_path / "matrix.toml"
    matrix.write_text(matrix.read_text() + '[engine]\nname = "docker"\n')
    result = without_engine(tmp_path, code=0)
    compiled = result["compiled"]
    assert (compiled["emulation"], compiled["not_run"]) == ("cross", "")
    assert "docker" in compiled["not_tested"], "a test takes more than an import"
    log = (tmp_path / f".orchestrator/logs/{python}-manylinux_{arch}.log").read_text()
    assert re.search(r"importing with \S+ .* under QEMU [\d.]+\nimporting root\n", log), log


def test_without_an_engine_a_cross_build_is_imported_all_the_same(tmp_path: Path) -> None:
    imports_on_this_host(tmp_path, "cp311", "aarch64")
    source = tmp_path / "project/root.c"
    broken = source.read_text().replace("sqrt(PyFloat", "nobody_has(PyFloat")
    source.write_text(broken.replace("#include <math.h>", "double nobody_has(double);\n" + MATH))
    failure = without_engine(tmp_path, code=1)["failure"]
    assert (failure["kind"], failure["step"]) == ("test", "smoke")
    assert "undefined symbol: nobody_has" in failure["message"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("python", "arch"),
    [("cp313", "aarch64"), ("cp313", "riscv64"), ("cp313", "loongarch64")],
)
def test_every_architecture_is_imported_without_an_engine(
    tmp_path: Path, python: str, arch: str
) -> None:
    imports_on_this_host(tmp_path, python, arch)


def test_an_old_glibc_needs_no_container(tmp_path: Path) -> None:
    machine = os.uname().machine
    write(tmp_path, python=TAG, arch=machine, build='baseline = "2.17"')
    said = orchestrator("build", cwd=tmp_path)
    assert said.code == 0, said.all
    result = results(tmp_path / "dist")[f"{TAG}-manylinux_{machine}"]
    assert result["backend"] == "direct"
    assert result["container"] is None
    tag = result["wheel"]["observed_tag"]
    assert int(tag.split("_")[2]) <= 17, tag
