"""``orchestrator init``."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import FILE
from orchestrator.cli.output import MATRIX, say, show, write_file
from orchestrator.errors import ConfigError, NothingSelectedError, OrchestratorError
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.discover.cells import Release, Surroundings
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.source.locate import SourceLocation

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""The name of a project (PEP 508), without a version."""


@click.command(
    "init",
    epilog=examples("init", "init --from-cibuildwheel", "init numpy --output numpy.toml"),
)
@click.argument("source", default=".")
@click.option(
    "--from-cibuildwheel",
    is_flag=True,
    help="Ask for just the wheels that the project's cibuildwheel builds for Linux.",
)
@click.option(
    "--index", metavar="URL", help="Index with the last release's wheels.  [default: pip's index]"
)
@click.option("--no-index", is_flag=True, help="Ask no index.")
@click.option(
    "--check",
    metavar="URL",
    help="Compare the matrix with the last release on this index; an existing one stays as it is.",
)
@click.option(
    "--output", type=FILE, default=MATRIX, show_default=True, metavar="FILE", help="File to write."
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    source: str,
    *,
    from_cibuildwheel: bool,
    index: str | None,
    no_index: bool,
    check: str | None,
    output: Path,
    force: bool,
) -> None:
    """Write a matrix.toml for a project: a directory, an sdist, or name==version.

    A name alone stands for the newest version that has an sdist.
    """
    if output.exists() and not force:
        if check is None:
            raise ConfigError.of(
                "it already exists", where=str(output), hint="--force overwrites it"
            )
    else:
        _write(source, output, index=index, no_index=no_index, only_cibuildwheel=from_cibuildwheel)
    if check is not None:
        _check(output, check)


def _write(
    source: str, output: Path, *, index: str | None, no_index: bool, only_cibuildwheel: bool
) -> None:
    from orchestrator.cli.workspace import plan_matrix
    from orchestrator.discover.new_matrix import new_matrix
    from orchestrator.discover.project import built_library, read_project
    from orchestrator.source.locate import locate

    origin = locate(source if no_index else _pinned(source), base=Path.cwd())
    with _unpacked(origin) as root:
        facts = read_project(root, origin)
        library = "" if facts.compiles else built_library(root)
    release = None if no_index else _release(facts, index)
    if library:
        raise NothingSelectedError.of(
            f"nothing in it is compiled, but {library} was, somewhere else, for one platform",
            where=source,
            hint="build the wheel; `orchestrator retag WHEEL` gives it the tag of what it holds",
        )
    if not facts.compiles and not (release and release.wheels):
        raise NothingSelectedError.of(
            "nothing in it is compiled, so one wheel serves every machine",
            where=source,
            hint="no matrix is needed: `python -m build` makes that wheel",
        )
    new = new_matrix(
        facts,
        release,
        _surroundings(),
        source=_relative(origin, output),
        only_cibuildwheel=only_cibuildwheel,
    )
    workspace = plan_matrix(output.resolve(), new.text.encode())  # it must plan
    write_file(output, new.text)
    for line in new.found:
        say(f"found: {line}")
    for line in new.notes:
        say(f"not decided: {line}")
    targets = count_of(len(workspace.plan.ids), "target")
    say(f"wrote {output}: {targets}; `orchestrator plan` shows them")


def _pinned(source: str) -> str:
    """Add the newest version that has an sdist to the bare name of a project."""
    from orchestrator.discover.release import newest_sdist
    from orchestrator.host.redaction import without_login

    if not _NAME.fullmatch(source) or Path(source).exists():
        return source
    index = _pip_index()
    version = newest_sdist(_file_names(index, source))
    if not version:
        what = f"there is no directory {source!r}, and no sdist of such a project"
        hint = "name a directory, an sdist, or name==version of a release that has an sdist"
        raise ConfigError.of(what, where=without_login(index), hint=hint)
    say(f"found: {source} {version}, the newest version with an sdist")
    return f"{source}=={version}"


@contextmanager
def _unpacked(origin: SourceLocation) -> Iterator[Path]:
    """Yield the directory of a source; an sdist is fetched and unpacked for it."""
    from tempfile import TemporaryDirectory

    from orchestrator.cli.workspace import open_host
    from orchestrator.source.locate import SourceKind
    from orchestrator.source.stage import fetch_sdist
    from orchestrator.source.unpack import unpack

    if origin.kind is SourceKind.DIRECTORY and origin.path is not None:
        yield origin.path
        return
    archive = origin.path or fetch_sdist(origin.text, host=open_host())
    with TemporaryDirectory(prefix="orchestrator-") as scratch:
        unpack(archive, Path(scratch, "source"))
        yield Path(scratch, "source")


def _release(facts: ProjectFacts, index: str | None) -> Release | None:
    """Ask an index for the last release; only one that was named has to answer."""
    if not facts.name:
        say("the project has no static name: no index was asked for its wheels")
        return None
    try:
        return _last_release(index or _pip_index(), facts.name)
    except OrchestratorError as error:
        if index is not None:
            raise
        say(f"no index was read: {error}")
        return None


def _last_release(index: str, project: str) -> Release:
    from orchestrator.discover.release import last_release
    from orchestrator.host.redaction import without_login

    return last_release(_file_names(index, project), index=without_login(index))


def _file_names(index: str, project: str) -> list[str]:
    """Return the names of the files of a project on an index, without yanked ones."""
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.simple_index import listing

    files = listing(index, project, HostNetwork.detect(os.environ)) or ()
    return [each.name for each in files if not each.yanked]


def _pip_index() -> str:
    from orchestrator.host.index_config import PUBLIC_INDEX
    from orchestrator.host.network import HostNetwork

    env = HostNetwork.detect(os.environ).child_env()
    return env.get("PIP_INDEX_URL") or env.get("UV_DEFAULT_INDEX") or PUBLIC_INDEX


def _surroundings() -> Surroundings:
    import datetime as dt

    from orchestrator.discover.cells import Surroundings
    from orchestrator.host.emulation import host_arch
    from orchestrator.host.program_tables import builder_facts, builtin_table

    return Surroundings(
        catalog=builder_facts(),
        table=builtin_table(),
        native=host_arch().value,
        today=dt.datetime.now(tz=dt.UTC).date(),
    )


def _relative(origin: SourceLocation, output: Path) -> str:
    """Return what ``project.source`` has to say; empty for the directory of the file."""
    root = output.absolute().parent
    if origin.path is None:
        return origin.text
    relative = os.path.relpath(origin.path, root)
    return "" if relative == "." else relative


def _check(output: Path, index: str) -> None:
    """Print which wheels of the last release the plan would not make, and which are new."""
    from orchestrator.cli.workspace import open_workspace
    from orchestrator.publish.index_coverage import compare_release, release_table

    workspace = open_workspace(output)
    release = _last_release(index, workspace.origin.name)
    if not release.version:
        what = f"it has no wheel of {workspace.origin.name or 'the project'}"
        raise ConfigError.of(what, where=release.index, hint="name the index of the last release")
    show(release_table(compare_release(workspace.plan, release.files), release.version))
