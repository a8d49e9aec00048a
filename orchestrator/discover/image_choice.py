"""The images of a new matrix: those of the project's own cibuildwheel, but the default (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.plan.cibuildwheel_selection import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.discover.cells import Run, WheelCell, WheelChoice
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.models.target import CibuildwheelCatalog

_OFFICIAL = re.compile(r"quay\.io/pypa/((?:many|musl)linux[0-9_]+?)_[a-z]\w*(?::latest)?")
_OPTION = re.compile(r"(manylinux|musllinux)-(\w+)-image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images other than the default ones.

    Attributes:
        named: ``<libc>_<arch>`` -> an image, and what says so.
        special: image -> the wheels for which an override of the project names it.
        notes: images that the locked cibuildwheel does not know.
    """

    named: Mapping[str, tuple[str, str]]
    special: Mapping[str, tuple[WheelCell, ...]]
    notes: tuple[str, ...]


def images_of(
    facts: ProjectFacts, runs: Iterable[Run], choice: WheelChoice, catalog: CibuildwheelCatalog
) -> Images:
    """Return the images for the wheels of a choice."""
    platforms = {f"{libc}_{arch}" for _, libc, arch in choice.cells}
    found: dict[str, tuple[str, str]] = {}
    notes: list[str] = []
    named = [*_of_table(facts.cibuildwheel or {}, "[tool.cibuildwheel]")]
    named += [(name, image, run.where) for run in runs for name, image in run.images]
    for name, image, why in named:
        chosen = known_image(image, name, catalog)
        if name not in platforms or chosen == catalog.default_images.get(name):
            continue
        if chosen:
            found[name] = (chosen, why)
        else:
            notes.append(f"image {image} of {name}: cibuildwheel {catalog.version} has none such")
    special = _special(facts, choice, catalog)
    return Images(named=found, special=special, notes=tuple(dict.fromkeys(notes)))


def _special(
    facts: ProjectFacts, choice: WheelChoice, catalog: CibuildwheelCatalog
) -> dict[str, tuple[WheelCell, ...]]:
    """Return the image of each wheel for which an override of the project names another one."""
    overrides = (facts.cibuildwheel or {}).get("overrides")
    found: dict[WheelCell, str] = {}
    for override in overrides if isinstance(overrides, list) else ():
        select = override.get("select", "") if isinstance(override, dict) else ""
        patterns = " ".join(select) if isinstance(select, list) else str(select)
        for name, image, _ in _of_table(override, "") if patterns else ():
            chosen = known_image(image, name, catalog)
            for cell in choice.cells if chosen else ():
                python, libc, arch = cell
                if name == f"{libc}_{arch}" and matches(patterns, f"{python}-{name}"):
                    found[cell] = chosen
    grouped: dict[str, tuple[WheelCell, ...]] = {}
    for cell, image in sorted(found.items()):
        if image != catalog.default_images.get(f"{cell[1]}_{cell[2]}"):
            grouped[image] = (*grouped.get(image, ()), cell)
    return grouped


def _of_table(table: Mapping[str, Any], why: str) -> Iterator[tuple[str, str, str]]:
    inner = table.get("linux")
    for tree in (table, inner if isinstance(inner, dict) else {}):
        for key, image in tree.items():
            match = _OPTION.fullmatch(key)
            if match and isinstance(image, str) and image:
                yield f"{match[1]}_{match[2]}", image, why


def known_image(image: str, name: str, catalog: CibuildwheelCatalog) -> str:
    """Return an image as matrix.toml names it; empty if the locked cibuildwheel has none such."""
    official = _OFFICIAL.fullmatch(image)
    alias = official[1] if official else image
    if alias in catalog.aliases.get(name.partition("_")[2], ()):
        return alias
    return image if "/" in image and image.isprintable() and not official else ""
