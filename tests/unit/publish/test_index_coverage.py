"""Which files of an index are planned wheels."""

from __future__ import annotations

from orchestrator.publish.index_coverage import compare, markdown, table
from tests import factories

MATRIX = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
[version]
base = "1.0"
"""


def test_the_sdist_of_a_planned_version_counts_where_the_matrix_asks_for_it() -> None:
    plan = factories.plan_of(MATRIX.replace('"1.0"', '"1.0"\nlocal = "cu1"'))
    wheel = ("demo-1.0+cu1-cp312-cp312-manylinux_2_28_x86_64.whl", False)
    sdist, old = ("demo-1.0.tar.gz", False), ("demo-0.9.tar.gz", False)

    held = compare(plan, plan, [wheel, sdist, old], project="demo", sdist=True)
    assert (held.sdists, held.lacks_sdist, held.other_versions) == (("demo-1.0.tar.gz",), False, 1)
    assert "1 of 1 planned wheel, the sdist, 1 file of other versions" in table(held, plan)

    yanked = (sdist[0], True)
    for files in ([wheel], [wheel, yanked]):
        held = compare(plan, plan, files, project="demo", sdist=True)
        assert held.lacks_sdist
        assert "no sdist" in table(held, plan)
        assert "the sdist" in markdown(held, plan)
    assert held.yanked == (sdist[0],)
    assert not compare(plan, plan, [wheel], project="demo").lacks_sdist


def test_a_variant_is_no_planned_wheel() -> None:
    plan = factories.plan_of(MATRIX)
    plain = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64"
    labelled = (f"{plain}-cu130.whl", f"{plain}-null.whl")
    held = compare(plan, plan, [(each, False) for each in labelled], project="demo")

    assert [each.id for each in held.lacks] == [plan.targets[0].id]
    assert held.beyond == labelled
    held = compare(plan, plan, [(f"{plain}.whl", False)], project="demo")
    assert (held.lacks, held.beyond) == ((), ())
