"""Cells that no machine can build, known before anything is started. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config.settings import baseline_of
from orchestrator.errors import clipped
from orchestrator.models.platforms import Libc
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.target import Exclusion
from orchestrator.plan.cibuildwheel_selection import allows, parsed_specifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.models.target import CibuildwheelCatalog
    from orchestrator.plan.expand import Cell

SUPPORTED = "requires-python"
"""The rule of cells whose Python the project does not support."""

EXISTING = "cibuildwheel"
"""The rule of cells whose Python was never made for their platform."""

RULES = frozenset({SUPPORTED, EXISTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Possible:
    """Tells cells that can be built from those that cannot.

    Attributes:
        requires_python: the project's specifier of Pythons (PEP 440); empty for all.
        facts: what the locked cibuildwheel knows.
        own_image: whether the matrix names an image for a cell, which may have any Python.
    """

    requires_python: str
    facts: CibuildwheelCatalog
    own_image: Callable[[Cell], bool]

    def divide(self, cells: Iterable[Cell]) -> tuple[list[Cell], tuple[Exclusion, ...]]:
        """Return the cells that can be built, and the others with the reason."""
        kept, left = [], []
        for cell in cells:
            rule, reason = self._fault(cell)
            if rule:
                left.append(Exclusion(cell=cell.values, rule=rule, reason=reason))
            else:
                kept.append(cell)
        return kept, tuple(left)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the specifier, which then limits nothing."""
        if parsed_specifier(self.requires_python) is not None:
            return ()
        what = clipped(self.requires_python)
        return (f"the project's requires-python is no specifier: {what!r}; write such as '>=3.10'",)

    def serves(self, tag: PythonTag) -> bool:
        """Whether the project supports a Python."""
        return allows(self.requires_python, str(tag))

    def _fault(self, cell: Cell) -> tuple[str, str]:
        """Return the rule and the reason of a cell that cannot be built; nothing for others."""
        values = dict(cell.values)
        python = values["python"]
        tag = PythonTag.parse(python.removeprefix(ABI3))
        if python.startswith(ABI3):
            others = map(PythonTag.parse, self.facts.pythons)
            possible = any(self.serves(each) for each in others if each.serves_abi3(str(tag)))
        else:
            possible = self.serves(tag)
        if not possible:
            first = allows(self.requires_python, str(tag), patch=0)
            later = f", which leaves out {tag.version}.1 and later" if first else ""
            return SUPPORTED, f"the project requires Python {self.requires_python}{later}"
        exists = (
            tag.implementation == "cpython" or self._exists(tag, values) or self.own_image(cell)
        )
        platform = f"{_plain(values['libc'])}_{values['arch']}"
        reason = f"cibuildwheel {self.facts.version} has no {tag.words} for {platform}"
        return ("", "") if exists else (EXISTING, reason)

    def _exists(self, tag: PythonTag, values: Mapping[str, str]) -> bool:
        return f"{tag}-{_plain(values['libc'])}_{values['arch']}" in self.facts.identifiers


def _plain(libc: str) -> Libc:
    return (baseline_of(libc) or (Libc(libc), ""))[0]
