"""What ``[tool.cibuildwheel]`` of a source sets for Linux.

cibuildwheel runs on this machine, and copies files that these options name into the container.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SourceError
from orchestrator.fsutil import OutsideError, resolve_beneath
from orchestrator.plan.cibuildwheel_selection import joined
from orchestrator.source.declared import table_of
from orchestrator.source.locate import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_Overrides = tuple[tuple[str, tuple[str, ...]], ...]


def own_options(root: Path) -> tuple[tuple[str, ...], _Overrides]:
    """Return the options' names, and for patterns those of overrides; pyproject.toml is valid TOML.

    Raises:
        SourceError: one of them names a file outside of the source.
    """
    own = table_of(table_of(read_toml(root, "pyproject.toml"), "tool"), "cibuildwheel")
    tables, overrides = (own, table_of(own, "linux")), [*_overrides(own)]
    for option, name in (pair for table in (*tables, *overrides) for pair in _files(table)):
        try:
            resolve_beneath(root, name)
        except OutsideError:
            raise SourceError.of(
                f"[tool.cibuildwheel] {option} names {name!r}, which is outside the source",
                where=str(root / "pyproject.toml"),
                hint="name a file or directory of the source",
            ) from None
        except OSError:  # links in a circle
            continue
    names = sorted({key for table in tables for key in table})
    return tuple(names), tuple(
        (joined(each.get("select", "")), tuple(sorted({*each} - {"select", "inherit"})))
        for each in overrides
    )


def _overrides(own: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    overrides = own.get("overrides")
    if isinstance(overrides, list):
        yield from (each for each in overrides if isinstance(each, dict))


def _files(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options that name files, with each name."""
    sources = table.get("test-sources")
    listed = sources if isinstance(sources, list) else _words(str(sources or ""))
    yield from (("test-sources", str(name)) for name in listed)
    versions = table.get("dependency-versions")
    file = versions.get("file") if isinstance(versions, dict) else versions
    if isinstance(file, str) and not file.startswith("packages:"):
        plain = _words(file.removeprefix("file:")) if file.startswith("file:") else [file]
        yield from (("dependency-versions", name) for name in plain)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # cibuildwheel says what is wrong with it
        return []
