"""The platform tag that a wheel's ELF files really need, and why.

The verdict is auditwheel's (`auditwheel show --json`: ``sym_tag``, brought down by forbidden
symbols and instruction sets as in ``overall_tag``), read from the files alone: nothing of this
machine counts, and libraries outside the wheel are judged by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.models import Arch, Finding, Libc, Reason, WheelReport
from orchestrator.wheel import external as external_libraries
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.policy import PlatformTag
from orchestrator.wheel.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.wheel.archive import WheelArchive, WheelName
    from orchestrator.wheel.policy import Policies, Policy
    from orchestrator.wheel.scan import ElfMember, Scan

_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_SUFFIX = re.compile(
    r"\.(?P<soabi>cpython-\w+|abi3t?|pypy\d+-pp\d+|graalpy[\w-]+?)"
    r"(?:-(?P<triplet>\w+-linux(?:-\w+)?))?\.so"
)
_PY311 = 311
"""From CPython 3.11 on, ``-linux-gnu`` in a suffix means glibc; before, musl builds used it too."""

# Symbols of Python's removed fpectl module, which no released Python has (PEP 513).
_PYFPE = frozenset({"PyFPE_jbuf", "PyFPE_dummy", "PyFPE_counter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionModule:
    """A Python extension module in a wheel.

    Attributes:
        name: member without any suffix: what the modules for several Pythons have in common.
        soabi: ``cpython-312``, ``abi3``, ``pypy311-pp73``; empty for a plain ``.so``.
        triplet: ``x86_64-linux-gnu``, or empty.
    """

    name: str
    soabi: str
    triplet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a wheel's ELF files need.

    Attributes:
        libc: the C library they are for.
        arch: their architecture.
        tag: the best platform tag; ``linux_*`` when no policy fits.
        symbol_tag: the same by symbol versions alone: auditwheel's ``sym_tag``.
        policy: the policy behind `tag`, if any.
        glibc: the newest GLIBC_x.y needed, if any.
        reasons: what stands in the way of the next lower tag.
        external_libs: library outside wheel and policy -> members that need it.
        isa: highest x86-64 level any file asks for, or empty.
        elves: the ELF files that were judged.
        ignored: the ELF files of another architecture or C library, which were not.
    """

    libc: Libc
    arch: Arch
    tag: str
    symbol_tag: str
    policy: Policy | None
    glibc: tuple[int, int] | None
    reasons: tuple[Reason, ...]
    external_libs: tuple[tuple[str, tuple[str, ...]], ...]
    isa: str
    elves: tuple[ElfMember, ...]
    ignored: tuple[ElfMember, ...]


def report(path: Path, policies: Policies, *, external: Sequence[str] = ()) -> WheelReport:
    """Tell what a wheel is.

    Args:
        path: the wheel.
        policies: auditwheel's policies.
        external: patterns or presets of libraries that may stay outside the wheel.

    Raises:
        BadWheelError: the file is not a wheel that can be read.
        ConfigError: `external` names an unknown preset.
    """
    patterns = external_libraries.resolve(external)
    with open_wheel(path) as archive:
        return summarise(archive, scan(archive), policies, patterns)[0]


def summarise(
    archive: WheelArchive, found: Scan, policies: Policies, patterns: Sequence[str]
) -> tuple[WheelReport, Observation | None]:
    """Return the report on a wheel that has been read, and the observation behind it."""
    observation = None
    if platform := platform_of(archive.name, found.elves):
        observation = observe(found, policies, *platform)
    digest, size = archive.digest()
    tag, policy = "any", None
    if observation is not None:
        tag, policy = observation.tag, observation.policy
    modules = [module for module in map(extension_module, found.elves) if module]
    result = WheelReport(
        filename=archive.path.name,
        sha256=digest,
        size=size,
        version=str(archive.name.version),
        declared_tags=tuple(sorted(map(str, archive.name.tags))),
        observed_tag=tag,
        aliases=policy.aliases if policy else (),
        reasons=observation.reasons if observation else (),
        external_libs=observation.external_libs if observation else (),
        isa=observation.isa if observation else "",
        abi3=bool(modules) and all(module.soabi in {"abi3", "abi3t"} for module in modules),
        problems=(*_damage(found), *_external(observation, patterns)),
    )
    return result, observation


def observe(found: Scan, policies: Policies, libc: Libc, arch: Arch) -> Observation:
    """Find the best platform tag that the ELF files of one platform satisfy.

    Args:
        found: the wheel's ELF files.
        policies: auditwheel's policies.
        libc: the C library; files for another one are ignored.
        arch: the architecture; files for another one are ignored.
    """
    elves = tuple(elf for elf in found.elves if _belongs(elf, libc, arch))
    needs = _Needs(elves)
    candidates = policies.of(libc, arch)
    by_symbols = next((policy for policy in candidates if not any(needs.versions(policy))), None)
    policy = next((p for p in candidates if not any(needs.obstacles(p, candidates))), None)
    linux = f"linux_{arch}"
    return Observation(
        libc=libc,
        arch=arch,
        tag=policy.tag if policy else linux,
        symbol_tag=by_symbols.tag if by_symbols else linux,
        policy=policy,
        glibc=needs.glibc(),
        reasons=_reasons(needs, candidates, policy),
        external_libs=needs.outside(policy.whitelist if policy else _union(candidates)),
        isa=max((elf.info.isa_level for elf in elves), default=""),
        elves=elves,
        ignored=tuple(elf for elf in found.elves if elf not in elves),
    )


def platform_of(name: WheelName, elves: Sequence[ElfMember]) -> tuple[Libc, Arch] | None:
    """Tell which platform a wheel is for.

    The ELF files decide. Where they are of several kinds, the file name says which ones count
    (as in auditwheel); where they do not say which libc they use, the file name does, and last
    comes glibc.

    Returns:
        None when no ELF file has an architecture that a platform tag names: code for a GPU or a
        microcontroller is data here.
    """
    declared = [tag for tag in map(PlatformTag.parse, name.platforms) if tag]
    arches = [elf.info.arch for elf in elves if elf.info.arch]
    if not arches:
        return None
    arch = next((a for a in arches if any(tag.arch == a for tag in declared)), arches[0])
    same = [elf for elf in elves if elf.info.arch is arch]
    libcs = [libc for libc in map(libc_of, same) if libc]
    by_name = [tag.libc for tag in declared if tag.libc]
    if named := next((libc for libc in libcs if libc in by_name), None):
        return named, arch
    # A bare "libc.so" is how musl is called without a distribution's symlink (zig, Rust).
    weak = [Libc.MUSLLINUX for elf in same if "libc.so" in elf.info.needed]
    return next(iter([*libcs, *by_name, *weak]), Libc.MANYLINUX), arch


def libc_of(elf: ElfMember) -> Libc | None:
    """Tell which C library an ELF file uses; None when it does not say."""
    interpreter = PurePosixPath(elf.info.interpreter).name
    if interpreter:
        return Libc.MUSLLINUX if interpreter.startswith("ld-musl-") else Libc.MANYLINUX
    for library in elf.info.needed:
        if library.startswith(("libc.musl-", "ld-musl-")):
            return Libc.MUSLLINUX
        if library == "libc.so.6" or library.startswith(("ld-linux-", "ld64.so.")):
            return Libc.MANYLINUX
    module = _SUFFIX.search(elf.name)
    if module is None or not module["triplet"]:
        return None
    if "-musl" in module["triplet"]:
        return Libc.MUSLLINUX
    number = re.match(r"cpython-(3\d+)", module["soabi"])
    return Libc.MANYLINUX if number and int(number[1]) >= _PY311 else None


def extension_module(elf: ElfMember) -> ExtensionModule | None:
    """Tell whether an ELF file is a Python extension module, and for which Python."""
    path = PurePosixPath(elf.name)
    stem = path.name.split(".", 1)[0]
    match = _SUFFIX.fullmatch(path.name.removeprefix(stem))
    if match is not None:
        soabi, triplet = match["soabi"], match["triplet"] or ""
    elif f"PyInit_{stem}" in elf.info.inits and path.suffix == ".so":
        soabi = triplet = ""
    else:
        return None
    return ExtensionModule(name=str(path.with_name(stem)), soabi=soabi, triplet=triplet)


class _Needs:
    """What the ELF files of one platform need together."""

    def __init__(self, elves: Sequence[ElfMember]) -> None:
        self._elves = elves
        self._versions: dict[tuple[str, str], list[ElfMember]] = {}
        self._libraries: dict[str, list[str]] = {}
        for elf in elves:
            for library, versions in elf.info.versions:
                if not _is_loader(library):
                    for version in versions:
                        self._versions.setdefault((library, version), []).append(elf)
        inside = {PurePosixPath(elf.name).name for elf in elves}
        inside |= {elf.info.soname for elf in elves}
        for elf in elves:
            for library in elf.info.needed:
                if library not in inside and not _is_loader(library):
                    self._libraries.setdefault(library, []).append(elf.name)

    def obstacles(self, policy: Policy, candidates: Sequence[Policy]) -> Iterator[Reason]:
        """Iterate over everything that stands between the files and a policy."""
        yield from self.versions(policy)
        yield from self._forbidden(policy)
        yield from self._unpromised(policy, candidates)
        yield from self._instructions()

    def versions(self, policy: Policy) -> Iterator[Reason]:
        """Iterate over symbol versions that the policy does not have.

        As in auditwheel they count wherever the library comes from, also from the wheel itself:
        only the prefix of the version decides whether a policy has a say.
        """
        for (library, version), elves in self._versions.items():
            if policy.allows_version(version):
                continue
            for elf in elves:
                names = {
                    symbol.name
                    for symbol in elf.info.undefined
                    if symbol.version == version and symbol.library == library
                }
                yield _reason(elf, library, version, names)

    def _forbidden(self, policy: Policy) -> Iterator[Reason]:
        """Iterate over symbols that the policy forbids of a library, and Python's fpectl."""
        for elf in self._elves:
            names = {symbol.name for symbol in elf.info.undefined if not symbol.weak}
            for library in elf.info.needed:
                banned = policy.blacklist.get(library)
                if banned and (hits := banned & (names | {"*"})):
                    yield _reason(elf, library, "", hits)
            if hits := _PYFPE & {symbol.name for symbol in elf.info.undefined}:
                yield _reason(elf, "", "", hits)

    def _unpromised(self, policy: Policy, candidates: Sequence[Policy]) -> Iterator[Reason]:
        """Iterate over libraries that only newer policies promise.

        A library that no policy promises is not the tag's business but an external library.
        """
        promised_later = _union(candidates) - policy.whitelist
        for library, members in self._libraries.items():
            if library in promised_later:
                for member in members:
                    yield Reason(file=member, library=library, symbol_version="", symbols=())

    def _instructions(self) -> Iterator[Reason]:
        """Iterate over files that need more than baseline x86-64.

        As in auditwheel, libraries that others in the wheel load are not asked.
        """
        needed = {library for elf in self._elves for library in elf.info.needed}
        for elf in self._elves:
            loaded = PurePosixPath(elf.name).name in needed and extension_module(elf) is None
            if elf.info.isa_level and not loaded:
                yield _reason(elf, "", elf.info.isa_level, ())

    def outside(self, whitelist: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the libraries that neither the wheel nor the list has, and what needs them."""
        found = {name: who for name, who in self._libraries.items() if name not in whitelist}
        return tuple((name, tuple(sorted(who))) for name, who in sorted(found.items()))

    def glibc(self) -> tuple[int, int] | None:
        """Return the newest glibc version needed."""
        matches = (_GLIBC.fullmatch(version) for _, version in self._versions)
        return max(((int(m[1]), int(m[2])) for m in matches if m), default=None)


def _belongs(elf: ElfMember, libc: Libc, arch: Arch) -> bool:
    return elf.info.arch is arch and libc_of(elf) in {None, libc}


def _is_loader(library: str) -> bool:
    return "ld-linux" in library or library in {"ld64.so.1", "ld64.so.2"}


def _union(policies: Iterable[Policy]) -> frozenset[str]:
    return frozenset().union(*(policy.whitelist for policy in policies))


def _reason(elf: ElfMember, library: str, version: str, symbols: Iterable[str]) -> Reason:
    return Reason(
        file=elf.name, library=library, symbol_version=version, symbols=tuple(sorted(symbols))
    )


def _reasons(
    needs: _Needs, candidates: Sequence[Policy], policy: Policy | None
) -> tuple[Reason, ...]:
    """Return what stands in the way of the policy below; below ``linux_*`` is the newest."""
    below = candidates.index(policy) - 1 if policy else len(candidates) - 1
    if below < 0:
        return ()
    reasons = needs.obstacles(candidates[below], candidates)
    return tuple(sorted(reasons, key=lambda r: (r.library, r.symbol_version, r.file)))


def _damage(found: Scan) -> Iterator[Finding]:
    for name, why in found.unreadable:
        yield Finding(rule="zip-integrity", message=f"{name}: {why}")
    for name, why in found.malformed:
        yield Finding(rule="elf-malformed", message=f"{name} is not a sound ELF file: {why}")


def _external(observation: Observation | None, patterns: Sequence[str]) -> Iterator[Finding]:
    if observation is None:
        return
    for library, members in observation.external_libs:
        if not external_libraries.allowed(library, patterns):
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            yield Finding(
                rule="external-library",
                message=(
                    f"{members[0]}{more} needs {library}, which is neither in the wheel nor "
                    f'promised by {observation.tag}: graft it (repair = "auditwheel"), or list '
                    "it in build.external when another package or the driver brings it"
                ),
            )
