"""What a source states that its build and its tests require."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.builders import declared_requirements as declared
from orchestrator.models.target import EnvironmentSpec, FurtherTest, Target
from tests import factories


def target(**steps: Any) -> Target:
    made = factories.target()
    return replace(made, steps=replace(made.steps, **{"test_command": "true", **steps}))


@pytest.mark.parametrize(
    ("pyproject", "isolation", "wanted"),
    [
        ('[build-system]\nrequires = ["a", "b"]', True, ("a", "b", "c")),
        ('[build-system]\nrequires = ["a", "b"]', False, ("c",)),
        ("", True, ("setuptools >= 40.8.0", "c")),
        ("[project]", True, ("setuptools >= 40.8.0", "c")),
        ("[build-system]\nrequires = 7", True, ("setuptools >= 40.8.0", "c")),
        ("not toml", True, ("setuptools >= 40.8.0", "c")),
    ],
)
def test_a_build(tmp_path: Path, *, pyproject: str, isolation: bool, wanted: object) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    spec = EnvironmentSpec(requires=("c",), isolation=isolation)
    assert declared.build_requires(target(environment=spec), tmp_path) == wanted


PROJECT = """\
[project]
name = "Own.Name"
dependencies = ["dep>1", "pinned", "not a requirement"]
[project.optional-dependencies]
Fast = ["quick", "own-name[more]"]
more = ["rest", "own_name[fast]"]
[dependency-groups]
test = ["pytest", {include-group = "base"}]
base = ["six"]
circle = [{include-group = "circle"}]
[tool.cibuildwheel]
test-requires = "old-way another"
test-extras = ["more"]
[tool.cibuildwheel.linux]
test-requires = ["linux-way"]
"""


def test_a_test_gets_what_matrix_project_and_wheel_require(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    first = target(
        test_requires=("mine", "--no-deps", "dep>1"),
        test_extras=("FAST",),
        test_groups=("test", "circle", "missing"),
    )
    further = FurtherTest(values=(("torch", "2.13"),), command="true", requires=("torch==2.13.*",))
    first = replace(first, pins=("pinned==3.*",), further_tests=(further,))
    own = ("pinned==3.*", "dep>1", "quick", "rest")
    assert declared.test_requires(first, tmp_path) == (
        ("mine", "dep>1", "pytest", "six", "pinned==3.*", "quick", "rest"),
        ("torch==2.13.*", *own),
    )


def test_where_the_matrix_is_silent_the_projects_own_tests_count(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    wheel = ("dep>1", "pinned", "rest", "quick")
    assert declared.test_requires(target(), tmp_path) == (("linux-way", *wheel),)
    emptied = target(emptied=("test.requires", "test.extras"))
    assert declared.test_requires(emptied, tmp_path) == (("dep>1", "pinned"),)


def test_without_a_test_nothing_is_required(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["b"]\n')
    assert declared.test_requires(target(test_command=None), tmp_path) == ()
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write('[tool.cibuildwheel]\ntest-command = "pytest"\n')
    assert declared.test_requires(target(test_command=None), tmp_path) == (("b",),)


@pytest.mark.parametrize(
    ("pyproject", "wanted"),
    [
        ("", True),
        ('[project]\nname = "a"', False),
        ('[project]\nname = "a"\ndynamic = ["dependencies"]', True),
        ('[project]\nname = "a"\ndynamic = ["version"]', False),
    ],
)
def test_dependencies_that_only_a_build_knows(
    tmp_path: Path, *, pyproject: str, wanted: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert declared.undeclared(target(), tmp_path) is wanted
    assert not declared.undeclared(target(test_command=None), tmp_path)
