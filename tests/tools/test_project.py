"""What must not be in any file that git knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.unit.test_project import offences


def listed() -> list[Path]:
    """Committed files, and those that would be with the next `git add`."""
    if shutil.which("git") is None:
        pytest.skip("needs git, which says what is committed")
    said = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if said.returncode != 0:
        pytest.skip("not a git checkout, so nothing says what is committed")
    names = said.stdout.decode().split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


def test_no_file_names_this_machine_or_a_registry() -> None:
    found = []
    patterns = REPOSITORY / "tests" / "unit" / "test_project.py"
    for file in listed():
        try:
            text = file.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # no text
        if file != patterns:
            found += [f"{file.relative_to(REPOSITORY)}:{each}" for each in offences(text)]

    assert found == []
