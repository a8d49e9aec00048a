"""Find the cells of the matrix that a wheel serves, and the sub-indexes of these cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.config import template
from orchestrator.errors import BadWheelError
from orchestrator.models.python_tag import axis_value
from orchestrator.plan.layers import channel_matrix
from orchestrator.publish.index_coverage import matching
from orchestrator.publish.index_site import SubIndex, path_ok

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Cell, Plan
    from orchestrator.models.wheel_name import WheelName
    from orchestrator.publish.index_site import File, Site
    from orchestrator.report.schemas import Result

AXIS = "variant"
"""The only axis of wheels whose axes are unknown: its value is the path of their sub-index."""

PLACE = frozenset({"python", "libc", "arch"})

_NO_VARIANT = re.compile(r"g[0-9a-f]{7,40}|d\d{8}")
"""Parts of a local version that name a commit or a day (setuptools-scm)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRules:
    """What the matrix says about variants.

    Attributes:
        plan: the plan; None without a matrix.
        project: the planned project's normalised name; empty for any.
        paths: values of the user's axes -> path of their sub-index; empty unless the user named
            the matrix. One that merely lies in the working directory decides about no path.
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
    """The variants of the matrix and of the site.

    The path of a wheel's sub-index is that of the matrix that the user named; else the one where
    the site has the wheel, or its other wheels with this local version; else that of the local
    version. What merely lies beside the wheel, or in the working directory, decides about no path:
    it adds the values of axes.
    """

    def __init__(self, rules: VariantRules, site: Site) -> None:
        """Take the matrix' rules and the site."""
        self._rules = rules
        self._targets = () if rules.plan is None else rules.plan.targets
        self._paths = dict(rules.paths)
        self._known = {variant.path: variant for variant in site.variants}
        self._known |= {path: SubIndex(path=path, values=own) for own, path in rules.paths}
        self._files = {file.filename: file for file in site.files}
        wheels = (file for file in site.files if not file.is_sdist)
        published = ((_key(f.project, Version(f.version)), f.variants) for f in wheels)
        self._published = _unambiguous(published)
        self._planned = _unambiguous(self._planned_paths())

    def _planned_paths(self) -> Iterator[tuple[_Key, frozenset[str]]]:
        for target in self._targets if self._paths else ():
            if target.python:
                paths = frozenset(self._paths[cell[3:]] for cell in target.covers)
                yield _key(self._rules.project, Version(target.version)), paths

    def cells_of(self, name: WheelName, made: Result | None) -> tuple[tuple[str, SubIndex], ...]:
        """Return (python, variant) of every cell that a wheel serves; `results.json` has `made`.

        Raises:
            BadWheelError: its variant cannot be the path of a sub-index.
        """
        target = next(iter(matching(name, self._targets, self._rules.project)), None)
        covered = target.covers if target is not None else ()
        covered = covered or (made.target.covers if made is not None and made.target else ())
        old = self._files.get(str(name))
        listed = () if old is None else old.cells
        if target is not None and self._paths:
            cells = [(dict(cell)["python"], self._paths[cell[3:]]) for cell in target.covers]
            _check_paths(name, (path for _, path in cells))
        else:
            paths = self._paths_of(name, old)
            known = {value: None for cell in covered for axis, value in cell if axis == "python"}
            pythons = known or pythons_of(name)
            cells = [(python, path) for path in sorted(paths) for python in pythons]
            if not known and listed:
                cells = [cell for cell in cells if cell[1] not in {path for _, path in listed}]
        # What is published stays, even where the matrix has another path now.
        now = {path for _, path in cells}
        cells += [cell for cell in listed if cell[1] not in now]
        return tuple((python, self._variant(path, covered)) for python, path in cells)

    def _paths_of(self, name: WheelName, old: File | None) -> frozenset[str]:
        key = _key(name.name, name.version)
        named = self._planned.get((key[0] if self._rules.project else "", key[1]))
        if named is not None:
            _check_paths(name, named)
            return named
        if old is not None:
            return old.variants
        if key in self._published:
            return self._published[key]
        _check_paths(name, [key[1]])
        return frozenset({key[1]})

    def _variant(self, path: str, covered: Iterable[Cell]) -> SubIndex:
        """Return the variant of a path, with the axes of the covered cells."""
        values = {tuple(pair for pair in cell if pair[0] not in PLACE) for cell in covered}
        unknown = ((AXIS, path.replace("/", "-")),) if path else ()
        known = self._known.get(path)
        if known is not None and known.values != unknown:
            return known
        return SubIndex(path=path, values=values.pop() if len(values) == 1 else unknown)


def _check_paths(name: WheelName, paths: Iterable[str]) -> None:
    for path in paths:
        if path and not path_ok(path):
            raise BadWheelError.of(f"{path!r} cannot be the path of a sub-index", where=str(name))


_Key = tuple[str, str]
"""(project, path of the local version): wheels of one variant have the same."""


def _key(project: str, version: Version) -> _Key:
    return project, path_of_local(version.local)


def _unambiguous(found: Iterable[tuple[_Key, frozenset[str]]]) -> dict[_Key, frozenset[str]]:
    """Return key -> paths where every wheel with this key has the same paths."""
    paths: dict[_Key, set[frozenset[str]]] = {}
    for key, own in found:
        paths.setdefault(key, set()).add(own)
    return {key: next(iter(some)) for key, some in paths.items() if len(some) == 1}


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
    return tuple(sorted({axis_value(tag.interpreter, tag.abi) for tag in name.tags}))
