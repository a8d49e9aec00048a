"""`orchestrator init --from-cibuildwheel` beside what cibuildwheel itself prints."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tests.conftest import orchestrator, ran

TABLES = (
    "",
    'skip = ["cp3{9,10}-*", "*-musllinux*"]\n',
    'build = "cp31[1-3]-*"\narchs = "auto aarch64, riscv64"\n',
    'enable = "all"\nskip = "*t-*"\narchs = ["all"]\n',
    'enable = ["pypy"]\nlinux.archs = ["x86_64", "i686"]\narchs = "aarch64"\n',
    '[tool.cibuildwheel.linux]\nbuild = "cp312-* cp313-manylinux*"\n',
)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("requires", ["", 'requires-python = ">=3.12"\n'])
def test_the_plan_has_just_the_identifiers_of_cibuildwheel(
    tmp_path: Path, table: str, requires: str
) -> None:
    (tmp_path / "setup.py").write_text("setup(ext_modules=[x])")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "demo"\nversion = "1.0"\n{requires}[tool.cibuildwheel]\n{table}'
    )
    program = [sys.executable, "-m", "cibuildwheel", "--platform=linux"]
    theirs = ran(*program, "--print-build-identifiers", cwd=tmp_path, code=0).stdout.split()

    orchestrator("init", "--from-cibuildwheel", "--no-index", cwd=tmp_path, code=0)
    said = orchestrator("plan", "--format=ids", cwd=tmp_path, code=0)

    assert set(said.stdout.split()) == set(theirs)
    assert platform.machine() in said.stdout
