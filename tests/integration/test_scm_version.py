"""The ``scm`` source: the locked setuptools-scm with the project's own configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.models.target import VersionAnswer
from orchestrator.run.inputs import open_host
from orchestrator.source.version_sources import HostSources

pytestmark = pytest.mark.index


def git(root: Path, *words: str) -> None:
    who = {f"GIT_{a}_{b}": "x" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}
    if shutil.which("git") is None:
        pytest.skip("needs git")
    subprocess.run(["git", "-C", str(root), *words], env=env, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit after the tag v1.4."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path, "tag", "v1.4")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "second")
    return tmp_path


def ask(root: Path) -> VersionAnswer:
    sources = HostSources(
        root=root,
        environ=os.environ,
    )
    # What the caller's environment pretends has to be named as a source of its own.
    environ = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "9"}
    return sources.scm("scm", open_host(environ, str))


HATCH = '[project]\nname = "x"\n[tool.hatch.version]\nsource = "vcs"\n'

CONFIGURATIONS = {
    "none": ("", "1.5.dev1+g"),
    "setuptools-scm": (
        '[tool.setuptools_scm]\nversion_scheme = "no-guess-dev"\n',
        "1.4.post1.dev1+g",
    ),
    "hatch-vcs": (
        HATCH + 'raw-options = { version_scheme = "no-guess-dev" }\n',
        "1.4.post1.dev1+g",
    ),
    "hatch-vcs, its own options": (HATCH + 'tag-pattern = "v(?P<version>.*)"\n', "1.5.dev1+g"),
}


@pytest.mark.parametrize(("pyproject", "start"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_projects_own_configuration_counts(
    repository: Path, pyproject: str, start: str
) -> None:
    (repository / "pyproject.toml").write_text(pyproject)

    assert ask(repository).value.startswith(start)


def test_a_project_below_the_top_of_its_repository(repository: Path) -> None:
    inner = repository / "python"
    inner.mkdir()
    (inner / "pyproject.toml").write_text('[tool.setuptools_scm]\nroot = ".."\n')

    assert ask(inner).value.startswith("1.5.dev1+g")


def test_nothing_is_written(repository: Path) -> None:
    text = '[tool.setuptools_scm]\nversion_file = "_version.py"\nwrite_to = "old.py"\n'
    (repository / "pyproject.toml").write_text(text)

    assert ask(repository).value
    assert {each.name for each in repository.iterdir()} == {".git", "pyproject.toml"}


def test_no_version_is_an_answer_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.setuptools_scm]\n")
    answer = ask(tmp_path)

    assert answer.value == ""
    assert "unable to detect version" in answer.note
