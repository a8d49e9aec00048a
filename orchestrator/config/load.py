"""Bytes of matrix.toml -> `Settings`, with all problems reported together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from orchestrator.config.check import check
from orchestrator.config.settings import Settings, models_in
from orchestrator.config.unknown_keys import hint_for
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.reading import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from orchestrator.models.target import CibuildwheelCatalog

Location = tuple[int | str, ...]
"""A place in a tree of tables and arrays, as pydantic names it."""

SMALLEST = 'the smallest matrix.toml is axes.python = ["cp312", "cp313"] and axes.arch = ["x86_64"]'

ROUNDS = 5
"""How often wrong parts are taken out; each time a table around them may become wrong."""

_DECIDING = frozenset({"axes", "rows", "include", "exclude", "override", "channel", "library"})
"""Tables that decide which cells there are, and what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What could be read of matrix.toml.

    Attributes:
        settings: the settings without the wrong parts; None when too little is left.
        problems: everything that is wrong.
        whole: whether all parts that decide about cells are there, so that a plan is true.
    """

    settings: Settings | None
    problems: tuple[Problem, ...]
    whole: bool


def load(data: bytes, *, facts: CibuildwheelCatalog) -> Settings:
    """Parse and check matrix.toml (TOML 1.0, UTF-8); the settings are still templated.

    Raises:
        ConfigError: with every problem, each with its dotted path.
    """
    loaded = examine(data, facts=facts)
    if loaded.problems or loaded.settings is None:
        raise ConfigError(*loaded.problems)
    return loaded.settings


def examine(data: bytes, *, facts: CibuildwheelCatalog) -> Loaded:
    """Parse and check matrix.toml, and go on after the first problem.

    Wrong keys and types are left out, so that the other values are checked too.

    Raises:
        ConfigError: it is not TOML at all.
    """
    tree = toml_value(data, where="matrix.toml")
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        return _examine_rest(tree, error.errors(), facts)
    problems = tuple(check(settings, facts))
    return Loaded(settings=settings, problems=problems, whole=not problems)


def _examine_rest(
    tree: dict[str, Any], errors: Sequence[ErrorDetails], facts: CibuildwheelCatalog
) -> Loaded:
    """Report the errors, and check what is left of a file without the wrong parts."""
    problems = [problem_of(error, Settings) for error in errors if not _is_consequence(error)]
    axes = frozenset(_axis_names(tree))
    removed: set[int | str] = set()
    for _ in range(ROUNDS):
        removed |= {part for error in errors for part in error["loc"][:1] or ("axes",)}
        _remove(tree, [error["loc"] for error in errors])
        try:
            settings = Settings.model_validate(_without_gaps(tree))
        except ValidationError as error:
            errors = error.errors()
            continue
        moved = dict(_moved(tree))
        checked = [
            replace(problem, where=_original(problem.where, moved))
            for problem in check(settings, facts, besides=axes)
        ]
        whole = not checked and not removed & _DECIDING
        return Loaded(settings=settings, problems=(*problems, *checked), whole=whole)
    return Loaded(settings=None, problems=tuple(problems), whole=False)


def _is_consequence(error: ErrorDetails) -> bool:
    """Whether an array is only too short because its wrong values, reported too, do not count."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _axis_names(tree: dict[str, Any]) -> Iterator[str]:
    """Yield every name that the file gives an axis, right or wrong: none of them is unknown."""
    tables: list[Any] = [tree]
    for group in (tree.get("channel"), tree.get("library")):
        tables += group.values() if isinstance(group, dict) else ()
    for table in tables:
        if not isinstance(table, dict):
            continue
        axes, rows = table.get("axes"), table.get("rows")
        yield from axes if isinstance(axes, dict) else ()
        for row in rows if isinstance(rows, list) else ():
            names = row.get("axes") if isinstance(row, dict) else None
            yield from (n for n in names if isinstance(n, str)) if isinstance(names, list) else ()


# A removed value becomes None, which TOML does not have, so that array items keep their numbers.


def _remove(tree: dict[str, Any], locations: Iterable[Location]) -> None:
    """Remove the values at these places, or the nearest values around them."""
    for parent, key in [_nearest(tree, location) for location in locations]:
        if parent is not None:
            parent[key] = None


def _nearest(tree: dict[str, Any], location: Location) -> tuple[Any, Any]:
    node: Any = tree
    nearest: tuple[Any, Any] = (None, None)
    for part in location:
        items = dict(_items(node))
        # Else the tag of a union, a key that is missing, the long form of a short one.
        if part in items:
            key, value = items[part]
            nearest = (node, key)
            node = value
    return nearest


def _items(node: Any) -> Iterator[tuple[int | str, tuple[int | str, Any]]]:
    """Yield the key of each value that is left, without the gaps, and with them, and the value."""
    if isinstance(node, dict):
        yield from ((key, (key, value)) for key, value in node.items() if value is not None)
    elif isinstance(node, list):
        yield from enumerate((n, value) for n, value in enumerate(node) if value is not None)


def _without_gaps(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_gaps(value) for key, (_, value) in _items(node)}
    if isinstance(node, list):
        return [_without_gaps(value) for _, (_, value) in _items(node)]
    return node


def _moved(node: Any, now: Location = (), before: Location = ()) -> Iterator[tuple[str, str]]:
    """Yield each dotted path without the gaps, and the same in the file."""
    yield dotted(now), dotted(before)
    for key, (original, value) in _items(node):
        yield from _moved(value, (*now, key), (*before, original))


def _original(path: str, moved: Mapping[str, str]) -> str:
    """Return a dotted path in what is left as a dotted path in the file."""
    known = path
    while known and known not in moved:
        known = known[: max(known.rfind("."), known.rfind("["), 0)]
    return moved.get(known, "") + path[len(known) :]


def problem_of(error: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Turn one pydantic error into ours, with a dotted path and the closest valid key."""
    path = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = _keys_at(error["loc"][:-1], model)
        return Problem(what=f"unknown key {key!r}", where=path, hint=hint_for(key, known))
    if error["type"] == "missing":
        *parent, name = error["loc"]
        where = f"{dotted(parent)}.{name}" if parent else str(name)
        return Problem(what="is missing", where=where, hint="" if parent else SMALLEST)
    message = _IN_TOML.get(error["type"], error["msg"])
    if error["type"] == "too_short" and error["ctx"]["min_length"] > 1:
        message = f"needs at least {error['ctx']['min_length']} items"
    return Problem(what=message[:1].lower() + message[1:], where=path)


_IN_TOML = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "too_short": "must not be empty",
}
"""Type of a pydantic error -> its message in TOML's words."""


def dotted(loc: Sequence[int | str]) -> str:
    """``("axes", "cuda", 1)`` -> ``axes.cuda[1]``."""
    path = ""
    for index, part in enumerate(loc):
        if part == "values" and index >= 2 and loc[index - 2] == "axes":  # noqa: PLR2004
            continue  # `cuda = [...]` is short for `cuda = { values = [...] }`
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(("(", "[")):  # the tag of a union, or the mark of a key
            path += f".{part}" if path else part
    return path or "matrix.toml"


def _keys_at(loc: Sequence[int | str], top: type[BaseModel]) -> set[str]:
    """Return the keys the model knows at ``loc``."""
    model = top
    for part in loc:
        field = next((f for n, f in model.model_fields.items() if (f.alias or n) == part), None)
        if field is not None:
            model = next(models_in(field.annotation), BaseModel)
    return {field.alias or name for name, field in model.model_fields.items()}
