"""The page of all JSON documents, from their schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]

HEAD = """# JSON documents

Every JSON document has a `schema` number and a JSON Schema, which `orchestrator schema NAME`
prints. The number changes when a reader of the old one would misread the new one. New fields may
appear at any time: ignore fields that you do not know. A document that an older version wrote is
still read.
"""

SOURCES = {
    "plan": "`orchestrator plan --format json`, `plan --save`",
    "inspect": "`orchestrator inspect --json`",
    "verify": "`orchestrator verify --json`",
    "results": "`results.json` beside the wheels, `orchestrator report --json`",
    "doctor": "`orchestrator doctor --json`",
    "explain": "`orchestrator explain TARGET --json`",
    "coverage": "`orchestrator coverage --format json`",
    "publish": "`orchestrator publish --json`",
}
"""Document -> who writes it."""


def page(documents: Mapping[str, Schema]) -> str:
    """Return the page.

    Args:
        documents: name -> JSON Schema.
    """
    lines = [HEAD]
    values: dict[str, Schema] = {}
    for name, schema in documents.items():
        lines += [
            f"## {name}",
            "",
            f"{SOURCES[name]}: [{name}.schema.json](../{name}.schema.json).",
        ]
        lines += ["", *_fields(schema), ""]
        values |= schema.get("$defs", {})
    lines += ["## Values", "", "What the documents are made of.", ""]
    for name in sorted(values):
        lines += [f"### {name}", "", values[name].get("description", ""), "", *_value(values[name])]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _value(schema: Schema) -> Iterator[str]:
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{each}`" for each in schema["enum"]) + "."
    else:
        yield from _fields(schema)


def _fields(schema: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    yield "| field | type | |"
    yield "|---|---|---|"
    for name, field in schema["properties"].items():
        text = field.get("description", "").replace("|", "\\|")
        optional = "" if name in required else " (may be missing)"
        yield f"| `{name}` | {_kind(field)} | {text}{optional} |"


def _kind(field: Schema) -> str:
    """Return a field's type in words, with a link to what it is made of."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(map(_kind, field[several])))
    if "const" in field or "enum" in field:
        return ", ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    if kind == "array" and isinstance(field.get("items"), dict):
        return f"array of {_kind(field['items'])}"
    return str(kind)
