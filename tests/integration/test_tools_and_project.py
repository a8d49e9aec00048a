"""The product's tools and the project's environment never meet, on this host.

Whatever before-build installs, upgrades or removes, the frontend works, and what the project chose
is what compiles. `tests/e2e/test_tools_and_project.py` has the same for containers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import orchestrator, results
from tests.hostile import BREAK, FRONTENDS, project

pytestmark = pytest.mark.index


def build(place: Path, more: str = "") -> tuple[int, str]:
    said = orchestrator("build", "--backend", "direct", "--no-cache", cwd=place)
    return said.code, said.all


@pytest.mark.parametrize("name", BREAK)
def test_before_build_cannot_break_the_build(name: str, tmp_path: Path) -> None:
    project(tmp_path, BREAK[name])
    code, said = build(tmp_path)
    assert code == 0, said


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_every_frontend_survives(frontend: str, tmp_path: Path) -> None:
    project(tmp_path, BREAK["pip is removed"], own=f'build-frontend = "{frontend}"')
    code, said = build(tmp_path)
    assert code == 0, said


@pytest.mark.parametrize("frontend", ["build", "build[uv]"])
def test_what_before_build_chose_compiles_without_isolation(frontend: str, tmp_path: Path) -> None:
    own = f'build-frontend = {{ name = "{frontend}", args = ["--no-isolation"] }}'
    project(tmp_path, 'pip install "setuptools==59.8.0" wheel six==1.16.0 packaging==20.9', own=own)
    setup = tmp_path / "source/setup.py"
    setup.write_text(
        "import packaging, setuptools, six\n"
        'assert setuptools.__version__ == "59.8.0", setuptools.__version__\n'
        'assert (six.__version__, packaging.__version__) == ("1.16.0", "20.9")\n'
        + setup.read_text()
    )
    code, said = build(tmp_path)
    assert code == 0, said
    assert len(results(tmp_path / "dist")) == 1
