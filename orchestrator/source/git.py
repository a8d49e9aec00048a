"""Ask git about a source; nothing that lies in the source decides which programs run.

A repository may hold configuration that names programs: for a file system monitor, hooks, filters,
signatures. So every command names its repository instead of letting git look for one, the
repository must belong to the user (or to root), and settings that name programs are overridden.
No other module starts git.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.fsutil import read_file, walk
from orchestrator.host.network import base_env
from orchestrator.host.process import TIMED_OUT, capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.host.process import Captured

TIMEOUT = 300.0

SOON = 5.0
"""Seconds in which git answers; if it does not, what it may be waiting for is looked for."""

_NOT_READ = frozenset({"annex", "lfs", "modules"})
"""Directories of a repository that are other programs', or repositories of their own."""

_READ_IN_TREES = frozenset({".gitattributes", ".gitignore", ".gitmodules", ".mailmap"})
_NAMES_A_FILE = ("core.attributesfile", "core.excludesfile")

_USERS_FILES = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""Variables that say where the user's own configuration is; all others of git are dropped."""

_FIXED_ENV = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # A partial clone fetches what it lacks, by a program that its configuration names.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}

_FIXED_CONFIG = {
    "core.fsmonitor": "",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.sshCommand": "false",
    "credential.helper": "",
    "diff.external": "",
    # The commit of a submodule counts; what is in it would be asked with its own configuration.
    "diff.ignoreSubmodules": "dirty",
    "log.showSignature": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
}

_NAMES_A_PROGRAM = re.compile(
    r"(filter|merge|gpg|remote|credential|trailer|uploadpack)\..*"
    r"(clean|smudge|process|required|driver|program|command|vcs|uploadpack|receivepack|helper|hook)"
    r"|diff\..*\.(command|textconv)|.*\.(cmd|command|program|defaultkeycommand)",
    re.IGNORECASE,
)
"""Settings, of any section of that kind, that make git start a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that the user may trust.

    Attributes:
        top: the directory that has ``.git``, resolved.
        options: of every command: which repository, and what its configuration cannot do.
    """

    top: Path
    options: tuple[str, ...]

    def ask(self, folder: Path, *words: str) -> Captured:
        """Run a command of git in a directory of the work tree, and return what it says.

        Raises:
            SourceError: git waits for a file that is none.
        """
        argv, env = ["git", *self.options, *words], environment()
        said = capture(argv, env=env, cwd=folder, timeout=SOON, errors="surrogateescape")
        if said.returncode == TIMED_OUT:
            # An honest tree is not searched for this: it may be a large one, as git's time says.
            with suppress(OSError):  # too deep
                for place, _, files in walk(self.top):
                    names = _READ_IN_TREES.intersection(files)
                    _refuse_endless(Path(place, name) for name in names)
            said = capture(argv, env=env, cwd=folder, timeout=TIMEOUT, errors="surrogateescape")
        return said

    def write_program(self, place: Path) -> None:
        """Write a program that another one may take for git: it asks this repository like this."""
        env = environment()
        program = shutil.which("git", path=env["PATH"]) or "git"
        lines = [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
        command = shlex.join((program, *self.options))
        text = "\n".join(("#!/bin/sh", *lines, f'exec {command} "$@"', ""))
        place.write_text(text, encoding="utf-8", errors="surrogateescape")
        place.chmod(0o700)


def find(folder: Path) -> Repository | None:
    """Return the repository of a directory; None if it is in none, or if there is no git.

    Args:
        folder: the directory, resolved.

    Raises:
        SourceError: the repository belongs to another user.
    """
    top = next((each for each in (folder, *folder.parents) if os.path.lexists(each / ".git")), None)
    folders = () if top is None else directories(top / ".git")
    there = bool(folders) and os.path.lexists(folders[0] / "HEAD")  # not in a copied work tree
    if top is None or not there or shutil.which("git", path=environment()["PATH"]) is None:
        return None
    places = (top, top / ".git", *map(Path, map(os.path.realpath, folders)))
    owners = {path: os.lstat(path).st_uid for path in places if os.path.lexists(path)}
    foreign = [path for path, owner in owners.items() if owner not in _ours()]
    if foreign and not _user_trusts(top):
        raise SourceError.of(
            f"{foreign[0]} belongs to user {owners[foreign[0]]}: its configuration could start "
            "programs",
            where=str(top),
            hint=f"if you trust it, `git config --global --add safe.directory {top}`",
        )
    _refuse_endless(_odd_files(folders))
    # Named like this, git looks for no other repository, such as a bare one in a directory.
    place = (f"--git-dir={top / '.git'}", f"--work-tree={top}")
    settings = (
        _FIXED_CONFIG | {"safe.directory": str(top)} | dict.fromkeys(_programs(top, place), "")
    )
    words = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    return Repository(top=top, options=(*place, *words))


def environment() -> dict[str, str]:
    """Return the environment of every git."""
    own = {name: os.environ[name] for name in _USERS_FILES if name in os.environ}
    return {**base_env(os.environ), **own, **_FIXED_ENV}


def excludes_file() -> Path | None:
    """Return the file in which the user lists what git ignores; None for git's default."""
    said = _users_settings("--type=path", "--get", "core.excludesFile")
    return Path(said[-1]) if said else None


def _programs(top: Path, place: Iterable[str]) -> Iterator[str]:
    """Find the settings that name programs, in a repository's configuration and the user's.

    Raises:
        SourceError: git cannot read them, or one of them cannot be overridden.
    """
    argv = ["git", *place, "config", "--null", "--list"]
    said = capture(argv, env=environment(), cwd=top, timeout=SOON, errors="surrogateescape")
    if not said.ok:
        raise SourceError.of(
            f"git cannot read its configuration: {said.last_line}",
            where=str(top / ".git"),
            hint="each file that it includes must be a regular one",
        )
    settings = [each.partition("\n") for each in said.stdout.split("\0")[:-1]]
    files = (text for name, _, text in settings if name in _NAMES_A_FILE)
    # `Path.expanduser` raises for a user who does not exist.
    _refuse_endless(top / os.path.expanduser(file) for file in files)  # noqa: PTH111
    for name in filter(_NAMES_A_PROGRAM.fullmatch, (name for name, _, _ in settings)):
        if "=" in name:
            raise SourceError.of(
                f"git's setting {name!r} names a program, and cannot be switched off",
                where=str(top / ".git"),
                hint="rename the section so that it has no '='",
            )
        yield name


def _odd_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield what is in a repository, also behind links, and is no file and no directory."""
    pending, seen = [*folders], set[str]()
    while pending:
        folder = os.path.realpath(pending.pop())
        if folder in seen:
            continue
        seen.add(folder)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and entry.name not in _NOT_READ:
                    pending.append(Path(entry.path))
                elif not entry.is_file():
                    yield Path(entry.path)


def _refuse_endless(files: Iterable[Path]) -> None:
    """Refuse pipes, which git would wait for, and devices, which it would read without end.

    Raises:
        SourceError: with the first of them.
    """
    for file in files:
        with suppress(OSError, ValueError):
            mode = file.stat().st_mode
            device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
            if stat.S_ISFIFO(mode) or (device and not file.samefile(os.devnull)):
                raise SourceError.of(
                    "is a pipe or a device: git would read it without end",
                    where=str(file),
                    hint="remove it, or put a regular file there",
                )


def directories(place: Path) -> tuple[Path, ...]:
    """Return where a ``.git`` has its repository, and what that shares with other work trees.

    Submodules and linked work trees have a file there. What it names need not be there.
    """
    folder = place
    with suppress(OSError, ValueError):
        if place.is_file():
            folder = place.parent / read_line(place).removeprefix("gitdir:").strip()
    shared = folder
    with suppress(OSError, ValueError):
        shared = folder / read_line(folder / "commondir")
    return folder, shared


def read_line(file: Path) -> str:
    """Return what one of git's files of one line says; raises OSError or ValueError."""
    return read_file(file, limit=1 << 16).decode().strip()


def _ours() -> set[int]:
    """Return the users whose configuration may be obeyed: this one, and root."""
    sudo = os.environ.get("SUDO_UID", "")
    return {os.geteuid(), 0} | ({int(sudo)} if sudo.isdigit() and os.geteuid() == 0 else set())


def _user_trusts(top: Path) -> bool:
    """Whether the user's configuration says that a directory is safe (git-config(1))."""
    trusted = False
    for value in _users_settings("--get-all", "safe.directory"):
        below = value.endswith("/*") and top.is_relative_to(os.path.realpath(value[:-2]))
        same = value == "*" or (bool(value) and os.path.realpath(value) == str(top))
        # An empty value takes back those before it.
        trusted = bool(value) and (trusted or below or same)
    return trusted


def _users_settings(*words: str) -> list[str]:
    """Ask for a setting of the user and the system; that of no repository counts."""
    env = environment() | {"GIT_DIR": os.devnull}
    said = capture(["git", "config", "--null", "--includes", *words], env=env, cwd=Path("/"))
    return said.stdout.split("\0")[:-1] if said.ok else []
