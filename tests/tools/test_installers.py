"""pip and uv refuse the wheels that our table says they refuse, and install the others."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ran
from tests.unit.wheel.test_installation import CASES, wheel_of

UV = shutil.which("uv")

PIP = """
import sys
from pathlib import Path
from pip._internal.cli.main import main
import pip._internal.utils.logging as logging
for wheel in map(Path, sys.argv[1:]):
    base = ["install", "--isolated", "--no-index", "--no-deps", "--no-compile", "-qqq"]
    try:
        code = main([*base, "--ignore-installed", f"--prefix={wheel.parent / 'pip'}", str(wheel)])
    except SystemExit as error:
        code = error.code
    print(wheel.parent.name, code)
"""
"""pip's own command line, many times in one process: its start takes a second."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    found = {}
    for name, case in CASES.items():
        spec, files = wheel_of(case)
        found[name] = spec.write(folder / name, files)
    return found


def refused(by: str) -> set[str]:
    return {name for name, case in CASES.items() if by in case.get("refused-by", ())}


def test_pip(wheels: dict[str, Path]) -> None:
    done = ran(sys.executable, "-c", PIP, *wheels.values(), code=0)
    codes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert codes.keys() == CASES.keys()
    assert {name for name, code in codes.items() if code != "0"} == refused("pip")


@pytest.mark.skipif(UV is None, reason="needs uv")
def test_uv(wheels: dict[str, Path], tmp_path: Path) -> None:
    options: tuple[Any, ...] = ("--no-index", "--no-deps", "--no-config", "-q")
    cache = f"--cache-dir={tmp_path}"
    found = set()
    for name, wheel in wheels.items():
        where = (f"--prefix={wheel.parent / 'uv'}", f"--python={sys.executable}", cache)
        done = ran("uv", "pip", "install", *options, *where, wheel)
        if done.code:
            found.add(name)
    assert found == refused("uv")
