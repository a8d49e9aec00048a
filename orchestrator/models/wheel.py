"""What a wheel file holds, needs and declares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from orchestrator.models.json_form import LIST_TABLE, SIZE_TABLE
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import Digest
from orchestrator.models.untrusted import Size, VersionText
from orchestrator.models.wheel_name import WheelFilename

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a wheel cannot have a lower tag: a set of versioned symbols of one file.

    Attributes:
        file: member of the wheel.
        library: the library the symbols come from (``libc.so.6``).
        symbol_version: the required version (``GLIBC_2.28``).
        symbols: the symbols that need it, sorted; empty if unknown.
    """

    file: str
    library: str
    symbol_version: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TagStep:
    """What keeps a wheel from one lower platform tag.

    Attributes:
        tag: the lower tag (``manylinux_2_17_x86_64``).
        reasons: what prevents this tag, but not the tags above it.
        remedies: what would remove the reasons.
    """

    tag: str
    reasons: tuple[Reason, ...]
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """An ELF file in a wheel.

    Attributes:
        file: member of the wheel.
        arch: its architecture; None if no platform tag names it.
        libc: the C library it uses; None if unknown.
        soname: its DT_SONAME, or empty.
        needed: its DT_NEEDED, in order.
        rpath: its DT_RUNPATH, or else its DT_RPATH, split at colons.
        python_abi: ``cpython-312``, ``abi3``, ... of an extension module, empty for a plain
            ``.so``; None if it is none.
        isa: x86-64 micro-architecture level it asks for, or empty.
        torch_abi: what of libtorch it uses: ``stable`` (its stable C ABI alone), ``c++``; empty for
            nothing. ``c++ (cxx11)`` or ``c++ (pre-cxx11)`` if the names say how strings are passed.
    """

    file: str
    arch: Arch | None
    libc: Libc | None
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    python_abi: str | None
    isa: str
    torch_abi: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryFile:
    """A Windows file (PE) in a wheel, or what a file of macOS (Mach-O) has for one architecture.

    Attributes:
        file: member of the wheel.
        system: ``macOS``, ``Windows``, or another of Apple's systems.
        arch: ``arm64``, ``x86_64``, ``amd64``, ``x86`` and so on.
        kind: what loads it: it is a ``program``, a ``library`` (or module), or ``other``, which
            nothing loads: objects, debug symbols, .NET.
        minimum: the oldest macOS (``11.0``), or version of Windows' subsystem; empty if the file
            does not say it.
        name: its install name, or the name in a DLL's exports; may be empty.
        needed: the libraries that it needs, in order.
        optional: libraries that it can start without: weak ones, or loaded at their first use.
        rpath: where the loader looks for them.
        python_abi: ``cpython-312``, ``abi3``, ... of an extension module, empty for a plain suffix;
            None if it is none.
        signed: whether it has a signature, valid or not.
    """

    file: str
    system: str
    arch: str
    kind: str
    minimum: str
    name: str
    needed: tuple[str, ...]
    optional: tuple[str, ...]
    rpath: tuple[str, ...]
    python_abi: str | None
    signed: bool


class DeviceKind(StrEnum):
    """What a GPU's code is."""

    SASS = "sass"
    PTX = "ptx"
    AMDGPU = "amdgpu"
    OTHER = "other"


class Compression(StrEnum):
    """How code for a GPU is compressed, before the wheel is."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"
    ZLIB = "zlib"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """Code for one GPU architecture.

    Attributes:
        kind: machine code of NVIDIA (``sass``) or AMD (``amdgpu``), ``ptx``, which a driver
            compiles, or ``other``.
        arch: ``sm_90a``, ``compute_90``, ``gfx90a:xnack+``; empty if it cannot be read.
        compression: how it is compressed.
        entries: how many pieces there are.
        size: their bytes in the file.
        unpacked: the same without compression.
        repeated: bytes of pieces that the same file has already.
    """

    kind: DeviceKind
    arch: str
    compression: Compression
    entries: int
    size: int
    unpacked: int
    repeated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFile:
    """What a file in a wheel has for GPUs.

    Attributes:
        file: member of the wheel.
        code: its code.
        runtimes: libraries of the runtime that it needs, with their major version: ``cudart 13``,
            ``cudart 12 static`` (linked into it), ``cublas 13``, ``amdhip64 7``.
        static_libraries: CUDA's other libraries that are linked into it.
        unused: bytes of relocatable code, which only a linker can use.
        ptx: highest version of its PTX (``9.0``), empty without PTX.
        problem: why some of its code cannot be read, or empty.
    """

    file: str
    code: tuple[DeviceCode, ...]
    runtimes: tuple[str, ...]
    static_libraries: tuple[str, ...]
    unused: int
    ptx: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSize:
    """How large a file in a wheel is.

    Attributes:
        file: member of the wheel.
        size: its bytes in the wheel, compressed.
        code: architecture -> bytes of its code for GPUs, before the wheel compresses them.
    """

    file: str
    size: Size
    code: Annotated[tuple[tuple[str, Size], ...], SIZE_TABLE] = ()


LARGEST_FILES = 20
"""Files of a wheel whose sizes a report keeps."""


class Severity(StrEnum):
    """How much a finding counts."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing `verify` found.

    Attributes:
        rule: stable name of the rule (``record-hash``, ``name-version``, ...).
        message: what, where in the wheel, expected and got.
        severity: an error keeps the wheel out of ``dist/``.
    """

    rule: str
    message: str
    severity: Severity = Severity.ERROR


FEW_FINDINGS = 5
"""Findings of one rule that people are shown."""


def finding_lines(findings: Iterable[Finding]) -> Iterator[tuple[Severity, str]]:
    """Yield findings for people: equal ones once, and of each rule the first ones and a count."""
    groups: dict[tuple[Severity, str], Counter[str]] = {}
    for each in findings:
        groups.setdefault((each.severity, each.rule), Counter())[each.message] += 1
    for (severity, rule), messages in groups.items():
        for message, count in islice(messages.items(), FEW_FINDINGS):
            yield severity, f"{rule}: {message}" + (f" ({count} times)" if count > 1 else "")
        more = sum(islice(messages.values(), FEW_FINDINGS, None))
        if more:
            yield severity, f"{rule}: ... and {more} more"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFacts:
    """What the results of a whole matrix say about a wheel file.

    Attributes:
        filename: the file's name.
        sha256: of the whole file.
        size: in bytes.
        version: the version in the file name.
        declared_tags: the expanded tags of the file name, sorted (PEP 425).
        observed_tag: platform tag the compiled files really need (``manylinux_2_17_x86_64``,
            ``linux_x86_64`` when no policy fits, ``macosx_11_0_arm64``, ``win_amd64``, ``any`` when
            there is no file for a platform that tags name, ``unknown`` when all that may be one
            cannot be read).
        reasons: what prevents the next lower tag.
        external_libs: library outside of wheel and policy -> members that need it.
        isa: highest x86-64 micro-architecture level the ELF files ask for, or empty.
        abi3: whether every extension module uses the stable ABI's file suffix.
        problems: what is wrong with it.
        device_code: the code for GPUs in all files together.
        runtimes: libraries of GPU runtimes that its files need; see `GpuFile`.
        driver: the oldest NVIDIA driver for these, or empty.
        torch_abi: what of libtorch its files use; see `ElfFile`.
        torch_from: the first torch that has all of the stable ABI that they use; empty if they use
            something else of libtorch, or nothing.
        not_examined: what no rule looks at in this wheel, each with the reason.
        largest: its largest files, the largest first.
    """

    filename: WheelFilename
    sha256: Digest
    size: Size
    version: VersionText
    declared_tags: tuple[str, ...]
    observed_tag: str
    reasons: tuple[Reason, ...]
    external_libs: Annotated[tuple[tuple[str, tuple[str, ...]], ...], LIST_TABLE]
    isa: str
    abi3: bool
    problems: tuple[Finding, ...]
    device_code: tuple[DeviceCode, ...] = ()
    runtimes: tuple[str, ...] = ()
    driver: str = ""
    torch_abi: str = ""
    torch_from: str = ""
    not_examined: tuple[str, ...] = ()
    largest: tuple[FileSize, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelReport(WheelFacts):
    """The truth about one wheel file.

    Attributes:
        aliases: other names of the observed tag (``manylinux2014_x86_64``).
        steps: what keeps it from each lower tag; the next lower one first.
        elf_files: the ELF files in it, in the order of the archive.
        gpu_files: the files with code for GPUs, or that need a GPU runtime.
        binary_files: the Mach-O and PE files, in the order of the archive; one for several
            architectures is there once for each.
    """

    aliases: tuple[str, ...] = ()
    steps: tuple[TagStep, ...] = ()
    elf_files: tuple[ElfFile, ...] = ()
    gpu_files: tuple[GpuFile, ...] = ()
    binary_files: tuple[BinaryFile, ...] = ()
