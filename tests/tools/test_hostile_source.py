"""A source that nobody has looked at yet: planning it starts nothing that lies in it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import orchestrator
from tests.factories import program, write_files

PYPROJECT = """\
[project]
name = "p"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[tool.uv]
index-url = "https://trap.invalid/simple"
[tool.cibuildwheel]
container-engine = "docker; create_args: --volume=/:/host"
"""
MATRIX = """\
[axes]
python = ["cp312"]
arch = ["x86_64"]
[version]
base = ["env:NOTHING", "git:date", "pyproject"]
"""
MODULES = (
    *("click", "rich", "pydantic", "pydantic_core", "packaging", "pip", "sitecustomize", "json"),
    *("usercustomize", "tomllib", "subprocess", "backend", "setup", "conftest", "noxfile"),
    *("setuptools_scm", "cibuildwheel", "auditwheel", "platformdirs", "obstore", "typing"),
)
PROGRAMS = ("git", "uv", "python", "python3", "podman", "docker", "hg", "ldd", "gcc", "nvcc", "ld")
COMMANDS = (
    ("plan",),
    ("plan", "--format", "json"),
    ("plan", "--format", "github"),
    ("plan", "--format", "markdown"),
    ("explain", "cp312-manylinux_x86_64"),
    ("explain", "cp312-manylinux_x86_64", "--why-rebuild"),
    ("doctor",),
    ("schema",),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    caught = f"open({str(tmp_path / 'caught')!r}, 'a').write(__file__ + '\\n')\n"
    files = {
        "pyproject.toml": PYPROJECT,
        "matrix.toml": MATRIX,
        "evil.pth": f"import sys; {caught}",
        "uv.toml": 'index-url = "https://trap.invalid/simple"\n',
        "pip.conf": "[global]\nindex-url = https://trap.invalid/simple\n",
        "setup.cfg": "[build_ext]\ndefine = X\n",
        **{f"{name}.py": caught for name in MODULES},
    }
    root = write_files(tmp_path / "source", files)
    for name in PROGRAMS:
        program(root / name, f"echo {name} >>{tmp_path}/caught")
    return root


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_starts_or_imports_what_lies_in_it(source: Path, words: tuple[str, ...]) -> None:
    env = {
        # An empty or relative part of PATH means the working directory.
        "PATH": f":.:{Path(sys.executable).parent}:{os.environ['PATH']}:",
        "PYTHONSAFEPATH": "",
        "ORCHESTRATOR_CACHE_DIR": str(source.parent / "cache"),
        # The toolchain is not made for this.
        "PIP_NO_INDEX": "1",
    }
    said = orchestrator(*words, cwd=source, env=env)

    assert said.code in {0, 1, 4}, said.all
    assert "Traceback" not in said.all
    assert "trap.invalid" not in said.all
    caught = source.parent / "caught"
    assert not caught.exists(), caught.read_text()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_is_the_one_of_this_machine(source: Path) -> None:
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("ref: refs/heads/x\n")
    env = {"PATH": f".:{os.environ['PATH']}", "ORCHESTRATOR_CACHE_DIR": str(source.parent / "c")}
    said = orchestrator("plan", "--format", "json", cwd=source, env=env, code=2)

    assert not (source.parent / "caught").exists()
    assert "git cannot" in said.all
