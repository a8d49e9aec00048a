"""The same source, built twice in different places, gives the same wheel once it is normalised."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import orchestrator
from tests.factories import write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]


def built(folder: Path, *, normalise: bool, mode: int) -> Path:
    project = write_project(folder, "reproducible", normalise=str(normalise).lower())
    (project / "pure.py").write_text("x = 1\n")
    (project / "pure.py").chmod(mode)
    for path in project.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))  # SOURCE_DATE_EPOCH is the newest file's
    orchestrator("build", cwd=folder, code=0)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def test_two_builds_of_one_source(engine: str, tmp_path: Path) -> None:
    one = built(tmp_path / "a", normalise=True, mode=0o644)
    two = built(tmp_path / "b", normalise=True, mode=0o664)
    same = orchestrator("verify", "--same", one, two, cwd=tmp_path, code=0)
    assert same.stdout == "identical, byte for byte\n"
    plain = built(tmp_path / "c", normalise=False, mode=0o664)
    other = orchestrator("verify", "--same", one, plain, cwd=tmp_path, code=5)
    assert other.stdout.splitlines()[-1] == "identical contents, packed differently", other.all
