"""One run of ``build``: what the store has is restored, everything else is built."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.containers.container import ContainerFactory
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process, process_tree
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.provision.tools import Tools
from orchestrator.run.cache_lookup import restore_results
from orchestrator.run.inputs import open_store
from orchestrator.run.invocation import RunProvenance
from orchestrator.run.planned import planned_actions
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import (
    LABEL,
    RUN_VARIABLE,
    lines,
    make_directories,
    run_directory,
    runs_directory,
    stale_runs,
)
from orchestrator.run.run_source import RunSource
from orchestrator.wheel import Policies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import TargetId
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs, Options, RunObservers
    from orchestrator.run.run_dir import RunDirectories
    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.store.cas import Store


def run_session(
    inputs: Inputs, options: Options, observers: RunObservers, host: Host
) -> tuple[BuildResult, ...]:
    """Restore every result that the store has, and build the others.

    Returns:
        One result for each target, in plan order, also when interrupted.

    Raises:
        OrchestratorError: the run cannot start.
    """
    with ExitStack() as stack:
        places, tools, containers = _open_tools(stack, inputs, options, host)
        observers.say("looking at the source")
        source = RunSource(
            inputs=inputs,
            written=(options.output, options.work),
            environ=host.environ,
            host=lambda: tools.host,
            again=options.again,
        )
        store = _open_store(stack, inputs, options, observers, host)
        cache = _result_cache(store, inputs, options, observers, tools, places, source.identify())
        results = _restore(inputs, options, tools, containers, cache)
        observers.restored([results[each.id] for each in inputs.targets if each.id in results])
        missing = [target for target in inputs.targets if target.id not in results]
        if missing:
            # Backends and compilers take long to import, and what the store has needs none.
            from orchestrator.run.build_missing import MissingBuilder  # noqa: PLC0415

            if unknown := ", ".join(host.network.only_pip_here):
                # The log of each target says it as well.
                observers.say(f"pip installs what builds require: uv does not know {unknown}")
            stack.callback(_clean_up, containers, observers, places)
            results |= MissingBuilder(
                inputs=inputs,
                options=options,
                observers=observers,
                source=source,
                tools=tools,
                containers=containers,
                cache=cache,
            ).build(missing)
            if inputs.lock is not None and (newer := tools.locked_environments.newer):
                told = ", ".join(f"{pin} ({version})" for pin, version in sorted(newer.items()))
                observers.say(f"{inputs.lock.where}: the index has newer: {told}")
    return tuple(results[target.id] for target in inputs.targets)


def _open_tools(
    stack: ExitStack, inputs: Inputs, options: Options, host: Host
) -> tuple[RunDirectories, Tools, ContainerFactory]:
    """Make the run's directories, and remove what killed runs have left."""
    runs = runs_directory(options.work, host.cache_dir)
    killed = stale_runs(runs)
    directory = stack.enter_context(run_directory(runs))
    places = make_directories(options, directory)
    log = stack.enter_context(lines(directory / "images.log", places.logs / "images.log"))
    host = replace(host, env={**host.env, RUN_VARIABLE: str(directory)})
    tools = Tools(host=host, cancel=process.Cancel(), say=log)
    containers = ContainerFactory(
        host=host,
        settings=inputs.engine,
        label=f"{LABEL}={directory.name}",
        log=log,
        cancel=tools.cancel,
    )
    if killed:
        _clean_after(killed, containers)
    return places, tools, containers


def _open_store(
    stack: ExitStack, inputs: Inputs, options: Options, observers: RunObservers, host: Host
) -> Store:
    """Open the store, which nobody else clears while this run goes on."""
    store = open_store(
        inputs.store, environ=host.environ, warn=observers.say, read_only=options.read_only
    )
    stack.callback(_remove_oldest, store, inputs.store.size_limit)
    stack.enter_context(store.local.lease())
    return store


def _result_cache(  # noqa: PLR0913, PLR0917 - everything that a run has opened so far
    store: Store,
    inputs: Inputs,
    options: Options,
    observers: RunObservers,
    tools: Tools,
    places: RunDirectories,
    identity: SourceFingerprint,
) -> ResultCache:
    toolchain = tools.host.toolchain
    return ResultCache(
        store=store,
        places=places,
        identity=identity,
        project=inputs.project,
        policies=functools.cache(lambda: Policies.from_json(*toolchain.policy_texts())),
        check=ExternalChecks(toolchain=toolchain, env=tools.host.net_env, cancel=tools.cancel),
        step=observers.listener.step,
        cancel=tools.cancel,
        provenance=RunProvenance(inputs.origin, identity, tools.host.environ),
        look_up=options.cache,
    )


def _restore(
    inputs: Inputs, options: Options, tools: Tools, containers: ContainerFactory, cache: ResultCache
) -> dict[TargetId, BuildResult]:
    """Return the results that the store has, without asking this machine what it can do."""
    if not options.cache:
        return {}
    actions = planned_actions(
        inputs,
        cache.identity.source,
        tools=tools,
        containers=containers,
        wanted=options.backend,
    )
    return restore_results(inputs.targets, actions, cache)


def _clean_up(
    containers: ContainerFactory, observers: RunObservers, places: RunDirectories
) -> None:
    """Remove containers that a killed cibuildwheel left behind."""
    with _uninterrupted():
        containers.remove_left(containers.label)
        if observers.stopped is not None:
            # What a shell left in the background would go on in what is removed.
            process_tree.kill_left(RUN_VARIABLE, str(places.run))


def _clean_after(killed: tuple[str, ...], containers: ContainerFactory) -> None:
    """Remove what killed runs left: now, as perhaps there is nothing left to build."""
    if containers.installed:
        with contextlib.suppress(EnvironmentProblemError):  # no engine answers
            _ = containers.engine
    for run_id in killed:
        containers.remove_left(f"{LABEL}={run_id}")


def _remove_oldest(store: Store, limit: int) -> None:
    """Remove what was not used for longest, if this run has put something in."""
    if store.wrote:
        with contextlib.suppress(OSError):
            store.local.collect(limit)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let nobody who presses Ctrl-C once more keep us from removing containers."""
    ours = threading.current_thread() is threading.main_thread()
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if ours else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
