"""What a build requires, its constraints, and indexes of the matrix, in containers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import IMAGES
from tests.integration.test_environments import LIMITED, Project
from tests.integration.test_lock import Locked
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


LOCKED = """\
requires = ["plain<3", "setuptools"]
before-build = "mkdir there && pip install -q --target there other && ls there"
[test]
requires = ["plain<3"]
command = "python -c 'import plain; print(\\"TEST\\", plain.version)'"
"""


def test_a_lock_in_a_container(engine: str, tmp_path: Path, stock: Indexes) -> None:
    stock = replace(stock, hashed=("own", "public"))
    project = Locked(tmp_path / "project", stock, "x86_64", "cibuildwheel")
    stock.add("public", "plain", "1.0")  # says hashes from now on
    stock.add("public", "other", "1.0")
    containers = CONTAINERS.format(arch="x86_64", images=IMAGES, engine=engine)
    more = f"[build]\n{LOCKED}{containers}"
    project.wanted = "plain"
    project.lock(more=more)
    stock.add("public", "plain", "2.5")
    project.later()

    said = project.build_locked(more=more).stderr

    assert "the index has newer: plain==2.0 (2.5)" in said
    assert project.found() == {"plain": ["2.0", "public"]}
    assert project.said() == ["TEST 2.0"]
    installs = 'command = "python -m pip install other && '
    project.build_locked(more=more.replace('command = "', installs), code=1)
    assert project.failure()["kind"] == "test"
    assert "No matching distribution found for other" in project.log()
