"""What the ELF files of one platform need, and which policies promise it.

Libraries of the wheel are found as auditwheel's ``lddtree`` finds them: by the loader's rules
(ld.so(8)) with two differences. The search paths of the file that is loaded first also apply to
what it loads, and this machine's libraries do not matter. Each file is where an installer puts it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import Reason, TagStep
from orchestrator.wheel.budget import TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.policy import Policy
    from orchestrator.wheel.scan import ElfMember

_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
# Symbols of Python's removed fpectl module, which no released Python has (PEP 513).
_PYFPE = frozenset({"PyFPE_jbuf", "PyFPE_dummy", "PyFPE_counter"})
_COMPILER = ("GLIBCXX", "CXXABI", "GCC")
_ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_LIBPYTHON = re.compile(r"libpython\d+\.\d+m?\.so(\.\d)*")
_NEEDS = "needed libraries"

_SITE = "lib/python/site-packages/"
_PLACES = {"scripts": "bin/", "data": "", "headers": "include/", "purelib": _SITE, "platlib": _SITE}
"""Directories of an environment (sysconfig's ``posix_prefix``), by directory of ``*.data``."""
_LIB = re.compile(r"lib(?:64)?/python3(?:\.\d+t?)?/")

_Tree = dict[str, "ElfMember | None"]
"""Library -> its file; None if it is not in the wheel."""


class ElfRequirements:
    """What the ELF files of one platform need together."""

    def __init__(
        self, elves: Sequence[ElfMember], is_module: Callable[[ElfMember], bool], budget: Budget
    ) -> None:
        """Collect the needs; `is_module` says which files are Python extension modules.

        Raises:
            OverBudgetError: they need one another in too many ways; all methods raise it.
        """
        self._budget = budget
        needed = {library for elf in elves for library in elf.info.needed}
        # auditwheel checks libraries, symbols and instructions of these only; what they load
        # counts as theirs.
        self._roots = [
            elf for elf in elves if is_module(elf) or PurePosixPath(elf.name).name not in needed
        ]
        self._versions = _version_reasons(elves)
        self._distinct = frozenset(reason.symbol_version for reason in self._versions)
        self._names = _files_by_name(elves)
        self._fpectl = tuple(_fpectl(self._roots))
        self._strong = {
            elf.name: frozenset({"*", *(s.name for s in elf.info.undefined if not s.weak)})
            for elf in self._roots
        }
        self._files = {installed(elf.name): elf for elf in elves}
        self._trees = [(root, _tree(root, self._files, budget)) for root in self._roots]
        reached = {elf.name for _, tree in self._trees for elf in tree.values() if elf}
        reached |= {elf.name for elf in self._roots}
        lonely = [elf for elf in elves if elf.name not in reached]
        more = ((elf, _tree(elf, self._files, budget)) for elf in lonely)
        self._all_trees = [*self._trees, *more]

    def obstacles(self, policy: Policy, candidates: Sequence[Policy]) -> Iterator[Reason]:
        """Iterate over all reasons why the files do not satisfy a policy."""
        yield from self.versions(policy)
        yield from self._forbidden(policy)
        yield from self._unpromised(policy, candidates)
        yield from self._instructions()

    def versions(self, policy: Policy) -> Iterator[Reason]:
        """Iterate over symbol versions that the policy does not have.

        As in auditwheel, they count even if the library is in the wheel: only the prefix of the
        version decides whether the policy applies.
        """
        # Thousands of reasons name a few dozen versions.
        bad = {version for version in self._distinct if not policy.allows_version(version)}
        if bad:
            self._budget.spend(len(self._versions), 0, "symbol versions")
            yield from (reason for reason in self._versions if reason.symbol_version in bad)

    def _forbidden(self, policy: Policy) -> Iterator[Reason]:
        """Iterate over symbols that the policy forbids of a library, and Python's fpectl."""
        for elf in self._roots:
            for library in dict.fromkeys(elf.info.needed):
                banned = policy.blacklist.get(library)
                if banned and (hits := banned & self._strong[elf.name]):
                    self._budget.spend(len(hits), 0, "forbidden symbols")
                    yield _reason(elf, library, "", hits)
        yield from self._fpectl

    def _unpromised(self, policy: Policy, candidates: Sequence[Policy]) -> Iterator[Reason]:
        """Iterate over libraries that only newer policies promise.

        A library that no policy promises is an external library, which no tag changes.
        """
        promised_later = promises(candidates) - policy.whitelist
        found = {
            (library, needer)
            for root, tree in self._trees
            for library, needer in _missing(root, tree, policy.whitelist, self._budget)
            if library in promised_later
        }
        for library, needer in sorted(found):
            yield Reason(file=needer, library=library, symbol_version="", symbols=())

    def _instructions(self) -> Iterator[Reason]:
        """Iterate over files that need more than baseline x86-64."""
        for elf in self._roots:
            if elf.info.isa_level:
                yield _reason(elf, "", elf.info.isa_level, ())

    def outside(self, whitelist: frozenset[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the libraries outside wheel and whitelist, and the files that need them."""
        return tuple(
            (library, tuple(sorted(needers)))
            for library, needers in self._missing(whitelist)
            if library not in self._names
        )

    def unreachable(self, whitelist: frozenset[str]) -> tuple[UnreachableLibrary, ...]:
        """Return the libraries that are in the wheel, but not where the loader looks for them."""
        return tuple(
            UnreachableLibrary(library, self._names[library], *_first(needers))
            for library, needers in self._missing(whitelist)
            if library in self._names
        )

    def _missing(self, whitelist: frozenset[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield each library, and the files that need it -> a command that loads them, or ""."""
        found: dict[str, dict[str, str]] = {}
        for root, tree in self._all_trees:
            command = root.name if _is_command(root) else ""
            for library, needer in _missing(root, tree, whitelist, self._budget):
                needers = found.setdefault(library, {})
                needers[needer] = needers.get(needer) or command
        yield from sorted(found.items())

    def glibc(self) -> tuple[int, int] | None:
        """Return the newest glibc version needed."""
        matches = (_GLIBC.fullmatch(reason.symbol_version) for reason in self._versions)
        return max(((int(m[1]), int(m[2])) for m in matches if m), default=None)

    def steps(self, candidates: Sequence[Policy], policy: Policy | None) -> tuple[TagStep, ...]:
        """Return the obstacles to each tag below the policy's (None is ``linux_*``), and remedies.

        The candidates are all policies, the oldest first.
        """
        below = candidates.index(policy) if policy else len(candidates)
        known: set[Reason] = set()
        steps = []
        for lower in reversed(candidates[:below]):
            found = set(self.obstacles(lower, candidates)) - known
            known |= found
            if found:
                reasons = tuple(sorted(found, key=lambda r: (r.library, r.symbol_version, r.file)))
                remedies = dict.fromkeys(_remedy(reason, lower) for reason in reasons)
                steps.append(TagStep(tag=lower.tag, reasons=reasons, remedies=tuple(remedies)))
        return tuple(steps)


class UnreachableLibrary(NamedTuple):
    """A library that is in the wheel, and that no run path leads to.

    Attributes:
        library: its name.
        file: it.
        needer: a file that needs it.
        command: the program of the user's PATH that loads that file; empty if there is none.
    """

    library: str
    file: str
    needer: str
    command: str


def installed(member: str) -> str:
    """Return where an installer puts a member, relative to the environment.

    The version in the path of site-packages is left out.
    """
    top, _, rest = member.partition("/")
    scheme, slash, path = rest.partition("/")
    if top.endswith(".data") and slash and scheme in _PLACES:
        return _PLACES[scheme] + path
    return _SITE + member


def _is_command(elf: ElfMember) -> bool:
    """Whether it is a program of the user's PATH: nothing loads libraries for it."""
    return bool(elf.info.interpreter) and posixpath.dirname(installed(elf.name)) == "bin"


def _first(needers: Mapping[str, str]) -> tuple[str, str]:
    """Return a file and the command that loads it, if any has one."""
    return min(needers.items(), key=lambda each: (not each[1], each[0]))


def promises(policies: Iterable[Policy]) -> frozenset[str]:
    """Return the libraries that any of the policies promises."""
    return frozenset().union(*(policy.whitelist for policy in policies))


def _version_reasons(elves: Sequence[ElfMember]) -> tuple[Reason, ...]:
    """Return a reason for each file and version that it needs, whatever the policy."""
    reasons = []
    for elf in elves:
        symbols: dict[tuple[str, str], set[str]] = {}
        for symbol in elf.info.undefined:
            if symbol.version:
                symbols.setdefault((symbol.library, symbol.version), set()).add(symbol.name)
        # A version may be listed more than once; each has all its symbols.
        listed = ((library, version) for library, some in elf.info.versions for version in some)
        for library, version in dict.fromkeys(listed):
            if not _is_loader(library):
                names = symbols.get((library, version), ())
                reasons.append(_reason(elf, library, version, names))
    return tuple(reasons)


def _fpectl(elves: Iterable[ElfMember]) -> Iterator[Reason]:
    for elf in elves:
        if hits := _PYFPE & {symbol.name for symbol in elf.info.undefined}:
            yield _reason(elf, "", "", hits)


def _reason(elf: ElfMember, library: str, version: str, symbols: Iterable[str]) -> Reason:
    return Reason(
        file=elf.name, library=library, symbol_version=version, symbols=tuple(sorted(symbols))
    )


def _remedy(reason: Reason, lower: Policy) -> str:
    """Return how to remove an obstacle to a policy."""
    if reason.symbol_version.startswith("x86-64"):
        return "compile for plain x86-64 (no -march), and choose faster code at run time"
    if reason.symbol_version:
        return _remedy_of_version(reason, lower)
    if not reason.library:
        return "build with a Python that has no fpectl"
    if reason.symbols:
        return f"link {reason.library} statically: its internal symbols are not the same everywhere"
    return f'graft {reason.library} into the wheel (repair = "auditwheel"), or link it statically'


def _remedy_of_version(reason: Reason, lower: Policy) -> str:
    prefix = reason.symbol_version.partition("_")[0]
    if prefix == "GLIBC":
        libc = ".".join(map(str, lower.version))
        return (
            f"build where glibc is {libc} or older: in an image of {lower.tag}, or with a sysroot "
            "of that age"
        )
    if prefix in _COMPILER:
        return (
            f"build with the compiler of an image of {lower.tag}, or link its runtime statically "
            "(-static-libstdc++ -static-libgcc)"
        )
    return f"link {reason.library} statically, or one as old as that of {lower.tag}"


def _search_paths(elf: ElfMember) -> tuple[str, ...]:
    """Return the directories of the environment in a file's RUNPATH, or else in its RPATH."""
    origin = posixpath.dirname(installed(elf.name)) or "."
    # The environment is "."; directories above it begin with "..".
    paths = (
        posixpath.normpath(_ORIGIN.sub(origin, path, count=1))
        for path in elf.info.runpath or elf.info.rpath
        if _ORIGIN.match(path)
    )
    return tuple(_LIB.sub("lib/python/", path, count=1) for path in paths)


def _tree(root: ElfMember, files: Mapping[str, ElfMember], budget: Budget) -> _Tree:
    """Return all that a file loads, directly or indirectly, of these: path in the wheel -> file.

    Raises:
        OverBudgetError: that costs too much.
    """
    found: _Tree = {}
    own = _search_paths(root)
    waiting = [(iter(root.info.needed), _folders(root, own, budget))]
    # The order in which auditwheel walks: each library's own needs come before the next library.
    while waiting:
        libraries, folders = waiting[-1]
        library = next(libraries, None)
        if library is None:
            waiting.pop()
        elif library not in found:
            length = sum(map(len, folders)) + len(folders) * len(library)
            budget.spend(len(folders) + length // TEXT_BYTES, length, _NEEDS)
            found[library] = hit = _find(library, folders, root, files)
            if hit is not None:
                waiting.append((iter(hit.info.needed), _folders(hit, own, budget)))
    return found


def _folders(elf: ElfMember, own: Iterable[str], budget: Budget) -> tuple[str, ...]:
    """Return the directories in which a file's needs are looked for."""
    paths = elf.info.runpath or elf.info.rpath
    budget.spend(len(elf.info.needed) + len(paths), sum(map(len, paths)), _NEEDS)
    return tuple(dict.fromkeys((*own, *_search_paths(elf))))


def _find(
    library: str, folders: Iterable[str], root: ElfMember, files: Mapping[str, ElfMember]
) -> ElfMember | None:
    if _LIBPYTHON.fullmatch(library):
        return None  # the Python that runs the wheel has it
    for folder in folders:
        hit = files.get(posixpath.normpath(posixpath.join(folder, library)))
        if hit is not None and _compatible(hit, root):
            return hit
    return None


def _compatible(one: ElfMember, other: ElfMember) -> bool:
    kinds = [(elf.info.machine, elf.info.bits, elf.info.little_endian) for elf in (one, other)]
    return kinds[0] == kinds[1]


def _missing(
    root: ElfMember, found: _Tree, whitelist: frozenset[str], budget: Budget
) -> Iterator[tuple[str, str]]:
    """Iterate over (library, file that needs it) if it is neither found nor promised.

    The needs of promised libraries do not count. OverBudgetError: there are too many needs.
    """
    waiting: list[ElfMember] = [root]
    seen: set[str] = set()
    while waiting:
        elf = waiting.pop()
        budget.spend(len(elf.info.needed), 0, _NEEDS)
        for library in elf.info.needed:
            if library in whitelist or _is_loader(library):
                continue
            hit = found.get(library)
            if hit is None:
                yield library, elf.name
            elif library not in seen:
                seen.add(library)
                waiting.append(hit)


def _is_loader(library: str) -> bool:
    """Whether a library is the dynamic loader, which every machine has."""
    return "ld-linux" in library or library in {"ld64.so.1", "ld64.so.2"}


def _files_by_name(elves: Sequence[ElfMember]) -> Mapping[str, str]:
    """Return file names and sonames -> the first file that has them."""
    found: dict[str, str] = {}
    for elf in elves:
        found.setdefault(posixpath.basename(elf.name), elf.name)
    for elf in elves:
        if elf.info.soname:
            found.setdefault(elf.info.soname, elf.name)
    return found
