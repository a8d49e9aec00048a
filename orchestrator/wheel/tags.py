"""Find the platform tag that a wheel's files need, and why; for Linux here, else in `binary_tags`.

The result is auditwheel's (`auditwheel show --json`: ``sym_tag``, lowered by forbidden symbols and
instruction sets as in ``overall_tag``), but comes from the files alone: this machine does not
matter, and libraries outside the wheel are known by name only.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.models import external_libraries
from orchestrator.models.platforms import Libc
from orchestrator.models.wheel import ElfFile, Finding, Severity, WheelReport
from orchestrator.models.wheel_name import WheelFilename
from orchestrator.wheel import gpu_report, torch_abi
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.binary_requirements import BinaryRequirements
from orchestrator.wheel.binary_tags import (
    MACOS,
    WINDOWS,
    binary_tags,
    first_of,
    not_examined,
    observed_tag,
    summary,
)
from orchestrator.wheel.elf_requirements import ElfRequirements, promises
from orchestrator.wheel.policy import PlatformTag
from orchestrator.wheel.scan import ElfMember, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import Digest
    from orchestrator.models.wheel import Reason, TagStep
    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.elf_requirements import UnreachableLibrary
    from orchestrator.wheel.policy import Policies, Policy
    from orchestrator.wheel.scan import BinaryMember, Scan

_SUFFIX = re.compile(
    r"\.(?P<soabi>cpython-\w+|abi3t?|pypy\d+-pp\d+|graalpy[\w-]+?)"
    r"(?:-(?P<triplet>\w+-linux(?:-\w+)?))?\.so"
)
_BINARY_SUFFIX = re.compile(
    r"\.(?P<soabi>cpython-\w+|abi3t?|pypy\d+-pp\d+|graalpy[\w-]+?|cp\d+t?d?)"
    r"(?:-(?P<triplet>(?:\w+-)?darwin|win32|win_\w+))?\.(?:so|pyd)"
)
_LIBPYTHON = re.compile(r"(.*/)?(libpython3[\d.]*[a-z]*\.(so.*|dylib)|Python)")
_REPAIR = {MACOS: "delocate-wheel", WINDOWS: "delvewheel repair"}
_PY311 = 311
"""From CPython 3.11 on, ``-linux-gnu`` in a suffix means glibc; before, musl builds used it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionModule:
    """A Python extension module in a wheel.

    Attributes:
        name: the member without any suffix, which modules for several Pythons have in common.
        soabi: ``cpython-312``, ``abi3``, ``pypy311-pp73``; empty for a plain ``.so``.
        triplet: ``x86_64-linux-gnu``, ``darwin``, ``win_amd64``, or empty.
        file: the file.
    """

    name: str
    soabi: str
    triplet: str
    file: ElfMember | BinaryMember

    @property
    def called(self) -> str:
        """The last part of its name in Python: that of the package for its ``__init__``."""
        return _module_name(self.name)

    @property
    def hooks(self) -> frozenset[str]:
        """Which functions that make it a module it has (PEP 793): ``PyInit``, ``PyModExport``."""
        names = init_names(self.called)
        return frozenset(names[each] for each in self.file.info.inits if each in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a wheel's ELF files need.

    Attributes:
        libc: their C library.
        arch: their architecture.
        tag: the best platform tag; ``linux_*`` if no policy fits.
        symbol_tag: the same by symbol versions alone: auditwheel's ``sym_tag``.
        policy: the policy behind `tag`, if any.
        candidates: all policies of the platform, the oldest libc first.
        glibc: the newest GLIBC_x.y needed, if any.
        steps: the obstacles to each lower tag, the next lower one first.
        external_libs: library outside wheel and policy -> members that need it.
        unreachable: libraries in the wheel that no RPATH leads to.
        portable: whether all files are static programs, for which tags of both C libraries hold.
        isa: highest x86-64 level that a file needs, or empty.
        elves: the ELF files that count; those of another architecture or C library do not.
    """

    libc: Libc
    arch: Arch
    tag: str
    symbol_tag: str
    policy: Policy | None
    candidates: tuple[Policy, ...]
    glibc: tuple[int, int] | None
    steps: tuple[TagStep, ...]
    external_libs: tuple[tuple[str, tuple[str, ...]], ...]
    unreachable: tuple[UnreachableLibrary, ...]
    portable: bool
    isa: str
    elves: tuple[ElfMember, ...]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The obstacles to the next lower tag."""
        return self.steps[0].reasons if self.steps else ()


def report(path: Path, policies: Policies, *, external: Sequence[str] = ()) -> WheelReport:
    """Describe a wheel.

    Args:
        path: the wheel.
        policies: auditwheel's policies.
        external: patterns or presets of libraries that may stay outside the wheel.

    Raises:
        BadWheelError: the file is not a wheel that can be read.
        ConfigError: `external` names an unknown preset.
    """
    patterns = external_libraries.resolve(external)
    with open_wheel(path) as archive, ThreadPoolExecutor(1) as pool:
        digest = pool.submit(archive.digest)
        found = scan(archive)
        return summarise(archive, found, policies, patterns, digest.result())[0]


def summarise(
    archive: WheelArchive,
    found: Scan,
    policies: Policies,
    patterns: Sequence[str],
    digest: tuple[Digest, int] | None = None,
) -> tuple[WheelReport, Observation | None]:
    """Return the report on a scanned wheel, and the observation behind it.

    Libraries that match a pattern may stay outside. The digest is taken if it is not known already.

    Raises:
        OverBudgetError: that costs too much.
    """
    for_others = bool(binary_tags(archive.name))
    other = observed_tag(archive.name, found.binaries)
    observation = None
    if not (other and for_others) or any(map(PlatformTag.parse, archive.name.platforms)):
        platform = platform_of(archive.name, found.elves)
        observation = platform and observe(found, policies, *platform, budget=archive.budget)
    needs = BinaryRequirements(found.binaries if for_others else (), archive.budget)
    sha256, size = digest or archive.digest()
    # Nobody knows what a damaged file needs: a wheel with such files only is not for any platform.
    damaged = found.malformed or (for_others and found.unsound) or found.unreadable
    tag = observation.tag if observation else other or ("unknown" if damaged else "any")
    findings = (
        _damage(found, for_others=for_others),
        _outside(observation, needs, patterns, archive.budget),
    )
    files: list[ElfMember | BinaryMember] = [*found.elves, *found.binaries]
    modules = list(filter(None, map(extension_module, files)))
    summaries = tuple(map(_summary, found.elves))
    result = WheelReport(
        filename=WheelFilename(archive.path.name),
        sha256=sha256,
        size=size,
        version=str(archive.name.version),
        declared_tags=tuple(sorted(map(str, archive.name.tags))),
        observed_tag=tag,
        aliases=_aliases(observation, policies) if observation else (),
        reasons=observation.reasons if observation else (),
        steps=observation.steps if observation else (),
        elf_files=summaries,
        binary_files=tuple(summary(each, _python_abi(each)) for each in found.binaries),
        not_examined=tuple(not_examined(archive.name, found)),
        gpu_files=gpu_report.gpu_files(found.devices),
        device_code=gpu_report.device_code(found.devices),
        runtimes=gpu_report.runtimes(found.devices),
        driver=gpu_report.driver(found.devices),
        torch_abi=torch_abi.of_wheel(each.torch_abi for each in summaries),
        torch_from=torch_abi.torch_from(
            elf.info for elf, each in zip(found.elves, summaries, strict=True) if each.torch_abi
        ),
        external_libs=(*(observation.external_libs if observation else ()), *needs.outside),
        largest=gpu_report.largest_files(archive.members, found.devices),
        isa=observation.isa if observation else "",
        abi3=bool(modules) and all(module.soabi in {"abi3", "abi3t"} for module in modules),
        problems=tuple(archive.budget.findings(chain.from_iterable(findings))),
    )
    return result, observation


def _outside(
    observation: Observation | None,
    needs: BinaryRequirements,
    patterns: Sequence[str],
    budget: Budget,
) -> Iterator[Finding]:
    """Yield the libraries that the wheel needs, and which nothing provides or nobody finds."""
    if observation is not None:
        promise = _promise(observation)
        yield from _external(observation.external_libs, promise, patterns, budget)
    yield from _external(needs.outside, needs.system, patterns, budget)
    yield from _unreachable(observation.unreachable if observation else ())
    yield from _unreachable(needs.unreachable)


def _aliases(observation: Observation, policies: Policies) -> tuple[str, ...]:
    """Return the other names of the tag, and for portable files the lowest tags of all."""
    aliases = observation.policy.aliases if observation.policy else ()
    lowest = policies.lowest_tags(observation.arch) if observation.portable else ()
    more = (each for each in lowest if each not in {observation.tag, *aliases})
    return (*aliases, *more)


def observe(
    found: Scan, policies: Policies, libc: Libc, arch: Arch, *, budget: Budget
) -> Observation:
    """Find the best platform tag that the ELF files of one platform satisfy; others are ignored.

    Raises:
        OverBudgetError: they need one another in too many ways.
    """
    elves = tuple(elf for elf in found.elves if _belongs(elf, libc, arch))
    needs = ElfRequirements(elves, _is_module, budget)
    candidates = policies.of(libc, arch)
    by_symbols = next((policy for policy in candidates if not any(needs.versions(policy))), None)
    policy = next((p for p in candidates if not any(needs.obstacles(p, candidates))), None)
    linux = f"linux_{arch}"
    whitelist = policy.whitelist if policy else promises(candidates)
    return Observation(
        libc=libc,
        arch=arch,
        tag=policy.tag if policy else linux,
        symbol_tag=by_symbols.tag if by_symbols else linux,
        policy=policy,
        candidates=candidates,
        glibc=needs.glibc(),
        steps=needs.steps(candidates, policy),
        external_libs=needs.outside(whitelist),
        unreachable=needs.unreachable(whitelist),
        portable=policy is not None and all(map(_is_static, elves)),
        isa=max((elf.info.isa_level for elf in elves), default=""),
        elves=elves,
    )


def _is_static(elf: ElfMember) -> bool:
    """Whether a file is a program that needs no library of the machine."""
    info = elf.info
    outside = info.interpreter or info.needed or any(not each.weak for each in info.undefined)
    return info.program and not outside


def platform_of(name: WheelName, elves: Sequence[ElfMember]) -> tuple[Libc, Arch] | None:
    """Return the platform that a wheel is for.

    The ELF files decide. If there are several kinds, the file name decides which ones count (as in
    auditwheel). If they do not tell their libc, the file name does; the default is glibc.

    None if no ELF file has an architecture of a platform tag: code for a GPU or a microcontroller
    is data here.
    """
    declared = [tag for tag in map(PlatformTag.parse, name.platforms) if tag]
    arches = [elf.arch for elf in elves if elf.arch]
    if not arches:
        return None
    arch = next(
        (a for a in dict.fromkeys(arches) if any(tag.arch == a for tag in declared)), arches[0]
    )
    same = [elf for elf in elves if elf.arch is arch]
    libcs = [libc for libc in map(libc_of, same) if libc]
    by_name = [tag.libc for tag in declared if tag.libc]
    if named := next((libc for libc in libcs if libc in by_name), None):
        return named, arch
    # A bare "libc.so" is musl without a distribution's symlink (zig, Rust).
    weak = [Libc.MUSLLINUX for elf in same if "libc.so" in elf.info.needed]
    return next(iter([*libcs, *by_name, *weak]), Libc.MANYLINUX), arch


def libc_of(elf: ElfMember) -> Libc | None:
    """Return the C library of an ELF file; None if it does not tell."""
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


def extension_module(file: ElfMember | BinaryMember) -> ExtensionModule | None:
    """Return the Python extension module that a file is; None if it is none."""
    path = PurePosixPath(file.name)
    stem = path.name.split(".", 1)[0]
    is_elf = isinstance(file, ElfMember)
    match = (_SUFFIX if is_elf else _BINARY_SUFFIX).fullmatch(path.name.removeprefix(stem))
    name = str(path.with_name(stem))
    inits = init_names(_module_name(name))
    if match is not None:
        soabi, triplet = match["soabi"], match["triplet"] or ""
        soabi = f"cpython-{soabi[2:]}" if soabi.startswith("cp3") else soabi
    elif path.suffix == ".pyd" or (
        path.suffix == ".so" and not inits.keys().isdisjoint(file.info.inits)
    ):
        soabi = triplet = ""
    else:
        return None
    return ExtensionModule(name=name, soabi=soabi, triplet=triplet, file=file)


def _python_abi(file: ElfMember | BinaryMember) -> str | None:
    module = extension_module(file)
    return None if module is None else module.soabi


def _module_name(path: str) -> str:
    *folders, name = PurePosixPath(path).parts
    return folders[-1] if name == "__init__" and folders else name


def init_names(stem: str) -> dict[str, str]:
    """Return the functions that make a file a module (PEP 489, PEP 793) -> which hook it is."""
    ascii_name = stem.encode("punycode", "replace").decode("ascii").replace("-", "_")
    mark, name = ("", stem) if stem.isascii() else ("U", ascii_name)
    return {f"{hook}{mark}_{name}": hook for hook in ("PyInit", "PyModExport")}


def is_module_name(name: str) -> bool:
    """Whether a file is named like an extension module for Linux and a certain Python."""
    file = PurePosixPath(name).name
    return _SUFFIX.fullmatch(file.removeprefix(file.split(".", 1)[0])) is not None


def _is_module(elf: ElfMember) -> bool:
    """Whether auditwheel sees an extension module: it looks at symbols, not at the suffix."""
    stem = PurePosixPath(elf.name).name.split(".", 1)[0]
    return not {*init_names(stem), f"_cffi_pypyinit_{stem}"}.isdisjoint(elf.info.inits)


def _summary(elf: ElfMember) -> ElfFile:
    return ElfFile(
        file=elf.name,
        arch=elf.arch,
        libc=libc_of(elf),
        soname=elf.info.soname,
        needed=elf.info.needed,
        rpath=elf.info.runpath or elf.info.rpath,
        python_abi=_python_abi(elf),
        isa=elf.info.isa_level,
        torch_abi=torch_abi.torch_abi(elf.info),
    )


def _belongs(elf: ElfMember, libc: Libc, arch: Arch) -> bool:
    return elf.arch is arch and libc_of(elf) in {None, libc}


def _damage(found: Scan, *, for_others: bool) -> Iterator[Finding]:
    for name, why in found.unreadable.items():
        yield Finding(rule="zip-integrity", message=f"{name}: {why}")
    for name, why in found.malformed.items():
        yield Finding(rule="elf-malformed", message=f"{name} is not a sound ELF file: {why}")
    for name, why in found.unsound.items():
        message = f"{name} is not a sound file of macOS or Windows: {why}"
        # In other wheels it is data.
        severity = Severity.ERROR if for_others else Severity.WARNING
        yield Finding(rule="binary-malformed", message=message, severity=severity)


def _external(
    libraries: Sequence[tuple[str, tuple[str, ...]]],
    promise: str,
    patterns: Sequence[str],
    budget: Budget,
) -> Iterator[Finding]:
    """Yield the libraries that are outside of the wheel, and may not be."""
    budget.spend(len(libraries) * len(patterns), 0, "external libraries")
    for library, members in libraries:
        names = {library, PurePosixPath(library).name, external_libraries.soname(library)}
        if not any(external_libraries.allowed(name, patterns) for name in names):
            message = f"{first_of(members)} needs {library}, which is neither in the wheel nor "
            message += f"promised by {promise}: {_cure(library, promise)}"
            yield Finding(rule="external-library", message=message)


def _promise(observation: Observation) -> str:
    """Return what promises that a library is there."""
    return observation.policy.tag if observation.policy else f"any {observation.libc} tag"


def _cure(library: str, promise: str) -> str:
    if _LIBPYTHON.fullmatch(library):
        return (
            "do not link libpython, which many Pythons do not have: the interpreter that imports "
            "a module has its symbols (in CMake Python::Module and Development.Module; no "
            "python3-embed of pkg-config); a program that embeds Python needs a static one"
        )
    tool = _REPAIR.get(promise, "auditwheel repair")
    return (
        f"graft it ({tool}), or allow it if another package or the driver provides it "
        "(--external; in matrix.toml build.external)"
    )


def _unreachable(libraries: Iterable[UnreachableLibrary]) -> Iterator[Finding]:
    for each in libraries:
        message = (
            f"{each.needer} needs {each.library}, which is in the wheel as {each.file}, but no "
            "RPATH leads there"
        )
        if each.command:
            message += f": the command {each.command} cannot start"
            yield Finding(rule="library-unreachable", message=message)
        else:
            message += ": it is found only if something else has loaded it"
            yield Finding(rule="library-unreachable", message=message, severity=Severity.WARNING)
