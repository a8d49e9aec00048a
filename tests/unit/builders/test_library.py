"""What a library leaves: regular files of its own tree, whatever lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.builders.library import collect
from orchestrator.fsutil import remove_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("lib/libfoo.so.1.2", "include/foo/a.h", "include/foo/deep/b.h", "include/c.h"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "lib/libfoo.so").symlink_to("libfoo.so.1.2")
    (root / "lib64").symlink_to("lib")
    (root / "lib/gone.so").symlink_to("nothing")
    (tmp_path / "secret").write_text("hunter2")
    return root


def collected(tree: Path, *outputs: str) -> set[str]:
    made = tree.parent / "made"
    failure = collect(tree, outputs, made)
    assert failure is None, failure
    files = [path for path in made.rglob("*") if not path.is_dir()]
    assert not any(path.is_symlink() for path in files)
    return {path.relative_to(made).as_posix() for path in files}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("lib/*.so*", {"lib/libfoo.so", "lib/libfoo.so.1.2"}),
        ("lib64/libfoo.so", {"lib64/libfoo.so"}),
        ("include/**/*.h", {"include/foo/a.h", "include/foo/deep/b.h", "include/c.h"}),
        ("include/foo/**", {"include/foo/a.h", "include/foo/deep/b.h"}),
        ("*/foo/a.?", {"include/foo/a.h"}),
        ("./lib/lib[a-f]oo.so", {"lib/libfoo.so"}),
    ],
)
def test_globs_match_files_and_links_inside_are_what_they_mean(
    tree: Path, pattern: str, names: set[str]
) -> None:
    assert collected(tree, pattern) == names


@pytest.mark.parametrize("pattern", ["lib/*.a", "include", "nothing/*", "lib/gone.so", "lib/x/y"])
def test_a_glob_without_a_file_is_a_failure(tree: Path, pattern: str) -> None:
    failure = collect(tree, (pattern,), tree.parent / "made")

    assert failure is not None
    assert f"left no file that matches {pattern!r}" in failure.message


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../secret", "../../x", "/dev/zero", "up/secret"]
)
def test_an_output_that_is_elsewhere_is_a_failure_that_names_it(tree: Path, target: str) -> None:
    (tree / "lib/up").symlink_to("../..")
    (tree / "lib/out.so").symlink_to(target if target.startswith("/") else f"../{target}")
    if target == "up/secret":
        (tree / "lib/out.so").unlink()
        (tree / "lib/out.so").symlink_to(target)

    failure = collect(tree, ("lib/out.so",), tree.parent / "made")

    assert failure is not None
    assert "the output 'lib/out.so' leads " in failure.message
    assert not (tree.parent / "made/lib/out.so").exists()


def test_no_directory_elsewhere_is_searched(tree: Path) -> None:
    (tree / "etc").symlink_to("/etc")
    (tree / "root").symlink_to("/")
    for pattern in ("etc/*", "root/**", "root/etc/passwd"):
        failure = collect(tree, (pattern,), tree.parent / "made")
        assert failure is not None
    assert collected(tree, "**/*.h", "*/libfoo.so") >= {"include/c.h", "lib/libfoo.so"}


def test_pipes_are_not_read_and_modes_are_plain(tree: Path) -> None:
    os.mkfifo(tree / "lib/pipe.so")
    (tree / "lib/libfoo.so.1.2").chmod(0o6777)

    assert collected(tree, "lib/*so*") == {"lib/libfoo.so", "lib/libfoo.so.1.2"}
    assert (tree.parent / "made/lib/libfoo.so").stat().st_mode & 0o7777 == 0o755


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of rmtree
def test_a_tree_without_end_is_searched_to_a_depth(tree: Path) -> None:
    inner = tree
    for _ in range(1_200):
        inner = inner / "d"
        inner.mkdir()

    assert collected(tree, "**/*.h") >= {"include/c.h", "include/foo/deep/b.h"}
    remove_tree(tree)  # pytest could not
