"""Which failures are tried again: lines as the tools print them."""

from __future__ import annotations

import pytest

from orchestrator.host.process import Captured
from orchestrator.host.transient_errors import is_transient
from orchestrator.models.result import FailureKind
from tests.factories import cases

SAID = cases(__file__, "transient_errors.toml")
PASSING, LASTING = SAID["passing"], SAID["lasting"]


@pytest.mark.parametrize("said", PASSING.values(), ids=PASSING)
def test_what_may_have_passed_is_tried_again(said: str) -> None:
    assert is_transient(FailureKind.BUILD, said.splitlines())


@pytest.mark.parametrize("said", LASTING.values(), ids=LASTING)
def test_what_would_come_again_is_not(said: str) -> None:
    assert not is_transient(FailureKind.BUILD, said.splitlines())


def test_what_the_engine_told_us_and_not_the_log_counts_too() -> None:
    said = "Error response from daemon: Get: i/o timeout"
    assert Captured(returncode=125, stdout="", stderr=said).may_pass
    assert not Captured(returncode=0, stdout="", stderr=said).may_pass


@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.TIMEOUT,
        FailureKind.CANCELLED,
        FailureKind.DISK,
        FailureKind.BUG,
        FailureKind.BAD_WHEEL,
        FailureKind.CONFIGURATION,
        FailureKind.PURE_WHEEL,
    ],
)
def test_what_has_a_reason_of_its_own_is_not(kind: FailureKind) -> None:
    assert not is_transient(kind, ["curl: (28) Operation timed out"])
