"""Projects of the package index build as they are, with the matrix that `init` writes."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import Any

import pytest

from tests.conftest import REPOSITORY, TAG, ran

PROJECTS: list[dict[str, Any]] = tomllib.loads(
    (REPOSITORY / "tests" / "projects.toml").read_text("utf-8")
)["project"]


@pytest.mark.index
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each["name"], marks=() if each.get("ci") else pytest.mark.nightly)
        for each in PROJECTS
    ],
)
def test_it_builds_or_says_what_it_needs(name: str) -> None:
    program = REPOSITORY / "benchmarks" / "projects.py"

    ran(
        sys.executable,
        program,
        "--only",
        name,
        "--python",
        TAG,
        cwd=REPOSITORY,
        code=0,
        timeout=3600,
    )


def test_the_list_is_one_of_files() -> None:
    names = [each["name"] for each in PROJECTS]

    assert len(set(names)) == len(names) >= 80
    assert sum(1 for each in PROJECTS if each.get("ci")) == 10
    assert all(re.fullmatch(r"[0-9a-f]{64}", each["sha256"]) for each in PROJECTS)
    assert len({each["kind"] for each in PROJECTS}) >= 20
