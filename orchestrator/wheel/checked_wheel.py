"""A wheel as the rules of `verify` see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.config.verify_rules import RULES
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity
from orchestrator.plan.gpu_archs import AskedArchs
from orchestrator.wheel.policy import PlatformTag
from orchestrator.wheel.scan import Scan
from orchestrator.wheel.tags import ExtensionModule, extension_module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import Message

    from orchestrator.models.platforms import Arch, Libc
    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.record import RecordRow
    from orchestrator.wheel.scan import BinaryMember, ElfMember
    from orchestrator.wheel.tags import Observation


FEW = 5
"""Names that a message has when many break a rule in the same way."""


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
        torch_stable: the lowest torch (``2.9``) of whose stable ABI it may use nothing else.
        baseline: newest libc version that the wheel may need (``2.28``); empty for any.
        cuda: whether it is compiled for CUDA, beside a torch; False: for none; None: for any.
        cuda_version: the CUDA that it is compiled for (``13.0``); empty for any.
        cxx11abi: which C++ ABI of libtorch it uses; None for any.
        gpu_archs: the GPU architectures that the build was asked for; see `AskedArchs`.
    """

    name: str
    version: str
    build_tag: str
    python: str
    libc: Libc
    arch: Arch
    pins: tuple[str, ...] = ()
    abi3: str = ""
    torch_stable: str = ""
    baseline: str = ""
    cuda: bool | None = None
    cuda_version: str = ""
    cxx11abi: bool | None = None
    gpu_archs: AskedArchs = field(default_factory=AskedArchs)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWheel:
    """A wheel as the rules see it.

    Attributes:
        rows: RECORD; it, METADATA's and WHEEL's headers are None if they cannot be read.
        damage: why they cannot be read.
        observation: what the ELF files need; None without ELF files.
        size: of the file, in bytes.
        expected: what was planned, if anything.
        stable_abi: name -> the first Python with it (the 12 of 3.12); None if unknown.
    """

    archive: WheelArchive
    found: Scan = field(default_factory=Scan)
    rows: tuple[RecordRow, ...] | None = None
    metadata: Message | None = None
    wheel: Message | None = None
    damage: tuple[str, ...] = ()
    observation: Observation | None = None
    size: int = 0
    expected: Expected | None = None
    demands: VerifyPolicy = field(default_factory=VerifyPolicy)
    stable_abi: Mapping[str, int] | None = None

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of the file name."""
        return self.archive.name.platforms

    @property
    def linux_tags(self) -> tuple[PlatformTag, ...]:
        """Those of the platform tags that name Linux."""
        return tuple(filter(None, map(PlatformTag.parse, self.platforms)))

    @property
    def arches(self) -> set[str]:
        """The architectures that the platform tags name."""
        return {tag.arch for tag in self.linux_tags}

    @property
    def modules(self) -> tuple[ExtensionModule, ...]:
        """The extension modules in the wheel."""
        files: list[ElfMember | BinaryMember] = [*self.found.elves, *self.found.binaries]
        return tuple(filter(None, map(extension_module, files)))

    def stated(self, field: str) -> str:
        """Return a field of METADATA; empty if it is missing."""
        return "" if self.metadata is None else str(self.metadata.get(field, "")).strip()


def few(names: Sequence[str]) -> str:
    """Return the first names of many, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def finding(rule: str, message: str) -> Finding:
    """Return a finding with the rule's default severity."""
    warns = RULES[rule] is RuleLevel.WARN
    return Finding(
        rule=rule, message=message, severity=Severity.WARNING if warns else Severity.ERROR
    )


def parsed_version(text: str) -> Version | None:
    """Parse a version (PEP 440); None if it is not one."""
    try:
        return Version(text)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return None
