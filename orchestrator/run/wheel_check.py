"""Whether a finished wheel is what it says, as users ask it: by options and by a target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel import Finding, Severity
from orchestrator.run.finish import demands_on
from orchestrator.wheel import apply_levels, verify

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.models.target import Target, VerifyPolicy
    from orchestrator.models.wheel import WheelReport
    from orchestrator.provision.external_checks import ExternalChecks
    from orchestrator.wheel import Expected, Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelVerdict:
    """What is wrong with a wheel; there is no report on a file that is none."""

    path: Path
    findings: tuple[Finding, ...]
    report: WheelReport | None

    @property
    def errors(self) -> list[Finding]:
        """What makes it bad."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelChecker:
    """Checks wheels.

    Attributes:
        external: libraries that may be outside of every wheel.
        demands: what the user asks of every wheel.
        tools: auditwheel's policies, and what other tools check.
    """

    external: tuple[str, ...]
    demands: VerifyPolicy
    tools: tuple[Policies, ExternalChecks]

    def check(
        self, path: Path, target: Target | None, expected: Expected | None = None
    ) -> WheelVerdict:
        """Check a wheel; a target's demands hold as well."""
        external, demands = self.external, self.demands
        if target is not None:
            external, demands = (*target.steps.external, *external), self._added_to(path, target)
        policies, more_checks = self.tools
        try:
            report = verify(path, policies, external=external, demands=demands, expected=expected)
        except BadWheelError as error:
            # No program that unpacks it may see it.
            found = tuple(Finding(rule="unreadable", message=each.what) for each in error.problems)
            return WheelVerdict(path=path, findings=found, report=None)
        more = more_checks(path.absolute(), demands, lambda _line: None)
        findings = (*report.problems, *apply_levels(more, demands))
        return WheelVerdict(path=path, findings=findings, report=report)

    def _added_to(self, path: Path, target: Target) -> VerifyPolicy:
        mine, theirs = self.demands, demands_on(path, target)
        return replace(
            theirs,
            levels=(*theirs.levels, *mine.levels),
            size_budget=theirs.size_budget if mine.size_budget is None else mine.size_budget,
            required=mine.required or theirs.required,
            build_paths=mine.build_paths or theirs.build_paths,
        )
