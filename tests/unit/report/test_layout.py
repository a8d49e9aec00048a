"""What people read fits the columns there are, and nothing of it is lost."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from orchestrator.report.layout import command, fitted, near, wrapped
from tests.hostile_wheels import work


def test_a_word_stays_whole_if_a_line_holds_it() -> None:
    target = "cp312-manylinux_x86_64-cu126-torch2.8"
    lines = list(wrapped(f"targets {target}", 40, first="look: ", rest="  "))

    assert lines == ["look: targets", f"  {target}"]


def test_a_path_that_no_line_holds_is_folded_behind_a_slash() -> None:
    lines = list(wrapped("/one/directory/another/file.whl", 24, first="log: ", rest="  "))

    assert lines == ["log: /one/directory/", "  another/file.whl"]


@pytest.mark.parametrize("width", [30, 40, 80])
def test_a_command_can_be_copied_with_its_line_ends(width: int) -> None:
    words = ["orchestrator", "rebuild", "t", "--shell", "--matrix", "a b/m.toml", "--channel", "x"]
    lines = list(command(words, width, first="  look: "))

    assert max(map(len, lines)) <= width
    copied = "\n".join(lines).removeprefix("  look: ").replace("\\\n", "")  # as a shell does
    assert shlex.split(copied) == words


ROWS = [("target", "how", "size"), ("cp312-x86_64", "a sentence of many words", "3 KiB")]


def test_a_table_wraps_what_may_be_wrapped_and_stacks_what_does_not_fit() -> None:
    assert fitted(ROWS, 80) == [
        ["target        how                       size"],
        ["cp312-x86_64  a sentence of many words  3 KiB"],
    ]
    assert fitted(ROWS, 42, flexible=1) == [
        ["target        how                    size"],
        ["cp312-x86_64  a sentence of many     3 KiB", "              words"],
    ]
    assert fitted(ROWS, 36, flexible=1) == [
        ["target", "  how                       size"],
        ["cp312-x86_64", "  a sentence of many words  3 KiB"],
    ]


def test_a_path_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert near(tmp_path / "dist") == "dist"
    assert near(tmp_path.parent / "x") == str(tmp_path.parent / "x")


@pytest.mark.parametrize("letter", ["x", "x/", "字", "e\u0301", "\u0301"])
def test_a_long_word_takes_time_that_grows_with_it(letter: str) -> None:
    """A line of a log may be a megabyte without a blank."""

    def cost(n: int) -> int:
        word = letter * n
        lines: list[str] = []
        steps = work(lambda: lines.extend(wrapped(word, 40, first="  ")))
        assert "".join(map(str.strip, lines)) == word
        return steps

    one, two, four = (cost(n) for n in (2000, 4000, 8000))
    assert four - two < 2.6 * (two - one)
