"""One target's way: stage, build, detect, rewrite, verify, and only then ``dist/``."""

from __future__ import annotations

import errno
import filecmp
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from packaging.version import Version

from orchestrator.builders.base import Backend, BuildContext, StepTimer, StoppedBuild
from orchestrator.builders.library import collect
from orchestrator.containers.access import Access
from orchestrator.cross import ccache, native_gcc
from orchestrator.errors import BadWheelError, EnvironmentProblemError, OrchestratorError
from orchestrator.fsutil import copy_file, copy_tree, install_file, remove_tree
from orchestrator.host.redaction import masked
from orchestrator.host.transient_errors import is_transient
from orchestrator.models.result import (
    BuildResult,
    CompileReport,
    ContainerInfo,
    Failure,
    FailureKind,
    Status,
)
from orchestrator.models.target import BuildRequest, OnMismatch, OnRefusal, TargetId, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity, WheelReport
from orchestrator.plan.version import origins
from orchestrator.run.finish import (
    _ABI3_HINT,
    _VARIANT_HINT,
    _needs_outside,
    _unpromising,
    demands_on,
    expected,
    not_what_it_says,
)
from orchestrator.wheel import Policies, levelled, report, retag, verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Target
    from orchestrator.source.stage import StagedSource

_NOT_A_PLATFORM = {"any", "unknown"}

Check = Callable[[Path, WheelReport, VerifyPolicy, Callable[[str], object]], tuple[Finding, ...]]
"""What other tools say about a finished wheel: see `provision.external_checks.Checker`."""


Compilers = Callable[[Path], Access]
"""Opens the compiler cache and native compilers for a build, given its private directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A target with the backend that will build it.

    Attributes:
        request: what to build.
        backend: what builds it.
        reason: why this backend.
        container: what its container is made by and of; None without one.
        compilers: opens the compiler cache and native compilers for it, given its private
            directory; None for a build without.
        compiled: how it is compiled for a foreign architecture; None for this machine's own.
        parallel: variables that say how many programs it may run at once.
    """

    request: BuildRequest
    backend: Backend
    reason: str
    container: ContainerInfo | None = None
    compilers: Compilers | None = None
    compiled: CompileReport | None = None
    parallel: Mapping[str, str] = field(default_factory=dict)


class ResultSink(Protocol):
    """Keeps what is finished; see `orchestrator.run.result_cache`."""

    def turn(self, assignment: Assignment) -> AbstractContextManager[BuildResult | None]:
        """Hold a target while it is built; gives its result where another run has made it."""

    def keep_wheel(  # noqa: PLR0913 - mostly keywords
        self,
        request: BuildRequest,
        wheel: Path,
        report: WheelReport,
        *,
        demands: VerifyPolicy,
        said: tuple[Finding, ...],
        log: Path,
    ) -> None:
        """Keep a finished wheel."""

    def keep_outputs(self, request: BuildRequest, folder: Path, *, log: Path) -> None:
        """Keep the outputs of a library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDirectories:
    """Directories of a run.

    Attributes:
        output: finished wheels, ``dist/``.
        run: private to this run, removed at its end.
        logs: one log file a target.
        rejected: wheels that are not what they say.
    """

    output: Path
    run: Path
    logs: Path
    rejected: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Carries assignments out; one worker serves all threads of a run.

    Attributes:
        staged: the clean source.
        places: where things go.
        policies: auditwheel's policies.
        check: what other tools find in a wheel.
        step: told (target ID, step name).
        cancel: stops all programs.
        keeper: keeps what is finished; None to forget it.
        published: name of a wheel -> the target it is of.
        stopped: told where a build failed, before anything there is removed; None where nobody
            wants to look.
    """

    staged: StagedSource
    places: RunDirectories
    policies: Policies
    check: Check
    step: Callable[[TargetId, str], object]
    cancel: Cancel
    keeper: ResultSink | None = None
    published: dict[str, TargetId] = field(default_factory=dict)
    stopped: Callable[[StoppedBuild], object] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def execute(self, assignment: Assignment, attempt: int = 1) -> BuildResult:
        """Build one target; every failure is part of the result.

        Args:
            assignment: the target, and what builds it.
            attempt: which attempt it is; the log keeps those before.
        """
        if self.keeper is None:
            return self._execute(assignment, attempt)
        with self.keeper.turn(assignment) as kept:
            return kept or self._execute(assignment, attempt)

    def _execute(self, assignment: Assignment, attempt: int) -> BuildResult:
        target = assignment.request.target
        started, began = time.monotonic(), time.time()
        course = StepTimer(target.steps)
        log_file = self.places.logs / f"{target.id}.log"
        scratch = self.places.run / "targets" / target.id
        outcome: WheelReport | Failure | None = None
        try:
            with _own_log(self._private_log(target.id), log_file, attempt) as log:
                if attempt > 1:
                    log.write(f"\n==== attempt {attempt}\n\n")
                _write_header(log, assignment)
                outcome = self._attempt(assignment, scratch, log, course)
        except OSError as error:
            # The log itself cannot be written; a wheel that is in dist/ stays what it is.
            outcome = outcome or _system_failure(error)
        finally:
            cached = ccache.stats(scratch)
            made = outcome.elf_files if isinstance(outcome, WheelReport) else ()
            compiled = native_gcc.count_calls(assignment.compiled, scratch, cached, made)
            # Builds may leave directories without write permission; they are not worth a crash.
            remove_tree(scratch, ignore_errors=True)
        result = _result(
            assignment,
            outcome,
            log=log_file,
            duration=time.monotonic() - started,
            rejected=self._rejected_wheel(target.id),
        )
        return replace(
            result,
            started=began,
            steps=course.steps,
            cpu_seconds=course.cpu_seconds,
            compiler_cache=cached,
            compiled=compiled,
        )

    def _private_log(self, target_id: TargetId) -> Path:
        """Where this run writes a target's log: another run of the target has its own."""
        return self.places.run / "logs" / f"{target_id}.log"

    def _attempt(
        self, assignment: Assignment, scratch: Path, log: TextIO, course: StepTimer
    ) -> WheelReport | Failure | None:
        outcome: WheelReport | Failure | None
        try:
            outcome = self._make(assignment, scratch, log, course)
        except OSError as error:
            outcome = _system_failure(error)
        except OrchestratorError as error:
            outcome = _tool_failure(error)
        except Exception as error:  # noqa: BLE001 - a bug must not lose the other targets
            log.write(traceback.format_exc())
            outcome = Failure(
                kind=FailureKind.BUG,
                message=f"a bug in orchestrator: {type(error).__name__}: {error}",
                hint="please report it; the traceback is in the log",
            )
        if isinstance(outcome, Failure):
            outcome = replace(outcome, transient=is_transient(outcome, course.tail))
            log.write(f"\nFAILED ({outcome.kind}): {outcome.message}\n")
        return outcome

    def _make(
        self, assignment: Assignment, scratch: Path, log: TextIO, course: StepTimer
    ) -> WheelReport | Failure | None:
        """Build; None for a library, which has no wheel."""
        target = assignment.request.target
        remove_tree(self.places.rejected / target.id, ignore_errors=True)
        scratch.mkdir(parents=True)

        def step(name: str) -> None:
            course.enter(name)
            log.write(f"\n== {name}\n")
            self.step(target.id, name)

        def write(line: str) -> None:
            course.tail.append(line)
            log.write(f"{line}\n")
            log.flush()

        step("stage")
        copy_tree(self.staged.root, scratch / "source")
        self._receive(target, scratch / "source", write)
        job = BuildContext(
            request=assignment.request,
            source=scratch / "source",
            scratch=scratch,
            log=write,
            step=step,
            cancel=self.cancel,
            compilers=None if assignment.compilers is None else assignment.compilers(scratch),
            course=course,
            parallel=assignment.parallel,
            stopped=self.stopped,
        )
        made = assignment.backend.build(job)
        if isinstance(made, Failure):
            return made
        if target.library is not None:
            return self._collect(made, assignment.request)
        step("verify")
        return self._finish(made, assignment.request, scratch, write)

    def _collect(self, tree: Path, request: BuildRequest) -> Failure | None:
        """Take a library's outputs out of the tree it was built in."""
        target = request.target
        outputs = target.library.outputs if target.library is not None else ()
        failure = collect(tree, outputs, self._outputs(target.id))
        if failure is None and self.keeper is not None:
            log = self._private_log(target.id)
            self.keeper.keep_outputs(request, self._outputs(target.id), log=log)
        return failure

    def _outputs(self, target_id: TargetId) -> Path:
        return self.places.run / "outputs" / target_id

    def _receive(self, target: Target, source: Path, log: Callable[[str], object]) -> None:
        """Copy the outputs of the libraries a target needs into its source.

        Raises:
            EnvironmentProblemError: two of them have a file of one name with different contents.
        """
        came_from: dict[Path, TargetId] = {}
        for need in target.needs:
            folder = self._outputs(need)
            for file in sorted(each for each in folder.rglob("*") if each.is_file()):
                name = file.relative_to(folder)
                place = source / name
                other = came_from.setdefault(name, need)
                if other != need and not filecmp.cmp(file, place, shallow=False):
                    raise EnvironmentProblemError.of(
                        f"{other} and {need} both make {name}, and not the same",
                        hint="give the outputs of the libraries different names",
                    )
                place.parent.mkdir(parents=True, exist_ok=True)
                copy_file(file, place, keep=True)
                log(f"received {name} of {need}")

    def _finish(
        self, wheel: Path, request: BuildRequest, scratch: Path, log: Callable[[str], object]
    ) -> WheelReport | Failure:
        """Detect, rewrite, verify; a wheel that is wrong is kept aside."""
        target = request.target
        external = target.steps.external
        try:
            final = self._rewrite(wheel, request, scratch / "final")
            demands = demands_on(final, target)
            checked = verify(
                final,
                self.policies,
                external=external,
                expected=expected(request.target, request.source.name),
                demands=demands,
            )
        except BadWheelError as error:
            self._set_aside(wheel, target.id)
            return Failure(kind=FailureKind.BAD_WHEEL, step="verify", message=str(error))
        verified, said = checked, self.check(final, checked, demands, log)
        checked = replace(checked, problems=(*checked.problems, *levelled(said, demands)))
        if self.cancel.is_set():
            return Failure(
                kind=FailureKind.CANCELLED, step="verify", message="stopped before it was done"
            )
        for finding in checked.problems:
            log(f"{finding.severity}: {finding.rule}: {finding.message}")
        if any(each.severity is Severity.ERROR for each in checked.problems):
            self._set_aside(final, target.id)
            return not_what_it_says(target, checked.problems)
        if self.keeper is not None:
            place = self._private_log(target.id)
            self.keeper.keep_wheel(request, final, verified, demands=demands, said=said, log=place)
        return self._publish(final, target.id, checked)

    def _rewrite(self, wheel: Path, request: BuildRequest, dest: Path) -> Path:
        target, steps = request.target, request.target.steps
        seen = report(wheel, self.policies, external=steps.external)
        dest.mkdir()
        rewrite = target.on_mismatch is OnMismatch.REWRITE
        tags: tuple[str, ...] | None = (seen.observed_tag, *seen.aliases)
        if seen.observed_tag in _NOT_A_PLATFORM:
            tags = None
        elif steps.repair_refused is OnRefusal.KEEP and _needs_outside(seen.problems):
            # A tag with a policy would promise that what is missing is on every machine.
            tags = (_unpromising(target),)
        # The same version in another spelling is no mismatch: it is spelled as planned.
        respell = Version(seen.version) == Version(target.version)
        return retag(
            wheel,
            dest_dir=dest,
            platform_tags=tags,
            version=target.version if rewrite or respell else None,
            build_tag=target.build_tag if target.build_tag or rewrite else None,
            pins=target.pins,
            epoch=request.source.epoch if steps.normalise else None,
            add_sbom=True,
        )

    def _publish(
        self, wheel: Path, target_id: TargetId, checked: WheelReport
    ) -> WheelReport | Failure:
        """Move a verified wheel to ``dist/``: written aside, synced, renamed."""
        with self._lock:
            owner = self.published.setdefault(wheel.name, target_id)
        if owner != target_id:
            self._set_aside(wheel, target_id)
            return Failure(
                kind=FailureKind.DUPLICATE_WHEEL,
                step="verify",
                message=f"{owner} made a wheel of the same name, {wheel.name}",
                hint=_ABI3_HINT if checked.abi3 else _VARIANT_HINT,
            )
        try:
            install_file(wheel, self.places.output / wheel.name)
        except OSError as error:
            self._set_aside(wheel, target_id)  # a finished wheel is not lost
            return _system_failure(error, where=self.places.output)
        return checked

    def _set_aside(self, wheel: Path, target_id: TargetId) -> None:
        install_file(wheel, self.places.rejected / target_id / wheel.name)

    def _rejected_wheel(self, target_id: TargetId) -> Path | None:
        return next((self.places.rejected / target_id).glob("*.whl"), None)


@contextmanager
def _own_log(private: Path, public: Path, attempt: int) -> Iterator[TextIO]:
    """Write a log that no other run writes to; its public name is that of the last run."""
    private.parent.mkdir(parents=True, exist_ok=True)
    mode: Literal["w", "a"] = "w" if attempt == 1 else "a"
    with private.open(mode, encoding="utf-8", errors="replace") as log:
        _show(private, public)
        try:
            yield log
        finally:
            _show(private, public)


def _show(private: Path, public: Path) -> None:
    """Give a file another name; the one that had it keeps its contents for whoever reads it."""
    with suppress(OSError):  # a build does not fail for the name of its log
        install_file(private, public, link=True)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def _tool_failure(error: OrchestratorError) -> Failure:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return _system_failure(cause)
    return Failure(kind=FailureKind.ENGINE, message=str(error))


def _system_failure(error: OSError, *, where: Path | None = None) -> Failure:
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        # One entry a file, each (source, destination, text); they all have the first one's cause.
        first = str(error.args[0][0][-1])
        full = "No space left" in first or "quota" in first
        message = first
    else:
        full = error.errno in _FULL
        place = where or error.filename
        message = f"{error.strerror or error}: {place}" if place else str(error.strerror or error)
    return Failure(
        kind=FailureKind.DISK if full else FailureKind.SOURCE,
        message=message,
        hint="free some space, or choose another --output-dir or --work-dir" if full else "",
    )


def _result(
    assignment: Assignment,
    outcome: WheelReport | Failure | None,
    *,
    log: Path,
    duration: float,
    rejected: Path | None,
) -> BuildResult:
    failure = outcome if isinstance(outcome, Failure) else None
    status = Status.OK
    if failure is not None:
        cancelled = failure.kind is FailureKind.CANCELLED
        status = Status.CANCELLED if cancelled else Status.FAILED
    return BuildResult(
        target_id=assignment.request.target.id,
        key=assignment.request.key,
        status=status,
        backend=assignment.backend.name,
        backend_reason=assignment.reason,
        wheel=outcome if isinstance(outcome, WheelReport) else None,
        rejected=rejected,
        log=log,
        duration=duration,
        failure=failure,
        parts=assignment.request.target.parts,
        request=assignment.request,
        container=assignment.container,
    )


def described(compiled: CompileReport) -> str:
    """Return how a target is compiled, in one line."""
    because = f" ({compiled.why})" if compiled.why else ""
    installer = f"; installed by {compiled.installer}" if compiled.installer else ""
    kernels = f"; CUDA: {compiled.cuda}" if compiled.cuda else ""
    return f"{compiled.emulation}: compiled by {compiled.compiler}{because}{kernels}{installer}"


def _write_header(log: TextIO, assignment: Assignment) -> None:
    target = assignment.request.target
    log.write(f"target   {target.id}\n")
    log.write(f"version  {target.version}\n")
    log.writelines(f"  {line}\n" for line in origins(target.parts))
    log.write(f"backend  {assignment.backend.name}: {assignment.reason}\n")
    log.write(f"image    {target.image}\n")
    if assignment.compiled is not None:
        log.write(f"emulation {described(assignment.compiled)}\n")
    if assignment.container is not None:
        used = assignment.container
        log.write(f"  {used.digest or 'local'}, ID {used.image_id}\n")
    log.write(f"key      {assignment.request.key}\n")
    log.writelines(
        f"env      {each.name}={masked(each.value)}  # {each.origin}\n" for each in target.env
    )
    log.flush()
