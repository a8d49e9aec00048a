"""Every reader of what others write, on documents that are almost right: `tests.fuzz`."""

from __future__ import annotations

import datetime as dt
import sys

import pytest

from tests.conftest import REPOSITORY, ran
from tests.fuzz.targets import TARGETS


def fuzz(*arguments: str) -> str:
    return ran(sys.executable, "-m", "tests.fuzz", *arguments, cwd=REPOSITORY, code=0).stdout


def test_no_reader_raises_anything_but_its_error() -> None:
    said = fuzz("--runs=25")
    assert said.count(" 25 executions, 0 findings") == len(TARGETS)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", TARGETS)
def test_nor_in_two_minutes_with_other_numbers_each_night(kind: str) -> None:
    today = dt.datetime.now(tz=dt.UTC).date().toordinal()
    assert ", 0 findings," in fuzz(kind, "--seconds=120", f"--seed={today}")
