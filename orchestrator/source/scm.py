"""Ask setuptools-scm for the version of a source, with the project's own configuration.

The configuration may name code and commands. Planning runs neither: it is also done for changes
that nobody has looked at yet.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SourceError
from orchestrator.host.process import Captured, capture
from orchestrator.source import git
from orchestrator.source.declared import table_of
from orchestrator.source.locate import read_text, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.provision.host import Host

SCRIPT = Path(__file__).parent / "scripts" / "scm_version.py"
TIMEOUT = 120.0

_HATCH = {"tag-pattern": "tag_regex", "fallback-version": "fallback_version"}

_PLAIN = frozenset(
    {"tag_regex", "parentdir_prefix_version", "fallback_version", "dist_name", "normalize"}
)
_SCHEMES = ("version_scheme", "local_scheme")
_COMMAND = "git_describe_command"
_CODE = ("parse", "version_cls")
"""Options that name code of the project; those that are in none of these say what is written."""

_READ = ("PKG-INFO", ".git_archival.txt")
"""Files in which setuptools-scm finds a version without git."""


def ask(root: Path, host: Host) -> Captured:
    """Return what setuptools-scm says of a directory.

    Raises:
        SourceError: its configuration names code, or leads out of the repository.
    """
    root = root.resolve()
    tree = read_toml(root, "pyproject.toml")
    wanted = options(_configured(tree), where=str(root / "pyproject.toml"))
    place = (root / str(wanted.get("root", "."))).resolve()
    repository = git.find(place)
    if wanted.pop("search_parent_directories", False) and repository is not None:
        place = repository.top
    inside = root if repository is None else repository.top
    if not (root.is_relative_to(inside) and place.is_relative_to(inside)):
        _refuse("root", "leads out of the project's repository", where=str(root / "pyproject.toml"))
    for name in _READ:
        read_text(place, name, errors="replace")
    if repository is not None and repository.top == place:
        _require_tag(repository, wanted)
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as programs:
        if repository is not None:
            repository.write_program(Path(programs, "git"))
        text = json.dumps(wanted | {"root": str(place)}, default=str)
        argv = [str(host.toolchain.python), "-I", str(SCRIPT), str(root), text]
        # No other program is found: a directory `.hg` or `.jj` has configuration of its own.
        return capture(argv, env={**host.env, "PATH": programs}, timeout=TIMEOUT)


_DESCRIBE = ("git", "describe", "--tags", "--dirty")
"""Says whether any tag is known; setuptools-scm takes 0.1.dev where none is. It reads what that
reads, so that a file that git would wait for is found here."""


def _require_tag(repository: git.Repository, wanted: Mapping[str, Any]) -> None:
    """Refuse a history without a tag: the version of such a clone means nothing.

    Raises:
        SourceError: with what is missing.
    """
    words = wanted.get(_COMMAND) or list(_DESCRIBE)
    if repository.ask(repository.top, *words[1:]).ok:
        return
    shallow = repository.ask(repository.top, "rev-parse", "--is-shallow-repository")
    if shallow.stdout.strip() == "true":
        what = "the clone is shallow, and no tag is in the part of its history that is here"
        hint = "`git fetch --unshallow --tags`; in a workflow, `fetch-depth: 0` of actions/checkout"
    else:
        what = "no tag is in the history of this commit"
        hint = "`git fetch --tags`, or `git tag v0.1.0` for a first version; in a workflow, "
        hint += "`fetch-depth: 0` of actions/checkout"
    raise SourceError.of(
        f"setuptools-scm has no version to begin with: {what}",
        where=str(repository.top),
        hint=f"{hint}. Or name another source in version.base",
    )


def _configured(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the project's settings of setuptools-scm, or hatch-vcs's."""
    tool = table_of(tree, "tool")
    own = table_of(tool, "setuptools_scm") or table_of(tool, "setuptools-scm")
    hatch = table_of(table_of(tool, "hatch"), "version")
    if own or hatch.get("source") != "vcs":
        return own
    raw = table_of(hatch, "raw-options")
    return raw | {_HATCH[key]: hatch[key] for key in _HATCH if hatch.get(key)}


def options(own: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the options that count for a version; what would be written does not.

    Raises:
        SourceError: one of them names code or a command.
    """
    for name in _CODE:
        if name in own:
            _refuse(name, "names code of the project", where=where)
    wanted = {name: own[name] for name in (*_PLAIN, "search_parent_directories") if name in own}
    # Directories of a monorepo; `ask` checks where it is.
    wanted |= {name: own[name] for name in ("root",) if name in own}
    for name in wanted:
        if "\0" in str(wanted[name]):
            _refuse(name, "has a character that no path has", where=where)
    for name in _SCHEMES:
        if name in own:
            names = own[name] if isinstance(own[name], list) else [own[name]]
            if not all(re.fullmatch(r"[a-z0-9-]+", str(each)) for each in names):
                _refuse(name, "names code of the project", where=where)
            wanted[name] = own[name]
    settings = table_of(table_of(own, "scm"), "git")
    command = own.get(_COMMAND, settings.get("describe_command"))
    if command is not None:
        words = _words(command)
        if words[:2] != ["git", "describe"]:
            _refuse(_COMMAND, "is not `git describe` with options", where=where)
        wanted[_COMMAND] = words
    return wanted


def _words(command: object) -> list[str]:
    if isinstance(command, list):
        return list(map(str, command))
    try:
        return shlex.split(str(command))
    except ValueError:  # a quotation mark that is not closed
        return []


def _refuse(option: str, why: str, *, where: str) -> None:
    raise SourceError.of(
        f"the source scm cannot be asked: {option} {why}",
        where=where,
        hint='name another source in version.base, such as "env:NAME"',
    )
