"""``orchestrator github``: a project's workflow on GitHub Actions."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator import DISTRIBUTION
from orchestrator.cli.options import FILE_OR_STDOUT, channel_option, matrix_option
from orchestrator.cli.output import STDOUT, emit, say, write_file
from orchestrator.errors import ConfigError, EnvironmentProblemError

DESTINATIONS = ("pypi", "testpypi", "github-release")


@click.group("github")
def command() -> None:
    """Write the workflow that builds a project's wheels on GitHub Actions."""


@command.command("init")
@matrix_option
@channel_option
@click.option(
    "--uses",
    metavar="OWNER/NAME@COMMIT",
    help="Repository and commit of the workflow to call.  "
    "[default: those that this orchestrator was installed from]",
)
@click.option(
    "--publish",
    type=click.Choice(DESTINATIONS),
    help="Add a job that publishes the wheels of a tag.",
)
@click.option(
    "--output",
    type=FILE_OR_STDOUT,
    default=Path(".github/workflows/wheels.yml"),
    show_default=True,
    metavar="FILE",
    help="File to write.  [- is stdout]",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def init(
    matrix: Path,
    channel: str,
    uses: str | None,
    publish: str | None,
    output: Path,
    *,
    force: bool,
) -> None:
    """Write a workflow that calls orchestrator's: it builds all wheels, by hand or for a tag."""
    from orchestrator.ci.caller import caller, check_uses
    from orchestrator.cli.workspace import open_workspace

    workspace = open_workspace(matrix, channel)  # a workflow for a wrong matrix helps nobody
    if matrix.is_absolute() and workspace.matrix.is_relative_to(Path.cwd()):
        matrix = workspace.matrix.relative_to(Path.cwd())
    origin = _installed_from() if uses is None else check_uses(uses)
    text = caller(origin, matrix=matrix.as_posix(), channel=channel, publish=publish)
    if output == STDOUT:
        emit(text)
        return
    if output.exists() and not force:
        raise ConfigError.of("it already exists", where=str(output), hint="--force overwrites it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblemError.of(error.strerror or str(error), where=str(output)) from None
    write_file(output, text)
    say(f"wrote {output}; docs/howto/github.md describes its other inputs")


def _installed_from() -> str:
    from importlib.metadata import PackageNotFoundError, distribution

    from orchestrator.ci.caller import installed_from

    try:
        origin = installed_from(distribution(DISTRIBUTION).read_text("direct_url.json"))
    except PackageNotFoundError:
        origin = None
    if origin is None:
        raise ConfigError.of(
            "this orchestrator was not installed from a commit on GitHub",
            where="--uses",
            hint="say --uses OWNER/NAME@COMMIT, with orchestrator's repository",
        )
    return origin
