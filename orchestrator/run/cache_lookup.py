"""Which targets of a run need not be built, as the result cache has their results."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import by_own_compiler, is_local
from orchestrator.models.result import Status
from orchestrator.models.target import BackendName
from orchestrator.run.cache_key import BuildWay
from orchestrator.run.finish import result_without_build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import CibuildwheelCatalog, Target, TargetId
    from orchestrator.run.cache_key import Action
    from orchestrator.run.result_cache import ResultCache

READERS = 4
"""Large wheels that are read and hashed at once."""

LARGE = 4 * 1024 * 1024
"""Bytes of a wheel that takes longer to hash than to hand to another thread and back."""


def possible_ways(
    target: Target, facts: CibuildwheelCatalog, *, wanted: BackendName | None, has_engine: bool
) -> Iterator[BuildWay]:
    """Yield the ways whose result may be taken for a target, the preferred one first.

    Where an engine is installed, `auto` takes no result of the host unasked: as soon as the engine
    can build the target, that is what `auto` means.
    """
    direct = wanted is BackendName.DIRECT
    if by_own_compiler(target, wanted):
        yield BuildWay(BackendName.DIRECT, in_container=False)
        return
    if not direct:
        known = target.build_identifier in facts.identifiers
        backend = BackendName.CIBUILDWHEEL if known else BackendName.DIRECT
        yield BuildWay(backend, in_container=True)
    if direct and has_engine and not is_local(target):
        yield BuildWay(BackendName.DIRECT, in_container=True)
    elif direct or (wanted is None and not has_engine):
        yield BuildWay(BackendName.DIRECT, in_container=False)


def restore_results(
    targets: Sequence[Target],
    actions: Mapping[TargetId, Sequence[Action]],
    cache: ResultCache,
) -> dict[TargetId, BuildResult]:
    """Return the results of the targets that need not be built, their wheels in ``dist/``.

    Targets are in plan order. A library is looked for only if a wheel that needs it must be built.
    All are noted as last results, as the run that built them may have failed to.
    """
    wheels = [target for target in targets if target.library is None]
    found = _restore_wheels(wheels, lambda each: _restore(actions.get(each.id, ()), cache))
    results = {target.id: result for target, result in found if result is not None}
    fed = {need for target in targets for need in target.needs}
    wanted = {need for wheel in wheels if wheel.id not in results for need in wheel.needs}
    for library in reversed([target for target in targets if target.library is not None]):
        if library.id in fed and library.id not in wanted:
            reason = "every wheel that needs it came from the store"
            results[library.id] = result_without_build(
                library, Status.OK, backend=BackendName.DIRECT, reason=reason, cached=True
            )
            continue
        result = _restore(actions.get(library.id, ()), cache, outputs=library.id in wanted)
        if result is None:
            wanted.update(library.needs)
        else:
            results[library.id] = result
    cache.note_last({each: action.address for each, action in cache.restored.items()})
    return results


def _restore_wheels(
    wheels: Iterable[Target], restore: Callable[[Target], BuildResult | None]
) -> Iterator[tuple[Target, BuildResult | None]]:
    """Yield each target with its result: from the first large wheel on, several at once."""
    left = iter(wheels)
    for wheel in left:
        result = restore(wheel)
        yield wheel, result
        if result is not None and result.wheel is not None and result.wheel.size >= LARGE:
            break
    rest = tuple(left)
    if rest:
        with ThreadPoolExecutor(max_workers=min(READERS, os.cpu_count() or 1)) as pool:
            yield from zip(rest, pool.map(restore, rest), strict=True)


def _restore(
    actions: Iterable[Action], cache: ResultCache, *, outputs: bool = False
) -> BuildResult | None:
    for action in actions:
        result = cache.restore(action)
        if result is not None and (not outputs or cache.restore_outputs(action)):
            return result
        cache.restored.pop(action.request.target.id, None)
    return None
