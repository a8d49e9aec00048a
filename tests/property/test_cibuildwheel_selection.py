"""Our reading of cibuildwheel's selection is cibuildwheel's own."""

from __future__ import annotations

from typing import Any

import pytest
from cibuildwheel.architecture import Architecture
from cibuildwheel.selector import BuildSelector, EnableGroup
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from orchestrator.host.program_tables import builder_facts
from orchestrator.plan import cibuildwheel_selection as selection
from orchestrator.plan.cibuildwheel_selection import CibuildwheelSelection
from tests.conftest import examples

CATALOG = builder_facts()
PATTERNS = (
    *("*", "", "cp3*", "cp{311,312}-*", "cp3{10..12}-*", "*-musllinux_*", "*_i686", "pp*"),
    *(
        "cp31?-*",
        "cp31[24]-many*",
        "cp315t-*",
        "{cp311}-*",
        "cp39-* pp39-*",
        "CP312-*",
        "{a,{cp311,cp312}}-*",
    ),
)


def theirs(build: str, skip: str, enable: set[str], requires: str, archs: str) -> set[str]:
    selector = BuildSelector(
        build_config=build or "*",
        skip_config=skip,
        requires_python=SpecifierSet(requires) if requires else None,
        enable=EnableGroup.parse_option_value(" ".join(enable)),
    )
    known = {str(each) for each in Architecture.parse_config(archs, platform="linux")}
    return {
        each
        for each in CATALOG.identifiers
        if selector(each) and each.partition("_")[2].split("linux_")[-1] in known
    }


@examples(200)
@given(
    build=st.sampled_from(PATTERNS),
    skip=st.sampled_from(PATTERNS[1:]),
    enable=st.sets(st.sampled_from(["pypy", "pypy-eol", "all", "graalpy", "cpython-prerelease"])),
    requires=st.sampled_from(["", ">=3.9", ">=3.12", "<3.13,>=3.10", "!=3.11.*", ">=3.12.4"]),
    archs=st.sampled_from(["x86_64", "all", "aarch64, i686", "AARCH64 s390x", "riscv64"]),
)
def test_it_selects_what_cibuildwheel_selects(
    build: str, skip: str, enable: set[str], requires: str, archs: str
) -> None:
    table = {"build": build.split(), "skip": skip, "enable": sorted(enable), "archs": archs}

    found = CibuildwheelSelection.of(table).identifiers(
        CATALOG, requires_python=requires, native="x86_64"
    )

    assert found == theirs(build, skip, enable, requires, archs)


@pytest.mark.parametrize(
    ("native", "archs", "expected"),
    [
        ("x86_64", "auto", {"x86_64"}),
        ("aarch64", "native", {"aarch64"}),
        ("x86_64", "auto,auto32", {"x86_64", "i686"}),
        ("aarch64", "auto32", set()),
        ("s390x", "auto64 ppc64le", {"s390x", "ppc64le"}),
        ("x86_64", "auto universal2", {"x86_64"}),
    ],
)
def test_architectures_are_those_of_the_machine_that_builds(
    native: str, archs: str, expected: set[str]
) -> None:
    selection = CibuildwheelSelection.of({"archs": archs})

    assert selection.architectures(native, CATALOG) == expected


@pytest.mark.parametrize(
    ("table", "variables", "expected"),
    [
        ({"build": "cp311-*"}, {}, ("cp311-*", "")),
        ({"build": "cp311-*"}, {"CIBW_BUILD": "cp312-*"}, ("cp312-*", "")),
        ({"build": "cp311-*"}, {"CIBW_BUILD": ""}, ("*", "")),
        ({"skip": "*"}, {"CIBW_SKIP": ""}, ("*", "")),
        ({"build": "cp311-*", "linux": {"build": "cp312-*"}}, {}, ("cp312-*", "")),
        ({}, {"CIBW_BUILD_LINUX": "cp312-*"}, ("*", "")),
    ],
)
def test_variables_come_before_the_table(
    table: dict[str, Any], variables: dict[str, str], expected: tuple[str, str]
) -> None:
    selection = CibuildwheelSelection.of(table, variables)

    assert (selection.build, selection.skip) == expected


def test_enable_is_added_to_the_table_s() -> None:
    selection = CibuildwheelSelection.of({"enable": ["pypy"]}, {"CIBW_ENABLE": "pypy-eol"})

    assert selection.enable == {"pypy", "pypy-eol"}


def test_groups_of_other_versions_decide_nothing() -> None:
    table = {"enable": ["cpython-freethreading"], "build": "cp311-*", "archs": "x86_64"}

    found = CibuildwheelSelection.of(table).identifiers(
        CATALOG, requires_python="", native="x86_64"
    )

    assert found == {"cp311-manylinux_x86_64", "cp311-musllinux_x86_64"}


def test_braces_without_end_take_no_time() -> None:
    table = {"build": "{a,b}" * 60 + " {1..999999999999} cp311-*"}

    found = CibuildwheelSelection.of(table).identifiers(
        CATALOG, requires_python="", native="x86_64"
    )

    assert "cp311-manylinux_x86_64" in found


@pytest.mark.parametrize(
    "text", ["a{1..9999} " * 10_000, "{a,b}" * 30, "{1..99999999}" * 2, "x " * 500_000]
)
def test_patterns_of_an_option_have_one_bound(text: str) -> None:
    """Each word had one of its own, and a pyproject.toml has room for a million words."""
    assert len(selection._patterns(text)) <= 1000
    table = {"build": f"{text} cp312-*", "skip": text}
    CibuildwheelSelection.of(table).identifiers(CATALOG, requires_python="", native="x86_64")
