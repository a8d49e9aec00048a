"""Targets as jobs: few enough, balanced, the same everywhere; the files that describe them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ci import pipelines
from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Job, Plan, Target, TargetId
from tests.factories import plan_of

MATRIX = """\
[project]
source = "demo==1.0"
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64", "aarch64", "riscv64"]
many = [{many}]
[version]
base = "1.0"
local = "{{many}}"
inject = {{ MANY = "{{many}}" }}
"""


def plan(more: str = "", *, many: int = 1) -> Plan:
    text = MATRIX.format(many=", ".join(f'"v{each}"' for each in range(many))) + more
    return plan_of(text)


def wheels(found: Plan, job: Job) -> list[Target]:
    return [each for each in found.targets if each.id in job.targets and each.library is None]


def ids(jobs: Iterable[Job]) -> list[TargetId]:
    return [each for job in jobs for each in job.targets]


def plan_cost(found: Plan) -> float:
    return sum(each.cost for each in found.targets)


def test_an_ordinary_target_is_a_job_of_its_own_and_says_what_it_needs() -> None:
    jobs = plan_jobs(plan(), Sizes())

    assert [job.id for job in jobs] == ["01", "02", "03", "04", "05", "06"]
    assert jobs[0].name == jobs[0].targets[0] == "cp311-manylinux_x86_64-v0"
    assert (jobs[1].runner, jobs[1].emulated) == (("ubuntu-24.04-arm",), ())
    assert (jobs[2].runner, jobs[2].emulated) == (("ubuntu-24.04",), (Arch.RISCV64,))
    assert [job.cost for job in jobs] == [1.0, 1.0, 8.0] * 2


def test_two_thousand_targets_are_256_jobs_of_about_equal_cost() -> None:
    found = plan(many=334)  # 668 of them emulated, which cost eight times as much
    jobs = plan_jobs(found, Sizes())

    assert len(found.targets) == 2004
    assert len(jobs) == 256
    assert sorted(ids(jobs)) == sorted(found.ids)
    assert [job.id for job in jobs[:2]] == ["001", "002"]
    costs = sorted(job.cost for job in jobs)
    assert costs[-1] - costs[0] <= 8, "they differ by one target"
    text = pipelines.github(jobs)
    assert 2 * len(text) < pipelines.MOST_BYTES
    assert "\n" not in text
    assert len(json.loads(text)["include"]) == 256


def test_jobs_share_neither_runners_nor_emulators() -> None:
    found = plan('[[override]]\nwhen = { many = "v3" }\nrunner = ["self-hosted", "gpu"]\n', many=4)
    jobs = plan_jobs(found, Sizes(most=5, cost=100))

    kinds = [(job.runner, job.emulated) for job in jobs]
    assert sorted(kinds) == [
        (("self-hosted", "gpu"), ()),
        (("ubuntu-24.04",), ()),
        (("ubuntu-24.04",), (Arch.RISCV64,)),
        (("ubuntu-24.04-arm",), ()),
    ]
    for job in jobs:
        assert {each.runner for each in wheels(found, job)} == {job.runner}


def test_with_few_jobs_emulators_share_one_and_runners_never_do() -> None:
    found = plan(many=3)
    jobs = plan_jobs(found, Sizes(most=2))

    assert [(job.runner, job.emulated) for job in jobs] == [
        (("ubuntu-24.04",), (Arch.RISCV64,)),
        (("ubuntu-24.04-arm",), ()),
    ]
    assert jobs[0].name == (
        "cp311 cp312, manylinux_x86_64 manylinux_riscv64, v0 v1 v2 (12 targets)"
    )
    with pytest.raises(ConfigError, match="2 different runners") as caught:
        plan_jobs(found, Sizes(most=1))
    assert caught.value.problems[0].where == "--max-jobs"


def test_tiny_targets_share_a_job_and_large_ones_have_their_own() -> None:
    tiny = '[[override]]\nwhen = { many = "v*" }\nresources.cost = 0.3\n'
    large = '[[override]]\nwhen = { many = "v0" }\nresources.cost = 5\n'
    found = plan(f"{tiny}{large}", many=7)
    jobs = plan_jobs(found, Sizes())
    native = [job for job in jobs if job.runner == ("ubuntu-24.04",) and not job.emulated]

    assert [len(job.targets) for job in native if job.cost == 5] == [1, 1]
    assert [len(job.targets) for job in native if job.cost < 5] == [3, 3, 3, 3]
    assert all(job.cost <= 1 for job in native if job.cost < 5)


LIBRARY = """\
[library.core]
axes.level = ["1", "2"]
command = "make"
outputs = ["x"]
resources.cost = {cost}
"""


def test_libraries_are_built_in_every_job_that_needs_them() -> None:
    found = plan(LIBRARY.format(cost=3))
    jobs = plan_jobs(found, Sizes())

    assert len(jobs) == 6
    for job in jobs:
        (wheel,) = wheels(found, job)
        assert job.targets == (*wheel.needs, wheel.id)
    assert jobs[0].cost == 7.0
    assert jobs[0].name == "cp311-manylinux_x86_64-v0"


def test_wheels_of_one_library_stay_together_where_they_fit() -> None:
    found = plan(LIBRARY.format(cost=0.5), many=2)
    jobs = plan_jobs(found, Sizes(cost=5))

    native = [job for job in jobs if job.runner == ("ubuntu-24.04",) and not job.emulated]
    (job,) = native
    assert len(job.targets) == 2 + 4
    assert job.cost == 5


def test_what_took_long_counts_more_in_units_of_the_known() -> None:
    found = plan(many=4)
    first, second, *_ = (e.id for e in found.targets if e.arch is Arch.X86_64)
    jobs = plan_jobs(found, Sizes(cost=2), seconds={first: 300.0, second: 100.0})

    (shared,) = (job for job in jobs if first in job.targets)
    assert (shared.targets, shared.cost) == ((first, second), 2.0), "1.5 and 0.5"
    assert sum(job.cost for job in jobs) == plan_cost(found)


@given(
    costs=st.lists(st.floats(0.01, 50), min_size=1, max_size=40),
    most=st.integers(1, 12),
    limit=st.floats(0.1, 20),
)
def test_whatever_the_costs_every_wheel_is_in_exactly_one_of_few_jobs(
    costs: list[float], most: int, limit: float
) -> None:
    one = plan().targets[0]
    targets = tuple(
        replace(one, id=TargetId(f"t{number}"), cost=cost) for number, cost in enumerate(costs)
    )
    found = Plan(targets=targets, exclusions=())
    jobs = plan_jobs(found, Sizes(most=most, cost=limit))

    assert sorted(ids(jobs)) == sorted(found.ids)
    assert len(jobs) <= most
    assert jobs == plan_jobs(found, Sizes(most=most, cost=limit))
    if len(jobs) < most:
        assert all(job.cost <= limit + 0.001 for job in jobs if len(job.targets) > 1)
    else:  # no job has more than twice its part, or it has one target
        part = sum(costs) / len(jobs)
        largest = max(costs)
        assert all(job.cost <= part + largest + 0.001 for job in jobs)
