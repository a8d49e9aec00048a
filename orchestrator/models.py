"""The values every room may import. Frozen, and fully resolved: nothing here is a template."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from pathlib import Path

TargetId = NewType("TargetId", str)
"""Stable, readable, unique: ``cp312-manylinux_x86_64-cu126-torch2.8``."""

Digest = NewType("Digest", str)
"""Lower-case hexadecimal SHA-256."""


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


class BackendName(StrEnum):
    """What turns a request into a wheel."""

    CIBUILDWHEEL = "cibuildwheel"
    DIRECT = "direct"


class OnMismatch(StrEnum):
    """What to do with a wheel whose version is not the planned one."""

    FAIL = "fail"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One environment variable of a build.

    Attributes:
        name: the variable's name.
        value: its value, with every ``{axis}`` already filled in.
        origin: what set it, for `explain`: ``env``, ``override[2].env``, ``version.inject``, ...
        shell: whether ``$NAME`` and ``$(command)`` in the value are evaluated in the build's
            environment; otherwise the value is literal.
    """

    name: str
    value: str
    origin: str
    shell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What happens to the source of a target, step by step. None: what the project itself says.

    Attributes:
        before_all: shell command run once before everything, in the source directory.
        before_build: shell command run before the wheel is built.
        config_settings: PEP 517 config settings, in order.
        repair: ``none`` (nothing is grafted), ``auditwheel``, or a shell command with
            ``{wheel}`` and ``{dest_dir}``. None: the project's own command, if it has one.
        external: presets (``cuda``) and patterns of libraries that may stay outside the wheel.
        test_command: shell command run with the wheel installed, away from the source.
        test_requires: requirements (PEP 508) installed for the test.
        timeout: seconds a target may take; None for no limit.
    """

    before_all: str | None = None
    before_build: str | None = None
    config_settings: tuple[tuple[str, str], ...] = ()
    repair: str | None = None
    external: tuple[str, ...] = ()
    test_command: str | None = None
    test_requires: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One fully resolved cell of the matrix.

    Attributes:
        id: the target's ID.
        python: PEP 425 python tag and ABI shorthand as cibuildwheel spells it: ``cp312``,
            ``cp314t``, ``pp311``.
        libc: manylinux or musllinux.
        arch: CPU architecture.
        variant: (axis, value) of every user-named axis, in the order of the file.
        version: the PEP 440 version the wheel must carry, canonical.
        build_tag: the PEP 427 build tag, empty for none.
        on_mismatch: what to do when the built wheel carries another version.
        image: the container image: a reference as the engine understands it, or an alias such as
            ``manylinux_2_28``, which the locked toolchain pins by digest.
        env: the build's environment, last entry wins; names are unique.
        steps: the commands.
        runner: the CI runner label.
        emulated: whether that runner needs QEMU for this architecture.
    """

    id: TargetId
    python: str
    libc: Libc
    arch: Arch
    variant: tuple[tuple[str, str], ...]
    version: str
    build_tag: str
    on_mismatch: OnMismatch
    image: str
    env: tuple[EnvVar, ...]
    steps: Steps
    runner: str
    emulated: bool

    @property
    def build_identifier(self) -> str:
        """The build identifier of cibuildwheel: ``cp312-manylinux_x86_64``."""
        return f"{self.python}-{self.platform}"

    @property
    def platform(self) -> str:
        """``manylinux_x86_64``: libc and architecture without a libc version."""
        return f"{self.libc}_{self.arch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A cell of the matrix that is not built, and why.

    Attributes:
        cell: (axis, value) of every axis.
        rule: dotted path of the rule (``exclude[0]``).
        reason: the rule's reason, or the rule itself in words.
    """

    cell: tuple[tuple[str, str], ...]
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The ordered targets plus what was excluded and why."""

    targets: tuple[Target, ...]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is built, as a value.

    Attributes:
        name: the project's name, PEP 503 normalised.
        version: its static version (pyproject.toml or PKG-INFO), or None when dynamic.
        digest: SHA-256 over the staged tree (paths, modes, contents).
        epoch: SOURCE_DATE_EPOCH in seconds.
        own_options: what the project's ``[tool.cibuildwheel]`` sets for Linux, overrides included.
    """

    name: str
    version: str | None
    digest: Digest
    epoch: int
    own_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything that can influence the wheel's bytes; its digest is the cache key.

    Attributes:
        target: the resolved cell.
        source: what is built.
        backend: what builds it.
        toolchain_digest: digest of the locked toolchain.
        builder_version: version of this program.
        key: SHA-256 of all of the above, presentation fields left out.
    """

    target: Target
    source: Source
    backend: BackendName
    toolchain_digest: Digest
    builder_version: str
    key: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a wheel cannot have a lower tag: one versioned symbol set of one file.

    Attributes:
        file: member of the wheel.
        library: the library the symbols come from (``libc.so.6``).
        symbol_version: the version reference that rules (``GLIBC_2.28``).
        symbols: the symbols that need it, sorted; may be empty when the file does not say.
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
        reasons: what stands in its way and not in that of the tags above it.
        remedies: what would remove the reasons, each said once.
    """

    tag: str
    reasons: tuple[Reason, ...]
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """What matters of one ELF file in a wheel.

    Attributes:
        file: member of the wheel.
        arch: the architecture a platform tag names; None when no tag names it.
        libc: the C library it uses; None when it does not say.
        soname: its DT_SONAME, or empty.
        needed: its DT_NEEDED, in order.
        rpath: its DT_RUNPATH, or else its DT_RPATH, split at colons.
        python_abi: ``cpython-312``, ``abi3``, ... of an extension module, empty for a plain
            ``.so``; None when it is none.
        isa: x86-64 micro-architecture level it asks for, or empty.
    """

    file: str
    arch: Arch | None
    libc: Libc | None
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    python_abi: str | None
    isa: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelReport:
    """The truth about one wheel file.

    Attributes:
        filename: the file's name.
        sha256: of the whole file.
        size: in bytes.
        version: the version in the file name.
        declared_tags: the expanded tags of the file name, sorted (PEP 425).
        observed_tag: platform tag the ELF files really need (``manylinux_2_17_x86_64``,
            ``linux_x86_64`` when no policy fits, ``any`` when there is no ELF file).
        aliases: other names of that platform tag (``manylinux2014_x86_64``).
        reasons: what stands in the way of the next lower tag.
        steps: the same for each lower tag, with what would remove it; the next lower one first.
        elf_files: the ELF files in it, in the order of the archive.
        external_libs: library outside wheel and policy -> members that need it.
        isa: highest x86-64 micro-architecture level the ELF files ask for, or empty.
        abi3: whether every extension module uses the stable ABI's file suffix.
        problems: what is wrong with it.
    """

    filename: str
    sha256: Digest
    size: int
    version: str
    declared_tags: tuple[str, ...]
    observed_tag: str
    aliases: tuple[str, ...]
    reasons: tuple[Reason, ...]
    steps: tuple[TagStep, ...] = ()
    elf_files: tuple[ElfFile, ...] = ()
    external_libs: tuple[tuple[str, tuple[str, ...]], ...]
    isa: str
    abi3: bool
    problems: tuple[Finding, ...]


class FailureKind(StrEnum):
    """Why a target has no wheel in ``dist/``."""

    CONFIGURATION = "configuration"
    NO_IDENTIFIER = "no-identifier"
    PURE_WHEEL = "pure-wheel"
    DUPLICATE_WHEEL = "duplicate-wheel"
    ENGINE = "engine"
    IMAGE = "image"
    SOURCE = "source"
    SETUP = "setup"
    BUILD = "build"
    REPAIR = "repair"
    AUDIT = "audit"
    TEST = "test"
    NO_WHEEL = "no-wheel"
    TIMEOUT = "timeout"
    DISK = "disk"
    BAD_WHEEL = "bad-wheel"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    BUG = "bug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a target failed.

    Attributes:
        kind: the machine-readable kind.
        message: what happened, in one line.
        hint: what to do about it.
        step: the step that failed (``build``, ``test``, ...); empty before the first.
    """

    kind: FailureKind
    message: str
    hint: str = ""
    step: str = ""


class Status(StrEnum):
    """How a target ended."""

    OK = "ok"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """How one target ended.

    Attributes:
        target_id: the target.
        key: the request's cache key; empty when no request could be made.
        status: how it ended.
        backend: what built it; None when nothing could.
        backend_reason: why that backend.
        wheel: report on the wheel in ``dist/``; None when there is none.
        rejected: where a wheel that is not what it says was kept aside.
        log: the target's log file.
        duration: wall-clock seconds.
        failure: why it failed, when it did.
    """

    target_id: TargetId
    key: str
    status: Status
    backend: BackendName | None
    backend_reason: str
    wheel: WheelReport | None
    rejected: Path | None
    log: Path | None
    duration: float
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderFacts:
    """What the locked cibuildwheel can build; data, read from ``matrix/cibuildwheel.json``.

    Attributes:
        version: cibuildwheel's version.
        identifiers: all Linux build identifiers (``cp312-manylinux_x86_64``).
        aliases: architecture -> names of the images it pins by digest (``manylinux_2_28``).
        default_images: ``<libc>_<arch>`` -> the alias it takes when nothing is said.
    """

    version: str
    identifiers: frozenset[str]
    aliases: dict[str, tuple[str, ...]]
    default_images: dict[str, str]

    @property
    def pythons(self) -> frozenset[str]:
        """All python tags it knows."""
        return frozenset(identifier.split("-", 1)[0] for identifier in self.identifiers)
