"""Find the line of each value in a TOML file: dotted path -> line.

`tomllib` returns values without positions. This reads the text again for the positions, after
`tomllib` has found it valid, so it only needs to know where things begin.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t]+|\#[^\n]*)
    | (?P<end>\r?\n)
    | (?P<string>\"\"\"(?:[^\\]|\\.)*?\"{3,5}|'''.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<mark>[=,.])
    | (?P<word>[^\s\[\]{}=,.\#"']+)
    """,
    re.VERBOSE | re.DOTALL,
)
_FILE = "matrix.toml"
_WHOLE = frozenset({"", _FILE})
"""Where a problem is that concerns the whole file."""

_SEGMENT = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def line_numbers(text: str) -> Mapping[str, int]:
    """Return the line (from 1) on which each table, key and array item of valid TOML begins.

    The keys are dotted paths as in messages: ``axes.cuda[1]``.
    """
    return _Reader(text).read()


def with_lines(error: ConfigError, text: str, *, file: str) -> ConfigError:
    """Return an error with file and line before each dotted path; ``text`` is the file's text."""
    # A file that is no TOML has no paths, and no lines that could be found.
    inside = any(not _is_file(each.where) for each in error.problems)
    lines = line_numbers(text) if inside else {}
    return ConfigError(*(replace(each, where=_place(each, lines, file)) for each in error.problems))


def line_of(path: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a path, or of the nearest table around it that the file has."""
    while path:
        head, bracket, item = path.rpartition("[")
        for each in (path, f"{head}.values{bracket}{item}"):  # `x = [...]` and `x.values = [...]`
            if each in lines:
                return lines[each]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[: max(cut, 0)]
    return None


def _is_file(where: str) -> bool:
    """Whether a place is the whole file, or its line and column."""
    return where in _WHOLE or where.startswith(f"{_FILE}:")


def _place(problem: Problem, lines: Mapping[str, int], file: str) -> str:
    if _is_file(problem.where):
        return f"{file}{problem.where.removeprefix(_FILE)}"
    line = line_of(problem.where, lines)
    if line is None:
        named = _SEGMENT.match(problem.where) and not problem.where.startswith(("-", "/"))
        return f"{file}: {problem.where}" if named else problem.where
    return f"{file}:{line}: {problem.where}"


class _Reader:
    """One pass over the tokens."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._tokens = list(_tokens(text))
        self._at = 0

    def read(self) -> Mapping[str, int]:
        table = ""
        while self._at < len(self._tokens):
            kind, value, line = self._tokens[self._at]
            if kind == "end":
                self._at += 1
            elif value == "[":
                table = self._header(line)
            else:
                self._pair(table)
        return self._lines

    def _header(self, line: int) -> str:
        self._at += 1
        is_array = self._peek() == "["
        self._at += is_array
        parts = self._key()
        self._at += 1 + is_array
        *above, last = parts
        path = ""
        for part in above:
            path = self._newest(_join(path, part))
            self._lines.setdefault(path, line)
        path = _join(path, last)
        if is_array:
            self._lines.setdefault(path, line)
            index = self._counts.get(path, 0)
            self._counts[path] = index + 1
            path = f"{path}[{index}]"
        else:
            path = self._newest(path)
        self._lines[path] = line
        return path

    def _newest(self, path: str) -> str:
        """A header below an array of tables means the array's last table."""
        return f"{path}[{self._counts[path] - 1}]" if path in self._counts else path

    def _pair(self, table: str) -> None:
        line = self._tokens[self._at][2]
        path = table
        for part in self._key():
            path = _join(path, part)
            self._lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            kind, value, _ = self._tokens[self._at]
            parts.append(_key_of(value) if kind == "string" else value)
            self._at += 1
            if self._peek() != ".":
                return parts
            self._at += 1

    def _value(self, path: str) -> None:
        opening = self._peek()
        if opening == "[":
            for number in self._items("]"):
                self._lines[f"{path}[{number}]"] = self._tokens[self._at][2]
                self._value(f"{path}[{number}]")
        elif opening == "{":
            for _ in self._items("}"):
                self._pair(path)
        else:
            # A number or a date may be several words: 1.5, 2026-01-01 10:00.
            while self._peek() not in {",", "]", "}", "\n", ""}:
                self._at += 1

    def _items(self, closing: str) -> Iterator[int]:
        """Go through an array or an inline table, and stop at the beginning of each item."""
        self._at += 1
        number = 0
        while self._skip_ends() != closing:
            if self._peek() == ",":
                self._at += 1
                continue
            yield number
            number += 1
        self._at += 1

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            return ""
        kind, value, _ = self._tokens[self._at]
        return "\n" if kind == "end" else "'" if kind == "string" else value

    def _skip_ends(self) -> str:
        while self._peek() == "\n":
            self._at += 1
        return self._peek()


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind != "skip":
            yield kind, match[0], line
        line += match[0].count("\n")


def _key_of(quoted: str) -> str:
    # Only a basic string has escapes; tomllib knows what they mean.
    return str(tomllib.loads(f"key = {quoted}")["key"]) if "\\" in quoted else quoted[1:-1]


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part
