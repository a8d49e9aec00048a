"""One run of ``build``: what the store has is restored, everything else is built."""

from __future__ import annotations

import contextlib
import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.containers.container import ContainerFactory
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process, process_tree
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.provision.tools import Tools
from orchestrator.run.build_missing import MissingBuilder
from orchestrator.run.cache_lookup import restore_results
from orchestrator.run.inputs import open_store
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


class Session:
    """One run of ``build``."""

    def __init__(
        self,
        inputs: Inputs,
        options: Options,
        observers: RunObservers,
        host: Host,
    ) -> None:
        """Prepare a run; nothing is started yet."""
        self._inputs = inputs
        self._options = options
        self._observers = observers
        self._host = host
        self._cancel = process.Cancel()

    def run(self) -> tuple[BuildResult, ...]:
        """Restore every result that the store has, and build the others.

        Returns:
            One result for each target, in plan order, also when interrupted.

        Raises:
            OrchestratorError: the run cannot start.
        """
        targets = self._inputs.targets
        with ExitStack() as stack:
            builder = self._open(stack)
            results = self._restore(builder)
            self._observers.restored([results[each.id] for each in targets if each.id in results])
            missing = [target for target in targets if target.id not in results]
            if missing:
                stack.callback(self._clean_up, builder)
                results |= builder.build(missing)
        return tuple(results[target.id] for target in targets)

    def _open(self, stack: ExitStack) -> MissingBuilder:
        """Make the run's directories, look at the source, and open the store."""
        options = self._options
        runs = runs_directory(options.work, self._host.cache_dir)
        killed = stale_runs(runs)
        directory = stack.enter_context(run_directory(runs))
        places = make_directories(options, directory)
        log = stack.enter_context(lines(directory / "images.log", places.logs / "images.log"))
        host = replace(self._host, env={**self._host.env, RUN_VARIABLE: str(directory)})
        tools = Tools(host=host, cancel=self._cancel, say=log)
        containers = ContainerFactory(
            host=host,
            settings=self._inputs.engine,
            label=f"{LABEL}={directory.name}",
            log=log,
            cancel=self._cancel,
        )
        self._observers.say("looking at the source")
        source = RunSource(
            inputs=self._inputs,
            written=(options.output, options.work),
            environ=self._host.environ,
            host=lambda: host,
            again=options.again,
        )
        identity = source.identify()
        if killed:
            _clean_after(killed, containers)
        return MissingBuilder(
            inputs=self._inputs,
            options=options,
            observers=self._observers,
            source=source,
            tools=tools,
            containers=containers,
            cache=self._open_cache(stack, places, identity, tools),
        )

    def _open_cache(
        self,
        stack: ExitStack,
        places: RunDirectories,
        identity: SourceFingerprint,
        tools: Tools,
    ) -> ResultCache:
        """Open the store, which nobody else clears while this run goes on."""
        settings, toolchain = self._inputs.store, tools.host.toolchain
        store = open_store(
            settings,
            environ=self._host.environ,
            warn=self._observers.say,
            read_only=self._options.read_only,
        )
        stack.callback(_remove_oldest, store, settings.size_limit)
        stack.enter_context(store.local.lease())
        return ResultCache(
            store=store,
            places=places,
            identity=identity,
            project=self._inputs.project,
            policies=cache(lambda: Policies.from_json(*toolchain.policy_texts())),
            check=ExternalChecks(toolchain=toolchain, env=tools.host.net_env, cancel=self._cancel),
            step=self._observers.listener.step,
            cancel=self._cancel,
            look_up=self._options.cache,
        )

    def _restore(self, builder: MissingBuilder) -> dict[TargetId, BuildResult]:
        """Return the results that the store has, without asking this machine what it can do."""
        if not self._options.cache:
            return {}
        found = builder.cache
        actions = planned_actions(
            self._inputs,
            found.identity.source,
            tools=builder.tools,
            containers=builder.containers,
            wanted=self._options.backend,
        )
        results = restore_results(self._inputs.targets, actions, found)
        found.note_last({each: action.address for each, action in found.restored.items()})
        return results

    def _clean_up(self, builder: MissingBuilder) -> None:
        """Remove containers that a killed cibuildwheel left behind."""
        with _uninterrupted():
            builder.containers.remove_left(builder.containers.label)
            if self._observers.stopped is not None:
                # What a shell left in the background would go on in what is removed.
                process_tree.kill_left(RUN_VARIABLE, str(builder.cache.places.run))


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
