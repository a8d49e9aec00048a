"""The one door for JSON, TOML, INI and Python: bytes in, a value out, or an error that says where.

What is too large, too deep, not UTF-8 or not of the type is refused here; the types of the fields
(`orchestrator.models.untrusted`) refuse what no field may hold.
"""

from __future__ import annotations

import ast
import json
import math
import re
import tomllib
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.errors import ConfigError, Problem, clipped

if TYPE_CHECKING:
    from configparser import RawConfigParser

    from pydantic import TypeAdapter, ValidationError

MANY = 5
"""Things that are wrong with a document that are reported at once."""

LARGEST: Final = 512 << 20
"""Bytes of a document. A result has some 10 kB; the largest matrix known has 2,102 cells."""

LONGEST_TEXT: Final = 4 << 20
"""Characters of one text in a document: `LIMITS` has it."""

LONGEST_MODULE: Final = 1 << 20
"""Characters of a Python module of a source that is read."""

_DIGITS: Final = 100

_DEEP_KEY = re.compile(
    r"""(?m)(?:^|[\[{,])[ \t]*+"""
    r"""(?:(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[\w-]++)[ \t]*+\.[ \t]*+){100}""",
    re.ASCII,
)
"""A dotted key of more than 100 parts: it takes `tomllib` the square of them."""

_LONG_NUMBER = re.compile(r"[=\[,]\s*+[+-]?0[xob][0-9a-fA-F_]{1000}")
"""A number that Python reads from hexadecimal digits, and refuses to write in decimal ones."""

LIMITS: Final[dict[str, Any]] = {"allow_inf_nan": False, "str_max_length": LONGEST_TEXT}
"""``__pydantic_config__`` of a class that stands for a document; its parts have it, too."""

T = TypeVar("T")

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""What reads and writes a class; it takes a while to make."""


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """Return what reads and writes a dataclass."""
    if kind not in _ADAPTERS:
        from pydantic import TypeAdapter

        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def parse(kind: type[T], data: Any, *, where: str = "") -> T:
    """Return the value that JSON data stands for.

    Raises:
        ConfigError: it is not such a value; `where` names its document.
    """
    from pydantic import ValidationError

    try:
        return adapter(kind).validate_python(data)
    except ValidationError as error:
        raise _refusal(error, where) from None


def read_json(kind: type[T], data: bytes, *, where: str, largest: int = LARGEST) -> T:
    """Return the value that a JSON document stands for; errors are those of `parse`."""
    from pydantic import ValidationError

    _check_size(data, where, largest)
    try:
        return adapter(kind).validate_json(data)
    except ValidationError as error:
        raise _refusal(error, where) from None


def json_value(
    data: str | bytes, *, where: str, largest: int = LARGEST, names: bool = False
) -> Any:
    """Return a JSON document in dictionaries and lists.

    Args:
        data: the document.
        where: what it is, for errors.
        largest: bytes of the largest that is read.
        names: whether it is of our own making and has names of files: there, half of a surrogate
            pair is a byte that is not UTF-8 (PEP 383). Elsewhere it becomes ``?``, as UTF-8 cannot
            have it.

    Raises:
        ConfigError: it is none, or too large.
    """
    _check_size(data, where, largest)
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, parse_int=_integer)
        return value if names or _SURROGATE.search(text) is None else encodable(value)
    except (ValueError, RecursionError) as error:
        raise ConfigError.of(f"not a JSON document: {error}", where=where) from None


def encodable(value: Any) -> Any:
    """Return a JSON value in which every text can be written as UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    return [encodable(each) for each in value] if isinstance(value, list) else value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def toml_value(data: str | bytes, *, where: str) -> dict[str, Any]:
    """Return a TOML document in dictionaries and lists.

    Raises:
        ConfigError: it is none.
    """
    try:
        text = toml_text(data)
        if _DEEP_KEY.search(text) is None and _LONG_NUMBER.search(text) is None:
            return tomllib.loads(text)
        why = "a key has more than 100 parts, or a number more than 1000 digits"
    except UnicodeDecodeError as error:
        why = f"{error.reason} at byte {error.start}; TOML is UTF-8, so save it as that"
    except tomllib.TOMLDecodeError as error:
        why, place = _placed(str(error), data)
        where = f"{where}:{place}"
    # Python refuses numbers of thousands of digits with a ValueError.
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise ConfigError.of(f"not valid TOML: {why}", where=where)


def python_tree(text: str) -> ast.Module | None:
    """Return the syntax tree of a module; None if this Python cannot read it.

    What Python would warn about in the code of others is not shown.
    """
    if len(text) > LONGEST_MODULE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_MOST_LINES: Final = 10_000
_SPACES = re.compile(r"[^\S\n]{64,}+")


def ini_tables(
    text: str, *, where: str, strict: bool = False, delimiters: tuple[str, ...] = ("=", ":")
) -> RawConfigParser:
    """Read an INI file, with names of options as they are written.

    No value stands for another one. Python's parser takes the square of spaces in a line, and of
    lines without a delimiter: there are limits for both.

    Args:
        text: the file.
        where: its name.
        strict: whether what is there twice is an error.
        delimiters: what ends the name of an option.

    Raises:
        ConfigError: it is none, or too long.
    """
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(strict=strict, delimiters=delimiters)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    if len(text) > LONGEST_MODULE or text.count("\n") > _MOST_LINES:
        raise ConfigError.of("is too long for an INI file", where=where)
    try:
        parser.read_string(_SPACES.sub(" ", text))
    except Error as error:
        raise ConfigError.of(clipped(str(error).splitlines()[0]), where=where) from None
    return parser


def toml_text(data: str | bytes) -> str:
    """Return the text of a TOML document, without a byte-order mark; raises UnicodeDecodeError."""
    return (data if isinstance(data, str) else data.decode("utf-8")).removeprefix("\ufeff")


def _placed(message: str, data: str | bytes) -> tuple[str, str]:
    """Return what `tomllib` says without its place, and that as line and column."""
    if found := _AT.fullmatch(message):
        return found[1], f"{found[2]}:{found[3]}"
    lines = toml_text(data).rstrip("\n").split("\n")
    return message, f"{len(lines)}:{len(lines[-1]) + 1}"


_AT = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


def _integer(digits: str) -> float:
    """Return a number; one that no field has costs its field, and not the whole document."""
    return int(digits) if len(digits) <= _DIGITS else math.inf


def _check_size(data: str | bytes, where: str, largest: int) -> None:
    if len(data) > largest:
        raise ConfigError.of(f"it has {len(data)} bytes; at most {largest} are read", where=where)


def _refusal(error: ValidationError, where: str) -> ConfigError:
    problems = []
    for each in error.errors(include_url=False, include_input=False, include_context=False)[:MANY]:
        place = ".".join(map(str, each["loc"]))
        text = clipped(each["msg"].removeprefix("Value error, "))
        problems.append(Problem(what=text, where=clipped(": ".join(filter(None, (where, place))))))
    return ConfigError(*problems)
