"""Numbers with their nouns, everywhere by one helper."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

import orchestrator
from orchestrator.models.words import count_of

COUNTED = (
    *("target", "cell", "file", "wheel", "library", "job", "group", "package", "result", "run"),
    *("line", "reason", "member", "value", "problem", "part", "character", "index", "core"),
    *("release", "image", "finding", "rule", "match", "check", "directory", "key", "attempt"),
)


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "target", "0 targets"),
        (1, "target", "1 target"),
        (2, "target", "2 targets"),
        (2, "library", "2 libraries"),
        (2, "key", "2 keys"),
        (2, "index", "2 indexes"),
        (1, "more reason", "1 more reason"),
    ],
)
def test_a_noun_follows_its_number(number: int, noun: str, text: str) -> None:
    assert count_of(number, noun) == text


def counts(value: ast.expr) -> bool:
    """Whether an expression in a sentence is a number that may be 1."""
    text = ast.unparse(value)
    if any(call in text for call in ("count_of(", "join(")):
        return False
    return "len(" in text or text in {"count", "number", "total", "more"}


def test_no_sentence_has_a_plural_of_its_own() -> None:
    """``{len(x)} targets`` says "1 targets"."""
    plurals = {count_of(2, noun).partition(" ")[2] for noun in COUNTED}
    wrong = []
    for path in Path(orchestrator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for value, after in pairwise(parts):
                words = str(after.value).split()[:2] if isinstance(after, ast.Constant) else []
                if isinstance(value, ast.FormattedValue) and counts(value.value):
                    found = [word for word in words if word.strip(".,:;()") in plurals]
                    wrong += [f"{path}:{value.lineno}: {word}" for word in found]

    assert not wrong, "\n".join(wrong)
