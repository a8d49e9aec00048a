"""Locate the source; nothing is fetched or staged."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.errors import ConfigError, SourceError, clipped
from orchestrator.fsutil import OutsideError, read_beneath
from orchestrator.models.reading import toml_value
from orchestrator.source.declared import Declared, declared, table_of
from orchestrator.source.unpack import read_top

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class SourceKind(Enum):
    """What ``project.source`` may be."""

    DIRECTORY = "directory"
    SDIST = "sdist"
    REQUIREMENT = "requirement"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """Where the source comes from, before anything is fetched.

    Attributes:
        kind: directory, sdist or requirement.
        text: as written in matrix.toml.
        path: the directory or file; None for a requirement.
        name: PEP 503 name; empty if only a build can tell.
        version: static version; None if it is dynamic.
        declared: what it says about itself; nothing for a requirement that was never fetched.
        exclude: globs over paths of a directory, of what is no part of it.
    """

    kind: SourceKind
    text: str
    path: Path | None
    name: str
    version: str | None
    declared: Declared = field(default_factory=Declared)
    exclude: tuple[str, ...] = ()


def locate(text: str, *, base: Path, exclude: tuple[str, ...] = ()) -> SourceLocation:
    """Find the source that ``project.source`` names; nothing is fetched or built.

    Args:
        text: a directory, an sdist, or a pinned requirement.
        base: the directory of matrix.toml.
        exclude: globs over paths of a directory.

    Raises:
        SourceError: it is none of these, or has no build backend, or is no directory and something
            of it is excluded.
    """
    path = base / os.path.expanduser(text)  # noqa: PTH111 - Path's raises for an unknown user
    if os.path.isdir(path):  # noqa: PTH112 - Path's raises for a name that is too long
        identity = directory_identity(path)
        return SourceLocation(
            kind=SourceKind.DIRECTORY,
            text=text,
            path=path.resolve(),
            name=identity.name,
            version=identity.version,
            declared=identity.declared,
            exclude=exclude,
        )
    if exclude:
        _refuse("only a directory can be built without some of its files", where="project.exclude")
    if text.endswith((".tar.gz", ".zip")):
        return _locate_sdist(text, path)
    return _locate_requirement(text)


def _refuse(what: str, hint: str = "", where: str = "project.source") -> NoReturn:
    raise SourceError.of(what, where=where, hint=hint)


def _locate_sdist(text: str, path: Path) -> SourceLocation:
    if not os.path.isfile(path):  # noqa: PTH113 - Path's raises for a name that is too long
        _refuse(f"there is no file {text!r}", "paths are relative to matrix.toml")
    stem = path.name.removesuffix(".tar.gz").removesuffix(".zip")
    name, _, version = stem.rpartition("-")
    if not name:
        _refuse(f"{path.name!r} is not named like an sdist (PEP 625: name-version.tar.gz)")
    return SourceLocation(
        kind=SourceKind.SDIST,
        text=text,
        path=path.resolve(),
        name=_normalise(name),
        version=version,
        declared=sdist_says(path),
    )


def sdist_says(path: Path) -> Declared:
    """Return what an sdist says; nothing if it is damaged, which unpacking reports."""
    try:
        texts = read_top(path, ("pyproject.toml", "PKG-INFO"), limit=_LARGEST)
        tree = toml_value(texts.get("pyproject.toml", b""), where=str(path))
    except (SourceError, ConfigError):
        return Declared()
    headers = _headers(texts.get("PKG-INFO", b"").decode("utf-8", "replace"))
    found = declared(lambda _: "", tree)
    return replace(found, requires_python=headers.get("Requires-Python", found.requires_python))


def _locate_requirement(text: str) -> SourceLocation:
    from packaging import requirements  # noqa: PLC0415 - a directory does not need it

    try:
        requirement = requirements.Requirement(text)
        hash(requirement.specifier)  # versions are parsed late
    except ValueError:  # InvalidRequirement, or more digits than Python makes a number of
        requirement = None
    if requirement is None or "/" in text:
        _refuse(
            f"{text!r} is neither a directory, nor an sdist, nor a requirement",
            'for instance ".", "dist/thing-1.0.tar.gz" or "thing==1.0"',
        )
    name, specifier = requirement.name, requirement.specifier
    if requirement.extras or requirement.marker or requirement.url:
        _refuse(
            f"extras, markers and URLs mean nothing for a source: {text!r}",
            f'for instance "{name}{specifier}"',
        )
    pins = [s.version for s in specifier if s.operator == "=="]
    if len(pins) != 1 or len(specifier) != 1 or "*" in pins[0]:
        _refuse(
            f"there is no directory {text!r}, and as a requirement it is not pinned to one version",
            f'for instance "{name}==1.2.3"',
        )
    return SourceLocation(
        kind=SourceKind.REQUIREMENT,
        text=text,
        path=None,
        name=_normalise(name),
        version=pins[0],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a source tree says about its project: PEP 503 name, static version, and the rest."""

    name: str
    version: str | None
    declared: Declared


def directory_identity(root: Path) -> Identity:
    """Return the name and the static version of a source tree (PEP 621, PEP 643)."""
    tree = check_backend(root)
    project = table_of(tree, "project")
    found = declared(partial(text_or_nothing, root), tree)
    name, version = str(project.get("name", "")), project.get("version")
    if (root / "PKG-INFO").is_file():  # an unpacked sdist
        headers = _headers(read_text(root, "PKG-INFO", errors="replace"))
        name, version = name or headers.get("Name", ""), version or headers.get("Version")
        pythons = headers.get("Requires-Python", found.requires_python)
        found = replace(found, requires_python=pythons)
    name = name or (found.name if _NAME.fullmatch(found.name) else "")
    if name and not _NAME.fullmatch(name):
        what = f"{clipped(name)!r} is not the name of a project (PEP 508)"
        raise SourceError.of(what, where=str(root), hint="correct project.name in pyproject.toml")
    static = str(version) if version else None
    return Identity(name=_normalise(name), version=static, declared=found)


def _headers(text: str) -> Mapping[str, str]:
    from email.parser import HeaderParser  # noqa: PLC0415 - a checkout does not need it

    return dict(HeaderParser().parsestr(text).items())


def text_or_nothing(root: Path, name: str) -> str:
    """Return the text of a file that may say something; what cannot be read says nothing."""
    try:
        return read_text(root, name, errors="replace")
    except SourceError:
        return ""


_NAME = re.compile(r"[A-Z0-9]([A-Z0-9._-]{0,198}[A-Z0-9])?", re.IGNORECASE | re.ASCII)


def read_text(root: Path, name: str, *, errors: str = "strict") -> str:
    """Return the text of a file of a source tree; empty if there is none.

    Raises:
        SourceError: it is a link out of the tree, too large, or not UTF-8.
    """
    file = root / name
    if not os.path.lexists(file):
        return ""
    try:
        content = read_beneath(root, name, limit=_LARGEST + 1)
        if len(content) <= _LARGEST:
            return content.decode("utf-8", errors)
        what = f"has more than {_LARGEST >> 20} MiB"
    except OutsideError:
        what = "is a link that leads out of the source"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        what = f"is not UTF-8: {error.reason}"
    raise SourceError.of(what, where=str(file))


def read_toml(root: Path, name: str) -> dict[str, Any]:
    """Return a TOML file of a source tree; empty if there is none. Raises as `read_text` does."""
    try:
        return toml_value(read_text(root, name), where=str(root / name))
    except ConfigError as error:
        raise SourceError(*error.problems) from None


_LARGEST = 16 << 20
"""Bytes of the largest file of a source that is read for what it says about the project."""


def _normalise(name: str) -> str:
    """Normalise as PEP 503 says; `packaging.utils` imports half of the standard library for it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_backend(root: Path) -> dict[str, Any]:
    """Return pyproject.toml of a tree that has a build backend (PEP 517)."""
    file = root / "pyproject.toml"
    legacy = (root / "setup.py").is_file() or (root / "setup.cfg").is_file()
    if not file.is_file():
        if legacy:
            return {}
        _refuse(
            f"{root.name}/ has no build backend: neither pyproject.toml nor setup.py is there",
            "name the directory that holds pyproject.toml",
        )
    tree = read_toml(root, file.name)
    project = tree.get("project", {})
    if "build-system" not in tree and not project and not legacy:
        what = "has neither [build-system] nor [project], so there is no build backend"
        _refuse(what, where=str(file))
    return tree
