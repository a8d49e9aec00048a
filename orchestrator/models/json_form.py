"""How a value of a model looks in JSON where its type alone does not say so.

These stand in `Annotated` types. pydantic asks them for a schema only when a document is written
or read, so that importing the models does not import pydantic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN: Final = "****"
"""Stands for a secret, in messages and documents."""


@dataclass(frozen=True, slots=True)
class JsonForm:
    """Another form of a value in JSON.

    Attributes:
        type: the type of that form.
        write: turns a value into that form.
        read: turns that form, or the value itself, into what the value's own type can check.
    """

    type: Any
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(
            self.read,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self.write, return_schema=handler.generate_schema(self.type)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a number may be; another one is refused when it is read.

    Attributes:
        ge: the lowest number.
        le: the highest number; None for any.
        digits: digits after the point that are written; None for all.
    """

    ge: float = 0
    le: float | None = None
    digits: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        number = handler(source) | {"ge": self.ge}
        if self.le is not None:
            number |= {"le": self.le}
        if self.digits is None:
            return number
        write = core_schema.plain_serializer_function_ser_schema(self._round, return_schema=number)
        return number | {"serialization": write}

    def _round(self, number: float) -> float:
        return round(number, self.digits)


@dataclass(frozen=True, slots=True)
class Length:
    """How long a text or a tuple may be; a longer one is refused when it is read.

    Attributes:
        most: characters of a text, or items of a tuple.
        pattern: what a text must match, in the syntax of Rust's regex.
    """

    most: int
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        pattern = {} if self.pattern is None else {"pattern": self.pattern}
        return handler(source) | {"max_length": self.most} | pattern


class Finite:
    """What stands in an object or array of any data has no number that JSON cannot write."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_finite, handler(source))


def _finite(value: Any) -> Any:
    """Return JSON data; raises ValueError."""
    nested = [value]
    for inner in nested:  # which grows meanwhile
        for each in inner.values() if isinstance(inner, dict) else inner:
            if isinstance(each, str):
                continue  # most are
            if isinstance(each, dict | list):
                nested.append(each)
            elif isinstance(each, float) and not math.isfinite(each):
                raise ValueError(f"{each} is no number of JSON")
    return value


def _pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


TABLE = JsonForm(dict[str, str], dict, _pairs)
"""(name, value) pairs as an object."""

SIZE_TABLE = JsonForm(dict[str, int], dict, _pairs)
"""(name, bytes) pairs as an object."""

LIST_TABLE = JsonForm(dict[str, tuple[str, ...]], dict, _pairs)
"""(name, values) pairs as an object."""

JOINED = JsonForm(str, ", ".join, lambda v: tuple(v.split(", ")) if isinstance(v, str) else v)
"""Texts as one text."""

NULL_FOR_EMPTY = JsonForm(str | None, lambda text: text or None, lambda text: text or "")
"""An empty text as null."""

NULL_FOR_HIDDEN = JsonForm(
    str | None,
    lambda text: None if text == HIDDEN else text,
    lambda text: HIDDEN if text is None else text,
)
"""A hidden secret as null."""
