"""Find the cells of the matrix that a wheel serves, and the sub-indexes of these cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config import template
from orchestrator.errors import BadWheelError
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import ABI3
from orchestrator.plan.layers import channel_matrix
from orchestrator.publish.index_coverage import matching
from orchestrator.publish.index_site import SubIndex, path_ok

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Cell, Plan, Target, UnresolvedVersion
    from orchestrator.report.schemas import Result
    from orchestrator.wheel.archive import WheelName

AXIS = "variant"
"""The only axis of wheels whose axes are unknown: its value is their local version, or the end of
their target's ID.
"""

PLACE = frozenset({"python", "libc", "arch"})

_ID = re.compile(rf"-(?:many|musl)linux(?:_\d+_\d+)?_(?:{'|'.join(Arch)})(?:-(.+))?")
_NO_VARIANT = re.compile(r"g[0-9a-f]{7,40}|d\d{8}")
"""Parts of a local version that name a commit or a day (setuptools-scm)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRules:
    """What the matrix says about variants.

    Attributes:
        plan: the plan; None without a matrix.
        project: the planned project's normalised name; empty for any.
        paths: values of the user's axes -> path of their sub-index.
    """

    plan: Plan | None = None
    project: str = ""
    paths: tuple[tuple[Cell, str], ...] = ()


def variant_paths(plan: Plan, settings: Settings) -> dict[Cell, str]:
    """Return the values of the user's axes -> the path of their sub-index, made of the labels."""
    axes = channel_matrix(settings, plan.channel).grid.axes
    paths: dict[Cell, str] = {}
    for target in plan.everything:
        for cell in target.covers if target.python else ():
            if cell[3:] not in paths:
                texts = (
                    value
                    if axis not in axes or (label := axes[axis][1].label) is None
                    else template.render(label, dict(cell))
                    for axis, value in cell[3:]
                )
                paths[cell[3:]] = "/".join(filter(None, texts))
    return paths


class VariantCatalog:
    """The variants of the matrix and of the site."""

    def __init__(self, rules: VariantRules, known: Iterable[SubIndex] = ()) -> None:
        """Take the matrix' rules and the site's variants."""
        self._rules = rules
        self._paths = dict(rules.paths)
        self._known = {variant.path: variant for variant in known}
        self._known |= {path: SubIndex(path=path, values=own) for own, path in rules.paths}

    def cells_of(self, name: WheelName, made: Result | None) -> tuple[tuple[str, SubIndex], ...]:
        """Return (python, variant) of every cell that a wheel serves.

        Args:
            name: its name.
            made: its entry in ``results.json``, or None.

        Raises:
            BadWheelError: its variant cannot be the path of a sub-index.
        """
        target_id = None if made is None else made.target_id
        target = self._target(name, target_id)
        if target is not None:
            cells = ((dict(cell)["python"], cell[3:]) for cell in target.covers)
            return tuple((python, self._known[self._paths[own]]) for python, own in cells)
        match = None if target_id is None else _ID.search(target_id)
        path = (match[1] or "").replace("-", "/") if match else path_of_local(name.version.local)
        if path and not path_ok(path):
            raise BadWheelError.of(f"{path!r} cannot be the path of a sub-index", where=str(name))
        covered = () if made is None or made.target is None else made.target.covers
        variant = self._variant(path, covered)
        pythons = {value: None for cell in covered for axis, value in cell if axis == "python"}
        return tuple((python, variant) for python in pythons or pythons_of(name))

    def _variant(self, path: str, covered: Iterable[Cell]) -> SubIndex:
        """Return the variant of a path, with the axes of the covered cells."""
        values = {tuple(pair for pair in cell if pair[0] not in PLACE) for cell in covered}
        unknown = ((AXIS, path.replace("/", "-")),) if path else ()
        known = self._known.get(path)
        if known is not None and known.values != unknown:
            return known
        return SubIndex(path=path, values=values.pop() if len(values) == 1 else unknown)

    def _target(self, name: WheelName, target_id: str | None) -> Target | UnresolvedVersion | None:
        plan = self._rules.plan
        if plan is None:
            return None
        for target in plan.everything:
            if target.python and target_id in {target.id, *target.aliases}:
                return target
        return next(iter(matching(name, plan.targets, self._rules.project)), None)


def path_of_local(local: str | None) -> str:
    """Return the sub-index of a local version: ``cu126.torch2.8`` is at ``cu126/torch2.8``.

    A part that begins with a digit belongs to the part before; commits and dates are left out.
    """
    found: list[str] = []
    for part in (local or "").split("."):
        if part[:1].isdigit() and found:
            found[-1] += f".{part}"
        elif part and not _NO_VARIANT.fullmatch(part):
            found.append(part)
    return "/".join(found)


def pythons_of(name: WheelName) -> tuple[str, ...]:
    """Return the Pythons of a wheel's tags as axis values: cp312, cp314t, abi3-cp39, py3."""
    found = set()
    for tag in name.tags:
        if tag.abi == "abi3":
            found.add(f"{ABI3}{tag.interpreter}")
        elif tag.abi == f"{tag.interpreter}t":
            found.add(tag.abi)
        else:
            found.add(tag.interpreter)
    return tuple(sorted(found))
