"""Whether a file is the wheel that was planned, as far as its name and its dist-info say.

That takes milliseconds and needs no toolchain. What the binaries need is `verify`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.target import VerifyPolicy
from orchestrator.models.wheel import Severity
from orchestrator.wheel import rules
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.checked_wheel import CheckedWheel
from orchestrator.wheel.policy import Policies
from orchestrator.wheel.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.models.wheel import Finding
    from orchestrator.wheel.archive import WheelName
    from orchestrator.wheel.checked_wheel import Expected

_RULES = (rules.metadata_valid, rules.names_agree, rules.versions_agree, rules.wheel_file)


def check_name(name: WheelName, want: Expected) -> None:
    """Make sure that a file name is that of a planned wheel.

    Raises:
        BadWheelError: its project, version, build tag, Python or platform is another one.
    """
    _refuse(rules.planned_name(name, want))


def check_contents(path: Path, filename: str) -> None:
    """Make sure that a file is a wheel whose dist-info says what a file name says.

    Args:
        path: the file.
        filename: the name that it is to have.

    Raises:
        BadWheelError: it is not.
    """
    with open_wheel(path, filename) as archive:
        subject = CheckedWheel(
            archive=archive,
            policies=Policies({}),
            found=Scan(elves=(), malformed=(), unreadable=(), hashes={}),
            rows=None,
            metadata=archive.headers("METADATA"),
            wheel=archive.headers("WHEEL"),
            damage=(),
            observation=None,
            size=0,
            expected=None,
            demands=VerifyPolicy(),
        )
        _refuse(finding for rule in _RULES for finding in rule(subject))


def _refuse(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise BadWheelError.of(f"{finding.rule}: {finding.message}")
