"""The only code that opens a wheel: what it is, what it says, and how to make the two agree."""

from __future__ import annotations

from orchestrator.wheel.archive import WheelArchive, open_wheel
from orchestrator.wheel.policy import Policies
from orchestrator.wheel.rewrite import retag
from orchestrator.wheel.tags import report
from orchestrator.wheel.verify import Expected, verify

__all__ = ["Expected", "Policies", "WheelArchive", "open_wheel", "report", "retag", "verify"]
