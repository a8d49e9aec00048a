"""A plan as people read it, in any number of columns."""

from __future__ import annotations

import pytest

from orchestrator.report import plans
from tests import factories

MATRIX = """
[project]
source = "demo==1.0"
[axes]
python = ["cp39", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t"]
arch = ["x86_64", "aarch64", "riscv64", "ppc64le"]
cuda = { values = ["12.6", "12.8", "13.0"], label = "cu{cuda|nodot}-with-a-long-name" }
[version]
base = "1.0"
local = "cu{cuda|nodot}"
[images]
manylinux_x86_64 = "registry.example/a/long/name/of/an/image-{cuda}:latest"
[build]
requires = ["torch", "ninja", "packaging", "wheel", "setuptools", "something-with-a-long-name"]
[[exclude]]
when = "cuda=13.0 & arch=riscv64,ppc64le"
reason = "there is no CUDA for this architecture, and there will not be any in the near future"
"""


@pytest.mark.parametrize("width", [60, 80, 120, 400])
def test_no_line_of_a_plan_is_wider_and_each_id_stands_whole_in_one(width: int) -> None:
    plan = factories.plan_of(MATRIX)
    table, excluded = plans.table(plan, width), plans.excluded(plan, width)

    for text in (table, excluded):
        assert max(map(len, text.splitlines())) <= width
        assert "no CUDA for this architecture, and" in " ".join(text.split())
    if width >= 80:
        assert {line.split()[0] for line in table.splitlines() if line} >= set(plan.ids)
    assert " ".join(table.split()).count("registry.example/a/long/name/of/an/image-13.0") == (
        1 if width < 400 else 8
    )
    grid = [line.split() for line in table.splitlines() if line.startswith("variant ")]
    assert [python for line in grid for python in line[1:]] == [
        *("cp39", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t")
    ]


def test_a_plan_that_fits_is_a_table() -> None:
    plan = factories.plan_of(
        '[project]\nsource = "demo==1.0"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'
        '[version]\nbase = "1.0"\n'
    )

    assert plans.table(plan, 80) == plans.table(plan)
    assert plans.table(plan).startswith("target ")
