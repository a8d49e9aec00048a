"""``orchestrator coverage``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import channel_option, matrix_option, select_options
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace


@click.command("coverage")
@matrix_option
@channel_option
@select_options
@click.option(
    "--index",
    "indexes",
    multiple=True,
    required=True,
    metavar="URL",
    help="A simple index (PEP 503/691); {variant}, or {axis}, stands for those of the plan. "
    "May be given more than once.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="json has a schema.",
)
def command(  # noqa: PLR0913, PLR0917 - the options of the command line
    matrix: Path,
    channel: str,
    select: Sequence[str],
    part: str | None,
    indexes: Sequence[str],
    form: str,
) -> None:
    """Show which planned wheels an index has, lacks, or has beyond the plan."""
    from orchestrator.cli.workspace import determined, open_workspace, selected
    from orchestrator.plan.cover import expression
    from orchestrator.publish import index_coverage
    from orchestrator.report.serialize import dumps

    workspace = open_workspace(matrix, channel)
    plan = selected(workspace.plan, select, part)
    if plan.undetermined:
        workspace = determined(workspace, plan.ids, pull=False)
        plan = selected(workspace.plan, select, part)
    project = workspace.origin.name
    if not project:
        raise ConfigError.of(
            "the project's name is not known before it is built",
            where="project.source",
            hint="name it in [project] of its pyproject.toml",
        )
    urls = _addresses(indexes, workspace)
    held = index_coverage.compare(workspace.plan, plan, _files(urls, project), project=project)
    missing = expression([each.id for each in held.lacks], workspace.plan.everything)
    if form == "json":
        text = dumps(index_coverage.document(held, indexes=indexes, expression=missing))
    elif form == "markdown":
        text = index_coverage.markdown(held, workspace.plan, missing) + "\n"
    else:
        text = index_coverage.table(held, workspace.plan, missing) + "\n"
    click.echo(text, nl=False)


def _addresses(indexes: Sequence[str], workspace: Workspace) -> tuple[str, ...]:
    """Fill in what stands for the variants of the plan; others' axes have no address."""
    from orchestrator.cli.index import variant_paths
    from orchestrator.config import template

    found: dict[str, None] = {}
    paths = variant_paths(workspace)
    known = {"variant", *(axis for cell in paths for axis, _ in cell)}
    for url in indexes:
        template.check(url, known=known, where="--index")
        for cell, path in paths.items():
            values = {"variant": path, **dict(cell)}
            if set(template.names_in(url)) <= values.keys():
                found[template.render(url, values)] = None
    return tuple(found)


def _files(urls: Sequence[str], project: str) -> list[tuple[str, bool]]:
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.simple_index import listing

    network = HostNetwork.detect(os.environ)
    found: list[tuple[str, bool]] = []
    for url in urls:
        files = listing(url, project, network)
        if files is None:
            shown = url.rpartition("@")[2] if "@" in url else url
            click.echo(f"{shown} does not have {project}", err=True)
        found += [(each.name, each.yanked) for each in files or ()]
    return found
