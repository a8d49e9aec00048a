"""``[publish]``: what an index would refuse is said when the matrix is planned."""

from __future__ import annotations

import pytest

from orchestrator.config.destinations import refusals
from orchestrator.errors import ConfigError, Problem
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan
from orchestrator.report import plans
from tests.conftest import REPOSITORY
from tests.factories import plan_of

FACTS = builder_facts()
MATRIX = """
[axes]
python = ["cp312"]
arch = ["x86_64", "riscv64", "loongarch64"]

[version]
base = "1.0"

[images]
manylinux_loongarch64 = "localhost/loong:1"
"""
ELSEWHERE = """
[[override]]
when = { arch = "loongarch64" }
publish = { to = ["https://index.example/simple"] }
"""


def plan(text: str) -> Plan:
    return plan_of(MATRIX + text)


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        plan(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("tag", "version", "refused"),
    [
        ("manylinux_2_28_x86_64", "1.0", False),
        ("manylinux2014_aarch64", "1.0", False),
        ("musllinux_1_2_riscv64", "1.0rc1", False),
        ("manylinux_2_39_riscv64", "1.0", False),
        ("linux_armv7l", "1.0", False),
        ("manylinux_2_36_loongarch64", "1.0", True),
        ("musllinux_1_2_loongarch64", "1.0", True),
        ("linux_x86_64", "1.0", True),
        ("linux_riscv64", "1.0", True),
        ("musllinux_1_2_ppc64", "1.0", True),
        ("manylinux_2_28_x86_64", "1.0+cu126", True),
    ],
)
def test_what_pypi_takes(tag: str, version: str, refused: bool) -> None:  # noqa: FBT001
    for name in ("pypi", "testpypi"):
        assert bool(list(refusals(name, tag=tag, version=version))) is refused
    assert list(refusals("https://index.example/simple", tag=tag, version=version)) == []


def test_a_destination_that_refuses_a_target_is_an_error_of_the_plan() -> None:
    (found,) = problems('[publish]\nto = ["pypi"]\n')

    assert found.what.startswith("pypi takes no manylinux_*_loongarch64 wheels (")
    assert found.what.endswith("): cp312-manylinux_loongarch64")
    assert found.where == "publish.to"
    assert "publish = { to = [] }" in found.hint


def test_without_destinations_nothing_is_refused() -> None:
    assert {each.publish for each in plan("").targets} == {()}


def test_an_override_sends_a_target_elsewhere_and_the_table_shows_it() -> None:
    planned = plan('[publish]\nto = ["pypi"]\n' + ELSEWHERE)

    places = {each.arch: each.publish for each in planned.targets}
    assert places == {
        "x86_64": ("pypi",),
        "riscv64": ("pypi",),
        "loongarch64": ("https://index.example/simple",),
    }
    header, *_ = plans.table(planned).splitlines()
    assert header.split()[-2:] == ["publish", "to"]
    assert "publish to" not in plans.table(plan(""))


def test_local_versions_are_refused_once_for_all_targets() -> None:
    text = '[publish]\nto = ["testpypi"]\n' + ELSEWHERE
    text += '[[override]]\nwhen = { python = "cp312" }\nversion = { local = "cpu" }\n'

    (found,) = problems(text)

    assert found.what == (
        "testpypi takes no local versions such as 1.0+cpu (PEP 440): cp312-manylinux_x86_64 and "
        "1 more"
    )
    assert "version.release = true" in found.hint


def test_what_may_become_a_linux_wheel_is_refused() -> None:
    text = '[publish]\nto = ["pypi"]\n' + ELSEWHERE
    text += '[build]\nrepair = "auditwheel"\nrepair-refused = "keep"\n'

    found = problems(text)

    assert [each.what.partition(" wheels")[0] for each in found] == [
        "pypi takes no linux_x86_64",
        "pypi takes no linux_riscv64",
    ]
    assert 'build.repair-refused = "fail"' in found[0].hint


def test_a_destination_nobody_knows_is_an_error_of_its_own() -> None:
    (found,) = problems('[publish]\nto = ["pipy"]\n')

    assert found.what == "must be pypi, testpypi, github-release or a URL, got 'pipy'"


def test_the_example_of_all_architectures() -> None:
    planned = plan_of((REPOSITORY / "examples/matrices/architectures.toml").read_text("utf-8"))

    assert len(planned.targets) == 15
    public = {each.arch for each in planned.targets if each.publish == ("pypi",)}
    assert public == set(Arch) - {Arch.LOONGARCH64}
    assert {each.build_identifier for each in planned.targets} - FACTS.identifiers == {
        "cp314-manylinux_loongarch64"
    }
    emulated = {each.arch for each in planned.targets if each.emulated}
    assert emulated == {Arch.PPC64LE, Arch.S390X, Arch.RISCV64}
