"""The choice of what builds each target, when pulls fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from orchestrator.builders.backend_choice import BackendChooser, Choice
from orchestrator.models.target import TargetId
from orchestrator.run.build_missing import choose_patiently
from orchestrator.run.scheduler import Retries

A, B = TargetId("a"), TargetId("b")

UNREACHABLE = "cannot pull image quay.example/x: dial tcp 192.0.2.1:443: i/o timeout"


def choices(trouble: str) -> dict[TargetId, Choice]:
    choice = Choice(backend=None, how=trouble or "all is well", trouble=trouble)
    return {A: choice, B: choice}


@dataclass
class Chooser:
    """A chooser, as far as `choose_patiently` knows one."""

    answers: Iterator[str]
    forgot: int = 0

    def choose(self, _targets: object) -> dict[TargetId, Choice]:
        return choices(next(self.answers))

    def forget_errors(self) -> None:
        self.forgot += 1


@pytest.mark.parametrize(
    ("reasons", "waits"),
    [
        ([""], []),
        ([UNREACHABLE, ""], [5.0]),
        ([UNREACHABLE, UNREACHABLE, UNREACHABLE], [5.0, 10.0]),
    ],
)
def test_an_image_that_could_not_be_pulled_for_the_moment_is_asked_for_again(
    reasons: list[str], waits: list[float]
) -> None:
    chooser = Chooser(answers=iter(reasons))
    waited: list[float] = []
    said: list[str] = []

    found = choose_patiently(
        cast("BackendChooser", chooser),
        (),
        Retries(limit=2),
        say=said.append,
        pause=waited.append,
        chance=lambda: 1.0,
    )

    assert found == choices(reasons[-1])
    assert next(chooser.answers, None) is None, "and no more often than that"
    assert chooser.forgot == len(waits), "what could not be had is looked for again"
    assert waited == waits
    assert [each.rpartition("; ")[2] for each in said] == [
        f"asking again in {wait:.0f} s" for wait in waits
    ]
