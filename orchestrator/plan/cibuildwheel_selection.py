"""Which identifiers cibuildwheel itself would build.

Its options ``build``, ``skip``, ``enable`` and ``archs`` decide, and ``requires-python``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from packaging.specifiers import SpecifierSet

from orchestrator.models.python_tag import PythonTag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.target import CibuildwheelCatalog, Source

PLATFORM = "linux"

_MACHINES = frozenset({"auto", "auto32", "auto64", "all", "native"})
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST = 1000
"""Patterns that an option may stand for; braces multiply. Those of large projects are 200."""

_NARROWER = {"x86_64": "i686"}
"""Architecture -> the 32-bit one of ``auto32``; an arm64 runner cannot be asked for armv7l."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CibuildwheelSelection:
    """What a project's table, and variables, select.

    Attributes:
        build: patterns of identifiers, separated by blanks.
        skip: patterns of those that are not built.
        enable: groups of identifiers that are not built otherwise.
        archs: architectures, or ``auto``, ``native``, ``all``, ``auto32``, ``auto64``.
    """

    build: str = "*"
    skip: str = ""
    enable: frozenset[str] = frozenset()
    archs: tuple[str, ...] = ("auto",)

    @classmethod
    def of(cls, table: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> Self:
        """Return what ``[tool.cibuildwheel]`` says, and ``CIBW_*`` variables instead of it."""
        variables = variables or {}
        inner = table.get(PLATFORM)
        both = {**table, **(inner if isinstance(inner, dict) else {})}

        def option(name: str) -> str:
            return variables.get(f"CIBW_{name.upper()}", joined(both.get(name, "")))

        archs = variables.get("CIBW_ARCHS_LINUX") or variables.get("CIBW_ARCHS")
        archs = archs or joined(both.get("archs", ""))
        enable = (joined(both.get("enable", "")), variables.get("CIBW_ENABLE", ""))
        return cls(
            build=option("build") or "*",
            skip=option("skip"),
            enable=frozenset(chain.from_iterable(each.split() for each in enable)),
            archs=tuple(re.split(r"[\s,]+", archs.strip())) if archs.strip() else ("auto",),
        )

    def architectures(self, native: str, catalog: CibuildwheelCatalog) -> frozenset[str]:
        """Return the architectures; ``native`` is that of the machine that would build."""
        known = {each.lower(): each for each in catalog.aliases}
        named = {
            "auto": {native},
            "native": {native},
            "auto64": {native},
            "auto32": {_NARROWER[native]} if native in _NARROWER else set(),
            "all": set(known.values()),
        }
        values = [named.get(each, {known.get(each.lower(), each)}) for each in self.archs]
        return frozenset(set().union(*values) & set(known.values()))

    def identifiers(
        self, catalog: CibuildwheelCatalog, *, requires_python: str, native: str
    ) -> frozenset[str]:
        """Return what it would build.

        Args:
            catalog: what the locked cibuildwheel knows.
            requires_python: the project's; what is no specifier limits nothing.
            native: the architecture of the machine that would build.
        """
        archs = self.architectures(native, catalog)
        pythons = {tag for tag in catalog.pythons if allows(requires_python, tag)}
        return frozenset(
            each
            for each in catalog.identifiers
            if each.partition("-")[0] in pythons
            and _arch_of(each) in archs
            and self._takes(each, catalog)
        )

    def selects(self, identifier: str, catalog: CibuildwheelCatalog) -> bool:
        """Whether an identifier is selected where the architectures are the machine's to say."""
        return self._takes(identifier, catalog) and (
            not self.fixed_archs or _arch_of(identifier) in self.archs
        )

    @property
    def fixed_archs(self) -> bool:
        """Whether the architectures are named, whatever the machine is."""
        return _MACHINES.isdisjoint(self.archs)

    def _takes(self, identifier: str, catalog: CibuildwheelCatalog) -> bool:
        group = catalog.groups.get(identifier.partition("-")[0], "")
        return (
            (not group or group in self.enable or "all" in self.enable)
            and matches(self.build, identifier)
            and not matches(self.skip, identifier)
        )

    def names(self, python: str) -> bool:
        """Whether ``build`` names a Python, instead of taking in what there is."""
        return any(each.partition("-")[0] == python for each in _patterns(self.build))


def _arch_of(identifier: str) -> str:
    """``gp312_250-manylinux_x86_64`` -> ``x86_64``."""
    return identifier.partition("-")[2].partition("_")[2]


def allows(requires_python: str, python: str, *, patch: int = 99) -> bool:
    """Whether ``requires-python`` allows a Python; as cibuildwheel, by its last patch release.

    What is no specifier allows all: a note of the plan says so.
    """
    specifier = parsed_specifier(requires_python)
    version = f"{PythonTag.parse(python).version}.{patch}"
    return specifier is None or specifier.contains(version)


def parsed_specifier(text: str) -> SpecifierSet | None:
    """Return a specifier (PEP 440); None for what is none."""
    try:
        specifier = SpecifierSet(text)
        specifier.contains("3")  # reads the numbers
    except ValueError:  # InvalidSpecifier, or more digits than Python makes a number of
        return None
    return specifier


def matches(patterns: str, identifier: str) -> bool:
    """Whether one of the patterns, separated by blanks, means an identifier."""
    return any(fnmatchcase(identifier, pattern) for pattern in _patterns(patterns))


def options_for(source: Source, identifier: str) -> tuple[str, ...]:
    """Return what a project's ``[tool.cibuildwheel]`` sets for an identifier, with overrides."""
    mine = (names for select, names in source.own_overrides if matches(select, identifier))
    return tuple(sorted({*source.own_options, *chain.from_iterable(mine)}))


def joined(value: object) -> str:
    """Return what an option lists, an array or words, as words."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@lru_cache(maxsize=256)
def _patterns(text: str) -> tuple[str, ...]:
    found = [each for pattern in text.split()[:_MOST] for each in _expanded(pattern)]
    return tuple(found[:_MOST])


def _expanded(pattern: str, most: int = _MOST) -> list[str]:
    """Expand braces as a shell does: ``cp{39,310}-*``, ``cp3{10..12}-*``."""
    done, pending = list[str](), [pattern]
    while pending and len(done) + len(pending) < most:
        here = pending.pop()
        match = _BRACES.search(here)
        if match is None:
            done.append(here)
            continue
        span = _RANGE.fullmatch(match[1])
        if span:
            first, last = sorted((int(span[1]), int(span[2])))
            choices = [str(each) for each in range(first, min(last, first + most) + 1)]
        else:
            choices = match[1].split(",") if "," in match[1] else []  # `{a}` stays, and means none
        pending += [f"{here[: match.start()]}{each}{here[match.end() :]}" for each in choices]
    return done
