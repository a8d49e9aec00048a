"""The coverage grid: variants by Python, one letter an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.models.platforms import Arch, Libc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.models.target import Cell, Plan

NONE = "·"
"""No wheel here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanGrid:
    """What a plan covers: a column a Python, rows of (variant, one entry a Python)."""

    pythons: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    legend: str

    @property
    def table(self) -> list[tuple[str, ...]]:
        """The rows, below a heading."""
        return [("variant", *self.pythons), *((name, *entries) for name, entries in self.rows)]


def coverage(plan: Plan) -> PlanGrid:
    """Return the grid of a plan's wheels; every covered cell counts."""
    wheels = (each for each in plan.everything if each.python)
    cells = [cell for each in wheels for cell in each.covers]
    pythons = tuple(dict.fromkeys(cell[0][1] for cell in cells))
    platforms = list(dict.fromkeys((cell[1][1], cell[2][1]) for cell in cells))
    marks: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for cell in cells:
        of = marks.setdefault(_variant(cell), {}).setdefault(cell[0][1], set())
        of.add((cell[1][1], cell[2][1]))
    letters = _letters(platforms)
    rows = tuple(
        (variant, tuple(_entry(found.get(python, ()), letters) for python in pythons))
        for variant, found in marks.items()
    )
    legend = "  ".join(f"{letter} {libc}_{arch}" for (libc, arch), letter in letters.items())
    return PlanGrid(pythons=pythons, rows=rows, legend=legend)


def _variant(cell: Cell) -> str:
    return " ".join(value for _, value in cell[3:]) or "all"


def _letters(platforms: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a letter for each platform, with numbers if several have the same letter."""
    plain = {
        each: letter.upper() if each[0].startswith(Libc.MUSLLINUX) else letter
        for each in platforms
        for letter in [Arch(each[1]).facts.letter]
    }
    if len(set(plain.values())) == len(plain):
        return plain
    return {each: f"{letter}{number}" for number, (each, letter) in enumerate(plain.items(), 1)}


def _entry(found: Iterable[tuple[str, str]], letters: dict[tuple[str, str], str]) -> str:
    there = set(found)
    return "".join(letter for platform, letter in letters.items() if platform in there) or NONE
