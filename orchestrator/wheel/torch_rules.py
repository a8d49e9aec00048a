"""Rules of `verify` on libtorch: which of its ABIs a wheel uses, and which torch it serves.

Each rule is a function from a wheel to findings, as in `orchestrator.wheel.rules`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel import requires
from orchestrator.wheel.checked_wheel import few, finding, parsed_version
from orchestrator.wheel.torch_abi import (
    FIRST,
    newest_known,
    stable_names,
    torch_abi,
    unstable_names,
    uses_torch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.wheel.checked_wheel import CheckedWheel
    from orchestrator.wheel.elf import ElfInfo

_TORCH_LABEL = re.compile(r"(?<![a-z])torch\d")
_COPY = re.compile(r"torch[-_]?(\d)\.?(\d{1,2})(?!\.?\d)")
"""What names the torch of a file where there is one for each: ``torch-2.10/``, ``torch210``."""
_ABI_LABEL = re.compile(r"cxx11abi(true|false)")
_CLAUSE = 2
"""Steps that it takes to compare a version with a clause."""
_SERIES = tuple(Version(f"2.{minor}") for minor in range(40))
"""Versions of torch, with some that nobody has made yet."""


def torch_label(subject: CheckedWheel) -> Iterator[Finding]:
    """What label and cell say about torch and its C++ ABI is what the symbols say."""
    label = subject.archive.name.version.local or ""
    match = _ABI_LABEL.search(label)
    planned = subject.expected.cxx11abi if subject.expected else None
    want = match[1] == "true" if match else planned
    uses = any(uses_torch(each.info) for each in subject.found.binaries)
    for elf in subject.found.elves:
        abi = torch_abi(elf.info)
        uses |= uses_torch(elf.info)
        other = {True: "c++ (pre-cxx11)", False: "c++ (cxx11)", None: ""}[want]
        if abi and abi == other:
            says = f"the label says {match[0]}" if match else f"planned with cxx11abi={want}"
            message = f"{says}, but {elf.name} uses libtorch's {abi}, as in {_sample(elf.info)}"
            yield finding("torch-abi", message)
    if _TORCH_LABEL.search(label) and subject.modules and not uses:
        message = f"the label says {label}, but no file uses libtorch: one wheel may serve all"
        yield Finding(rule="torch-abi", message=message, severity=Severity.WARNING)


def _copies(subject: CheckedWheel) -> dict[str, Version]:
    """Return file -> the torch that its path names, if there are files for several torches."""
    named = {
        elf.name: Version(f"{match[1]}.{match[2]}")
        for elf in subject.found.elves
        if (match := _COPY.search(elf.name)) and unstable_names(elf.info)
    }
    return named if len(set(named.values())) > 1 else {}


def _sample(info: ElfInfo) -> str:
    names = unstable_names(info)
    return next((name for name in names if "__cxx11" in name or "Ss" in name), names[0])


def torch_stable(subject: CheckedWheel) -> Iterator[Finding]:
    """A wheel serves the torches that it is planned for, and that its METADATA allows."""
    floor = subject.expected.torch_stable if subject.expected else ""
    allowed = _allowed(subject)
    copies = _copies(subject)
    if copies and (without := [each for each in allowed if each not in copies.values()]):
        each = ", ".join(map(str, sorted(set(copies.values()))))
        yield _warning(f"METADATA allows torch {without[0]}, but there are files for {each} alone")
    for elf in subject.found.elves:
        if elf.name in copies and not floor:
            continue
        if names := unstable_names(elf.info):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            used = f"{elf.name} uses {names[0]}{more}"
            if floor:
                message = f"planned for libtorch's stable ABI, but {used}"
                yield finding("torch-stable", message)
            elif len(allowed) > 1:
                message = f"METADATA allows torch {allowed[0]} and later ones, but {used}, which "
                message += (
                    "differ between torches: pin the torch of the build, or use the stable ABI"
                )
                yield _warning(message)
                return
        else:
            yield from _too_new(elf.name, stable_names(elf.info), floor, allowed)


def _too_new(
    file: str, names: dict[str, str], floor: str, allowed: list[Version]
) -> Iterator[Finding]:
    """Yield what a file uses of a later stable ABI than the lowest torch has that it is for."""
    lowest = parsed_version(floor) or min(allowed, default=None)
    if unknown := [name for name, torch in names.items() if not torch]:
        message = f"{file} uses {few(unknown)}: not in the stable ABI of any torch up to "
        yield _warning(message + newest_known())
    # Of a function of the first torch that promises anything nobody says when it came.
    later = {
        name: torch
        for name, torch in names.items()
        if torch and lowest and Version(torch) > max(lowest, FIRST)
    }
    if later:
        says = (
            f"planned for torch {floor} and later" if floor else f"METADATA allows torch {lowest}"
        )
        shown = few([f"{name} (torch {torch})" for name, torch in later.items()])
        cure = "compile with TORCH_TARGET_VERSION of the lowest torch, or require a later one"
        yield finding("torch-stable", f"{says}, but {file} uses {shown}: {cure}")


def _allowed(subject: CheckedWheel) -> list[Version]:
    """Return the torches that METADATA allows, lowest first; none if it names no lowest one."""
    stated = subject.metadata.get_all("Requires-Dist", []) if subject.metadata else []
    found = [
        requirement.specifier
        for requirement in filter(None, map(requires.parsed, map(str, stated)))
        if requirement.name.lower() == "torch" and "extra" not in str(requirement.marker)
    ]
    if not any(map(str, found)):
        return []
    clauses = sum(map(len, found))
    subject.archive.budget.spend(clauses * len(_SERIES) * _CLAUSE, 0, "requirements")
    return [each for each in _SERIES if all(one.contains(each) for one in found)]


def _warning(message: str) -> Finding:
    return Finding(rule="torch-stable", message=message, severity=Severity.WARNING)


RULES: tuple[Callable[[CheckedWheel], Iterable[Finding]], ...] = (torch_label, torch_stable)
"""All rules, in the order their findings are reported."""
