"""Limits of a target and of its steps, and what its programs take; the programs are real."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from orchestrator.builders.base import BuildContext, StepTimer
from orchestrator.config.settings import EngineSettings
from orchestrator.containers.container import ContainerFactory
from orchestrator.host.process import Cancel, Finished
from orchestrator.models.result import FailureKind
from orchestrator.models.target import TargetSteps
from tests import factories

ENV = {"PATH": os.environ["PATH"]}


def job(folder: Path, steps: TargetSteps, cancel: Cancel | None = None) -> BuildContext:
    return factories.build_context(folder, cancel=cancel or Cancel(), timer=StepTimer(steps))


def run(one: BuildContext, *argv: str, client_of: ContainerFactory | None = None) -> Finished:
    return one.run(argv, env=ENV, client_of=client_of)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (TargetSteps(timeout=1), "took longer than the 1 s of build.timeout"),
        (TargetSteps(timeouts=(("test", 1),)), "took longer than the 1 s of build.timeouts.test"),
        (
            TargetSteps(timeout=600, timeouts=(("build", 600), ("test", 1))),
            "took longer than the 1 s of build.timeouts.test",
        ),
        (
            TargetSteps(timeout=1, timeouts=(("test", 600),)),
            "took longer than the 1 s of build.timeout",
        ),
    ],
)
def test_what_takes_too_long_is_stopped_and_says_which_limit_it_was(
    tmp_path: Path, steps: TargetSteps, message: str
) -> None:
    one = job(tmp_path, steps)
    one.timer.enter("test")
    failure = one.trouble(run(one, "sleep", "600"), step="test")

    assert failure is not None
    assert (failure.kind, failure.step, failure.message) == (FailureKind.TIMEOUT, "test", message)


def test_the_limit_of_another_step_does_not_count(tmp_path: Path) -> None:
    one = job(tmp_path, TargetSteps(timeouts=(("test", 1),)))
    one.timer.enter("build")

    assert one.timer.deadline() is None
    assert one.trouble(run(one, "true"), step="build") is None


def test_a_limit_that_begins_while_the_program_runs_counts(tmp_path: Path) -> None:
    """As with cibuildwheel, one program for all steps, which says when each begins."""
    one = job(tmp_path, TargetSteps(timeouts=(("test", 1),)))
    one.clues.listeners.append(lambda _line: one.timer.enter("test"))
    end = run(one, "sh", "-c", "echo testing; sleep 600")

    assert end.timed_out


def test_a_step_that_is_entered_again_has_its_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 50.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    course = StepTimer(TargetSteps(timeouts=(("test", 5),)))
    course.enter("test")
    assert course.deadline() == 15.0
    course.enter("test")
    assert course.deadline() == 55.0


def test_cancelling_is_no_timeout(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.set()
    one = job(tmp_path, TargetSteps(timeout=600), cancel)
    failure = one.trouble(run(one, "sleep", "600"), step="build")

    assert failure is not None
    assert failure.kind is FailureKind.CANCELLED


def test_the_cpu_time_of_all_programs_and_of_what_they_start_adds_up(tmp_path: Path) -> None:
    one = job(tmp_path, TargetSteps())
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    run(one, sys.executable, "-c", burn)
    alone = one.timer.cpu_seconds or 0.0
    assert alone >= 0.3
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    run(one, sys.executable, "-c", child)
    assert one.timer.cpu_seconds is not None
    assert one.timer.cpu_seconds >= alone + 0.3


def test_the_cpu_time_of_a_container_is_not_that_of_its_client(tmp_path: Path) -> None:
    one = job(tmp_path, TargetSteps())
    factory = ContainerFactory(
        host=factories.host(tmp_path),
        settings=EngineSettings(),
        label="a=b",
        log=one.log,
        cancel=one.cancel,
    )
    run(one, "true", client_of=factory)
    one.timer.spend(None)

    assert one.timer.cpu_seconds is None
    one.timer.spend(1.5)
    assert one.timer.cpu_seconds == 1.5


def test_how_long_each_step_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 7.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    course = StepTimer(TargetSteps())
    course.enter("stage")
    course.enter("build")

    assert [(each.name, each.seconds) for each in course.steps] == [("stage", 2.0), ("build", 4.5)]


def test_before_any_step_there_is_none() -> None:
    assert StepTimer(TargetSteps()).steps == ()
