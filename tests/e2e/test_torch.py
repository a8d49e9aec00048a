"""Torch extensions, from the matrix to the import: torch, nvcc and sources of the package index.

Everything is built, verified, and tested with its own torch by the run itself; the machine needs
neither a GPU nor a CUDA toolkit. An environment with torch takes 5 GB.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IMAGES, REPOSITORY, orchestrator, results
from tests.factories import project_file

pytestmark = pytest.mark.index

EXAMPLE = REPOSITORY / "examples" / "torch-extension"

FASTER = '[channel.pypi.env]\nTORCH_CUDA_ARCH_LIST = "9.0"\n'
"""One architecture of GPUs, so that nvcc takes a minute and not ten."""

IN_CONTAINERS = """
[images]
manylinux_x86_64 = "{images}:bookworm-x86_64"
manylinux_aarch64 = "{images}:bookworm-aarch64"
[engine]
name = "podman"
create-args = ["--network=host"]
[[override]]
when = {{ python = "cp313" }}
image = "{images}:trixie-x86_64"
"""
"""Each image has the Python of its distribution only."""

PROJECTS = {
    "torch_scatter": 4,
    "torch_cluster": 4,
    "causal_conv1d": 2,
    "torchsort": 4,
}
"""Project -> how many wheels it has for one Python and one architecture."""


def build(folder: Path, *arguments: str) -> dict[str, Any]:
    orchestrator("build", *arguments, cwd=folder, timeout=6 * 3600, code=0)
    return results(folder / "dist")


def example(folder: Path, matrix: str, more: str = "") -> None:
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    text = (EXAMPLE / matrix).read_text("utf-8")
    (folder / "matrix.toml").write_text(text + FASTER + more, encoding="utf-8")


def required(folder: Path, result: dict[str, Any]) -> list[str]:
    """What a wheel requires of torch."""
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        return re.findall(r"(?m)^Requires-Dist: (torch\b.*)", archive.read(name).decode())


def log(folder: Path, result: dict[str, Any]) -> str:
    return (folder / str(result["log"])).read_text("utf-8")


def test_the_example_runs_with_the_torch_that_it_is_for(tmp_path: Path) -> None:
    example(tmp_path, "matrix.toml")
    only = "python=cp311 & arch=x86_64 & torch=2.14"
    ((name, result),) = build(
        *(tmp_path, "--channel=pypi", "--backend=direct", f"--select={only}")
    ).items()

    assert name == "cp311-manylinux_x86_64-cu130-torch2.14"
    assert result["wheel"]["version"] == "1.0.0+cu130.torch2.14"
    assert required(tmp_path, result) == ["torch==2.14.*"]
    assert re.search(r"\d+ passed", log(tmp_path, result))


@pytest.mark.nightly
def test_one_wheel_for_the_stable_abi_runs_with_every_torch(tmp_path: Path) -> None:
    example(tmp_path, "stable.toml")
    ((name, result),) = build(
        *(tmp_path, "--channel=pypi", "--backend=direct", "--select=arch=x86_64")
    ).items()

    assert name == "abi3-cp310-manylinux_x86_64-cu130-torch2.12"
    assert re.match(r"rmsnorm-1\.0\.0\+cu130-cp310-abi3-", result["wheel"]["filename"])
    assert required(tmp_path, result) == ["torch>=2.12"]
    said = log(tmp_path, result)
    for torch in ("2.13", "2.14"):
        assert f"testing with torch {torch}" in said
    assert len(re.findall(r"\d+ passed", said)) >= 3


@pytest.mark.nightly
@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize(
    ("where", "select"),
    [
        ("host", "arch=x86_64"),
        pytest.param("container", "arch=x86_64", marks=pytest.mark.engine),
        pytest.param(
            *("emulated", "arch=aarch64 & python=cp311 & torch=2.14"),
            marks=[pytest.mark.engine, pytest.mark.qemu],
        ),
    ],
)
def test_a_project_of_the_index(project: str, where: str, select: str, tmp_path: Path) -> None:
    more = "" if where == "host" else IN_CONTAINERS.format(images=IMAGES)
    text = project_file(f"torch/{project}.toml")
    (tmp_path / "matrix.toml").write_text(text + more, encoding="utf-8")
    direct = ["--backend=direct"] if where == "host" else []
    found = build(tmp_path, *direct, f"--select={select}")

    pythons = 1 if where == "emulated" else 2
    wheels = PROJECTS[project] * pythons // (2 if where == "emulated" else 1)
    assert len(found) == wheels
    for name, result in found.items():
        torch = name.rpartition("torch")[2]
        assert required(tmp_path, result) == [f"torch=={torch}.*"]
        assert result["wheel"]["version"].endswith(f".torch{torch}")
