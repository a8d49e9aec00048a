"""What the wheel tests share: auditwheel's policies, and a wheel that is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.wheel.auditor import load_policies
from tests.unit.wheel.wheelmaker import ElfSpec, WheelSpec, make_elf

if TYPE_CHECKING:
    from orchestrator.wheel import Policies

EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"


@pytest.fixture(scope="session")
def policies() -> Policies:
    return load_policies()


@pytest.fixture
def extension() -> bytes:
    """Needs glibc 2.14, which is manylinux_2_17."""
    versions = {"libc.so.6": {"GLIBC_2.2.5": ("malloc", "free"), "GLIBC_2.14": ("memcpy",)}}
    return make_elf(ElfSpec(versions=versions, defined=("PyInit__ext",)))


@pytest.fixture
def spec(extension: bytes) -> WheelSpec:
    return WheelSpec(members={"demo/__init__.py": b"", EXTENSION: extension})
