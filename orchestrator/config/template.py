"""The ``{axis|filter}`` templates of matrix.toml.

Only ``{name}`` and ``{name|filter}`` are placeholders. ``${NAME}`` belongs to the shell and stays
as it is; ``{{name}}`` gives a literal ``{name}``. Every other brace is literal, so that commands
may hold Python or JSON.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, closest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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


@lru_cache(maxsize=1024)  # every cell asks about the same few
def names_in(template: str) -> tuple[str, ...]:
    """Return the names a template fills in, in order."""
    fields = (match["field"] for match in _TOKEN.finditer(template))
    return tuple(field.split("|", 1)[0] for field in fields if field)


def check(template: str, *, known: Collection[str], where: str) -> None:
    """Raise a `ConfigError` if a template uses a name that is not known, or an unknown filter."""
    for match in _TOKEN.finditer(template):
        if not match["field"]:
            continue
        name, *filters = match["field"].split("|")
        if name not in known:
            raise ConfigError.of(
                f"template {template!r} names {name!r}, which is not an axis",
                where=where,
                hint=closest(name, known) + f"; write {{{{{match['field']}}}}} for literal braces",
            )
        for unknown in (f for f in filters if f not in FILTERS):
            raise ConfigError.of(
                f"template {template!r} uses the unknown filter {unknown!r}",
                where=where,
                hint=closest(unknown, FILTERS),
            )


def _say_it(values: Mapping[str, str]) -> str:
    """Return what to do where the torch table does not know the GPUs of a cell."""
    cell = ", ".join(
        f'{axis} = "{values[axis]}"' for axis in ("torch", "cuda", "arch") if axis in values
    )
    return (
        f"the torch table has no list for it: write one in an [[override]] with when = {{ {cell} }}"
    )


def render(template: str, values: Mapping[str, str], *, where: str = "") -> str:
    """Fill in ``template``; names and filters must have been checked with `check`.

    Names of `PASS_THROUGH` that have no value stay in the text as they are.

    Raises:
        ConfigError: it names an axis that this cell does not have.
    """

    def fill(match: re.Match[str]) -> str:
        if match["shell"]:
            return match["shell"]
        if match["literal"]:
            return f"{{{match['literal']}}}"
        name, *filters = match["field"].split("|")
        if name not in values and name in PASS_THROUGH:
            return match[0]
        try:
            value = values[name]  # a mapping of the version's parts may know more than it holds
        except KeyError:
            raise ConfigError.of(
                f"template {template!r} names {name!r}, which not every cell has",
                where=where,
                hint=f"say it in an [[override]] with when = {{ {name} = true }}"
                if name != "gpu_archs"
                else _say_it(values),
            ) from None
        for name in filters:
            value = FILTERS[name](value)
        return value

    return _TOKEN.sub(fill, template)
