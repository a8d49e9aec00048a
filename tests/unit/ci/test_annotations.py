"""The line of matrix.toml that a failure of a target is shown at."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.ci.annotations import target_lines
from orchestrator.cli.workspace import open_workspace

MATRIX = """\
[project]
source = "."
[axes]
python = [
    "cp312",
    "cp313",
]
arch = ["x86_64"]
[axes.cuda]
values = [
    "12.6",
    "13.0",  # line 12
]
[version]
inject.KIND = "{kind}"
local = "cu{cuda}.{kind}"
[[rows]]
axes = ["kind", "flavour"]
values = [
    ["plain", "a"],
    ["fancy", "b"],  # line 21
]
[[override]]  # line 23
when = { cuda = "13.0", kind = "fancy" }
env = { DEPTH = "1" }
[[override]]  # line 26
when = { cuda = "13.0", kind = "fancy", python = "cp313" }
[override.build]
before-build = "true"
[channel.nightly]
axes.cuda = ["13.2"]
[channel.nightly.version]
base = "2"
[library.core]  # line 34
command = "true"
outputs = ["x"]
"""


def lines(folder: Path, text: str, channel: str = "") -> dict[tuple[str, ...], int]:
    (folder / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1"\n')
    (folder / "matrix.toml").write_text(text)
    workspace = open_workspace(folder / "matrix.toml", channel)
    plan = workspace.plan
    found = target_lines(plan.targets, workspace.settings, text, channel)
    return {
        (each.python, *(value for _, value in each.variant)): found[each.id]
        for each in plan.targets
    }


def test_the_last_override_counts_else_the_first_axis(tmp_path: Path) -> None:
    assert lines(tmp_path, MATRIX) == {
        ("",): 34,
        ("cp312", "12.6", "a", "plain"): 11,
        ("cp312", "12.6", "b", "fancy"): 11,
        ("cp312", "13.0", "a", "plain"): 12,
        ("cp312", "13.0", "b", "fancy"): 23,
        ("cp313", "12.6", "a", "plain"): 11,
        ("cp313", "12.6", "b", "fancy"): 11,
        ("cp313", "13.0", "a", "plain"): 12,
        ("cp313", "13.0", "b", "fancy"): 26,
    }


def test_a_channels_own_values_come_first(tmp_path: Path) -> None:
    assert set(lines(tmp_path, MATRIX, "nightly").values()) == {31, 34}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ('python = ["cp312"]\n', 4),
        ('python = ["abi3-cp39"]\n', 4),
        ('python = ["cp312"]\nkind = ["a"]\n', 5),
    ],
)
def test_without_axes_of_ones_own_it_is_the_python(tmp_path: Path, more: str, line: int) -> None:
    text = f'[project]\n[axes]\narch = ["x86_64"]\n{more}'

    assert set(lines(tmp_path, text).values()) == {line}


def test_rows_and_includes_have_lines_too(tmp_path: Path) -> None:
    text = (
        'env.A = "{a}"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n[version]\nlocal = "{a}"\n'
        '[[rows]]\naxes = ["a", "b"]\nvalues = [\n  ["1", "2"],\n  [["3", "4"], "5"],\n]\n'
        '[[include]]\na = ["6"]\nb = "7"\npython = "cp312"\narch = "x86_64"\n'
    )

    assert lines(tmp_path, text) == {
        ("cp312", "1", "2"): 10,
        ("cp312", "3", "5"): 11,
        ("cp312", "4", "5"): 11,
        ("cp312", "6", "7"): 14,
    }
