"""``orchestrator github``: a project's workflow on GitHub Actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import DISTRIBUTION
from orchestrator.cli import completion
from orchestrator.cli.help import Commands, examples
from orchestrator.cli.options import FILE_OR_STDOUT, channel_option, matrix_option
from orchestrator.cli.output import STDOUT, emit, say, write_file
from orchestrator.errors import ConfigError, EnvironmentProblemError

if TYPE_CHECKING:
    from orchestrator.ci.caller import CallerFacts
    from orchestrator.cli.workspace import Workspace


@click.group("github", cls=Commands)
def command() -> None:
    """Write the workflow that builds a project's wheels on GitHub Actions."""


@command.command("init", epilog=examples("github init", "github init --publish pypi --output -"))
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
    multiple=True,
    metavar="DESTINATION",
    shell_complete=completion.places,
    help="Add a job that publishes: pypi, testpypi, github-release, s3://... or an index's upload "
    "URL; repeat for several.  [default: those of the matrix]",
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
    matrix: Path | None,
    channel: str,
    uses: str | None,
    publish: tuple[str, ...],
    output: Path,
    *,
    force: bool,
) -> None:
    """Write a workflow that calls orchestrator's: it builds all wheels, by hand and for each tag.

    For a channel of development releases, every night in place of for each tag.
    """
    from orchestrator.ci.caller import caller, check_uses, guide
    from orchestrator.cli.find_matrix import in_repository
    from orchestrator.cli.workspace import open_workspace

    workspace = open_workspace(matrix, channel)  # a workflow for a wrong matrix helps nobody
    named = in_repository(workspace.named)
    if named.is_absolute() and workspace.matrix.is_relative_to(Path.cwd()):
        named = workspace.matrix.relative_to(Path.cwd())
    origin = _installed_from() if uses is None else check_uses(uses)
    text = caller(origin, _facts(workspace, named.as_posix(), channel, publish))
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
    say(f"wrote {output}; {guide(origin)} describes its other inputs")


def _facts(
    workspace: Workspace, matrix: str, channel: str, publish: tuple[str, ...]
) -> CallerFacts:
    """Return what the workflow depends on.

    Raises:
        ConfigError: a destination is none, or refuses a wheel of the plan.
    """
    from orchestrator.ci.caller import CallerFacts
    from orchestrator.config.destinations import DESTINATIONS, OTHERS
    from orchestrator.host.redaction import masked
    from orchestrator.plan.expected_environment import cuda_of
    from orchestrator.plan.plan import check_destinations
    from orchestrator.publish.indexes import not_a_destination

    targets = [each for each in workspace.plan.targets if each.library is None]
    for name in publish:
        if name not in DESTINATIONS and OTHERS.fullmatch(name) is None:
            raise not_a_destination(name, where="--publish")
    check_destinations(targets, publish)
    sets = {target.publish for target in targets}
    every = tuple(dict.fromkeys(name for names in sorted(sets) for name in names))
    for name in publish or every:
        if masked(name) != name:
            what = f"everybody can read the password of {masked(name)} in a workflow"
            raise ConfigError.of(
                what, where="publish.to", hint="name the secrets of the job instead"
            )
    layer = workspace.settings.channel.get(channel)
    return CallerFacts(
        matrix=matrix,
        channel=channel,
        publish=publish or (every if len(sets) == 1 else ()),
        places=() if publish or len(sets) == 1 else every,
        nightly=layer is not None and layer.version.dev is not None,
        shared_store=workspace.settings.store.remote is not None,
        large=any(map(cuda_of, targets)),
    )


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
