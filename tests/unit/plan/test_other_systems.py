"""Cells of Windows and macOS: counted, and nowhere built, imaged, or in a job of Linux."""

from __future__ import annotations

import pytest

from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.cli.workspace import selected
from orchestrator.errors import NothingSelectedError
from orchestrator.models.target import Plan
from orchestrator.plan.other_systems import in_words, other_system
from orchestrator.report import plans
from orchestrator.report.serialize import plan_document
from tests.factories import FACTS, plan_of

MATRIX = """
project.source = "x==1"
axes.python = ["cp312", "cp313"]
axes.arch = ["x86_64"]
axes.os = {}
"""


def plan(*systems: str, more: str = "") -> Plan:
    return plan_of(MATRIX.format(list(systems)) + more, version="1")


@pytest.mark.parametrize(
    ("value", "system"),
    [
        *(("windows", "Windows"), ("win_amd64", "Windows"), ("windows-2025", "Windows")),
        *(("macos", "macOS"), ("macosx_11_0_arm64", "macOS"), ("darwin", "macOS")),
        *(("linux", ""), ("ubuntu-24.04", ""), ("manylinux", "")),
    ],
)
def test_an_axis_says_for_which_system_a_cell_is(value: str, system: str) -> None:
    planned = plan(value, more='env.A = "{os}"')
    found = {other_system(each) for each in (*planned.targets, *planned.elsewhere)}

    assert found == {system}
    assert bool(planned.targets) is not bool(system)


def test_they_count_and_are_not_built() -> None:
    planned = plan("linux", "windows", "macos")

    assert [each.id for each in planned.targets] == [
        "cp312-manylinux_x86_64-linux",
        "cp313-manylinux_x86_64-linux",
    ]
    assert in_words(planned.elsewhere) == "2 for Windows, 2 for macOS"
    text = plans.table(planned)
    assert "2 targets, not built here: 2 for Windows, 2 for macOS, 0 cells excluded" in text
    row = next(line for line in text.splitlines() if "313-manylinux_x86_64-windows" in line)
    assert row.split(maxsplit=2)[1:] == ["1", "not built here: Windows"]
    jobs = plan_jobs(planned, Sizes(most=9, cost=9.0), seconds={})
    assert {each for job in jobs for each in job.targets} == set(planned.ids)
    document = plan_document(planned, ())
    assert [each["system"] for each in document["elsewhere"]] == ["Windows", "macOS"] * 2


@pytest.mark.parametrize("expression", ["os=windows", "*-windows", "os=windows & python=cp312"])
def test_selecting_only_them_says_why_there_is_nothing(expression: str) -> None:
    with pytest.raises(NothingSelectedError, match=r"nothing here builds .* for Windows"):
        selected(plan("linux", "windows"), [expression])


def test_a_selection_keeps_those_that_it_means() -> None:
    chosen = selected(plan("linux", "windows", "macos"), ["python=cp312"])

    assert len(chosen.targets) == 1
    assert in_words(chosen.elsewhere) == "1 for Windows, 1 for macOS"
    with pytest.raises(NothingSelectedError, match="4 for Windows"):
        selected(plan("windows", "win32", more='env.A = "{os}"'), [])


def test_a_column_says_what_cibuildwheel_does_not_build() -> None:
    planned = plan_of(
        'project.source = "x==1"\naxes.python = ["cp38", "cp312"]\naxes.arch = ["x86_64"]',
        version="1",
    )

    assert "backend" not in plans.table(planned)
    header, first, second = plans.table(planned, facts=FACTS).splitlines()[:3]
    assert header.split()[-1] == "backend"
    assert (first.split()[-1], second.split()[-1]) == ("direct", "ubuntu-24.04")
