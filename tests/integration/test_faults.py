"""A disk that fails, is full, or a kill, at one file operation after the other: `tests.faults`."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import REPOSITORY, ran
from tests.faults.scenarios import SCENARIOS

SECONDS = 5
"""For the sample of a command; preparing it comes on top."""


def faults(*arguments: str) -> str:
    return ran(sys.executable, "-m", "tests.faults", *arguments, cwd=REPOSITORY, code=0).stdout


@pytest.mark.parametrize("name", [*SCENARIOS])
def test_after_some_faults_the_next_run_ends_right(name: str) -> None:
    said = faults(f"--only={name}", "--stride=17", f"--seconds={SECONDS}", "--jobs=1")
    assert " 0 findings" in said
    assert "in all 0 faults" not in said


STRIDES = {"build": 7, "share": 7}
"""A build has a thousand faults that are not alike, of some seconds each."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*SCENARIOS])
def test_after_each_fault_the_next_run_ends_right(name: str) -> None:
    said = faults(f"--only={name}", f"--stride={STRIDES.get(name, 1)}")
    assert " 0 findings" in said
    assert "out of time" not in said
