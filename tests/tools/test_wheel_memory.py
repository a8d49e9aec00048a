"""How much memory harmful wheels take, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import ran
from tests.rawzip import MIB, write
from tests.unit.wheel.test_hostile import INFO, NAME, spread_elf

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
def test_memory_is_bounded_for_good(tmp_path: Path, tags: dict[str, int], rule: str) -> None:
    """With 400 MiB of address space, the interpreter's own included."""
    path = tmp_path / NAME
    path.write_bytes(write([INFO, spread_elf(450, **tags)]))
    said = ran(sys.executable, "-c", CHILD, str(400 * MIB), path, code=0)
    assert said.stderr == ""
    assert rule in said.stdout
