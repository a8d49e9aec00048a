"""Cells, targets, plans and build requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NewType

from orchestrator.models.json_form import (
    JOINED,
    NULL_FOR_EMPTY,
    NULL_FOR_HIDDEN,
    TABLE,
    JsonForm,
    Length,
)
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import ABI3
from orchestrator.models.untrusted import MOST_CELLS, BuildTag, VersionText

TargetId = NewType("TargetId", Annotated[str, Length(1000)])
"""Stable, readable, unique: ``cp312-manylinux_x86_64-cu126-torch2.8``."""


Digest = NewType("Digest", Annotated[str, Length(64, pattern="^[0-9a-f]{64}$")])
"""Lower-case hexadecimal SHA-256."""


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


class FrontendName(StrEnum):
    """What asks the project's build backend for a wheel."""

    BUILD = "build"
    BUILD_UV = "build[uv]"
    PIP = "pip"
    UV = "uv"


class CudaSource(StrEnum):
    """Where a build's CUDA toolkit comes from."""

    IMAGE = "image"
    HOST = "host"
    INDEX = "index"


class CompilerCacheUse(StrEnum):
    """Where compiled objects are kept for the next build."""

    LOCAL = "local"
    REMOTE = "remote"
    OFF = "off"


class OnMismatch(StrEnum):
    """What to do with a wheel whose version is not the planned one."""

    FAIL = "fail"
    REWRITE = "rewrite"


class OnRefusal(StrEnum):
    """What to do with a wheel that auditwheel refuses to repair."""

    FAIL = "fail"
    KEEP = "keep"


class RuleLevel(StrEnum):
    """How much a rule of `verify` counts."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPolicy:
    """What `verify` asks of a wheel beyond that it is sound and says what it is.

    Attributes:
        levels: (rule, level) where it is not the rule's own.
        size_budget: the most bytes the file may have; None for any.
        required: globs over members (``*`` matches ``/`` too), each of which must match one.
        build_paths: texts that no member may contain: the directories of the build.
    """

    levels: tuple[tuple[str, RuleLevel], ...] = ()
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
    value: Annotated[str, NULL_FOR_HIDDEN]
    origin: str
    shell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionQuestion:
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
class VersionAnswer:
    """What one source of the version said.

    Attributes:
        source: the source as written.
        value: what it said, stripped; empty for nothing.
        note: why it said nothing (``not set``, ``'<unknown>' is a placeholder``), or where it
            was asked.
        refused: whether it said something that no version can have; that is not kept.
    """

    source: str
    value: str
    note: str = ""
    refused: bool = False

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
    source: Annotated[str, NULL_FOR_EMPTY]
    answers: tuple[VersionAnswer, ...] = field(default=(), metadata={"alias": "sources"})


Cell = tuple[tuple[str, str], ...]
"""(axis, value) of every axis that a cell of the matrix has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """What asks the project's build backend for a wheel.

    Attributes:
        name: the program.
        args: its further arguments.
    """

    name: FrontendName
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """What a build finds in the environment that compiles.

    Attributes:
        requires: requirements (PEP 508) beside those of the project's build system.
        constraints: requirements (PEP 508) that limit versions and install nothing by themselves.
        isolation: whether the project's own ``build-system.requires`` are installed, into a clean
            environment; otherwise only `requires` and what before-build installs is there.
        frontend: what asks the build backend; None: what the project itself says.
        indexes: (distribution or glob, URL of the simple index that alone serves it), in the order
            in which they are tried. They serve the test too.
        cuda: where the CUDA toolkit comes from; None: from the first place that has the version.
    """

    requires: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    isolation: bool = True
    frontend: Frontend | None = None
    indexes: Annotated[Cell, TABLE] = ()
    cuda: CudaSource | None = None


OWN_LISTS = (
    "build.config-settings",
    *("test.requires", "test.extras", "test.groups", "test.sources"),
)
"""Keys of matrix.toml with lists that a project's ``[tool.cibuildwheel]`` may have, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSteps:
    """What happens to the source of a target, step by step. None: what the project itself says.

    Attributes:
        environment: what the build finds in its environment.
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
        test_extras: extras of the wheel installed for the test.
        test_groups: dependency groups (PEP 735) of the source installed for the test.
        test_sources: files and directories of the source copied to where the test runs.
        test_before: shell command run before the wheel is installed for the test.
        emptied: keys of the matrix whose empty lists replace the project's own (`OWN_LISTS`).
        smoke: whether a wheel that was compiled natively for an emulated machine is imported there.
        timeout: seconds a target may take; None for no limit.
        timeouts: (step, seconds it may take) where there is a limit.
    """

    environment: EnvironmentSpec = EnvironmentSpec()
    before_all: str | None = None
    before_build: str | None = None
    config_settings: tuple[tuple[str, str], ...] = ()
    repair: str | None = None
    repair_refused: OnRefusal = OnRefusal.FAIL
    external: tuple[str, ...] = ()
    normalise: bool = False
    test_command: str | None = None
    test_requires: tuple[str, ...] = ()
    test_extras: tuple[str, ...] = ()
    test_groups: tuple[str, ...] = ()
    test_sources: tuple[str, ...] = ()
    test_before: str | None = None
    emptied: tuple[str, ...] = ()
    smoke: bool = True
    timeout: int | None = None
    timeouts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherTest:
    """Another test of a wheel that serves several values of an axis.

    Attributes:
        values: the axes that differ from those of the build.
        command: the test's shell command as it reads with these values.
        requires: requirements (PEP 508) that are installed before, over those of the last test.
    """

    values: Cell
    command: str
    requires: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people read: ``torch 2.13``."""
        return ", ".join(f"{axis} {value}" for axis, value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilePlan:
    """What compiles C and C++.

    Attributes:
        emulation: where the architecture is a foreign one: everything is emulated (``full``), all
            but the compilers (``accelerated``), or nothing (``cross``).
        compiler: ``gcc`` has the ABI, the headers and the C++ library of the image; ``zig`` brings
            its own C++ library, linked statically, and any glibc.
        baseline: the glibc that zig builds for (``2.17``); empty with gcc, which has the image's.
        alone: the glibc that a target is cross-compiled for where no engine runs the image; empty
            where it may not.
        alone_by: what compiles it then.
        why: why it is this, for `explain`.
    """

    emulation: EmulationMode = EmulationMode.FULL
    compiler: CompilerKind = CompilerKind.GCC
    baseline: str = ""
    alone: str = field(default="", compare=False, metadata={"exclude": True})
    alone_by: CompilerKind = field(
        default=CompilerKind.ZIG, compare=False, metadata={"exclude": True}
    )
    why: str = field(default="", compare=False, metadata={"exclude": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResources:
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


def _named_library(value: object) -> object:
    return LibraryStep(name=value, command="", outputs=()) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What plans and results say about a target.

    Attributes:
        python: PEP 425 python tag and ABI shorthand as cibuildwheel spells it: ``cp312``,
            ``cp314t``, ``pp311``; the one that builds. Empty for a library.
        arch: CPU architecture.
        libc: manylinux or musllinux.
        variant: (axis, value) of every user-named axis that all covered cells share, in the
            order of target IDs; of an axis in `stable_abi` the lowest.
        version: the PEP 440 version the wheel must carry, canonical.
        build_tag: the PEP 427 build tag, empty for none.
        image: the container image: a reference as the engine understands it, or an alias such as
            ``manylinux_2_28``, which the locked toolchain pins by digest.
        runner: the labels of the CI runner; it must have all of them.
        emulated: whether that runner needs QEMU for this architecture.
        cost: how long it takes compared with other targets, emulation included.
        abi3: the lowest Python that a wheel for the stable ABI serves (``cp39``); else empty.
        stable_abi: (axis, lowest value that the wheel serves) of the axes with a stable ABI.
        baseline: the libc version that the wheel may need at most (``2.28``); empty: any.
        derived: properties that follow from the values: ``cxx11abi``, ``gpu_archs``.
        covers: the cells it stands for.
        test_pythons: other Pythons that an abi3 wheel is tested on.
        needs: libraries whose outputs go into its source.
        publish: where the wheel is meant to go.
        library: what a library runs, which documents name only; None for a wheel.
    """

    python: str
    arch: Arch
    libc: Libc
    variant: Annotated[Cell, TABLE]
    version: VersionText
    build_tag: BuildTag
    image: str
    runner: Annotated[tuple[str, ...], JOINED]
    emulated: bool
    cost: float = 1.0
    abi3: str = ""
    stable_abi: Annotated[Cell, TABLE] = ()
    baseline: str = ""
    derived: Annotated[Cell, TABLE] = ()
    covers: Annotated[tuple[Annotated[Cell, TABLE], ...], Length(MOST_CELLS)] = ()
    test_pythons: tuple[str, ...] = ()
    needs: tuple[TargetId, ...] = ()
    publish: tuple[str, ...] = ()
    library: Annotated[
        LibraryStep | None,
        JsonForm(str | None, lambda step: None if step is None else step.name, _named_library),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(TargetFacts):
    """One fully resolved cell of the matrix, or several that build the same.

    Attributes:
        env: the build's environment, last entry wins; names are unique.
        aliases: the IDs that the covered cells would have by themselves.
        origins: setting (``build.repair``) -> dotted path of what set it.
        overrides: dotted paths of the overrides that hold for it; the last one wins.
        release: whether it is for a public index, without local part and build tag.
        pins: requirements (PEP 508) that the wheel's metadata must state, whatever the build says.
        demands: what the finished wheel must satisfy.
        further_tests: tests with other values of the axes in `stable_abi`.
        label_only: axes whose values are meant to change nothing but names.
        cuda_is_toolkit: whether an axis ``cuda`` is the toolkit alone, because the torch table does
            not apply: torch may be for an older CUDA.
    """

    id: TargetId
    on_mismatch: OnMismatch
    env: tuple[EnvVar, ...]
    steps: TargetSteps
    resources: TargetResources = TargetResources()
    aliases: tuple[TargetId, ...] = ()
    origins: tuple[tuple[str, str], ...] = ()
    overrides: tuple[str, ...] = ()
    release: bool = False
    pins: tuple[str, ...] = ()
    parts: tuple[VersionPart, ...] = ()
    demands: VerifyPolicy = VerifyPolicy()
    cuda_is_toolkit: bool = False
    compiling: CompilePlan = CompilePlan()
    further_tests: tuple[FurtherTest, ...] = ()
    label_only: tuple[str, ...] = ()

    @property
    def build_identifier(self) -> str:
        """The build identifier of cibuildwheel: ``cp312-manylinux_x86_64``; empty for a library."""
        return f"{self.python}-{self.platform}" if self.python else ""

    @property
    def python_value(self) -> str:
        """The value of the axis ``python`` that its wheel is for: ``cp312``, ``abi3-cp39``."""
        return f"{ABI3}{self.abi3}" if self.abi3 else self.python

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

    cell: Annotated[Cell, TABLE]
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnresolvedVersion:
    """Cells whose version only an image, setuptools-scm or a build backend knows, not asked yet.

    Attributes:
        part: the part of the version that is not known.
        questions: what has to be asked.
    """

    id: TargetId
    python: str
    arch: Arch
    part: str
    questions: tuple[VersionQuestion, ...]
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
        asked = "setuptools-scm" if sources == "scm" else "the project's build backend"
        who = f"in image {image}" if image else f"to {asked}"
        return f"the version's part {self.part!r} is known only {who} ({sources})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The ordered targets plus what was excluded and why.

    Attributes:
        targets: libraries first, then wheels, in the order of the matrix.
        undetermined: cells that become targets once somebody has been asked for their version.
        channel: the channel it was made for, empty for none.
        notes: what its targets lack and the matrix may not mean, a sentence each.
        elsewhere: targets for other systems than Linux; nothing here builds them.
    """

    targets: tuple[Target, ...]
    exclusions: tuple[Exclusion, ...]
    undetermined: tuple[UnresolvedVersion, ...] = ()
    channel: str = ""
    notes: tuple[str, ...] = ()
    elsewhere: tuple[Target | UnresolvedVersion, ...] = ()

    @property
    def everything(self) -> tuple[Target | UnresolvedVersion, ...]:
        """All targets, those with an undetermined version last."""
        return (*self.targets, *self.undetermined)

    @property
    def ids(self) -> tuple[TargetId, ...]:
        """Their IDs."""
        return tuple(target.id for target in self.everything)


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
        sdist: whether it makes the project's sdist too.
    """

    id: str
    name: str
    runner: tuple[str, ...]
    emulated: tuple[Arch, ...]
    targets: tuple[TargetId, ...]
    cost: float
    sdist: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is built, as a value.

    Attributes:
        name: the project's name, PEP 503 normalised.
        version: its static version (pyproject.toml or PKG-INFO), or None when dynamic.
        digest: SHA-256 over the staged tree (paths, modes, contents).
        epoch: SOURCE_DATE_EPOCH in seconds.
        own_options: what the project's ``[tool.cibuildwheel]`` sets for Linux; of a request, for
            its target.
        own_overrides: patterns of identifiers, and what an override sets for these alone.
    """

    name: str
    version: str | None
    digest: Digest
    epoch: int
    own_options: tuple[str, ...] = field(default=(), metadata={"exclude": True})
    own_overrides: tuple[tuple[str, tuple[str, ...]], ...] = field(
        default=(), metadata={"exclude": True}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """Everything that can influence the wheel's bytes; its digest is the cache key.

    Attributes:
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
class CibuildwheelCatalog:
    """What the locked cibuildwheel can build; data, read from ``plan/cibuildwheel.json``.

    Attributes:
        identifiers: all Linux build identifiers (``cp312-manylinux_x86_64``).
        aliases: architecture -> names of the images it pins by digest (``manylinux_2_28``).
        default_images: ``<libc>_<arch>`` -> the alias it takes when nothing is said.
        groups: python tag -> the group of its option ``enable`` without which it builds none.
    """

    version: str
    identifiers: frozenset[str]
    aliases: dict[str, tuple[str, ...]]
    default_images: dict[str, str]
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def pythons(self) -> frozenset[str]:
        """All python tags it knows."""
        return frozenset(identifier.split("-", 1)[0] for identifier in self.identifiers)
