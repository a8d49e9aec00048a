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


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1"\n')
    (tmp_path / "matrix.toml").write_text(MATRIX)
    return tmp_path / "matrix.toml"


def lines(matrix: Path, channel: str = "") -> dict[tuple[str, ...], int]:
    workspace = open_workspace(matrix, channel)
    plan = workspace.plan
    found = target_lines(plan.targets, workspace.settings, matrix.read_text(), channel)
    return {
        (each.python, *(value for _, value in each.variant)): found[each.id]
        for each in plan.targets
    }


def test_the_last_override_counts_else_the_first_axis(matrix: Path) -> None:
    assert lines(matrix) == {
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


def test_a_channels_own_values_come_first(matrix: Path) -> None:
    assert set(lines(matrix, "nightly").values()) == {31, 34}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ('python = ["cp312"]\n', 4),
        ('python = ["abi3-cp39"]\n', 4),
        ('python = ["cp312"]\nkind = ["a"]\n', 5),
    ],
)
def test_without_axes_of_ones_own_it_is_the_python(tmp_path: Path, more: str, line: int) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1"\n')
    text = f'[project]\n[axes]\narch = ["x86_64"]\n{more}'
    (tmp_path / "matrix.toml").write_text(text)

    assert set(lines(tmp_path / "matrix.toml").values()) == {line}


def test_rows_and_includes_have_lines_too(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1"\n')
    (tmp_path / "matrix.toml").write_text(
        'env.A = "{a}"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n[version]\nlocal = "{a}"\n'
        '[[rows]]\naxes = ["a", "b"]\nvalues = [\n  ["1", "2"],\n  [["3", "4"], "5"],\n]\n'
        '[[include]]\na = ["6"]\nb = "7"\npython = "cp312"\narch = "x86_64"\n'
    )

    assert lines(tmp_path / "matrix.toml") == {
        ("cp312", "1", "2"): 10,
        ("cp312", "3", "5"): 11,
        ("cp312", "4", "5"): 11,
        ("cp312", "6", "7"): 14,
    }
