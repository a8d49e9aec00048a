"""Rules of `verify` on the Mach-O and PE files of a wheel, and on files of another system.

Each rule is a function from a wheel to findings, as in `orchestrator.wheel.rules`.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from orchestrator.models.python_tag import PythonTag
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel.binary import BinaryKind
from orchestrator.wheel.binary_requirements import SYSTEM_FOLDERS
from orchestrator.wheel.binary_tags import (
    FIRST_ARM64,
    MACOS,
    WINDOWS,
    architectures,
    binary_tags,
    version_text,
)
from orchestrator.wheel.checked_wheel import few, finding
from orchestrator.wheel.pe import PYTHON_DLL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.wheel.binary_tags import BinaryTag
    from orchestrator.wheel.checked_wheel import CheckedWheel
    from orchestrator.wheel.scan import BinaryMember

_MODULES = (".pyd", "-darwin.so")
_LIBRARIES = (".dll", ".dylib")
_DEBUG = re.compile(
    r"(ucrtbase|vcruntime\d+(_1)?|msvcp\d+(_\w+)?|concrt\d+|vcomp\d+|mfc\d+u?|msvcr\d+)d\.dll",
    re.IGNORECASE,
)
"""The debug forms of Microsoft's libraries, which nobody may hand on."""
_MANGLED = re.compile(r"-[0-9a-f]{8,32}(?=(\.\d+)*\.(dll|dylib)$)")
"""What repair tools put into the name of a library that they graft."""


def named_as_binaries(subject: CheckedWheel) -> Iterator[Finding]:
    """Every file that is named like a module or library of macOS or Windows is one."""
    found = subject.found
    known = {*(each.name for each in found.binaries), *found.unsound, *found.unreadable}
    known |= {*(each.name for each in found.elves), *found.malformed}
    for member in subject.archive.members:
        name = member.filename
        if name.lower().endswith((*_MODULES, *_LIBRARIES)) and name not in known:
            message = f"{name} is named like a compiled file, but is none"
            severity = Severity.ERROR if name.endswith(_MODULES) else Severity.WARNING
            yield Finding(rule="binary-malformed", message=message, severity=severity)


def other_systems(subject: CheckedWheel) -> Iterator[Finding]:
    """No compiled file is for another system than the tags name, or in a wheel for all."""
    systems = _systems(subject)
    if not systems:
        return
    files: dict[str, str] = {each.name: each.info.system for each in _loaded(subject)}
    if "any" not in systems:
        files |= {each.name: "Linux" for each in subject.found.elves}
    modules = {module.file.name for module in subject.modules}
    programs = {each.name for each in _loaded(subject) if each.info.kind is BinaryKind.PROGRAM}
    strange = {name: system for name, system in files.items() if system not in systems}
    for name, system in strange.items():
        says = "any platform" if "any" in systems else " and ".join(sorted(systems))
        message = f"{name} is for {system}, the tag says {says}"
        # What runs elsewhere is data, if there is something for the right system too.
        data = name in programs or len(strange) < len(files)
        severity = Severity.WARNING if data and name not in modules else Severity.ERROR
        yield Finding(rule="other-system", message=message, severity=severity)


def machine(subject: CheckedWheel) -> Iterator[Finding]:
    """Every file has code for what the platform tags name: both halves of a universal2 wheel."""
    modules = {module.file.name for module in subject.modules}
    for system, tags in _tags(subject).items():
        files = _loaded(subject, system)
        needed = {_basename(name) for each in files for name in each.info.needed}
        by_file = architectures(files)
        subject.archive.budget.spend(len(tags) * len(by_file), 0, "tags and files")
        for tag in tags:
            fits = any(not tag.missing(arches) for arches in by_file.values())
            for name, arches in by_file.items():
                if missing := tag.missing(arches):
                    message = f"{name} is for {_listed(arches)}: {tag.tag} needs {_listed(missing)}"
                    # A helper for another machine is data.
                    used = name in modules or _basename(name) in needed or not fits
                    severity = Severity.ERROR if used else Severity.WARNING
                    yield Finding(rule="binary-machine", message=message, severity=severity)


def macos_version(subject: CheckedWheel) -> Iterator[Finding]:
    """No platform tag promises an older macOS than a file needs."""
    needs: defaultdict[tuple[tuple[int, int], str], list[str]] = defaultdict(list)
    for each in _loaded(subject, MACOS):
        if each.info.minimum:
            needs[each.info.minimum, each.info.arch].append(each.name)
    tags = _tags(subject).get(MACOS, ())
    subject.archive.budget.spend(len(tags) * len(needs), 0, "tags and versions")
    for tag in tags:
        arches = {arch for part in tag.parts for arch in part}
        for (minimum, arch), names in sorted(needs.items()):
            if arch in arches and minimum > tag.promised(arch):
                yield _too_new(tag, minimum, arch, names)


def _too_new(tag: BinaryTag, minimum: tuple[int, int], arch: str, names: list[str]) -> Finding:
    promised = tag.promised(arch)
    message = (
        f"{few(names)} needs macOS {version_text(minimum)} on {arch}, {tag.tag} promises "
        f"{version_text(promised)}: set MACOSX_DEPLOYMENT_TARGET for the build, or correct the "
        "tag (retag --platform-tag auto)"
    )
    # Since macOS 11 no tag says a minor version.
    same = minimum[0] == promised[0] >= FIRST_ARM64[0]
    severity = Severity.WARNING if same else Severity.ERROR
    return Finding(rule="macos-version", message=message, severity=severity)


def run_paths(subject: CheckedWheel) -> Iterator[Finding]:
    """No file that needs libraries by run path looks for them in a directory of a machine."""
    users: defaultdict[tuple[str, bool], dict[str, None]] = defaultdict(dict)
    for each in _loaded(subject, MACOS):
        uses = any(name.startswith("@rpath/") for name in each.info.needed)
        for path in each.info.rpath:
            if path.startswith("/") and not f"{path}/".startswith(SYSTEM_FOLDERS):
                users[path, uses][each.name] = None
    for (path, uses), names in users.items():
        message = f"the run path {path!r} of {few(list(names))} is absolute"
        message += "" if uses else ": nothing is looked for there (delocate-wheel can remove it)"
        severity = Severity.ERROR if uses else Severity.WARNING
        yield Finding(rule="absolute-rpath", message=message, severity=severity)


def signatures(subject: CheckedWheel) -> Iterator[Finding]:
    """Every file for macOS on arm64 is signed: the kernel ends what loads another one."""
    names = [
        each.name
        for each in _loaded(subject, MACOS)
        if each.info.arch.startswith("arm64") and not each.info.signed
    ]
    if names:
        message = f"{few(names)} is not signed: macOS on arm64 does not load it; sign it when all "
        yield finding("code-signature", message + "changes are made (codesign --force --sign -)")


def twice_the_same(subject: CheckedWheel) -> Iterator[Finding]:
    """No library is in the wheel twice: both may be loaded into one process."""
    modules = {module.file.name for module in subject.modules}
    copies: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for each in _loaded(subject):
        if each.info.kind is BinaryKind.LIBRARY and each.name not in modules:
            name = _MANGLED.sub("", _basename(each.name))
            copies[name, each.info.arch][each.name] = None
    for names in dict.fromkeys(tuple(names) for names in copies.values() if len(names) > 1):
        yield finding("duplicate-library", f"{few(names)} are the same library")


def debug_runtime(subject: CheckedWheel) -> Iterator[Finding]:
    """No file needs the debug forms of Microsoft's or Python's libraries, which users lack."""
    wanted = any(tag.abi.endswith("d") for tag in subject.archive.name.tags)
    for each in _loaded(subject, WINDOWS):
        for library in (*each.info.needed, *each.info.optional):
            python = PYTHON_DLL.fullmatch(library)
            if not wanted and (_DEBUG.fullmatch(library) or (python and python["debug"])):
                message = f"{each.name} needs {library}, of a debug build: build for release"
                yield finding("debug-runtime", message)


def python_dlls(subject: CheckedWheel) -> Iterator[Finding]:
    """Every file imports the DLL of a Python that the tags name; for the stable ABI python3.dll."""
    tags = {(tag.interpreter, tag.abi) for tag in subject.archive.name.tags}
    platforms = {tag.tag for tag in _tags(subject).get(WINDOWS, ())}
    modules = {module.file.name: module for module in subject.modules}
    for each in _loaded(subject, WINDOWS):
        module = modules.get(each.name)
        if platforms and module and module.triplet and module.triplet not in platforms:
            message = f"{each.name}: suffix says {module.triplet}, the tag {_listed(platforms)}"
            yield finding("python-abi", message)
        own = module.soabi if module else ""
        subject.archive.budget.spend(1 if own else len(tags), 0, "tags and files")
        allowed = _python_names({("", own)} if own else tags)
        for library in (*each.info.needed, *each.info.optional):
            name = library.casefold().replace("_d.dll", ".dll")
            if allowed and PYTHON_DLL.fullmatch(name) and name not in allowed:
                message = f"{each.name} imports {library}, expected {_listed(allowed)}"
                yield finding("python-abi", message)


def _python_names(tags: set[tuple[str, str]]) -> set[str]:
    """Return which of Python's DLLs a file may import; nothing if any Python will do."""
    names: set[str] = set()
    for interpreter, abi in tags:
        python = PythonTag.match(interpreter)
        own = re.fullmatch(r"(?:cp|cpython-)(3\d+)m?(t?)d?", abi)
        if own:
            names |= {f"python{own[1]}{own[2]}.dll", f"python3{own[2]}.dll"}
        elif abi in {"abi3", "abi3t"}:
            names.add(f"python{abi.removeprefix('abi')}.dll")
        elif abi.startswith("pypy"):
            names.add("libpypy3-c.dll")
        elif abi == "none" and python and python.implementation == "cpython":
            names |= {f"python3{python.minor}.dll", "python3.dll"}
        else:
            return set()
    return names


def _loaded(subject: CheckedWheel, system: str = "") -> list[BinaryMember]:
    """Return the files that something loads."""
    return [
        each
        for each in subject.found.binaries
        if each.info.loaded and (not system or each.info.system == system)
    ]


def _tags(subject: CheckedWheel) -> dict[str, list[BinaryTag]]:
    """Return system -> the platform tags that name it."""
    found: dict[str, list[BinaryTag]] = {}
    for tag in binary_tags(subject.archive.name):
        found.setdefault(tag.system, []).append(tag)
    return found


def _systems(subject: CheckedWheel) -> set[str]:
    """Return the systems that the tags name; nothing if one of them is not known."""
    tags = binary_tags(subject.archive.name)
    found = {tag.system for tag in tags} | ({"any"} & set(subject.platforms))
    found |= {"Linux"} if subject.linux_tags else set()
    known = len(tags) + len(subject.linux_tags) + subject.platforms.count("any")
    return found if known == len(subject.platforms) else set()


def _basename(library: str) -> str:
    return posixpath.basename(library).casefold()


def _listed(values: set[str] | list[str]) -> str:
    return ", ".join(sorted(values))


RULES: tuple[Callable[[CheckedWheel], Iterator[Finding]], ...] = (
    named_as_binaries,
    other_systems,
    machine,
    macos_version,
    run_paths,
    signatures,
    twice_the_same,
    debug_runtime,
    python_dlls,
)
"""All rules, in the order their findings are reported."""
