"""Architectures and C libraries, and what other projects call them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Arch(StrEnum):
    """CPU architectures, spelled as in platform tags (PEP 600, PEP 656)."""

    X86_64 = "x86_64"
    I686 = "i686"
    AARCH64 = "aarch64"
    ARMV7L = "armv7l"
    PPC64LE = "ppc64le"
    S390X = "s390x"
    RISCV64 = "riscv64"
    LOONGARCH64 = "loongarch64"


class Libc(StrEnum):
    """The C library a wheel is for: glibc (PEP 600) or musl (PEP 656)."""

    MANYLINUX = "manylinux"
    MUSLLINUX = "musllinux"


TRIPLETS: Mapping[Arch, str] = {
    Arch.X86_64: "x86_64-linux-gnu",
    Arch.I686: "i386-linux-gnu",
    Arch.AARCH64: "aarch64-linux-gnu",
    Arch.ARMV7L: "arm-linux-gnueabihf",
    Arch.PPC64LE: "powerpc64le-linux-gnu",
    Arch.S390X: "s390x-linux-gnu",
    Arch.RISCV64: "riscv64-linux-gnu",
    Arch.LOONGARCH64: "loongarch64-linux-gnu",
}
"""Debian's multiarch tuples (PEP 3149 suffixes of CPython have them too)."""


DEBIAN_ARCHES: Mapping[Arch, str] = {
    Arch.X86_64: "amd64",
    Arch.I686: "i386",
    Arch.AARCH64: "arm64",
    Arch.ARMV7L: "armhf",
    Arch.PPC64LE: "ppc64el",
    Arch.S390X: "s390x",
    Arch.RISCV64: "riscv64",
    Arch.LOONGARCH64: "loong64",
}
"""dpkg's name of an architecture."""


OCI_PLATFORMS: Mapping[Arch, str] = {
    Arch.X86_64: "linux/amd64",
    Arch.I686: "linux/386",
    Arch.AARCH64: "linux/arm64",
    Arch.ARMV7L: "linux/arm/v7",
    Arch.PPC64LE: "linux/ppc64le",
    Arch.S390X: "linux/s390x",
    Arch.RISCV64: "linux/riscv64",
    Arch.LOONGARCH64: "linux/loong64",
}
"""OCI image specification, `platform`: GOOS/GOARCH[/variant]."""
