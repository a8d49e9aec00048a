"""Find the libraries that an ELF file loads from its wheel, as auditwheel's ``lddtree`` does.

The loader's rules (ld.so(8)) with auditwheel's two differences: the search paths of the file that
is loaded first also apply to what it loads, and this machine's libraries do not matter.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from orchestrator.wheel.budget import TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.wheel.budget import Budget
    from orchestrator.wheel.scan import ElfMember

_NEEDS = "needed libraries"
_ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_LIBPYTHON = re.compile(r"libpython\d+\.\d+m?\.so(\.\d)*")

Tree = dict[str, "ElfMember | None"]
"""Library -> its file; None if it is not in the wheel."""


def search_paths(elf: ElfMember) -> tuple[str, ...]:
    """Return the directories of the wheel in a file's RUNPATH, or else in its RPATH."""
    origin = posixpath.dirname(elf.name) or "."
    # The root of the wheel is "."; directories above it begin with "..".
    return tuple(
        posixpath.normpath(_ORIGIN.sub(origin, path, count=1))
        for path in elf.info.runpath or elf.info.rpath
        if _ORIGIN.match(path)
    )


def tree(root: ElfMember, files: Mapping[str, ElfMember], budget: Budget) -> Tree:
    """Return all that a file loads, directly or indirectly, of these: path in the wheel -> file.

    Raises:
        OverBudgetError: that costs too much.
    """
    found: Tree = {}
    own = search_paths(root)
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
    return tuple(dict.fromkeys((*own, *search_paths(elf))))


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


def missing(
    root: ElfMember, found: Tree, whitelist: frozenset[str], budget: Budget
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
            if library in whitelist or is_loader(library):
                continue
            hit = found.get(library)
            if hit is None:
                yield library, elf.name
            elif library not in seen:
                seen.add(library)
                waiting.append(hit)


def is_loader(library: str) -> bool:
    """Whether a library is the dynamic loader, which every machine has."""
    return "ld-linux" in library or library in {"ld64.so.1", "ld64.so.2"}


def names(elves: Sequence[ElfMember]) -> Mapping[str, str]:
    """Return file names and sonames -> the first file that has them."""
    found: dict[str, str] = {}
    for elf in elves:
        found.setdefault(posixpath.basename(elf.name), elf.name)
    for elf in elves:
        if elf.info.soname:
            found.setdefault(elf.info.soname, elf.name)
    return found
