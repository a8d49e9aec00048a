"""Conditions: which cells a rule (``when``) or a user (``--select``) means.

    expression = term { "|" term } ;      term = factor { "&" factor } ;
    factor     = "!" factor | "(" expression ")" | atom ;
    atom       = axis list value { "," value } | axis range { "," range } | axis | glob ;
    list       = "=" | "==" | "!=" ;
    range      = ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "~=" ) version ;

``axis=value`` takes globs; the other operators compare by PEP 440. An axis alone asks whether the
cell has it. A comparison is false for a cell without the axis, and for a value that is no version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from orchestrator.errors import ConfigError
from orchestrator.models.python_tag import ABI3, PythonTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_RANGE = re.compile(r"\s*(<|>|=|!|~)")
_TOKEN = re.compile(
    r"\s*(?:(?P<operator>[<>!=~]=|[<>=])|(?P<mark>[&|!(),])|(?P<word>(?:\[!?[^\]]*\]|[^\s&|!(),<>=~])+))"
)

_LISTS = frozenset({"=", "==", "!="})
"""Operators that take a list of values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTest:
    """One of the patterns matches the cell's value of this axis."""

    axis: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPresent:
    """The cell has this axis."""

    axis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdGlob:
    """The target's ID matches."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """The inner condition does not hold."""

    inner: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    """All parts hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Any:
    """At least one part holds."""

    parts: tuple[Node, ...]


Node = AxisTest | AxisPresent | IdGlob | Not | All | Any


def from_when(when: str | Mapping[str, bool | Sequence[str]], *, where: str) -> Node:
    """Return the condition of a rule's ``when``: an expression, or axis -> patterns or presence.

    Raises:
        ConfigError: the expression cannot be read, or names IDs, which rules cannot.
    """
    if isinstance(when, str):
        node = parse(when, where=where)
        for atom in atoms(node):
            if isinstance(atom, IdGlob):
                what = f"{atom.pattern!r} is neither a comparison nor an axis"
                hint = "for instance 'cuda>=13 & arch=aarch64'"
                raise ConfigError.of(what, where=where, hint=hint)
        return node
    parts: list[Node] = []
    for axis, match in when.items():
        if isinstance(match, bool):
            present = AxisPresent(axis=axis)
            parts.append(present if match else Not(inner=present))
        else:
            parts.append(AxisTest(axis=axis, patterns=tuple(match)))
    return All(parts=tuple(parts))


def parse(text: str, *, where: str) -> Node:
    """Read an expression; a `ConfigError` says where it stops making sense."""
    return _Parser(text, where).whole()


def atoms(node: Node) -> Iterable[AxisTest | AxisPresent | IdGlob]:
    """Return what an expression is made of, from left to right."""
    match node:
        case Not(inner=inner):
            yield from atoms(inner)
        case All(parts=parts) | Any(parts=parts):
            for part in parts:
                yield from atoms(part)
        case _:
            yield node


def axes_of(node: Node) -> frozenset[str]:
    """Return the axes that an expression names."""
    return frozenset(atom.axis for atom in atoms(node) if not isinstance(atom, IdGlob))


def holds(node: Node, values: Mapping[str, str], *, ids: Sequence[str] = ()) -> bool:
    """Whether a condition means a cell with these values, and these IDs for globs."""
    match node:
        case Not(inner=inner):
            return not holds(inner, values, ids=ids)
        case All(parts=parts):
            return all(holds(part, values, ids=ids) for part in parts)
        case Any(parts=parts):
            return any(holds(part, values, ids=ids) for part in parts)
        case AxisPresent(axis=axis):
            return axis in values
        case AxisTest(axis=axis, patterns=patterns):
            value = values.get(axis)
            return value is not None and any(_fits(value, pattern) for pattern in patterns)
        case IdGlob(pattern=pattern):
            return any(fnmatchcase(target_id, pattern) for target_id in ids)


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
        ConfigError: a range is malformed, or the axis holds no versions at all.
    """
    known = tuple(values)
    for pattern in patterns:
        check_pattern(pattern, known, where=where)
    return matching(tuple(patterns), known)


def check_pattern(pattern: str, values: Sequence[str], *, where: str) -> None:
    """Refuse a malformed range, and a range over an axis without versions."""
    if not _RANGE.match(pattern):
        return
    if _specifiers(pattern) is None:
        raise ConfigError.of(
            f"{pattern!r} is not a version range", where=where, hint="for instance '>=2.9,<2.12'"
        )
    if values and not any(_version(value) for value in values):
        raise ConfigError.of(
            f"the range {pattern!r} meets {values[0]!r}, which is not a version",
            where=where,
            hint="list the values, or use a glob",
        )


@lru_cache(maxsize=4096)
def matching(patterns: tuple[str, ...], values: tuple[str, ...]) -> frozenset[str]:
    """Return the values that one of ``patterns`` matches, which have been checked."""
    return frozenset(v for v in values if any(_fits(v, pattern) for pattern in patterns))


@lru_cache(maxsize=65536)
def _fits(value: str, pattern: str) -> bool:
    if not _RANGE.match(pattern):
        python = PythonTag.spelled(pattern)
        return fnmatchcase(value, pattern) or (python is not None and str(python) == value)
    specifiers, version = _specifiers(pattern), _version(value)
    return specifiers is not None and version is not None and specifiers.contains(version)


@lru_cache(maxsize=1024)
def _specifiers(pattern: str) -> SpecifierSet | None:
    try:
        found = SpecifierSet(pattern, prereleases=True)
        hash(found)  # versions are parsed late
    except ValueError:  # InvalidSpecifier, or more digits than Python makes a number of
        return None
    return found


@lru_cache(maxsize=4096)
def _version(value: str) -> Version | None:
    tag = PythonTag.match(value.removeprefix(ABI3))
    return _plain(tag.version if tag else value)


def _plain(value: str) -> Version | None:
    try:
        return Version(value.removesuffix(".*"))
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return None


class _Parser:
    """Recursive descent; one token ahead, two where a list may go on as a range."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(f"cannot read {text[at:].strip()!r}")
            kind = str(match.lastgroup)
            self._tokens.append((kind, match[kind]))
            at = match.end()

    def whole(self) -> Node:
        node = self._expression()
        if self._tokens:
            raise self._error(f"{self._tokens[0][1]!r} is not expected here")
        return node

    def _expression(self) -> Node:
        parts = [self._term()]
        while self._take("|"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Any(parts=tuple(parts))

    def _term(self) -> Node:
        parts = [self._factor()]
        while self._take("&"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _factor(self) -> Node:
        if self._take("!"):
            return Not(inner=self._factor())
        if self._take("("):
            node = self._expression()
            if not self._take(")"):
                raise self._error("a ')' is missing")
            return node
        return self._atom()

    def _atom(self) -> Node:
        word = self._word("an axis or a glob")
        operator = self._operator()
        if not operator:
            return AxisPresent(axis=word) if word.isidentifier() else IdGlob(pattern=word)
        value = self._word(f"a value after {word}{operator}")
        range_follows = self._kinds(2) == ["mark", "operator"] and self._tokens[0][1] == ","
        if operator in _LISTS and not range_follows:
            return self._listed(word, operator, value)
        parts = [operator + value]
        while self._take(","):
            operator = self._operator()
            if not operator:
                raise self._error(f"an operator is missing after {','.join(parts)!r},")
            parts.append(operator + self._word("a version"))
        pattern = ",".join(parts)
        check_pattern(pattern, (), where=self._where)
        return AxisTest(axis=word, patterns=(pattern,))

    def _listed(self, axis: str, operator: str, first: str) -> Node:
        """``=a,b`` is one of them, ``!=a,b`` none of them; ``==`` means versions where it can."""
        values = [first]
        while self._take(","):
            values.append(self._word("a value"))
        if operator == "=" or None in map(_plain, values):
            test = AxisTest(axis=axis, patterns=tuple(values))
            present = AxisPresent(axis=axis)
            return All(parts=(present, Not(inner=test))) if operator == "!=" else test
        if operator == "!=":
            return AxisTest(axis=axis, patterns=(",".join(operator + value for value in values),))
        return AxisTest(axis=axis, patterns=tuple(operator + value for value in values))

    def _kinds(self, count: int) -> list[str]:
        return [kind for kind, _ in self._tokens[:count]]

    def _take(self, mark: str) -> bool:
        return self._tokens[:1] == [("mark", mark)] and bool(self._tokens.pop(0))

    def _operator(self) -> str:
        return self._tokens.pop(0)[1] if self._kinds(1) == ["operator"] else ""

    def _word(self, wanted: str) -> str:
        if self._kinds(1) != ["word"]:
            got = repr(self._tokens[0][1]) if self._tokens else "the end"
            raise self._error(f"expected {wanted}, got {got}")
        return self._tokens.pop(0)[1]

    def _error(self, what: str) -> ConfigError:
        return ConfigError.of(
            f"{self._text!r} is not an expression: {what}",
            where=self._where,
            hint="for instance 'cuda>=13 & arch=aarch64 & !python=cp314t'",
        )
