"""How a machine is shared out, and what a build is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.settings import RunSettings
from orchestrator.host.capacity import Capacity
from orchestrator.host.emulation import host_arch
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Target, TargetId, TargetResources
from orchestrator.run.dispatch import Pace, describe_budget, estimates, parallel
from orchestrator.run.resources import GIB, CompilerShares, budget, compilers, takes, variables
from tests import factories
from tests.factories import env

FOREIGN = Arch.S390X if host_arch() is not Arch.S390X else Arch.AARCH64


def target(name: str = "t", **changes: Any) -> Target:
    return factories.target(name, **{"arch": host_arch(), **changes})


@pytest.mark.parametrize(
    ("cpus", "gib", "count", "slots"),
    [
        (2, 23, 18, 2),
        (4, 16, 18, 4),  # a hosted CI runner
        (64, 256, 854, 64),
        (64, 256, 6, 6),  # few targets get more each
        (64, 16, 854, 8),  # memory is what there is least of
        (1, 1, 5, 1),
        (0.5, 1, 5, 1),
        (8, 32, 0, 1),
    ],
)
def test_how_many_targets_at_once(cpus: float, gib: int, count: int, slots: int) -> None:
    assert (
        budget(Capacity(cpus=cpus, memory=gib * GIB), RunSettings(), jobs=None, count=count).slots
        == slots
    )


def test_a_run_with_a_limit_builds_fewer_at_once() -> None:
    machine = Capacity(cpus=4, memory=16 * GIB)

    assert budget(machine, RunSettings(), jobs=None, count=9, limited=True).slots == 2
    assert replace(PACE, machine=machine, deadline=1.0).budget(9).slots == 2


def test_what_the_user_says_counts() -> None:
    settings = RunSettings(cpus=4, memory="6 GiB", emulated=1)

    assert budget(Capacity(cpus=64, memory=256 * GIB), settings, jobs=3, count=9) == (
        3,
        4000,
        6 * GIB,
        1,
    )


def test_more_slots_than_targets_make_no_smaller_shares() -> None:
    whole = budget(Capacity(cpus=8, memory=32 * GIB), RunSettings(), jobs=8, count=2)

    assert whole.slots == 2
    assert takes(TargetResources(), whole, emulated=False) == (1, 4000, 16 * GIB, 0)


@pytest.mark.parametrize(
    ("resources", "jobs"),
    [
        (TargetResources(), 8),
        (TargetResources(memory_per_job=4 * GIB), 4),  # 16 GiB hold four of them
        (TargetResources(memory_per_job=99 * GIB), 1),
        (TargetResources(cpus=3), 3),
        (TargetResources(cpus=0.5), 1),
        (TargetResources(memory=f"{4 * GIB}b"), 2),
        (TargetResources(cpus=99), 8),  # what it does not say of memory stays an equal part
        (TargetResources(memory=f"{64 * GIB}b", cpus=16), 16),
        (TargetResources(memory=f"{64 * GIB}b", cpus=16, memory_per_job=8 * GIB), 4),
    ],
)
def test_compilers_by_cpus_and_memory(resources: TargetResources, jobs: int) -> None:
    """16 CPUs and 32 GiB for two targets."""
    whole = budget(Capacity(cpus=16, memory=32 * GIB), RunSettings(), jobs=2, count=2)

    assert compilers(resources, takes(resources, whole, emulated=False), whole) == jobs


def test_a_target_takes_at_least_the_memory_of_one_compiler() -> None:
    whole = budget(Capacity(cpus=16, memory=32 * GIB), RunSettings(), jobs=8, count=8)

    assert takes(TargetResources(memory_per_job=8 * GIB), whole, emulated=True).memory == 8 * GIB


@given(
    st.floats(0.1, 256),
    st.integers(1, 1 << 44),
    st.integers(1, 300),
    st.one_of(st.none(), st.integers(1, 300)),
    st.one_of(st.none(), st.integers(1, 64 * GIB)),
)
def test_equal_shares_fit_all_at_once_and_compilers_fit_the_machine(
    cpus: float, memory: int, count: int, slots: int | None, per_job: int | None
) -> None:
    whole = budget(Capacity(cpus=cpus, memory=memory), RunSettings(), jobs=slots, count=count)
    share = takes(TargetResources(), whole, emulated=True)
    jobs = compilers(TargetResources(memory_per_job=per_job), share, whole)

    assert 1 <= whole.slots <= max(count, 1)
    assert share.memory * whole.slots <= whole.memory or share.memory == 0
    assert share.millicpus * whole.slots <= whole.millicpus or share.millicpus == 1
    assert jobs == 1 or jobs * whole.slots <= cpus


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, {"MAX_JOBS": "8", "CMAKE_BUILD_PARALLEL_LEVEL": "8", "NVCC_THREADS": "1"}),
        ({"NVCC_THREADS": "2"}, {"MAX_JOBS": "4", "CMAKE_BUILD_PARALLEL_LEVEL": "4"}),
        ({"NVCC_THREADS": "99"}, {"MAX_JOBS": "1", "CMAKE_BUILD_PARALLEL_LEVEL": "1"}),
        ({"MAX_JOBS": "2"}, {"NVCC_THREADS": "4", "CMAKE_BUILD_PARALLEL_LEVEL": "8"}),
        ({"MAX_JOBS": "2", "NVCC_THREADS": "2"}, {"CMAKE_BUILD_PARALLEL_LEVEL": "4"}),
        ({"MAX_JOBS": "$(nproc)"}, {"NVCC_THREADS": "8", "CMAKE_BUILD_PARALLEL_LEVEL": "8"}),
        ({"MAX_JOBS": "0"}, {"NVCC_THREADS": "8", "CMAKE_BUILD_PARALLEL_LEVEL": "8"}),
        (
            {"CMAKE_BUILD_PARALLEL_LEVEL": "3"},
            {"MAX_JOBS": "8", "NVCC_THREADS": "1"},
        ),
    ],
)
def test_what_the_matrix_sets_stays_and_counts(
    own: Mapping[str, str], told: Mapping[str, str]
) -> None:
    assert variables(8, env(**own)) == {**told, "CARGO_BUILD_JOBS": "8"}


PACE = Pace(
    machine=Capacity(cpus=8, memory=32 * GIB),
    jobs=None,
    settings=RunSettings(),
    fail_fast=False,
    seconds={},
)


def test_the_matrix_limits_a_run() -> None:
    pace = replace(PACE, settings=RunSettings(cpus=4, memory="8 GiB", emulated=1))

    assert pace.budget(9) == (4, 4000, 8 * GIB, 1)
    assert describe_budget(pace.budget(9)) == "up to 4 targets at once, together 4 CPUs and 8.0 GiB"
    assert describe_budget(pace.budget(1)) == "one target at a time, with 4 CPUs and 8.0 GiB"


def test_a_target_is_told_its_share() -> None:
    heavy = target(env=env(NVCC_THREADS="2"), resources=TargetResources(memory_per_job=4 * GIB))

    assert parallel(heavy, replace(PACE, jobs=2).budget(2)) == {
        "MAX_JOBS": "2",
        "CMAKE_BUILD_PARALLEL_LEVEL": "2",
        "CARGO_BUILD_JOBS": "4",
    }


# Shares


def shares(cpus: int, gib: int, slots: int) -> CompilerShares:
    return CompilerShares(
        budget(Capacity(cpus=cpus, memory=gib * GIB), RunSettings(), jobs=slots, count=slots)
    )


def take(
    found: CompilerShares, name: str, beside: int, resources: TargetResources | None = None
) -> int:
    matrix = resources or TargetResources()
    own = takes(matrix, found.whole, emulated=False)
    return found.take(TargetId(name), matrix, own, beside)


@pytest.mark.parametrize(
    ("cpus", "gib", "slots", "given"),
    [
        (4, 32, 3, [2, 1, 1]),  # no CPU is left over
        (4, 32, 4, [1, 1, 1, 1]),
        (16, 64, 3, [6, 5, 5]),
        (16, 8, 2, [2, 2]),  # memory holds no more
        (2, 32, 4, [1, 1, 1, 1]),
    ],
)
def test_what_starts_together_shares_all_there_is(
    cpus: int, gib: int, slots: int, given: Sequence[int]
) -> None:
    found = shares(cpus, gib, slots)

    assert [take(found, f"t{n}", slots - n - 1) for n in range(slots)] == given


def test_the_last_target_gets_what_the_others_left() -> None:
    found = shares(8, 32, 4)
    assert [take(found, f"t{n}", 3 - n) for n in range(4)] == [2, 2, 2, 2]
    for name in ("t0", "t1", "t2"):
        found.release(TargetId(name), starved=False)

    assert take(found, "last", 0) == 6


def test_memory_that_compilers_were_given_is_not_given_twice() -> None:
    found = shares(8, 32, 2)
    assert take(found, "big", 1, TargetResources(memory_per_job=6 * GIB)) == 2

    assert take(found, "other", 0) == 6


def test_what_ran_out_of_memory_gets_half_as_many_the_next_time() -> None:
    found = shares(8, 32, 2)
    assert take(found, "big", 1) == 4
    found.release(TargetId("big"), starved=True)

    assert take(found, "big", 0) == 2
    found.release(TargetId("big"), starved=False)
    assert take(found, "other", 0) == 8


def test_what_the_matrix_says_of_a_target_is_no_less_and_no_more() -> None:
    found = shares(8, 32, 2)

    assert take(found, "small", 0, TargetResources(cpus=3)) == 3
    found.release(TargetId("small"), starved=False)
    assert take(found, "tight", 0, TargetResources(memory=f"{4 * GIB}b")) == 2


# Estimates


def test_without_earlier_runs_the_cost_counts_and_emulation_makes_it_dearer() -> None:
    found = {
        each.id: each
        for each in (
            target("a"),
            target("b", resources=TargetResources(cost=3)),
            target("c", arch=FOREIGN),
        )
    }

    assert estimates(found, {}) == {"a": 1.0, "b": 3.0, "c": 8.0}


def test_what_took_long_last_time_is_expected_to_again_and_gives_the_others_their_unit() -> None:
    found = {
        each.id: each
        for each in (
            target("a"),
            target("b", resources=TargetResources(cost=3)),
            target("c", arch=FOREIGN),
        )
    }

    assert estimates(found, {TargetId("a"): 10.0}) == {"a": 10.0, "b": 30.0, "c": 80.0}
    assert estimates(found, {TargetId("b"): 60.0, TargetId("gone"): 1.0})[TargetId("a")] == 20.0
