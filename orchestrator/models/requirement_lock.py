"""What the builds and tests of a matrix install, to the file: the lock of requirements.

An environment is locked once, whatever number of targets have it. Its name is a digest of what is
asked for, so that a lock changes only where its matrix or its index does.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from orchestrator.models.json_form import TABLE, Length
from orchestrator.models.platforms import Arch
from orchestrator.models.result import RequirementFile
from orchestrator.models.target import Cell

LOCK_VERSION = 1

_Sha256 = Annotated[str, Length(64, "^[0-9a-f]{64}$")]
_Filename = Annotated[str, Length(255, r"^[^/\\\x00-\x1f]+(\.whl|\.tar\.gz|\.zip)$")]
_Url = Annotated[str, Length(4096, r"^(https?|file)://[^\x00-\x20]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """A file that is installed: a wheel, or an sdist where a release has no wheel.

    Attributes:
        name: of the distribution, normalized (PEP 503).
        version: its version.
        filename: of the file.
        sha256: of its contents.
        url: where it was when it was locked, without a login.
        index: the index that offered it, without a login.
    """

    name: Annotated[str, Length(255, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    version: Annotated[str, Length(255, "^[0-9A-Za-z.!+-]+$")]
    filename: _Filename
    sha256: _Sha256
    url: _Url
    index: str = ""

    @property
    def pin(self) -> str:
        """The requirement that nothing else meets."""
        return f"{self.name}=={self.version}"

    @property
    def is_wheel(self) -> bool:
        """Whether nothing has to be built to install it."""
        return self.filename.endswith(".whl")

    @property
    def recorded(self) -> RequirementFile:
        """The file as results have it."""
        return RequirementFile(**asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an environment is asked for.

    Attributes:
        python: the Python's tag.
        platform: libc and architecture: ``manylinux_x86_64``.
        glibc: the oldest version of the glibc that it is for (``2.28``); empty for any.
        requires: requirements (PEP 508).
        constraints: requirements that limit versions.
        indexes: (distribution or glob, URL of the index that alone has it).
    """

    python: str
    platform: str
    glibc: str = ""
    requires: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    indexes: Annotated[Cell, TABLE] = ()

    @property
    def digest(self) -> str:
        """The name of the environment in a lock."""
        where = (self.python, self.platform, self.glibc)
        asked = (*where, self.requires, self.constraints, self.indexes)
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedEnvironment:
    """An environment, and every file of it.

    Attributes:
        asked: what it is asked for.
        backend: requirements that the build backend asks for when it runs (PEP 517,
            ``get_requires_for_build_wheel``); it may ask for fewer of them where it builds.
        files: what is installed, sorted by name.
    """

    asked: Asked
    backend: tuple[str, ...] = ()
    files: tuple[LockedFile, ...] = ()

    @property
    def name(self) -> str:
        """Its name in a lock: backends may ask for more where variables differ."""
        if not self.backend:
            return self.asked.digest
        text = repr((self.asked.digest, self.backend))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def is_for(self, arch: Arch) -> bool:
        """Whether it is for an architecture."""
        return self.asked.platform.endswith(f"_{arch}")

    @property
    def everything(self) -> tuple[str, ...]:
        """All requirements that led to the files."""
        return (*self.asked.requires, *self.backend)

    @property
    def pins(self) -> tuple[str, ...]:
        """Constraints that allow these versions only."""
        return tuple(file.pin for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLock:
    """The environments of a target, by name.

    Attributes:
        build: the one that compiles; empty if it requires nothing.
        tests: for the test and each further test one for each Python that it runs with.
    """

    build: str = ""
    tests: tuple[tuple[str, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        every = (self.build, *(name for test in self.tests for name in test))
        return tuple(dict.fromkeys(filter(None, every)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLock:
    """The lock of a matrix.

    Attributes:
        lock_version: of the format.
        environments: by name.
        targets: by ID.
    """

    lock_version: Literal[1] = 1
    environments: dict[str, LockedEnvironment] = field(default_factory=dict)
    targets: dict[str, TargetLock] = field(default_factory=dict)

    def build_of(self, target_id: str) -> LockedEnvironment | None:
        """Return the environment that compiles a target; None if the lock has none."""
        return self.environments.get(self.targets.get(target_id, TargetLock()).build)

    def environments_of(self, target_id: str) -> tuple[LockedEnvironment, ...]:
        """Return the environments of a target; none if the lock does not have it."""
        target = self.targets.get(target_id, TargetLock())
        return tuple(self.environments[name] for name in target.names)
