"""The platform tags of macOS and Windows: which one files allow, and what reports say of the files.

A tag of macOS has no minor version from macOS 11 on: what needs 11.3 gets the tag of macOS 12.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import BinaryFile
from orchestrator.wheel.binary import BinaryKind
from orchestrator.wheel.policy import PlatformTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.scan import BinaryMember, Scan

MACOS, WINDOWS = "macOS", "Windows"

_MACOS_TAG = re.compile(r"macosx_(\d{1,4})_(\d{1,4})_(\w+)")
_MACOS_ARCHES = {
    "universal2": ("x86_64", "arm64"),
    "intel": ("x86_64", "i386"),
    "universal": ("x86_64", "i386", "ppc", "ppc64"),
    "fat": ("i386", "ppc"),
    "fat32": ("i386", "ppc"),
    "fat3": ("x86_64", "i386", "ppc"),
    "fat64": ("x86_64", "ppc64"),
}
_WINDOWS_ARCHES = {
    "win_amd64": frozenset({"amd64"}),
    "win_arm64": frozenset({"arm64", "arm64x"}),
    "win32": frozenset({"x86"}),
}
FIRST_ARM64 = (11, 0)
"""The first macOS on arm64, and the first whose tags have no minor version."""
_LAST_BEFORE_26 = 15


class BinaryTag(NamedTuple):
    """A platform tag of macOS or Windows.

    Attributes:
        tag: as written.
        system: its system.
        parts: what a file must have: for each part, architectures of which one is enough.
        version: the oldest macOS that it promises to serve; zeros for Windows.
    """

    tag: str
    system: str
    parts: tuple[frozenset[str], ...]
    version: tuple[int, int]

    @classmethod
    def parse(cls, tag: str) -> BinaryTag | None:
        """Parse a platform tag; None if it is of neither system."""
        if tag in _WINDOWS_ARCHES:
            return cls(tag, WINDOWS, (_WINDOWS_ARCHES[tag],), (0, 0))
        if (match := _MACOS_TAG.fullmatch(tag)) is None:
            return None
        arches = _MACOS_ARCHES.get(match[3], (match[3],))
        parts = tuple(frozenset({arch}) for arch in arches)
        return cls(tag, MACOS, parts, (int(match[1]), int(match[2])))

    def missing(self, arches: Iterable[str]) -> list[str]:
        """Return which parts a file with these architectures lacks."""
        return [" or ".join(sorted(part)) for part in self.parts if part.isdisjoint(arches)]

    def promised(self, arch: str) -> tuple[int, int]:
        """Return the oldest macOS on a machine of this architecture that installs the wheel."""
        return max(self.version, FIRST_ARM64) if arch == "arm64" else self.version


def binary_tags(name: WheelName) -> tuple[BinaryTag, ...]:
    """Return those of a wheel's platform tags that name macOS or Windows."""
    return tuple(filter(None, map(BinaryTag.parse, name.platforms)))


def observed_tag(name: WheelName, binaries: Sequence[BinaryMember]) -> str:
    """Return the platform tag that Mach-O or PE files allow; empty if there are none that count.

    The files of the system that the name says count. If it says none, libraries do: a program for
    another system is data.
    """
    declared = binary_tags(name)
    systems = {tag.system for tag in declared}
    files = [
        each
        for each in binaries
        if (each.info.loaded and each.info.system in systems)
        or (not systems and each.info.kind is BinaryKind.LIBRARY)
    ]
    if not files:
        return ""
    if files[0].info.system == MACOS:
        return _macos_tag(declared, [each for each in files if each.info.system == MACOS])
    arches = [each.info.arch for each in files if each.info.system == WINDOWS]
    fitting = [tag.tag for tag in declared if not tag.missing(arches)]
    known = (tag for arch in arches for tag, ours in _WINDOWS_ARCHES.items() if arch in ours)
    return next(iter((*fitting, *known)), "unknown")


def _macos_tag(declared: Sequence[BinaryTag], files: Sequence[BinaryMember]) -> str:
    by_file = architectures(files)
    every = set[str]().union(*by_file.values())
    common = every.intersection(*by_file.values())
    wanted = {arch for tag in declared for part in tag.parts for arch in part}
    # Without an architecture in common the name decides which ones count.
    arches = common or wanted & every or every
    label = "universal2" if arches >= {"x86_64", "arm64"} else min(arches, key=_by_use)
    counted = _MACOS_ARCHES.get(label, (label,))
    minima = [
        each.info.minimum
        for each in files
        if each.info.minimum
        and each.info.arch in counted
        # Every macOS on arm64 is 11 or newer.
        and not (label == "universal2" and each.info.minimum <= FIRST_ARM64 == _floor(each))
    ]
    versions = [*minima, FIRST_ARM64] if label == "arm64" else minima
    major, minor = max(versions or [tag.version for tag in declared], default=(10, 9))
    if major >= FIRST_ARM64[0] and minor:
        major, minor = 26 if major == _LAST_BEFORE_26 else major + 1, 0
    return f"macosx_{major}_{minor}_{label}"


def _floor(member: BinaryMember) -> tuple[int, int]:
    return FIRST_ARM64 if member.info.arch == "arm64" else (0, 0)


def _by_use(arch: str) -> tuple[int, str]:
    known = ("arm64", "x86_64")
    return known.index(arch) if arch in known else len(known), arch


def architectures(members: Iterable[BinaryMember]) -> Mapping[str, set[str]]:
    """Return each file -> what it has code for."""
    found: dict[str, set[str]] = {}
    for each in members:
        found.setdefault(each.name, set()).add(each.info.arch)
    return found


def not_examined(name: WheelName, found: Scan) -> Iterator[str]:
    """Yield what no rule looks at, each with the reason."""
    for tag in name.platforms:
        if tag != "any" and not PlatformTag.parse(tag) and not BinaryTag.parse(tag):
            yield f"whether the files fit {tag}: there are no rules for this platform"
    silent = [each for each in found.binaries if each.info.system == MACOS and each.info.loaded]
    silent = [each for each in silent if each.info.minimum is None]
    managed = [each for each in found.binaries if each.info.arch == ".NET"]
    gpus = [each for each in found.binaries if each.info.for_gpus]
    for what, members, why in (
        ("the oldest macOS of {}", silent, "the file does not say it"),
        ("{}", managed, ".NET code is not read"),
        ("the code for GPUs in {}", gpus, "it is read in ELF files only"),
    ):
        if names := list(dict.fromkeys(each.name for each in members)):
            yield f"{what.format(first_of(names))}: {why}"


def first_of(names: Sequence[str]) -> str:
    """Return the first name, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def summary(member: BinaryMember, python_abi: str | None) -> BinaryFile:
    """Return what reports say of a file."""
    info = member.info
    return BinaryFile(
        file=member.name,
        system=info.system,
        arch=info.arch,
        kind=info.kind.value,
        minimum=version_text(info.minimum),
        name=info.name,
        needed=info.needed,
        optional=info.optional,
        rpath=info.rpath,
        python_abi=python_abi,
        signed=info.signed,
    )


def version_text(version: tuple[int, int] | None) -> str:
    """Return ``11.0``; empty if it is unknown."""
    return "" if version is None else ".".join(map(str, version))
