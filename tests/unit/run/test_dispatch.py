"""From assignments to a run: what becomes of crashes and needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestrator.config.settings import RunSettings
from orchestrator.host.capacity import Capacity
from orchestrator.host.process import Cancel
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import BackendName, Target, TargetId, TargetResources
from orchestrator.run.backends import Assignment
from orchestrator.run.dispatch import Pace, dispatch
from orchestrator.run.resources import GIB
from orchestrator.run.run_dir import RunDirectories
from orchestrator.run.worker import Worker
from tests import factories
from tests.unit.run.test_resources import target

A, B, C = TargetId("a"), TargetId("b"), TargetId("c")


def result(target_id: TargetId, failure: Failure | None = None) -> BuildResult:
    status = Status.FAILED if failure else Status.OK
    return factories.result(target_id, status, failure=failure)


class Deaf:
    """A listener that does not listen."""

    def started(self, target_id: TargetId) -> None: ...
    def step(self, target_id: TargetId, name: str) -> None: ...
    def waits(self, target_id: TargetId, sentence: str) -> None: ...
    def resting(self, result: BuildResult, seconds: float) -> None: ...
    def ended(self, result: BuildResult) -> None: ...
    def stopping(self) -> None: ...


@dataclass
class Played:
    """A worker, as far as `dispatch` knows one."""

    places: RunDirectories
    ends: Mapping[TargetId, Failure | BaseException]
    done: list[tuple[TargetId, Mapping[str, str]]] = field(default_factory=list)

    def execute(self, assignment: Assignment, attempt: int) -> BuildResult:
        name = assignment.request.target.id
        self.done.append((name, assignment.parallel))
        end = self.ends.get(name)
        if isinstance(end, BaseException):
            raise end
        return result(name, end)


@dataclass(frozen=True)
class Request:
    """A request, as far as `dispatch` knows one."""

    target: Target


@dataclass(frozen=True)
class Backend:
    """A backend, as far as `dispatch` knows one."""

    name: BackendName = BackendName.DIRECT


def run(
    folder: Path,
    *targets: Target,
    ends: Mapping[TargetId, Failure | BaseException] | None = None,
    **pace: Any,
) -> tuple[Mapping[TargetId, BuildResult], Played, list[str]]:
    places = RunDirectories(output=folder, run=folder, logs=folder, rejected=folder)
    worker = Played(places=places, ends=ends or {})
    said: list[str] = []
    known = {
        "machine": Capacity(cpus=8, memory=32 * GIB),
        "jobs": 1,
        "settings": RunSettings(retries=0),
        "fail_fast": False,
        "seconds": {},
    }
    found = dispatch(
        {
            each.id: Assignment(
                request=cast("Any", Request(each)), backend=cast("Any", Backend()), reason=""
            )
            for each in targets
        },
        cast("Worker", worker),
        pace=Pace(**{**known, **pace}),
        listener=Deaf(),
        cancel=Cancel(),
        say=said.append,
    )
    return found, worker, said


def test_a_bug_in_a_thread_is_in_the_log_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("what it was at\n", encoding="utf-8")
    found, _, _ = run(tmp_path, target("a"), target("b"), ends={A: SystemExit("oops")})

    assert found[B].status is Status.OK
    failure = found[A].failure
    assert failure is not None
    assert failure.kind is FailureKind.BUG
    assert "SystemExit: oops" in failure.message
    log = (tmp_path / "a.log").read_text(encoding="utf-8")
    assert log.startswith("what it was at\nTraceback ")
    assert "in execute" in log


def test_a_bug_that_cannot_be_logged_is_reported_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.log").mkdir()
    found, _, _ = run(tmp_path, target("a"), ends={A: RuntimeError("oops")})

    failure = found[A].failure
    assert failure is not None
    assert failure.kind is FailureKind.BUG


def test_what_needs_a_failure_says_so_and_the_longest_comes_first(tmp_path: Path) -> None:
    trouble = Failure(kind=FailureKind.BUILD, message="no")
    found, worker, _ = run(
        tmp_path,
        target("a"),
        target("b", needs=(A,)),
        target("c"),
        ends={A: trouble},
        seconds={C: 100.0, A: 1.0},
    )

    assert [name for name, _ in worker.done] == [C, A]
    failure = found[B].failure
    assert failure is not None
    assert failure.message == "it needs a, which has no result"


def test_what_is_too_large_is_announced_and_runs(tmp_path: Path) -> None:
    big = target("a", resources=TargetResources(cpus=99, memory_per_job=GIB))
    found, worker, said = run(tmp_path, big, target("b"), jobs=2)

    assert said == [
        "up to 2 targets at once, together 8 CPUs and 32.0 GiB",
        "a takes more than there is: it will run alone",
    ]
    assert {each.status for each in found.values()} == {Status.OK}
    told = dict(worker.done)
    assert (told[A]["MAX_JOBS"], told[B]["MAX_JOBS"]) == ("8", "8")  # one after the other


def test_nothing_to_do_is_not_talked_about(tmp_path: Path) -> None:
    found, _, said = run(tmp_path)

    assert (dict(found), said) == ({}, [])
