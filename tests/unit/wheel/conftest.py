"""Writes wheels and reads them by the policies of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import VerifyPolicy
from orchestrator.models.wheel import Finding, WheelReport
from orchestrator.wheel import Expected, Policies, report, retag, verify
from tests.auditor import Verdict, audited
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

EXPECTED = Expected(
    name="Demo", version="1.0", build_tag="", python="cp312", libc=Libc.MANYLINUX, arch=Arch.X86_64
)


@dataclass(frozen=True, kw_only=True)
class Inspector:
    """What `report`, `verify` and auditwheel say of a wheel, or of one that is written first."""

    folder: Path
    policies: Policies

    def path(self, wheel: WheelSpec | Path) -> Path:
        return wheel if isinstance(wheel, Path) else wheel.write(self.folder)

    def report(self, wheel: WheelSpec | Path, external: Sequence[str] = ()) -> WheelReport:
        return report(self.path(wheel), self.policies, external=external)

    def findings(
        self, wheel: WheelSpec | Path, expected: Expected | None = None, **demands: Any
    ) -> tuple[Finding, ...]:
        policy = VerifyPolicy(**demands)
        path = self.path(wheel)
        return verify(path, self.policies, expected=expected, demands=policy).problems

    def rules(self, wheel: WheelSpec | Path, **options: Any) -> list[str]:
        return [each.rule for each in self.findings(wheel, **options)]

    def retag(self, wheel: WheelSpec | Path, folder: str = "new", **changes: Any) -> Path:
        return retag(self.path(wheel), dest_dir=self.folder / folder, **changes)

    def audited(self, wheel: WheelSpec | Path, arch: Arch = Arch.X86_64) -> Verdict:
        return audited(self.path(wheel), Libc.MANYLINUX, arch)


@pytest.fixture
def inspector(tmp_path: Path, policies: Policies) -> Inspector:
    return Inspector(folder=tmp_path, policies=policies)


def extension(**elf: Any) -> bytes:
    """Make an extension module."""
    return make_elf(ElfSpec(defined=("PyInit_x",), **elf))


def one_extension(**elf: Any) -> WheelSpec:
    """Make a wheel that has an extension module, and nothing else."""
    return WheelSpec(members={"x.so": extension(**elf)})
