"""Stage the source: fetch it, and make a clean tree of it once per run."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.fsutil import (
    OutsideError,
    copy_beneath,
    make_beneath,
    making,
    open_beneath,
    resolve_beneath,
    walk,
)
from orchestrator.host import process
from orchestrator.models.target import Digest, Source
from orchestrator.models.untrusted import RelativePath
from orchestrator.source import git
from orchestrator.source.declared import table_of
from orchestrator.source.locate import (
    SourceKind,
    SourceLocation,
    directory_identity,
    read_text,
    read_toml,
)
from orchestrator.source.own_options import own_options
from orchestrator.source.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.provision.host import Host

FETCH_SCRIPT = Path(__file__).parent / "scripts" / "fetch_sdist.py"

EARLIEST_EPOCH = 315_532_800
"""1980-01-01: no member of a zip file, and so of a wheel, can be older."""

JUNK_ANYWHERE = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".tox", ".nox", ".venv", ".eggs", ".mypy_cache"}
    | {".pytest_cache", ".ruff_cache", ".hypothesis", ".orchestrator", ".DS_Store"}
)
_JUNK_AT_TOP = {
    "build": ("lib*", "bdist.*", "temp.*", "cp3*", "CMakeCache.txt"),
    "dist": ("*.whl", "*.tar.gz"),
    "wheelhouse": ("*.whl",),
    "_skbuild": ("*",),
    "venv": ("pyvenv.cfg",),
}
"""Directories that tools generate, and what is in them then: a project may have its own `build`."""
_JUNK_FILE = re.compile(r".*(\.py[cod]|\.(cpython|pypy)[\w-]*\.so|\.abi3\.so)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of the source.

    Attributes:
        path: relative, with slashes.
        kind: ``file``, ``exec`` if its owner may execute it, or ``link``.
        sha256: of its contents, or of a link's target.
    """

    path: str
    kind: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedSource:
    """A clean tree of a source, which builds only copy."""

    root: Path
    source: Source

    @property
    def pyproject(self) -> str:
        """The text of pyproject.toml; empty if there is none."""
        return read_text(self.root, "pyproject.toml")

    @property
    def profiles(self) -> bool:
        """Whether its build scripts let gcc use what a program did when it ran."""
        listed = table_of(read_toml(self.root, "pyproject.toml"), "build-system").get(
            "backend-path"
        )
        named = listed if isinstance(listed, list) else []
        folders = [self.root / each for each in map(str, named) if RelativePath.match(each)]
        scripts = [path for folder in (self.root, *folders) for path in sorted(folder.glob("*.py"))]
        names = [path.relative_to(self.root).as_posix() for path in scripts]
        return any("-fprofile-" in read_text(self.root, each, errors="replace") for each in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A file that will be part of the staged tree.

    Attributes:
        root: the directory that it is in.
        name: where it is, and will be, relative.
        is_link: whether it is a link, and stays one.
    """

    root: Path
    name: Path
    is_link: bool

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name


def stage(
    origin: SourceLocation, *, dest: Path, fetch: Callable[[str], Path], skip: Iterable[Path] = ()
) -> StagedSource:
    """Make the clean tree of ``origin`` in ``dest``, which must not exist.

    Args:
        origin: from `locate`.
        dest: where the tree goes.
        fetch: returns the sdist file of a requirement.
        skip: files and directories of ours that may lie inside the source (``dist``, the work
            directory, matrix.toml).

    Raises:
        SourceError: the sdist is damaged, or has no build backend.
    """
    epoch = None
    if origin.kind is SourceKind.DIRECTORY and origin.path is not None:
        _copy(members(origin.path, skip, origin.exclude), dest)
        epoch = git_epoch(origin.path, origin.exclude)
    else:
        unpack(origin.path or fetch(origin.text), dest)
    epoch = epoch or newest(_walk(dest))
    return StagedSource(root=dest, source=as_value(origin, dest, tree_digest(dest), epoch))


def as_value(origin: SourceLocation, root: Path, digest: Digest, epoch: int) -> Source:
    """Return a tree as a value; ``epoch`` is the time of its last change, in seconds.

    Raises:
        SourceError: it has no build backend, or names files outside of it.
    """
    identity = directory_identity(root)
    names, overrides = own_options(root)
    return Source(
        name=identity.name or origin.name,
        version=identity.version or origin.version,
        digest=digest,
        epoch=max(epoch, EARLIEST_EPOCH),
        own_options=names,
        own_overrides=overrides,
    )


def members(
    root: Path, skip: Iterable[Path] = (), exclude: Sequence[str] = ()
) -> Iterator[StagedFile]:
    """Find the files of a directory that belong to the source; links stay links.

    Git knows best which files those are; without git, junk is left out.

    Args:
        root: the directory, resolved.
        skip: as for `stage`.
        exclude: globs over paths, of files and directories that are no part of it either.

    Raises:
        SourceError: a link leads out of the directory, or there is something else than files.
    """
    # An output directory that holds the source (``--output-dir .``) cannot be left out of it.
    ours = {path.resolve() for path in skip} - {root, *root.parents}
    listed = _git_files(root)
    is_real = cache(partial(_is_real_folder, root))
    for name in _unlisted_files(root) if listed is None else listed:
        path = root / name
        if not ours.isdisjoint((path, *path.parents)) or not is_real(name.parent):
            continue
        if exclude and _is_excluded(name, exclude):
            continue
        try:
            mode = path.lstat().st_mode
        except OSError:  # git knows it still
            continue
        if stat.S_ISLNK(mode):
            _check_link(root, name)
        elif stat.S_ISDIR(mode):
            continue
        elif not stat.S_ISREG(mode):
            raise SourceError.of(
                "is a pipe, a socket or a device: no file that a build could get",
                where=str(path),
                hint="remove it",
            )
        yield StagedFile(root=root, name=name, is_link=stat.S_ISLNK(mode))


def _is_excluded(name: Path, exclude: Sequence[str]) -> bool:
    """Whether a glob means a path, or a directory around it; as git reads a plain pathspec."""
    paths = [each.as_posix() for each in (name, *name.parents)]
    return any(fnmatchcase(path, glob.rstrip("/")) for path in paths for glob in exclude)


def _is_real_folder(root: Path, name: Path) -> bool:
    """Whether no part of a path is a link: git forgets what is behind one."""
    inside = not name.is_absolute() and ".." not in name.parts
    return inside and not any((root / each).is_symlink() for each in (name, *name.parents))


def _check_link(root: Path, name: Path) -> None:
    """Refuse a link to files that a build would not find: nothing outside is copied for it.

    One that leads nowhere here, as in test data, is none of those.
    """
    path = root / name
    with suppress(OSError):  # a link to itself leads nowhere
        try:
            resolve_beneath(root, name)
        except OutsideError:
            if path.is_file() or path.is_dir():
                raise SourceError.of(
                    f"leads out of the source, to {os.fspath(path.readlink())!r}",
                    where=str(path),
                    hint="replace the link by a copy, or by a relative link inside the source, or "
                    "let git ignore it",
                ) from None


def tree_digest(root: Path) -> Digest:
    """Return the SHA-256 of paths, kinds, executable bits and contents; times do not count."""
    return files_digest(tree_files(root))


def tree_files(root: Path) -> tuple[SourceFile, ...]:
    """Return the files of a staged tree."""
    return tuple(
        source_file(StagedFile(root=root, name=path.relative_to(root), is_link=path.is_symlink()))
        for path in _walk(root)
    )


def source_file(member: StagedFile) -> SourceFile:
    """Read a file for its digest."""
    if member.is_link:
        kind, sha256 = "link", hashlib.sha256(os.fsencode(member.path.readlink())).hexdigest()
    else:
        with open_beneath(member.root, member.name) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            kind = "exec" if os.fstat(stream.fileno()).st_mode & stat.S_IXUSR else "file"
    return SourceFile(path=member.name.as_posix(), kind=kind, sha256=sha256)


def files_digest(files: Iterable[SourceFile]) -> Digest:
    """Return the digest of a tree with these files, whatever their order."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        line = f"{file.kind}\0{file.path}\0{file.sha256}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return Digest(total.hexdigest())


def walk_source(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each directory of a source, as `fsutil.walk` does; raises SourceError."""
    try:
        yield from walk(root)
    except OSError as error:
        raise SourceError.of(error.strerror or str(error), where=str(root)) from None


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in walk_source(root):
        here = Path(folder)
        yield from (here / name for name in files)
        yield from (here / name for name in folders if (here / name).is_symlink())


def _unlisted_files(root: Path) -> Iterator[Path]:
    generated = {name for name in _JUNK_AT_TOP if _is_generated(root / name)}
    for folder, folders, files in walk_source(root):
        here = Path(folder)
        junk = JUNK_ANYWHERE | (generated if here == root else set())
        links = [name for name in folders if (here / name).is_symlink() and name not in junk]
        folders[:] = [n for n in folders if n not in junk and not n.endswith(".egg-info")]
        for name in (*files, *links):
            if name not in junk and not _JUNK_FILE.fullmatch(name):
                yield (here / name).relative_to(root)


def _is_generated(folder: Path) -> bool:
    return folder.is_dir() and any(any(folder.glob(p)) for p in _JUNK_AT_TOP[folder.name])


def _git_files(root: Path) -> list[Path] | None:
    """Return tracked and new files, but no ignored ones; None if git does not know.

    Files of submodules are included.
    """
    repository = git.find(root)
    if repository is None:
        return None
    said = repository.ask(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if not said.ok:
        raise SourceError.of(
            f"git cannot list its files: {said.last_line}",
            where=str(root),
            hint=f"`git -C {root} status` says more",
        )
    files: list[Path] = []
    for name in dict.fromkeys(said.stdout.split("\0")):
        relative = Path(name.rstrip("/"))
        if not name:
            continue
        if _is_real_folder(root, relative) and (root / relative).is_dir():
            # A submodule that was never checked out is no repository: git would answer for ours.
            inner = root / relative
            below = _git_files(inner) if (inner / ".git").exists() else None
            files += [relative / file for file in below or _unlisted_files(inner)]
        else:
            files.append(relative)
    # A directory that git ignores as a whole is nevertheless what the user wants to build.
    return files or None


def git_epoch(root: Path, exclude: Sequence[str] = ()) -> int | None:
    """Return the time of the last commit that touches a directory; None if git knows none.

    A commit that touches nothing but what is excluded does not count.
    """
    repository = git.find(root)
    if repository is None:
        return None
    paths = (".", *(f":(exclude){glob}" for glob in exclude))
    said = repository.ask(root, "rev-list", "--max-count=1", "--timestamp", "HEAD", "--", *paths)
    seconds = said.stdout.partition(" ")[0]
    return int(seconds) if said.ok and seconds.isdigit() else None


def newest(paths: Iterable[Path]) -> int:
    """Return the time of the last change of some files, in seconds."""
    # Links are as old as the copy: nothing restores their times.
    times = (int(path.stat().st_mtime) for path in paths if not path.is_symlink())
    return max(times, default=EARLIEST_EPOCH)


def copy_source(root: Path, dest: Path) -> None:
    """Make the clean tree of a directory in ``dest``, which must not exist."""
    _copy(members(root.resolve()), dest)


def _copy(files: Iterable[StagedFile], dest: Path) -> None:
    # Links last: nothing is written through one.
    ordered = sorted(files, key=lambda file: file.is_link)
    dest.mkdir(parents=True)
    for file in ordered:
        make_beneath(dest, file.name.parent)
        if file.is_link:
            (dest / file.name).symlink_to(file.path.readlink())
        else:
            copy_beneath(file.root, file.name, dest / file.name)


def _sdist_folder(requirement: str, env: Mapping[str, str], cache_dir: Path) -> Path:
    # The same requirement may be another file on another index.
    identity = hashlib.sha256(f"{requirement}\0{sorted(env.items())}".encode()).hexdigest()
    return cache_dir / "sdists" / identity


def cached_sdist(requirement: str, *, env: Mapping[str, str], cache_dir: Path) -> Path | None:
    """Return the sdist of a requirement if it was fetched before; `env` is `Host.net_env`."""
    folder = _sdist_folder(requirement, env, cache_dir)
    return next(iter(sorted(folder.iterdir())), None) if folder.is_dir() else None


def fetch_sdist(requirement: str, *, host: Host) -> Path:
    """Return the sdist of a requirement (``name==version``), from our cache or the package index.

    Raises:
        SourceError: the index has no such sdist, or cannot be reached.
    """
    env = host.net_env
    if fetched := cached_sdist(requirement, env=env, cache_dir=host.cache_dir):
        return fetched
    folder = _sdist_folder(requirement, env, host.cache_dir)
    with making(folder) as made:
        argv = [str(host.toolchain.python), "-I", str(FETCH_SCRIPT), requirement, str(made)]
        said = process.capture(argv, env=env, timeout=600.0)
        if not said.ok:
            raise SourceError.of(
                said.last_line or f"could not download {requirement}",
                where="project.source",
                hint="is the version spelled as on the index, and does it have an sdist?",
            )
    return folder / Path(said.stdout.strip()).name
