"""The same source, built twice in different places, gives the same wheel once it is normalised."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import IMAGES, orchestrator
from tests.factories import project_file

pytestmark = [pytest.mark.engine, pytest.mark.index]

SETUP = project_file("reproducible/setup.py")

MATRIX = project_file("reproducible/matrix.toml")


def built(folder: Path, *, normalise: bool, mode: int) -> Path:
    project = folder / "tiny"
    project.mkdir(parents=True)
    (project / "setup.py").write_text(SETUP)
    (project / "pure.py").write_text("x = 1\n")
    (project / "pure.py").chmod(mode)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    for path in project.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))  # SOURCE_DATE_EPOCH is the newest file's
    text = MATRIX.format(images=IMAGES, normalise=str(normalise).lower())
    (folder / "matrix.toml").write_text(text)
    said = orchestrator("build", cwd=folder)
    assert said.code == 0, said.all
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def test_two_builds_of_one_source(engine: str, tmp_path: Path) -> None:
    one = built(tmp_path / "a", normalise=True, mode=0o644)
    two = built(tmp_path / "b", normalise=True, mode=0o664)
    same = orchestrator("verify", "--same", one, two, cwd=tmp_path)
    assert (same.code, same.stdout) == (0, "identical, byte for byte\n"), same.all
    plain = built(tmp_path / "c", normalise=False, mode=0o664)
    other = orchestrator("verify", "--same", one, plain, cwd=tmp_path)
    assert other.code == 5, other.all
    assert other.stdout.splitlines()[-1] == "identical contents, packed differently", other.all
