"""One target's way: stage, build, detect, rewrite, verify, and only then ``dist/``."""

from __future__ import annotations

import errno
import filecmp
import shutil
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TextIO

from packaging.version import Version

from orchestrator.builders.base import BuildContext, StepTimer
from orchestrator.builders.build_requirements import PREPARE, without_requirements
from orchestrator.builders.clues import Clues, with_clue, without_code
from orchestrator.builders.environment_check import hear_environment, unwanted_nvcc
from orchestrator.builders.library import collect
from orchestrator.containers.access import NO_ACCESS
from orchestrator.cross import ccache, native_gcc
from orchestrator.errors import BadWheelError, EnvironmentProblemError, OrchestratorError
from orchestrator.fsutil import (
    copy_beneath,
    copy_tree,
    files_below,
    install_file,
    make_beneath,
    open_beneath,
    remove_tree,
    resolve_beneath,
)
from orchestrator.host.redaction import masked
from orchestrator.host.transient_errors import is_transient
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import OnMismatch, OnRefusal
from orchestrator.models.wheel import Severity, WheelReport, finding_lines
from orchestrator.plan.version import origins
from orchestrator.run.finish import (
    bug,
    demands_on,
    duplicate_name,
    expected,
    left_out,
    not_what_it_says,
    plain_platform_tag,
)
from orchestrator.wheel import apply_levels, report, retag, verify
from orchestrator.wheel.policy import PlatformTag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.builders.base import StoppedBuild
    from orchestrator.models.platforms import Libc
    from orchestrator.models.result import CompileReport
    from orchestrator.models.target import BuildRequest, Target, TargetId
    from orchestrator.run.backends import Assignment
    from orchestrator.run.result_cache import ResultCache
    from orchestrator.run.run_dir import RunDirectories
    from orchestrator.source.stage import StagedSource

_NOT_A_PLATFORM = {"any", "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Carries assignments out; one worker serves all threads of a run.

    Attributes:
        staged: the clean source.
        cache: keeps what is finished, and knows the run.
        stopped: told where a build failed, before anything there is removed; None where nobody
            wants to look.
        waits: told that a target waits for long, and what for; see `BuildContext`.
    """

    staged: StagedSource
    cache: ResultCache
    stopped: Callable[[StoppedBuild], object] | None = None
    waits: Callable[[TargetId, str], object] = lambda _target, _sentence: None

    @property
    def places(self) -> RunDirectories:
        """The run's directories."""
        return self.cache.places

    def execute(self, assignment: Assignment, attempt: int = 1) -> BuildResult:
        """Build one target; every failure is part of the result. The log keeps all attempts."""
        with self.cache.claim(assignment) as restored:
            return restored or self._execute(assignment, attempt)

    def _execute(self, assignment: Assignment, attempt: int) -> BuildResult:
        target = assignment.target
        began = time.time()
        log_file, private_log = self.places.log(target.id), self.places.private_log(target.id)
        scratch = self.places.scratch(target.id)
        clues, timer = Clues(), StepTimer(target.steps)
        outcome: WheelReport | Failure | None = None
        try:
            with _own_log(private_log, log_file, attempt) as log:
                if attempt > 1:
                    log.write(f"\n==== attempt {attempt}\n\n")
                _write_header(log, assignment)
                job = self._open_job(assignment, log, timer, clues)
                outcome = self._attempt(assignment, job)
        except OSError as error:
            # The log itself cannot be written; a wheel that is in dist/ stays what it is.
            outcome = outcome or _system_failure(error)
        finally:
            cached = ccache.stats(scratch)
            made = outcome.elf_files if isinstance(outcome, WheelReport) else ()
            compiled = native_gcc.count_calls(assignment.compiled, scratch, cached, made)
            # Builds may leave directories without write permission; they are not worth a crash.
            remove_tree(scratch, ignore_errors=True)
        failure = outcome if isinstance(outcome, Failure) else None
        return BuildResult(
            target_id=target.id,
            key=assignment.request.key,
            status=_status(failure),
            backend=assignment.backend.name,
            backend_reason=assignment.reason,
            wheel=outcome if isinstance(outcome, WheelReport) else None,
            rejected=next((self.places.rejected / target.id).glob("*.whl"), None),
            log=log_file,
            duration=time.monotonic() - timer.began,
            failure=failure,
            parts=target.parts,
            request=assignment.request,
            container=assignment.container,
            started=began,
            steps=timer.steps,
            cpu_seconds=timer.cpu_seconds,
            compiler_cache=cached,
            compiled=compiled,
            environment=clues.environment,
            provenance=self.cache.provenance(began),
        )

    def _open_job(
        self, assignment: Assignment, log: TextIO, timer: StepTimer, clues: Clues
    ) -> BuildContext:
        """Return what a backend gets; what is prepared for the build comes later."""
        scratch = self.places.scratch(assignment.target.id)

        def step(name: str) -> None:
            timer.enter(name)
            clues.begin_step(name)
            log.write(f"\n== {name}\n")
            self.cache.step(assignment.target.id, name)

        def write(line: str) -> None:
            log.write(f"{line}\n")
            log.flush()

        return BuildContext(
            request=assignment.request,
            source=scratch / "source",
            scratch=scratch,
            log=write,
            step=step,
            cancel=self.cache.cancel,
            timer=timer,
            clues=clues,
            parallel=assignment.parallel,
            stopped=self.stopped,
            waits=partial(self.waits, assignment.target.id),
        )

    def _attempt(self, assignment: Assignment, job: BuildContext) -> WheelReport | Failure | None:
        outcome: WheelReport | Failure | None
        try:
            outcome = self._make(assignment, job)
        except OSError as error:
            outcome = _system_failure(error)
        except OrchestratorError as error:
            outcome = _tool_failure(error)
        except Exception as error:  # noqa: BLE001 - a bug must not lose the other targets
            job.log(traceback.format_exc())
            outcome = bug(error)
        if isinstance(outcome, Failure):
            transient = outcome.transient or is_transient(outcome.kind, job.clues.tail)
            outcome = replace(outcome, transient=transient)
            job.log(f"\nFAILED ({outcome.kind}): {outcome.message}")
        return outcome

    def _make(self, assignment: Assignment, job: BuildContext) -> WheelReport | Failure | None:
        """Build; None for a library, which has no wheel."""
        target = assignment.target
        remove_tree(self.places.rejected / target.id, ignore_errors=True)
        job.scratch.mkdir(parents=True)
        job.step("stage")
        copy_tree(self.staged.root, job.source)
        self._receive(target, job.source, job.log)
        if assignment.requirements is not None:
            job.step(PREPARE)
            try:
                job = replace(
                    job, requirements=assignment.requirements(job.source, job.scratch, job.log)
                )
            except EnvironmentProblemError as error:
                return without_requirements(error)
        requirements, clues = job.requirements, job.clues
        clues.answer = partial(
            hear_environment, target=target, locked=requirements.locked, log=job.log
        )
        found = NO_ACCESS if assignment.compilers is None else assignment.compilers(job.scratch)
        job = replace(job, compilers=found.in_front_of(requirements.access))
        made = assignment.backend.build(job)
        made = requirements.check_unchanged() or made
        if isinstance(made, Failure):
            contained = assignment.container is not None
            made = with_clue(made, clues, target, source=job.source, in_container=contained)
            note = unwanted_nvcc(target, clues.environment)
            return replace(made, hint=note) if note and made.kind is FailureKind.BUILD else made
        if target.library is not None:
            return self._collect(made, assignment, job.timer)
        job.step("verify")
        return self._finish(made, assignment, job)

    def _collect(self, tree: Path, assignment: Assignment, timer: StepTimer) -> Failure | None:
        """Take a library's outputs out of the tree it was built in."""
        target = assignment.target
        outputs = target.library.outputs if target.library is not None else ()
        folder, log = self.places.outputs(target.id), self.places.private_log(target.id)
        failure = collect(tree, outputs, folder)
        if failure is None:
            self.cache.store_outputs(
                assignment, folder, log=log, seconds=time.monotonic() - timer.began
            )
        return failure

    def _receive(self, target: Target, source: Path, log: Callable[[str], object]) -> None:
        """Copy the outputs of the libraries a target needs into its source.

        Raises:
            EnvironmentProblemError: two of them have a file of one name with different contents.
        """
        came_from: dict[Path, TargetId] = {}
        for need in target.needs:
            folder = self.places.outputs(need)
            for file in files_below(folder):
                name = file.relative_to(folder)
                # A link of the source may lead elsewhere in it, and nowhere else.
                place = source / resolve_beneath(source, name.parent) / name.name
                other = came_from.setdefault(name, need)
                if other != need and not filecmp.cmp(file, place, shallow=False):
                    raise EnvironmentProblemError.of(
                        f"{other} and {need} both make {name}, and not the same",
                        hint="give the outputs of the libraries different names",
                    )
                make_beneath(source, place.parent.relative_to(source))
                copy_beneath(folder, name, place)
                log(f"received {name} of {need}")

    def _finish(
        self, wheel: Path, assignment: Assignment, job: BuildContext
    ) -> WheelReport | Failure:
        """Detect, rewrite, verify, store, publish; a wheel that is wrong is kept aside."""
        target, request = assignment.target, assignment.request
        try:
            # The build decided what lies there: a link would lead to a file of this host.
            open_beneath(wheel.parent, wheel.name).close()
        except OSError as error:
            message = f"{wheel.name}: {error.strerror}"
            return Failure(kind=FailureKind.BAD_WHEEL, step="collect", message=message)
        try:
            final = self._rewrite(wheel, request, job.scratch / "final")
            demands = demands_on(final, target)
            verified = verify(
                final,
                self.cache.policies(),
                external=target.steps.external,
                expected=expected(target, request.source.name),
                demands=demands,
            )
        except BadWheelError as error:
            self._set_aside(wheel, target.id)
            return Failure(kind=FailureKind.BAD_WHEEL, step="verify", message=str(error))
        said = (*self.cache.check(final, demands, job.log), *left_out(job.clues.build.left_out))
        problems = (*verified.problems, *apply_levels(said, demands))
        if self.cache.cancel.is_set():
            return Failure(
                kind=FailureKind.CANCELLED, step="verify", message="stopped before it was done"
            )
        for severity, text in finding_lines(problems):
            job.log(f"{severity}: {text}")
        if any(finding.severity is Severity.ERROR for finding in problems):
            self._set_aside(final, target.id)
            failure, contained = not_what_it_says(target, problems), assignment.container
            if any(finding.rule == "not-platform-wheel" for finding in problems):
                inside = contained is not None
                return without_code(failure, job.clues, target, in_container=inside)
            return failure
        self.cache.store_wheel(
            *(assignment, final, verified),
            demands=demands,
            said=said,
            log=self.places.private_log(target.id),
            seconds=time.monotonic() - job.timer.began,
            environment=job.clues.environment,
        )
        return self._publish(final, target.id, replace(verified, problems=problems))

    def _rewrite(self, wheel: Path, request: BuildRequest, dest: Path) -> Path:
        target, steps = request.target, request.target.steps
        seen = report(wheel, self.cache.policies(), external=steps.external)
        dest.mkdir()
        rewrite = target.on_mismatch is OnMismatch.REWRITE
        lacks = any(finding.rule == "external-library" for finding in seen.problems)
        # A static program has tags of both C libraries; another target may make the other wheel.
        tags: tuple[str, ...] | None = tuple(
            tag for tag in (seen.observed_tag, *seen.aliases) if _is_for(tag, target.libc)
        )
        if seen.observed_tag in _NOT_A_PLATFORM or not tags:
            tags = None
        elif steps.repair_refused is OnRefusal.KEEP and lacks:
            # A tag with a policy would promise that what is missing is on every machine.
            tags = (plain_platform_tag(target),)
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
        with self.cache.lock:
            owner = self.cache.published.setdefault(wheel.name, target_id)
        if owner != target_id:
            self._set_aside(wheel, target_id)
            return duplicate_name(wheel.name, owner, abi3=bool(checked.abi3))
        try:
            install_file(wheel, self.places.output / wheel.name)
        except OSError as error:
            self._set_aside(wheel, target_id)  # a finished wheel is not lost
            return _system_failure(error, where=self.places.output)
        return checked

    def _set_aside(self, wheel: Path, target_id: TargetId) -> None:
        install_file(wheel, self.places.rejected / target_id / wheel.name)


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
    return Failure(kind=FailureKind.ENGINE, message=str(error), transient=error.transient)


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


def _status(failure: Failure | None) -> Status:
    if failure is None:
        return Status.OK
    return Status.CANCELLED if failure.kind is FailureKind.CANCELLED else Status.FAILED


def _describe_compilers(compiled: CompileReport) -> str:
    """Say how a target is compiled, in one line."""
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
        log.write(f"emulation {_describe_compilers(assignment.compiled)}\n")
    if assignment.container is not None:
        used = assignment.container
        log.write(f"  {used.digest or 'local'}, ID {used.image_id}\n")
    log.write(f"key      {assignment.request.key}\n")
    log.writelines(
        f"env      {each.name}={masked(each.value)}  # {each.origin}\n" for each in target.env
    )
    log.flush()


def _is_for(tag: str, libc: Libc) -> bool:
    """Whether a platform tag promises this C library, or none."""
    parsed = PlatformTag.parse(tag)
    return parsed is None or parsed.libc in {None, libc}
