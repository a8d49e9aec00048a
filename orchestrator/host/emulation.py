"""Which architectures this machine can execute: itself, with the kernel's help, or with QEMU."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.models import Arch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")

_MACHINES: Mapping[str, Arch] = {
    **{str(arch): arch for arch in Arch},
    "amd64": Arch.X86_64,
    "i386": Arch.I686,
    "i486": Arch.I686,
    "i586": Arch.I686,
    "arm64": Arch.AARCH64,
    "armv8l": Arch.ARMV7L,  # a 32-bit process on a 64-bit kernel
}
"""What uname(2) says, and what others call the same."""

_COMPATIBLE = frozenset({(Arch.X86_64, Arch.I686), (Arch.AARCH64, Arch.ARMV7L)})
"""(host, architecture) that the host's kernel runs at native speed."""

_ELF: Mapping[Arch, tuple[int, int, int]] = {
    # class (1: 32 bits, 2: 64 bits), data (1: little endian, 2: big endian), e_machine
    Arch.X86_64: (2, 1, 62),
    Arch.I686: (1, 1, 3),
    Arch.AARCH64: (2, 1, 183),
    Arch.ARMV7L: (1, 1, 40),
    Arch.PPC64LE: (2, 1, 21),
    Arch.S390X: (2, 2, 22),
    Arch.RISCV64: (2, 1, 243),
    Arch.LOONGARCH64: (2, 1, 258),
}

QEMU_NAMES: Mapping[Arch, str] = {
    **{arch: str(arch) for arch in Arch},
    Arch.I686: "i386",
    Arch.ARMV7L: "arm",
}
"""QEMU's name of an architecture, as in ``qemu-arm-static``."""

_BINFMT_IMAGE_NAMES: Mapping[Arch, str] = {
    **QEMU_NAMES,
    Arch.X86_64: "amd64",
    Arch.I686: "386",
    Arch.AARCH64: "arm64",
    Arch.LOONGARCH64: "loong64",
}


class Execution(StrEnum):
    """How a host runs programs of an architecture."""

    NATIVE = "native"
    COMPATIBLE = "compatible"
    EMULATED = "emulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class BinfmtStatus:
    """What the kernel does with a program of a foreign architecture.

    Attributes:
        arch: the architecture.
        registered: whether an enabled handler takes its ELF files.
        flags: the handler's flags (``F``: the interpreter is opened at registration, so that it
            works in containers, whose file systems do not have it).
        interpreter: the handler's program.
        problem: why containers of that architecture would not run.
    """

    arch: Arch
    registered: bool
    flags: str = ""
    interpreter: str = ""
    problem: Problem | None = None


def host_arch(machine: str | None = None) -> Arch:
    """Return this machine's architecture.

    Args:
        machine: as uname(2) spells it; None to ask.

    Raises:
        EnvironmentProblemError: it is not one that Linux wheels exist for.
    """
    name = platform.machine() if machine is None else machine
    try:
        return _MACHINES[name.lower()]
    except KeyError:
        known = ", ".join(Arch)
        raise EnvironmentProblemError(
            Problem(what=f"unknown host architecture {name!r}", hint=f"known are {known}")
        ) from None


def how(host: Arch, arch: Arch) -> Execution:
    """Return how a host runs programs of `arch`."""
    if host is arch:
        return Execution.NATIVE
    return Execution.COMPATIBLE if (host, arch) in _COMPATIBLE else Execution.EMULATED


def binfmt(arch: Arch, root: Path = BINFMT_MISC) -> BinfmtStatus:
    """Return what the kernel's binfmt_misc does with programs of `arch`.

    Handlers are found by the ELF header they match, as their names are a matter of taste.

    Args:
        arch: a foreign architecture.
        root: where binfmt_misc is mounted.
    """
    if not (root / "status").is_file():
        return _refuse(
            arch,
            "binfmt_misc is not mounted",
            f"`mount -t binfmt_misc binfmt_misc {root}` as root, then {_registration(arch)}",
        )
    if _read(root / "status").strip() != "enabled":
        hint = f"`echo 1 > {root}/status` as root"
        return _refuse(arch, "binfmt_misc is switched off", hint)
    found = [entry for entry in _handlers(root) if entry.takes(_elf_header(arch))]
    if not found:
        return _refuse(arch, f"no QEMU is registered for {arch}", _registration(arch))
    # The kernel asks the newest one first, but does not tell which that is: prefer a good one.
    best = max(found, key=lambda entry: "F" in entry.flags)
    problem = None
    if "F" not in best.flags:
        problem = Problem(
            what=f"{best.interpreter} is registered for {arch} without the F flag, "
            "so containers cannot see it",
            hint=_registration(arch),
        )
    return BinfmtStatus(
        arch=arch,
        registered=True,
        flags=best.flags,
        interpreter=best.interpreter,
        problem=problem,
    )


def _refuse(arch: Arch, what: str, hint: str) -> BinfmtStatus:
    return BinfmtStatus(arch=arch, registered=False, problem=Problem(what=what, hint=hint))


def _registration(arch: Arch) -> str:
    return (
        "`apt-get install qemu-user-static binfmt-support` (Debian, Ubuntu), or `docker run "
        f"--privileged --rm tonistiigi/binfmt --install {_BINFMT_IMAGE_NAMES[arch]}`"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handler:
    """One enabled entry of binfmt_misc (kernel documentation, admin-guide/binfmt-misc)."""

    interpreter: str
    flags: str
    offset: int
    magic: bytes
    mask: bytes

    def takes(self, header: bytes) -> bool:
        part = header[self.offset : self.offset + len(self.magic)]
        mask = self.mask or b"\xff" * len(self.magic)
        return len(part) == len(self.magic) and all(
            byte & bits == wanted & bits
            for byte, bits, wanted in zip(part, mask, self.magic, strict=True)
        )


def _handlers(root: Path) -> Iterator[_Handler]:
    for file in sorted(root.iterdir()):
        if file.name in {"status", "register"}:
            continue
        state, *rest = _read(file).splitlines() or [""]
        values = dict(line.replace(":", "", 1).split(" ", 1) for line in rest if " " in line)
        magic = bytes.fromhex(values.get("magic", ""))
        if state == "enabled" and magic:
            yield _Handler(
                interpreter=values.get("interpreter", ""),
                flags=values.get("flags", "").strip(),
                offset=int(values.get("offset", "0")),
                magic=magic,
                mask=bytes.fromhex(values.get("mask", "")),
            )


def _elf_header(arch: Arch) -> bytes:
    """The start of an executable's ELF header (System V ABI, `Elf64_Ehdr`)."""
    bits, data, machine = _ELF[arch]
    ident = b"\x7fELF" + bytes([bits, data, 1]) + bytes(9)
    order: Literal["little", "big"] = "little" if data == 1 else "big"
    kind, number, version = (
        (2).to_bytes(2, order),
        machine.to_bytes(2, order),
        (1).to_bytes(4, order),
    )
    return ident + kind + number + version + bytes(40)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
