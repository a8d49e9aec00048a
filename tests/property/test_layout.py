"""What people read fits the columns there are, and nothing of it is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from orchestrator.report.layout import fitted, wrapped
from tests.conftest import examples

WORDS = st.lists(st.text("aé漢/-=", min_size=1, max_size=40), min_size=1, max_size=8)


@examples(100)
@given(
    WORDS, st.integers(12, 100), st.sampled_from(["", "  hint: "]), st.sampled_from(["", "    "])
)
def test_no_line_is_wider_and_nothing_is_lost(
    words: list[str], width: int, first: str, rest: str
) -> None:
    lines = list(wrapped(" ".join(words), width, first=first, rest=rest))

    assert max(map(cell_len, lines)) <= width
    parts = [lines[0].removeprefix(first), *(line.removeprefix(rest) for line in lines[1:])]
    if first != lines[0]:  # its prefix may stand alone, above a long word
        assert lines[0].startswith(first.rstrip())
    assert "".join("".join(parts).replace(first.strip(), "").split()) == "".join(words)


@examples(100)
@given(
    st.lists(st.tuples(*[st.text("ab c", max_size=30)] * 3), min_size=1, max_size=4),
    st.integers(20, 80),
    st.sampled_from([None, 0, 1, 2]),
)
def test_no_table_is_wider(
    rows: list[tuple[str, str, str]], width: int, flexible: int | None
) -> None:
    found = fitted(rows, width, flexible=flexible)

    assert all(cell_len(line) <= width for lines in found for line in lines)
    for row, lines in zip(rows, found, strict=True):
        assert sorted("".join(lines).replace(" ", "")) == sorted("".join(row).replace(" ", ""))


@examples(200)
@given(text=st.text(), width=st.integers(1, 90), blanks=st.integers(0, 200))
def test_a_beginning_that_is_wider_than_the_line_loses_nothing(
    text: str, width: int, blanks: int
) -> None:
    lines = list(wrapped(text, width, first=" " * blanks))
    assert "".join("".join(lines).split()) == "".join(text.split())
