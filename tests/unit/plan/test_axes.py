"""Rows, presence and includes: which cells there are, before any rule."""

from __future__ import annotations

import pytest

from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builder_facts
from orchestrator.plan.expand import Expansion, expand
from orchestrator.plan.layers import channel_matrix

FACTS = builder_facts()
BASE = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'


def expanded(text: str, *, axes: str = BASE) -> Expansion:
    return expand(channel_matrix(load((axes + text).encode(), facts=FACTS)).grid)


def ids(text: str, *, axes: str = BASE) -> list[str]:
    return [
        cell.id.removeprefix("cp312-manylinux_x86_64").removeprefix("-")
        for cell in expanded(text, axes=axes).cells
    ]


def problem(text: str, *, axes: str = BASE) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        expanded(text, axes=axes)
    (found,) = caught.value.problems
    return found.where, found.what


# Rows


def test_rows_move_together() -> None:
    rows = '[[rows]]\naxes = ["cuda", "gcc"]\nvalues = [["12.4", "11"], ["13.0", "13"]]'
    assert ids(rows) == ["12.4-11", "13.0-13"]


def test_a_list_in_a_row_stands_for_each_of_its_values() -> None:
    rows = '[[rows]]\naxes = ["cuda", "gcc"]\nvalues = [["12.4", ["11", "12"]], ["13.0", "13"]]'
    assert ids(rows) == ["12.4-11", "12.4-12", "13.0-13"]


def test_rows_with_built_in_axes_keep_the_order_of_ids() -> None:
    found = expanded(
        '[[rows]]\naxes = ["os", "arch", "python"]\n'
        'values = [["b", "x86_64", ["cp312", "cp311"]], ["a", "aarch64", "cp312"]]',
        axes='[axes]\nzeta = ["1", "2"]\n',
    )
    assert [cell.id for cell in found.cells] == [
        "cp312-manylinux_x86_64-b-1",
        "cp312-manylinux_x86_64-b-2",
        "cp311-manylinux_x86_64-b-1",
        "cp311-manylinux_x86_64-b-2",
        "cp312-manylinux_aarch64-a-1",
        "cp312-manylinux_aarch64-a-2",
    ]
    assert [name for name, _ in found.cells[0].values] == ["python", "libc", "arch", "os", "zeta"]


def test_the_axis_of_a_row_keeps_its_label() -> None:
    rows = '[[rows]]\naxes = ["cuda", "gcc"]\nvalues = [["12.4", "11"]]'
    axes = BASE + 'cuda = { label = "cu{cuda|nodot}" }\n'
    assert ids(rows, axes=axes) == ["cu124-11"]


def test_rows_of_some_cells() -> None:
    axes = BASE + 'device = ["gpu", "cpu"]\n'
    rows = '[[rows]]\naxes = ["cuda", "gcc"]\nwhen = { device = "gpu" }\nvalues = [["12.4", "11"]]'
    assert ids(rows, axes=axes) == ["gpu-12.4-11", "cpu"]


TWICE = """
axes = ["a", "b"]
values = [["1", "1"]]
[[rows]]
axes = ["b", "c"]
values = [["1", "1"]]
"""


@pytest.mark.parametrize(
    ("rows", "where", "what"),
    [
        (
            'axes = ["a", "b"]\nvalues = [["1", "1"], ["2", "2"], ["1", "1"]]',
            "rows[0].values[2]",
            "gives 1 1 once more: rows[0].values[0] has it",
        ),
        (
            'axes = ["a", "b"]\nvalues = [["1", ["1", "2"]], [["0", "1"], "2"]]',
            "rows[0].values[1]",
            "gives 1 2 once more: rows[0].values[0] has it",
        ),
        (
            TWICE,
            "rows[1].axes",
            "'b' moves with other axes in rows[0] already",
        ),
        (
            'axes = ["a", "arch"]\nvalues = [["1", "x86_64"]]',
            "rows[0].axes",
            "'arch' has values in axes.arch as well",
        ),
        ('axes = ["a", "b"]\nvalues = [["1"]]', "rows[0].values[0]", "has 1 value for 2 axes"),
        ('axes = ["a", "a"]\nvalues = [["1", "2"]]', "rows[0].axes[1]", "'a' is there twice"),
        ('axes = ["a"]\nvalues = [["1"]]', "rows[0].axes", "needs at least 2 items"),
        (
            'axes = ["a", "b"]\nvalues = [["1", ["x", "y y"]]]',
            "rows[0].values[0][1][1]",
            "'y y' cannot be an axis value",
        ),
    ],
)
def test_contradictory_rows(rows: str, where: str, what: str) -> None:
    place, message = problem(f"[[rows]]\n{rows}")
    assert place == where
    assert what in message


def test_rows_of_some_cells_cannot_give_what_every_cell_has() -> None:
    rows = '[[rows]]\naxes = ["a", "arch"]\nwhen = { d = "1" }\nvalues = [["1", "x86_64"]]'
    axes = '[axes]\npython = ["cp312"]\nd = ["1"]\n'
    assert problem(rows, axes=axes) == ("rows[0].when", "has no effect: every cell has arch")


def test_an_axis_needs_values() -> None:
    assert problem('cuda = { label = "x" }') == ("axes.cuda", "has no values")


# Presence

DEVICE = BASE + 'device = { values = ["gpu", "cpu"], label = "" }\n'


def test_an_axis_that_a_cell_does_not_use_does_not_multiply_it() -> None:
    text = 'cuda = { values = ["12.4", "13.0"], when = { device = "gpu" } }'
    found = expanded(text, axes=DEVICE)

    assert [cell.id for cell in found.cells] == [
        "cp312-manylinux_x86_64-12.4",
        "cp312-manylinux_x86_64-13.0",
        "cp312-manylinux_x86_64",
    ]
    assert dict(found.cells[2].values).keys() == {"python", "libc", "arch", "device"}


def test_an_axis_may_depend_on_the_presence_of_another_by_any_name() -> None:
    text = (
        'aa = { values = ["x"], when = "cuda>=13" }\n'
        'cuda = { values = ["12.4", "13.0"], when = { device = "gpu" } }\n'
        'zz = { values = ["y"], when = { cuda = false } }'
    )
    assert ids(text, axes=DEVICE) == ["12.4", "13.0-x", "y"]


@pytest.mark.parametrize(
    ("when", "left"),
    [
        ("{ cuda = true }", ["cpu"]),
        ("{ cuda = false }", ["gpu-12.4", "gpu-13.0"]),
        ('"cuda"', ["cpu"]),
        ('"!cuda"', ["gpu-12.4", "gpu-13.0"]),
        ('"!cuda=13.0"', ["gpu-13.0"]),
        ('"cuda!=13.0"', ["cpu", "gpu-13.0"]),
        ('"cuda<13 | device=cpu"', ["gpu-13.0"]),
        ('{ cuda = ">=13" }', ["cpu", "gpu-12.4"]),
    ],
)
def test_rules_about_presence(when: str, left: list[str]) -> None:
    axes = BASE + 'device = ["gpu", "cpu"]\n'
    text = 'cuda = { values = ["12.4", "13.0"], when = { device = "gpu" } }\n'
    found = expanded(f"{text}[[exclude]]\nwhen = {when}", axes=axes)

    assert sorted(
        "-".join(dict(cell.values)[a] for a in ("device", "cuda") if a in dict(cell.values))
        for cell in found.cells
    ) == sorted(left)


def test_axes_that_need_each_other_in_a_circle_are_named() -> None:
    text = (
        'a = { values = ["1"], when = { b = true } }\nb = { values = ["1"], when = { c = true } }\n'
        'c = { values = ["1"], when = { b = true } }\n'
    )
    assert problem(text) == ("axes.b.when", "circular dependency of axes: b, c")


def test_an_axis_that_no_cell_can_have_is_an_error() -> None:
    text = 'cuda = { values = ["12.4"], when = { device = "gpus" } }'
    assert problem(text, axes=DEVICE) == (
        "axes.cuda.when.device",
        "matches nothing: no value of 'device' is 'gpus'",
    )


# Includes

CUDA = BASE + 'cuda = ["12.4", "13.0"]\n'


def test_an_include_adds_cells_last() -> None:
    assert ids('[[include]]\ncuda = ["14.0", "11.8"]', axes=CUDA) == [
        *("12.4", "13.0", "14.0", "11.8"),
    ]


def test_an_include_may_lack_an_axis() -> None:
    found = expanded('[[include]]\npython = "cp313t"', axes=CUDA)
    assert found.cells[-1].id == "cp313t-manylinux_x86_64"
    assert dict(found.cells[-1].values).keys() == {"python", "libc", "arch"}


def test_excludes_do_not_apply_to_includes_but_overrides_do() -> None:
    found = expanded(
        '[[exclude]]\nwhen = { cuda = ">=13" }\n[[override]]\nwhen = { cuda = "14.0" }\n'
        'runner = "x"\n[[include]]\ncuda = ["13.0", "14.0"]',
        axes=CUDA,
    )
    assert [(cell.values[3][1], cell.overrides) for cell in found.cells] == [
        *(("12.4", ()), ("13.0", ()), ("14.0", (0,))),
    ]
    assert found.exclusions == ()


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('[[include]]\ncuda = "13.0"', "include[0]", "redundant: cp312 manylinux x86_64 13.0"),
        (
            '[[include]]\ncuda = "14.0"\n[[include]]\ncuda = ["14.0", "15.0"]',
            "include[1]",
            "redundant: cp312 manylinux x86_64 14.0",
        ),
        ('[[include]]\ncud = "14.0"', "include[0].cud", "unknown axis 'cud'"),
        ('[[include]]\narch = "x86"', "include[0].arch[0]", "unknown arch 'x86'"),
        ('[[include]]\ncuda = "1 4"', "include[0].cuda[0]", "cannot be an axis value"),
    ],
)
def test_wrong_includes(text: str, where: str, what: str) -> None:
    place, message = problem(text, axes=CUDA)
    assert place == where
    assert message.startswith(what) or what in message


def test_an_include_must_say_what_there_are_several_of() -> None:
    axes = CUDA.replace('"x86_64"', '"x86_64", "aarch64"')
    assert problem('[[include]]\ncuda = "14.0"', axes=axes) == (
        "include[0]",
        "does not say which arch",
    )
    rows = '[[rows]]\naxes = ["os", "arch"]\nvalues = [["a", "x86_64"]]\n'
    assert problem(f'{rows}[[include]]\nos = "b"', axes='[axes]\npython = ["cp312"]\n') == (
        "include[0]",
        "does not say which arch",
    )


# Labels


def test_a_label_may_name_other_axes_that_the_cell_has() -> None:
    axes = BASE + 'cuda = { values = ["12.4"], label = "{arch}.{cuda}" }\n'
    assert ids("", axes=axes) == ["x86_64.12.4"]
    axes = BASE + 'cuda = ["12.4"]\nz = { values = ["1"], label = "{cuda}z" }\n'
    include = '[[include]]\nz = "1"'
    assert problem(include, axes=axes) == (
        "axes.z.label",
        "template '{cuda}z' names 'cuda', which not every cell has",
    )
