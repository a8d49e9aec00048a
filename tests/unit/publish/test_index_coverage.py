"""Which files of an index are planned wheels."""

from __future__ import annotations

from orchestrator.publish.index_coverage import compare
from tests import factories

MATRIX = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
[version]
base = "1.0"
"""


def test_a_variant_is_no_planned_wheel() -> None:
    plan = factories.plan_of(MATRIX)
    plain = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64"
    labelled = (f"{plain}-cu130.whl", f"{plain}-null.whl")
    held = compare(plan, plan, [(each, False) for each in labelled], project="demo")

    assert [each.id for each in held.lacks] == [plan.targets[0].id]
    assert held.beyond == labelled
    held = compare(plan, plan, [(f"{plain}.whl", False)], project="demo")
    assert (held.lacks, held.beyond) == ((), ())
