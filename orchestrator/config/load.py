"""Bytes of matrix.toml -> `Settings`, with all problems reported together."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.config.check import check
from orchestrator.config.rest import PartialToml
from orchestrator.config.settings import Settings
from orchestrator.config.spelling import closest
from orchestrator.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from orchestrator.config.rest import Location
    from orchestrator.models.target import CibuildwheelCatalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What could be read of matrix.toml.

    Attributes:
        settings: the settings, what is wrong left out; None when too little is left.
        problems: everything that is wrong.
        whole: whether nothing that decides about cells had to be left out, so that what a plan
            of the rest says is true as well.
    """

    settings: Settings | None
    problems: tuple[Problem, ...]
    whole: bool


def load(data: bytes, *, facts: CibuildwheelCatalog) -> Settings:
    """Parse and check matrix.toml.

    Args:
        data: the file's bytes (TOML 1.0, UTF-8).
        facts: what the locked builder knows, for the python axis.

    Returns:
        The settings, still templated.

    Raises:
        ConfigError: with every problem found, each with its dotted path.
    """
    loaded = examine(data, facts=facts)
    if loaded.problems or loaded.settings is None:
        raise ConfigError(*loaded.problems)
    return loaded.settings


def examine(data: bytes, *, facts: CibuildwheelCatalog) -> Loaded:
    """Parse and check matrix.toml, and go on after the first problem as far as that makes sense.

    Wrong keys and types are left out, so that the values of the others are checked too.

    Raises:
        ConfigError: it is no TOML at all.
    """
    try:
        tree = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError.of(f"not valid TOML: {error}", where="matrix.toml") from None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        return _rest_of(tree, error, facts)
    checked = tuple(check(settings, facts))
    return Loaded(settings=settings, problems=checked, whole=not checked)


def _rest_of(tree: Mapping[str, Any], error: ValidationError, facts: CibuildwheelCatalog) -> Loaded:
    """Check what is left of a file without the keys and values that the model refuses."""
    problems = [problem_of(each, Settings) for each in error.errors() if not _said(each)]
    rest = PartialToml(tree)
    left_out: list[Location] = []
    settings = None
    for _ in range(ROUNDS):
        left_out += [tuple(each["loc"]) for each in error.errors()]
        rest.without(tuple(each["loc"]) for each in error.errors())
        try:
            settings = Settings.model_validate(rest.values())
        except ValidationError as another:  # without its wrong parts a table may lack something
            error = another
        else:
            break
    if settings is None:
        return Loaded(settings=None, problems=tuple(problems), whole=False)
    checked = [
        replace(each, where=rest.original(each.where))
        for each in check(settings, facts, besides=_axis_names(tree))
    ]
    whole = not checked and not any(loc[:1] == () or loc[0] in _DECIDING for loc in left_out)
    return Loaded(settings=settings, problems=(*problems, *checked), whole=whole)


def _said(error: ErrorDetails) -> bool:
    """An array of wrong values counts as empty too; its values have been reported already."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


ROUNDS = 5
"""How often wrong parts are taken out; each time a table further out may be what is wrong."""

_DECIDING = frozenset({"axes", "rows", "include", "exclude", "override", "channel", "library"})
"""Tables that decide which cells there are, and what they are."""


def _axis_names(tree: Any) -> frozenset[str]:
    """Every name that the file gives an axis, right or wrong: none of them is unknown."""
    found: set[str] = set()
    tables = [tree] if isinstance(tree, dict) else []
    for group in ("channel", "library"):
        below = tree.get(group)
        tables += (
            [each for each in below.values() if isinstance(each, dict)]
            if isinstance(below, dict)
            else []
        )
    for table in tables:
        axes, rows = table.get("axes"), table.get("rows")
        found.update(axes if isinstance(axes, dict) else ())
        for each in rows if isinstance(rows, list) else ():
            names = each.get("axes") if isinstance(each, dict) else None
            found.update(n for n in names if isinstance(n, str)) if isinstance(names, list) else ()
    return frozenset(found)


def problem_of(error: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Turn one pydantic error into ours, with a dotted path and the closest valid key."""
    path = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = sorted(_keys_at(error["loc"][:-1], model))
        return Problem(what=f"unknown key {key!r}", where=path, hint=closest(key, known))
    if error["type"] == "missing":
        *parent, name = error["loc"]
        return Problem(what="is missing", where=f"{dotted(parent)}.{name}" if parent else str(name))
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
"""What pydantic says in Python's words -> the same in TOML's."""


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
    """The keys the model knows at ``loc``."""
    model: type[BaseModel] | None = top
    for part in loc:
        if model is None or isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = _model_in(fields[part].annotation) if part in fields else model
    return {f.alias or n for n, f in model.model_fields.items()} if model else set()


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model), None)
