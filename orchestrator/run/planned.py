"""What would be built, and where its result would lie, as far as that needs no engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import on_this_host
from orchestrator.containers.images import image_id
from orchestrator.plan.plan import make_request, planned_backend
from orchestrator.provision import pythons, toolchain
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.run.cache_key import BuildPlaces, builder
from orchestrator.run.cache_lookup import Ways, actions_of
from orchestrator.run.inputs import caches, has_engine, open_host
from orchestrator.source.fingerprint import identify
from orchestrator.source.stage import fetch_sdist

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.builders.backend_choice import Survey
    from orchestrator.models.target import BackendName, BuildRequest, Source, Target, TargetId
    from orchestrator.run.cache_key import Action
    from orchestrator.run.cache_lookup import Way
    from orchestrator.run.inputs import Inputs

_lock_digest = cache(toolchain.lock_digest)


def request_for(
    target: Target,
    source: Source,
    backend: BackendName,
    made: Mapping[TargetId, BuildRequest],
    *,
    in_container: bool,
) -> BuildRequest:
    """Return the request of a target, with its key.

    Args:
        target: what to build.
        source: the source.
        backend: what builds it.
        made: the requests of the targets it needs.
        in_container: whether that is in a container of the target's image.
    """
    return make_request(
        target,
        source=source,
        backend=backend,
        toolchain=_lock_digest(),
        builder=builder(),
        needs=[made[each].key for each in target.needs],
        in_container=in_container,
    )


def tested(target: Target, source: Source) -> Target:
    """Return a target that is tested on other Pythons only where there is a test."""
    own_test = "test-command" in source.own_options
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

    Args:
        inputs: what to build.
        skip: the directories a build would write to; they are no part of the source.
        environ: this process's environment.
        say: told when the toolchain has to be made first.
    """

    def fetch(requirement: str) -> Path:
        return fetch_sdist(requirement, host=open_host(environ, say))

    source = identify(
        inputs.origin,
        fetch=fetch,
        skip=(*skip, inputs.matrix, *inputs.beside, *caches(environ)),
        cache_dir=default_cache_dir(environ),
        environ=environ,
    ).source
    made: dict[TargetId, BuildRequest] = {}
    for each in inputs.targets:  # in plan order: what is needed comes first
        backend = planned_backend(each, inputs.facts)
        made[each.id] = request_for(each, source, backend, made, in_container=True)
    return tuple(made.values())


def planned_actions(
    inputs: Inputs,
    source: Source,
    survey: Survey,
    *,
    wanted: BackendName | None,
    environ: Mapping[str, str],
) -> dict[TargetId, tuple[Action, ...]]:
    """Return where the results of targets would lie, without asking this machine what it can do.

    The engine is asked only for what it has under the name of an image that is not pinned.

    Args:
        inputs: what to build.
        source: the source.
        survey: knows the engine.
        wanted: the backend of ``--backend``; None for auto.
        environ: this process's environment.
    """
    find = partial(pythons.known, environ=environ, cache_dir=survey.host.cache_dir)
    ways = Ways(facts=inputs.facts, wanted=wanted, has_engine=has_engine(inputs, survey))
    return actions_of(
        inputs.targets,
        ways.of,
        surroundings(inputs, survey, find),
        request=partial(request_of, source),
        scope=inputs.store.scope,
    )


def request_of(
    source: Source,
    target: Target,
    way: Way,
    made: Mapping[TargetId, BuildRequest],
) -> BuildRequest:
    """Return the request of a target that is built in some way; see `request_for`."""
    backend, contained = way
    built = target if contained else on_this_host(target)
    return request_for(built, source, backend, made, in_container=contained)


def surroundings(
    inputs: Inputs,
    survey: Survey,
    interpreter: Callable[[str], pythons.Interpreter | None],
) -> BuildPlaces:
    """Return where builds would run; the engine is asked for names of images, where one is there.

    Args:
        inputs: what to build.
        survey: knows the engine.
        interpreter: finds the interpreter of a python tag; None when none is known.
    """

    def identify_image(reference: str) -> str:
        chosen = survey.engine.chosen if has_engine(inputs, survey) else None
        return "" if chosen is None else image_id(chosen.name, reference, env=survey.env)

    return BuildPlaces(
        host=survey.host,
        create_args=inputs.engine.create_args,
        image_id=identify_image,
        interpreter=interpreter,
        has_engine=has_engine(inputs, survey),
    )
