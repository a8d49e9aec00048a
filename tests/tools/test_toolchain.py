"""Interpreters that a toolchain is made from are really asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision import toolchain, wheelhouse
from orchestrator.provision.cache_dir import IN_USE
from orchestrator.provision.pythons import Interpreter
from orchestrator.provision.toolchain import existing
from orchestrator.provision.toolchain_env import MARKER
from tests.factories import program
from tests.unit.provision.test_toolchain import fake


@pytest.mark.parametrize(
    "lost", [MARKER, IN_USE, "bin/python", "bin/uv", "bin/auditwheel", "../../base"]
)
def test_what_lacks_a_part_is_not_there(tmp_path: Path, lost: str) -> None:
    tools = fake(tmp_path)
    (tools.root / lost).unlink()
    assert existing(tmp_path, {}) is None


# The interpreter


def test_path_has_no_say_in_the_interpreter(tmp_path: Path) -> None:
    lure = f'exec {sys.executable} "$@"'
    for minor in wheelhouse.SUPPORTED:
        program(tmp_path / "trap" / f"python3.{minor}", f"touch {tmp_path}/asked; {lure}")
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/trap"}
    found = toolchain.choose(environ, tmp_path)
    assert isinstance(found, Interpreter)
    assert not (tmp_path / "asked").exists()


def test_an_interpreter_without_what_the_tools_import_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_PATH", str(tmp_path / "nothing"))
    assert toolchain.choose({"HOME": str(tmp_path)}) is not None, "the one that runs this"
    monkeypatch.setattr(toolchain, "_MODULES", "ssl, no_such_module")
    assert toolchain.choose({"HOME": str(tmp_path)}) is None


def test_a_pip_is_looked_for_and_made_before_giving_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = program(tmp_path / "bare" / "python", 'echo "No module named $4" >&2; exit 1')
    monkeypatch.setattr(sys, "executable", str(bare))
    env: Mapping[str, str] = {"PATH": os.defpath}
    with pytest.raises(EnvironmentProblemError, match=r"(?s)no pip.*apt-get install python3-pip"):
        wheelhouse.find_pip([bare], env=env, scratch=tmp_path)
    ensured = program(tmp_path / "ensured" / "python", '[ "$3" = venv ]')
    command = wheelhouse.find_pip([bare, ensured], env=env, scratch=tmp_path)
    assert command == (str(tmp_path / "pip-1" / "bin" / "python"), "-I", "-m", "pip")
    has_pip = program(tmp_path / "has" / "python", "exit 0")
    command = wheelhouse.find_pip([bare, ensured, has_pip], env=env, scratch=tmp_path)
    assert command == (str(has_pip), "-I", "-m", "pip")
