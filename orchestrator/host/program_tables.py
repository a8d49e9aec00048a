"""Tables that come with the program, read from its files."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.models.target import CibuildwheelCatalog
from orchestrator.plan.torch_table import load_table

if TYPE_CHECKING:
    from orchestrator.config.settings import TorchTable


def builtin_table() -> TorchTable:
    """Read the torch table that comes with the program."""
    data = (files("orchestrator.plan") / "torch_table.toml").read_bytes()
    return load_table(data, where="the built-in table")


def builder_facts() -> CibuildwheelCatalog:
    """Read what the locked cibuildwheel knows; ``tools/cibuildwheel_facts.py`` writes it."""
    data = json.loads((files("orchestrator.plan") / "cibuildwheel.json").read_text("utf-8"))
    return CibuildwheelCatalog(
        version=data["version"],
        identifiers=frozenset(data["identifiers"]),
        aliases={arch: tuple(names) for arch, names in data["aliases"].items()},
        default_images=data["default_images"],
        groups=data["groups"],
    )
