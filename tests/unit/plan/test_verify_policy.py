"""``[verify]`` and the options of repair and packing: from matrix.toml to the target."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError, Problem
from orchestrator.models.target import OnRefusal, RuleLevel, Target, VerifyPolicy
from tests.factories import plan_of

AXES = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
cuda = ["12.6", "13.0"]

[version]
base = "1.0"
local = "cu{cuda|nodot}"
"""


def targets(text: str) -> tuple[Target, ...]:
    return plan_of(AXES + text).targets


def problem(text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        targets(text)
    (found,) = caught.value.problems
    return found


def test_nothing_is_demanded_unless_said() -> None:
    for target in targets(""):
        assert target.demands == VerifyPolicy()
        assert target.steps.repair_refused is OnRefusal.FAIL
        assert target.steps.normalise is False


def test_rules_are_merged_by_name_and_the_rest_replaces() -> None:
    old, new = targets("""
[verify]
size-budget = "400 MB"
required = ["a/*.so"]
build-paths = ["/project"]
rules = { no-licence = "off", twine = "warn" }

[[override]]
when = { cuda = "13.0" }
verify = { size-budget = 1000, required = [], rules = { twine = "error", isa-level = "error" } }
""")
    assert old.demands == VerifyPolicy(
        levels=(("no-licence", RuleLevel.OFF), ("twine", RuleLevel.WARN)),
        size_budget=400_000_000,
        required=("a/*.so",),
        build_paths=("/project",),
    )
    assert new.demands == VerifyPolicy(
        levels=(
            ("isa-level", RuleLevel.ERROR),
            ("no-licence", RuleLevel.OFF),
            ("twine", RuleLevel.ERROR),
        ),
        size_budget=1000,
        build_paths=("/project",),
    )


def test_repair_and_packing_in_an_override() -> None:
    old, new = targets("""
[build]
repair = "auditwheel"
normalise = true

[[override]]
when = { cuda = "13.0" }
build = { repair-refused = "keep", normalise = false }
""")
    assert (old.steps.repair_refused, old.steps.normalise) == (OnRefusal.FAIL, True)
    assert (new.steps.repair_refused, new.steps.normalise) == (OnRefusal.KEEP, False)
    assert new.steps.repair == "auditwheel"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('rules = { no-license = "off" }', "rules.no-license", "did you mean 'no-licence'?"),
        ('rules = { xyzzy = "off" }', "rules.xyzzy", "docs/reference/verify.md lists them"),
        ('rules = { twine = "on" }', "rules.twine", "'error', 'warn' or 'off'"),
        ("rules = { twine = true }", "rules.twine", "'error', 'warn' or 'off'"),
        ('size-budget = "lots"', "size-budget", "must be a size such as"),
        ("size-budget = 0", "size-budget", "greater than 0"),
        ("size-budget = -1", "size-budget", "must be a size"),
        ("size-budget = true", "size-budget", "must be a size"),
        ("size-budget = 1.5", "size-budget", "must be a size"),
        ('required = "x"', "required", "must be an array"),
        ('build-path = ["x"]', "build-path", "unknown key"),
    ],
)
def test_what_is_wrong_is_named(text: str, where: str, what: str) -> None:
    for table in ("verify", "override[0].verify"):
        head = "[verify]\n" if table == "verify" else '[[override]]\nwhen = { cuda = "13.0" }\n'
        body = text if table == "verify" else f"verify = {{ {text} }}"
        found = problem(head + body)
        assert found.where == f"{table}.{where}"
        assert what in f"{found.what} {found.hint}"


@pytest.mark.parametrize("text", ['repair-refused = "ignore"', 'normalise = "yes"'])
def test_options_of_build_that_cannot_be(text: str) -> None:
    assert problem(f"[build]\n{text}").where == f"build.{text.split(maxsplit=1)[0]}"
