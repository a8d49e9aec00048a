"""Which cells a rule means (``when``), and which targets the user means (``--select``)."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from orchestrator.config.load import closest
from orchestrator.errors import ConfigError, NothingSelectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.config.settings import Axis

_RANGE = re.compile(r"\s*(<|>|=|!|~)")
_TAG = re.compile(r"(?:cp|pp)(\d)(\d+)t?")
_EXPRESSION = re.compile(r"[&|<>=!()\s]")


def values_matching(
    patterns: Sequence[str], values: Iterable[str], *, where: str
) -> frozenset[str]:
    """Return the values of an axis that one of ``patterns`` matches.

    Args:
        patterns: exact values, globs (``cu13*``), or PEP 440 ranges (``>=2.9,<2.12``). A python
            tag counts as its version in a range: ``cp312`` is 3.12.
        values: the axis' values.
        where: dotted path for messages.

    Raises:
        ConfigError: a range is malformed, or meets a value that is no version.
    """
    known = tuple(values)
    found: set[str] = set()
    for pattern in patterns:
        if _RANGE.match(pattern):
            found.update(_in_range(pattern, known, where))
        else:
            found.update(value for value in known if fnmatchcase(value, pattern))
    return frozenset(found)


def _in_range(pattern: str, values: Sequence[str], where: str) -> Iterable[str]:
    try:
        specifiers = SpecifierSet(pattern, prereleases=True)
    except InvalidSpecifier:
        raise ConfigError.of(
            f"{pattern!r} is not a version range", where=where, hint="for instance '>=2.9,<2.12'"
        ) from None
    return [value for value in values if specifiers.contains(_version(value, pattern, where))]


def _version(value: str, pattern: str, where: str) -> Version:
    tag = _TAG.fullmatch(value)
    try:
        return Version(f"{tag[1]}.{tag[2]}" if tag else value)
    except InvalidVersion:
        raise ConfigError.of(
            f"the range {pattern!r} meets {value!r}, which is no version",
            where=where,
            hint="list the values, or use a glob",
        ) from None


def compile_when(
    when: Mapping[str, Sequence[str]], axes: Mapping[str, Axis], *, where: str
) -> dict[str, frozenset[str]]:
    """Resolve a rule's ``when`` against the axes once, so that a cell costs a few look-ups.

    Raises:
        ConfigError: one of its axes has no value that matches; it could never select anything.
    """
    resolved = {}
    for axis, patterns in when.items():
        values = axes[axis].values
        resolved[axis] = values_matching(patterns, values, where=f"{where}.{axis}")
        if not resolved[axis]:
            raise ConfigError.of(
                f"matches nothing: no value of {axis!r} is {' or '.join(map(repr, patterns))}",
                where=f"{where}.{axis}",
                hint=closest(patterns[0], values),
            )
    return resolved


def select_ids(ids: Sequence[str], expressions: Sequence[str]) -> tuple[str, ...]:
    """Return the IDs that at least one glob matches, in plan order; all when none is given.

    Raises:
        ConfigError: an expression is not a glob over IDs.
        NothingSelectedError: nothing matches.
    """
    if not expressions:
        return tuple(ids)
    for expression in expressions:
        if _EXPRESSION.search(expression):
            raise ConfigError.of(
                f"{expression!r} is not a glob over target IDs",
                where="--select",
                hint="for instance --select 'cp312-*-cu126*'; give --select more than once to add",
            )
    chosen = tuple(i for i in ids if any(fnmatchcase(i, each) for each in expressions))
    if not chosen:
        raise NothingSelectedError.of(
            f"no target matches {' or '.join(map(repr, expressions))}",
            where="--select",
            hint=f"{closest(expressions[0], ids)}" if ids else "the plan is empty",
        )
    return chosen
