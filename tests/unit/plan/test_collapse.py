"""Cells that would build the same wheel are one target: collapse, the stable ABI, selection."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError, NothingSelectedError
from orchestrator.models.target import Plan, Target
from orchestrator.plan.selection import select, shard
from tests.factories import plan_of


def plan(text: str) -> Plan:
    return plan_of(f"[axes]\n{text}", version="1")


def only(text: str) -> Target:
    (target,) = plan(text).targets
    return target


def ids(text: str) -> list[str]:
    return [each.id for each in plan(text).targets]


ONE = 'python = ["cp312"]\narch = ["x86_64"]\n'
PYTHONS = 'python = ["cp312", "cp310", "cp311"]\narch = ["x86_64"]\n'
CUDA = 'cuda = ["12.6", "13.0"]\n'

# Axes that make no difference


@pytest.mark.parametrize(
    ("axis", "meant"),
    [("lbc", "libc"), ("troch", "torch"), ("roc", "rocm"), ("blas", ""), ("cuda", "")],
)
def test_an_axis_that_nothing_uses_may_be_another_one_mistyped(axis: str, meant: str) -> None:
    notes = plan(f'{ONE}{axis} = ["1.2", "13.0"]\n').notes

    said = f"axes.{axis} is used by nothing, so all of its values share one wheel: is axes.{meant}"
    assert [each.startswith(said) for each in notes] == [True] * bool(meant)


def test_a_mistyped_axis_that_something_uses_is_an_axis_like_any() -> None:
    used = f'[axes]\n{ONE}lbc = ["1", "2"]\n[version]\nlocal = "{{lbc}}"\n[env]\nX = "{{lbc}}"'
    assert not plan_of(used, version="1").notes


def test_an_axis_that_changes_nothing_is_one_target_that_names_all_it_covers() -> None:
    found = only(ONE + CUDA)

    assert found.id == "cp312-manylinux_x86_64"
    assert found.aliases == ("cp312-manylinux_x86_64-12.6", "cp312-manylinux_x86_64-13.0")
    assert [dict(each)["cuda"] for each in found.covers] == ["12.6", "13.0"]
    assert found.variant == ()


@pytest.mark.parametrize(
    "setting",
    [
        '[version]\nlocal = "cu{cuda|nodot}"',
        '[version]\nbuild-tag = "{cuda|nodot}"',
        '[version]\nlocal = "{cuda}"\n[env]\nA = "{cuda}"',
        '[version]\nbuild-tag = "{cuda|nodot}"\n[images]\nmanylinux_x86_64 = "x:{cuda}"',
    ],
)
def test_what_it_changes_tells_targets_apart(setting: str) -> None:
    assert ids(ONE + CUDA + setting) == [
        *("cp312-manylinux_x86_64-12.6", "cp312-manylinux_x86_64-13.0"),
    ]


def test_runner_timeout_and_resources_make_no_other_wheel() -> None:
    rule = '[[override]]\nwhen = { cuda = "13.0" }\nrunner = "x"\n'
    rule += "build = { timeout = 5, timeouts = { test = 3 } }\n"
    rule += 'resources = { cost = 3, memory-per-job = "4 GiB" }\n'
    found = only(ONE + CUDA + rule)
    assert found.cost == 3.0


def test_what_is_left_in_common_names_the_target() -> None:
    text = f'{ONE}{CUDA}gcc = ["11", "12"]\n[env]\nGCC = "{{gcc}}"\n[version]\nlocal = "{{gcc}}"'
    assert ids(text) == ["cp312-manylinux_x86_64-11", "cp312-manylinux_x86_64-12"]
    text += '\n[axes.cuda]\nvalues = ["12.6"]\nlabel = "{gcc}cu{cuda}"'
    assert ids(text.replace(CUDA, "")) == [
        *("cp312-manylinux_x86_64-11cu12.6-11", "cp312-manylinux_x86_64-12cu12.6-12"),
    ]


def test_groups_with_the_same_values_in_common_are_called_by_their_first_cells() -> None:
    text = f'{ONE}a = ["1", "2"]\nb = ["1", "2"]\n'
    rule = '[[override]]\nwhen = "a=1 & b=1 | a=2 & b=2"\nversion = { local = "x" }'
    found = plan(text + rule)

    assert [each.id for each in found.targets] == [
        *("cp312-manylinux_x86_64-1-1", "cp312-manylinux_x86_64-1-2"),
    ]
    assert [len(each.covers) for each in found.targets] == [2, 2]


def test_a_shared_name_is_never_the_name_of_another_targets_cell() -> None:
    """What one group has in common may be the very ID of a cell that belongs to another."""
    text = (
        f'{ONE}a = ["1", "2", "3"]\nb = {{ values = ["8", "9"], when = {{ a = "1" }} }}\n'
        '[[override]]\nwhen = "a=1 & b=8 | a=2"\nversion = { local = "x" }\n'
        '[[include]]\na = "1"\n'
    )
    found = plan(text)
    assert len({each.id for each in found.targets}) == len(found.targets)
    for target in found.targets:
        assert select(found.targets, [target.id]) == (target,)


# The stable ABI


def test_a_stable_abi_over_pythons_is_built_once_with_the_lowest() -> None:
    found = only(PYTHONS + '[build]\nabi3 = "cp39"')

    assert found.id == "abi3-cp39-manylinux_x86_64"
    assert (found.python, found.abi3) == ("cp310", "cp39")
    assert found.build_identifier == "cp310-manylinux_x86_64"
    assert found.test_pythons == ("cp312", "cp311")
    assert set(found.aliases) == {f"cp3{n}-manylinux_x86_64" for n in (10, 11, 12)}


def test_free_threaded_pythons_and_pypy_keep_wheels_of_their_own() -> None:
    text = 'python = ["cp311", "cp312", "cp314t", "pp311"]\narch = ["x86_64"]\n'
    rule = '[[override]]\nwhen = { python = "cp31?" }\nbuild = { abi3 = "cp311" }'
    found = plan(text + rule)
    assert [each.id for each in found.targets] == [
        "abi3-cp311-manylinux_x86_64",
        "cp314t-manylinux_x86_64",
        "pp311-manylinux_x86_64",
    ]
    with pytest.raises(ConfigError, match="has nothing to do with cp314t") as caught:
        plan(text + '[build]\nabi3 = "cp311"')
    assert caught.value.problems[0].where == "build.abi3"


def test_a_stable_abi_as_a_value_of_python() -> None:
    found = only('python = ["abi3-cp310"]\narch = ["x86_64"]')

    assert found.id == "abi3-cp310-manylinux_x86_64"
    assert (found.python, found.abi3) == ("cp310", "cp310")
    assert found.test_pythons[:3] == ("cp311", "cp312", "cp313")
    assert not any(each.endswith("t") for each in found.test_pythons)


def test_the_stable_abi_of_free_threaded_pythons_serves_both() -> None:
    found = only('python = ["abi3-cp315t"]\narch = ["x86_64"]')
    assert found.id == "abi3-cp315t-manylinux_x86_64"
    assert (found.python, found.abi3) == ("cp315t", "cp315t")
    assert found.test_pythons[:1] == ("cp315",)
    assert all(int(each[3:5].rstrip("t")) >= 15 for each in found.test_pythons)
    text = 'python = ["cp314t", "cp315", "cp315t"]\narch = ["x86_64"]\n'
    rule = '[[override]]\nwhen = { python = "cp315*" }\nbuild = { abi3 = "cp315t" }'
    ids = [each.id for each in plan(text + rule).targets]
    assert sorted(ids) == ["abi3-cp315t-manylinux_x86_64", "cp314t-manylinux_x86_64"]
    with pytest.raises(ConfigError, match="unknown python 'abi3-cp314t'"):
        plan('python = ["abi3-cp314t"]\narch = ["x86_64"]')


def test_the_python_that_builds_may_be_named() -> None:
    text = 'python = ["abi3-cp39"]\narch = ["x86_64"]\n[build]\nabi3-python = "cp312"'
    found = only(text)
    assert (found.python, found.abi3, found.test_pythons[0]) == ("cp312", "cp39", "cp313")
    with pytest.raises(ConfigError, match="has nothing to do with cp38") as caught:
        plan(text.replace("cp312", "cp38"))
    assert caught.value.problems[0].where == "build.abi3-python"


def test_two_stable_abis_are_two_wheels() -> None:
    text = 'python = ["abi3-cp39", "abi3-cp312"]\narch = ["x86_64"]'
    assert ids(text) == ["abi3-cp39-manylinux_x86_64", "abi3-cp312-manylinux_x86_64"]


def test_a_python_that_the_environment_names_is_not_collapsed_and_said_so() -> None:
    text = f'{PYTHONS}[build]\nabi3 = "cp39"\n[env]\nP = "{{python}}"'
    with pytest.raises(ConfigError, match="would make wheels of one name: both are 1 for cp39-abi"):
        plan(text)


# Baselines


def test_a_baseline_names_its_image_and_collapses_with_no_other() -> None:
    text = f'{ONE}libc = ["manylinux_2_28", "manylinux_2_34", "manylinux_2_17", "manylinux"]\n'
    text += '[version]\nbuild-tag = "1{libc}"'
    found = plan(text).targets

    assert [(each.libc, each.baseline, each.image) for each in found] == [
        ("manylinux", "2.28", "manylinux_2_28"),
        ("manylinux", "2.34", "manylinux_2_34"),
        ("manylinux", "2.17", "manylinux2014"),
        ("manylinux", "", "manylinux_2_28"),
    ]
    assert found[0].id == "cp312-manylinux_2_28_x86_64"
    assert found[0].build_identifier == "cp312-manylinux_x86_64"


def test_the_image_of_a_baseline() -> None:
    text = f'{ONE}libc = ["manylinux_2_99"]\n'
    with pytest.raises(ConfigError, match="no image for manylinux_2_99_x86_64") as caught:
        plan(text)
    assert caught.value.problems[0].where == "images.manylinux_2_99_x86_64"
    assert only(f'{text}[images]\nmanylinux_2_99_x86_64 = "x:1"').image == "x:1"
    assert only(f'{text}[images]\nmanylinux_x86_64 = "x:2"').image == "x:2"


# Selection of what covers several cells

ABI3 = PYTHONS + CUDA + '[build]\nabi3 = "cp39"\n[version]\nlocal = "cu{cuda|nodot}"'


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("cp310-*", ["12.6", "13.0"]),
        ("cp312-manylinux_x86_64-12.6", ["12.6"]),
        ("abi3-cp39-*", ["12.6", "13.0"]),
        ("python=cp311 & cuda>=13", ["13.0"]),
        ("python=abi3-*", ["12.6", "13.0"]),
        ("python>=3.12, <3.13", ["12.6", "13.0"]),
        ("cuda=12.6|*-13.0", ["12.6", "13.0"]),
        ("!cuda=12.6", ["13.0"]),
        ("cuda!=12.6", ["13.0"]),
        ("cuda==12.6,13.0.0", ["12.6", "13.0"]),
        ("cuda==12.6.0", ["12.6"]),
        ("cuda=12.6.0, 13.*", ["13.0"]),
        ("cuda!=12.6,13.1", ["13.0"]),
        ("( cuda ) & arch = x86_64 & !(cuda < 13)", ["13.0"]),
        ("!python=cp310 & cuda=12.6", ["12.6"]),
    ],
)
def test_a_target_is_meant_when_one_of_its_cells_is(expression: str, chosen: list[str]) -> None:
    found = select(plan(ABI3).targets, [expression])
    assert [dict(each.variant)["cuda"] for each in found] == chosen


@pytest.mark.parametrize("expression", ["python=cp39", "cuda>13", "cp39-*", "!cuda"])
def test_nothing_is_meant(expression: str) -> None:
    with pytest.raises(NothingSelectedError):
        select(plan(ABI3).targets, [expression])


@pytest.mark.parametrize("expression", ["cuda>=12,13", "cuda=12.6,>=13", "cuda~=12,"])
def test_lists_and_ranges_do_not_mix(expression: str) -> None:
    with pytest.raises(ConfigError, match="--select"):
        select(plan(ABI3).targets, [expression])


# Shards


def test_shards_are_balanced_by_cost() -> None:
    text = f'{ONE}n = ["1", "2", "3", "4", "5"]\n[env]\nN = "{{n}}"\n[version]\nlocal = "{{n}}"\n'
    rule = '[[override]]\nwhen = { n = "5" }\nresources = { cost = 4 }'
    targets = plan(text + rule).targets

    assert [[each.variant[0][1] for each in shard(targets, f"{i}/2")] for i in (1, 2)] == [
        *(["5"], ["1", "2", "3", "4"]),
    ]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "01/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a shard"):
        shard(plan(ONE).targets, text)


def test_a_shard_without_anything_to_do() -> None:
    assert len(shard(plan(ONE).targets, "1/2")) == 1
    with pytest.raises(NothingSelectedError, match="shard 2/2 has nothing to do"):
        shard(plan(ONE).targets, "2/2")
