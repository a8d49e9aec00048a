"""What the source is, without copying it; and remembered only as long as it is true."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.source import fingerprint
from orchestrator.source.fingerprint import SourceFingerprint, identify
from orchestrator.source.locate import locate
from orchestrator.source.stage import SourceFile, StagedFile, source_file, stage, tree_files
from tests.conftest import git
from tests.factories import write_files


class Tree:
    """A source, and what is known of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "source"
        self.cache = root / "cache"
        self.files = {"pyproject.toml": '[project]\nname = "thing"\nversion = "1.0"\n'}
        self.files |= {"src/a.c": "int a;", "src/deep/b.c": "int b;", "run.sh": "#!/bin/sh\n"}
        write_files(self.root, self.files)
        (self.root / "run.sh").chmod(0o755)
        (self.root / "link.c").symlink_to("src/a.c")
        self.staged = 0
        self.exclude: tuple[str, ...] = ()

    def commit(self) -> None:
        git(self.root, "init", "-q")
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", "first")

    def identify(self) -> SourceFingerprint:
        return identify(
            locate("source", base=self.root.parent, exclude=self.exclude),
            fetch=lambda _: pytest.fail("nothing to fetch"),
            skip=(self.root / "dist",),
            cache_dir=self.cache,
            environ=dict(os.environ),
        )

    def stage(self) -> SourceFingerprint:
        """Copy the tree as a build does, and say what the copy is."""
        self.staged += 1
        staged = stage(
            locate("source", base=self.root.parent, exclude=self.exclude),
            dest=self.root.parent / f"staged{self.staged}",
            fetch=lambda _: pytest.fail("nothing to fetch"),
            skip=(self.root / "dist",),
        )
        return SourceFingerprint(source=staged.source, files=tree_files(staged.root))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.fixture(params=["git", "plain"])
def either(request: pytest.FixtureRequest, tree: Tree) -> Tree:
    if request.param == "git":
        tree.commit()
    return tree


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are old enough to be trusted: what was written a moment ago would not be."""
    monkeypatch.setattr(fingerprint, "RACY", -(10**18))
    monkeypatch.setattr(fingerprint, "COARSE", -(10**18))


def same(one: SourceFingerprint, other: SourceFingerprint) -> None:
    assert one.source == other.source
    assert sorted(one.files, key=str) == sorted(other.files, key=str)


def test_it_is_what_a_copy_of_the_tree_is(either: Tree) -> None:
    (either.root / "inside").symlink_to("src")
    (either.root / "dangling").symlink_to("nowhere")
    (either.root / "outside").symlink_to("/nonexistent")

    same(either.identify(), either.stage())
    kinds = {each.path: each.kind for each in either.identify().files}
    assert [kinds[name] for name in ("inside", "dangling", "outside")] == ["link"] * 3


@pytest.mark.usefixtures("patient")
def test_a_tree_that_did_not_change_is_not_read_and_git_is_not_asked(
    either: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (either.root / os.fsdecode(b"no UTF-8: \xff")).touch()
    first = either.identify()
    monkeypatch.setattr("orchestrator.host.process.subprocess.Popen", refuse)
    monkeypatch.setattr(fingerprint, "source_file", refuse)

    same(either.identify(), first)


def refuse(*_words: object, **_options: object) -> None:
    pytest.fail("looked again")


def edit(tree: Tree) -> None:
    (tree.root / "src/a.c").write_text("int b;")  # of the same size


def edit_and_hide(tree: Tree) -> None:
    before = (tree.root / "src/a.c").stat()
    edit(tree)
    os.utime(tree.root / "src/a.c", ns=(before.st_atime_ns, before.st_mtime_ns))


def point_elsewhere(tree: Tree) -> None:
    (tree.root / "link.c").unlink()
    (tree.root / "link.c").symlink_to("src/deep/b.c")


CHANGES: dict[str, Callable[[Tree], object]] = {
    "edited": edit,
    "edited, with its time as before": edit_and_hide,
    "added": lambda tree: (tree.root / "src/deep/new.c").touch(),
    "removed": lambda tree: (tree.root / "src/deep/b.c").unlink(),
    "made executable": lambda tree: (tree.root / "src/a.c").chmod(0o755),
    "linked elsewhere": point_elsewhere,
    "added with its directory": lambda tree: write_files(tree.root, {"docs/new.txt": ""}),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(either: Tree, change: Callable[[Tree], object]) -> None:
    before = either.identify()

    change(either)

    same(either.identify(), either.stage())
    assert either.identify().source.digest != before.source.digest


@pytest.mark.usefixtures("patient")
def test_a_link_that_leads_out_is_refused_before_and_after(tree: Tree) -> None:
    tree.identify()
    (tree.root / "etc").symlink_to("/etc")

    for call in (tree.identify, tree.stage):
        with pytest.raises(SourceError, match="etc: leads out of the source"):
            call()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("place", [".gitignore", ".git/info/exclude"])
def test_what_git_ignores_from_now_on_is_no_part_of_it(tree: Tree, place: str) -> None:
    tree.commit()
    (tree.root / "notes").write_text("")
    assert "notes" in {each.path for each in tree.identify().files}

    path = tree.root / place
    path.write_text("notes\n")

    assert "notes" not in {each.path for each in tree.identify().files}


@pytest.mark.usefixtures("patient")
def test_a_new_commit_gives_another_epoch(tree: Tree) -> None:
    tree.commit()
    tree.identify()
    date = "2001-01-01T00:00:00Z"
    git(tree.root, "commit", "-q", "--amend", "--no-edit", GIT_COMMITTER_DATE=date)

    assert tree.identify().source.epoch == 978_307_200


@pytest.mark.usefixtures("patient")
def test_a_repository_made_around_it_decides_from_then_on(tree: Tree) -> None:
    (tree.root / ".gitignore").write_text("src/deep\n")
    assert "src/deep/b.c" in {each.path for each in tree.identify().files}

    git(tree.root, "init", "-q")

    assert "src/deep/b.c" not in {each.path for each in tree.identify().files}


@pytest.mark.usefixtures("patient")
def test_what_a_build_writes_makes_nobody_look_again(
    either: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = either.identify()
    (either.root / "dist").mkdir()
    (either.root / "dist" / "thing.whl").write_text("")
    monkeypatch.setattr(fingerprint, "source_file", refuse)

    same(either.identify(), first)


def test_a_file_changed_in_the_moment_it_was_read_is_read_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.identify()
    read: list[str] = []

    def reading(member: StagedFile) -> SourceFile:
        read.append(member.name.as_posix())
        return source_file(member)

    monkeypatch.setattr(fingerprint, "source_file", reading)
    monkeypatch.setattr(fingerprint, "RACY", 10**18)
    tree.identify()

    assert set(tree.files) <= set(read)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_a_damaged_snapshot_counts_as_none(tree: Tree, text: str) -> None:
    first = tree.identify()
    (file,) = (tree.cache / "sources").iterdir()
    file.write_text(text)

    same(tree.identify(), first)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tree: Tree) -> None:
    tree.cache.write_text("a file is in the way")

    same(tree.identify(), tree.stage())


def test_what_another_version_has_found_is_not_taken(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions share a cache, and may have other ideas of what belongs to a source."""
    tree.identify()
    (first,) = (tree.cache / "sources").iterdir()
    monkeypatch.setattr(fingerprint, "_program", lambda: "another version")
    monkeypatch.setattr(fingerprint, "members", lambda *_: iter(()))
    assert tree.identify().files == ()
    assert len(list(first.parent.iterdir())) == 2


def test_a_git_file_may_say_anything(tree: Tree) -> None:
    for text in ("gitdir: a\0b", "gitdir: " + "../" * 5000, "x" * 100_000, ""):
        (tree.root / ".git").write_text(text)
        assert tree.identify().files


@pytest.mark.parametrize("in_git", [False, True])
def test_what_is_excluded_changes_nothing(tree: Tree, *, in_git: bool) -> None:
    write_files(tree.root, {"README.md": "1", "notes/deep/x.md": "1", ".github/w.yml": "1"})
    if in_git:
        tree.commit()
    tree.exclude = ("*.md", ".github/")
    first = tree.identify()

    assert {each.path for each in first.files} == {*tree.files, "link.c"}
    assert tree.stage().source == first.source

    write_files(tree.root, {"README.md": "2", "notes/new.md": "", ".github/w.yml": "2"})
    if in_git:
        git(tree.root, "add", "-A")
        git(tree.root, "commit", "-qm", "second", GIT_COMMITTER_DATE="1900000000 +0000")

    assert tree.identify().source == first.source == tree.stage().source
    tree.exclude = ()
    assert tree.identify().source != first.source
