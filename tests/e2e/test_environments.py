"""What a build requires, its constraints, and indexes of the matrix, in containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IMAGES
from tests.integration.test_environments import LIMITED, Project
from tests.packages import Indexes, indexes

pytestmark = [pytest.mark.engine, pytest.mark.index]

CONTAINERS = """
[images]
manylinux_{arch} = "{images}:bookworm-{arch}"
[engine]
name = "{engine}"
create-args = ["--network=host"]
"""


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Indexes]:
    with indexes(tmp_path / "indexes") as made:
        for version in ("1.0", "2.0", "3.0"):
            made.add("public", "plain", version)
            made.add("public", "other", version)
            made.add("own", "plain", version)
        yield made


@pytest.fixture(params=[("x86_64", "cibuildwheel"), ("i686", "direct")], ids=lambda each: each[1])
def project(request: pytest.FixtureRequest, stock: Indexes, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", stock, *request.param)


@pytest.mark.parametrize("isolation", ["true", "false"])
def test_requires_constraints_and_indexes(engine: str, project: Project, isolation: str) -> None:
    arch = project.arch
    # uv has no platform for i686: pip installs, and knows no index for one package alone.
    named, index = ('[indexes]\nplain = "OWN"\n', "own") if arch == "x86_64" else ("", "public")
    containers = CONTAINERS.format(arch=arch, images=IMAGES, engine=engine)
    project.build("plain", f"[build]\nisolation = {isolation}\n{LIMITED}{named}{containers}")
    assert project.said() == ["BEFORE 1.0 3.0", "TEST 3.0"]
    assert project.found() == {"plain": ["1.0", index]}
