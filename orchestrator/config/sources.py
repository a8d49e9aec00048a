"""The sources a part of the version can come from, as matrix.toml writes them. Pure.

A source is only named here; `orchestrator.source.version_sources` asks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from orchestrator.errors import closest
from orchestrator.models.secret_names import is_secret


class VersionSourceKind(StrEnum):
    """What can be asked."""

    CONST = "const"
    ENV = "env"
    FILE = "file"
    ATTR = "attr"
    BACKEND = "backend"
    PYPROJECT = "pyproject"
    SCM = "scm"
    GIT = "git"
    CONTAINER_ENV = "container-env"
    CONTAINER_FILE = "container-file"

    @property
    def in_container(self) -> bool:
        """Whether an image has to be asked."""
        return self in {VersionSourceKind.CONTAINER_ENV, VersionSourceKind.CONTAINER_FILE}

    @property
    def outside(self) -> bool:
        """Whether anybody has to be asked: not for what the file or the source itself says."""
        return self not in {VersionSourceKind.CONST, VersionSourceKind.PYPROJECT}

    @property
    def costly(self) -> bool:
        """Whether asking takes more than a look, so that it is asked only when its turn comes."""
        alone = {VersionSourceKind.SCM, VersionSourceKind.BACKEND}
        return self in alone or self.in_container


ALONE = {
    *(VersionSourceKind.PYPROJECT, VersionSourceKind.SCM, VersionSourceKind.GIT),
    VersionSourceKind.BACKEND,
}
"""Kinds that need no argument."""

GIT_FACTS = ("hash", "date")
"""``git`` is ``git:hash``; the date is that of the commit, so it is the same in every job."""

PLACEHOLDERS = frozenset({"unknown", "undefined", "none", "null", "n/a"})
"""What CI systems and build scripts write where they know nothing; compared without case."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_KINDS = sorted(VersionSourceKind)
_VARIABLES = frozenset({VersionSourceKind.ENV, VersionSourceKind.CONTAINER_ENV})

LONGEST_VALUE = 200
"""Characters of the longest value that a source may have."""

_VALUE = re.compile(r"[A-Za-z0-9._+!-]*")
_ANGLED = re.compile(r"<[\w -]{0,30}>")


def usable(value: str) -> bool:
    """Whether what a source says may be a part of a version, or says that nothing is known.

    Anything else is not even shown: it may be a secret, or the contents of a file.
    """
    plain = len(value) <= LONGEST_VALUE and _VALUE.fullmatch(value) is not None
    return plain or value.lower() in PLACEHOLDERS or _ANGLED.fullmatch(value) is not None


def _is_below(path: str) -> bool:
    """Whether a path stays below the source, and is a part of it."""
    return not path.startswith("/") and not {"..", ".git"} & {*path.split("/")}


_EXAMPLES = {
    VersionSourceKind.ENV: "env:NAME",
    VersionSourceKind.FILE: "file:version.txt",
    VersionSourceKind.ATTR: "attr:package.__version__",
    VersionSourceKind.GIT: "git or git:date",
    VersionSourceKind.CONTAINER_ENV: "container-env:NAME",
    VersionSourceKind.CONTAINER_FILE: "container-file:/usr/local/cuda/version.json#cuda.version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSource:
    """A source, taken apart.

    ``keys`` is a path into a JSON or TOML file; ``pattern`` finds the value in any other one. With
    neither, it is the file's first line.
    """

    kind: VersionSourceKind
    argument: str
    keys: tuple[str, ...] = ()
    pattern: str = ""


def is_source(text: str) -> bool:
    """Whether a text starts as a source does; no version has a colon."""
    kind, colon, _ = text.partition(":")
    return kind in _KINDS and (bool(colon) or kind in ALONE)


@lru_cache(maxsize=1024)
def parse(text: str) -> VersionSource:
    """Take a source apart.

    Raises:
        ValueError: it is none; with what is wrong, in words.
    """
    word, colon, argument = text.partition(":")
    if word not in _KINDS:
        hint = closest(word, _KINDS)
        raise ValueError(f"{text!r} is not a source ({hint}); a fixed text is 'const:{text}'")
    kind = VersionSourceKind(word)
    keys: tuple[str, ...] = ()
    pattern = ""
    if kind in {VersionSourceKind.FILE, VersionSourceKind.CONTAINER_FILE}:
        argument, _, fragment = argument.partition("#")
        if "(" in fragment:
            pattern = _checked(fragment)
        else:
            keys = tuple(fragment.split(".")) if fragment else ()
    if kind is VersionSourceKind.FILE and not _is_below(argument):
        raise ValueError(f"{text!r} is outside the source (write {_EXAMPLES[kind]})")
    if kind in _VARIABLES and is_secret(argument):
        raise ValueError(
            f"{text!r} names a secret, and a version is in file names and logs; give it in a "
            "variable of another name"
        )
    if not _argument_ok(kind, argument, colon):
        raise ValueError(f"{text!r} is not a source (write {_EXAMPLES.get(kind, kind)})")
    return VersionSource(kind=kind, argument=argument, keys=keys, pattern=pattern)


def _checked(pattern: str) -> str:
    """Return a regular expression; raises ValueError if it is none."""
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if not compiled.groups:
        raise ValueError(f"{pattern!r} has no group (write 'VERSION = \"(.+)\"')")
    return pattern


def _argument_ok(kind: VersionSourceKind, argument: str, colon: str) -> bool:
    if kind in ALONE:
        return not colon or (kind is VersionSourceKind.GIT and argument in GIT_FACTS)
    if kind in _VARIABLES:
        return _ENV_NAME.fullmatch(argument) is not None
    if kind is VersionSourceKind.CONTAINER_FILE:
        return argument.startswith("/")
    if kind is VersionSourceKind.ATTR:
        return _DOTTED.fullmatch(argument) is not None
    return bool(colon) and (kind is VersionSourceKind.CONST or bool(argument))


def placeholder(value: str) -> bool:
    """Whether a value says that nothing is known: ``<unknown>``, ``none``, ..."""
    return value.lower() in PLACEHOLDERS or (value.startswith("<") and value.endswith(">"))
