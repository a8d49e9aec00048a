"""Fingerprint the source: nothing is copied, and nothing is read again that did not change.

A snapshot records a tree, and everything in the file system that decides about it: the names in
each directory; size, times, mode and inode of each file, and of the files that git decides by. If
all of that is the same, so is the tree. As in git's own index, a file that changed at the moment it
was read proves nothing, and is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.fsutil import file_sha256, read_file, write_whole
from orchestrator.models.reading import LARGEST, json_value
from orchestrator.models.target import Source
from orchestrator.source import git
from orchestrator.source.locate import SourceKind, SourceLocation
from orchestrator.source.stage import (
    JUNK_ANYWHERE,
    SourceFile,
    as_value,
    files_digest,
    git_epoch,
    members,
    newest,
    source_file,
    stage,
    tree_files,
    walk_source,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SCHEMA = 3

SECOND = 1_000_000_000
RACY = SECOND // 10
"""Nanoseconds before a snapshot in which a change may not show in a file's times: kernels count in
steps of some milliseconds."""

COARSE = 2 * SECOND
"""The same for file systems that count in steps of one or two seconds."""

Sign = list[int] | None
"""What the file system says of a file; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFingerprint:
    """The source as a value, and its files."""

    source: Source
    files: tuple[SourceFile, ...]

    def manifest(self) -> bytes:
        """Return the list of the files, for the store."""
        rows = {file.path: [file.kind, file.sha256] for file in self.files}
        return json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()


def identify(
    origin: SourceLocation,
    *,
    fetch: Callable[[str], Path],
    skip: Iterable[Path] = (),
    cache_dir: Path,
    environ: Mapping[str, str],
) -> SourceFingerprint:
    """Fingerprint a source; no program is started if an earlier snapshot still holds.

    Args:
        origin: from `locate`.
        fetch: returns the sdist file of a requirement.
        skip: as for `stage`.
        cache_dir: the user's cache directory; snapshots go to ``sources`` in it.
        environ: this process's environment, which git reads.

    Raises:
        SourceError: the sdist is damaged, or there is no build backend.
    """
    ours = tuple(path.resolve() for path in skip)
    root = origin.path or fetch(origin.text)
    decides = [_program(), str(root), origin.kind.value, *sorted(map(str, ours))]
    decides += [f"without {glob}" for glob in origin.exclude]
    decides += [f"{name}={value}" for name, value in sorted(git.environment().items())]
    file = cache_dir / "sources" / f"{_digest(decides)}.json"
    earlier = _Snapshot.read(file)
    if earlier is not None and earlier.holds(ours):
        return earlier.identity
    if origin.kind is SourceKind.DIRECTORY:
        snapshot = _of_directory(origin, root, ours, earlier, environ)
    else:
        taken, watched = time.time_ns(), {str(root): sign(root)}
        identity = _of_archive(origin, root)
        snapshot = _Snapshot(identity=identity, watched=watched, folders={}, taken=taken)
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
        snapshot.write(file)
    return snapshot.identity


@cache
def _program() -> str:
    """Return a digest of what makes fingerprints: another version's may say something else."""
    return _digest(file_sha256(each) for each in sorted(Path(__file__).parent.glob("*.py")))


def sign(path: Path | str) -> Sign:
    """Return what shows whether a file changed, without opening it."""
    try:
        stat = os.lstat(path)
    except (OSError, ValueError):  # a name with a NUL is none
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode]


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """A fingerprint with the state of everything that decided about it; ``taken`` at that time."""

    identity: SourceFingerprint
    watched: dict[str, Sign]
    folders: dict[str, str]
    taken: int

    @classmethod
    def read(cls, file: Path) -> _Snapshot | None:
        try:
            # Names of files may be no UTF-8, which `load_json` refuses.
            read = json_value(read_file(file, limit=LARGEST), where=str(file), names=True)
            if read["schema"] != SCHEMA:
                return None
            source = dict(read["source"], own_options=tuple(read["source"]["own_options"]))
            overrides = ((select, tuple(names)) for select, names in source["own_overrides"])
            source["own_overrides"] = tuple(overrides)
            files = tuple(SourceFile(path=p, kind=k, sha256=s) for p, k, s in read["files"])
            identity = SourceFingerprint(source=Source(**source), files=files)
            own = {name: read[name] for name in ("watched", "folders", "taken")}
            return cls(identity=identity, **own)
        except (OSError, ConfigError, ValueError, LookupError, TypeError):
            return None

    def write(self, file: Path) -> None:
        document = {
            "schema": SCHEMA,
            "taken": self.taken,
            "source": asdict(self.identity.source),
            "files": [[f.path, f.kind, f.sha256] for f in self.identity.files],
            "watched": self.watched,
            "folders": self.folders,
        }
        write_whole(file, json.dumps(document), durable=False)

    def holds(self, skip: tuple[Path, ...]) -> bool:
        """Whether nothing has changed since."""
        return all(self.trusts(path) for path in self.watched) and all(
            _names(Path(folder), skip) == names for folder, names in self.folders.items()
        )

    def trusts(self, path: str) -> bool:
        """Whether a file cannot have changed since it was read."""
        before = self.watched.get(path)
        if before is not None:
            step = RACY if before[2] % SECOND and before[3] % SECOND else COARSE
            if max(before[2], before[3]) >= self.taken - step:
                return False
        return sign(path) == before


def _of_directory(
    origin: SourceLocation,
    root: Path,
    skip: tuple[Path, ...],
    earlier: _Snapshot | None,
    environ: Mapping[str, str],
) -> _Snapshot:
    taken = time.time_ns()
    known = {} if earlier is None else {file.path: file for file in earlier.identity.files}
    # Before anything is read: a file that changes meanwhile must not look unchanged later.
    watched = {str(path): sign(path) for path in _deciding(root, skip, environ)}
    seen = {folder: _names(folder, skip) for folder in _folders(root, skip)}
    staged = sorted(members(root, skip, origin.exclude), key=lambda member: member.name)
    listed = {root / parent for member in staged for parent in member.name.parents}
    listed |= {member.path.parent for member in staged}
    seen |= {folder: _names(folder, skip) for folder in listed - seen.keys() if folder.is_dir()}
    files = []
    for member in staged:
        watched[str(member.path)] = sign(member.path)
        before = known.get(member.name.as_posix())
        same = earlier is not None and str(member.path) in earlier.watched
        same = same and earlier is not None and earlier.trusts(str(member.path))
        files.append(before if before is not None and same else source_file(member))
    epoch = git_epoch(root, origin.exclude) or newest(
        member.path for member in staged if not member.is_link
    )
    source = as_value(origin, root, files_digest(files), epoch)
    folders = {str(folder): names for folder, names in seen.items()}
    identity = SourceFingerprint(source=source, files=tuple(files))
    return _Snapshot(identity=identity, watched=watched, folders=folders, taken=taken)


def _of_archive(origin: SourceLocation, archive: Path) -> SourceFingerprint:
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
        staged = stage(origin, dest=Path(scratch, "source"), fetch=lambda _: archive)
        return SourceFingerprint(source=staged.source, files=tree_files(staged.root))


def _names(folder: Path, skip: Iterable[Path]) -> str:
    """Return a digest of the names in a directory, without those in ``skip``."""
    ours = {str(path) for path in skip}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return _digest(sorted(entry.name for entry in entries if entry.path not in ours))
    return ""


def _folders(root: Path, skip: Iterable[Path]) -> Iterator[Path]:
    """Find the directories in which a new file would belong to the source."""
    ours = set(skip)
    for folder, names, _ in walk_source(root):
        here = Path(folder)
        yield here
        names[:] = [n for n in names if here / n not in ours and n not in JUNK_ANYWHERE]


def _deciding(root: Path, skip: Iterable[Path], environ: Mapping[str, str]) -> Iterator[Path]:
    """Find the files by which git decides what belongs to a tree, and how old it is."""
    home = Path(environ.get("HOME") or "/nonexistent")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    yield from (Path("/etc/gitconfig"), home / ".gitconfig", config / "config", config / "ignore")
    # The repository a tree belongs to, or would belong to once somebody makes one there.
    repositories = [folder / ".git" for folder in (root, *root.parents)]
    repositories += [folder / ".git" for folder in _folders(root, skip) if folder != root]
    there = [place for place in repositories if place.exists()]
    yield from (place for place in repositories if place not in there or place.is_file())
    for place in there:
        yield from _repository(place)
    if there:
        ignored = git.excludes_file()
        if ignored is not None:
            yield ignored


def _repository(place: Path) -> Iterator[Path]:
    """Find the files of a repository that change with its index, ignored files and head."""
    folder, shared = git.directories(place)
    yield from (folder / name for name in ("index", "HEAD", "config.worktree"))
    yield from (shared / name for name in ("config", "info/exclude", "packed-refs", "shallow"))
    yield shared / "reftable" / "tables.list"
    with contextlib.suppress(OSError, ValueError):
        head = git.read_line(folder / "HEAD")
        if head.startswith("ref:"):
            yield shared / head.removeprefix("ref:").strip()
