"""The scripts of .ci: what they take from the package is there, with nothing but Python."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, ran

SCRIPTS = sorted(path for path in REPOSITORY.joinpath(".ci").iterdir() if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_bash(script: Path) -> None:
    ran("bash", "-n", script, code=0)


def test_imports_need_no_installed_package() -> None:
    text = "\n".join(script.read_text() for script in SCRIPTS)
    lines = re.findall(r"(?m)^from orchestrator\S* import .*$", text)
    assert lines

    code = "\n".join((f"import sys; sys.path.append({str(REPOSITORY)!r})", *lines))
    ran(sys.executable, "-I", "-S", "-c", code, code=0)
