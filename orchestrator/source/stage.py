"""Stage the source: fetch it, and make a clean tree of it once per run."""

from __future__ import annotations

import calendar
import hashlib
import os
import re
import stat
import tarfile
import tomllib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.fsutil import copy_file, file_sha256, making
from orchestrator.host import process
from orchestrator.models.target import Digest, Source
from orchestrator.source.locate import SourceKind, SourceLocation, directory_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        file = self.root / "pyproject.toml"
        return file.read_text("utf-8") if file.is_file() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A file that will be part of the staged tree.

    Attributes:
        name: where it will be, relative.
        path: where it is.
        is_link: whether it stays a link.
    """

    name: Path
    path: Path
    is_link: bool


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
        _copy(members(origin.path, skip), dest)
        epoch = git_epoch(origin.path)
    else:
        _unpack(origin.path or fetch(origin.text), dest)
    epoch = epoch or newest(_walk(dest))
    return StagedSource(root=dest, source=as_value(origin, dest, tree_digest(dest), epoch))


def as_value(origin: SourceLocation, root: Path, digest: Digest, epoch: int) -> Source:
    """Return a tree as a value; ``epoch`` is the time of its last change, in seconds.

    Raises:
        SourceError: it has no build backend.
    """
    name, version = directory_identity(root)
    return Source(
        name=name or origin.name,
        version=version or origin.version,
        digest=digest,
        epoch=max(epoch, EARLIEST_EPOCH),
        own_options=_own_options(root),
    )


def members(root: Path, skip: Iterable[Path] = ()) -> Iterator[StagedFile]:
    """Find the files of a directory that belong to the source; links that leave it are followed.

    Git knows best which files those are; without git, junk is left out.

    Args:
        root: the directory, resolved.
        skip: as for `stage`.
    """
    # An output directory that holds the source (``--output-dir .``) cannot be left out of it.
    ours = {path.resolve() for path in skip} - {root, *root.parents}
    listed = _git_files(root)
    for name in _unlisted_files(root) if listed is None else listed:
        path = root / name
        if not ours.isdisjoint((path, *path.parents)):
            continue
        if path.is_symlink() and _stays_inside(path, root):
            yield StagedFile(name=name, path=path, is_link=True)
        elif path.is_symlink() and path.is_dir():
            for inner in _walk(path, follow=True):
                yield _member(name / inner.relative_to(path), inner)
        elif path.is_symlink() or path.is_file():
            yield _member(name, path)


def _member(name: Path, path: Path) -> StagedFile:
    # Dangling, as test data often is: kept as it is.
    return StagedFile(name=name, path=path, is_link=path.is_symlink() and not path.exists())


def _own_options(root: Path) -> tuple[str, ...]:
    """Return the options that ``[tool.cibuildwheel]`` sets for Linux; the file is valid TOML."""
    file = root / "pyproject.toml"
    tree = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    own = tree.get("tool", {}).get("cibuildwheel", {})
    tables = [own, own.get("linux", {}), *own.get("overrides", [])]
    return tuple(sorted({key for table in tables if isinstance(table, dict) for key in table}))


def tree_digest(root: Path) -> Digest:
    """Return the SHA-256 of paths, kinds, executable bits and contents; times do not count."""
    return files_digest(tree_files(root))


def tree_files(root: Path) -> tuple[SourceFile, ...]:
    """Return the files of a staged tree."""
    return tuple(
        source_file(StagedFile(name=path.relative_to(root), path=path, is_link=path.is_symlink()))
        for path in _walk(root)
    )


def source_file(member: StagedFile) -> SourceFile:
    """Read a file for its digest."""
    path = member.path
    if member.is_link:
        kind, sha256 = "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    else:
        sha256 = file_sha256(path)
        kind = "exec" if path.stat().st_mode & stat.S_IXUSR else "file"
    return SourceFile(path=member.name.as_posix(), kind=kind, sha256=sha256)


def files_digest(files: Iterable[SourceFile]) -> Digest:
    """Return the digest of a tree with these files, whatever their order."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        line = f"{file.kind}\0{file.path}\0{file.sha256}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return Digest(total.hexdigest())


def _walk(root: Path, *, follow: bool = False) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=follow):
        here = Path(folder)
        yield from (here / name for name in files)
        if not follow:
            yield from (here / name for name in folders if (here / name).is_symlink())


def _unlisted_files(root: Path) -> Iterator[Path]:
    generated = {name for name in _JUNK_AT_TOP if _is_generated(root / name)}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        junk = JUNK_ANYWHERE | (generated if here == root else set())
        links = [name for name in folders if (here / name).is_symlink() and name not in junk]
        folders[:] = [n for n in folders if n not in junk and not n.endswith(".egg-info")]
        for name in (*files, *links):
            if name not in junk and not _JUNK_FILE.fullmatch(name):
                yield (here / name).relative_to(root)


def _is_generated(folder: Path) -> bool:
    return folder.is_dir() and any(any(folder.glob(p)) for p in _JUNK_AT_TOP[folder.name])


def _git(root: Path, *words: str) -> process.Captured:
    # In a container or on CI the tree often belongs to another user, which git refuses to read.
    return process.capture(
        ["git", "-c", "safe.directory=*", "-C", str(root), *words],
        timeout=300.0,
        errors="surrogateescape",
    )


def _git_files(root: Path) -> list[Path] | None:
    """Return tracked and new files, but no ignored ones; None if git does not know.

    Files of submodules are included.
    """
    said = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if not said.ok:
        return None
    files: list[Path] = []
    for name in dict.fromkeys(said.stdout.split("\0")):
        relative = Path(name.rstrip("/"))
        if not name:
            continue
        if (root / relative).is_dir() and not (root / relative).is_symlink():
            # A submodule that was never checked out is no repository: git would answer for ours.
            inner = root / relative
            below = _git_files(inner) if (inner / ".git").exists() else None
            files += [relative / file for file in below or _unlisted_files(inner)]
        else:
            files.append(relative)
    # A directory that git ignores as a whole is nevertheless what the user wants to build.
    return files or None


def git_epoch(root: Path) -> int | None:
    """Return the time of the last commit that touches a directory; None if git knows none."""
    said = _git(root, "log", "-1", "--format=%ct", "--", ".")
    text = said.stdout.strip()
    return int(text) if said.ok and text.isdigit() else None


def newest(paths: Iterable[Path]) -> int:
    """Return the time of the last change of some files, in seconds."""
    # Links are as old as the copy: nothing restores their times.
    times = (int(path.stat().st_mtime) for path in paths if not path.is_symlink())
    return max(times, default=EARLIEST_EPOCH)


def _copy(files: Iterable[StagedFile], dest: Path) -> None:
    dest.mkdir(parents=True)
    for file in files:
        target = dest / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_link:
            target.symlink_to(file.path.readlink())
        else:
            copy_file(file.path, target, keep=True)


def _stays_inside(link: Path, root: Path) -> bool:
    """Whether a link still means the same in a copy of the tree."""
    target = link.readlink()
    # Unlike Path.resolve, realpath leaves a link to itself as it is.
    resolved = Path(os.path.realpath(link.parent / target))
    return not target.is_absolute() and resolved.is_relative_to(root.resolve())


def _unpack(archive: Path, dest: Path) -> None:
    """Unpack an sdist (PEP 517, PEP 625), refusing members that would land outside."""
    with making(dest) as made:
        try:
            unpack = _unzip if zipfile.is_zipfile(archive) else _untar
            unpack(archive, made)
            tops = [path for path in made.iterdir() if path.name != "pax_global_header"]
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise SourceError.of(f"cannot be unpacked: {error}", where=str(archive)) from None
        if len(tops) != 1 or not tops[0].is_dir():
            raise SourceError.of("does not hold a single directory (PEP 517)", where=str(archive))
        holder = made.rename(made.with_name("holder"))
        (holder / tops[0].name).rename(made)


_DAMAGE = (
    *(OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error),
    KeyError,  # tarfile: a hard link to nothing
    RuntimeError,  # zipfile: encrypted, or an unknown compression
    ValueError,  # zipfile: a member's date that is none
)
"""Errors of unpacking a damaged archive."""


def _untar(archive: Path, dest: Path) -> None:
    with tarfile.open(archive) as bundle:
        if hasattr(tarfile, "data_filter"):
            bundle.extractall(dest, filter="data")
        else:  # before 3.11.4; Debian 12 has 3.11.2
            _extract_checked(bundle, Path(os.path.realpath(dest)))
        # tarfile stops at the last member; gzip compares its checksum at the end of the file.
        while bundle.fileobj.read(1 << 20):
            pass


def _extract_checked(bundle: tarfile.TarFile, dest: Path) -> None:
    """Extract as the ``data`` filter of PEP 706 does; ``dest`` exists, and has no links."""
    for member in bundle:
        member.name = member.name.lstrip("/")
        _check_inside(dest, member.name, dest)
        if member.issym() or member.islnk():
            if member.linkname.startswith("/"):
                raise tarfile.TarError(f"{member.name!r} is a link to an absolute path")
            start = (dest / member.name).parent if member.issym() else dest
            _check_inside(start, member.linkname, dest)
        elif not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is a special file")
        # Nobody else's file, nothing that others may write, no set-uid program.
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode = 0o755 if member.isdir() else (member.mode & 0o755) | 0o600
        bundle.extract(member, dest)


def _check_inside(start: Path, name: str, dest: Path) -> None:
    """Refuse a path that leaves ``dest``; links that were unpacked before it are followed."""
    if not Path(os.path.realpath(start / name)).is_relative_to(dest):
        raise tarfile.TarError(f"{name!r} would land outside the destination")


def _unzip(archive: Path, dest: Path) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            path = bundle.extract(member, dest)  # strips ".." and roots itself
            # zipfile does not restore times, and SOURCE_DATE_EPOCH comes from them.
            year, month, day, *clock = member.date_time
            # A zip without times has zeros there.
            seconds = calendar.timegm((year, max(month, 1), max(day, 1), *clock))
            os.utime(path, (seconds, seconds))


def fetch_sdist(requirement: str, *, host: Host) -> Path:
    """Return the sdist of a requirement (``name==version``), from our cache or the package index.

    Raises:
        SourceError: the index has no such sdist, or cannot be reached.
    """
    env = host.net_env
    # The same requirement may be another file on another index.
    identity = hashlib.sha256(f"{requirement}\0{sorted(env.items())}".encode()).hexdigest()
    folder = host.cache_dir / "sdists" / identity
    if folder.is_dir() and (fetched := sorted(folder.iterdir())):
        return fetched[0]
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
