"""What the documents, docstrings and comments cite exists, and README's lists are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from orchestrator.models.result import FailureKind

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/**/*.md"),
        *REPOSITORY.glob("examples/**/*.md"),
    ]
)
SOURCES = sorted(
    path
    for folder in ("orchestrator", "tests", "benchmarks", "tools", ".ci", ".github")
    for path in REPOSITORY.joinpath(folder).rglob("*")
    if path.suffix in {".py", ".c", ".h", ".sh", ".yml", ".toml", ""} and path.is_file()
)
ROOTS = ("orchestrator", "docs", "examples", "benchmarks", "tools", ".ci")
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)")
PATH = re.compile(
    rf"(?<![\w/.{{}}-])((?:{'|'.join(map(re.escape, ROOTS))})/[\w./-]*\w)(?![\w*{{<])"
)
DOCUMENT = re.compile(
    r"(?<![\w/.-])((?:README|CONTRIBUTING|CHANGELOG|DESIGN|STYLE|FACTS|MOVES)\.(?:md|txt)|docs/[\w/-]+\.md)\b"
)
NOT_FOR_USERS = {"ORCHESTRATOR_CUDA"}
"""Variables by which parts of the program speak to one another."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_files_that_exist(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


# CHANGELOG.md tells of files that are gone.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_a_page_names_only_paths_that_exist(page: Path) -> None:
    named = PATH.findall(page.read_text("utf-8"))

    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_each_boundary_of_trust_is_in_the_code() -> None:
    text = (REPOSITORY / "docs" / "concepts" / "trust.md").read_text("utf-8")
    files = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text)) - {"setup.py"}
    names = re.findall(r"`fsutil\.(\w+)`", text) + re.findall(r"fsutil\.\w+`, `(\w+)`", text)
    code = (REPOSITORY / "orchestrator" / "fsutil.py").read_text("utf-8")

    assert len(files) > 30
    assert [each for each in files if not (REPOSITORY / "orchestrator" / each).is_file()] == []
    assert [each for each in names if f"def {each}(" not in code] == []


def test_sources_cite_only_documents_that_exist() -> None:
    missing = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in SOURCES
        for name in DOCUMENT.findall(path.read_text("utf-8", errors="replace"))
        if not (REPOSITORY / name).exists()
    ]

    assert missing == []


def test_the_exit_codes_of_the_readme_are_those_of_the_program() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    listed = re.search(r"Exit codes:(.*?)\.\n", text, re.DOTALL)

    assert listed is not None
    assert {int(code) for code in re.findall(r"\b(\d+) ", listed[1])} == set(ExitCode)


def test_the_page_of_exit_codes_has_all_of_them_and_all_kinds_of_failure() -> None:
    text = (REPOSITORY / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    codes, kinds = text.split("## Kinds of failure")
    first_cells = re.findall(r"(?m)^\| ([^|]+) \|", kinds)

    assert [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", codes)] == list(ExitCode)
    assert set(re.findall(r"`([\w-]+)`", " ".join(first_cells))) == set(FailureKind)


def test_the_page_of_environment_variables_has_all_of_this_program() -> None:
    text = (REPOSITORY / "docs" / "reference" / "environment.md").read_text("utf-8")
    code = "\n".join(
        path.read_text("utf-8") for path in SOURCES if "orchestrator" in path.parts[:-1]
    )
    ours = set(re.findall(r"\bORCHESTRATOR_[A-Z_]+\b", code)) - NOT_FOR_USERS

    assert ours == set(re.findall(r"\bORCHESTRATOR_[A-Z_]+\b", text))
