"""Which targets of a run need not be built, as the store has their results."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import by_zig_here, is_local
from orchestrator.models.result import BuildResult, Status
from orchestrator.models.target import BackendName
from orchestrator.run.cache_key import make_action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.target import BuildRequest, CibuildwheelCatalog, Target, TargetId
    from orchestrator.run.cache_key import Action, BuildPlaces
    from orchestrator.run.result_cache import ResultCache

Way = tuple[BackendName, bool]
"""A backend, and whether it would build in a container."""

READERS = 4
"""Large wheels that are read and hashed at once."""

LARGE = 4 * 1024 * 1024
"""Bytes of a wheel that takes longer to hash than to hand to another thread and back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How targets may be built, as far as that can be told without asking the machine.

    Attributes:
        facts: what the locked cibuildwheel knows.
        wanted: the backend of ``--backend``; None for auto.
        has_engine: whether a container engine is installed.
    """

    facts: CibuildwheelCatalog
    wanted: BackendName | None
    has_engine: bool

    def of(self, target: Target) -> Iterator[Way]:
        """Yield the ways whose result may be taken for a target, the preferred one first.

        Where an engine is installed, `auto` takes no result of the host unasked: as soon as the
        engine can build the target, that is what `auto` means.
        """
        if by_zig_here(target, self.wanted):
            yield BackendName.DIRECT, False
            return
        known = target.build_identifier in self.facts.identifiers
        if self.wanted is not BackendName.DIRECT:
            yield (BackendName.CIBUILDWHEEL if known else BackendName.DIRECT), True
        if self.wanted is BackendName.DIRECT and self.has_engine and not is_local(target):
            yield BackendName.DIRECT, True
            return
        if self.wanted is BackendName.DIRECT or (self.wanted is None and not self.has_engine):
            yield BackendName.DIRECT, False


def actions_of(  # noqa: PLR0913 - mostly keywords
    targets: Iterable[Target],
    ways: Callable[[Target], Iterable[Way]],
    surroundings: BuildPlaces,
    *,
    request: Callable[[Target, Way, Mapping[TargetId, BuildRequest]], BuildRequest],
    scope: str,
    known: Mapping[TargetId, Sequence[Action]] | None = None,
) -> dict[TargetId, tuple[Action, ...]]:
    """Return the actions that would make each target, the preferred one first.

    Args:
        targets: in plan order: what is needed comes first.
        ways: how a target may be built.
        surroundings: where.
        request: makes a target's request, given those of the libraries.
        scope: the store's salt.
        known: actions of libraries that the targets may need as well.
    """
    found: dict[TargetId, tuple[Action, ...]] = {k: tuple(v) for k, v in (known or {}).items()}
    for target in targets:
        needs = [found[each][0] for each in target.needs if found.get(each)]
        if len(needs) < len(target.needs):
            found[target.id] = ()
            continue
        made = {each.request.target.id: each.request for each in needs}
        actions = []
        for backend, contained in ways(target):
            asked = request(target, (backend, contained), made)
            place = surroundings.of(asked.target, backend, in_container=contained)
            if place is not None:
                addresses = [each.address for each in needs]
                actions.append(make_action(asked, place, scope=scope, needs=addresses))
        found[target.id] = tuple(actions)
    return found


def recall(
    targets: Sequence[Target],
    actions: Mapping[TargetId, Sequence[Action]],
    keeper: ResultCache,
) -> dict[TargetId, BuildResult]:
    """Return the results of the targets that need not be built.

    A library is looked for only where a wheel that needs it must be built.

    Args:
        targets: in plan order.
        actions: from `actions_of`.
        keeper: looks into the store.
    """
    wheels = [each for each in targets if each.library is None]
    found = _looked_up(wheels, lambda each: _first(actions.get(each.id, ()), keeper))
    results = {each.id: result for each, result in found if result is not None}
    fed = {need for each in targets for need in each.needs}
    wanted = {need for each in wheels if each.id not in results for need in each.needs}
    for library in reversed([each for each in targets if each.library is not None]):
        if library.id in fed and library.id not in wanted:
            results[library.id] = _not_needed(library)
            continue
        result = _first(actions.get(library.id, ()), keeper, bring=library.id in wanted)
        if result is None:
            wanted.update(library.needs)
        else:
            results[library.id] = result
    return results


def _looked_up(
    wheels: Iterable[Target], look: Callable[[Target], BuildResult | None]
) -> Iterator[tuple[Target, BuildResult | None]]:
    """Yield each target with its result: from the first large wheel on, several at once."""
    left = iter(wheels)
    for each in left:
        result = look(each)
        yield each, result
        if result is not None and result.wheel is not None and result.wheel.size >= LARGE:
            break
    rest = tuple(left)
    if rest:
        with ThreadPoolExecutor(max_workers=min(READERS, os.cpu_count() or 1)) as pool:
            yield from zip(rest, pool.map(look, rest), strict=True)


def _first(
    actions: Iterable[Action], keeper: ResultCache, *, bring: bool = False
) -> BuildResult | None:
    for action in actions:
        result = keeper.recall(action)
        if result is not None and (not bring or keeper.bring(action)):
            return result
        keeper.recalled.pop(action.request.target.id, None)
    return None


def without(target: Target, there: Mapping[TargetId, object]) -> Target:
    """Return a target that does not wait for libraries whose outputs are there already."""
    return replace(target, needs=tuple(each for each in target.needs if each not in there))


def _not_needed(library: Target) -> BuildResult:
    return BuildResult(
        target_id=library.id,
        key="",
        status=Status.OK,
        backend=BackendName.DIRECT,
        backend_reason="every wheel that needs it came from the store",
        wheel=None,
        rejected=None,
        log=None,
        duration=0.0,
        failure=None,
        parts=library.parts,
        cached=True,
    )
