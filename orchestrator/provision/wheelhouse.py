"""The wheels that the toolchain's lock names: pip downloads them, and only what matches counts.

pip is whichever this machine has: it knows the user's index, proxy, certificates and logins, and
decides nothing, because the lock names every file by its hash.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags
from packaging.utils import canonicalize_name

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import file_sha256
from orchestrator.host.process import capture
from orchestrator.models.platforms import LEGACY_MANYLINUX
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel.archive import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from packaging.utils import NormalizedName

    from orchestrator.models.platforms import Arch

SUPPORTED = (11, 12, 13, 14)
"""Minor versions of Python 3 that the lock has wheels for, oldest first."""

GLIBC = 28
"""`toolchain download` fetches wheels for glibc 2.28 (RHEL 8, Debian 10) and later."""

_OLDEST_GLIBC = 5

PIP_ENV = {
    # A user's pip.conf may hold options that make no sense here.
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_USER": "0",
    "PIP_CONSTRAINT": os.devnull,  # an empty value would not count; the lock names every version
    "PIP_NO_COLOR": "1",
}

_PIP_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One entry of a lock.

    Attributes:
        requirement: ``name==version`` or ``name @ URL``, perhaps with a marker.
        hashes: SHA-256 of the files it may be.
        index: the index, or the place of wheels, that it was found on; empty if the lock does not
            say.
    """

    requirement: Requirement
    hashes: frozenset[str]
    index: str = ""

    @property
    def name(self) -> NormalizedName:
        """The distribution's normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The version, or the URL that it comes from."""
        return self.requirement.url or str(self.requirement.specifier)[2:]

    @property
    def pin(self) -> str:
        """What installs it and nothing else; without its marker."""
        return f"{self.name}{' @ ' if self.requirement.url else '=='}{self.version}"

    @property
    def line(self) -> str:
        """The pin and the hashes, as a line of a requirements file."""
        return " ".join([self.pin, *(f"--hash=sha256:{each}" for each in sorted(self.hashes))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An interpreter and a platform that wheels are for.

    Attributes:
        minor: the 12 of Python 3.12.
        arch: the architecture.
        tags: platform tags that run there, best first.
    """

    minor: int
    arch: Arch
    tags: tuple[str, ...]

    @classmethod
    def here(cls, minor: int, arch: Arch) -> Platform:
        """Return this machine's, for an interpreter of it."""
        return cls(minor=minor, arch=arch, tags=tuple(platform_tags()))

    @classmethod
    def elsewhere(cls, minor: int, arch: Arch) -> Platform:
        """Return that of any machine of an architecture with glibc 2.28 or later."""
        tags = []
        for glibc in range(GLIBC, _OLDEST_GLIBC - 1, -1):
            tags.append(f"manylinux_2_{glibc}_{arch}")
            older = (name for name, version in LEGACY_MANYLINUX.items() if version == (2, glibc))
            tags += [f"{name}_{arch}" for name in older]
        return cls(minor=minor, arch=arch, tags=(*tags, f"linux_{arch}"))

    @property
    def markers(self) -> dict[str, str]:
        """The environment of PEP 508 markers, as far as it differs from this process's."""
        version = f"3.{self.minor}"
        return {
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "platform_machine": self.arch,
            "python_version": version,
            **dict.fromkeys(("python_full_version", "implementation_version"), f"{version}.0"),
        }

    def needs(self, locked: LockEntry) -> bool:
        """Whether an entry's marker holds there."""
        marker = locked.requirement.marker
        return marker is None or marker.evaluate(dict(self.markers))

    @property
    def supported(self) -> frozenset[Tag]:
        """The tags of wheels that can be installed there."""
        version = (3, self.minor)
        interpreter = str(PythonTag(minor=self.minor))
        return frozenset(cpython_tags(version, platforms=self.tags)) | frozenset(
            compatible_tags(version, interpreter, self.tags)
        )


def parse(lock: str) -> tuple[LockEntry, ...]:
    """Read a lock: a requirements file with hashes, as ``uv pip compile`` writes it.

    Raises:
        EnvironmentProblemError: it is not a lock.
    """
    found: list[LockEntry] = []
    for line in map(str.strip, lock.replace("\\\n", " ").splitlines()):
        if line.startswith(_FROM):
            found[-1] = replace(found[-1], index=line.removeprefix(_FROM))
        text = line.partition(" #")[0]
        if not text or text.startswith("#"):
            continue
        requirement, *hashes = map(str.strip, text.split("--hash=sha256:"))
        try:
            pinned = Requirement(requirement)
        except InvalidRequirement as error:
            raise EnvironmentProblemError.of(
                f"the toolchain's lock is damaged: {error}", hint="reinstall orchestrator"
            ) from None
        found.append(LockEntry(requirement=pinned, hashes=frozenset(hashes)))
    return tuple(found)


_FROM = "# from "
"""The beginning of uv's line about the index of the entry before it."""


def find_pip(pythons: Iterable[Path], *, env: Mapping[str, str], scratch: Path) -> tuple[str, ...]:
    """Return the command of a pip on this machine; make one if there is only ensurepip.

    `pythons` may have one, best first; `scratch` is an empty directory for one that has to be made.

    Raises:
        EnvironmentProblemError: there is none.
    """
    tried = tuple(dict.fromkeys(map(str, (sys.executable, *pythons))))
    for python in tried:
        command = (python, "-I", "-m", "pip")
        if capture([*command, "--version"], env=env, timeout=_PIP_TIMEOUT).ok:
            return command
    for python in tried:
        made = scratch / f"pip-{tried.index(python)}"
        # PEP 405, PEP 453: Debian's python3 cannot do this without python3-venv.
        if capture([python, "-I", "-m", "venv", str(made)], env=env, timeout=_PIP_TIMEOUT).ok:
            return (str(made / "bin" / "python"), "-I", "-m", "pip")
    raise EnvironmentProblemError.of(
        f"toolchain: no pip to download with: {', '.join(tried)} have neither pip nor ensurepip",
        hint="`apt-get install python3-pip` (or python3-venv), or give a directory of wheels "
        "that `orchestrator toolchain download` filled elsewhere (--wheels)",
    )


def download_arguments(
    lock: Sequence[LockEntry], platform: Platform, *, scratch: Path, into: Path
) -> list[str]:
    """Return the arguments of pip that download wheels; the markers of `lock` do not count."""
    requirements = scratch / "requirements.txt"
    requirements.write_text("".join(f"{each.line}\n" for each in lock), encoding="utf-8")
    return [
        *("download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--progress-bar=off", "--no-python-version-warning"),
        *(f"--python-version=3.{platform.minor}", "--implementation=cp"),
        *(f"--platform={tag}" for tag in platform.tags),
        *(f"--dest={into}", f"--requirement={requirements}"),
    ]


def lacking(
    lock: Sequence[LockEntry], platform: Platform, wheels: Iterable[WheelName]
) -> tuple[LockEntry, ...]:
    """Return the entries that a platform needs and that none of the wheels is for."""
    supported = platform.supported
    there = {wheel.name for wheel in wheels if not supported.isdisjoint(wheel.tags)}
    return tuple(each for each in lock if platform.needs(each) and each.name not in there)


def intact(folder: Path, lock: Sequence[LockEntry]) -> dict[Path, WheelName]:
    """Return the wheels of a directory that the lock names, byte for byte."""
    pins = {each.name: each for each in lock}
    found = {}
    for path in sorted(folder.glob("*.whl")):
        name = WheelName.match(path.name)
        if name is None or name.label:  # pip cannot install a variant
            continue
        pin = pins.get(name.name)
        if pin is None or not pin.requirement.specifier.contains(name.version, prereleases=True):
            continue
        if file_sha256(path) in pin.hashes:
            found[path] = name
    return found


def unpack_program(program: str, folder: Path, lock: Sequence[LockEntry], into: Path) -> Path:
    """Unpack a static program out of its wheel in a folder, so that it runs without installation.

    The program is called as its distribution.

    Raises:
        EnvironmentProblemError: there is no wheel for this machine, or it is not the lock's.
    """
    runs_here = frozenset(platform_tags())
    entries = [each for each in lock if each.name == program]
    found = [
        path
        for path, name in intact(folder, entries).items()
        if not runs_here.isdisjoint(name.platforms)
    ]
    if not found:
        what = f"toolchain: no wheel of {program} for this machine in {folder} is the lock's"
        raise EnvironmentProblemError.of(what, hint=FILL_HINT)
    with open_wheel(found[0]) as wheel:
        member = f"{wheel.dist_info.removesuffix('.dist-info')}.data/scripts/{program}"
        place = into / program
        with place.open("wb") as out:
            out.writelines(wheel.chunks(member))
    place.chmod(0o755)
    return place


FILL_HINT = (
    "fill it with `orchestrator toolchain download DIR` of the same version of orchestrator, on a "
    "machine with network"
)


def install_arguments(wheels: Path, requirements: Path, python: Path) -> list[str]:
    """Return the arguments of uv that install a lock from a directory, without any setting."""
    return [
        *("pip", "install", "--offline", "--no-config", "--no-progress", "--no-index", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", f"--find-links={wheels}"),
        *(f"--python={python}", f"--requirement={requirements}"),
    ]
