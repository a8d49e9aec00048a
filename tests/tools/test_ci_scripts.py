"""The scripts of .ci: what they take from the package is there, with nothing but Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in REPOSITORY.joinpath(".ci").iterdir() if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_imports_need_no_installed_package() -> None:
    lines = [
        line
        for script in SCRIPTS
        for line in re.findall(
            r"^from orchestrator\S* import .*$", script.read_text(), re.MULTILINE
        )
    ]
    assert lines

    program = "\n".join((f"import sys; sys.path.append({str(REPOSITORY)!r})", *lines))
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)
