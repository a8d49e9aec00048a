"""One wheel for several values of an axis: `build.torch-stable`, `build.stable-abi`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builtin_table
from orchestrator.models.target import Plan, Target
from orchestrator.plan.selection import select
from tests.factories import plan_of, request

MATRIX = """
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64"]
torch = ["2.12", "2.13", "2.14"]
cuda = ["cpu", "13.0"]
"""

STABLE = """
[indexes]
torch = "https://host/whl/{cuda}"
[build]
requires = ["torch=={torch}.*"]
stable-abi = { torch = "2.12" }
[version]
local = "cu{cuda|nodot}"
[version.pins]
torch = ">={torch}"
[env]
TORCH = "{torch}"
[test]
command = "check {torch}"
requires = ["torch=={torch}.*"]
"""


def plan(text: str, *, axes: str = MATRIX) -> Plan:
    return plan_of(axes + text, version="1", table=builtin_table())


def only(text: str, *, axes: str = MATRIX) -> Target:
    (target,) = plan(text, axes=axes).targets
    return target


def test_it_is_built_once_with_the_lowest_and_tested_with_each() -> None:
    found = plan(STABLE).targets

    assert [each.id for each in found] == [
        *("cp311-manylinux_x86_64-cpu-2.12", "cp311-manylinux_x86_64-13.0-2.12"),
        *("cp312-manylinux_x86_64-cpu-2.12", "cp312-manylinux_x86_64-13.0-2.12"),
    ]
    first = found[0]
    assert first.stable_abi == (("torch", "2.12"),)
    assert first.steps.environment.requires == ("torch==2.12.*",)
    assert first.steps.test_requires == ("torch==2.12.*",)
    assert first.pins == ("torch>=2.12",)
    assert [dict(each)["torch"] for each in first.covers] == ["2.12", "2.13", "2.14"]
    assert [each.name for each in first.further_tests] == ["torch 2.13", "torch 2.14"]
    assert [each.requires for each in first.further_tests] == [
        *(("torch==2.13.*",), ("torch==2.14.*",)),
    ]
    assert first.further_tests[1].command == "check 2.14"


def test_it_collapses_with_pythons_too() -> None:
    found = only(STABLE + '[[override]]\nwhen = { cuda = "13.0" }\nbuild.abi3 = "cp310"\n',
                 axes=MATRIX.replace('"cpu", ', ""))  # fmt: skip

    assert found.id == "abi3-cp310-manylinux_x86_64-13.0-2.12"
    assert (found.python, found.test_pythons) == ("cp311", ("cp312",))
    assert [each.name for each in found.further_tests] == ["torch 2.13", "torch 2.14"]
    assert len(found.covers) == len(found.aliases) == 6


def test_every_cell_selects_it() -> None:
    targets = plan(STABLE).targets
    assert select(targets, ["torch=2.14 & python=cp311 & cuda=cpu"]) == targets[:1]


def test_what_follows_from_the_torch_table_is_that_of_the_lowest() -> None:
    axes = MATRIX.replace('"2.12", "2.13", "2.14"', '"2.6", "2.7"').replace(
        '"cpu", "13.0"', '"cpu"'
    )
    text = '[build]\nstable-abi.torch = "2.6"\n[env]\nABI = "{cxx11abi}"\n'
    text += '[test]\ncommand = "{cxx11abi}"'
    found = plan(text, axes=axes).targets[0]

    assert [each.value for each in found.env if each.name == "ABI"] == ["0"]
    assert found.steps.test_command == "0"
    assert [each.command for each in found.further_tests] == ["1"]


def test_an_override_keeps_cells_out() -> None:
    rule = '[[override]]\nwhen = { torch = "2.14" }\nbuild = { stable-abi = {} }\n'
    found = plan(STABLE + rule + 'version.local = "own{cuda|nodot}"').targets
    assert [(each.id.rpartition("-")[2], len(each.covers)) for each in found] == [
        *(("2.12", 2), ("2.14", 1)) * 4,
    ]


def test_another_axis_than_torch() -> None:
    axes = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\nnumpy = ["2.0", "2.10", "2.9"]\n'
    text = (
        '[build]\nrequires = ["numpy=={numpy}.*"]\nstable-abi.numpy = "2.0"\n[test]\ncommand = "x"'
    )
    found = only(text, axes=axes)
    assert [each.name for each in found.further_tests] == ["numpy 2.10", "numpy 2.9"]


def test_a_cell_without_the_axis_is_as_ever() -> None:
    axes = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\n[axes.device]\nvalues = ["cpu", "gpu"]\n'
    axes += '[axes.torch]\nvalues = ["2.12", "2.13"]\nwhen = { device = "gpu" }\n'
    text = '[build]\nstable-abi.torch = "2.12"\n[version]\nlocal = "{device}"'
    cpu, gpu = plan(text, axes=axes).targets
    assert (cpu.stable_abi, cpu.further_tests, len(gpu.covers)) == ((), (), 2)


def test_without_a_pin_the_wheel_requires_the_lowest_torch() -> None:
    text = STABLE.replace('[version.pins]\ntorch = ">={torch}"', "")
    assert {each.pins for each in plan(text).targets} == {("torch>=2.12",)}


@pytest.mark.parametrize(
    ("pin", "what"),
    [
        ("=={torch}.*", "but torch==2.12.* does not allow 2.13"),
        ("<2.14", "but torch<2.14 does not allow 2.14"),
        (">=2.10", "but torch>=2.10 allows earlier ones"),
        ("!=2.11", "but torch!=2.11 allows earlier ones"),
        (">={torch},<3", ""),
        ("~={torch}", ""),
    ],
)
def test_a_pin_that_says_something_else(pin: str, what: str) -> None:
    text = STABLE.replace('torch = ">={torch}"', f'torch = "{pin}"')
    if not what:
        assert len(plan(text).targets) == 4
        return
    with pytest.raises(ConfigError) as caught:
        plan(text)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert problem.where == "version.pins.torch"
    assert problem.hint == 'torch = ">={torch}"'


@pytest.mark.parametrize(
    ("floor", "what"),
    [
        ("2.11", "no cell with torch 2.11 builds the same"),
        ("main", "torch 2.12 may be earlier or later than torch main"),
    ],
)
def test_a_lowest_value_that_is_not_true(floor: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        plan(STABLE.replace('"2.12"', f'"{floor}"'))
    assert caught.value.problems[0].where == "build.stable-abi.torch"


SHORT = STABLE.replace('stable-abi = { torch = "2.12" }', 'torch-stable = "2.12"')


def test_torch_has_a_key_of_its_own() -> None:
    long, short = plan(STABLE).targets, plan(SHORT).targets
    assert short == tuple(replace(each, origins=short[0].origins) for each in long)
    assert dict(short[0].origins)["build.torch-stable"] == "build.torch-stable"

    floor = SHORT.replace('stable = "2.12"', 'stable = "2.11"')
    with pytest.raises(ConfigError, match=r"no cell with torch 2\.11") as caught:
        plan(floor)
    assert caught.value.problems[0].where == "build.torch-stable"


@pytest.mark.parametrize("key", ['torch-stable = "2.13"', 'stable-abi.torch = "2.13"'])
def test_earlier_torches_have_wheels_of_their_own(key: str) -> None:
    text = f'[build]\n{key}\n[version]\nlocal = "{{cuda|nodot}}torch{{torch}}"\n'
    text += '[env]\nX = "{cuda} {torch}"\n[test]\ncommand = "x"'
    found = plan(text).targets
    assert [(each.id.rpartition("-")[2], each.stable_abi, each.pins) for each in found[:2]] == [
        ("2.12", (), ()),
        ("2.13", (("torch", "2.13"),), ("torch>=2.13",)),
    ]
    assert [test.name for each in found for test in each.further_tests] == ["torch 2.14"] * 4
    # One name for both would be a wheel of the one written over the other.
    with pytest.raises(ConfigError, match="would make wheels of one name"):
        plan(text.replace("torch{torch}", ""))


def test_an_override_gives_each_torch_its_own_again() -> None:
    rule = '[[override]]\nwhen = { torch = "2.14" }\nbuild.torch-stable = ""\n'
    found = plan(SHORT + rule + 'version.local = "own{cuda|nodot}"').targets
    assert [len(each.covers) for each in found] == [2, 1] * 4


def test_a_lowest_value_above_all_cells_is_a_note() -> None:
    text = SHORT.replace('stable = "2.12"', 'stable = "2.20"').replace("cuda|nodot", "torch")
    text = text.replace('local = "cu{torch}"', 'local = "{cuda}.torch{torch}"')
    found = plan(text)
    assert len(found.targets) == 12
    assert found.notes == ("build.torch-stable: no cell has torch 2.20 or a later one",)


def test_a_python_for_which_the_lowest_is_excluded_names_its_own() -> None:
    text = STABLE + '[[exclude]]\nwhen = { python = "cp312", torch = "2.12" }\n'
    with pytest.raises(ConfigError, match="builds the same"):
        plan(text)
    text += '[[override]]\nwhen = { python = "cp312" }\nbuild = { stable-abi = { torch = "2.13" } }'
    assert {each.python: each.pins for each in plan(text).targets} == {
        "cp311": ("torch>=2.12",),
        "cp312": ("torch>=2.13",),
    }


def test_a_further_test_is_part_of_the_key() -> None:
    stable = plan(STABLE).targets[0]
    tests = (replace(stable.further_tests[0], command="other"), *stable.further_tests[1:])
    keys = {request(each).key for each in (stable, replace(stable, further_tests=tests))}
    assert len(keys) == 2
