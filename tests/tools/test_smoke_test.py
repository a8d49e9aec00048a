"""A wheel is imported where it is for, and what comes of it; a shell stands for the Python."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from orchestrator.builders.smoke_test import SMOKE_SCRIPT, SmokeTested, import_under_qemu
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName, TargetSteps
from orchestrator.provision.foreign_python import ForeignPython
from tests.tools.test_step_timer import job

WHEEL = Path("demo.whl")
NO_BUILD = Failure(kind=FailureKind.BUILD, message="it does not compile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backend that has made something already."""

    made: Path | Failure = WHEEL
    name: BackendName = BackendName.DIRECT

    def build(self, _job: object) -> Path | Failure:
        return self.made


def imported(folder: Path, script: str, made: Path | Failure = WHEEL) -> Path | Failure:
    argv = ("sh", "-c", script)
    python = ForeignPython(argv=argv, glibc="2.36", what="a Python under QEMU")
    importer = partial(import_under_qemu, python, {"PATH": os.environ["PATH"]})
    tested = SmokeTested(backend=Made(made=made), try_import=importer)
    return tested.build(job(folder, TargetSteps()))


def test_a_wheel_that_can_be_imported_is_handed_on(tmp_path: Path) -> None:
    # A shell takes the first argument after its script for its own name.
    wanted = f'test "$0 $1 $2" = "-I {SMOKE_SCRIPT} {WHEEL}" && test -d "$TMPDIR"'
    assert imported(tmp_path, wanted) == WHEEL


def test_what_was_not_built_is_not_imported(tmp_path: Path) -> None:
    assert imported(tmp_path, "touch imported", made=NO_BUILD) is NO_BUILD
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo importing demo; echo cannot import demo: gone; exit 1", "import demo: gone (exit 1"),
        ("echo importing demo; kill -SEGV $$", "importing demo (exit 139"),
    ],
)
def test_what_cannot_be_imported_fails_as_a_test_does(
    tmp_path: Path, script: str, said: str
) -> None:
    failure = imported(tmp_path, script)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.step) == (FailureKind.TEST, "smoke")
    assert said in failure.message
    assert "test.smoke = false skips the import" in failure.hint
