"""Cells that cannot be built are excluded with the reason, and not found out by their builds."""

from __future__ import annotations

import pytest

from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.config.load import load
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan, TargetId
from orchestrator.plan.impossible import EXISTING, SUPPORTED
from orchestrator.plan.plan import find_exclusion, make_plan
from orchestrator.plan.version import VersionContext
from orchestrator.report.explanation import explain
from tests.factories import FACTS, request


def planned(pythons: list[str], more: str = "", requires: str = "") -> Plan:
    text = f'project.source = "x==1"\naxes.python = {pythons}\naxes.arch = ["x86_64", "ppc64le"]\n'
    outside = VersionContext(version="1", requires_python=requires)
    return make_plan(load((text + more).encode(), facts=FACTS), facts=FACTS, outside=outside)


@pytest.mark.parametrize(
    ("requires", "built"),
    [
        ("", {"cp39", "cp310", "cp314", "cp314t"}),
        (">=3.10", {"cp310", "cp314", "cp314t"}),
        (">3.9.1", {"cp39", "cp310", "cp314", "cp314t"}),
        ("<3.14", {"cp39", "cp310"}),
        ("~=3.10", {"cp310", "cp314", "cp314t"}),
        ("!=3.10.*", {"cp39", "cp314", "cp314t"}),
        (">=3.14.0rc1", {"cp314", "cp314t"}),
        ("what", {"cp39", "cp310", "cp314", "cp314t"}),  # which its build reports
    ],
)
def test_the_project_says_which_pythons(requires: str, built: set[str]) -> None:
    plan = planned(["cp39", "cp310", "cp314", "cp314t"], requires=requires)

    assert {each.python for each in plan.targets} == built
    assert all(each.rule == SUPPORTED and requires in each.reason for each in plan.exclusions)
    assert len(plan.targets) + len(plan.exclusions) == 8


def test_a_wheel_for_the_stable_abi_is_built_with_a_python_that_is_supported() -> None:
    plan = planned(["abi3-cp39"], requires=">=3.11")

    assert {(each.abi3, each.python) for each in plan.targets} == {("cp39", "cp311")}
    assert not planned(["abi3-cp39"], requires="<3.9").targets


def test_a_python_that_nobody_made_for_a_platform() -> None:
    plan = planned(["cp312", "pp311"], 'axes.libc = ["manylinux", "musllinux"]')

    assert [dict(each.cell)["arch"] for each in plan.exclusions] == ["ppc64le", "x86_64", "ppc64le"]
    assert {each.rule for each in plan.exclusions} == {EXISTING}
    assert plan.exclusions[0].reason == (
        f"cibuildwheel {FACTS.version} has no PyPy 3.11 for manylinux_ppc64le"
    )


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ('images.manylinux_ppc64le = "localhost/mine:1"', 2),
        ('override = [{ when.arch = "ppc64le", image = "localhost/mine:1" }]', 2),
        ('images.manylinux_ppc64le = "manylinux2014"', 1),
    ],
)
def test_an_image_of_ones_own_may_have_it(more: str, kept: int) -> None:
    assert len(planned(["pp311"], more).targets) == kept


def test_such_a_cell_is_found_by_its_id() -> None:
    settings = load(
        b'project.source = "x==1"\naxes.python = ["cp312", "pp311"]\naxes.arch = ["ppc64le"]',
        facts=FACTS,
    )
    plan = make_plan(settings, facts=FACTS, outside=VersionContext(version="1"))
    wanted = "pp311-manylinux_ppc64le"

    assert find_exclusion(settings, wanted) is None
    assert find_exclusion(settings, wanted, impossible=plan.exclusions) == plan.exclusions[0]


def test_an_older_python_is_built_on_the_host() -> None:
    assert len(planned(["cp38"]).targets) == 2


@pytest.mark.parametrize("requires", ["==3.12", "<=3.12", "~=3.11,<=3.12"])
def test_a_specifier_that_leaves_out_later_releases_is_explained(requires: str) -> None:
    (one, _) = planned(["cp312"], requires=requires).exclusions

    assert one.reason.endswith(f"Python {requires}, which leaves out 3.12.1 and later")


@pytest.mark.parametrize(
    "requires", ["^3.10", "3.10", ">=3.10;", "python>=3.10", f">=3.{'1' * 5000}"]
)
def test_what_is_no_specifier_is_a_note_and_limits_nothing(requires: str) -> None:
    plan = planned(["cp312"], requires=requires)

    assert len(plan.targets) == 2
    assert "requires-python is no specifier" in "".join(plan.notes)
    assert "specifier" not in "".join(planned(["cp312"], requires=">=3").notes)


def test_every_identifier_of_cibuildwheel_for_linux_is_a_target() -> None:
    platforms = sorted({each.partition("-")[2] for each in FACTS.identifiers})
    libcs, archs = (sorted({each.split("_", 1)[n] for each in platforms}) for n in (0, 1))
    text = f'project.source = "x==1"\n[axes]\npython = {sorted(FACTS.pythons)}\n'
    settings = load(f"{text}arch = {archs}\nlibc = {libcs}\n".encode(), facts=FACTS)

    plan = make_plan(settings, facts=FACTS, outside=VersionContext(version="1"))

    targets = {each.id: each for each in plan.targets}
    assert targets.keys() >= FACTS.identifiers
    for identifier in sorted(FACTS.identifiers):
        said = explain(request(targets[TargetId(identifier)]), here=Arch.X86_64)
        assert f"--only {identifier} " in {what: value for what, value, _ in said}["command"]
    jobs = plan_jobs(plan, Sizes())
    assert {each for job in jobs for each in job.targets} == targets.keys()
