"""The Python of the stable ABI that a build backend's own table names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LOWEST = "lowest"
"""The stable ABI of the Python that builds the wheel."""

_FLOOR = re.compile(r"cp3\d{1,3}")
_FEATURE = re.compile(r"abi3-py3(\d{1,3})")
_LIMITED = re.compile(r"limited_api\s*:\s*'3\.(\d{1,3})'")
_SETTING = re.compile(r"py-(?:limited-)?api\W+(cp3\d{1,3})\b")
_CRATES = ("pyo3", "pyo3-ffi")


def table_floor(table: Mapping[str, Any]) -> str:
    """Return ``py-limited-api`` of a table for bdist_wheel."""
    found = str(table.get("py_limited_api") or table.get("py-limited-api") or "").strip()
    return found if _FLOOR.fullmatch(found) else ""


def meson_floor(meson: str) -> str:
    """Return the lowest ``limited_api`` of a meson.build."""
    found = [int(each) for each in _LIMITED.findall(meson)]
    return f"cp3{min(found)}" if found else LOWEST


def scikit_floor(table: Mapping[str, Any]) -> str:
    """Return ``wheel.py-api`` of scikit-build-core: ``cp39``, or ``cp39.cp315t``.

    An override counts unless a variable of the environment has to ask for it.
    """
    overrides = table.get("overrides")
    tables = [table, *(overrides if isinstance(overrides, list) else ())]
    for each in tables:
        if not isinstance(each, dict) or "env" in str(each.get("if", "")):
            continue
        wheel = each.get("wheel")
        api = str(wheel.get("py-api", "")) if isinstance(wheel, dict) else ""
        floors = [part for part in api.split(".") if _FLOOR.fullmatch(part)]
        if floors:
            return floors[0]
    return ""


def cibuildwheel_floor(table: Mapping[str, Any]) -> str:
    """Return what ``config-settings`` ask of the build backend, in the table or an override."""
    overrides = table.get("overrides")
    tables = [table, table.get("linux"), *(overrides if isinstance(overrides, list) else ())]
    for each in tables:
        settings = str(each.get("config-settings", "")) if isinstance(each, dict) else ""
        match = _SETTING.search(settings)
        if match:
            return match[1]
    return ""


def cargo_floor(
    manifest: Mapping[str, Any], workspace: Mapping[str, Any], maturin: Mapping[str, Any]
) -> str:
    """Return what the features of pyo3 say: those that maturin turns on, and the defaults.

    Args:
        manifest: the crate's Cargo.toml.
        workspace: that of its workspace.
        maturin: ``[tool.maturin]``.
    """
    features = manifest.get("features", {})
    pending = [*_strings(maturin.get("features"))]
    pending += [] if maturin.get("no-default-features") else ["default"]
    enabled: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in enabled:
            enabled.add(name)
            pending += _strings(features.get(name)) if isinstance(features, dict) else []
    for crate in _CRATES:
        enabled |= {each.partition("/")[2] for each in enabled if each.startswith(f"{crate}/")}
        for tree in (manifest, workspace.get("workspace", {})):
            dependencies = tree.get("dependencies", {}) if isinstance(tree, dict) else {}
            found = dependencies.get(crate, {}) if isinstance(dependencies, dict) else {}
            enabled |= set(_strings(found.get("features"))) if isinstance(found, dict) else set()
    minors = [int(match[1]) for each in enabled if (match := _FEATURE.fullmatch(each))]
    return f"cp3{min(minors)}" if minors else LOWEST if "abi3" in enabled else ""


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
