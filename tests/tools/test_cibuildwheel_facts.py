"""What we know of cibuildwheel is what the installed one says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

# Facts


def test_the_facts_are_those_of_the_installed_cibuildwheel() -> None:
    pytest.importorskip("cibuildwheel")
    tool = REPOSITORY / "tools" / "cibuildwheel_facts.py"
    said = subprocess.run([sys.executable, tool], check=True, capture_output=True).stdout

    written = (REPOSITORY / "orchestrator" / "plan" / "cibuildwheel.json").read_bytes()
    assert json.loads(written) == json.loads(said)
    assert written == said
