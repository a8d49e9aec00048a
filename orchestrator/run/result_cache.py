"""What the store does for a run: finished targets come back from it, and go into it at once.

A wheel comes back without a program being started: what verification found is stored with it, and
where the matrix demands something else of it today it is verified anew, from its bytes. Only a tool
whose rule was off when the wheel was built, and is not any more, has to run.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BadWheelError, EnvironmentProblemError
from orchestrator.fsutil import copy_file, install_file, remove_tree
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import RuleLevel, TargetId
from orchestrator.models.wheel import Severity
from orchestrator.plan.plan import digest
from orchestrator.run.finish import demands_on, expected, not_what_it_says
from orchestrator.store.result_record import Blob, OutputFile, Record, VerifyVerdict
from orchestrator.wheel import levelled, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.models.result import CompileReport
    from orchestrator.models.target import BuildRequest, Digest, VerifyPolicy
    from orchestrator.models.wheel import Finding, WheelReport
    from orchestrator.run.cache_key import Action
    from orchestrator.run.worker import Assignment, Check, RunDirectories
    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.store.cas import Store
    from orchestrator.wheel import Policies

TOOLS = ("twine", "abi3audit")
"""Rules whose findings come from programs."""


@dataclass(slots=True, kw_only=True)
class ResultCache:
    """The store's part in one run; serves all of its threads.

    Attributes:
        store: where results are.
        places: the run's directories.
        identity: the source.
        project: whose last results are noted.
        policies: gives auditwheel's policies, where a wheel has to be verified anew.
        check: asks the tools of the toolchain.
        step: told (target ID, step name).
        is_cancelled: whether the run is being stopped.
        look_up: whether results may come from the store at all.
        published: name of a wheel -> the target it is of; shared with the worker.
        recalled: the actions whose results came from the store.
    """

    store: Store
    places: RunDirectories
    identity: SourceFingerprint
    project: str
    policies: Callable[[], Policies]
    check: Check
    step: Callable[[TargetId, str], object]
    is_cancelled: Callable[[], bool]
    look_up: bool = True
    published: dict[str, TargetId] = field(default_factory=dict)
    recalled: dict[TargetId, Action] = field(default_factory=dict)
    _actions: dict[TargetId, tuple[Action, str, CompileReport | None]] = field(default_factory=dict)
    _began: dict[TargetId, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # out of the store

    def recall(self, action: Action) -> BuildResult | None:
        """Return the result of an action, its wheel in ``dist/``; None where it must be built.

        A library's outputs stay where they are: see `bring`.
        """
        result = self._recall(action)
        if result is not None:
            self.recalled[action.request.target.id] = action
        return result

    def _recall(self, action: Action) -> BuildResult | None:
        if not self.look_up:
            return None
        record = self.store.find(action.address)
        target = action.request.target
        if record is None or not self._tested_enough(record, action.request):
            return None
        if target.library is not None:
            return self._result(action.request, record, None)
        scratch = self.places.run / "recalled" / target.id
        try:
            with _folder(scratch):
                return self._wheel(action.request, record, scratch)
        except (OSError, BadWheelError) as error:
            self.store.warn(f"store: {target.id} cannot be taken from it: {error}")
            return None
        except EnvironmentProblemError as error:  # a tool that has to look at it was killed
            failure = Failure(kind=FailureKind.ENGINE, step="verify", message=str(error))
            return self._result(action.request, record, failure)

    def bring(self, action: Action) -> bool:
        """Put the outputs of a library where the targets that need it look for them."""
        record = self.store.find(action.address)
        if record is None or not self.look_up:
            return False
        folder = self.places.run / "outputs" / action.request.target.id
        try:
            for each in record.outputs:
                place = folder / each.path
                place.parent.mkdir(parents=True, exist_ok=True)
                found = self.store.fetch(each.blob, place.parent)
                if found is None:
                    return False
                copy_file(found, place)
                place.chmod(each.mode)
        except OSError as error:
            self.store.warn(f"store: {record.target_id} cannot be taken from it: {error}")
            return False
        return True

    @staticmethod
    def _tested_enough(record: Record, request: BuildRequest) -> bool:
        """Whether the wheel passed its tests on every Python that it would be tested on now."""
        return set(request.target.test_pythons) <= set(record.tested)

    def _wheel(self, request: BuildRequest, record: Record, scratch: Path) -> BuildResult | None:
        blob, report = record.artefact, record.wheel
        if blob is None or report is None:
            return None
        found = self.store.fetch(blob, scratch)
        if found is None:
            return None
        if self.published.setdefault(report.filename, request.target.id) != request.target.id:
            return None  # two targets make one wheel: the build says which, and what to do
        problems = self._findings(request, record, found, scratch)
        if any(each.severity is Severity.ERROR for each in problems):
            failure = not_what_it_says(request.target, problems)
            aside = self.places.rejected / request.target.id
            install_file(found, aside / report.filename)
            return self._result(request, record, failure, rejected=aside / report.filename)
        final = self.places.output / report.filename
        if not _is_same(final, found):
            install_file(found, final, link=True)
        said = replace(report, problems=problems) if problems != report.problems else report
        return self._result(request, record, None, wheel=said)

    def _findings(
        self, request: BuildRequest, record: Record, found: Path, scratch: Path
    ) -> tuple[Finding, ...]:
        """Return what is to be said of a stored wheel under the demands of today."""
        name = record.wheel.filename if record.wheel is not None else found.name
        demands = demands_on(Path(name), request.target)
        asked = _digest(demands)
        verdict = next((each for each in record.verdicts if each.demands == asked), None)
        tools = [tool for tool in record.unasked if _is_on(tool, demands)]
        if verdict is None or tools:
            scratch.mkdir(parents=True, exist_ok=True)
            wheel = scratch / name
            install_file(found, wheel, link=True)
            record = self._asked_anew(request, record, wheel, demands)
            verdict = next(each for each in record.verdicts if each.demands == asked)
        said = levelled([each for each in record.said if _is_on(each.rule, demands)], demands)
        return (*verdict.findings, *said)

    def _asked_anew(
        self, request: BuildRequest, record: Record, wheel: Path, demands: VerifyPolicy
    ) -> Record:
        """Verify a stored wheel under other demands than those it was verified under before."""
        report = verify(
            wheel,
            self.policies(),
            external=request.target.steps.external,
            expected=expected(request.target, request.source.name),
            demands=demands,
        )
        verdict = VerifyVerdict(demands=_digest(demands), findings=report.problems)
        others = tuple(each for each in record.verdicts if each.demands != verdict.demands)
        record = replace(record, verdicts=(*others, verdict))
        if any(_is_on(tool, demands) for tool in record.unasked):
            said = self.check(wheel, report, demands, lambda _: None)
            kept = [each for each in record.said if not _is_on(each.rule, demands)]
            unasked = tuple(tool for tool in record.unasked if not _is_on(tool, demands))
            record = replace(record, said=(*kept, *said), unasked=unasked)
        self.store.revise(record)
        return record

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
            log=self._log(request.target.id, record),
            duration=record.duration,
            failure=failure,
            parts=request.target.parts,
            cached=True,
            request=request,
            compiled=record.compiled,
        )

    def _log(self, target_id: TargetId, record: Record) -> Path | None:
        """Bring back the log of the build; nothing depends on it."""
        path = self.places.logs / f"{target_id}.log"
        with contextlib.suppress(OSError), _folder(self.places.run / "log" / target_id) as scratch:
            found = None if record.log is None else self.store.fetch(record.log, scratch)
            if found is None:
                return None
            if not _is_same(path, found):
                install_file(found, path, link=True)
            return path
        return None

    # into the store

    def expect(self, action: Action, reason: str, compiled: CompileReport | None = None) -> None:
        """Be told of an action before it is built, and how it will be compiled."""
        self._actions[action.request.target.id] = (action, reason, compiled)

    @contextlib.contextmanager
    def turn(self, assignment: Assignment) -> Iterator[BuildResult | None]:
        """Hold a target's action, so that no other run on this machine builds the same.

        Yields:
            The result, where another run came first.
        """
        target_id = assignment.request.target.id
        known = self._actions.get(target_id)
        if known is None:
            yield None
            return
        action = known[0]
        patience = iter([True])

        def waiting() -> bool:
            if next(patience, False):
                self.step(target_id, "wait for another run that builds the same")
            return not self.is_cancelled()

        with self.store.local.turn(action.address, waiting=waiting) as waited:
            self._began[target_id] = time.monotonic()
            result = self.recall(action) if waited and not self.is_cancelled() else None
            is_library = action.request.target.library is not None
            if result is not None and is_library and not self.bring(action):
                result = None
            yield result

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
        """Keep a finished wheel.

        Args:
            request: what was built.
            wheel: the wheel.
            report: what `verify` said of it.
            demands: what was asked of it.
            said: what the tools said, whatever level their rules have.
            log: the build's log so far.
        """
        blob = self.store.keep_file(wheel)
        if blob is None:
            return
        self._keep(
            request,
            log,
            [(blob, wheel)],
            wheel=replace(report, problems=()),
            verdicts=(VerifyVerdict(demands=_digest(demands), findings=report.problems),),
            said=said,
            unasked=tuple(tool for tool in TOOLS if not _is_on(tool, demands)),
        )

    def keep_outputs(self, request: BuildRequest, folder: Path, *, log: Path) -> None:
        """Keep the outputs of a library."""
        outputs, files = [], []
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            blob = self.store.keep_file(path)
            if blob is None:
                return
            name, mode = path.relative_to(folder).as_posix(), path.stat().st_mode & 0o777
            outputs.append(OutputFile(path=name, mode=mode, blob=blob))
            files.append((blob, path))
        self._keep(request, log, files, outputs=tuple(outputs))

    def _keep(
        self, request: BuildRequest, log: Path, files: list[tuple[Blob, Path]], **made: Any
    ) -> None:
        target = request.target
        known = self._actions.get(target.id)
        if known is None:
            return
        action, reason, compiled = known
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
            backend=request.backend,
            reason=reason,
            duration=time.monotonic() - self._began.get(target.id, time.monotonic()),
            tested=target.test_pythons,
            compiled=compiled,
        )
        for blob in filter(None, (said, sources)):
            place, _ = self.store.local.blob(blob)
            files += [(blob, place)] if place is not None else []
        self.store.put(replace(record, **made), files)
        self.remember({target.id: action.address})

    def took(self, targets: Iterable[TargetId]) -> dict[TargetId, float]:
        """Return how many seconds the last builds of targets took here, of whatever source."""
        last = self.store.local.last(self.project)
        records = {each: self.store.local.record(last[each])[0] for each in targets if each in last}
        return {each: found.duration for each, found in records.items() if found is not None}

    def remember(self, results: dict[TargetId, Digest]) -> None:
        """Note the last results, for `explain --why-rebuild`."""
        with self._lock:
            self.store.remember(self.project, {str(k): v for k, v in results.items()})


@cache
def _digest(demands: VerifyPolicy) -> Digest:
    return digest(asdict(demands))


def _is_on(rule: str, demands: VerifyPolicy) -> bool:
    return dict(demands.levels).get(rule) is not RuleLevel.OFF


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Remove a directory afterwards; making it is left to whoever needs it, as few do."""
    try:
        yield path
    finally:
        remove_tree(path, ignore_errors=True)


def _is_same(final: Path, found: Path) -> bool:
    """Whether a file is in its place: the very file, or its bytes on another file system."""
    try:
        here, there = final.stat(), found.stat()
        if here.st_dev == there.st_dev:
            return here.st_ino == there.st_ino
        return filecmp.cmp(final, found, shallow=False)
    except OSError:
        return False
