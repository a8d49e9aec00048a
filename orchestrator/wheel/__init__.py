"""The only code that opens a wheel: inspect, verify, compare and rewrite it.

The names below are also for other programs; ``docs/reference/library.md`` documents them.
"""

from __future__ import annotations

from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel.archive import WheelArchive, open_wheel
from orchestrator.wheel.checked_wheel import Expected
from orchestrator.wheel.compare import HARMLESS, Difference, DifferenceKind, compare, growth_between
from orchestrator.wheel.policy import Policies
from orchestrator.wheel.rewrite import retag
from orchestrator.wheel.rules import planned_name
from orchestrator.wheel.tags import report
from orchestrator.wheel.verify import apply_levels, verify

__all__ = [
    "HARMLESS",
    "Difference",
    "DifferenceKind",
    "Expected",
    "Policies",
    "WheelArchive",
    "WheelName",
    "apply_levels",
    "compare",
    "growth_between",
    "open_wheel",
    "planned_name",
    "report",
    "retag",
    "verify",
]

SHAPES_WHEELS = True
"""Its sources are a part of every cache key."""
