"""The ``{axis|filter}`` templates of matrix.toml.

Only ``{name}`` and ``{name|filter}`` are placeholders. ``${NAME}`` belongs to the shell and stays
as it is; ``{{name}}`` gives a literal ``{name}``. Every other brace is literal, so that commands
may hold Python or JSON.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import ConfigError, closest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_BODY = r"[A-Za-z_][A-Za-z0-9_-]*(?:\|[A-Za-z_]+)*"
_TOKEN = re.compile(
    rf"(?P<shell>\$\{{[^}}]*\}})|\{{\{{(?P<literal>{_BODY})\}}\}}|\{{(?P<field>{_BODY})\}}"
)

PASS_THROUGH = frozenset({"project", "package", "wheel", "dest_dir"})
"""Placeholders of cibuildwheel's commands; they are filled in at build time, not by us."""


SHORT = 9
"""Digits of an abbreviated git hash; what setuptools-scm and vLLM take."""

FILTERS: Mapping[str, Callable[[str], str]] = {
    "nodot": lambda value: value.replace(".", ""),
    "majmin": lambda value: ".".join(value.split(".")[:2]),
    "major": lambda value: value.split(".", maxsplit=1)[0],
    "short": lambda value: value[:SHORT],
}
"""``12.4`` -> ``124``; ``2.4.1`` -> ``2.4``; ``12.4`` -> ``12``; the first digits of a hash."""


class _Field(NamedTuple):
    """A placeholder: its text in the template, its name, and its filters."""

    text: str
    name: str
    filters: tuple[str, ...]


@lru_cache(maxsize=4096)  # every cell asks about the same few
def _pieces(template: str) -> tuple[str | _Field, ...]:
    """Take a template apart into literal texts and placeholders."""
    found: list[str | _Field] = []
    end = 0
    for match in _TOKEN.finditer(template):
        found.append(template[end : match.start()])
        end = match.end()
        if match["field"]:
            name, *filters = match["field"].split("|")
            found.append(_Field(match[0], name, tuple(filters)))
        else:
            found.append(match["shell"] or f"{{{match['literal']}}}")
    return (*found, template[end:])


def _fields(template: str) -> Iterator[_Field]:
    return (piece for piece in _pieces(template) if isinstance(piece, _Field))


@lru_cache(maxsize=4096)
def names_in(template: str) -> tuple[str, ...]:
    """Return the names a template fills in, in order."""
    return tuple(field.name for field in _fields(template))


def check(template: str, *, known: Collection[str], where: str) -> None:
    """Raise a `ConfigError` if a template uses a name that is not known, or an unknown filter."""
    for text, name, filters in _fields(template):
        if name not in known:
            raise ConfigError.of(
                f"template {template!r} names {name!r}, which is not an axis",
                where=where,
                hint=closest(name, known, f"write {{{text}}} for literal braces"),
            )
        for unknown in (f for f in filters if f not in FILTERS):
            raise ConfigError.of(
                f"template {template!r} uses the unknown filter {unknown!r}",
                where=where,
                hint=closest(unknown, FILTERS),
            )


def render(template: str, values: Mapping[str, str], *, where: str = "") -> str:
    """Fill in ``template``; names and filters must have been checked with `check`.

    Names of `PASS_THROUGH` that have no value stay in the text as they are.

    Raises:
        ConfigError: it names an axis that this cell does not have.
    """
    texts = []
    for piece in _pieces(template):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        text, name, filters = piece
        if name in PASS_THROUGH and name not in values:
            texts.append(text)
            continue
        try:
            value = values[name]  # a mapping of the version's parts may know more than it holds
        except KeyError:
            raise ConfigError.of(
                f"template {template!r} names {name!r}, which not every cell has",
                where=where,
                hint=_missing_hint(name, values),
            ) from None
        for each in filters:
            value = FILTERS[each](value)
        texts.append(value)
    return "".join(texts)


def _missing_hint(name: str, values: Mapping[str, str]) -> str:
    if name != "gpu_archs":
        return f"say it in an [[override]] with when = {{ {name} = true }}"
    cell = ", ".join(
        f'{axis} = "{values[axis]}"' for axis in ("torch", "cuda", "arch") if axis in values
    )
    return (
        f"the torch table has no list for it: write one in an [[override]] with when = {{ {cell} }}"
    )
