"""What is recorded of a source's repository, by real git."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.models.provenance import MOST_CHANGES, MOST_TAGS, SourceRevision
from orchestrator.source.revision import revision
from tests.conftest import git
from tests.factories import write_files

FILES = {"a.c": "1", "b/c.py": "2"}


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    write_files(root, FILES)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    return root


def found(root: Path, *files: str) -> SourceRevision:
    made = revision(root, files or FILES)
    assert made is not None
    return made


def test_a_commit_is_recorded_with_its_tags_and_remote(root: Path) -> None:
    git(root, "tag", "v1.0")
    git(root, "tag", "-a", "-m", "x", "a-first")
    git(root, "remote", "add", "origin", "https://me:secret@example.org/p.git")
    assert found(root) == SourceRevision(
        remote="https://example.org/p.git",
        commit=git(root, "rev-parse", "HEAD").strip(),
        tags=("a-first", "v1.0"),
    )


def test_a_commit_with_many_tags_has_the_first_of_them(root: Path) -> None:
    """Each wheel's result has them, and whoever sends a repository says how many there are."""
    head = git(root, "rev-parse", "HEAD").strip()
    packed = [f"{head} refs/tags/t{number:04}\n" for number in range(2000)]
    (root / ".git/packed-refs").write_text("".join(["# pack-refs with: sorted\n", *packed]))
    assert found(root).tags == tuple(f"t{number:04}" for number in range(MOST_TAGS))


def test_the_remote_that_the_branch_follows_counts_first(root: Path) -> None:
    git(root, "remote", "add", "origin", "git@example.org:fork/p.git")
    git(root, "remote", "add", "upstream", "git@example.org:p.git")
    assert found(root).remote == "git@example.org:fork/p.git"
    git(root, "config", "branch.main.remote", "upstream")
    assert found(root).remote == "git@example.org:p.git"
    git(root, "checkout", "-q", "--detach")
    assert found(root).remote == "git@example.org:fork/p.git"


def test_files_that_are_not_as_in_the_commit_are_counted(root: Path) -> None:
    write_files(root, {"a.c": "changed", "n\n.h": "new", "dist/x.whl": "ours"})
    (root / "b/c.py").unlink()
    seen = found(root, "a.c", "n\n.h")
    assert (seen.changed, seen.changes) == (3, ("a.c", "b/c.py", "n\n.h"))
    many = {f"many/{number:03}.c": "" for number in range(MOST_CHANGES + 5)}
    write_files(root, many)
    seen = found(root, "a.c", *many)
    assert (seen.changed, len(seen.changes)) == (len(many) + 2, MOST_CHANGES)


def test_a_source_below_the_top_has_only_its_own_changes(root: Path) -> None:
    write_files(root, {"a.c": "changed", "b/c.py": "changed", "b/d.py": "new"})
    assert found(root / "b", "c.py", "d.py").changes == ("c.py", "d.py")


def test_a_name_that_is_no_utf8_can_be_written(root: Path) -> None:
    name = b"\xff.c".decode("utf-8", "surrogateescape")
    (root / name).touch()
    assert found(root, name).changes == ("?.c",)


def test_where_there_is_no_commit_there_is_no_revision(tmp_path: Path) -> None:
    write_files(tmp_path / "empty", FILES)
    assert revision(tmp_path / "empty", FILES) is None
    git(tmp_path / "empty", "init", "-q")
    assert revision(tmp_path / "empty", FILES) is None
