"""Workflow commands of GitHub Actions: what others wrote is none, what we write is a right one."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator.cli
from orchestrator.ci.commands import SHOWN, Annotation, EscapedStream, shown

BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2028\u2029\u3000"
UNSEEN = "\x00\x07\x1b\xad\u200b\u200d\u202e\u2060\ufeff"


def obeyed(output: str) -> list[str]:
    """The lines that the runner takes for commands: see ActionCommand in its source.

    Where it compares by the rules of a language it does not see some characters at all.
    """
    seen = output.translate(dict.fromkeys(map(ord, UNSEEN)))
    lines = re.split(r"\r\n|\r|\n", seen)
    return [each for each in lines if each.lstrip(BLANKS).startswith("::") or "##[" in each]


def written(*pieces: str) -> str:
    stream = io.StringIO()
    disarmed = EscapedStream(stream)
    for each in pieces:
        disarmed.write(each)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::no\n", ": :error::no\n"),
        ("fine\n \t\xa0::set-output name=a::b", "fine\n \t\xa0: :set-output name=a::b"),
        ("a bar\r::error::no", "a bar\r: :error::no"),
        ("\x1b[0m ##[error]no ##[group]", "\x1b[0m ## [error]no ## [group]"),
        ("###[debug]", "### [debug]"),
        ("  | ::error::no", "  | ::error::no"),
        ("std::vector::at: 1##2 [3]", "std::vector::at: 1##2 [3]"),
        ("::group::a fold\nwhat is in it\n::endgroup::\n",) * 2,
        ("::endgroup::a", ": :endgroup::a"),
    ],
)
def test_what_would_be_a_command_gets_a_blank(text: str, shown: str) -> None:
    assert written(text) == shown
    assert written(*text) == shown or "::endgroup::" in text or "::group::" in text


WORDS = st.sampled_from(
    [":", "::", "#", "##", "[", "##[", "error", "]", "\r", "\n", "\r\n", *BLANKS, *UNSEEN, "x"]
)


@given(st.lists(WORDS.map(str)))
def test_no_text_in_any_pieces_is_obeyed(pieces: list[str]) -> None:
    output = written(*pieces)

    assert obeyed(output) == []
    assert re.sub("[ ]", "", output) == re.sub("[ ]", "", "".join(pieces)), "only blanks come in"


def test_our_own_commands_pass_on_lines_of_their_own() -> None:
    stream = io.StringIO()
    disarmed = EscapedStream(stream)
    disarmed.write("half a line")
    disarmed.command("::error::one")
    disarmed.command("::error::two")
    disarmed.write("::error::three")

    assert obeyed(stream.getvalue()) == ["::error::one", "::error::two"]
    assert stream.getvalue().startswith("half a line\n::error::one\n")


def test_an_annotation_is_escaped_as_the_runner_reads_it() -> None:
    one = Annotation(title="a,b:c\nd", message="100%\n::no\r%0A", file="m:1.toml", line=3)

    assert str(one) == ("::error file=m%3A1.toml,line=3,title=a%2Cb%3Ac d::100%25%0A::no\\r%250A")
    assert str(Annotation(title="t", message="m", line=3)) == "::error title=t::m"


def test_a_long_message_is_cut() -> None:
    assert len(str(Annotation(title="t", message="x" * 100_000))) < 1000


@given(st.text(), st.text(), st.text())
def test_an_annotation_is_one_line_and_has_its_own_properties(
    title: str, message: str, file: str
) -> None:
    (line,) = obeyed(str(Annotation(title=title, message=message, file=file, line=1)))

    properties, _, _ = line.removeprefix("::error ").partition("::")
    names = [each.partition("=")[0] for each in properties.split(",")]
    assert set(names) <= {"file", "line", "title", ""}
    assert len(set(names)) == len(names)


def test_no_more_are_shown_than_github_shows() -> None:
    every = [Annotation(title=f"t{n}", message=f"m{n}\nmore") for n in range(SHOWN + 1)]

    assert list(shown(every[:SHOWN])) == every[:SHOWN]
    found = list(shown(every))
    assert found[: SHOWN - 1] == every[: SHOWN - 1]
    assert found[SHOWN - 1 :] == [
        Annotation(title="2 more; the summary has all of them", message="t9: m9\nt10: m10")
    ]


@pytest.mark.parametrize("where", ["true", "false", None])
def test_errors_of_any_command_are_disarmed_wherever_they_are_read(
    where: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    if where is not None:
        monkeypatch.setenv("GITHUB_ACTIONS", where)

    orchestrator.cli.run(["plan", "--matrix", "no\n::error::x ##[error]y"])

    said = capsys.readouterr().err
    assert "no" in said
    assert obeyed(said) == []
