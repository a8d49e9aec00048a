"""Which files of an index are planned wheels."""

from __future__ import annotations

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.publish import index_coverage
from orchestrator.publish.index_coverage import compare, compare_release, markdown, table
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


def test_the_sdist_of_another_project_is_none_of_ours() -> None:
    plan = factories.plan_of(MATRIX)
    for name in ("other-1.0.tar.gz", "demo_more-1.0.tar.gz", "demo-0.1.0.tar.gz"):
        held = compare(plan, plan, [(name, False)], project="demo", sdist=True)
        assert (held.sdists, held.lacks_sdist) == ((), True)
    assert compare(plan, plan, [("other-1.0.tar.gz", False)], project="").sdists


def test_many_sdists_and_wheels_are_not_compared_with_each_other() -> None:
    """An index may spell a version in many ways; their product took hours."""
    plan = factories.plan_of(MATRIX)
    sdists = [(f"demo-1{'.0' * (number + 1)}.tar.gz", False) for number in range(100)]
    sdists += [(f"demo-{'0' * number}1.0.tar.gz", False) for number in range(1, 100)]
    wheels = [(f"demo-1.0-{n}-cp312-cp312-linux_x86_64.whl", False) for n in range(20_000)]
    held = compare(plan, plan, [*sdists, *wheels], project="demo", sdist=True)
    assert len(held.sdists) == len({*sdists})
    assert len(held.has[0].files) == 20_000


@pytest.mark.parametrize("tags", [2, 10])
def test_files_tags_and_targets_have_one_bound(tags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = factories.plan_of(MATRIX.replace('["cp312"]', '["cp312", "cp313", "abi3-cp310"]'))
    pythons = ".".join(f"cp{number}" for number in range(tags))
    files = [f"demo-1.0-{n}-{pythons}-cp312-linux_x86_64.whl" for n in range(200)]
    monkeypatch.setattr(index_coverage, "MOST_STEPS", 600)
    for use in (
        lambda some: compare(plan, plan, [(each, False) for each in some], project="demo"),
        lambda some: compare_release(plan, some),
    ):
        use(files[:2])
        with pytest.raises(EnvironmentProblemError, match="more files of these versions"):
            use(files)
    compare(plan, plan, [(each.replace("1.0", "0.9"), False) for each in files], project="demo")
