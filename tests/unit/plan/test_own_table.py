"""The project's own ``[tool.cibuildwheel]`` beside a plan, which says what it does not follow."""

from __future__ import annotations

import tomllib

import pytest

from orchestrator.plan.own_table import own_table_notes
from tests.factories import FACTS, plan_of

MATRIX = """
project.source = "x==1"
axes.python = ["cp312", "cp313", "cp314t", "pp311"]
axes.arch = ["x86_64", "i686", "ppc64le"]
axes.libc = ["manylinux", "musllinux"]
"""


def notes(table: str, matrix: str = MATRIX) -> tuple[str, ...]:
    return own_table_notes(tomllib.loads(table), plan_of(matrix, version="1"), FACTS)


@pytest.mark.parametrize(
    "table",
    [
        "",
        'enable = "pypy"',
        'enable = ["pypy", "cpython-prerelease"]\nskip = "*-win32 *-macosx_*"',
        'enable = ["all"]\nbuild = "cp3{12,13,14t}-* pp*"',
        'enable = ["pypy"]\narchs = "auto"\nlinux.archs = ["x86_64", "i686", "ppc64le"]',
        'enable = ["pypy"]\nmanylinux-x86_64-image = "manylinux_2_28"',
        'enable = ["pypy"]\nwindows.archs = ["AMD64"]\noverrides = 5',
    ],
)
def test_nothing_is_said_where_both_agree(table: str) -> None:
    assert notes(table) == ()


def test_cells_that_the_project_does_not_select_are_counted() -> None:
    table = 'build = "cp{312,313}-*"\nskip = ["*-musllinux_{ppc64le,s390x}"]\n'
    table += 'linux.archs = "x86_64 ppc64le"'

    (said,) = notes(table)

    assert said.startswith(
        "not in the project's own selection: 14 of 20 planned cells "
        "([tool.cibuildwheel] build, skip, archs): "
    )
    assert "cp314t-manylinux_x86_64" in notes('build = "cp31?-*"\nenable = ["pypy"]')[0]
    assert "6 of 20" in notes('skip = "cp312-*"\nenable="all"\n')[0]


def test_pypy_needs_its_group() -> None:
    assert "2 of 20 planned cells" in notes('skip = ""')[0]


def test_a_pattern_of_braces_without_end_ends() -> None:
    assert notes(f'skip = "{"{a,b}" * 30}"\nenable = "pypy"') == ()


def test_the_stable_abi_is_no_identifier() -> None:
    matrix = 'project.source="x==1"\naxes.python = ["abi3-cp310"]\naxes.arch = ["x86_64"]'

    assert notes('build = "cp312-*"', matrix) == ()


def test_an_image_of_the_project_is_said_with_what_takes_it() -> None:
    table = 'enable = "pypy"\nlinux.manylinux-i686-image = "manylinux2014"'
    (said,) = notes(table)
    line = said.partition("): ")[2].removesuffix(" takes that one")

    assert said.startswith("manylinux_i686 is built in manylinux_2_28, and not in manylinux2014")
    assert notes(table, MATRIX + line) == ()


def test_an_image_for_some_pythons_is_an_override() -> None:
    table = 'enable = "pypy"\n[[overrides]]\nselect = "cp3{8,12}-*"\nmanylinux-x86_64-image = "m:1"'

    (said,) = notes(table)

    assert said.startswith("manylinux_x86_64 is built in manylinux_2_28, and not in m:1 as ")
    assert said.endswith('(1 target): an [[override]] with image = "m:1" takes that one')


def test_an_image_that_is_gone_is_said_to_be() -> None:
    table = 'enable = "pypy"\nmanylinux-x86_64-image = "manylinux2010"'

    assert notes(table)[0].endswith("does not have that one any more")


def test_what_only_another_cibuildwheel_knows_is_said_once() -> None:
    table = 'enable = ["pypy", "cpython-freethreading"]\nfree-threaded-support = true'

    (said,) = notes(table)

    assert "free-threaded-support, enable = cpython-freethreading: " in said
    assert said.endswith(f"cibuildwheel {FACTS.version} does not know it")
