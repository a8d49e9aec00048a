"""Architectures beside x86_64 and aarch64, one of which cibuildwheel has no name for."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    IMAGES,
    Said,
    containers,
    lacking,
    log_of,
    orchestrator,
    podman,
    results,
)
from tests.factories import edit, write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

TARGETS = {
    # arch -> suite, Python, what builds it, e_machine (System V ABI)
    "i686": ("bookworm", "cp311", "cibuildwheel", 3),
    "riscv64": ("trixie", "cp313", "cibuildwheel", 243),
    "loongarch64": ("forky", "cp314", "direct", 258),
}


def write(folder: Path, arch: str, more: str = "") -> str:
    """Write project and matrix; return the image."""
    suite, python, _, _ = TARGETS[arch]
    write_project(folder, "architectures", more, python=python, arch=arch, suite=suite)
    return f"{IMAGES}:{suite}-{arch}"


def runs(image: str) -> Said:
    said = podman("run", "--rm", "--pull=never", "--network=none", image, "/bin/true")
    if said.code != 0:
        lacking(f"needs {image} and QEMU for it: run .ci/engine and .ci/images as root")
    return said


def machines(wheel: Path) -> set[int]:
    """``e_machine`` of all extension modules in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        modules = [archive.read(each) for each in archive.namelist() if each.endswith(".so")]
    assert len(modules) == 2
    return {int.from_bytes(each[18:20], "little") for each in modules}


def built(folder: Path, arch: str) -> dict[str, Any]:
    orchestrator("build", cwd=folder, code=0)
    _, python, _, _ = TARGETS[arch]
    result: dict[str, Any] = results(folder / "dist")[f"{python}-manylinux_{arch}"]
    return result


@pytest.mark.qemu
@pytest.mark.parametrize("arch", TARGETS)
def test_c_and_cxx_are_built_and_tested(arch: str, engine: str, tmp_path: Path) -> None:
    image = write(tmp_path, arch)
    runs(image)

    result = built(tmp_path, arch)

    _, python, backend, machine = TARGETS[arch]
    assert result["backend"] == backend
    wheel = tmp_path / "dist" / result["wheel"]["filename"]
    assert machines(wheel) == {machine}
    log = log_of(tmp_path, f"{python}-manylinux_{arch}")
    assert f'SEEN a "b" $(touch /project/pwned) c {arch}' in log
    assert "TESTED" in log
    assert "made of 2" in log
    orchestrator("verify", wheel, cwd=tmp_path, code=0)
    label = podman("image", "inspect", "-f", '{{index .Labels "org.orchestrator.libc"}}', image)
    baseline = int(label.stdout.strip().removeprefix("glibc-2."))
    minors = [int(each) for each in re.findall(r"manylinux_2_(\d+)_", wheel.name)]
    assert minors
    lowest = 36 if arch == "loongarch64" else 5
    assert all(lowest <= minor <= baseline for minor in minors), "as its symbols ask, no more"
    assert containers(tmp_path) == []


LOONGARCH_FAILURES = {
    "before-build": ('before-build = "exit 7"', "setup", "before-build failed (sh exit 7)"),
    "timeout": ('timeout = 6\nbefore-all = "sleep 600"', "timeout", "longer than the 6 s"),
}


@pytest.mark.qemu
@pytest.mark.parametrize("case", LOONGARCH_FAILURES)
def test_a_failing_step_ends_its_container(case: str, engine: str, tmp_path: Path) -> None:
    image = write(tmp_path, "loongarch64")
    runs(image)
    line, kind, words = LOONGARCH_FAILURES[case]
    edit(tmp_path / "matrix.toml", 'before-build = "test ! -e /project/pwned"', line)

    orchestrator("build", cwd=tmp_path, code=1)

    failure = results(tmp_path / "dist")["cp314-manylinux_loongarch64"]["failure"]
    assert failure["kind"] == kind
    assert words in failure["message"]
    assert containers(tmp_path) == []


def test_pypi_refuses_loongarch64_when_the_matrix_is_planned(tmp_path: Path) -> None:
    write(tmp_path, "loongarch64", '\n[publish]\nto = ["pypi"]\n')

    said = orchestrator("plan", cwd=tmp_path, code=2)

    assert "publish.to: pypi takes no manylinux_*_loongarch64 wheels" in said.stderr
    assert "cp314-manylinux_loongarch64" in said.stderr
    assert "publish = { to = [] }" in said.stderr, "and what to do about it"
