"""The values every room may import. Frozen, and fully resolved: nothing here is a template."""

from __future__ import annotations

from dataclasses import dataclass, field
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


class EmulationMode(StrEnum):
    """How much of a build is emulated where a machine does not run its architecture."""

    FULL = "full"
    ACCELERATED = "accelerated"
    CROSS = "cross"


class CompilerKind(StrEnum):
    """Which C and C++ compiler builds, where it is not simply the one that is there."""

    GCC = "gcc"
    ZIG = "zig"


class OnMismatch(StrEnum):
    """What to do with a wheel whose version is not the planned one."""

    FAIL = "fail"
    REWRITE = "rewrite"


class OnRefusal(StrEnum):
    """What to do with a wheel that auditwheel refuses to repair."""

    FAIL = "fail"
    KEEP = "keep"


class Level(StrEnum):
    """How much a rule of `verify` counts."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What `verify` asks of a wheel beyond that it is sound and says what it is.

    Attributes:
        levels: (rule, level) where it is not the rule's own.
        size_budget: the most bytes the file may have; None for any.
        required: globs over members (``*`` matches ``/`` too), each of which must match one.
        build_paths: texts that no member may contain: the directories of the build.
    """

    levels: tuple[tuple[str, Level], ...] = ()
    size_budget: int | None = None
    required: tuple[str, ...] = ()
    build_paths: tuple[str, ...] = ()


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
class Question:
    """What a source of the version has to be asked outside of the plan.

    Attributes:
        source: the source as written: ``env:CUDA_VERSION``, ``container-env:CUDA_VERSION``.
        image: the image it is asked of; empty for everything but container sources.
        arch: that image's architecture; None with no image.
    """

    source: str
    image: str = ""
    arch: Arch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one source of the version said.

    Attributes:
        source: the source as written.
        value: what it said, stripped; empty for nothing.
        note: why it said nothing (``not set``, ``'<unknown>' is a placeholder``), or where it
            was asked.
    """

    source: str
    value: str
    note: str = ""

    def __str__(self) -> str:
        said = repr(self.value) if self.value else self.note or "empty"
        return f"{self.source}: {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPart:
    """One part of a version, with everything it could have come from.

    Attributes:
        name: ``base``, ``dev``, ``local``, ... or the user's own name for it.
        value: its value; empty when no source had one.
        source: the source that won, or the template it was made from; empty when none had a value.
        answers: what each source said, in order of rank.
    """

    name: str
    value: str
    source: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What happens to the source of a target, step by step. None: what the project itself says.

    Attributes:
        before_all: shell command run once before everything, in the source directory.
        before_build: shell command run before the wheel is built.
        config_settings: PEP 517 config settings, in order.
        repair: ``none`` (nothing is grafted), ``auditwheel``, or a shell command with
            ``{wheel}`` and ``{dest_dir}``. None: the project's own command, if it has one.
        repair_refused: what to do when auditwheel refuses.
        external: presets (``cuda``) and patterns of libraries that may stay outside the wheel.
        normalise: whether order, times and modes of the members are made the same everywhere.
        test_command: shell command run with the wheel installed, away from the source.
        test_requires: requirements (PEP 508) installed for the test.
        smoke: whether a wheel that was compiled natively for an emulated machine is imported there.
        timeout: seconds a target may take; None for no limit.
        timeouts: (step, seconds it may take) where there is a limit.
    """

    before_all: str | None = None
    before_build: str | None = None
    config_settings: tuple[tuple[str, str], ...] = ()
    repair: str | None = None
    repair_refused: OnRefusal = OnRefusal.FAIL
    external: tuple[str, ...] = ()
    normalise: bool = False
    test_command: str | None = None
    test_requires: tuple[str, ...] = ()
    smoke: bool = True
    timeout: int | None = None
    timeouts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiling:
    """What compiles C and C++.

    Attributes:
        emulation: where the architecture is a foreign one: everything is emulated (``full``), all
            but the compilers (``accelerated``), or nothing (``cross``).
        compiler: ``gcc`` has the ABI, the headers and the C++ library of the image; ``zig`` brings
            its own C++ library, linked statically, and any glibc.
        baseline: the glibc that zig builds for (``2.17``); empty with gcc, which has the image's.
        alone: the glibc that zig cross-compiles for where no engine runs the image; empty where it
            may not.
        why: why it is this, for `explain`.
    """

    emulation: EmulationMode = EmulationMode.FULL
    compiler: CompilerKind = CompilerKind.GCC
    baseline: str = ""
    alone: str = field(default="", compare=False)
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a target may use while it is built; None where nothing was said.

    Attributes:
        cpus: CPUs of its container.
        memory: memory of its container, in bytes as the engine reads them (``1024b``).
        cost: how long it takes compared with other targets.
        memory_per_job: bytes of memory that one compiler takes.
    """

    cpus: float | None = None
    memory: str | None = None
    cost: float | None = None
    memory_per_job: int | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The container's memory as a number."""
        return None if self.memory is None else int(self.memory.removesuffix("b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryStep:
    """A build that makes no wheel but files for the source of wheels.

    Attributes:
        name: the library's name in matrix.toml.
        command: shell command, run in the source.
        outputs: globs, relative to the source, of the files it makes.
    """

    name: str
    command: str
    outputs: tuple[str, ...]


Cell = tuple[tuple[str, str], ...]
"""(axis, value) of every axis that a cell of the matrix has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One fully resolved cell of the matrix, or several that build the same.

    Attributes:
        id: the target's ID.
        python: PEP 425 python tag and ABI shorthand as cibuildwheel spells it: ``cp312``,
            ``cp314t``, ``pp311``; the one that builds. Empty for a library.
        abi3: the lowest Python that a wheel for the stable ABI serves (``cp39``); else empty.
        libc: manylinux or musllinux.
        baseline: the libc version that the wheel may need at most (``2.28``); empty: any.
        arch: CPU architecture.
        variant: (axis, value) of every user-named axis that all covered cells share, in the
            order of target IDs.
        version: the PEP 440 version the wheel must carry, canonical.
        build_tag: the PEP 427 build tag, empty for none.
        on_mismatch: what to do when the built wheel carries another version.
        image: the container image: a reference as the engine understands it, or an alias such as
            ``manylinux_2_28``, which the locked toolchain pins by digest.
        env: the build's environment, last entry wins; names are unique.
        steps: the commands.
        resources: what it may use.
        cost: how long it takes compared with other targets, emulation included.
        runner: the labels of the CI runner; it must have all of them.
        emulated: whether that runner needs QEMU for this architecture.
        derived: properties that follow from the values: ``cxx11abi``, ``gpu_archs``.
        covers: the cells it stands for.
        aliases: the IDs these cells would have by themselves.
        test_pythons: other Pythons that an abi3 wheel is tested on.
        needs: libraries whose outputs go into its source.
        library: what a library runs; None for a wheel.
        origins: setting (``build.repair``) -> dotted path of what set it.
        release: whether it is for a public index, without local part and build tag.
        pins: requirements (PEP 508) that the wheel's metadata must state, whatever the build says.
        parts: the parts of the version, with where each one came from.
        demands: what the finished wheel must satisfy.
        publish: where the wheel is meant to go.
        compiling: what compiles it.
    """

    id: TargetId
    python: str
    libc: Libc
    arch: Arch
    variant: Cell
    version: str
    build_tag: str
    on_mismatch: OnMismatch
    image: str
    env: tuple[EnvVar, ...]
    steps: Steps
    runner: tuple[str, ...]
    emulated: bool
    abi3: str = ""
    baseline: str = ""
    resources: Resources = Resources()
    cost: float = 1.0
    derived: Cell = ()
    covers: tuple[Cell, ...] = ()
    aliases: tuple[TargetId, ...] = ()
    test_pythons: tuple[str, ...] = ()
    needs: tuple[TargetId, ...] = ()
    library: LibraryStep | None = None
    origins: tuple[tuple[str, str], ...] = ()
    release: bool = False
    pins: tuple[str, ...] = ()
    parts: tuple[VersionPart, ...] = ()
    demands: Demands = Demands()
    publish: tuple[str, ...] = ()
    compiling: Compiling = Compiling()

    @property
    def build_identifier(self) -> str:
        """The build identifier of cibuildwheel: ``cp312-manylinux_x86_64``; empty for a library."""
        return f"{self.python}-{self.platform}" if self.python else ""

    @property
    def platform(self) -> str:
        """``manylinux_x86_64``: libc and architecture without a libc version."""
        return f"{self.libc}_{self.arch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A cell of the matrix that is not built, and why.

    Attributes:
        cell: (axis, value) of every axis that it has.
        rule: dotted path of the rule (``exclude[0]``).
        reason: the rule's reason, or the rule itself in words.
    """

    cell: Cell
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undetermined:
    """Cells whose version only their image or setuptools-scm knows, and nobody has asked yet.

    Attributes:
        id: the ID that the target will have.
        python: its python tag.
        arch: its architecture.
        part: the part of the version that is not known.
        questions: what has to be asked.
        derived: properties that follow from its values.
        covers: the cells it stands for.
        needs: libraries whose outputs go into its source.
        abi3: as for a target.
        aliases: the IDs these cells would have by themselves.
        cost: how long it takes compared with other targets.
    """

    id: TargetId
    python: str
    arch: Arch
    part: str
    questions: tuple[Question, ...]
    derived: Cell = ()
    covers: tuple[Cell, ...] = ()
    needs: tuple[TargetId, ...] = ()
    abi3: str = ""
    aliases: tuple[TargetId, ...] = ()
    cost: float = 1.0

    @property
    def reason(self) -> str:
        """What is not known, and who knows it, in one line."""
        sources = ", ".join(each.source for each in self.questions)
        image = self.questions[0].image
        who = f"in image {image}" if image else "to setuptools-scm"
        return f"the version's part {self.part!r} is known only {who} ({sources})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The ordered targets plus what was excluded and why.

    Attributes:
        targets: libraries first, then wheels, in the order of the matrix.
        exclusions: cells that are not built.
        undetermined: cells that become targets once somebody has been asked for their version.
        channel: the channel it was made for, empty for none.
    """

    targets: tuple[Target, ...]
    exclusions: tuple[Exclusion, ...]
    undetermined: tuple[Undetermined, ...] = ()
    channel: str = ""

    @property
    def everything(self) -> tuple[Target | Undetermined, ...]:
        """All targets, those with an undetermined version last."""
        return (*self.targets, *self.undetermined)

    @property
    def ids(self) -> tuple[TargetId, ...]:
        """Their IDs."""
        return tuple(each.id for each in self.everything)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one machine of a CI system builds.

    Attributes:
        id: its number in the plan, ``01``.
        name: what people read in a list of jobs.
        runner: the labels of its runner.
        emulated: the architectures that need QEMU there.
        targets: its wheels, and the libraries it builds for them, in plan order.
        cost: what they cost together, compared with an ordinary target.
    """

    id: str
    name: str
    runner: tuple[str, ...]
    emulated: tuple[Arch, ...]
    targets: tuple[TargetId, ...]
    cost: float


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
        needs: the keys of the requests whose outputs go into the source.
        in_container: whether it is built in a container of the target's image.
        key: SHA-256 of all of the above, presentation fields left out.
    """

    target: Target
    source: Source
    backend: BackendName
    toolchain_digest: Digest
    builder_version: str
    needs: tuple[Digest, ...] = ()
    in_container: bool = True
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
            ``linux_x86_64`` when no policy fits, ``any`` when there is no ELF file for a platform
            that tags name, ``unknown`` when all that may be one cannot be read).
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
    NEEDS = "needs"
    TIMEOUT = "timeout"
    DISK = "disk"
    BAD_WHEEL = "bad-wheel"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    OUT_OF_TIME = "out-of-time"
    MISSING = "missing"
    BUG = "bug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a target failed.

    Attributes:
        kind: the machine-readable kind.
        message: what happened, in one line.
        hint: what to do about it.
        step: the step that failed (``build``, ``test``, ...); empty before the first.
        transient: whether the same build may well succeed a little later.
    """

    kind: FailureKind
    message: str
    hint: str = ""
    step: str = ""
    transient: bool = False


class Status(StrEnum):
    """How a target ended."""

    OK = "ok"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


class CompilerCacheUse(StrEnum):
    """Where compiled objects are kept for the next build."""

    LOCAL = "local"
    REMOTE = "remote"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCacheStats:
    """What the compiler cache did for one target.

    Attributes:
        hits: compilations whose result was there already.
        misses: compilations that had to be done.
    """

    hits: int
    misses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """How a target was compiled whose architecture is not this machine's.

    Attributes:
        emulation: how much was emulated.
        compiler: what compiled, in words.
        why: why all of it, or more than was planned, was emulated; else empty.
        native: compilations and links that a native compiler did; None where nobody counted.
        not_run: why what was built ran nowhere, and was neither imported nor tested; else empty.
        emulated: calls of it that were left to the image's own compiler; None where nobody counted.
        installer: what installed the requirements of an accelerated build, in words; else empty.
        cuda: what native nvcc there was, or why there was none, in words; empty where nobody
            expected one.
        nvcc: calls of nvcc that a native one did; None where nobody counted.
        not_tested: why what was built was imported, but its test not run; else empty.
    """

    emulation: EmulationMode
    compiler: str
    why: str = ""
    native: int | None = None
    not_run: str = ""
    emulated: int | None = None
    installer: str = ""
    cuda: str = ""
    nvcc: int | None = None
    not_tested: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a target's container is made by, and of.

    Attributes:
        engine: ``docker`` or ``podman``.
        version: the engine's version.
        rootless: whether it runs without root.
        cgroup: version of the control groups (``v2``), empty when it did not say.
        storage: its storage driver, empty when it did not say.
        image: the reference that was asked for.
        image_id: the engine's ID of what that was.
        digest: ``name@sha256:...`` in the registry; empty for a local image.
    """

    engine: str
    version: str
    rootless: bool
    cgroup: str
    storage: str
    image: str
    image_id: str
    digest: str


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
        parts: the parts of its planned version, with where each one came from.
        container: what its container was made by and of; None without one.
        compiler_cache: what the compiler cache did; None where the build had none.
        compiled: how it was compiled for a foreign architecture; None for this machine's own.
        started: when the last attempt started, in seconds since the epoch; None if it never did.
        steps: (name, wall-clock seconds) of each step of the last attempt, in order.
        slot: the place among the targets that ran at once, from 0; None when it never ran.
        cpu_seconds: CPU time of its programs, user and system; None when nobody measured it.
        attempts: how often it was started.
        cached: whether the wheel came from the store.
        request: what was built; None when no request could be made.
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
    parts: tuple[VersionPart, ...] = ()
    container: Container | None = None
    compiler_cache: CompilerCacheStats | None = None
    compiled: Compiled | None = None
    started: float | None = None
    steps: tuple[tuple[str, float], ...] = ()
    slot: int | None = None
    cpu_seconds: float | None = None
    attempts: int = 0
    cached: bool = False
    request: BuildRequest | None = None


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
