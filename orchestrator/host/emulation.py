"""Which architectures this machine can execute: itself, with the kernel's help, or with QEMU.

The kernel's tables do not prove that a program runs. `examine` runs one: a static ELF of about 130
bytes, made here for every architecture.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import tempfile
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, ErrorKind, Problem
from orchestrator.host.process import capture
from orchestrator.models.platforms import Arch

if TYPE_CHECKING:
    from collections.abc import Iterator

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")

_ARGUMENTS = ("one", "two")
_ARGC = 1 + len(_ARGUMENTS)

_READDIR = Problem(
    what="32-bit programs may not see files in large directories: readdir fails with EOVERFLOW "
    "on ext4 (QEMU issue 263)",
    hint="build on a file system without hashed directory offsets (tmpfs, xfs), or on a machine "
    "that runs it natively",
)


class Execution(StrEnum):
    """How a host runs programs of an architecture."""

    NATIVE = "native"
    COMPATIBLE = "compatible"
    EMULATED = "emulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """Whether programs of an architecture run here, and how.

    Attributes:
        arch: the architecture.
        execution: natively, with the kernel's help, or with QEMU.
        interpreter: the registered QEMU; empty without.
        flags: its flags in binfmt_misc (``F``: the kernel opens QEMU at registration, so that it
            works in containers, whose file systems do not have it).
        version: of that QEMU (``7.2.22``); empty if unknown.
        problem: why containers of that architecture would not work.
        warnings: what is known to go wrong with it.
    """

    arch: Arch
    execution: Execution = Execution.EMULATED
    interpreter: str = ""
    flags: str = ""
    version: str = ""
    problem: Problem | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def detail(self) -> str:
        """A short description."""
        if not self.interpreter:
            return f"{self.execution} on {host_arch()}"
        qemu = f"QEMU {self.version}" if self.version else "a QEMU of unknown version"
        return f"{qemu}: {self.interpreter} (flags {self.flags})"


def examine(arch: Arch, root: Path = BINFMT_MISC) -> Emulation:
    """Find out whether programs of an architecture run here, by running one."""
    execution = how(host_arch(), arch)
    if execution is Execution.NATIVE:
        return Emulation(arch=arch, execution=execution)
    code = _run_probe(arch)
    # A 64-bit kernel may be built without 32-bit programs, and a CPU may have given them up.
    if execution is Execution.COMPATIBLE and code == _ARGC:
        return Emulation(arch=arch, execution=execution)
    found = binfmt(arch, root)
    version = qemu_version(Path(found.interpreter)) if found.interpreter else ""
    fatal, warnings = _known_trouble(arch, version)
    problem = next(filter(None, (found.problem, *_judge(found, code), *fatal)), None)
    return replace(found, version=version, problem=problem, warnings=warnings)


def processors(arch: Arch) -> str:
    """Return a /proc/cpuinfo for programs of an architecture that QEMU runs here, or nothing.

    QEMU before 8.2 shows them this machine's own. The library cpuinfo finds no processor in that of
    an x86, and dies of SIGSEGV, and `import torch` with it.
    """
    if how(host_arch(), arch) is not Execution.EMULATED or not arch.facts.cpuinfo:
        return ""
    numbers = range(os.cpu_count() or 1)
    return "".join(f"processor\t: {each}\n{arch.facts.cpuinfo}\n" for each in numbers)


def _judge(found: Emulation, code: int | None) -> Iterator[Problem]:
    """Yield what is wrong if the probe, which counts its arguments, exits with a status."""
    if code == _ARGC + 1:
        # Kernels before 5.12 do not pass the flag to QEMU, and QEMU before 6.0 ignores it.
        yield Problem(
            what=f"{found.interpreter} is registered for {found.arch} with the P flag, which it "
            "does not understand: programs get one argument too many",
            hint="register it without P: `orchestrator doctor --fix` as root",
        )
    elif code not in {None, _ARGC}:
        yield Problem(
            what=f"{found.interpreter} is registered for {found.arch}, but cannot run a program",
            hint=f"{_registration(found.arch)}; a QEMU for containers must be statically linked",
        )


def _known_trouble(arch: Arch, version: str) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return why nothing works with a QEMU, and what is known to go wrong with it."""
    name = f"QEMU {version} for {arch}" if version else f"QEMU for {arch}"
    first, missing = arch.facts.first_qemu
    too_old = Problem(
        what=f"{name}: has no {missing}: they die of SIGILL",
        hint="QEMU 10.0 works (Debian 12: `apt-get install -t bookworm-backports "
        "qemu-user-static`)",
    )
    is_old = bool(version) and _numbers(version) < first
    narrow = arch.facts.elf.bits == 32  # noqa: PLR2004
    warning = replace(_READDIR, what=f"{name}: {_READDIR.what}")
    return (too_old,) if is_old else (), (warning,) if narrow else ()


def check_qemu(arch: Arch, qemu: Path) -> None:
    """Raise an error if no program of an architecture is known to work with a QEMU."""
    fatal, _ = _known_trouble(arch, qemu_version(qemu))
    if fatal:
        raise EnvironmentProblemError(*fatal, kind=ErrorKind.NOT_EXECUTABLE)


def qemu_version(program: Path) -> str:
    """Return the version that a QEMU prints; empty if it does not print one.

    The links of binfmt-support, called ``...-binfmt-P``, are followed: under such a name QEMU takes
    its arguments for a program's.
    """
    said = capture([str(program.resolve()), "--version"], timeout=10)
    found = re.search(r"version (\d+(?:\.\d+)*)", said.stdout)
    return found[1] if said.ok and found else ""


def probe_program(arch: Arch) -> bytes:
    """Return a static program that ends with the number of its arguments, its name included."""
    elf = arch.facts.elf
    code = bytes.fromhex(elf.code)
    wide = elf.bits == 64  # noqa: PLR2004 - ELFCLASS64
    header, entry = (64, 56) if wide else (52, 32)
    start = header + entry
    base = 0x10000
    words = "QQQ" if wide else "III"
    head = struct.pack(
        f"{elf.order}16sHHI{words}IHHHHHH",
        b"\x7fELF" + bytes([elf.bits // 32, 1 if elf.order == "<" else 2, 1]),
        *(2, elf.machine, 1, base + start, header, 0, elf.flags),
        *(header, entry, 1, 0, 0, 0),
    )
    size = start + len(code)
    if wide:
        segment = struct.pack(f"{elf.order}IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    else:
        segment = struct.pack(f"{elf.order}IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000)
    return head + segment + code


def _run_probe(arch: Arch) -> int | None:
    """Run `probe_program`; None if this machine does not allow it.

    As root it runs in a directory with nothing else, as in a container.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        program = Path(folder, "probe")
        program.write_bytes(probe_program(arch))
        program.chmod(0o755)
        alone = ["chroot", folder, "/probe"] if os.geteuid() == 0 else [str(program)]
        done = capture([*alone, *_ARGUMENTS], timeout=10)
        refused = "Permission denied" in done.stderr or "Operation not permitted" in done.stderr
        return None if refused else done.returncode


def register(arch: Arch, root: Path = BINFMT_MISC) -> None:
    """Register the best installed QEMU for an architecture; takes root.

    binfmt_misc is mounted and switched on if necessary. The kernel asks the newest registration
    first,
    so an older one stays and does not matter.

    Raises:
        EnvironmentProblemError: programs of the architecture still do not run.
    """
    if os.geteuid() != 0:
        raise EnvironmentProblemError.of(
            f"only root can register QEMU for {arch}", hint=_registration(arch)
        )
    qemu = installed_qemu(arch)
    if qemu is None:
        raise EnvironmentProblemError.of(
            f"no QEMU for {arch} is installed", hint=_installation(arch)
        )
    check_qemu(arch, qemu)
    if not (root / "status").is_file():
        capture(["mount", "-t", "binfmt_misc", "binfmt_misc", str(root)])
    problems: list[Problem] = []
    for flags in ("PF", "F"):  # P gives programs their true argv[0], where QEMU knows of it
        try:
            _write_binfmt(root, f"orchestrator-{arch}", arch, qemu, flags)
        except OSError as error:
            what = f"{root / 'register'}: {error.strerror}"
            raise EnvironmentProblemError.of(what, hint=_registration(arch)) from None
        problem = examine(arch, root).problem
        if problem is None:
            return
        problems = [problem]
    raise EnvironmentProblemError(*problems)


def _write_binfmt(root: Path, name: str, arch: Arch, qemu: Path, flags: str) -> None:
    """Write an entry in the kernel's format (admin-guide/binfmt-misc)."""
    (root / "status").write_text("1", encoding="ascii")
    if (root / name).exists():
        (root / name).write_text("-1", encoding="ascii")
    magic = probe_program(arch)[:20]
    mask = bytearray(b"\xff" * 20)
    mask[7] = 0  # EI_OSABI: Linux or none
    # ET_EXEC or ET_DYN, which differ in the last bit
    mask[16 if arch.facts.elf.order == "<" else 17] = 0xFE
    words = ("".join(f"\\x{byte:02x}" for byte in each) for each in (magic, bytes(mask)))
    line = f":{name}:M::{':'.join(words)}:{qemu}:{flags}"
    (root / "register").write_text(line, encoding="ascii")


def installed_qemu(arch: Arch) -> Path | None:
    """Return the newest user-mode QEMU for an architecture on PATH, statically linked or not."""
    names = (f"qemu-{arch.facts.qemu}-static", f"qemu-{arch.facts.qemu}")
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    programs = (Path(folder, name) for folder in folders for name in names)
    versions = {each: qemu_version(each) for each in programs if each.is_file()}
    working = [each for each in versions if versions[each]]
    return max(working, key=lambda each: _numbers(versions[each]), default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def host_arch(machine: str | None = None) -> Arch:
    """Return this machine's architecture, or the one that uname(2) calls `machine`.

    Raises:
        EnvironmentProblemError: there are no Linux wheels for it.
    """
    name = platform.machine() if machine is None else machine
    arch = next((each for each in Arch if name.lower() in (each, *each.facts.aliases)), None)
    if arch is None:
        raise EnvironmentProblemError.of(
            f"unknown host architecture {name!r}", hint=f"known are {', '.join(Arch)}"
        )
    return arch


def how(host: Arch, arch: Arch) -> Execution:
    """Return how a host runs programs of `arch`."""
    if host is arch:
        return Execution.NATIVE
    return Execution.COMPATIBLE if arch.facts.runs_on == host else Execution.EMULATED


def binfmt(arch: Arch, root: Path = BINFMT_MISC) -> Emulation:
    """Return what the kernel's binfmt_misc does with programs of a foreign architecture.

    Handlers are found by the ELF header they match: their names differ between distributions.
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
    found = [entry for entry in _handlers(root) if entry.takes(probe_program(arch))]
    if not found:
        return _refuse(arch, f"no QEMU is registered for {arch}", _registration(arch))
    # The kernel asks the newest one first, but does not say which that is: prefer a good one.
    best = max(found, key=lambda entry: (entry.is_ours, "F" in entry.flags))
    problem = None
    if "F" not in best.flags:
        problem = Problem(
            what=f"{best.interpreter} is registered for {arch} without the F flag, "
            "so containers cannot see it",
            hint=_registration(arch),
        )
    return Emulation(arch=arch, interpreter=best.interpreter, flags=best.flags, problem=problem)


def _refuse(arch: Arch, what: str, hint: str) -> Emulation:
    return Emulation(arch=arch, problem=Problem(what=what, hint=hint))


def _registration(arch: Arch) -> str:
    if installed_qemu(arch) is not None:
        return "`orchestrator doctor --fix` as root"
    return _installation(arch)


def _installation(arch: Arch) -> str:
    return (
        "`apt-get install qemu-user-static binfmt-support` (Debian, Ubuntu), or `docker run "
        f"--privileged --rm tonistiigi/binfmt --install {arch.facts.oci.split('/')[1]}`"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handler:
    """One enabled entry of binfmt_misc (kernel documentation, admin-guide/binfmt-misc)."""

    is_ours: bool
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
                is_ours=file.name.startswith("orchestrator-"),
                interpreter=values.get("interpreter", ""),
                flags=values.get("flags", "").strip(),
                offset=int(values.get("offset", "0")),
                magic=magic,
                mask=bytes.fromhex(values.get("mask", "")),
            )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
