"""The widest line of what a run, `plan`, `explain` and `doctor` say, piped and in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MACHINE, TAG, orchestrator
from tests.factories import edit, write_project
from tests.terminal import in_terminal

pytestmark = pytest.mark.index

ID = f"{TAG}-manylinux_{MACHINE}"
KINDS = 'kind = ["a", "bad", "lost", "a-variant-with-quite-a-long-name"]'
MORE = """
[[exclude]]
when.kind = "lost"
reason = "a reason of many words, which do not fit into a line of eighty columns: it is wrapped"
[[override]]
when.kind = "bad"
[override.build]
before-build = "echo /no/%s/file:12: error: no such thing >&2; exit 7"
[[override]]
when.kind = "a-variant-with-quite-a-long-name"
image = "registry.example/no/such/image/of/a/long/name:latest"
"""
OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def widest(text: str) -> int:
    """Return the width of the widest line as a terminal shows it."""
    lines = OWN.sub("", text).replace("\r\n", "\n").split("\n")
    return max(len(part) for line in lines for part in line.split("\r"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("width")
    write_project(root, "running", MORE % ("long-word" * 40))
    edit(root / "matrix.toml", 'kind = ["a", "b"]', KINDS)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"ORCHESTRATOR_STORE_DIR": str(tmp_path_factory.mktemp("store"))}


@pytest.mark.parametrize("columns", ["", "50", "120"])
def test_nothing_is_wider_without_a_terminal(
    place: Path, store: dict[str, str], columns: str
) -> None:
    env = {**store, "COLUMNS": columns}
    built = orchestrator("build", "--backend=direct", "-j2", cwd=place, env=env, code=1)
    said = {
        "build": built.shown,
        "unavailable": orchestrator(
            "build", "--backend=cibuildwheel", "--no-cache", cwd=place, env=env
        ).shown,
        "plan": orchestrator("plan", cwd=place, env=env, code=0).stdout,
        "excluded": orchestrator("plan", "--excluded", cwd=place, env=env, code=0).stdout,
        "explain": orchestrator("explain", f"{ID}-bad", cwd=place, env=env, code=0).stdout,
        "doctor": orchestrator("doctor", cwd=place, env=env).stdout,
    }

    for kind, text in said.items():
        assert text, kind
        assert widest(text) <= int(columns or 80), (kind, text)
        assert "…" not in text, kind
    words = built.shown.split()
    for each in _ids(place):  # a narrow terminal folds an ID, and cuts none
        assert each in "".join(words), built.shown
    assert words.count("--shell") == 1, "one command for one cause"
    if columns != "50":
        assert f"orchestrator rebuild {ID}-bad --shell" in built.shown
        assert "a reason of many words" in said["plan"]


def _ids(place: Path) -> Iterator[str]:
    return iter(orchestrator("plan", "--format=ids", cwd=place, code=0).stdout.split())


def test_nothing_is_wider_than_a_terminal(place: Path, store: dict[str, str]) -> None:
    env = {**store, "TERM": "xterm"}
    words = ("build", "--backend=direct", "-j2", "--no-cache")
    code, shown = in_terminal(*words, cwd=place, env=env, dialogue=(), columns=80)
    assert code == 1, shown
    assert widest(shown) <= 80, shown
    plain = OWN.sub("", shown)
    assert re.search(r"\n  how +time +tag +size", plain), "below each ID, as that is long"
    assert f"orchestrator rebuild {ID}-bad --shell" in plain

    code, shown = in_terminal("build", "--backend=direct", cwd=place, env=env, dialogue=())
    assert "came from the store" in OWN.sub("", shown)
    assert widest(shown) <= 80, shown


def test_a_document_is_never_folded(place: Path) -> None:
    said = orchestrator("explain", "--json", f"{ID}-bad", cwd=place, env={"COLUMNS": "40"})
    values = [row["value"] for row in json.loads(said.stdout)["rows"]]
    assert any("long-word" * 40 in str(value) for value in values)
