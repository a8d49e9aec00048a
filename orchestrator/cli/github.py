"""``orchestrator github``: a project's workflow on GitHub Actions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import channel_option, matrix_option
from orchestrator.errors import ConfigError, EnvironmentProblemError

if TYPE_CHECKING:
    from orchestrator.ci.caller import WorkflowOrigin

DESTINATIONS = ("pypi", "testpypi", "github-release")


@click.group("github")
def command() -> None:
    """Make the workflow by which a project builds its wheels on GitHub Actions."""


@command.command("init")
@matrix_option
@channel_option
@click.option(
    "--uses",
    metavar="OWNER/NAME@COMMIT",
    help="The repository and commit of the workflow to call.  "
    "[default: what this orchestrator was installed from]",
)
@click.option(
    "--publish",
    type=click.Choice(DESTINATIONS),
    help="Add a job that publishes the wheels of a tag.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path(".github/workflows/wheels.yml"),
    show_default=True,
    metavar="FILE",
    help="Where it goes.  [- is stdout]",
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(  # noqa: PLR0913 - the options of the command line
    matrix: Path,
    channel: str,
    uses: str | None,
    publish: str | None,
    output: Path,
    *,
    force: bool,
) -> None:
    """Write a workflow that calls the one of orchestrator: all wheels, for every tag or by hand."""
    from orchestrator.ci.caller import caller
    from orchestrator.cli.workspace import open_workspace
    from orchestrator.fsutil import write_whole

    workspace = open_workspace(matrix, channel)  # a workflow for a wrong matrix helps nobody
    if matrix.is_absolute():
        root = Path.cwd()
        matrix = (
            workspace.matrix.relative_to(root) if workspace.matrix.is_relative_to(root) else matrix
        )
    text = caller(_origin(uses), matrix=matrix.as_posix(), channel=channel, publish=publish)
    if str(output) == "-":
        click.echo(text, nl=False)
        return
    if output.exists() and not force:
        raise ConfigError.of("is there already", where=str(output), hint="--force overwrites it")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, text)
    except OSError as error:
        raise EnvironmentProblemError.of(error.strerror or str(error), where=str(output)) from None
    click.echo(f"wrote {output}; docs/github.md says what else it takes", err=True)


def _origin(uses: str | None) -> WorkflowOrigin:
    from orchestrator.ci.caller import installed_from, origin_of

    if uses is not None:
        return origin_of(uses)
    try:
        found = installed_from(distribution("orchestrator").read_text("direct_url.json"))
    except PackageNotFoundError:
        found = None
    if found is None:
        raise ConfigError.of(
            "this orchestrator was not installed from a commit on GitHub",
            where="--uses",
            hint="say --uses OWNER/NAME@COMMIT, where orchestrator's repository is",
        )
    return found
