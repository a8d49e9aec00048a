"""A whole run: tools, source, choice of backends, builds, results."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import __version__
from orchestrator.builders.base import Backend, Host
from orchestrator.builders.choose import Choice, DirectHost, Survey, choose
from orchestrator.builders.cibuildwheel import Cibuildwheel
from orchestrator.builders.compiler_cache import (
    REMOTE,
    CompilerCache,
    compiler_names,
    own_launcher,
)
from orchestrator.builders.contained import Contained
from orchestrator.builders.container import Shop
from orchestrator.builders.direct import Direct
from orchestrator.builders.library import LibraryBuilder
from orchestrator.builders.source import Staged, fetch_sdist, stage
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import engine as engines
from orchestrator.host import interpreters, process, toolchain
from orchestrator.host.capacity import capacity
from orchestrator.host.checks import Checker
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.models import (
    BackendName,
    BuildResult,
    CompilerCacheUse,
    Failure,
    FailureKind,
    Status,
    TargetId,
)
from orchestrator.plan import make_request, planned_backend
from orchestrator.run.dispatch import Pace, decided, dispatch
from orchestrator.run.worker import Assignment, Compilers, Places, Worker
from orchestrator.wheel import Policies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.builders.origin import Origin
    from orchestrator.config.settings import CompilerCache as CompilerCacheSettings
    from orchestrator.config.settings import Engine
    from orchestrator.config.settings import Run as RunSettings
    from orchestrator.models import BuilderFacts, BuildRequest, Target
    from orchestrator.run.executors.local import Listener

LABEL = "orchestrator.run"
"""Container label whose value is the run's ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run.

    Attributes:
        jobs: targets at once; None to derive it from the machine.
        backend: the backend of ``--backend``; None for auto.
        fail_fast: stop at the first failure.
        output: where wheels go.
        work: where everything else goes.
        seconds: how long targets took in earlier runs.
    """

    jobs: int | None
    backend: BackendName | None
    fail_fast: bool
    output: Path
    work: Path
    seconds: Mapping[TargetId, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What to build.

    Attributes:
        targets: the selected targets, in plan order.
        origin: the source.
        compiler_cache: ``[compiler-cache]`` of the matrix.
        matrix: the matrix file. It is no part of the source, where it lies: a comment in it must
            not change every key.
        engine: ``[engine]`` of the matrix.
        run: ``[run]`` of the matrix.
        facts: what the locked cibuildwheel knows.
    """

    targets: tuple[Target, ...]
    origin: Origin
    matrix: Path
    engine: Engine
    compiler_cache: CompilerCacheSettings
    run: RunSettings
    facts: BuilderFacts


def open_host(environ: Mapping[str, str], say: Callable[[str], object]) -> Host:
    """Return what backends need of this machine, the toolchain made first if it is missing.

    Args:
        environ: this process's environment.
        say: told when the toolchain is being made, which takes a while.

    Raises:
        EnvironmentProblemError: the toolchain cannot be made.
    """
    cache = toolchain.default_cache_dir(environ)
    network = HostNetwork.detect(environ)
    tools = toolchain.existing(cache)
    if tools is None:
        say("preparing the locked toolchain (once for each lock, in the cache)")
        tools = toolchain.sync(cache, network, environ=environ)
    return Host(toolchain=tools, network=network, env=base_env(environ), cache_dir=cache)


def request_for(
    target: Target,
    staged: Staged,
    backend: BackendName,
    made: Mapping[TargetId, BuildRequest],
    *,
    in_container: bool,
) -> BuildRequest:
    """Return the request of a target, with its key.

    Args:
        target: what to build.
        staged: the source.
        backend: what builds it.
        made: the requests of the targets it needs.
        in_container: whether that is in a container of the target's image.
    """
    return make_request(
        target,
        source=staged.source,
        backend=backend,
        toolchain=toolchain.lock_digest(),
        builder=__version__,
        needs=[made[each].key for each in target.needs],
        in_container=in_container,
    )


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

    with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
        ours = (*skip, inputs.matrix)
        staged = stage(inputs.origin, dest=Path(scratch, "source"), fetch=fetch, skip=ours)
        made: dict[TargetId, BuildRequest] = {}
        for each in inputs.targets:  # in plan order: what is needed comes first
            backend = planned_backend(each, inputs.facts)
            made[each.id] = request_for(each, staged, backend, made, in_container=True)
        return tuple(made.values())


class Session:
    """One run of ``build``."""

    def __init__(
        self,
        inputs: Inputs,
        options: Options,
        *,
        host: Host,
        environ: Mapping[str, str],
    ) -> None:
        """Prepare a run; nothing is started yet.

        Args:
            inputs: what to build.
            options: how.
            host: from `open_host`.
            environ: this process's environment.
        """
        self.cancel = process.Cancel()
        self._inputs = inputs
        self._options = options
        self._host = host
        self._environ = environ

    def run(
        self,
        listener: Listener,
        *,
        announce: Callable[[Mapping[TargetId, Choice]], object],
        doing: Callable[[str], object],
    ) -> tuple[BuildResult, ...]:
        """Build everything.

        Args:
            listener: hears what happens.
            announce: told the backend of every target before the first build starts.
            doing: told what the preparation is at.

        Returns:
            One result for each target, in plan order, also when interrupted.

        Raises:
            OrchestratorError: the run cannot start.
        """
        options, results = self._options, {}
        with ExitStack() as stack:
            runs = runs_directory(options.work, self._host.cache_dir)
            killed = stale_runs(runs)
            run = stack.enter_context(run_directory(runs))
            places = _make_places(options, run)
            doing("staging the source")
            skip = (options.output, options.work, self._inputs.matrix)
            staged = stage(self._inputs.origin, dest=run / "source", fetch=self._fetch, skip=skip)
            pulls = stack.enter_context((places.logs / "images.log").open("w", encoding="utf-8"))
            doing("looking for engine, images and interpreters")
            survey, choices = self._surveyed(lambda line: pulls.write(f"{line}\n"), doing)
            announce(choices)
            for name in killed:
                self._clean_up(survey, name)
            try:
                results = self._build(choices, survey, staged, places, listener, run, doing)
            finally:
                with _uninterrupted():
                    self._clean_up(survey, run.name)
        return tuple(results[each.id] for each in self._inputs.targets)

    def _surveyed(
        self, log: Callable[[str], object], doing: Callable[[str], object]
    ) -> tuple[Survey, Mapping[TargetId, Choice]]:
        def ask() -> tuple[Survey, Mapping[TargetId, Choice]]:
            survey = self._make_survey(log)
            return survey, choose(self._inputs.targets, survey, wanted=self._options.backend)

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
        choices: Mapping[TargetId, Choice],
        survey: Survey,
        staged: Staged,
        places: Places,
        listener: Listener,
        run: Path,
        doing: Callable[[str], object],
    ) -> dict[TargetId, BuildResult]:
        worker = Worker(
            staged=staged,
            places=places,
            policies=Policies.from_json(*self._host.toolchain.policy_texts()),
            check=self._checker(),
            step=listener.step,
            cancel=self.cancel,
        )
        assignments: dict[TargetId, Assignment] = {}
        results: dict[TargetId, BuildResult] = {}
        requests: dict[TargetId, BuildRequest] = {}
        for target in self._inputs.targets:
            choice = choices[target.id]
            if choice.backend is None:
                results[target.id] = _without_build(target, choice, Status.UNAVAILABLE)
                listener.ended(results[target.id])
                continue
            own_test = "test-command" in staged.source.own_options
            has_test = own_test or target.steps.test_command is not None
            testers = survey.testers(target, choice) if has_test else ()
            here = replace(target, test_pythons=testers)
            requests[target.id] = request_for(
                here, staged, choice.backend, requests, in_container=choice.container is not None
            )
        cache, own = self._compiler_cache(), staged.pyproject
        for target_id, request in requests.items():
            choice = choices[target_id]
            assignments[target_id] = Assignment(
                request=request,
                backend=self._backend(request, choice, survey, run.name),
                reason=choice.reason,
                container=choice.container,
                compilers=self._compilers(cache, request.target, survey, choice, own),
            )
        return results | dict(
            dispatch(
                assignments,
                worker,
                pace=self._pace(),
                without=lambda target_id, because: _without_build(
                    assignments[target_id].request.target,
                    choices[target_id],
                    Status.CANCELLED,
                    because,
                ),
                listener=listener,
                cancel=self.cancel,
                say=doing,
            )
        )

    def _pace(self) -> Pace:
        options = self._options
        return Pace(
            machine=capacity(),
            jobs=options.jobs,
            settings=self._inputs.run,
            fail_fast=options.fail_fast,
            seconds=options.seconds,
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

    @staticmethod
    def _compilers(
        cache: CompilerCache | None, target: Target, survey: Survey, choice: Choice, pyproject: str
    ) -> Compilers | None:
        """Return what opens the cache for a target's build, None where it has one of its own."""
        if cache is None or own_launcher(target, pyproject):
            return None
        names = compiler_names(target)
        if choice.container is not None:
            return partial(cache.in_container, target, found=survey.programs(target, names))
        return partial(cache.on_host, target, found=process.on_path(names, survey.env["PATH"]))

    def _backend(
        self, request: BuildRequest, choice: Choice, survey: Survey, run_id: str
    ) -> Backend:
        """Return what builds a target, as `choose` decided."""
        label = f"{LABEL}={run_id}"
        create_args = self._inputs.engine.create_args
        engine = survey.known_engine
        shop = None
        if choice.container is not None and engine is not None:
            shop = Shop(
                host=self._host,
                engine=engine,
                images=survey.images,
                create_args=create_args,
                label=label,
            )
        if request.target.library is not None:
            return LibraryBuilder(host=self._host, shop=shop)
        if choice.backend is BackendName.CIBUILDWHEEL and engine is not None:
            return Cibuildwheel(
                host=self._host,
                engine=engine,
                images=survey.images,
                create_args=create_args,
                label=label,
            )
        if shop is not None:
            return Contained(shop=shop)
        found = survey.pythons
        return Direct(
            host=self._host,
            interpreters={
                tag: each.interpreter for tag, each in found.items() if each.interpreter is not None
            },
            include_dirs={tag: each.include_dirs for tag, each in found.items()},
        )

    def _checker(self) -> Checker:
        env = {**self._host.env, **self._host.network.child_env()}
        return Checker(toolchain=self._host.toolchain, env=env, cancel=self.cancel)

    def _clean_up(self, survey: Survey, run_id: str) -> None:
        """Remove containers that a killed cibuildwheel left behind."""
        if survey.known_engine is not None:
            engines.remove_containers(survey.known_engine.name, f"{LABEL}={run_id}", env=survey.env)


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


def _make_places(options: Options, run: Path) -> Places:
    places = Places(
        output=options.output,
        run=run,
        logs=options.work / "logs",
        rejected=options.work / "rejected",
    )
    # A directory that is there may still be read-only, or its disk full: better known now than
    # when the first wheel is finished.
    for folder in (places.output, places.logs, places.rejected):
        _make_writable(folder)
    with contextlib.suppress(OSError):
        (options.work / ".gitignore").write_text("*\n", encoding="utf-8")
    return places


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise EnvironmentProblemError.of(
            f"cannot be written: {error.strerror}",
            where=str(folder),
            hint="free some space, or choose another --output-dir or --work-dir",
        ) from None


def runs_directory(work: Path, cache_dir: Path) -> Path:
    """Return where builds happen: below ``work``, unless that has characters commands stumble over.

    cibuildwheel puts paths into shell commands unquoted, and ``#!`` lines cannot hold a blank.
    """
    if _PLAIN.fullmatch(str(work)):
        return work / "runs"
    return cache_dir / "runs" / hashlib.sha256(os.fsencode(work)).hexdigest()[:16]


_PLAIN = re.compile(r"[A-Za-z0-9._+/@%-]+")


@contextmanager
def run_directory(runs: Path) -> Iterator[Path]:
    """Make a directory for one run below ``runs``, and remove it afterwards.

    A run holds a lock on its directory; the kernel releases it when the process dies.
    """
    _make_writable(runs)
    with _locked(runs):
        run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{threading.get_ident():x}"
        run.mkdir()
        lock = (run / "lock").open("w", encoding="utf-8")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield run
        finally:
            shutil.rmtree(run, ignore_errors=True)


def stale_runs(runs: Path) -> tuple[str, ...]:
    """Remove the directories of runs that were killed, and return their names."""
    names = []
    if not runs.is_dir():
        return ()
    with _locked(runs):
        for run in runs.iterdir():
            with contextlib.suppress(OSError), (run / "lock").open("a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(run, ignore_errors=True)
                names.append(run.name)
    return tuple(names)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a directory, so that a run is never seen without its own lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
