"""Check that a wheel is what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import BadWheelError
from orchestrator.models import external_libraries
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel import (
    binary_rules,
    contents,
    gpu_rules,
    installation,
    record,
    rules,
    torch_rules,
)
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.checked_wheel import CheckedWheel
from orchestrator.wheel.rules import ALGORITHMS
from orchestrator.wheel.scan import scan
from orchestrator.wheel.tags import summarise
from orchestrator.wheel.variant import variant_agrees, variant_architectures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.models.wheel import WheelReport
    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.checked_wheel import Expected
    from orchestrator.wheel.policy import Policies

_T = TypeVar("_T")


_RULES = (
    *rules.RULES,
    variant_agrees,
    variant_architectures,
    *contents.RULES,
    *binary_rules.RULES,
    *gpu_rules.RULES,
    *torch_rules.RULES,
    *installation.RULES,
)
"""The rules that read the wheel themselves, in the order in which their findings are reported."""


def verify(
    path: Path,
    policies: Policies,
    *,
    external: Sequence[str] = (),
    expected: Expected | None = None,
    demands: VerifyPolicy | None = None,
) -> WheelReport:
    """Check that a wheel is sound, that it is what it says, and that it is what was planned.

    Every member is read once (twice where `demands` has build paths), and its CRC checked.

    Args:
        path: the wheel.
        policies: auditwheel's policies.
        external: patterns or presets of libraries that may stay outside the wheel.
        expected: what was planned, if anything.
        demands: further demands, and the level of each rule.

    Returns:
        The report, with every finding in `problems`.

    Raises:
        BadWheelError: the file is not a wheel that can be read.
        ConfigError: `external` names an unknown preset.
    """
    patterns = external_libraries.resolve(external)
    asked = demands or VerifyPolicy()
    with open_wheel(path) as archive:
        damage: list[str] = []
        rows = _attempt(lambda: record.read(archive), damage)
        metadata = _attempt(lambda: archive.headers("METADATA"), damage)
        wheel = _attempt(lambda: archive.headers("WHEEL"), damage)
        found = scan(archive, _algorithms(archive, rows or ()))
        report, observation = summarise(archive, found, policies, patterns)
        subject = CheckedWheel(
            archive=archive,
            found=found,
            rows=rows,
            metadata=metadata,
            wheel=wheel,
            damage=tuple(damage),
            observation=observation,
            size=report.size,
            expected=expected,
            demands=asked,
            stable_abi=policies.stable_abi if rules.promises_stable_abi(archive.name) else None,
        )
        findings = chain.from_iterable(rule(subject) for rule in _RULES)
        short = tuple(archive.budget.findings(_with_levels(findings, asked)))
    return replace(report, problems=(*apply_levels(report.problems, asked), *short))


def apply_levels(findings: Iterable[Finding], demands: VerifyPolicy) -> tuple[Finding, ...]:
    """Return findings with the demanded levels, without those of rules that are off."""
    return tuple(_with_levels(findings, demands))


def _with_levels(findings: Iterable[Finding], demands: VerifyPolicy) -> Iterator[Finding]:
    levels = dict(demands.levels)
    for finding in findings:
        level = levels.get(finding.rule)
        if level is None:
            yield finding
        elif level is not RuleLevel.OFF:
            severity = Severity.ERROR if level is RuleLevel.ERROR else Severity.WARNING
            yield replace(finding, severity=severity)


def _attempt(read: Callable[[], _T], damage: list[str]) -> _T | None:
    """Read one of the dist-info files; its damage becomes a finding later."""
    try:
        return read()
    except BadWheelError as error:
        damage.extend(problem.what for problem in error.problems)
        return None


def _algorithms(archive: WheelArchive, rows: Sequence[record.RecordRow]) -> dict[str, str]:
    """Return each member's hash algorithm in RECORD; SHA-256 if there is none."""
    algorithms = {member.filename: "sha256" for member in archive.members}
    for row in rows:
        algorithm = row.hash.partition("=")[0]
        if algorithm in ALGORITHMS and row.path in algorithms:
            algorithms[row.path] = algorithm
    return algorithms


def check_name(name: WheelName, want: Expected) -> None:
    """Make sure that a file name is that of a planned wheel.

    Raises:
        BadWheelError: its project, version, build tag, Python or platform is another one.
    """
    _refuse(rules.planned_name(name, want))


def check_contents(path: Path, filename: str) -> None:
    """Make sure that a file is a wheel whose dist-info says what a file name says.

    That takes milliseconds and needs no toolchain. What the binaries need is `verify`'s to say.

    Raises:
        BadWheelError: it is not.
    """
    with open_wheel(path, filename) as archive:
        metadata, wheel = archive.headers("METADATA"), archive.headers("WHEEL")
        subject = CheckedWheel(archive=archive, metadata=metadata, wheel=wheel)
        for rule in (
            rules.metadata_valid,
            rules.names_agree,
            rules.versions_agree,
            rules.wheel_file,
            variant_agrees,
        ):
            _refuse(rule(subject))


def _refuse(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise BadWheelError.of(f"{finding.rule}: {finding.message}")
