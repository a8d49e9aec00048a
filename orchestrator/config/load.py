"""Bytes of matrix.toml -> `Settings`, with all problems reported together."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.config.check import check
from orchestrator.config.settings import Settings
from orchestrator.config.spelling import closest
from orchestrator.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from orchestrator.models import BuilderFacts


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


def load(data: bytes, *, facts: BuilderFacts) -> Settings:
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


def examine(data: bytes, *, facts: BuilderFacts) -> Loaded:
    """Parse and check matrix.toml, and go on after the first problem as far as that makes sense.

    Wrong keys and types are left out, so that the values of the others are checked too.

    Raises:
        ConfigError: it is no TOML at all.
    """
    try:
        tree = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError.of(f"not valid TOML: {error}", where="matrix.toml") from None
    problems: tuple[Problem, ...] = ()
    left_out: tuple[Location, ...] = ()
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        # An array of wrong values counts as empty too; its values have been reported already.
        found = [e for e in error.errors() if not (e["type"] == "too_short" and e["input"])]
        problems = tuple(problem_of(each, Settings) for each in found)
        left_out = tuple(tuple(each["loc"]) for each in error.errors())
        rest = _without(tree, left_out)
        if rest is None:
            return Loaded(settings=None, problems=problems, whole=False)
        settings = rest
    checked = tuple(check(settings, facts)) if _axes_stand(left_out) else ()
    whole = not checked and not any(loc[0] in _DECIDING for loc in left_out)
    return Loaded(settings=settings, problems=(*problems, *checked), whole=whole)


_DECIDING = frozenset({"axes", "rows", "include", "exclude", "override", "channel", "library"})
"""Tables that decide which cells there are, and what they are."""

Location = tuple[int | str, ...]


def _axes_stand(left_out: Sequence[Location]) -> bool:
    """Whether every axis is still there, if perhaps with fewer values."""
    depth = 3  # ("axes", "cuda", "values", 1)
    values_only = (loc[0] == "axes" and len(loc) > depth for loc in left_out)
    deciding = (loc[0] in {"axes", "rows", "channel", "library"} for loc in left_out)
    return not any(
        is_deciding and not ok for is_deciding, ok in zip(deciding, values_only, strict=True)
    )


def _without(tree: Mapping[str, Any], left_out: Iterable[Location]) -> Settings | None:
    """Validate again without the parts that are wrong."""
    rest = copy.deepcopy(dict(tree))
    # From the last item to the first, so that the numbers of those before stay true.
    for loc in sorted(left_out, key=_place, reverse=True):
        _remove(rest, loc)
    try:
        return Settings.model_validate(rest)
    except ValidationError:
        return None


def _place(loc: Location) -> list[str]:
    return [str(part).zfill(6) for part in loc]


def _remove(tree: Any, loc: Location) -> None:
    steps: list[tuple[Any, int | str]] = []
    node = tree
    for part in loc:
        is_key = isinstance(node, dict) and part in node
        is_item = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if not (is_key or is_item):
            continue  # the tag of a union, a key that is missing, the long form of a short one
        steps.append((node, part))
        node = node[part]
    if steps:
        parent, key = steps[-1]
        del parent[key]


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
        elif not part.startswith("("):  # the tag of a union
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
