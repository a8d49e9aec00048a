"""What this machine has to compile with."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.doctor import machine
from orchestrator.doctor.check import CheckLevel


def test_no_compiler(tmp_path: Path) -> None:
    checks = list(machine.compilers({"PATH": str(tmp_path)}))
    assert [check.status for check in checks] == [CheckLevel.WARN] * 2
    assert all(
        each.status is CheckLevel.OK for each in machine.compilers({"PATH": os.environ["PATH"]})
    )
