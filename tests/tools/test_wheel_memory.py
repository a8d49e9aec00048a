"""How much memory harmful wheels take, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rawzip import MIB, Entry, write
from tests.unit.wheel.test_hostile import INFO, NAME, spread_elf


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def make(*entries: Entry, **how: Any) -> Path:
        path = tmp_path / NAME
        path.write_bytes(write([INFO, *entries], **how))
        return path

    return make


CHILD = """
import resource, sys
from pathlib import Path
from orchestrator.errors import BadWheelError
from orchestrator.wheel import report, verify
from tests.auditor import load_policies
policies = load_policies()
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
for use in (report, verify):
    try:
        for problem in use(Path(sys.argv[2]), policies).problems:
            print(problem.rule)
    except BadWheelError as error:
        print("refused")
"""


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({}, "zip-integrity"),
        ({"strings": 420 * MIB}, "elf-malformed"),
        ({"strings": 90 * MIB}, "zip-integrity"),
    ],
)
def test_memory_is_bounded_for_good(
    written: Callable[..., Path], tags: dict[str, int], rule: str
) -> None:
    """With 400 MiB of address space, the interpreter's own included."""
    path = written(spread_elf(450, **tags))
    command = [sys.executable, "-c", CHILD, str(400 * MIB), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert rule in done.stdout
