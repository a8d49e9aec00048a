"""Axes and rules to cells, and which cells a rule or a user means."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.config.condition import values_matching
from orchestrator.config.load import load
from orchestrator.config.settings import Settings
from orchestrator.errors import ConfigError, NothingSelectedError
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.target import Target, TargetId
from orchestrator.plan.expand import Expansion, expand
from orchestrator.plan.layers import channel_matrix
from orchestrator.plan.selection import select
from tests.factories import target

FACTS = builder_facts()


def settings(axes: str, rules: str = "") -> Settings:
    return load(f"[axes]\n{axes}\n{rules}".encode(), facts=FACTS)


def expanded(axes: str, rules: str = "") -> Expansion:
    return expand(channel_matrix(settings(axes, rules)).grid)


def ids(expansion: Expansion) -> list[str]:
    return [cell.id for cell in expansion.cells]


SMALL = 'python = ["cp312", "cp311"]\narch = ["x86_64"]\ncuda = ["12.4", "13.0"]'
TORCH = 'python = ["cp312"]\narch = ["x86_64"]\ntorch = ["2.4", "2.9", "2.10", "2.12"]'

# Order


def test_the_order_is_python_libc_arch_and_then_the_axes_by_name() -> None:
    found = expanded(
        'zeta = ["2", "1"]\narch = ["x86_64", "aarch64"]\nalpha = ["b", "a"]\n'
        'libc = ["musllinux", "manylinux"]\npython = ["cp312", "cp311"]'
    )

    assert ids(found)[:6] == [
        "cp312-musllinux_x86_64-b-2",
        "cp312-musllinux_x86_64-b-1",
        "cp312-musllinux_x86_64-a-2",
        "cp312-musllinux_x86_64-a-1",
        "cp312-musllinux_aarch64-b-2",
        "cp312-musllinux_aarch64-b-1",
    ]
    assert ids(found)[8] == "cp312-manylinux_x86_64-b-2"
    assert ids(found)[16] == "cp311-musllinux_x86_64-b-2"
    assert len(ids(found)) == 32
    assert found.cells[0].values == (
        *(("python", "cp312"), ("libc", "musllinux"), ("arch", "x86_64")),
        *(("alpha", "b"), ("zeta", "2")),
    )


def test_the_order_does_not_depend_on_the_order_of_keys() -> None:
    lines = SMALL.splitlines()

    assert ids(expanded("\n".join(lines[::-1]))) == ids(expanded(SMALL))


# Labels


def test_labels() -> None:
    found = expanded(
        'python = ["cp312"]\narch = ["x86_64"]\n'
        'cuda = { values = ["12.4"], label = "cu{cuda|nodot}" }\n'
        'torch = { values = ["2.8"], label = "torch{torch}" }\n'
        'abi = { values = ["1"], label = "" }\n'
    )

    assert ids(found) == ["cp312-manylinux_x86_64-cu124-torch2.8"]


def test_without_axes_of_the_user_there_is_no_label() -> None:
    assert ids(expanded('python = ["cp312"]\narch = ["x86_64"]')) == ["cp312-manylinux_x86_64"]


@pytest.mark.parametrize("label", ["", "same", "{cuda|major}"])
def test_two_cells_of_one_id_are_refused(label: str) -> None:
    axes = 'python = ["cp312"]\narch = ["x86_64"]\n'
    axes += f'cuda = {{ values = ["12.4", "12.6"], label = "{label}" }}'

    with pytest.raises(ConfigError, match="two cells have the ID") as caught:
        expanded(axes)

    assert "cuda=12.4 and 12.6" in caught.value.problems[0].what


@pytest.mark.parametrize("label", ["../{cuda}", "a/{cuda}", "[{cuda}]", "a {cuda}", "{cuda}*", "-"])
def test_a_label_must_do_for_a_file_and_a_glob(label: str) -> None:
    axes = 'python = ["cp312"]\narch = ["x86_64"]\n'
    axes += f'cuda = {{ values = ["12.4"], label = "{label}" }}'

    with pytest.raises(ConfigError, match="cannot be a part of a target ID") as caught:
        expanded(axes)

    assert caught.value.problems[0].where == "axes.cuda.label"


# Excludes


def test_an_exclude_removes_cells_and_says_why() -> None:
    found = expanded(
        SMALL,
        '[[exclude]]\nwhen = { python = "cp311", cuda = "13.0" }\nreason = "no such torch"\n'
        '[[exclude]]\nwhen = { cuda = ["12.4", "12.5"], python = "cp311" }',
    )

    assert ids(found) == ["cp312-manylinux_x86_64-12.4", "cp312-manylinux_x86_64-13.0"]
    first, second = found.exclusions
    assert (first.rule, first.reason) == ("exclude[1]", "cuda is 12.4 or 12.5, python is cp311")
    assert (second.rule, second.reason) == ("exclude[0]", "no such torch")
    assert second.cell == (
        *(("python", "cp311"), ("libc", "manylinux"), ("arch", "x86_64")),
        ("cuda", "13.0"),
    )


def test_the_first_rule_that_matches_has_excluded_the_cell() -> None:
    found = expanded(
        SMALL,
        '[[exclude]]\nwhen = { cuda = "13.0", python = "cp311" }\n'
        '[[exclude]]\nwhen = { python = "cp311" }',
    )

    assert [each.rule for each in found.exclusions] == ["exclude[1]", "exclude[0]"]


def test_everything_may_be_excluded() -> None:
    found = expanded(SMALL, '[[exclude]]\nwhen = { arch = "*" }')

    assert found.cells == ()
    assert len(found.exclusions) == 4


# Overrides


def test_overrides_apply_in_the_order_of_the_file() -> None:
    found = expanded(
        SMALL,
        '[[override]]\nwhen = { python = "cp312" }\nrunner = "a"\n'
        '[[override]]\nwhen = { cuda = "13.0" }\nrunner = "b"\n',
    )

    assert {cell.id.removeprefix("cp31"): cell.overrides for cell in found.cells} == {
        "2-manylinux_x86_64-12.4": (0,),
        "2-manylinux_x86_64-13.0": (0, 1),
        "1-manylinux_x86_64-12.4": (),
        "1-manylinux_x86_64-13.0": (1,),
    }


# Rules that match nothing


@pytest.mark.parametrize("kind", ["exclude", "override"])
def test_a_rule_for_no_value_is_an_error(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(SMALL, f'[[{kind}]]\nwhen = {{ cuda = "13.1" }}')

    (problem,) = caught.value.problems
    assert problem.where == f"{kind}[0].when.cuda"
    assert problem.what == "matches nothing: no value of 'cuda' is '13.1'"
    assert problem.hint == "did you mean '13.0'?"


def test_all_rules_for_no_value_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(
            SMALL,
            '[[exclude]]\nwhen = { cuda = "13.1" }\n[[exclude]]\nwhen = { cuda = "13.0" }\n'
            '[[exclude]]\nwhen = { cuda = ">=x" }\n[[override]]\nwhen = { python = "cp39" }',
        )

    assert [each.where for each in caught.value.problems] == [
        "exclude[0].when.cuda",
        "exclude[2].when.cuda",
        "override[0].when.python",
    ]


def test_a_rule_whose_cells_are_gone_already_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(
            SMALL,
            '[[exclude]]\nwhen = { cuda = "13.0" }\n'
            '[[exclude]]\nwhen = { cuda = "13*", python = "cp311" }\n'
            '[[override]]\nwhen = { cuda = ">=13" }\nrunner = "x"',
        )

    assert [each.where for each in caught.value.problems] == ["exclude[1]", "override[0]"]
    assert "excluded already" in caught.value.problems[0].what


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("2.4", ["2.4"]),
        ("2.1*", ["2.10", "2.12"]),
        ("2.?", ["2.4", "2.9"]),
        ("2.[49]", ["2.4", "2.9"]),
        (">=2.9", ["2.9", "2.10", "2.12"]),
        (">=2.9,<2.12", ["2.9", "2.10"]),
        ("<2.9", ["2.4"]),
        ("!=2.9", ["2.4", "2.10", "2.12"]),
        ("==2.1.*", []),
        ("~=2.9", ["2.9", "2.10", "2.12"]),
        (" > 2.10", ["2.12"]),
        ("==2.10.0", ["2.10"]),
        ("*", ["2.4", "2.9", "2.10", "2.12"]),
        ("2", []),
    ],
)
def test_patterns(pattern: str, matched: list[str]) -> None:
    values = settings(TORCH).axes["torch"].values or ()

    found = values_matching([pattern], values, where="x")

    assert [value for value in values if value in found] == matched


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        (">=3.10", {"cp310", "cp312", "cp313t", "cp314t", "pp311"}),
        ("<3.10", {"cp39"}),
        (">=3.13", {"cp313t", "cp314t"}),
        ("cp31*t", {"cp313t", "cp314t"}),
        ("pp*", {"pp311"}),
        ("cp31?", {"cp310", "cp312"}),
    ],
)
def test_a_python_tag_counts_as_its_version(pattern: str, matched: set[str]) -> None:
    values = ("cp39", "cp310", "cp312", "cp313t", "cp314t", "pp311")

    assert values_matching([pattern], values, where="x") == matched


def test_several_patterns_add_up() -> None:
    assert values_matching(["a", "c*"], ["a", "b", "c1"], where="x") == {"a", "c1"}


def test_prereleases_are_in_ranges() -> None:
    assert values_matching([">=2.9"], ["2.10.dev1", "2.9rc1"], where="x") == {"2.10.dev1"}


@pytest.mark.parametrize(
    ("pattern", "values", "message"),
    [
        (">=x", ["1"], "'>=x' is not a version range"),
        (">=", ["1"], "'>=' is not a version range"),
        (">=1", ["cpu", "gpu"], "the range '>=1' meets 'cpu', which is not a version"),
    ],
)
def test_ranges_that_mean_nothing(pattern: str, values: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        values_matching([pattern], values, where="exclude[0].when.a")

    assert caught.value.problems[0].where == "exclude[0].when.a"
    assert caught.value.problems[0].what == message
    assert caught.value.problems[0].hint


def test_a_range_does_not_match_what_is_no_version() -> None:
    assert values_matching([">=1"], ["1", "cpu", "2"], where="x") == {"1", "2"}


# What the user selects


def bare(name: str) -> Target:
    return target(name, covers=((("a", "1"),),), aliases=(TargetId(name),))


def selected(expressions: Sequence[str]) -> tuple[str, ...]:
    return tuple(each.id for each in select([bare(each) for each in IDS], expressions))


IDS = ("cp311-a-cpu", "cp311-a-cu126", "cp312-a-cpu", "cp312-a-cu126")


@pytest.mark.parametrize(
    ("expressions", "chosen"),
    [
        ((), IDS),
        (("*",), IDS),
        (("cp312-*",), IDS[2:]),
        (("*-cpu",), (IDS[0], IDS[2])),
        (("*cu12?",), (IDS[1], IDS[3])),
        (("cp312-a-cpu", "cp311-*"), IDS[:3]),
        (("*-cpu", "cp312-*"), (IDS[0], IDS[2], IDS[3])),
    ],
)
def test_selection_keeps_the_order_of_the_plan(
    expressions: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    assert selected(expressions) == chosen


def test_selecting_nothing_is_an_error_with_what_may_be_meant() -> None:
    with pytest.raises(NothingSelectedError, match="no target matches 'cp311-a-cuda'") as caught:
        selected(["cp311-a-cuda"])

    assert caught.value.problems[0].hint.startswith("did you mean 'cp311-a-")


@pytest.mark.parametrize("text", ["cuda>=12", "a & b", "a|b", "!x", "(b)"])
def test_an_axis_that_no_target_has_is_refused_instead_of_matching_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="no target has an axis") as caught:
        selected([text])

    assert caught.value.problems[0].hint.startswith("known: a; for IDs, a glob: ")


@pytest.mark.parametrize("text", ["cp312 cp311", "", "a &", "(a", "a)", "a=", "=1", "a>>1", "a>=x"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        selected([text])

    assert caught.value.problems[0].where == "--select"
    assert caught.value.problems[0].hint


def test_the_facts_make_sense() -> None:
    assert "cp312-manylinux_x86_64" in FACTS.identifiers
    assert {"cp312", "cp314t", "pp311"} <= FACTS.pythons
    for platform, alias in FACTS.default_images.items():
        libc, _, arch = platform.partition("_")
        assert alias in FACTS.aliases[arch]
        assert alias.startswith(libc)
