"""Real git, in repositories whose configuration would start programs."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.source import git
from orchestrator.source.stage import git_epoch, members
from orchestrator.source.version_sources import HostSources
from tests.conftest import git as real_git
from tests.conftest import orchestrator
from tests.factories import program, write_files

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


FILES = {
    "pyproject.toml": '[project]\nname = "p"\nversion = "1.0"\n',
    "matrix.toml": (
        '[axes]\npython = ["cp312"]\narch = ["x86_64"]\n[version]\nlocal = "g{sha}"\n'
        '[version.parts]\nsha = "git"\n'
    ),
    "big.dat": "data",
    ".gitattributes": "* filter=x diff=x merge=x\n",
}


class Trap:
    """A repository, and a program that must not start; it leaves a file when it does."""

    def __init__(self, place: Path) -> None:
        self.root = place / "src"
        self.caught = place / "caught"
        self.program = program(place / "trap", f'echo "$0 $*" >>{self.caught}')
        write_files(self.root, FILES)
        self.git("init", "-q")
        self.commit()

    def git(self, *words: str, folder: Path | None = None) -> str:
        return real_git(folder or self.root, *words)

    def commit(self, *, folder: Path | None = None) -> None:
        self.git("add", "-A", folder=folder)
        self.git("commit", "-qm", "x", folder=folder)

    def ask(self) -> None:
        """Ask everything that planning and staging ask git."""
        assert list(members(self.root))
        git_epoch(self.root)
        for source in ("git", "git:date"):
            (answer,) = HostSources(root=self.root, environ={}).answers([source]).values()
            assert answer.value, answer.note
        assert not self.caught.exists(), self.caught.read_text()


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return Trap(tmp_path)


SETTINGS = (
    *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass"),
    *("filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.x.textconv", "diff.external"),
    *("diff.x.command", "gpg.program", "gpg.ssh.program", "credential.helper", "alias.ls-files"),
    *("alias.rev-list", "merge.x.driver", "core.alternateRefsCommand"),
    "uploadpack.packObjectsHook",
    *("pager.ls-files", "pager.rev-list", "trailer.x.command", "core.gitProxy"),
)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_a_repository_starts_a_program(trap: Trap, setting: str) -> None:
    trap.git("config", setting, str(trap.program))
    trap.git("config", "log.showSignature", "true")
    (trap.root / "big.dat").write_text("other")

    trap.ask()


@pytest.mark.parametrize("setting", ["core.fsmonitor", "filter.x.clean"])
def test_nor_one_that_its_configuration_includes(trap: Trap, setting: str) -> None:
    trap.git("config", "include.path", "../more")
    trap.git("config", "--file", str(trap.root / "more"), setting, str(trap.program))

    trap.ask()


def test_hooks_do_not_run(trap: Trap) -> None:
    hooks = trap.root / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc"):
        shutil.copy(trap.program, hooks / name)
    trap.git("config", "core.hooksPath", str(hooks))
    os.utime(trap.root / "big.dat", (1, 1))

    trap.ask()


def test_a_repository_laid_out_inside_the_source_is_none(trap: Trap) -> None:
    bare = trap.root / "inner"
    for name in ("objects", "refs"):
        (bare / name).mkdir(parents=True)
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    (bare / "config").write_text(
        f'[core]\nrepositoryformatversion = 0\nbare = false\nworktree = "{trap.root}"\n'
        f'fsmonitor = "{trap.program}"\n'
    )
    for name in ("pyproject.toml", "matrix.toml"):
        shutil.copy(trap.root / name, bare)

    trap.ask()
    trap.root = bare
    trap.ask()
    environ = {"ORCHESTRATOR_CACHE_DIR": str(trap.caught.parent / "cache")}
    for words in (
        ("plan", "--format", "json"),
        ("plan", "--format", "github"),
        ("explain", "cp312-manylinux_x86_64"),
    ):
        said = orchestrator(*words, cwd=bare, env=environ, code=0)
        assert not trap.caught.exists(), said.all


def test_a_partial_clone_fetches_nothing(trap: Trap) -> None:
    trap.git("config", "remote.origin.url", f"ext::{trap.program}")
    for name, value in (
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", str(trap.program)),
        ("extensions.partialClone", "origin"),
        ("core.repositoryFormatVersion", "1"),
        ("protocol.ext.allow", "always"),
    ):
        trap.git("config", name, value)
    tree = trap.git("rev-parse", "HEAD^{tree}").strip()
    (trap.root / ".git/objects" / tree[:2] / tree[2:]).unlink()

    trap.ask()


def not_ours(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to somebody else")
    os.chown(path, 12345, 12345, follow_symlinks=False)


FOREIGN: dict[str, Callable[[Trap], Path]] = {
    "the repository": lambda trap: trap.root / ".git",
    "the work tree": lambda trap: trap.root,
}


@pytest.mark.parametrize("which", FOREIGN.values(), ids=FOREIGN)
def test_a_repository_of_somebody_else_is_not_asked(
    trap: Trap, which: Callable[[Trap], Path]
) -> None:
    trap.git("config", "core.fsmonitor", str(trap.program))
    not_ours(which(trap))

    with pytest.raises(SourceError) as caught:
        list(members(trap.root))

    assert f"{which(trap)} belongs to user 12345" in str(caught.value)
    assert f"git config --global --add safe.directory {trap.root}" in caught.value.hint
    answers = HostSources(root=trap.root, environ={}).answers(["git"])
    (answer,) = answers.values()
    assert answer.value == ""
    assert "belongs to user 12345" in answer.note
    assert not trap.caught.exists()


def test_one_above_the_source_neither(trap: Trap) -> None:
    inner = trap.root / "pkg"
    inner.mkdir()
    not_ours(trap.root / ".git")

    with pytest.raises(SourceError, match=r"\.git belongs to user 12345"):
        git.find(inner)


def test_nor_one_that_a_file_leads_to(trap: Trap, tmp_path: Path) -> None:
    shutil.move(trap.root / ".git", tmp_path / "elsewhere")
    (trap.root / ".git").write_text(f"gitdir: {tmp_path}/elsewhere\n")
    trap.git("config", "core.fsmonitor", str(trap.program))
    trap.ask()
    not_ours(tmp_path / "elsewhere")

    with pytest.raises(SourceError, match="elsewhere belongs to user 12345"):
        git.find(trap.root)


@pytest.mark.parametrize(
    ("values", "trusted"),
    [
        (["{root}"], True),
        (["*"], True),
        (["{root}/../*"], True),
        (["/elsewhere"], False),
        (["*", ""], False),
        (["", "{root}"], True),
    ],
)
def test_the_user_may_trust_it(trap: Trap, values: list[str], *, trusted: bool) -> None:
    for value in values:
        text = value.format(root=trap.root)
        home = Path(os.environ["HOME"], ".gitconfig")
        trap.git("config", "--file", str(home), "--add", "safe.directory", text)
    trap.git("config", "core.fsmonitor", str(trap.program))
    trap.git("config", "safe.directory", "*")  # the repository itself has no say
    not_ours(trap.root / ".git")

    if trusted:
        trap.ask()
    else:
        with pytest.raises(SourceError, match="belongs to user"):
            git.find(trap.root)


def test_the_environment_does_not_decide_which_repository_it_is(
    trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    trap.git("init", "-q", folder=other)
    for name, value in {
        **dict.fromkeys(("GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"), other / ".git"),
        "GIT_WORK_TREE": other,
        "GIT_INDEX_FILE": other / "none",
        "GIT_SSH_COMMAND": trap.program,
        "GIT_EXTERNAL_DIFF": trap.program,
        "GIT_CONFIG_COUNT": 1,
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": trap.program,
    }.items():
        monkeypatch.setenv(name, str(value))

    trap.ask()
    names = {str(each.name) for each in members(trap.root)}
    assert names == {".gitattributes", "big.dat", "matrix.toml", "pyproject.toml"}
    assert git_epoch(trap.root) is not None


def test_what_the_user_ignores_everywhere_is_no_part_of_the_source(trap: Trap) -> None:
    home = Path(os.environ["HOME"])
    (home / "ignored").write_text("*.swp\n")
    (home / ".gitconfig").write_text(
        f'[core]\nexcludesFile = ~/ignored\nfsmonitor = "{trap.program}"\n'
        f'pager = "{trap.program}"\n'
        "[log]\nshowSignature = true\n[color]\nui = always\n"
    )
    (trap.root / "x.swp").write_text("")

    trap.ask()
    assert "x.swp" not in {str(each.name) for each in members(trap.root)}
    assert git.excludes_file() == home / "ignored"


def test_submodules_and_linked_work_trees_are_asked_the_same_way(
    trap: Trap, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "lib.c").write_text("")
    trap.git("init", "-q", folder=library)
    trap.commit(folder=library)
    local = ("-c", "protocol.file.allow=always")
    trap.git(*local, "submodule", "add", "-q", str(library), "lib")
    trap.commit()
    trap.git("config", "core.fsmonitor", str(trap.program), folder=trap.root / "lib")
    trap.git("worktree", "add", "-q", str(tmp_path / "tree"))
    trap.git("config", "core.fsmonitor", str(trap.program))

    trap.ask()
    assert "lib/lib.c" in {str(each.name) for each in members(trap.root)}
    trap.root = tmp_path / "tree"
    trap.ask()


def test_names_of_an_index_that_lead_out_are_not_followed(trap: Trap, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    index = trap.root / ".git/index"
    # Of the same length, so that nothing else in the file changes but its checksum.
    trap.git("config", "index.skipHash", "true")
    for name in ("big.dat", "matrix.toml"):
        assert name.encode() in index.read_bytes()
    data = index.read_bytes().replace(b"matrix.toml", b"../secret/x"[:11])
    data = data.replace(b"big.dat", b"/etc/xx")
    index.write_bytes(data[:-20] + hashlib.sha1(data[:-20]).digest())  # noqa: S324 - git's own

    try:
        names = {str(each.name) for each in members(trap.root)}
    except SourceError as error:
        assert "git cannot list its files" in str(error)  # noqa: PT017
    else:
        assert not any(name.startswith(("/", "..")) for name in names)


def test_a_setting_that_cannot_be_switched_off_is_an_error(trap: Trap) -> None:
    trap.git("config", "filter.a=b.clean", str(trap.program))

    with pytest.raises(SourceError, match="cannot be switched off"):
        git.find(trap.root)


ODD_FILES = (
    *("HEAD", "config", "index", "packed-refs", "commondir", "shallow", "info/exclude"),
    *("refs/heads/main", "refs/tags/x", f"refs/replace/{'0' * 40}", "info/grafts"),
    *("info/attributes", "objects/info/alternates", "objects/info/commit-graph"),
    *("objects/pack/multi-pack-index", f"objects/00/{'0' * 38}"),
)


@pytest.mark.parametrize("name", ODD_FILES)
@pytest.mark.parametrize("kind", ["pipe", "device", "behind a link"])
def test_what_git_would_read_without_end_is_an_error_at_once(
    trap: Trap, tmp_path: Path, name: str, kind: str
) -> None:
    place = trap.root / ".git" / name
    shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)
    if kind == "behind a link" and "/" in name:
        folder = trap.root / ".git" / name.partition("/")[0]
        folder.rename(tmp_path / "moved")
        folder.symlink_to(tmp_path / "moved")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(place)
    for ask in (lambda: list(members(trap.root)), lambda: git_epoch(trap.root)):
        with pytest.raises(SourceError, match=f"{place.name}: is a pipe or a device"):
            ask()


def test_what_git_never_reads_may_be_anything(trap: Trap) -> None:
    """The file of git's own monitor is a socket; tools link what they switch off to /dev/null."""
    repository = trap.root / ".git"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.bind(str(repository / "fsmonitor--daemon.ipc"))
    (repository / "info/attributes").symlink_to(os.devnull)
    (repository / "refs/round").symlink_to(repository / "refs")
    (repository / "lfs").mkdir()
    os.mkfifo(repository / "lfs/pipe")
    trap.ask()


@pytest.mark.parametrize("setting", ["excludesFile", "attributesFile"])
@pytest.mark.parametrize("value", ["pipe", "/dev/zero"])
def test_a_setting_may_name_no_pipe_either(trap: Trap, setting: str, value: str) -> None:
    (trap.root / ".gitignore").write_text("pipe\n")
    os.mkfifo(trap.root / "pipe")
    trap.git("config", f"core.{setting}", value)
    where = str(trap.root / value) if value == "pipe" else value
    with pytest.raises(SourceError, match=f"{where}: is a pipe or a device"):
        list(members(trap.root))


def test_a_pipe_that_a_configuration_includes_is_waited_for_a_moment(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(trap.root / "pipe")
    trap.git("config", "include.path", str(trap.root / "pipe"))
    monkeypatch.setattr(git, "SOON", 0.3)
    with pytest.raises(SourceError, match="cannot read its configuration") as caught:
        list(members(trap.root))
    assert "file that it includes" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".gitignore", ("ls-files", "--others", "--exclude-standard")),
        ("sub/.gitignore", ("ls-files", "--others", "--exclude-standard")),
        (".gitattributes", ("describe", "--tags", "--dirty")),
    ],
)
def test_a_pipe_in_the_tree_is_found_when_git_waits_for_it(
    trap: Trap, name: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    trap.git("tag", "v1")
    place = trap.root / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    repository = git.find(trap.root)
    assert repository is not None
    os.utime(trap.root / "big.dat", (0, 0))  # git looks at it again, with its attributes
    os.mkfifo(place)
    monkeypatch.setattr(git, "SOON", 0.3)
    with pytest.raises(SourceError, match=f"{name}: is a pipe or a device"):
        repository.ask(trap.root, *words)


def test_a_git_that_is_only_slow_is_waited_for(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "SOON", 0.0)
    monkeypatch.setattr(git, "_programs", lambda *_: iter(()))
    trap.ask()
