"""Where matrix.toml is, if no option says it: in the working directory, or in one above it."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.cli.output import MATRIX, say
from orchestrator.errors import ConfigError

VARIABLE = "ORCHESTRATOR_MATRIX"
"""Names the matrix file for all commands."""

_ROOTS = (".git", ".hg", ".svn", ".jj")


def use_matrix(given: Path | None) -> Path:
    """Return the matrix file, and say which one it is, unless it is the one that anybody expects.

    Args:
        given: what --matrix or the variable names; None for neither.

    Raises:
        ConfigError: there is none.
    """
    file = given or find_matrix()
    if file is None:
        raise no_matrix()
    if given is None and file != MATRIX:
        say(f"using {file}")
    elif os.environ.get(VARIABLE) == str(given):
        say(f"using {file} (${VARIABLE})")
    return file


def find_matrix() -> Path | None:
    """Return the nearest matrix.toml, relative to the working directory; None if there is none.

    The search ends at the root of the repository, and at the root of the file system.

    Raises:
        ConfigError: it belongs to somebody else: its commands would run as this user.
    """
    for folder in _searched():
        file = folder / MATRIX
        # Whatever has the name here: what is no file is an error that names it.
        if file.is_file() or (folder == Path.cwd() and os.path.lexists(file)):
            return _trusted(file)
    return None


def in_repository(file: Path) -> Path:
    """Return where jobs of a CI system find a matrix file that was found above: they start there.

    What is not above is left as it is.
    """
    if file.parts[:1] != ("..",):
        return file
    root = _searched()[-1]
    whole = file.resolve()
    return whole.relative_to(root) if whole.is_relative_to(root) else file


def no_matrix() -> ConfigError:
    """Return the error that no matrix.toml was found: it names where it was looked for."""
    folders = _searched()
    what = f"no {MATRIX} in {folders[0]}" if folders else "the working directory is gone"
    if folders[1:]:
        what += f", nor in a directory above it up to {folders[-1]}"
    hint = f"`orchestrator init` writes one; --matrix FILE, or ${VARIABLE}, names another file"
    return ConfigError.of(what, hint=hint)


def _searched() -> list[Path]:
    """Return the working directory and those above it, up to a repository's root."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        return []
    found = []
    for folder in (here, *here.parents):
        found.append(folder)
        if any((folder / name).exists() for name in _ROOTS):
            break
    return found


def _trusted(file: Path) -> Path:
    here = Path.cwd()
    if file.parent == here:
        return MATRIX
    shown = Path(os.path.relpath(file, here))
    # As git does with repositories: anybody may write to a directory such as /tmp.
    if file.stat().st_uid not in {0, os.geteuid(), here.stat().st_uid}:
        what = "this file belongs to another user"
        raise ConfigError.of(what, where=str(shown), hint=f"to trust it, say --matrix {shown}")
    return shown
