"""Find the libraries that an ELF file loads from its wheel, as auditwheel's ``lddtree`` does.

The loader's rules (ld.so(8)) with auditwheel's two differences: the search paths of the file that
is loaded first also apply to what it loads, and this machine's libraries do not matter.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.wheel.scan import ElfMember

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


def tree(root: ElfMember, files: Mapping[str, ElfMember]) -> tuple[Tree, int]:
    """Return all that a file loads, directly or indirectly, and the number of needs.

    Args:
        root: the file that is loaded first.
        files: path in the wheel -> ELF file.
    """
    found: Tree = {}
    count = len(root.info.needed)
    own = search_paths(root)
    waiting = [(root, iter(root.info.needed))]
    # The order in which auditwheel walks: each library's own needs come before the next library.
    while waiting:
        elf, libraries = waiting[-1]
        library = next(libraries, None)
        if library is None:
            waiting.pop()
        elif library not in found:
            found[library] = hit = _find(library, (*own, *search_paths(elf)), root, files)
            if hit is not None:
                count += len(hit.info.needed)
                waiting.append((hit, iter(hit.info.needed)))
    return found, count


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


def missing(root: ElfMember, found: Tree, whitelist: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Iterate over (library, file that needs it) if it is neither found nor promised.

    The needs of promised libraries do not count.
    """
    waiting: list[ElfMember] = [root]
    seen: set[str] = set()
    while waiting:
        elf = waiting.pop()
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
