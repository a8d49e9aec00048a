"""Keys of cibuildwheel, and keys in the wrong table: what the hint says to write works."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest

from orchestrator.config.load import load
from orchestrator.config.unknown_keys import ENABLE_GROUPS, without_unknown
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import VersionAnswer, VersionQuestion
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext
from tests.factories import FACTS

BASE = {
    "axes.python": 'axes.python = ["cp311", "cp312"]',
    "axes.arch": f"axes.arch = {[str(each) for each in Arch if each.facts.pypi]}",
    "axes.libc": 'axes.libc = ["manylinux", "musllinux"]',
}
SCHEMA = json.loads(
    resources.files("cibuildwheel").joinpath("resources/cibuildwheel.schema.json").read_text()
)
OPTIONS = sorted({*SCHEMA["properties"], "select"})
OTHERS = {"android", "ios", "linux", "macos", "pyodide", "windows"} | {
    *("pyodide-version", "test-runtime", "xbuild-files", "xbuild-tools"),
}
"""Options without a meaning here: there is nothing to write."""

RIGHT_HERE = {"build"}
"""Options whose name is a key of ours at the top level."""


def hint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load("\n".join((text, *BASE.values())).encode(), facts=FACTS)
    (problem,) = caught.value.problems
    return problem.hint


def followed(said: str) -> str:
    """Return the base matrix with what a hint says to write."""
    header, separator, rest = said.partition(" is written ")[2].rpartition("]] with ")
    lines = rest.split(" and ")
    keys = {line.split(" = ")[0] for line in lines}
    base = [line for key, line in BASE.items() if key not in keys]
    above, below = ([], [f"{header}]]", *lines]) if separator else (lines, [])
    return "\n".join((*base, *above, *below))


@pytest.mark.parametrize("option", [o for o in OPTIONS if o not in {*OTHERS, *RIGHT_HERE}])
@pytest.mark.parametrize("table", ["", '[[override]]\nwhen.arch = "x86_64"\n[override.test]'])
def test_an_option_of_cibuildwheel_has_a_hint_that_works(option: str, table: str) -> None:
    text = "\n".join((*BASE.values(), table, f'{option} = "x"'))
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), facts=FACTS)
    said = next(each.hint for each in caught.value.problems if each.where.endswith(option))

    assert said.startswith(f"cibuildwheel's {option} is written ")
    load(followed(said).encode(), facts=FACTS)


def test_a_variable_of_the_caller_is_passed_on_as_the_hint_says() -> None:
    settings = load(followed(hint('environment-pass = ["STAMP"]')).encode(), facts=FACTS)
    question = VersionQuestion(source="env:STAMP")
    for value in ("today", ""):
        answers = {question: VersionAnswer(source=question.source, value=value)}
        outside = VersionContext(version="1.0", answers=answers)

        target = make_plan(settings, facts=FACTS, outside=outside).targets[0]

        found = [(each.name, each.value) for each in target.env]
        assert found == ([("STAMP", value)] if value else [])


@pytest.mark.parametrize("option", sorted(OTHERS))
def test_an_option_for_other_systems_is_to_be_removed(option: str) -> None:
    assert re.search("remove it|without this table", hint(f'{option} = "x"'))


@pytest.mark.parametrize(
    "name",
    ["CIBW_TEST_EXTRAS", "CIBW_BUILD", "CIBW_BEFORE_ALL_LINUX", "CIBW_MANYLINUX_X86_64_IMAGE"],
)
def test_a_variable_of_cibuildwheel_has_one_too(name: str) -> None:
    said = hint(f'env.{name} = "x"')

    assert said.startswith(f"cibuildwheel's {name} is written ")
    load(followed(said).encode(), facts=FACTS)


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("frontend", "build.frontend"),
        ("isolation", "build.isolation"),
        ("requires", "build.requires or test.requires"),
        ("test.isolation", "build.isolation"),
        ("build.extras", "test.extras"),
        ("build.sdist", "project.sdist"),
        ("version.exclude", "project.exclude"),
        ("build.pins", "version.pins"),
        ("test.size-budget", "verify.size-budget"),
    ],
)
def test_a_key_of_another_table_says_which(key: str, where: str) -> None:
    assert hint(f"{key} = 1") == f"it belongs elsewhere: {where}"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("image", "images.manylinux_x86_64"),
        ("build.image", "images.manylinux_x86_64"),
        ("runner", "[[override]]"),
        ("python", "axes.python"),
        ("arch", "axes.arch"),
    ],
)
def test_a_key_that_no_common_table_has_says_where_it_stands(key: str, said: str) -> None:
    assert said in hint(f'{key} = "x"')


def test_the_groups_are_those_of_the_locked_cibuildwheel() -> None:
    selector = pytest.importorskip("cibuildwheel.selector")

    assert {*selector.EnableGroup, "all"} == ENABLE_GROUPS


@pytest.mark.parametrize(
    ("table", "left_out"),
    [
        ({"build": "*", "linux": {"archs": ["auto"]}}, ()),
        ({"free-threaded-support": True, "skip": ""}, ("free-threaded-support",)),
        ({"zzz": 1, "linux": {"yyy": 2, "skip": ""}}, ("zzz", "linux.yyy")),
        ({"linux": {"dependency-versions": "latest"}}, ("linux.dependency-versions",)),
        ({"inherit": {"zzz": "append", "environment": "append"}}, ()),
        # What was meant stays, so that cibuildwheel says that it is misspelt.
        ({"tset-command": "x", "before_all": "y"}, ()),
        ({"manylinux-pypy_x86_64-image": "x", "musllinux-riscv64-image": "y"}, ()),
    ],
)
def test_options_of_another_cibuildwheel_are_left_out(
    table: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    known, names = without_unknown(table)

    assert names == left_out
    assert "zzz" not in repr(known)
    assert table.keys() - known.keys() == {name for name in names if "." not in name}


def test_a_misspelt_key_is_still_corrected() -> None:
    assert hint("build.require = []") == "did you mean 'requires'?"
