"""JSON Schema and option reference of matrix.toml, both from the typed model."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from orchestrator.config.settings import Model, Settings, models_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The version that TOML editors (taplo, Even Better TOML) read."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of matrix.toml (draft 7), with the options' descriptions.

    It knows keys and types; what only the whole file shows, `orchestrator plan` checks.
    """
    schema = Settings.model_json_schema(
        by_alias=True, mode="validation", ref_template="#/definitions/{model}"
    )
    definitions = schema.pop("$defs")
    for _, model in _tables():
        target = schema if model is Settings else definitions.get(model.__name__)
        if target is not None:
            _describe(target, model)
    return {
        "$schema": DRAFT,
        "title": "matrix.toml",
        **{key: value for key, value in schema.items() if key != "title"},
        "definitions": {name: definitions[name] for name in sorted(definitions)},
    }


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema.pop("title", None)
    schema["description"] = _summary(model)
    texts = descriptions(model)
    for name, field in model.model_fields.items():
        option = schema["properties"][field.alias or name]
        option.pop("title", None)
        option["description"] = texts[name]


def reference() -> str:
    """Return the option reference as Markdown: a table for each table of the file."""
    lines = [
        "# Options of matrix.toml",
        "",
        "Generated from the model (`python tools/reference.py`); a test fails when the two differ.",
        "What the options mean together, with examples: [matrix.toml](matrix.md).",
    ]
    schema = json_schema()
    for heading, model in _tables():
        of = schema if model is Settings else schema["definitions"][model.__name__]
        lines += ["", f"## {heading}", "", _summary(model), ""]
        rows = [["key", "type", "default", "meaning"], ["---"] * 4]
        for name, field in model.model_fields.items():
            key = field.alias or name
            option = of["properties"][key]
            default = "required" if field.is_required() else _default(option.get("default"))
            kind = _kind(option, schema["definitions"])
            rows.append([f"`{key}`", kind, default, option["description"]])
        if not any(default for _, _, default, _ in rows[2:]):
            rows = [[key, kind, meaning] for key, kind, _, meaning in rows]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("``", "`")


def _tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Each model once, under the first name that the file knows it by."""
    seen: set[type[BaseModel]] = set()
    waiting: list[tuple[str, str, type[BaseModel]]] = [("", "Top level", Settings)]
    while waiting:
        path, heading, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield heading, model
        for name, field in model.model_fields.items():
            key = f"{path}.{field.alias or name}" if path else str(field.alias or name)
            many = str(field.annotation).startswith("tuple")
            key = f"{key}.NAME" if str(field.annotation).startswith("dict") else key
            heading = f"`[[{key}]]`" if many else f"`[{key}]`"
            waiting += [(key, heading, each) for each in models_in(field.annotation)]


def _summary(model: type[BaseModel]) -> str:
    return inspect.getdoc(model) or ""


@cache
def descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what the docstrings below a model's fields say, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Model) and base is not Model:
            found |= _written(base)
    return found


def _written(model: type[BaseModel]) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[model.__module__]))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == model.__name__
    )
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _kind(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """An option's type in TOML's words."""
    if "$ref" in option:
        # What enumerations are; everything else with a name is a table.
        option = definitions[option["$ref"].rpartition("/")[2]]
    if "enum" in option or "const" in option:
        return " or ".join(f"`{each}`" for each in option.get("enum", [option.get("const")]))
    for several in ("anyOf", "oneOf"):
        if several in option:
            kinds = dict.fromkeys(_kind(each, definitions) for each in option[several])
            kinds.pop("", None)
            return " or ".join(kinds)
    kind = option.get("type", "value")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        inner = _kind(option.get("items", {}), definitions)
        return "array of tables" if inner == "table" else "array"
    return {"object": "table", "null": ""}.get(kind, str(kind))


def _default(value: object) -> str:
    if value in (None, "") or isinstance(value, list | dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
