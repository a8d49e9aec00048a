"""``orchestrator index``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import channel_option
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import Cell
    from orchestrator.publish.index import UpdateReport, VariantRules


@click.command("index")
@click.argument(
    "folders", nargs=-1, metavar="DIR...", type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--output",
    required=True,
    metavar="SITE",
    help="A directory, or s3://bucket/prefix; what is there already stays.",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The matrix file, for the variants' names.  [default: matrix.toml, where there is one]",
)
@channel_option
@click.option("--url", metavar="URL", help="The site's public address, for the page people read.")
@click.option("--base-url", default="", metavar="URL", help="Where the wheels are, if elsewhere.")
@click.option("--default", metavar="EXPR", help="The variant of the root.")
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=EXPR",
    help="Another name for the highest variant that EXPR means; NAME= removes it.",
)
@click.option(
    "--yank", "yanks", multiple=True, metavar="FILE[=REASON]", help="Yank a file, or a glob's."
)
@click.option("--unyank", multiple=True, metavar="FILE", help="Take a yank back.")
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep the newest N development versions of each variant; releases always stay.",
)
@click.option(
    "--keep-days",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Keep development versions for so long; with --keep: for at least so long.",
)
def command(  # noqa: PLR0913 - the options of the command line
    *,
    folders: Sequence[Path],
    output: str,
    matrix: Path | None,
    channel: str,
    url: str | None,
    base_url: str,
    default: str | None,
    aliases: Sequence[str],
    yanks: Sequence[str],
    unyank: Sequence[str],
    keep: int | None,
    keep_days: int | None,
) -> None:
    """Write a package index of the wheels in each DIR, or add them to one."""
    import datetime as dt

    from orchestrator.host.network import HostNetwork
    from orchestrator.publish.index import scan, update
    from orchestrator.publish.index_site import SiteChange
    from orchestrator.publish.storage import open_storage

    change = SiteChange(
        url=url,
        default=default,
        aliases=tuple(_pair(each, "--alias") for each in aliases),
        yank=tuple((each.partition("=")[0], each.partition("=")[2]) for each in yanks),
        unyank=tuple(unyank),
        keep=keep,
        keep_days=keep_days,
    )
    storage = open_storage(output, HostNetwork.detect(os.environ).ca_bundle)
    done = update(
        storage,
        tuple(found for folder in folders for found in scan(folder)),
        change,
        knowledge=_knowledge(matrix, channel),
        base_url=base_url,
        now=dt.datetime.now(tz=dt.UTC),
    )
    _say(done)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError.of(
            f"{text!r} has no name or no expression",
            where=option,
            hint="for instance latest-cuda='cuda>=13'",
        )
    return name.strip("/"), value


def _knowledge(matrix: Path | None, channel: str) -> VariantRules:
    """Plan, if there is a matrix: it knows which values belong to which wheel."""
    from orchestrator.cli.workspace import open_workspace
    from orchestrator.publish.index import VariantRules

    if matrix is None and not Path("matrix.toml").is_file():
        return VariantRules()
    workspace = open_workspace(matrix or Path("matrix.toml"), channel)
    return VariantRules(
        plan=workspace.plan,
        project=workspace.origin.name,
        paths=tuple(variant_paths(workspace).items()),
    )


def variant_paths(workspace: Workspace) -> dict[Cell, str]:
    """Return the values of the user's axes -> the path of their sub-index, made of the labels."""
    from orchestrator.config import template
    from orchestrator.plan.layers import channel_matrix

    axes = channel_matrix(workspace.settings, workspace.plan.channel).grid.axes
    found: dict[Cell, str] = {}
    for target in workspace.plan.everything:
        for cell in target.covers if target.python else ():
            if cell[3:] not in found:
                texts = (
                    value
                    if axis not in axes or (label := axes[axis][1].label) is None
                    else template.render(label, dict(cell))
                    for axis, value in cell[3:]
                )
                found[cell[3:]] = "/".join(filter(None, texts))
    return found


def _say(done: UpdateReport) -> None:
    from orchestrator.publish.index_site import default_variant

    added, dropped = len(done.added), len(done.dropped)
    click.echo(f"{added} added, {dropped} dropped, {len(done.site.files)} files", err=True)
    for name in done.dropped:
        click.echo(f"dropped {name}", err=True)
    for each in done.site.variants:
        click.echo(f"{each.path or '.'}: {len(done.site.listed(each.path))} files")
    if done.site.files and default_variant(done.site) is None:
        click.echo("the root lists nothing: --default EXPR says which variant it is", err=True)
