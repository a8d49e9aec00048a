"""Say what a value was meant to be that is spelled as another tool spells it. Pure."""

from __future__ import annotations

import json
import re

from orchestrator.models.platforms import LEGACY_MANYLINUX, Arch, Libc
from orchestrator.models.python_tag import PythonTag

_ARCHES = {
    name: arch
    for arch in Arch
    for name in (
        *(*arch.facts.aliases, arch.facts.debian, arch.facts.oci, arch.facts.qemu),
        *(arch.facts.oci.removeprefix("linux/"), arch.facts.rust),
    )
} | {"x64": Arch.X86_64, "x86-64": Arch.X86_64, "x86": Arch.I686, "armv8": Arch.AARCH64}
"""What else an architecture is called."""

_LIBCS = {
    **dict.fromkeys(("glibc", "gnu", "linux", "libc"), Libc.MANYLINUX),
    **dict.fromkeys(("musl", "alpine"), Libc.MUSLLINUX),
}

_PLATFORM = re.compile(r"((?:many|musl)linux(?:\d+|_\d+_\d+)?)_(.+)")
_OTHER_SYSTEM = re.compile(r"(win|mac|darwin|osx|ios|android|pyodide|universal2)", re.IGNORECASE)
_PYTHON = re.compile(r"(?:c?py(?:thon)?)[-_]?3\.?(\d+)(t?)", re.IGNORECASE)

_ITSELF = re.compile(r"\$\{?(\w+)")
_HOST_NAMES = frozenset({"HOME", "PATH", "PWD", "USER", "TMPDIR"})


def value_hint(axis: str, value: str) -> str:
    """Return what a value of a built-in axis was meant to be; empty if nothing is like it."""
    if len(words := value.replace(",", " ").split()) > 1:
        return f"write a list, each value for itself: {axis} = {json.dumps(words)}"
    if axis == "python":
        found = _PYTHON.fullmatch(value)
        tag = PythonTag.match(f"cp3{found[1]}{found[2].lower()}") if found else None
        return f"did you mean '{tag}'?" if tag else ""
    if _OTHER_SYSTEM.match(value):
        return (
            f'{axis} is of Linux; an axis os = ["linux", "windows"] counts cells of other '
            "systems, which are not built here"
        )
    if axis == "libc":
        return _libc_hint(value)
    if found := _PLATFORM.fullmatch(value):
        return f"write arch = '{found[2]}' and libc = '{found[1]}'"
    arch = _ARCHES.get(value.lower())
    return f"did you mean '{arch}'?" if axis == "arch" and arch else ""


def _libc_hint(value: str) -> str:
    if value in LEGACY_MANYLINUX:
        major, minor = LEGACY_MANYLINUX[value]
        return f"write 'manylinux_{major}_{minor}', its name since PEP 600"
    if found := _PLATFORM.fullmatch(value):
        return f"write libc = '{found[1]}' and arch = '{found[2]}'"
    libc = _LIBCS.get(value.lower())
    return f"did you mean '{libc}'?" if libc else ""


def for_shell(text: str) -> str:
    """Return a value as a shell between double quotes takes it, where ``~`` is a character."""
    return re.sub(r"(^|:)~(?=/|:|$)", r"\1$HOME", text)


def means_shell(name: str, text: str) -> bool:
    """Whether a literal value of a variable can only be meant for a shell.

    It names itself, or what only the machine of the build knows. ``$ORIGIN`` is for the loader.
    """
    named = {found[1] for found in _ITSELF.finditer(text)}
    return bool(named & (_HOST_NAMES | {name}))
