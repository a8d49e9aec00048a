"""What would be built, and where its result would lie, as far as that needs no build."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import on_this_host
from orchestrator.plan.cibuildwheel_selection import options_for
from orchestrator.plan.plan import make_request, planned_backend
from orchestrator.provision import toolchain
from orchestrator.run.cache_key import BuildWay, build_place, builder, make_action
from orchestrator.run.cache_lookup import possible_ways
from orchestrator.run.inputs import open_host
from orchestrator.run.run_source import RunSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.target import BackendName, BuildRequest, Source, Target, TargetId
    from orchestrator.provision.tools import Tools
    from orchestrator.run.cache_key import Action, Place
    from orchestrator.run.inputs import Inputs

_lock_digest = cache(toolchain.lock_digest)


def request_for(
    target: Target, source: Source, way: BuildWay, made: Mapping[TargetId, BuildRequest]
) -> BuildRequest:
    """Return the request of a target, with its key; `made` has those of the targets it needs."""
    return make_request(
        target if way.in_container else on_this_host(target),
        source=source,
        backend=way.backend,
        toolchain=_lock_digest(),
        builder=builder(),
        needs=[made[need].key for need in target.needs],
        in_container=way.in_container,
    )


def without_idle_testers(target: Target, source: Source) -> Target:
    """Return a target that names other Pythons to test on only if there is a test."""
    own_test = "test-command" in options_for(source, target.build_identifier)
    has_test = own_test or target.steps.test_command is not None
    return target if has_test or not target.test_pythons else replace(target, test_pythons=())


def planned_requests(
    inputs: Inputs,
    *,
    skip: tuple[Path, ...],
    environ: Mapping[str, str],
    say: Callable[[str], object],
) -> tuple[BuildRequest, ...]:
    """Return the requests as planned.

    That needs the source's digest, but no engine, and the toolchain only to fetch a requirement.
    The directories to `skip` are those a build would write to: no part of the source.
    """
    host = partial(open_host, environ, say)
    run_source = RunSource(inputs=inputs, written=skip, environ=environ, host=host)
    source = run_source.identify().source
    made: dict[TargetId, BuildRequest] = {}
    for target in inputs.targets:  # in plan order: what is needed comes first
        way = BuildWay(planned_backend(target, inputs.facts), in_container=True)
        made[target.id] = request_for(target, source, way, made)
    return tuple(made.values())


def planned_actions(
    inputs: Inputs,
    source: Source,
    *,
    tools: Tools,
    containers: ContainerFactory,
    wanted: BackendName | None,
) -> dict[TargetId, tuple[Action, ...]]:
    """Return where the results of targets would lie, without asking this machine what it can do.

    The engine is asked only for what it has under the name of an image that is not pinned.
    """
    has_engine = containers.installed
    return make_actions(
        [without_idle_testers(target, source) for target in inputs.targets],
        lambda each: possible_ways(each, inputs.facts, wanted=wanted, has_engine=has_engine),
        source=source,
        place=partial(build_place, tools=tools, containers=containers, lock=inputs.lock),
        scope=inputs.store.scope,
    )


def make_actions(  # noqa: PLR0913 - mostly keywords
    targets: Iterable[Target],
    ways: Callable[[Target], Iterable[BuildWay]],
    *,
    source: Source,
    place: Callable[[Target, BuildWay], Place | None],
    scope: str,
    known: Mapping[TargetId, Action] | None = None,
) -> dict[TargetId, tuple[Action, ...]]:
    """Return the actions that would make each target, the preferred one first.

    Targets are in plan order: what is needed comes first, or is known. A place that cannot be told
    is None, and makes no action.
    """
    found: dict[TargetId, tuple[Action, ...]] = {k: (v,) for k, v in (known or {}).items()}
    for target in targets:
        needs = [found[need][0] for need in target.needs if found.get(need)]
        if len(needs) < len(target.needs):
            found[target.id] = ()
            continue
        made = {need.request.target.id: need.request for need in needs}
        addresses = [need.address for need in needs]
        requests = [(way, request_for(target, source, way, made)) for way in ways(target)]
        places = [(request, place(request.target, way)) for way, request in requests]
        found[target.id] = tuple(
            make_action(request, where, scope=scope, needs=addresses)
            for request, where in places
            if where is not None
        )
    return found
