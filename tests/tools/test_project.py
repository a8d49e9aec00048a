"""What must not be in any file that git knows, and what the scripts of .ci need."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, ran
from tests.unit.test_project import offences

SPEAK_OF_THE_PUBLIC_INDEX = {
    "orchestrator/host/index_config.py": "where pip and uv look if nothing else is said",
    "orchestrator/publish/trusted.py": "for whom tokens are made",
    "tests/unit/publish/test_upload.py": "for whom tokens are made",
    "tests/unit/test_project.py": "what this test looks for",
}
"""File -> why it may name hosts of the public index."""


def listed() -> list[Path]:
    """Committed files, and those that would be with the next `git add`."""
    files = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if shutil.which("git") is None or (said := ran("git", *files, cwd=REPOSITORY)).code != 0:
        pytest.skip("needs git and a checkout, which say what is committed")
    names = said.stdout.split("\0")
    return [REPOSITORY / name for name in names if name and (REPOSITORY / name).is_file()]


TOP = {
    *(".ci", ".github", ".gitattributes", ".gitignore"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("matrix.toml", "mkdocs.yml", "noxfile.py", "pyproject.toml"),
    *("benchmarks", "docs", "examples", "orchestrator", "tests", "tools"),
}


def test_nothing_else_lies_at_the_top() -> None:
    assert {path.relative_to(REPOSITORY).parts[0] for path in listed()} <= TOP


def test_no_file_names_this_machine_or_a_registry() -> None:
    found = []
    for file in listed():
        try:
            text = file.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # no text
        name = str(file.relative_to(REPOSITORY))
        if name not in SPEAK_OF_THE_PUBLIC_INDEX:
            found += [f"{name}:{each}" for each in offences(text)]

    assert found == []


# The scripts of .ci: what they take from the package is there, with nothing but Python.
SCRIPTS = sorted(path for path in REPOSITORY.joinpath(".ci").iterdir() if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_bash(script: Path) -> None:
    ran("bash", "-n", script, code=0)


def test_imports_need_no_installed_package() -> None:
    text = "\n".join(script.read_text() for script in SCRIPTS)
    lines = re.findall(r"(?m)^from orchestrator\S* import .*$", text)
    assert lines

    code = "\n".join((f"import sys; sys.path.append({str(REPOSITORY)!r})", *lines))
    ran(sys.executable, "-I", "-S", "-c", code, code=0)
