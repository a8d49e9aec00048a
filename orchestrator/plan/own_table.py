"""Compare a plan with the project's own ``[tool.cibuildwheel]``, which the matrix overrules. Pure.

Both are right for somebody: whoever moves from one to the other wants to know where they differ.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator.config.settings import baseline_of
from orchestrator.config.unknown_keys import ENABLE_GROUPS, without_unknown
from orchestrator.models.platforms import Libc
from orchestrator.models.python_tag import ABI3
from orchestrator.models.words import count_of
from orchestrator.plan.cibuildwheel_selection import CibuildwheelSelection, joined, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import CibuildwheelCatalog, Plan, Target

FEW = 4
"""Identifiers that a note names."""


def own_table_notes(
    table: Mapping[str, Any], plan: Plan, facts: CibuildwheelCatalog
) -> tuple[str, ...]:
    """Say once what the project's table has and the plan does not follow.

    Args:
        table: ``[tool.cibuildwheel]`` as it is written, by whatever version.
        plan: the whole plan.
        facts: what the locked cibuildwheel knows.
    """
    if not table:
        return ()
    wheels = tuple(target for target in plan.targets if target.library is None)
    return tuple(
        chain(
            _left_out(table, facts),
            _unselected(table, wheels, facts),
            _other_images(table, wheels, facts),
        )
    )


def _left_out(table: Mapping[str, Any], facts: CibuildwheelCatalog) -> Iterator[str]:
    _, names = without_unknown(table)
    groups = [
        group for group in joined(table.get("enable", "")).split() if group not in ENABLE_GROUPS
    ]
    said = [*names, *(f"enable = {group}" for group in groups)]
    if said:
        yield (
            f"left out of the project's [tool.cibuildwheel]: {', '.join(said)}: cibuildwheel "
            f"{facts.version} does not know it"
        )


def _unselected(
    table: Mapping[str, Any], wheels: Iterable[Target], facts: CibuildwheelCatalog
) -> Iterator[str]:
    """Note the cells that the project's own selection does not have."""
    cells = [cell for cell in map(_identifier, _cells(wheels)) if cell]
    selection = CibuildwheelSelection.of(table)
    other = [identifier for identifier in cells if not selection.selects(identifier, facts)]
    if not other:
        return
    deciding = [name for name in ("build", "skip", "enable") if name in table]
    deciding += ["archs"] if selection.fixed_archs else []
    more = f" and {len(other) - FEW} more" if len(other) > FEW else ""
    planned = count_of(len(cells), "planned cell")
    yield (
        f"not in the project's own selection: {len(other)} of {planned} "
        f"([tool.cibuildwheel] {', '.join(deciding) or 'without enable'}): "
        f"{', '.join(other[:FEW])}{more}; the matrix decides, and [[exclude]] leaves cells out"
    )


def _cells(wheels: Iterable[Target]) -> Iterator[Mapping[str, str]]:
    return (dict(cell) for target in wheels for cell in target.covers)


def _identifier(cell: Mapping[str, str]) -> str:
    """Return a cell's build identifier; empty for the stable ABI, which has none."""
    python, libc = cell["python"], cell["libc"]
    plain = (baseline_of(libc) or (Libc(libc),))[0]
    return "" if python.startswith(ABI3) else f"{python}-{plain}_{cell['arch']}"


def _other_images(
    table: Mapping[str, Any], wheels: Sequence[Target], facts: CibuildwheelCatalog
) -> Iterator[str]:
    """Note where the project names another image than the default that the plan takes."""
    found: defaultdict[tuple[str, Arch, str, str], list[str]] = defaultdict(list)
    counts = Counter(target.platform for target in wheels)
    for target in wheels:
        own = _own_image(table, target)
        default = facts.default_images.get(target.platform)
        if own and own != target.image == default and not target.baseline:
            found[target.platform, target.arch, own, target.image].append(target.build_identifier)
    for (platform, arch, own, planned), identifiers in found.items():
        taken = f'images.{platform} = "{own}" takes that one'
        if len(identifiers) < counts[platform]:
            taken = f'an [[override]] with image = "{own}" takes that one'
        if not any(mark in own for mark in "/:@") and own not in facts.aliases[arch]:
            taken = f"cibuildwheel {facts.version} does not have that one any more"
        yield (
            f"{platform} is built in {planned}, and not in {own} as the project's own table says "
            f"({count_of(len(identifiers), 'target')}): {taken}"
        )


def _own_image(table: Mapping[str, Any], target: Target) -> str:
    """Return the image that the project's table names for a target; empty for none."""
    option = f"{target.libc}-{target.arch}-image"
    linux, overrides = table.get("linux"), table.get("overrides")
    layers = [table, linux if isinstance(linux, dict) else {}]
    layers += [
        each
        for each in (overrides if isinstance(overrides, list) else ())
        if isinstance(each, dict)
        and matches(joined(each.get("select", "")), target.build_identifier)
    ]
    named = [layer[option] for layer in layers if isinstance(layer.get(option), str)]
    return str(named[-1]) if named else ""
