"""zig on this host: wheels for another architecture, and for an old glibc, without a container.

What was built for aarch64 is imported, and tested, in an image under QEMU; without an engine it is
imported under QEMU all the same.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.wheel.elf import parse
from orchestrator.wheel.scan import arch_of
from tests.conftest import IMAGES, MACHINE, TAG, log_of, orchestrator, results
from tests.factories import edit, project_file, project_files, write_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]


def write(folder: Path, *, python: str, arch: str, build: str) -> None:
    write_files(folder / "project", project_files("root"))
    image = f"{IMAGES}:bookworm-{arch}"
    text = project_file("root.toml").format(python=python, arch=arch, image=image, build=build)
    (folder / "matrix.toml").write_text(text)


def test_a_cross_build_is_tested_where_its_architecture_is_emulated(tmp_path: Path) -> None:
    write(tmp_path, python="cp311", arch="aarch64", build='emulation = "cross"')
    orchestrator("build", cwd=tmp_path, code=0)
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
    log = log_of(tmp_path, "cp311-manylinux_aarch64")
    assert "importing root" in log
    assert "== test" in log


NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
"""With ``[engine] name = "docker"``, no engine answers."""


def without_engine(tmp_path: Path, *, code: int) -> Any:
    """Build where no engine answers, which must end with that exit code; return the result."""
    said = orchestrator("build", cwd=tmp_path, env=NO_ENGINE, code=code)
    (result,) = results(tmp_path / "dist").values()
    assert result["container"] is None
    assert "NOT IMPORTED" not in said.all
    return result


def imports_on_this_host(tmp_path: Path, python: str, arch: str) -> None:
    write(tmp_path, python=python, arch=arch, build="")
    with (tmp_path / "matrix.toml").open("a") as matrix:
        matrix.write('[engine]\nname = "docker"\n')
    result = without_engine(tmp_path, code=0)
    compiled = result["compiled"]
    assert (compiled["emulation"], compiled["not_run"]) == ("cross", "")
    assert "docker" in compiled["not_tested"], "a test takes more than an import"
    log = log_of(tmp_path, f"{python}-manylinux_{arch}")
    assert re.search(r"importing with \S+ .* under QEMU [\d.]+\nimporting root\n", log), log


def test_without_an_engine_a_cross_build_is_imported_all_the_same(tmp_path: Path) -> None:
    imports_on_this_host(tmp_path, "cp311", "aarch64")
    source = tmp_path / "project/root.c"
    edit(source, "sqrt(PyFloat", "nobody_has(PyFloat")
    edit(source, "#include <math.h>", "double nobody_has(double);\n#include <math.h>")
    failure = without_engine(tmp_path, code=1)["failure"]
    assert (failure["kind"], failure["step"]) == ("test", "smoke")
    assert "undefined symbol: nobody_has" in failure["message"]


@pytest.mark.nightly
@pytest.mark.parametrize("arch", ["aarch64", "riscv64", "loongarch64"])
def test_every_architecture_is_imported_without_an_engine(tmp_path: Path, arch: str) -> None:
    imports_on_this_host(tmp_path, "cp313", arch)


def test_an_old_glibc_needs_no_container(tmp_path: Path) -> None:
    write(tmp_path, python=TAG, arch=MACHINE, build='baseline = "2.17"')
    orchestrator("build", cwd=tmp_path, code=0)
    result = results(tmp_path / "dist")[f"{TAG}-manylinux_{MACHINE}"]
    assert result["backend"] == "direct"
    assert result["container"] is None
    tag = result["wheel"]["observed_tag"]
    assert int(tag.split("_")[2]) <= 17, tag
