"""``orchestrator coverage``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import OneOf, examples
from orchestrator.cli.options import plan_options, repeatable
from orchestrator.cli.output import print_json, say, show
from orchestrator.config import template
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace


@click.command(
    "coverage",
    epilog=examples(
        "coverage --index https://example.org/whl",
        "coverage --index https://example.org/whl --format markdown",
    ),
)
@plan_options
@repeatable(
    "--index indexes",
    "URL",
    "Simple index (PEP 503/691); {variant} and {axis} in it stand for those of the plan.",
    required=True,
)
@click.option(
    "--project",
    metavar="NAME",
    help="The project's name, where pyproject.toml, setup.cfg and setup.py do not say it.",
)
@click.option(
    "--format",
    "form",
    type=OneOf(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="json has a schema.",
)
def command(
    matrix: Path | None,
    channel: str,
    select: Sequence[str],
    part: str | None,
    indexes: Sequence[str],
    form: str,
    project: str | None,
) -> None:
    """Show which planned wheels an index has or lacks, and which it has beyond the plan."""
    from packaging.utils import canonicalize_name

    from orchestrator.cli.workspace import open_workspace, select_with_versions
    from orchestrator.host.redaction import without_login
    from orchestrator.publish import index_coverage

    workspace = open_workspace(matrix, channel)
    workspace, plan = select_with_versions(workspace, select, part, pull=False)
    project = canonicalize_name(project or workspace.origin.name)
    if not project:
        raise ConfigError.of(
            "the project's name is unknown until it is built",
            where="project.source",
            hint="say --project NAME, or name it in [project] of its pyproject.toml",
        )
    files = list(_files(_addresses(indexes, workspace), project))
    held = index_coverage.compare(
        workspace.plan,
        plan,
        files,
        project=project,
        indexes=[without_login(each) for each in indexes],
        sdist=bool(workspace.sdist) and not select and part is None,
    )
    if form == "json":
        print_json(held)
    elif form == "markdown":
        show(index_coverage.markdown(held, workspace.plan))
    else:
        show(index_coverage.table(held, workspace.plan))


def _addresses(indexes: Sequence[str], workspace: Workspace) -> tuple[str, ...]:
    """Fill in the variants of the plan; a variant without an axis of the URL has no address."""
    from orchestrator.publish.variants import variant_paths

    urls: dict[str, None] = {}
    paths = variant_paths(workspace.plan, workspace.settings)
    known = {"variant", *(axis for cell in paths for axis, _ in cell)}
    for index in indexes:
        template.check(index, known=known, where="--index")
        for cell, path in paths.items():
            values = {"variant": path, **dict(cell)}
            if set(template.names_in(index)) <= values.keys():
                urls[template.render(index, values)] = None
    return tuple(urls)


def _files(urls: Iterable[str], project: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each file, and whether it is yanked."""
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.redaction import without_login
    from orchestrator.host.simple_index import listing

    network = HostNetwork.detect(os.environ)
    for url in urls:
        files = listing(url, project, network)
        if files is None:
            say(f"{without_login(url)} does not have {project}")
        for file in files or ():
            yield file.name, file.yanked
