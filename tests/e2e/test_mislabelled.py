"""What was asked is what compiles: a difference is told before a compiler starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IMAGES, TAG, log_of, orchestrator, results
from tests.factories import project_file, write_files
from tests.packages import Indexes, write_torch, write_wheel

pytestmark = pytest.mark.index

STARTED = "A COMPILER HAS STARTED"

_COMPILER = f'echo "{STARTED}"\nexec cc "$@"\n'
_NVCC = 'test "$*" != --version || echo "Cuda compilation tools, release, V{version}"\n'


@dataclass(frozen=True, kw_only=True)
class Case:
    """An environment.

    Attributes:
        axes: the axes of the cell.
        torches: (version, CUDA, C++ ABI) of each torch on the index that has it alone.
        message: what is said.
        nvcc: the version of the nvcc that the build finds.
        requires: what the matrix requires.
    """

    axes: str
    torches: tuple[tuple[str, str | None, int], ...] = (("2.13.0+cu130", "13.0", 1),)
    message: str
    nvcc: str = "13.0.88"
    requires: str = "torch"


_CELL = 'torch = ["2.13"]\ncuda = ["13.0"]'
_GOOD, _CPU = ("2.13.0", "13.0", 1), ("2.13.0+cpu", None, 1)

CASES = {
    "a CPU torch": Case(
        axes=_CELL,
        torches=(_CPU,),
        message="the cell has cuda 13.0, but torch 2.13.0+cpu is for no CUDA (from OWN)",
    ),
    "a local version that sorts higher": Case(
        axes=_CELL,
        torches=(_GOOD, _CPU),
        message="the cell has cuda 13.0, but torch 2.13.0+cpu is for no CUDA (from OWN)",
        requires="torch==2.13.*",
    ),
    "an older torch": Case(
        axes=_CELL,
        torches=(("2.12.1+cu130", "13.0", 1),),
        message="the cell has torch 2.13, but torch 2.12.1+cu130 compiles (from OWN)",
    ),
    "another CUDA": Case(
        axes=_CELL,
        torches=(("2.13.0+cu132", "13.2", 1),),
        message="the cell has cuda 13.0, but torch 2.13.0+cu132 is for CUDA 13.2 (from OWN)",
    ),
    "a newer nvcc": Case(
        axes=_CELL,
        message="the cell has cuda 13.0, but sh nvcc.sh is nvcc 13.2.78",
        nvcc="13.2.78",
    ),
    "another C++ ABI": Case(
        axes=f'{_CELL}\ncxx11abi = ["FALSE"]\n[compat]\ntorch = false',
        message="the cell has cxx11abi FALSE, but torch 2.13.0+cu130 has C++ ABI 1 (from OWN)",
    ),
    "a C++ ABI that the table does not know": Case(
        axes=_CELL,
        torches=(("2.13.0+cu130", "13.0", 0),),
        message="the cell has cxx11abi 1, but torch 2.13.0+cu130 has C++ ABI 0 (from OWN)",
    ),
    "another distribution": Case(
        axes='sixish = ["1.16.0"]',
        message="the cell has sixish 1.16.0, but sixish 1.17.0 compiles (from OWN)",
        requires="sixish",
    ),
    "no torch": Case(
        axes=_CELL,
        message="the cell has torch 2.13, but the environment that compiles has no torch",
        requires="sixish",
    ),
}


MATRIX = """\
[project]
source = "source"
[indexes]
torch = "{own}"
sixish = "{own}"
[version]
base = "1.0"
on-mismatch = "rewrite"
[env]
CC = "sh cc.sh"
NVCC = "sh nvcc.sh"
TORCH_CUDA_ARCH_LIST = "9.0"
[verify.rules]
absolute-rpath = "warn"  # a Python that pyenv built hands its own to extensions
[build]
requires = ["{requires}"]
{more}
[axes]
python = ["{python}"]
arch = ["x86_64"]
{axes}
"""
CONTAINER = f"""\
[engine]
name = "podman"
create-args = ["--network=host"]
[images]
manylinux_x86_64 = "{IMAGES}:bookworm-x86_64"
"""


def build(root: Path, stock: Indexes, case: Case, backend: str, code: int) -> dict[str, Any]:
    """Build a case; the source tells if a compiler starts."""
    files = {name: project_file(f"direct/{name}") for name in ("setup.py", "pyproject.toml")}
    files |= {"cc.sh": _COMPILER, "nvcc.sh": _NVCC.format(version=case.nvcc)}
    write_files(root / "source", files)
    for name in ("torch", "sixish"):
        (stock.root / "own" / name).mkdir(parents=True, exist_ok=True)
    for version, cuda, abi in case.torches:
        write_torch(stock.root / "own/torch", version, cuda=cuda, abi=abi)
    for version in ("1.16.0", "1.17.0"):
        write_wheel(stock.root / "own/sixish", "sixish", version)
    more, python = ("", TAG) if backend == "direct" else (CONTAINER, "cp311")
    given = {"own": stock.url("own"), "requires": case.requires, "axes": case.axes}
    (root / "matrix.toml").write_text(MATRIX.format(**given, more=more, python=python))
    command = ("build", "--no-cache", "--backend", backend)
    orchestrator(*command, cwd=root, env=stock.env, code=code)
    (result,) = results(root / "dist").values()
    found: dict[str, Any] = result
    return found


where = pytest.mark.parametrize(
    "backend", ["direct", pytest.param("cibuildwheel", marks=pytest.mark.engine)], indirect=True
)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    if request.param != "direct":
        request.getfixturevalue("engine")
    return str(request.param)


@where
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_wheel_is_not_compiled_in_another_environment_than_its_cell_s(
    backend: str, stock: Indexes, tmp_path: Path, case: Case
) -> None:
    result = build(tmp_path, stock, case, backend, 1)

    assert result["failure"]["kind"] == "environment", result
    assert result["failure"]["message"] == case.message.replace("OWN", stock.url("own"))
    assert result["failure"]["hint"]
    assert result["environment"]["python"].startswith("3.")
    assert STARTED not in log_of(tmp_path)


@where
def test_what_compiled_is_in_the_results_and_in_the_log(
    backend: str, stock: Indexes, tmp_path: Path
) -> None:
    result = build(tmp_path, stock, Case(axes=_CELL, message=""), backend, 0)

    log, found = log_of(tmp_path), result["environment"]
    assert STARTED in log, "otherwise the other tests prove nothing"
    assert found["packages"]["torch"] == "2.13.0+cu130"
    expected = {"version": "2.13.0+cu130", "cuda": "13.0", "hip": "none", "cxx11abi": "1"}
    assert found["torch"] == expected
    assert found["nvcc"]["sh nvcc.sh"] == "13.0.88"
    assert "torch 2.13.0+cu130 (CUDA 13.0, ROCm none, C++ ABI 1)" in log
