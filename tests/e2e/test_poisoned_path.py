"""Programs of this host that go by the tools' names, first on PATH, change no byte of a wheel."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.provision.toolchain_env import TOOLS
from tests.conftest import IMAGES, orchestrator, results
from tests.factories import project_file

pytestmark = [pytest.mark.engine, pytest.mark.index]

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
MACHINE = os.uname().machine

# libgomp is grafted: auditwheel and patchelf have something to do.
SETUP = project_file("teams/setup.py")

MATRIX = project_file("teams/matrix.toml")

NAMES = (*TOOLS, "abi3audit", "build", "pip3", "python3", f"python3.{sys.version_info[1]}")


def built(folder: Path, backend: str, python: str, path: str) -> str:
    """Build and return the wheel's hash."""
    project = folder / "teams"
    project.mkdir(parents=True)
    (project / "setup.py").write_text(SETUP)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    for each in project.iterdir():
        os.utime(each, (1_700_000_000, 1_700_000_000))  # SOURCE_DATE_EPOCH is the newest file's
    text = MATRIX.format(python=python, machine=MACHINE, images=IMAGES)
    (folder / "matrix.toml").write_text(text)
    said = orchestrator("build", "--backend", backend, cwd=folder, env={"PATH": path})
    assert said.code == 0, said.all
    (result,) = results(folder / "dist").values()
    log = next((folder / ".orchestrator" / "logs").glob("*.log")).read_text()
    assert "trapped" not in said.all + log
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as wheel:
        assert any(name.startswith("teams.libs/libgomp") for name in wheel.namelist())
    return str(result["wheel"]["sha256"])


@pytest.mark.parametrize(("backend", "python"), [("direct", TAG), ("cibuildwheel", "cp311")])
def test_tools_of_the_host_change_nothing(
    engine: str, tmp_path: Path, backend: str, python: str
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in NAMES:
        (trap / name).write_text(f"#!/bin/sh\necho trapped | tee -a {tmp_path}/{name}\nexit 0\n")
        (trap / name).chmod(0o755)
    path = os.environ["PATH"]
    clean = built(tmp_path / "clean", backend, python, path)
    poisoned = built(tmp_path / "poisoned", backend, python, f"{trap}:{path}")
    assert poisoned == clean
    called = {name for name in NAMES if (tmp_path / name).exists()}
    # Whoever looks for an interpreter of the direct backend has to ask what goes by that name.
    assert called <= {name for name in NAMES if name.startswith("python")}
