"""Rules of `verify` on the members of a wheel: names, licences, run paths, and the user's demands.

Each rule is a function from a wheel to findings, as in `orchestrator.wheel.rules`.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel import Finding, Severity
from orchestrator.models.words import count_of
from orchestrator.wheel import gpu_report, sbom
from orchestrator.wheel.checked_wheel import few, finding, parsed_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.checked_wheel import CheckedWheel

LARGEST = 10
"""Members that the message names when a wheel is too large."""

_LICENCE = re.compile(r"(un)?licen[cs]e|copying|copyright|notice|authors", re.IGNORECASE)
_SYSTEM_FOLDERS = ("/lib/", "/lib64/", "/opt/", "/usr/")
_ORIGIN = re.compile(r"\$(ORIGIN\b|\{ORIGIN\})")


def collisions(subject: CheckedWheel) -> Iterator[Finding]:
    """No two members have names that differ in case only."""
    folded: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(member.filename for member in subject.archive.members):
        folded[name.casefold()].append(name)
    for same in folded.values():
        if len(same) > 1:
            yield finding(
                "case-collision",
                f"{few(same)} differ in case only: some file systems keep one of them",
            )


def licences(subject: CheckedWheel) -> Iterator[Finding]:
    """The licence files that METADATA names exist (PEP 639), and some file looks like a licence."""
    info = subject.archive.dist_info
    inside = {
        member.filename.removeprefix(f"{info}/")
        for member in subject.archive.members
        if member.filename.startswith(f"{info}/")
    }
    named = subject.metadata.get_all("License-File", []) if subject.metadata else []
    for name in map(str.strip, named):
        # Before PEP 639 backends put them beside METADATA, or without their directories.
        places = {f"licenses/{name}", name, f"license_files/{name}", PurePosixPath(name).name}
        if not places & inside:
            message = f"METADATA names the licence file {name}, which is not in {info}"
            yield finding("licence-missing", message)
    if not any(_LICENCE.match(PurePosixPath(name).name) for name in inside):
        yield finding("no-licence", f"{info} has no licence file")


def software_bills(subject: CheckedWheel) -> Iterator[Finding]:
    """CycloneDX files (PEP 770) can be read and describe this version."""
    version = subject.archive.name.version
    for name in sbom.files_of(subject.archive):
        try:
            bill = sbom.read(subject.archive, name)
        except BadWheelError as error:
            yield finding("sbom", error.problems[0].what)
            continue
        stated = sbom.version_of(bill or {}, subject.archive.name.name)
        if stated is not None and parsed_version(stated) != version:
            yield finding("sbom", f"{name} says version {stated}, the file name says {version}")


def run_paths(subject: CheckedWheel) -> Iterator[Finding]:
    """No ELF file looks for libraries in a directory of the build machine."""
    users: defaultdict[str, list[str]] = defaultdict(list)
    for elf in subject.found.elves:
        for path in dict.fromkeys((*elf.info.rpath, *elf.info.runpath)):
            if not _ORIGIN.match(path):
                users[path].append(elf.name)
    for path, names in users.items():
        where = "absolute" if path.startswith("/") else "relative to the current directory"
        message = f"the RPATH {path!r} of {few(names)} is {where}"
        # Only administrators write there, and auditwheel leaves it where it grafts nothing.
        harmless = f"{posixpath.normpath(path)}/".startswith(_SYSTEM_FOLDERS)
        severity = Severity.WARNING if harmless else Severity.ERROR
        yield Finding(rule="absolute-rpath", message=message, severity=severity)


def size_budget(subject: CheckedWheel) -> Iterator[Finding]:
    """The wheel is no larger than the user allows."""
    budget = subject.demands.size_budget
    if budget is None or subject.size <= budget:
        return
    by_size = sorted(subject.archive.members, key=lambda m: (-m.compress_size, m.filename))
    largest = ", ".join(
        f"{member.filename} ({_megabytes(member.compress_size)})" for member in by_size[:LARGEST]
    )
    message = f"{_megabytes(subject.size)}, {_megabytes(budget)} allowed; largest: {largest}"
    code = sorted(gpu_report.device_code(subject.found.devices), key=lambda each: -each.size)
    if code:
        archs = ", ".join(f"{each.arch} ({_megabytes(each.size)})" for each in code[:LARGEST])
        message += f"; code for GPUs, before it is deflated: {archs}"
    yield finding("size-budget", message)


def required_files(subject: CheckedWheel) -> Iterator[Finding]:
    """The members that the user requires exist."""
    names = [member.filename for member in subject.archive.members]
    for pattern in subject.demands.required:
        if not any(fnmatchcase(name, pattern) for name in names):
            yield finding("required-file", f"no member matches {pattern}")


def stray_paths(subject: CheckedWheel) -> Iterator[Finding]:
    """No member contains a text that the user forbids."""
    wanted = [(text, text.encode()) for text in subject.demands.build_paths if text]
    if not wanted:
        return
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for member in subject.archive.members:
        if member.filename not in subject.found.unreadable:
            for text in _held(subject.archive, member.filename, wanted):
                holders[text].append(member.filename)
    for text, names in holders.items():
        yield finding("build-path", f"{text} is in {few(names)}")


def _held(archive: WheelArchive, name: str, wanted: list[tuple[str, bytes]]) -> list[str]:
    """Return the texts that a member contains; one may begin in a chunk and end in the next."""
    left = dict(wanted)
    overlap = max(len(needle) for needle in left.values()) - 1
    tail = b""
    seen = []
    for chunk in archive.chunks(name):
        window = tail + chunk
        for text in [text for text, needle in left.items() if needle in window]:
            seen.append(text)
            del left[text]
        if not left:
            break
        tail = window[-overlap:] if overlap else b""
    return seen


def _megabytes(size: int) -> str:
    return f"{size / 10**6:.1f} MB" if size >= 10**5 else count_of(size, "byte")


RULES: tuple[Callable[[CheckedWheel], Iterator[Finding]], ...] = (
    collisions,
    licences,
    software_bills,
    run_paths,
    size_budget,
    required_files,
    stray_paths,
)
"""All rules, in the order their findings are reported."""
