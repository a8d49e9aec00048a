"""Which cells of the matrix a wheel serves, and where their sub-indexes are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models import Arch
from orchestrator.publish.site import Variant, path_ok
from orchestrator.report.holdings import matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.models import Cell, Plan, Target, Undetermined
    from orchestrator.wheel.archive import WheelName

AXIS = "variant"
"""The one axis of wheels that no plan knows: their local version, or what is left of their ID."""

_ID = re.compile(rf"-(?:many|musl)linux(?:_\d+_\d+)?_(?:{'|'.join(Arch)})(?:-(.+))?")
_NO_VARIANT = re.compile(r"g[0-9a-f]{7,40}|d\d{8}")
"""Parts of a local version that name a commit or a day (setuptools-scm)."""


class Variants:
    """What is known about variants: the plan, and what the site had before."""

    def __init__(
        self,
        plan: Plan | None,
        project: str,
        paths: Mapping[Cell, str],
        known: Iterable[Variant] = (),
    ) -> None:
        """Take all knowledge.

        Args:
            plan: the plan; None where there is no matrix.
            project: the planned project's name, normalised; empty for any.
            paths: values of the user's axes -> path of their sub-index.
            known: the site's variants.
        """
        self._plan = plan
        self._project = project
        self._paths = paths
        self._known = {each.path: each for each in known}
        self._known |= {path: Variant(path=path, values=own) for own, path in paths.items()}

    def of(self, name: WheelName, target_id: str | None) -> tuple[tuple[str, Variant], ...]:
        """Return (python, variant) of every cell that a wheel serves.

        Args:
            name: its name.
            target_id: the target that made it, where ``results.json`` says so.

        Raises:
            BadWheelError: its variant cannot be the path of a sub-index.
        """
        target = self._target(name, target_id)
        if target is not None:
            cells = ((dict(cell)["python"], cell[3:]) for cell in target.covers)
            return tuple((python, self._known[self._paths[own]]) for python, own in cells)
        match = None if target_id is None else _ID.search(target_id)
        path = (match[1] or "").replace("-", "/") if match else path_of_local(name.version.local)
        if path and not path_ok(path):
            raise BadWheelError.of(f"{path!r} cannot be the path of a sub-index", where=str(name))
        unknown = Variant(path=path, values=((AXIS, path.replace("/", "-")),) if path else ())
        variant = self._known.get(path, unknown)
        return tuple((python, variant) for python in pythons_of(name))

    def _target(self, name: WheelName, target_id: str | None) -> Target | Undetermined | None:
        if self._plan is None:
            return None
        for each in self._plan.everything:
            if each.python and target_id in {each.id, *each.aliases}:
                return each
        return next(iter(matching(name, self._plan.targets, self._project)), None)


def path_of_local(local: str | None) -> str:
    """Return the sub-index of a local version: ``cu126.torch2.8`` is at ``cu126/torch2.8``.

    A part that begins with a digit belongs to the one before; commits and days are left out.
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
            found.add(f"abi3-{tag.interpreter}")
        elif tag.abi == f"{tag.interpreter}t":
            found.add(tag.abi)
        else:
            found.add(tag.interpreter)
    return tuple(sorted(found))
