"""Give cibuildwheel the project's own table without the options that it does not know."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from orchestrator.config.unknown_keys import without_unknown
from orchestrator.source.declared import table_of
from orchestrator.source.locate import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.builders.base import BuildContext

_CONTROL = re.compile(r"[\x7f]")


def config_file(job: BuildContext) -> Path | None:
    """Write the table that cibuildwheel reads in place of pyproject.toml's.

    Return None if it knows all options of the project. The log names those that it does not.
    """
    own = table_of(table_of(read_toml(job.source, "pyproject.toml"), "tool"), "cibuildwheel")
    known, left_out = without_unknown(own)
    if not left_out:
        return None
    job.log(f"left out of [tool.cibuildwheel], which cibuildwheel ignores: {', '.join(left_out)}")
    file = job.scratch / "cibuildwheel.toml"
    file.write_text(as_toml({"tool": {"cibuildwheel": known}}), encoding="utf-8")
    return file


def as_toml(tree: Mapping[str, Any]) -> str:
    """Return a tree of tables as TOML: a line for each key, with inline tables."""
    return "".join(f"{_value(name)} = {_value(value)}\n" for name, value in tree.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # escapes of JSON are those of TOML, which has one more
        return _CONTROL.sub(r"\\u007f", json.dumps(value, ensure_ascii=False))
    return str(value).lower() if isinstance(value, bool) else str(value)
