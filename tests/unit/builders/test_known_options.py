"""The table that cibuildwheel gets where it does not know an option of the project."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.builders.cibuildwheel import options
from orchestrator.builders.known_options import as_toml, config_file
from tests import factories


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"a": "x", "b": [1, "y", True], "c": {"d e": {"f": 'q"\\\n\x7f\x01é🙂'}}},
        {"overrides": [{"select": "*", "environment": {"A": "1"}}], "n": -1.5},
    ],
)
def test_a_tree_is_read_as_it_was_written(tree: dict[str, Any]) -> None:
    assert tomllib.loads(as_toml(tree)) == tree


def test_only_options_that_are_unknown_make_a_file(tmp_path: Path) -> None:
    job = factories.build_context(tmp_path)
    job.source.mkdir(exist_ok=True)
    job.scratch.mkdir(exist_ok=True)
    project = job.source / "pyproject.toml"
    project.write_text("[tool.cibuildwheel]\nskip = 'pp*'\nlinux.archs = 'all'\n")
    assert config_file(job) is None

    project.write_text("[tool.cibuildwheel]\nskip = 'pp*'\nfree-threaded-support = true\n")
    file = config_file(job)

    assert file is not None
    assert tomllib.loads(file.read_text())["tool"]["cibuildwheel"] == {"skip": "pp*"}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ("enable", {"CIBW_ENABLE": "all", "CIBW_INHERIT": "environment: append; enable: none"}),
        ("archs", {"CIBW_ARCHS": "x86_64"}),
        ("musllinux-s390x-image", {"CIBW_MUSLLINUX_S390X_IMAGE": factories.TARGET.image}),
        ("skip", {}),
    ],
)
def test_values_that_decide_nothing_are_ours(own: str, wanted: dict[str, str]) -> None:
    request = factories.request(factories.TARGET)
    plain = options(request)

    given = options(replace(request, source=replace(request.source, own_options=(own,))))

    assert dict(given.items() - plain.items()) == wanted


def test_what_the_project_skips_is_not_left_out_of_a_test_on_later_pythons() -> None:
    target = replace(factories.TARGET, test_pythons=("cp313",))
    request = factories.request(target)

    given = options(replace(request, source=replace(request.source, own_options=("skip",))))

    assert given["CIBW_SKIP"] == ""
