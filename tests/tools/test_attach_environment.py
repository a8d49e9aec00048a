"""An environment that many builds share, as the Python of one of them sees it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from orchestrator.builders.cibuildwheel import ATTACH_SCRIPT
from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision import pythons
from tests.conftest import ran
from tests.packages import write_wheel

ASK = """
import importlib.metadata as metadata, json, shared
found = metadata.distribution("Shared")
print(json.dumps({
    "version": found.version,
    "module": shared.version,
    "files": {str(file): file.locate().exists() for file in found.files},
    "listed": sorted({each.metadata["Name"] for each in metadata.distributions()}),
}))
"""


def interpreters() -> list[str]:
    """The Python of these tests, and the oldest that a build may have."""
    try:
        oldest = pythons.find("cp38", environ=os.environ).path
    except EnvironmentProblemError:
        return [sys.executable]
    return [sys.executable, str(oldest)]


@pytest.mark.parametrize("interpreter", interpreters())
def test_a_package_finds_its_own_files(interpreter: str, tmp_path: Path) -> None:
    """As cmake does when it is imported."""
    venv, prepared = tmp_path / "venv", tmp_path / "prepared"
    ran(interpreter, "-m", "venv", venv, code=0)
    python = venv / "bin/python"
    install = (python, "-m", "pip", "install", "-q", "--no-index", "--no-deps")
    ran(*install, "--target", prepared, write_wheel(tmp_path, "shared", "1.0"), code=0)
    before = sorted(prepared.rglob("*"))
    ran(python, "-I", ATTACH_SCRIPT, prepared, code=0)

    seen = json.loads(ran(python, "-c", ASK, code=0).stdout)
    assert (seen["version"], seen["module"]) == ("1.0", "1.0")
    assert all(seen["files"].values())
    assert "shared/__init__.py" in seen["files"]
    assert ran(python, "-m", "pip", "freeze", code=0).stdout.startswith("shared ")

    ran(*install, "--upgrade", write_wheel(tmp_path, "shared", "2.0"), code=0)
    seen = json.loads(ran(python, "-c", ASK, code=0).stdout)
    assert (seen["version"], seen["module"]) == ("2.0", "2.0")
    assert all(seen["files"].values())
    assert "pip" in seen["listed"]
    after = sorted(each for each in prepared.rglob("*") if "__pycache__" not in each.parts)
    assert after == [each for each in before if "__pycache__" not in each.parts]
