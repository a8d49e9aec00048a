"""The ``scm`` source: the locked setuptools-scm with the project's own configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.models.target import VersionAnswer
from orchestrator.run.inputs import open_host
from orchestrator.source.version_sources import HostSources
from tests.conftest import git
from tests.factories import program

pytestmark = pytest.mark.index


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit after the tag v1.4."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path, "tag", "v1.4")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "second")
    return tmp_path


def ask(root: Path) -> VersionAnswer:
    sources = HostSources(root=root, environ=os.environ)
    # What the caller's environment pretends has to be named as a source of its own.
    environ = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "9"}
    return sources.scm("scm", open_host(environ, str))


def test_a_build_backend_says_what_only_its_code_knows(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text(
        "from setuptools import setup\n"
        "print('noise')\nopen('made', 'w').close()\nsetup(name='x', version='.'.join('123'))\n"
    )
    sources = HostSources(root=tmp_path, environ=os.environ)

    assert sources.backend("backend", open_host(os.environ, str)).value == "1.2.3"
    assert not (tmp_path / "made").exists(), "it runs in a copy"

    (tmp_path / "setup.py").write_text("raise SystemExit('no version today')")
    answer = sources.backend("backend", open_host(os.environ, str))
    assert answer.value == ""
    assert answer.note


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


# A source that wants more than a version


@pytest.fixture
def trap(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that must not start, under the names of other version control systems too."""
    programs = tmp_path_factory.mktemp("programs")
    for name in ("trap", "hg", "jj"):
        program(programs / name, f"echo $0 >>{programs}/caught")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs / "trap"


def caught(trap: Path) -> bool:
    return (trap.parent / "caught").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "git_describe_command = '{trap} x'",
        "git_describe_command = ['git', '-c', 'core.fsmonitor={trap}', 'describe']",
        "scm.git.describe_command = '{trap}'",
        "version_scheme = 'subprocess:getoutput'",
        "local_scheme = ['os:system']",
        "version_cls = 'os.system'\nfallback_version = '{trap}'",
        "parse = 'module:function'",
        "root = '../..'",
        "root = '/'",
    ],
)
def test_it_is_not_asked_where_its_configuration_names_code(
    repository: Path, trap: Path, setting: str
) -> None:
    text = f"[tool.setuptools_scm]\n{setting.format(trap=trap)}\n"
    (repository / "pyproject.toml").write_text(text)

    with pytest.raises(SourceError, match="the source scm cannot be asked") as error:
        ask(repository)

    assert 'name another source in version.base, such as "env:NAME"' in error.value.hint
    assert not caught(trap)


@pytest.mark.parametrize("kind", [".hg", ".jj", ".hg .git"])
def test_no_other_system_is_asked(tmp_path: Path, trap: Path, kind: str) -> None:
    for name in kind.split():
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.setuptools_scm]\n")

    assert ask(tmp_path).value == ""
    assert not caught(trap)


def test_git_s_own_settings_start_nothing(repository: Path, trap: Path) -> None:
    (repository / "data").write_text("1")
    (repository / ".gitattributes").write_text("* filter=x\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "third")
    for name in ("core.fsmonitor", "filter.x.clean", "gpg.program", "core.pager"):
        git(repository, "config", name, str(trap))
    git(repository, "config", "log.showSignature", "true")
    (repository / "data").write_text("2")

    assert ask(repository).value.startswith("1.5.dev2+g")
    assert not caught(trap)


def test_a_describe_command_of_git_counts(repository: Path) -> None:
    git(repository, "tag", "other-9")
    command = "git describe --dirty --tags --long --match v*"
    text = f"[tool.setuptools_scm]\ngit_describe_command = '{command}'\n"
    (repository / "pyproject.toml").write_text(text)

    assert ask(repository).value.startswith("1.5.dev1+g")


def test_no_version_is_read_through_a_link(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret").write_text("Version: 4.2\n")
    (source / "PKG-INFO").symlink_to("../secret")
    (source / "pyproject.toml").write_text("[tool.setuptools_scm]\n")

    with pytest.raises(SourceError, match="PKG-INFO: is a link that leads out of the source"):
        ask(source)
