"""What each source of a version says: environment, files and git for real, engines by script."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from orchestrator.errors import EnvironmentProblemError, SourceError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import VersionAnswer, VersionQuestion
from orchestrator.provision.host import Host
from orchestrator.source.version_sources import HostSources, ImageSources
from tests.conftest import git
from tests.factories import program


def no_toolchain() -> Host:
    raise EnvironmentProblemError.of("no toolchain here")


@pytest.fixture
def host(tmp_path: Path) -> HostSources:
    return HostSources(root=tmp_path, environ={})


def said(host: HostSources, source: str) -> tuple[str, str]:
    answer = host.answers([source])[VersionQuestion(source=source)]
    assert answer.source == source
    return answer.value, answer.note


def test_the_environment(host: HostSources) -> None:
    host = replace(host, environ={"A": " 26.04\n", "B": ""})

    assert said(host, "env:A") == ("26.04", "")
    assert said(host, "env:B") == ("", "set, but empty")
    assert said(host, "env:C") == ("", "not set")


@pytest.mark.parametrize(
    ("content", "source", "result"),
    [
        (b"1.2.3\n", "file:v", ("1.2.3", "")),
        (b"\n 1.2.3 \nmore\n", "file:v", ("1.2.3", "")),
        (b" \n", "file:v", ("", "empty")),
        (b"\xff\xfe", "file:v", ("", "v: not UTF-8")),
        (b'{"cuda": {"version": "13.2.1"}}', "file:v#cuda.version", ("13.2.1", "")),
        (b'{"cuda": {"version": 13}}', "file:v#cuda.version", ("13", "")),
        (
            b'{"cuda": {"version": null}}',
            "file:v#cuda.version",
            ("", "v has no text at cuda.version"),
        ),
        (b'{"cuda": "13"}', "file:v#cuda.version", ("", "v has no text at cuda.version")),
        (b'["13"]', "file:v#cuda", ("", "v has no text at cuda")),
        (b'{"v": 12.10}', "file:v#v", ("12.10", "")),
        (b"13.2", "file:v#cuda.version", ("", "v has no text at cuda.version")),
        (b"CUDA 13", "file:v#cuda.version", ("", "v is not JSON")),
        (b'a\n#define V "1.2" // x\n', 'file:v#V "(.+)"', ("1.2", "")),
        (b"V=1\nV=2\n", "file:v#^V=(?P<other>.)", ("1", "")),
        (b"q v1.2", "file:v#(q) v(?P<version>.+)", ("1.2", "")),
        (b"q v1.2", "file:v#(q) v(?P<value>.+)", ("1.2", "")),
        (b"nothing", "file:v#V=(.+)", ("", "no line of v is like V=(.+)")),
        (b"V=" + b"9" * 2000, "file:v#V=(.+)", ("", "no line of v is like V=(.+)")),
        (b"V" + b"a" * 50, "file:v#V(a|a)+=(.)", ("", "V(a|a)+=(.) takes too long on v")),
    ],
)
def test_files(
    host: HostSources, tmp_path: Path, content: bytes, source: str, result: tuple[str, str]
) -> None:
    (tmp_path / "v").write_bytes(content)

    assert said(host, source) == result


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (b'[package]\nversion = "1.0.0-beta.1"\n', ("1.0.0-beta.1", "")),
        (b"[package]\nversion = 1.10\n", ("", "Cargo.toml has no text at package.version")),
        (
            b"[package]\nversion.workspace = true\n",
            ("", "Cargo.toml has no text at package.version"),
        ),
        (b"[package", ("", "Cargo.toml is not TOML")),
    ],
)
def test_keys_of_toml(
    host: HostSources, tmp_path: Path, content: bytes, result: tuple[str, str]
) -> None:
    (tmp_path / "Cargo.toml").write_bytes(content)

    assert said(host, "file:Cargo.toml#package.version") == result


def test_an_attribute_of_a_module(host: HostSources, tmp_path: Path) -> None:
    (tmp_path / "src/a").mkdir(parents=True)
    (tmp_path / "src/a/__init__.py").write_text("from ._v import __version__")
    (tmp_path / "src/a/_v.py").write_text("__version__ = '1.2'")
    (tmp_path / "outside.py").symlink_to("/etc/passwd")

    assert said(host, "attr:a.__version__") == ("1.2", "")
    assert said(host, "attr:outside.x")[0] == ""
    assert said(host, "attr:a.x") == ("", "no file of the source assigns a text to a.x")


@pytest.mark.parametrize("kind", ["tagless", "shallow", "other tag"])
def test_git_without_a_tag_is_an_error_with_the_cure(tmp_path: Path, kind: str) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    text = "[tool.setuptools_scm]\n"
    if kind == "other tag":
        text += "git_describe_command = \"git describe --tags --match 'v*'\"\n"
    (origin / "pyproject.toml").write_text(text)
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "first")
    if kind != "tagless":
        git(origin, "tag", "x1.0")
    git(origin, "commit", "-q", "--allow-empty", "-m", "second")
    clone = tmp_path / "clone"
    depth = ("--depth=1", "--no-tags") if kind == "shallow" else ()
    git(tmp_path, "clone", "-q", *depth, f"file://{origin}", str(clone))

    with pytest.raises(SourceError, match="setuptools-scm has no version to begin with") as error:
        HostSources(root=clone, environ={}).scm("scm", cast("Host", None))

    assert "fetch-depth: 0" in error.value.hint
    assert ("--unshallow" in error.value.hint) is (kind == "shallow")


def test_a_file_that_is_not_there(host: HostSources) -> None:
    assert said(host, "file:none.txt") == ("", "none.txt: No such file or directory")


@pytest.mark.parametrize("name", ["out", "absolute", "dir/passwd", "pipe", "sub"])
def test_a_file_elsewhere_or_no_file_is_not_read(
    host: HostSources, tmp_path: Path, name: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "out").symlink_to("../../../../../../../etc/hostname")
    (tmp_path / "absolute").symlink_to("/etc/hostname")
    (tmp_path / "dir").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")

    value, note = said(host, f"file:{name}")

    assert value == ""
    assert note.startswith(f"{name}: ")


def test_a_link_inside_is_followed(host: HostSources, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("1.2")
    (tmp_path / "link").symlink_to("v")

    assert said(host, "file:link") == ("1.2", "")


@pytest.mark.parametrize(
    "content",
    [
        "root:x:0:0:root:/root:/bin/bash",
        "-----BEGIN PRIVATE KEY-----",
        "password hunter2",
        "x" * 201,
        "feature/branch",
        "<secret: hunter2/3>",
        "1.2\x1b[31m",
        "1.2 ; rm -rf",
    ],
)
def test_what_no_version_can_have_is_neither_taken_nor_shown(
    host: HostSources, tmp_path: Path, content: str
) -> None:
    (tmp_path / "v").write_text(content)
    for source in ("file:v", "env:V"):
        asked = replace(host, environ={"V": content}).answers([source])
        (answer,) = asked.values()
        assert answer.refused
        assert answer.value == ""
        assert answer.note == f"its {len(content)} characters cannot be part of a version"


def test_json_of_any_depth_is_no_bug(host: HostSources, tmp_path: Path) -> None:
    (tmp_path / "v").write_text("[" * 100_000)

    assert said(host, "file:v#a") == ("", "v is not JSON")


def test_what_has_no_directory(host: HostSources) -> None:
    for source in ("file:v", "git"):
        value, note = said(replace(host, root=None), source)
        assert (value, note) == ("", "the source is no directory, but an sdist")


def test_git(host: HostSources, tmp_path: Path) -> None:
    value, note = said(host, "git")
    assert value == ""
    assert "not a git repository" in note
    git(tmp_path, "init", "-q")
    date = "2025-09-01T23:30:00-0200"
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first", GIT_COMMITTER_DATE=date)

    revision = git(tmp_path, "rev-parse", "HEAD")
    assert said(host, "git") == said(host, "git:hash") == (revision[:9], "")
    assert said(host, "git:date") == ("20250902", ""), "the commit's day, in UTC"


@pytest.mark.parametrize("time", [253402300800, 99999999999999999, 2**63 - 1])
def test_a_commit_of_no_date_is_no_bug(host: HostSources, tmp_path: Path, time: int) -> None:
    git(tmp_path, "init", "-q")
    tree = git(tmp_path, "mktree")
    who = f"a <a@b> {time} +0000"
    (tmp_path / "commit").write_text(f"tree {tree}\nauthor {who}\ncommitter {who}\n\nx\n")
    made = git(tmp_path, "hash-object", "-t", "commit", "-w", "--literally", "commit")
    git(tmp_path, "update-ref", "HEAD", made)

    assert said(host, "git:date") == ("", "the last commit has a time that is no date")


def test_only_what_takes_no_more_than_a_look_is_asked(host: HostSources) -> None:
    sources = ("env:A", "scm", "pyproject", "const:1", "container-env:X", "env:A", "git")

    assert [each.source for each in host.answers(sources)] == ["env:A", "git"]


# Images; the engine itself is asked for real in tests/e2e

PODMAN = """\
echo "$*" >>"$LOG"
case "$1 $2" in
"info --format") echo '{"version": {"Version": "5.0"}, "host": {"security": {}}}' ;;
"image inspect")
    test "$3" = registry/absent:1 && exit 1
    echo '[{"Os": "linux", "Architecture": "amd64", "Id": "x",
      "Config": {"Env": ["CUDA_VERSION=13.2.1", "EMPTY=", "EQ=a+b"]}}]' ;;
"run --rm")
    for last; do :; done
    test "$last" = /v.json && echo '{"cuda": {"version": "13.2.1"}}' && exit
    echo "cat: $last: No such file" >&2; exit 1 ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def images(tmp_path: Path) -> ImageSources:
    podman = program(tmp_path / "bin" / "podman", PODMAN)
    env = {"PATH": f"{podman.parent}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}
    return ImageSources(
        preference="podman",
        create_args=(),
        pull=False,
        env=env,
        host=no_toolchain,
        log=lambda _line: None,
    )


def ask(
    *sources: str, image: str = "registry/cuda:1", arch: Arch = Arch.X86_64
) -> list[VersionQuestion]:
    return [VersionQuestion(source=each, image=image, arch=arch) for each in sources]


def test_an_image_is_asked_for_its_environment_and_its_files(
    images: ImageSources, tmp_path: Path
) -> None:
    sources = ("container-env:CUDA_VERSION", "container-env:EMPTY", "container-env:EQ")
    questions = ask(*sources, "container-env:NONE", "container-file:/v.json#cuda.version")
    questions += ask("container-file:/none")
    answers, problems = images.answers(questions)

    assert problems == {}
    assert [(each.value, each.note) for each in answers.values()] == [
        ("13.2.1", ""),
        ("", "set, but empty in image registry/cuda:1"),
        ("a+b", ""),
        ("", "not set in image registry/cuda:1"),
        ("13.2.1", ""),
        ("", "in image registry/cuda:1: cat: /none: No such file"),
    ]
    log = (tmp_path / "log").read_text()
    assert log.count("image inspect") == 1, "each image is looked at once"


def test_an_image_that_is_not_here(images: ImageSources) -> None:
    questions = ask("container-env:A", image="registry/absent:1")
    questions += ask("container-env:EQ")
    questions += ask("container-env:A", image="registry/arm:1", arch=Arch.AARCH64)
    answers, problems = images.answers(questions)

    assert list(answers.values()) == [VersionAnswer(source="container-env:EQ", value="a+b")]
    absent = problems["registry/absent:1"]
    assert "registry/absent:1 for x86_64 is not on this machine" in absent.what
    assert "podman pull registry/absent:1" in absent.hint
    assert "for aarch64 is not on this machine" in problems["registry/arm:1"].what


def test_no_engine_at_all(images: ImageSources) -> None:
    nobody = replace(images, env={"PATH": "/nonexistent"})
    answers, problems = nobody.answers(ask("container-env:A"))

    assert answers == {}
    assert problems["registry/cuda:1"].what == "podman is not installed"
