"""Rules of `verify` on what pip and uv refuse to install, each of them or both.

Each rule is a function from a wheel to findings, as in `orchestrator.wheel.rules`.
``tests/tools/test_installers.py`` runs both on each kind of wheel.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel.checked_wheel import few, finding
from orchestrator.wheel.elf_requirements import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.wheel.checked_wheel import CheckedWheel

SCHEMES = ("data", "headers", "platlib", "purelib", "scripts")
"""Directories of a ``*.data`` directory (binary distribution format)."""

_GROUPS = frozenset({"console_scripts", "gui_scripts"})
_REFERENCE = re.compile(r"\w+(\.\w+)*:\w[\w.-]*(\s*\[\s*[\w-]+(,\s*\w+)*\s*\])?")
"""What both installers take as the value of a command."""

_LONGEST_NAME = 255
"""Bytes of a file's name, at most, on the file systems of Linux."""

_OBJECT = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")
"""What Python 3.15 and newer take as the value of an entry point."""

_RESERVED = re.compile(
    r"(pythonw?|python3|graalpy|pypy[23]?|python3\.\d{1,3}|pythonw?3\.\d{1,3}t)(\.py)?"
)
"""Commands that uv refuses: they would replace an environment's interpreter."""


def data_directories(subject: CheckedWheel) -> Iterator[Finding]:
    """What is in data directories has a place to be installed to, and one of its own."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(member.filename for member in subject.archive.members):
        top, _, rest = name.partition("/")
        if top.endswith(".data") and (why := _misplaced(rest)):
            kinds.setdefault(why, []).append(name)
    for why, names in kinds.items():
        yield finding("data-layout", f"{few(names)}: {why}")
    yield from _collisions(subject)


def member_names(subject: CheckedWheel) -> Iterator[Finding]:
    """No name has a character that nobody sees."""
    for member in subject.archive.members:
        if hidden := _hidden(member.filename):
            message = f"{member.filename!a} has {hidden} in its name: uv refuses the wheel"
            yield finding("data-layout", message)


def _hidden(name: str) -> str:
    """Return the first control, format or private character (``U+202E``); empty without one."""
    found = (each for each in name if unicodedata.category(each) in {"Cc", "Cf", "Co"})
    return next((f"U+{ord(each):04X}" for each in found), "")


def _misplaced(path: str) -> str:
    """Return why what is at this place of a data directory is refused; empty if it is not."""
    scheme, slash, rest = path.partition("/")
    if not slash:
        known = ", ".join(SCHEMES)
        return f"a file in no directory of a data directory ({known}): pip refuses the wheel"
    if scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        return f"{scheme} is no directory of a data directory ({known}): pip and uv refuse it"
    if scheme == "scripts" and "/" in rest:
        return "scripts has a directory: uv refuses the wheel"
    return ""


def _collisions(subject: CheckedWheel) -> Iterator[Finding]:
    """No file is installed to where another one needs a directory."""
    names = [member.filename for member in subject.archive.members]
    if not any(name.partition("/")[0].endswith(".data") for name in names):
        return  # the archive has been checked for this
    # "\0" sorts before all that a name may have: what is in a directory follows it at once.
    places = sorted((installed(name).replace("/", "\0"), name) for name in names)
    for (upper, one), (lower, other) in pairwise(places):
        if lower.startswith(upper + "\0"):
            message = f"{one} is installed to where {other} needs a directory: pip and uv fail"
            yield finding("data-layout", message)


def entry_points(subject: CheckedWheel) -> Iterator[Finding]:
    """The entry points can be read, and each command names a function."""
    place = f"{subject.archive.dist_info}/entry_points.txt"
    if place not in subject.archive:
        return
    try:
        content = subject.archive.read(place)
        subject.archive.budget.text(len(content), place)
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield finding("entry-points", f"entry_points.txt is not UTF-8: {error}")
        return
    except BadWheelError:
        return  # `zip-integrity` says so
    if text.startswith("\ufeff"):
        yield finding("entry-points", "entry_points.txt begins with a byte-order mark: uv fails")
        text = text[1:]
    yield from _lines(text)


def _lines(text: str) -> Iterator[Finding]:
    """Read the lines as both installers do: the strictest reading of each counts."""
    section: str | None = None
    groups = {f"[{group}]" for group in _GROUPS} & {*map(str.strip, text.splitlines())}
    seen: set[tuple[str, str | None]] = set()
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        where = f"entry_points.txt, line {number}"
        if not line or line.startswith("#") or (line.startswith(";") and "=" in line):
            continue
        name, equals, value = map(str.strip, line.partition("="))
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
            key: tuple[str, str | None] = section, None
        elif section is None:
            if not line.startswith(";"):
                yield finding("entry-points", f"{where}: {line!r} is in no [section]: uv fails")
            continue
        elif not equals:
            yield finding("entry-points", f"{where}: {line!r} is not 'name = module:function'")
            continue
        else:
            key = (section, name)
            # For uv, every section has what [DEFAULT] has.
            is_command = section in _GROUPS or (section == "DEFAULT" and bool(groups))
            yield from _entry(where, name, value, is_command=is_command)
        if key in seen:
            yield finding("entry-points", f"{where}: {line!r} is there twice: uv fails")
        seen.add(key)


def _entry(where: str, name: str, value: str, *, is_command: bool) -> Iterator[Finding]:
    if is_command:
        if name.startswith("[") or not name:
            yield finding("entry-points", f"{where}: {name!r} is not a name: pip fails")
        elif not _REFERENCE.fullmatch(value):
            message = f"{where}: the command {name} is {value!r}, not 'module:function'"
            yield finding("entry-points", message)
        if why := _bad_command(name):
            yield finding("script-name", f"{where}: {why}")
    elif not _OBJECT.fullmatch(value):
        message = f"{where}: {value!r} is not 'module:object': pip fails on Python 3.15 and newer"
        yield Finding(rule="entry-points", message=message, severity=Severity.WARNING)


def _bad_command(name: str) -> str:
    """Return why a command cannot have this name; empty if it can."""
    path = posixpath.normpath(name)
    if path in {".", ".."} or path.startswith(("../", "/")):
        return f"the command {name!r} leads out of the directory of commands: pip and uv refuse it"
    if (hidden := _hidden(name)) == "U+0000" or len(name.encode()) > _LONGEST_NAME:
        what = hidden or f"more than {_LONGEST_NAME} bytes"
        return f"the command {name[:40]!a} has {what}: pip and uv cannot write the file"
    if "/" in path:
        return f"the command {name!r} is in a directory below that of commands: uv fails"
    if _is_reserved(path):
        return f"the command {name!r} would replace an interpreter: uv refuses it"
    return ""


def _is_reserved(name: str) -> bool:
    match = _RESERVED.fullmatch(name.lower())
    return match is not None and all(int(part) < 256 for part in re.findall(r"\.(\d+)", name))  # noqa: PLR2004 - uv reads a byte


def script_names(subject: CheckedWheel) -> Iterator[Finding]:
    """No file is installed in place of an interpreter."""
    for member in subject.archive.members:
        folder, _, name = installed(member.filename).rpartition("/")
        if folder == "bin" and _is_reserved(name.lower().removesuffix(".exe")):
            message = f"{member.filename} would replace an interpreter: uv refuses it"
            yield finding("script-name", message)


RULES: tuple[Callable[[CheckedWheel], Iterator[Finding]], ...] = (
    data_directories,
    member_names,
    entry_points,
    script_names,
)
"""All rules, in the order their findings are reported."""
