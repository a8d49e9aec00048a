"""CONTRIBUTING's lists of files to touch are true: what exists was added in just these files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")

ADDED = {
    "An architecture": r"riscv64",
    "A rule of `verify`": r"no-licence",
    "A CI system": r"(?i:buildkite)",
    "A key of matrix.toml": r"config[-_]settings",
}
"""Section -> what finds something of its kind that was added once."""

OBEYING = {
    "A CI system": {"orchestrator/publish/trusted.py": "where an identity token may come from"},
    "A key of matrix.toml": {
        "orchestrator/config/check.py": "its templates are checked there",
        "orchestrator/discover/abi3_floor.py": "cibuildwheel has an option of that name",
        "orchestrator/config/unknown_keys.py": "cibuildwheel has an option of that name",
        "orchestrator/plan/renames.py": "values that only name the version do not count there",
    },
}
"""Files that a section leaves out, each with its reason."""


def items(section: str) -> list[list[str]]:
    """Return the paths of each item of a section's list."""
    _, _, rest = PAGE.partition(f"### {section}\n")
    assert rest, section
    text = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        re.findall(r"`([\w./-]+\.\w+)`", line)
        for line in re.findall(r"^- (.*)$", text, re.MULTILINE)
    ]


def mentions(path: str, mark: str) -> bool:
    return re.search(mark, (REPOSITORY / path).read_text("utf-8")) is not None


@pytest.mark.parametrize("section", ADDED)
def test_each_listed_file_has_what_was_added(section: str) -> None:
    mark = ADDED[section]

    for paths in items(section):
        assert any(mentions(path, mark) for path in paths), paths


@pytest.mark.parametrize("section", ADDED)
def test_no_other_module_had_to_be_touched(section: str) -> None:
    listed = {path for paths in items(section) for path in paths} | OBEYING.get(section, {}).keys()
    rooms = ("builders", "cross", "run") if section == "A key of matrix.toml" else ()
    touched = {
        str(path.relative_to(REPOSITORY))
        for path in REPOSITORY.joinpath("orchestrator").rglob("*.py")
        if path.relative_to(REPOSITORY).parts[1] not in rooms
    }

    assert {path for path in touched if mentions(path, ADDED[section])} <= listed
