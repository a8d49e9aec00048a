"""Evaluate the expressions of GitHub Actions that need nothing but the workflow's own file.

Specification: https://docs.github.com/actions/reference/evaluate-expressions-in-workflows-and-actions
"""

from __future__ import annotations

import re
from operator import contains
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LONGEST = 21_000
"""Characters of an expression, at most, says GitHub."""

_LARGEST = 4096
"""Characters that expressions may put into a text; nothing that a wheel depends on has more."""

_NUMBERED = re.compile(r"\{(\d{1,3})\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>&&|\|\||==|!=|[!().,\[\]]))"
)
_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_LITERALS = {"true": True, "false": False, "null": None}


_UNKNOWN = object()
"""A value that only a run on GitHub knows."""


class UnknownValueError(Exception):
    """It is needed."""


def interpolate(text: str, contexts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a text with its ``${{ … }}`` filled in.

    Args:
        text: the text.
        contexts: ``matrix``, ``env``, ``inputs`` and ``runner``, as far as they are known.

    Raises:
        UnknownValueError: one of them cannot be told.
    """
    plain, *places = text.split("${{")
    parts, left = [plain], _LARGEST
    for place in places:
        expression, end, plain = place.partition("}}")
        value = _string(evaluate(expression, contexts)) if end else f"${{{{{expression}"
        left -= len(value) if end else 0
        if left < 0:
            raise UnknownValueError
        parts += (value, plain)
    return "".join(parts)


def evaluate(expression: str, contexts: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the value of an expression; raises UnknownValueError."""
    tokens, at = list[tuple[str, str]](), 0
    expression = expression.rstrip()
    if len(expression) > LONGEST:
        raise UnknownValueError
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise UnknownValueError
        tokens.append((str(match.lastgroup), match[0].strip()))
        at = match.end()
    parser = _Parser(tokens[::-1], contexts)
    try:
        value = parser.either()
    except RecursionError:
        raise UnknownValueError from None
    if parser.tokens or value is _UNKNOWN:
        raise UnknownValueError
    return value


def _string(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        raise UnknownValueError
    return "" if value is None else str(value)


def _member(value: object, key: str) -> Any:
    if isinstance(value, list):
        number = int(key) if re.fullmatch("[0-9]{1,6}", key) else len(value)
        return value[number] if number < len(value) else ""
    return value.get(key, "") if isinstance(value, dict) else ""


def _formatted(text: str, values: Sequence[str]) -> Any:
    """Fill in ``{0}`` and its like, once; what gets too long is unknown."""
    numbers = [int(each) for each in _NUMBERED.findall(text)]
    if sum(len(values[each]) for each in numbers if each < len(values)) > _LARGEST:
        return _UNKNOWN
    known = dict(enumerate(values))
    return _NUMBERED.sub(lambda match: known.get(int(match[1]), match[0]), text)


class _Parser:
    """Recursive descent: each method takes the tokens of one level of precedence.

    The next token is the last of the list.
    """

    def __init__(
        self, tokens: list[tuple[str, str]], contexts: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.tokens = tokens
        self._contexts = contexts

    def _take(self, *signs: str) -> str:
        """Take the next token if it is one of these signs."""
        if self.tokens and self.tokens[-1][1] in signs and self.tokens[-1][0] == "sign":
            return self.tokens.pop()[1]
        return ""

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise UnknownValueError

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if value is _UNKNOWN else value or other
        return value

    def _both(self) -> Any:
        value = self._equal()
        while self._take("&&"):
            other = self._equal()
            value = other if value is _UNKNOWN and not other else value and other
        return value

    def _equal(self) -> Any:
        value = self._single()
        while sign := self._take("==", "!="):
            other = self._single()
            if _UNKNOWN in (value, other):
                value = _UNKNOWN
            else:
                value = (_string(value).lower() == _string(other).lower()) == (sign == "==")
        return value

    def _single(self) -> Any:
        if self._take("!"):
            value = self._single()
            return value if value is _UNKNOWN else not value
        if self._take("("):
            value = self.either()
            self._expect(")")
            return value
        if not self.tokens or self.tokens[-1][0] == "sign":
            raise UnknownValueError
        kind, token = self.tokens.pop()
        if kind == "text":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return token
        if self._take("("):
            return self._call(token.lower())
        return _LITERALS[token] if token in _LITERALS else self._path(token)

    def _call(self, function: str) -> Any:
        arguments = []
        while not self._take(")"):
            arguments.append(self.either())
            self._take(",")
        if _UNKNOWN in arguments:
            return _UNKNOWN
        match function, arguments:
            case "contains", [list() as items, item]:
                wanted = _string(item).lower()
                return any(_string(each).lower() == wanted for each in items)
            case (("contains" | "startswith" | "endswith"), [whole, part]):
                return _TESTS[function](_string(whole).lower(), _string(part).lower())
            case "format", [str() as text, *values]:
                return _formatted(text, [*map(_string, values)])
            case _:
                return _UNKNOWN

    def _path(self, name: str) -> Any:
        value: Any = self._contexts.get(name, _UNKNOWN)
        while sign := self._take(".", "["):
            if not self.tokens:
                raise UnknownValueError
            key = self.tokens.pop()[1].strip("'")
            if sign == "[":
                self._expect("]")
            if value is not _UNKNOWN:  # what is not in a known context is empty
                value = _member(value, key)
            if value is None or (isinstance(value, str) and len(value) > _LARGEST):
                value = _UNKNOWN  # a variable that nothing here can tell
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
