"""Result cache: restores finished targets from the store, and stores new ones at once.

A wheel comes back without a program being started: what verification found is stored with it. If
the matrix demands something else today, the wheel is verified again, from its bytes. Only a tool
whose rule was off when the wheel was built, and is on now, has to run.

What others put into a shared store comes without a verdict (see `orchestrator.store.cas`): it is
verified as after a build, and if anything is wrong, it counts as missing.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadWheelError, EnvironmentProblemError
from orchestrator.fsutil import copy_file, files_below, install_file, remove_tree
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import RuleLevel, TargetId, VerifyPolicy
from orchestrator.models.untrusted import FileMode, RelativePath
from orchestrator.models.wheel import Finding, Severity, WheelReport
from orchestrator.plan.plan import digest
from orchestrator.run.finish import demands_on, expected, not_what_it_says
from orchestrator.store.result_record import TOOLS, OutputFile, Record, VerifyVerdict
from orchestrator.store.seals import HERE
from orchestrator.wheel import WheelName, apply_levels, planned_name, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.host.process import Cancel
    from orchestrator.models.provenance import Provenance
    from orchestrator.models.result import BuildEnvironment
    from orchestrator.models.target import BuildRequest, Digest
    from orchestrator.run.backends import Assignment
    from orchestrator.run.cache_key import Action
    from orchestrator.run.run_dir import RunDirectories
    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.store.cas import Store
    from orchestrator.store.result_record import Blob
    from orchestrator.wheel import Policies

Check = Callable[[Path, VerifyPolicy, Callable[[str], object]], tuple[Finding, ...]]
"""What other tools say about a finished wheel; see `ExternalChecks`."""


@dataclass(slots=True, kw_only=True)
class ResultCache:
    """The store's part in one run, and what its worker shares; serves all threads.

    `policies` gives auditwheel's policies, if a wheel has to be verified; `check` asks the tools of
    the toolchain; `step` is told (target ID, step name). `look_up` is whether results may come from
    the store at all; `restored` has the actions whose results did. `published` has for the name of
    a wheel the target it is of. `provenance` says what else is recorded of a build that began at
    a time.
    """

    store: Store
    places: RunDirectories
    identity: SourceFingerprint
    project: str
    policies: Callable[[], Policies]
    check: Check
    step: Callable[[TargetId, str], object]
    cancel: Cancel
    provenance: Callable[[float], Provenance | None] = lambda _began: None
    look_up: bool = True
    published: dict[str, TargetId] = field(default_factory=dict)
    restored: dict[TargetId, Action] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    # out of the store

    def restore(self, action: Action) -> BuildResult | None:
        """Return the result of an action, its wheel in ``dist/``; None if it must be built.

        A library's outputs stay in the store; see `restore_outputs`.
        """
        result = self._restore(action.request, action.address) if self.look_up else None
        if result is not None:
            self.restored[action.request.target.id] = action
        return result

    def _restore(self, request: BuildRequest, address: Digest) -> BuildResult | None:
        record, target = self.store.find(address), request.target
        if record is None or not set(target.test_pythons) <= set(record.tested):
            return None  # it has to pass its tests on more Pythons now
        if target.library is not None:
            return self._result(request, record, None)
        scratch = self.places.restored(target.id)
        try:
            return self._restore_wheel(request, record, scratch)
        except (OSError, BadWheelError) as error:
            self._warn(target.id, address, str(error))
            return None
        except EnvironmentProblemError as error:  # a tool that has to look at it was killed
            failure = Failure(kind=FailureKind.ENGINE, step="verify", message=str(error))
            return self._result(request, record, failure)
        finally:
            remove_tree(scratch, ignore_errors=True)

    def _warn(self, target_id: TargetId, address: Digest, why: str) -> None:
        self.store.warn(f"store: {target_id}: record {address[:16]} is not taken: {why}")

    def restore_outputs(self, action: Action) -> bool:
        """Put the outputs of a library where the targets that need it look for them: all or none.

        Only what the library is to make is taken, whatever else a record has.
        """
        target = action.request.target
        record = self.store.find(action.address)
        if record is None or not self.look_up or target.library is None:
            return False
        scratch = self.places.restored(target.id)
        tree = scratch / "tree"
        try:
            # It is with what builds, which takes long to import.
            from orchestrator.builders.library import collect  # noqa: PLC0415

            if not self._fetch_outputs(record, tree, scratch):
                return False
            failure = collect(tree, target.library.outputs, self.places.outputs(target.id))
        except OSError as error:
            self._warn(target.id, action.address, str(error))
            return False
        finally:
            remove_tree(scratch, ignore_errors=True)
        if failure is not None:
            self._warn(target.id, action.address, failure.message)
        return failure is None

    def _fetch_outputs(self, record: Record, tree: Path, scratch: Path) -> bool:
        for output in record.outputs:
            found = self.store.fetch(output.blob, scratch)
            if found is None:
                return False
            place = tree / output.path
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_file(found, place)
            place.chmod(output.mode)
        return True

    def _restore_wheel(
        self, request: BuildRequest, record: Record, scratch: Path
    ) -> BuildResult | None:
        blob, report, target = record.artefact, record.wheel, request.target
        if blob is None or report is None:
            return None
        if record.origin != HERE:
            wanted = expected(target, request.source.name)
            named = planned_name(WheelName.parse(report.filename), wanted)
            _check_claim(apply_levels(named, demands_on(Path(report.filename), target)))
        found = self.store.fetch(blob, scratch)
        if found is None:
            return None
        checked, problems = self._findings(request, record, report, found, scratch)
        if any(finding.severity is Severity.ERROR for finding in problems):
            failure = not_what_it_says(target, problems)
            aside = self.places.rejected / target.id / report.filename
            install_file(found, aside)
            return self._result(request, record, failure, rejected=aside)
        if self.published.setdefault(report.filename, target.id) != target.id:
            return None  # two targets make one wheel: the build says which, and what to do
        _install_once(found, self.places.output / report.filename)
        # What an earlier run could not put there, such as on a full disk, is there now.
        remove_tree(self.places.rejected / target.id, ignore_errors=True)
        wheel = replace(checked, problems=problems) if problems != checked.problems else checked
        return self._result(request, record, None, wheel=wheel)

    def _findings(
        self, request: BuildRequest, record: Record, wheel: WheelReport, *places: Path
    ) -> tuple[WheelReport, tuple[Finding, ...]]:
        """Return the report on a stored wheel, and its findings under the demands of today."""
        found, scratch = places
        demands = demands_on(Path(wheel.filename), request.target)
        verdict = _verdict(record, demands)
        if verdict is None or any(_is_on(tool, demands) for tool in record.unasked):
            scratch.mkdir(parents=True, exist_ok=True)
            again = scratch / wheel.filename
            install_file(found, again, link=True)
            record, wheel, verdict = self._verify_again(request, record, again, demands)
        said = [finding for finding in record.said if _is_on(finding.rule, demands)]
        return wheel, (*verdict.findings, *apply_levels(said, demands))

    def _verify_again(
        self, request: BuildRequest, record: Record, wheel: Path, demands: VerifyPolicy
    ) -> tuple[Record, WheelReport, VerifyVerdict]:
        """Verify a stored wheel that never was, or only under other demands."""
        report = verify(
            wheel,
            self.policies(),
            external=request.target.steps.external,
            expected=expected(request.target, request.source.name),
            demands=demands,
        )
        verdict = VerifyVerdict(demands=_digest(demands), findings=report.problems)
        is_claim = not record.verdicts
        others = (other for other in record.verdicts if other.demands != verdict.demands)
        sound = replace(report, problems=())
        record = replace(record, wheel=sound, verdicts=(*others, verdict))
        if any(_is_on(tool, demands) for tool in record.unasked):
            said = self.check(wheel, demands, lambda _: None)
            asked = {tool for tool in TOOLS if _is_on(tool, demands)}
            still = (finding for finding in record.said if finding.rule not in asked)
            unasked = tuple(tool for tool in record.unasked if not _is_on(tool, demands))
            record = replace(record, said=(*still, *said), unasked=unasked)
        if is_claim:  # a build may make a better one
            _check_claim((*verdict.findings, *apply_levels(record.said, demands)))
        self.store.revise(record)
        return record, sound, verdict

    def _result(
        self,
        request: BuildRequest,
        record: Record,
        failure: Failure | None,
        *,
        wheel: WheelReport | None = None,
        rejected: Path | None = None,
    ) -> BuildResult:
        return BuildResult(
            target_id=request.target.id,
            key=request.key,
            status=Status.OK if failure is None else Status.FAILED,
            backend=record.backend,
            backend_reason=record.reason,
            wheel=wheel,
            rejected=rejected,
            log=self._restore_log(request.target.id, record),
            duration=record.duration,
            failure=failure,
            parts=request.target.parts,
            cached=True,
            request=request,
            compiled=record.compiled,
            environment=record.environment,
            provenance=record.provenance,
            container=record.container,
        )

    def _restore_log(self, target_id: TargetId, record: Record) -> Path | None:
        """Bring back the log of the build; nothing depends on it."""
        path, scratch = self.places.log(target_id), self.places.restored(target_id)
        try:
            found = None if record.log is None else self.store.fetch(record.log, scratch)
            if found is None:
                return None
            _install_once(found, path)
        except OSError:
            return None
        return path

    # into the store

    @contextlib.contextmanager
    def claim(self, assignment: Assignment) -> Iterator[BuildResult | None]:
        """Hold a target's action, so that no other run on this machine builds the same.

        Yields:
            The result, if another run came first.
        """
        action = assignment.action
        if action is None:
            yield None
            return
        patience = iter([True])

        def waiting() -> bool:
            if next(patience, False):
                self.step(assignment.target.id, "wait for another run that builds the same")
            return not self.cancel.is_set()

        with self.store.local.turn(action.address, waiting=waiting) as waited:
            result = self.restore(action) if waited and not self.cancel.is_set() else None
            is_library = assignment.target.library is not None
            if result is not None and is_library and not self.restore_outputs(action):
                result = None
            if result is not None:
                self.note_last({assignment.target.id: action.address})
            yield result

    def store_wheel(  # noqa: PLR0913 - mostly keywords
        self,
        assignment: Assignment,
        wheel: Path,
        report: WheelReport,
        *,
        demands: VerifyPolicy,
        said: tuple[Finding, ...],
        log: Path,
        seconds: float,
        environment: BuildEnvironment | None = None,
    ) -> None:
        """Store a finished wheel with its log so far.

        What the tools said is kept whatever level their rules have.
        """
        blob = None if assignment.action is None else self.store.keep_file(wheel)
        if blob is None:
            return
        self._store(
            assignment,
            log,
            [(blob, wheel)],
            duration=seconds,
            wheel=replace(report, problems=()),
            verdicts=(VerifyVerdict(demands=_digest(demands), findings=report.problems),),
            said=said,
            unasked=tuple(tool for tool in TOOLS if not _is_on(tool, demands)),
            environment=environment,
        )

    def store_outputs(
        self, assignment: Assignment, folder: Path, *, log: Path, seconds: float
    ) -> None:
        """Store the outputs of a library; see `store_wheel`."""
        outputs, files = [], []
        for path in files_below(folder):
            blob = None if assignment.action is None else self.store.keep_file(path)
            if blob is None:
                return
            name, mode = path.relative_to(folder).as_posix(), path.stat().st_mode & 0o777
            made = OutputFile(path=RelativePath(name), mode=FileMode(mode), blob=blob)
            outputs.append(made)
            files.append((blob, path))
        self._store(assignment, log, files, duration=seconds, outputs=tuple(outputs))

    def _store(
        self, assignment: Assignment, log: Path, files: list[tuple[Blob, Path]], **made: Any
    ) -> None:
        action, target = assignment.action, assignment.target
        if action is None:
            return
        text = b""
        with contextlib.suppress(OSError):
            text = log.read_bytes()
        said, sources = map(self.store.keep_bytes, (text, self.identity.manifest()))
        record = Record(
            address=action.address,
            target_id=target.id,
            # As it will be read again: what it is compared with is lists, not tuples.
            document=json.loads(json.dumps(action.document)),
            sources=sources,
            log=said,
            backend=assignment.request.backend,
            reason=assignment.reason,
            tested=target.test_pythons,
            compiled=assignment.compiled,
            provenance=self.provenance(time.time() - made["duration"]),
            container=assignment.container,
            **made,
        )
        for blob in filter(None, (said, sources)):
            place, _ = self.store.local.blob(blob)
            files += [(blob, place)] if place is not None else []
        self.store.put(record, files)
        self.note_last({target.id: action.address})

    def note_last(self, results: dict[TargetId, Digest]) -> None:
        """Note the last results, for `explain --why-rebuild`."""
        with self.lock:
            self.store.remember(self.project, {str(k): v for k, v in results.items()})


@cache
def _digest(demands: VerifyPolicy) -> Digest:
    return digest(asdict(demands))


def _verdict(record: Record, demands: VerifyPolicy) -> VerifyVerdict | None:
    asked = _digest(demands)
    return next((verdict for verdict in record.verdicts if verdict.demands == asked), None)


def _check_claim(findings: Iterable[Finding]) -> None:
    """Raise BadWheelError if a stored wheel is not the one that it was taken for."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise BadWheelError.of(f"{finding.rule}: {finding.message}")


def _is_on(rule: str, demands: VerifyPolicy) -> bool:
    return dict(demands.levels).get(rule) is not RuleLevel.OFF


def _install_once(found: Path, final: Path) -> None:
    """Put a stored file in its place, unless it is there already."""
    try:
        here, there = final.stat(), found.stat()
        if here.st_dev != there.st_dev:  # not a link, but perhaps a copy
            same = filecmp.cmp(final, found, shallow=False)
        else:
            same = here.st_ino == there.st_ino
    except OSError:
        same = False
    if not same:
        install_file(found, final, link=True)
