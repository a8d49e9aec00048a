"""The commit from which a source is built, and what differs from it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.host.redaction import without_login
from orchestrator.models.provenance import MOST_CHANGES, MOST_TAGS, SourceRevision
from orchestrator.models.reading import encodable
from orchestrator.source import git

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_DELETED = "D"


def revision(root: Path, files: Iterable[str]) -> SourceRevision | None:
    """Return the state of the repository of a directory.

    Args:
        root: the source.
        files: its files, relative to it; others, such as what a run writes, are no change.

    Returns:
        None if there is no repository, no commit, or none that git may be asked about: it is told
        when the source is read, and what is only recorded ends no build.
    """
    with suppress(SourceError):
        root = root.resolve()
        repository = git.find(root)
        commit = "" if repository is None else _line(repository, root, "rev-parse", "HEAD^{commit}")
        if repository is not None and commit:
            tags = repository.ask(root, "tag", "--points-at", commit)
            changes = sorted(_changes(repository, root, frozenset(files)))
            return SourceRevision(
                remote=without_login(_remote(repository, root)),
                commit=commit,
                tags=tuple(map(encodable, sorted(tags.stdout.split())[:MOST_TAGS]))
                if tags.ok
                else (),
                changed=len(changes),
                changes=tuple(map(encodable, changes[:MOST_CHANGES])),
            )
    return None


def _line(repository: git.Repository, root: Path, *words: str) -> str:
    said = repository.ask(root, *words)
    return encodable(said.stdout.strip()) if said.ok else ""


def _remote(repository: git.Repository, root: Path) -> str:
    branch = _line(repository, root, "symbolic-ref", "--quiet", "--short", "HEAD")
    followed = _line(repository, root, "config", "--get", f"branch.{branch}.remote")
    names = dict.fromkeys((followed or "origin", "origin"))
    found = (_line(repository, root, "config", "--get", f"remote.{name}.url") for name in names)
    return next(filter(None, found), "")


def _changes(repository: git.Repository, root: Path, files: frozenset[str]) -> Iterable[str]:
    """Yield the files of a source that are new, changed or gone."""
    said = repository.ask(
        root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", "."
    )
    prefix = repository.ask(root, "rev-parse", "--show-prefix").stdout.removesuffix("\n")
    for entry in said.stdout.split("\0") if said.ok else ():
        state, name = entry[:2], entry[3:].removeprefix(prefix)
        if name in files or _DELETED in state:
            yield name
