"""Compare a plan with the project's own ``[tool.cibuildwheel]``, which the matrix overrules. Pure.

Both are right for somebody: whoever moves from one to the other wants to know where they differ.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING, Any

from orchestrator.config.settings import baseline_of
from orchestrator.config.unknown_keys import ENABLE_GROUPS, without_unknown
from orchestrator.models.platforms import Libc
from orchestrator.models.python_tag import ABI3

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import CibuildwheelCatalog, Plan, Target

FEW = 4
"""Identifiers that a note names."""

MOST_PATTERNS = 1000
"""Patterns that braces of one option may stand for."""

_BRACES = re.compile(r"(.*?)\{([^{}]*)\}(.*)")
_ALL_ARCHS = frozenset({"auto", "auto32", "auto64", "all", "native"})
_PYPY = frozenset({"pypy", "pypy-eol", "all"})


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
            _left_out(table, facts), _unselected(table, wheels), _other_images(table, wheels, facts)
        )
    )


def _left_out(table: Mapping[str, Any], facts: CibuildwheelCatalog) -> Iterator[str]:
    _, names = without_unknown(table)
    groups = [group for group in _words(table.get("enable")) if group not in ENABLE_GROUPS]
    said = [*names, *(f"enable = {group}" for group in groups)]
    if said:
        yield (
            f"left out of the project's [tool.cibuildwheel]: {', '.join(said)}: cibuildwheel "
            f"{facts.version} does not know it"
        )


def _unselected(table: Mapping[str, Any], wheels: Iterable[Target]) -> Iterator[str]:
    """Note the cells that the project's own selection does not have."""
    cells = [cell for cell in map(_identifier, _cells(wheels)) if cell]
    other = [identifier for identifier in cells if not _selects(table, identifier)]
    if not other:
        return
    deciding = [name for name in ("build", "skip", "enable") if name in table]
    deciding += ["archs"] if _archs(table) else []
    more = f" and {len(other) - FEW} more" if len(other) > FEW else ""
    yield (
        f"{len(other)} of {len(cells)} planned cells are not in the project's own selection "
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


def _selects(table: Mapping[str, Any], identifier: str) -> bool:
    """Whether cibuildwheel would build an identifier on Linux, of which all are enabled."""
    archs, arch = _archs(table), identifier.partition("linux_")[2]
    enabled = not identifier.startswith("pp") or not _PYPY.isdisjoint(_words(table.get("enable")))
    return (
        _matches(table.get("build", "*"), identifier)
        and not _matches(table.get("skip", ""), identifier)
        and (not archs or arch in archs)
        and enabled
    )


def _archs(table: Mapping[str, Any]) -> frozenset[str]:
    """Return the architectures that the table names; empty if the machine decides."""
    linux = table.get("linux")
    own = linux.get("archs") if isinstance(linux, dict) else None
    words = frozenset(_words(own if own is not None else table.get("archs")))
    return frozenset() if words & _ALL_ARCHS else words


def _matches(patterns: object, identifier: str) -> bool:
    words = _words(patterns)
    every = chain.from_iterable(map(_expanded, words))
    return any(fnmatchcase(identifier, pattern) for pattern in every)


def _words(value: object) -> list[str]:
    """Return what an option lists: an array, or words."""
    if isinstance(value, list):
        return [word for each in value for word in str(each).split()]
    return value.split() if isinstance(value, str) else []


def _expanded(pattern: str) -> Iterator[str]:
    """Yield what the braces of a pattern stand for: ``cp{311,312}-*``."""
    waiting, count = [pattern], 0
    while waiting and count < MOST_PATTERNS:
        text, count = waiting.pop(), count + 1
        found = _BRACES.fullmatch(text)
        if found is None or "," not in found[2]:
            yield text
        else:
            waiting += [found[1] + word + found[3] for word in found[2].split(",")]


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
        many = "s" * (len(identifiers) > 1)
        taken = f'images.{platform} = "{own}" takes that one'
        if len(identifiers) < counts[platform]:
            taken = f'an [[override]] with image = "{own}" takes that one'
        if not any(mark in own for mark in "/:@") and own not in facts.aliases[arch]:
            taken = f"cibuildwheel {facts.version} does not have that one any more"
        yield (
            f"{platform} is built in {planned}, and not in {own} as the project's own table says "
            f"({len(identifiers)} target{many}): {taken}"
        )


def _own_image(table: Mapping[str, Any], target: Target) -> str:
    """Return the image that the project's table names for a target; empty for none."""
    option = f"{target.libc}-{target.arch}-image"
    linux, overrides = table.get("linux"), table.get("overrides")
    layers = [table, linux if isinstance(linux, dict) else {}]
    layers += [
        each
        for each in (overrides if isinstance(overrides, list) else ())
        if isinstance(each, dict) and _matches(each.get("select"), target.build_identifier)
    ]
    named = [layer[option] for layer in layers if isinstance(layer.get(option), str)]
    return str(named[-1]) if named else ""
