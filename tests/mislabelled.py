"""Builds whose environment is not what their cell says; no compiler may start for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Said, orchestrator
from tests.factories import project_file
from tests.packages import Indexes, write_torch, write_wheel

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

RIGHT = Case(axes=_CELL, message="")

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


def build(
    root: Path, stock: Indexes, case: Case, python: str, *options: str, more: str = ""
) -> Said:
    """Build a case; the source tells if a compiler starts."""
    source = root / "source"
    source.mkdir(parents=True)
    (source / "setup.py").write_text(project_file("direct/setup.py"))
    (source / "pyproject.toml").write_text(project_file("direct/pyproject.toml"))
    (source / "cc.sh").write_text(_COMPILER)
    (source / "nvcc.sh").write_text(_NVCC.format(version=case.nvcc))
    for name in ("torch", "sixish"):
        (stock.root / "own" / name).mkdir(parents=True, exist_ok=True)
    for version, cuda, abi in case.torches:
        write_torch(stock.root / "own/torch", version, cuda=cuda, abi=abi)
    for version in ("1.16.0", "1.17.0"):
        write_wheel(stock.root / "own/sixish", "sixish", version)
    (root / "matrix.toml").write_text(f"""\
[project]
source = "source"
[indexes]
torch = "{stock.url("own")}"
sixish = "{stock.url("own")}"
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
requires = ["{case.requires}"]
{more}
[axes]
python = ["{python}"]
arch = ["x86_64"]
{case.axes}
""")
    return orchestrator("build", "--no-cache", *options, cwd=root, env=stock.env)


def log_of(root: Path) -> str:
    return "".join(log.read_text("utf-8") for log in (root / ".orchestrator/logs").glob("*.log"))
