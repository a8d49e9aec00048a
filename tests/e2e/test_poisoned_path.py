"""Programs of this host that go by the tools' names, first on PATH, change no byte of a wheel."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.provision.toolchain_env import TOOLS
from tests.conftest import TAG, log_of, orchestrator, results
from tests.factories import program, write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

NAMES = (*TOOLS, "build", "pip3", "python3", f"python3.{sys.version_info[1]}")


def built(folder: Path, backend: str, python: str, path: str) -> str:
    """Build and return the wheel's hash."""
    # libgomp is grafted: auditwheel and patchelf have something to do.
    project = write_project(folder, "teams", python=python)
    for each in project.iterdir():
        os.utime(each, (1_700_000_000, 1_700_000_000))  # SOURCE_DATE_EPOCH is the newest file's
    env = {"PATH": path}
    said = orchestrator("build", "--backend", backend, cwd=folder, env=env, code=0)
    (result,) = results(folder / "dist").values()
    assert "trapped" not in said.all + log_of(folder)
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as wheel:
        assert any(name.startswith("teams.libs/libgomp") for name in wheel.namelist())
    return str(result["wheel"]["sha256"])


@pytest.mark.parametrize(("backend", "python"), [("direct", TAG), ("cibuildwheel", "cp311")])
def test_tools_of_the_host_change_nothing(
    engine: str, tmp_path: Path, backend: str, python: str
) -> None:
    trap = tmp_path / "trap"
    for name in NAMES:
        program(trap / name, f"echo trapped | tee -a {tmp_path}/{name}")
    path = os.environ["PATH"]
    clean = built(tmp_path / "clean", backend, python, path)
    poisoned = built(tmp_path / "poisoned", backend, python, f"{trap}:{path}")
    assert poisoned == clean
    called = {name for name in NAMES if (tmp_path / name).exists()}
    # Whoever looks for an interpreter of the direct backend has to ask what goes by that name.
    assert called <= {name for name in NAMES if name.startswith("python")}
