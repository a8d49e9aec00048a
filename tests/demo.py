"""A small project with a library and an extension for the stable ABI, for end-to-end tests."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.factories import project_file

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
FLOOR = f"0x{sys.version_info.major:02x}{sys.version_info.minor:02x}0000"

PYPROJECT = project_file("fanin/pyproject.toml")

SETUP = project_file("fanin/setup.py")

EXTENSION = project_file("fanin/ext.c")

CHECK = project_file("fanin/check.py")

MATRIX = project_file("fanin/matrix.toml")


def write(folder: Path, *, arch: str, tag: str = TAG, floor: str = FLOOR) -> None:
    """Write the project, and a matrix in which two libraries feed one wheel."""
    project = folder / "project"
    (project / "fanin").mkdir(parents=True)
    (project / "fanin" / "__init__.py").write_text("")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "setup.py").write_text(SETUP)
    (project / "ext.c").write_text(EXTENSION)
    (project / "core.c").write_text("int answer(void) { return NUMBER; }\n")
    (project / "checks").mkdir()  # away from the package, so that the installed one is tested
    (project / "checks" / "check.py").write_text(CHECK)
    matrix = MATRIX.format(arch=arch, tag=tag, floor=floor, root=folder)
    (folder / "matrix.toml").write_text(matrix)
