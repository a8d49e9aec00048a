"""The source, staged: what git says belongs to it, and what is left out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import git
from tests.unit.source import test_locate
from tests.unit.source.test_locate import (
    FILES,
    PYPROJECT,
    ROOT,
    TIME,
    Stager,
    linked,
    problem,
    tar,
    tree,
    write,
)

staged = test_locate.staged


# From git


DATE = f"{TIME + 500} +0000"


def repository(root: Path, files: Mapping[str, str | bytes]) -> Path:
    write(root, files)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x", GIT_COMMITTER_DATE=DATE)
    return root


def test_git_says_what_belongs_to_the_source(tmp_path: Path, staged: Stager) -> None:
    root = repository(
        tmp_path / "src",
        {
            "pyproject.toml": PYPROJECT,
            ".gitignore": "*.o\nignored/\n",
            "a.c": "1",
            "gone.c": "",
            "pkg/build/kept.py": "",
            "with space/ü.c": "",
        },
    )
    git(root, "mv", "a.c", "b.c")
    (root / "gone.c").unlink()
    (root / "b.c").write_text("changed", encoding="utf-8")
    write(root, {"new.c": "", "x.o": "", "ignored/y.c": "", "build/lib/z.py": ""})

    found = staged("src")

    assert tree(found.root) == [
        *(".gitignore", "b.c", "build/lib/z.py", "new.c"),
        *("pkg/build/kept.py", "pyproject.toml", "with space/ü.c"),
    ]
    assert (found.root / "b.c").read_text("utf-8") == "changed"
    assert found.source.epoch == TIME + 500
    assert (found.source.name, found.source.version) == ("foo-bar", "1.0")


def test_a_directory_inside_a_repository(tmp_path: Path, staged: Stager) -> None:
    repository(tmp_path / "repo", {"other.c": "", "src/pyproject.toml": PYPROJECT, "src/a.c": ""})

    assert tree(staged("repo/src").root) == ["a.c", "pyproject.toml"]


def test_a_repository_in_the_repository(tmp_path: Path, staged: Stager) -> None:
    root = repository(tmp_path / "src", {"pyproject.toml": PYPROJECT})
    repository(root / "third_party" / "lib", {"lib.c": "", ".gitignore": "*.o"})
    write(root / "third_party" / "lib", {"x.o": "", "new.c": ""})

    assert tree(staged("src").root) == [
        *("pyproject.toml", "third_party/lib/.gitignore"),
        *("third_party/lib/lib.c", "third_party/lib/new.c"),
    ]


def test_a_submodule(tmp_path: Path, staged: Stager) -> None:
    library = repository(tmp_path / "lib", {"lib.c": "", "deep/x.c": ""})
    root = repository(tmp_path / "src", {"pyproject.toml": PYPROJECT})
    allowed = ("-c", "protocol.file.allow=always")
    git(root, *allowed, "submodule", "add", "-q", str(library), "third_party/lib")
    git(root, "commit", "-q", "-m", "submodule")
    wanted = [
        *(".gitmodules", "pyproject.toml"),
        *("third_party/lib/deep/x.c", "third_party/lib/lib.c"),
    ]

    assert tree(staged("src").root) == wanted
    git(root, "submodule", "deinit", "-q", "-f", "third_party/lib")
    assert tree(staged("src").root) == wanted[:2]


def test_what_git_ignores_as_a_whole_was_named_all_the_same(tmp_path: Path, staged: Stager) -> None:
    repository(tmp_path / "repo", {".gitignore": "vendored/"})
    write(tmp_path / "repo" / "vendored", {"setup.py": "", "a.c": "", "build/lib.linux/x": ""})

    assert tree(staged("repo/vendored").root) == ["a.c", "setup.py"]


def test_a_repository_without_a_commit(tmp_path: Path, staged: Stager) -> None:
    root = write(tmp_path / "src", {"pyproject.toml": PYPROJECT})
    git(root, "init", "-q")

    assert tree(staged("src").root) == ["pyproject.toml"]
    assert staged("src").source.epoch == TIME


# From a plain directory


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Not in a repository, wherever the tests run."""
    (tmp_path / ".git").write_text("gitdir: /nonexistent\n", encoding="utf-8")
    return tmp_path


def test_without_git_junk_is_left_out(plain: Path, staged: Stager) -> None:
    write(
        plain / "src",
        {
            "pyproject.toml": PYPROJECT,
            "a.c": "",
            "pkg/a.py": "",
            ".clang-format": "",
            "build/temp.linux-x86_64/x": "",
            "dist/y.whl": "",
            "pkg/build/kept": "",
            "pkg/dist/kept": "",
            ".venv/x": "",
            ".git/x": "",
            "pkg/__pycache__/a.pyc": "",
            "pkg/b.pyc": "",
            "pkg/_x.cpython-312-x86_64-linux-gnu.so": "",
            "pkg/_y.abi3.so": "",
            "pkg/libdata.so": "",
            "Foo.egg-info/x": "",
            "src/Foo.egg-info/x": "",
            ".tox/x": "",
            ".orchestrator/runs/x": "",
            "wheelhouse/x.whl": "",
            "venv/pyvenv.cfg": "",
        },
    )

    assert tree(staged("src").root) == [
        *(".clang-format", "a.c", "pkg/a.py", "pkg/build/kept", "pkg/dist/kept"),
        *("pkg/libdata.so", "pyproject.toml"),
    ]


def test_directories_of_ours_are_left_out(plain: Path, staged: Stager) -> None:
    src = write(
        plain / "src",
        {"pyproject.toml": PYPROJECT, "out/a.whl": "", "work/logs/x": "", "output/kept": ""},
    )

    found = staged("src", skip=(src / "out", src / "work", plain / "elsewhere"))

    assert tree(found.root) == ["output/kept", "pyproject.toml"]


@pytest.mark.parametrize("skip", ["src", "."])
def test_an_output_directory_around_the_source_leaves_nothing_out(
    plain: Path, staged: Stager, skip: str
) -> None:
    write(plain / "src", {"pyproject.toml": PYPROJECT, "a.c": ""})

    assert tree(staged("src", skip=[plain / skip]).root) == ["a.c", "pyproject.toml"]


def test_the_source_stays_as_it_is(plain: Path, staged: Stager) -> None:
    write(plain / "src", {"pyproject.toml": PYPROJECT, "build/x": ""})
    before = tree(plain / "src")

    staged("src")

    assert tree(plain / "src") == before


@pytest.mark.parametrize("with_git", [True, False])
def test_links_inside_stay_links(plain: Path, staged: Stager, *, with_git: bool) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "pkg/a.h": "a"})
    links = {"in.h": "pkg/a.h", "pkg/up.h": "../pkg/a.h", "indir": "pkg", "again.h": "indir/a.h"}
    linked(root, links)
    if with_git:
        git(root, "init", "-q")

    found = staged("src").root

    assert {name: str((found / name).readlink()) for name in links} == links


OUTSIDE = {
    "a file": "../../common/shared.h",
    "a directory": "../../common",
    "an absolute path": "{plain}/common/shared.h",
    "an absolute path inside": "{plain}/src/pkg/a.h",
    "out and in again": "../../src/pkg/a.h",
    "through a link inside": "../indir/../../common",
    "the machine's configuration": "/etc",
    "its devices": "/dev",
    "everything": "/",
    "every process": "/proc",
    "this process": "/proc/self/root/etc",
}


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("target", OUTSIDE.values(), ids=OUTSIDE)
def test_a_link_that_leads_out_is_an_error_and_nothing_is_read(
    plain: Path, staged: Stager, target: str, *, with_git: bool
) -> None:
    write(plain / "common", {"shared.h": "shared"})
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "pkg/a.h": "a"})
    linked(root, {"indir": "pkg", "pkg/out": target.format(plain=plain)})
    if with_git:
        git(root, "init", "-q")

    said = problem(lambda: staged("src"))

    assert said.startswith(f"{root}/pkg/out: leads out of the source, to ")
    assert not (plain / "staged" / "1").exists()


def test_what_git_knows_behind_a_link_is_gone_as_for_git(tmp_path: Path, staged: Stager) -> None:
    root = repository(tmp_path / "src", {"pyproject.toml": PYPROJECT, "etc/passwd": "mine"})
    shutil.rmtree(root / "etc")
    linked(root, {"etc": "other", "other/passwd": "nowhere"})

    assert tree(staged("src").root) == ["etc", "other/passwd", "pyproject.toml"]


@pytest.mark.parametrize("with_git", [True, False])
def test_a_pipe_or_a_socket_is_no_file(plain: Path, staged: Stager, *, with_git: bool) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "log": ""})
    if with_git:
        git(root, "init", "-q")
        git(root, "add", "-A")
    (root / "log").unlink()
    os.mkfifo(root / "log")

    assert f"{root}/log: is a pipe, a socket or a device" in problem(lambda: staged("src"))


def test_a_set_uid_program_is_a_program(plain: Path, staged: Stager) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "run": "#!", "open": ""})
    (root / "run").chmod(0o6777)
    (root / "open").chmod(0o666)

    found = staged("src").root

    modes = {name: (found / name).stat().st_mode & 0o7777 for name in ("run", "open")}
    assert modes == {"run": 0o755, "open": 0o644}


@pytest.mark.parametrize("name", ["pyproject.toml", "PKG-INFO"])
def test_what_the_project_says_of_itself_is_not_read_elsewhere(
    plain: Path, staged: Stager, name: str
) -> None:
    write(plain, {"secret": "Name: hunter2\n"})
    linked(write(plain / "src", {"setup.py": ""}), {name: "../secret"})

    said = problem(lambda: staged("src"))

    assert said == f"{plain}/src/{name}: is a link that leads out of the source"


def test_the_source_itself_may_be_a_link(plain: Path, staged: Stager) -> None:
    linked(write(plain / "real", {"pyproject.toml": PYPROJECT, "a.c": ""}), {"b.c": "a.c"})
    linked(plain, {"src": "real"})

    assert tree(staged("src").root) == ["a.c", "b.c", "pyproject.toml"]


def test_names_that_differ_in_case_or_are_no_utf8_are_kept(plain: Path, staged: Stager) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "A.h": "A", "a.h": "a"})
    (root / os.fsdecode(b"\xff.h")).write_text("x")

    found = staged("src").root

    assert (found / "A.h").read_text() + (found / "a.h").read_text() == "Aa"
    assert (found / os.fsdecode(b"\xff.h")).read_text() == "x"


def test_the_project_s_own_options_are_known(plain: Path, staged: Stager) -> None:
    own = "[tool.cibuildwheel]\nbefore-all = 'x'\n[tool.cibuildwheel.linux]\narchs = 'all'\n"
    own += "[[tool.cibuildwheel.overrides]]\nselect = '*'\nrepair-wheel-command = 'y'\n"
    write(plain / "src", {"pyproject.toml": f"{PYPROJECT}\n{own}"})

    source = staged("src").source

    assert {"before-all", "archs"} <= set(source.own_options)
    assert source.own_overrides == (("*", ("repair-wheel-command",)),)


def test_directories_are_junk_by_what_they_hold(plain: Path, staged: Stager) -> None:
    files = {"pyproject.toml": PYPROJECT, "build/flags.py": "", "dist/table.csv": "", "venv/a": ""}
    write(plain / "src", files)

    assert tree(staged("src").root) == sorted(files)


def test_links_that_lead_nowhere_are_kept_as_they_are(plain: Path, staged: Stager) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT})
    linked(root, {"loop": "loop", "dangling": "not-here"})
    assert tree(staged("src").root) == ["dangling", "loop", "pyproject.toml"]

    linked(root, {"outside": "/nonexistent/x"})
    assert (staged("src").root / "outside").readlink() == Path("/nonexistent/x")


# SOURCE_DATE_EPOCH


def test_the_epoch_of_a_directory_is_that_of_its_newest_file(plain: Path, staged: Stager) -> None:
    root = write(plain / "src", {"pyproject.toml": PYPROJECT, "a.c": ""})
    os.utime(root / "a.c", (TIME + 7, TIME + 7))

    assert staged("src").source.epoch == TIME + 7


def test_the_epoch_does_not_depend_on_when_links_were_copied(
    plain: Path, staged: Stager, tmp_path: Path
) -> None:
    linked(write(plain / "src", {"pyproject.toml": PYPROJECT}), {"link": "pyproject.toml"})
    assert staged("src").source.epoch == TIME

    tar(tmp_path / "foo-1.0.tar.gz", ROOT, ("foo-1.0/l", "pyproject.toml"))
    assert staged("foo-1.0.tar.gz").source.epoch == TIME


def test_the_same_source_is_the_same_value_every_time(plain: Path, staged: Stager) -> None:
    linked(write(plain / "src", FILES), {"link": "pkg/a.c"})

    assert staged("src").source == staged("src").source
