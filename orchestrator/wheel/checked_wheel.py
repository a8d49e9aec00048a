"""A wheel that has been read, as the rules of `verify` see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config.verify_rules import RULES
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel.tags import ExtensionModule, extension_module

if TYPE_CHECKING:
    from email.message import Message

    from orchestrator.models.platforms import Arch, Libc
    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.policy import Policies
    from orchestrator.wheel.record import RecordRow
    from orchestrator.wheel.scan import Scan
    from orchestrator.wheel.tags import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a wheel was planned to be.

    Attributes:
        name: the project's name, in any spelling; empty for any.
        version: the version, PEP 440.
        build_tag: the build tag, empty for none.
        python: ``cp312``, ``cp314t``, ``pp311``.
        libc: the C library.
        arch: the architecture.
        pins: requirements that the wheel must state.
        abi3: lowest Python that a wheel for the stable ABI must serve; empty for other wheels.
        baseline: libc version that the wheel may need at most (``2.28``); empty for any.
    """

    name: str
    version: str
    build_tag: str
    python: str
    libc: Libc
    arch: Arch
    pins: tuple[str, ...] = ()
    abi3: str = ""
    baseline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWheel:
    """A wheel that has been read, as the rules see it.

    Attributes:
        archive: the wheel.
        policies: auditwheel's policies.
        found: its ELF files and hashes.
        rows: RECORD; None when it cannot be read.
        metadata: METADATA's headers; None when it cannot be read.
        wheel: WHEEL's headers; None when it cannot be read.
        damage: why the above cannot be read.
        observation: what the ELF files need; None when there are none.
        size: of the file, in bytes.
        expected: what was planned, if anything was.
        demands: what the user asks of it.
    """

    archive: WheelArchive
    policies: Policies
    found: Scan
    rows: tuple[RecordRow, ...] | None
    metadata: Message | None
    wheel: Message | None
    damage: tuple[str, ...]
    observation: Observation | None
    size: int
    expected: Expected | None
    demands: VerifyPolicy

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of the file name."""
        return self.archive.name.platforms

    @property
    def modules(self) -> tuple[ExtensionModule, ...]:
        """The extension modules in the wheel."""
        return tuple(module for module in map(extension_module, self.found.elves) if module)


def found(rule: str, message: str) -> Finding:
    """Return a finding of the severity that the rule has when nothing is said."""
    warns = RULES[rule] is RuleLevel.WARN
    return Finding(
        rule=rule, message=message, severity=Severity.WARNING if warns else Severity.ERROR
    )
