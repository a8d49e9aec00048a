"""Where in a file each value stands, and errors that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.workspace import open_workspace
from orchestrator.config.lines import line_numbers, line_of, with_lines
from orchestrator.errors import ConfigError, Problem

SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "pairs": ("\na = 1\n\nb = 2", {"a": 2, "b": 4}),
    "table": ("# x\n[a]\n b = 1", {"a": 2, "a.b": 3}),
    "tables in tables": ("[a.b]\nc = 1\n[a.d]", {"a": 1, "a.b": 1, "a.b.c": 2, "a.d": 3}),
    "parent after its child": ("[a.b]\n[a]\nc = 1", {"a": 2, "a.b": 1, "a.c": 3}),
    "dotted keys": ("a.b.c = 1\na.d = 2", {"a": 1, "a.b": 1, "a.b.c": 1, "a.d": 2}),
    "spaces around dots": ("[ a . b ]\nc . d = 1", {"a": 1, "a.b": 1, "a.b.c": 2, "a.b.c.d": 2}),
    "quoted keys": ('"a.b" = 1\n\'c d\' = 2\n["#e"]', {"a.b": 1, "c d": 2, "#e": 3}),
    "escapes in keys": ('"\\u0061\\"\\\\" = 1', {'a"\\': 1}),
    "array": ("a = [\n  1,\n\n  2, 3,\n]", {"a": 1, "a[0]": 2, "a[1]": 4, "a[2]": 4}),
    "array of arrays": (
        "a = [[1, 2],\n[\n3]]",
        {"a": 1, "a[0]": 1, "a[0][0]": 1, "a[0][1]": 1, "a[1]": 2, "a[1][0]": 3},
    ),
    "comments in arrays": ("a = [ # ]\n  1, # 2\n]\nb = 1", {"a": 1, "a[0]": 2, "b": 4}),
    "brackets in strings": (
        "a = ['[', \"]\",\n'''[[b]]\n]''', \"\"\"\n]\"\"\"]\nc = 1",
        {"a": 1, "a[0]": 1, "a[1]": 1, "a[2]": 2, "a[3]": 3, "c": 5},
    ),
    "quotes at the end of a multi-line string": (
        'a = """x""""\nb = """"""\nc = \'\'\'y\'\'\'\'\'\nd = 1',
        {"a": 1, "b": 2, "c": 3, "d": 4},
    ),
    "escaped quotes": ('a = "\\"]"\nb = """\\"""\n"""\nc = 1', {"a": 1, "b": 2, "c": 4}),
    "equals and hashes in strings": ("a = 'b = 1 # c'\nd = 2", {"a": 1, "d": 2}),
    "inline tables": (
        "a = { b = 1, c = { d = [\n2] } }\ne = 1",
        {"a": 1, "a.b": 1, "a.c": 1, "a.c.d": 1, "a.c.d[0]": 2, "e": 3},
    ),
    "inline tables in an array over lines": (
        "a = [\n{ b = 1 },\n{ b = 2 },\n]",
        {"a": 1, "a[0]": 2, "a[0].b": 2, "a[1]": 3, "a[1].b": 3},
    ),
    "dotted keys in inline tables": ("a = { b.c = 1 }", {"a": 1, "a.b": 1, "a.b.c": 1}),
    "arrays of tables": (
        "[[a]]\nb = 1\n[[a]]\nb = 2",
        {"a": 1, "a[0]": 1, "a[0].b": 2, "a[1]": 3, "a[1].b": 4},
    ),
    "tables of arrays": (
        "[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\nc = 1",
        {
            "a": 1,
            "a[0]": 1,
            "a[0].b": 2,
            "a[0].b.c": 3,
            "a[1]": 4,
            "a[1].b": 5,
            "a[1].b.c": 6,
        },
    ),
    "arrays in arrays": (
        "[[a]]\n[[a.b]]\n[[a.b]]\n[[a]]\n[[a.b]]",
        {
            "a": 1,
            "a[0]": 1,
            "a[0].b": 2,
            "a[0].b[0]": 2,
            "a[0].b[1]": 3,
            "a[1]": 4,
            "a[1].b": 5,
            "a[1].b[0]": 5,
        },
    ),
    "numbers and dates of several words": (
        "a = 1.5\nb = 2026-01-01 10:00:00.5\nc = [1.5, 2.5]\nd = -1e+3",
        {"a": 1, "b": 2, "c": 3, "c[0]": 3, "c[1]": 3, "d": 4},
    ),
    "lines of another system": ("a = 1\r\n\r\n[b]\r\nc = 1\r\n", {"a": 1, "b": 3, "b.c": 4}),
    "nothing": ("", {}),
    "comments only": ("# a = 1\n#[b]", {}),
}


@pytest.mark.parametrize(("text", "lines"), SHAPES.values(), ids=SHAPES)
def test_every_shape_of_toml(text: str, lines: dict[str, int]) -> None:
    assert dict(line_numbers(text)) == lines


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("axes.cuda[1]", 4),
        ("axes.cuda.when.device", 6),
        ("axes.cuda.nothing.here", 2),
        ("axes.short[1]", 8),
        ("axes.other", 1),
        ("env.A B", 10),
        ("env.A", 9),
        ("exclude[3].when", None),
        ("nothing", None),
    ],
)
def test_the_line_of_a_path_or_of_what_is_around_it(path: str, line: int | None) -> None:
    text = """[axes]
[axes.cuda]
values = ["12.4",
  "13.0"]
# when
when = { device = "cuda" }
[axes.short]
values = ["a", "b"]
[env]
"A B" = "x"
"""

    assert line_of(path, line_numbers(text)) == line


def test_where_a_problem_is_without_a_line() -> None:
    error = ConfigError(
        Problem(what="a", where="axes"),
        Problem(what="b", where="--channel"),
        Problem(what="c", where="matrix.toml"),
        Problem(what="d"),
        Problem(what="e", where="/some/compat.toml: torch.x"),
        Problem(what="f", where="env.A"),
    )

    found = with_lines(error, "[env]\nA = 1", file="m.toml")

    assert [each.where for each in found.problems] == [
        *("m.toml: axes", "--channel", "m.toml", "m.toml", "/some/compat.toml: torch.x"),
        "m.toml:2: env.A",
    ]


MISTAKES = """\
[projct]                                       # unknown table
[project]
source = "."
[axes]
python = ["cp3.12",                            # unknown python
          "cp312"]
arch = ["x86_64"]
cuda = ["12.6", 13.0]                          # a number
rocm = { values = ["6.4", "6.4"], lable = "x" }  # twice, and an unknown key
[[exclude]]
when = { cuda = "12.6" }
reson = "x"                                    # unknown key in a rule
[[exclude]]
when = { cud = "12.6" }                        # unknown axis
[[exclude]]
when = "cuda >"                                # no expression
[[override]]
when = { cuda = true }
env = { CIBW_BUILD = "x" }                     # no effect
[version]
local = "{cudaa}"                              # unknown template name
[build]
timeout = "60"                                 # no number
[images]
manylinux_arm64 = "x/y"                        # no platform
"""


def test_ten_mistakes_are_reported_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "matrix.toml"
    path.write_text(MISTAKES, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n', "utf-8")

    with pytest.raises(ConfigError) as caught:
        open_workspace(path)

    found = {each.where.removeprefix(f"{path}:"): each for each in caught.value.problems}
    assert set(found) == {
        "1: projct",
        "5: axes.python[0]",
        "8: axes.cuda[1]",
        "9: axes.rocm[1]",
        "9: axes.rocm.lable",
        "12: exclude[0].reson",
        "14: exclude[1].when.cud",
        "16: exclude[2].when",
        "19: override[0].env.CIBW_BUILD",
        "21: version.local",
        "23: build.timeout",
        "25: images.manylinux_arm64",
    }
    assert found["1: projct"].hint == "did you mean 'project'?"
    assert found["5: axes.python[0]"].hint == "did you mean 'cp312'?"
    assert found["12: exclude[0].reson"].hint == "did you mean 'reason'?"
    assert "did you mean 'cuda'?" in found["14: exclude[1].when.cud"].hint
    assert found["25: images.manylinux_arm64"].hint


PLANNED = """\
[axes]
python = ["cp312"]
arch = ["x86_64"]
torch = { values = ["2.7", "2.99"] }
[[rows]]
axes = ["cuda", "os"]
values = [
  ["12.8", "linux"],
  [["12.8", "77.7"], ["linux", "windows"]],
]
[[exclude]]
when = { cuda = "11.8" }
[[override]]
when = { torch = "2.7", os = "plan9" }
runner = "x"
"""


def test_what_is_wrong_with_cells_is_reported_at_once_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "matrix.toml"
    path.write_text(PLANNED, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n', "utf-8")

    def problems() -> list[str]:
        with pytest.raises(ConfigError) as caught:
            open_workspace(path)
        return [each.where.removeprefix(f"{path}:") for each in caught.value.problems]

    assert problems() == ["9: rows[0].values[1]"]
    path.write_text(PLANNED.replace('["12.8", "linux"],\n', "\n"), encoding="utf-8")
    assert problems() == [
        "12: exclude[0].when.cuda",
        "14: override[0].when.os",
        "4: axes.torch[1]",
        "9: rows[0].values[0][0][1]",
    ]
