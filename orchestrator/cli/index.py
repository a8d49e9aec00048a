"""``orchestrator index``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import DIRECTORY, channel_option, optional_matrix_option, repeatable
from orchestrator.cli.output import printable, say, show
from orchestrator.errors import ConfigError
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.publish.index import UpdateReport


def _alias(text: str) -> tuple[str, str]:
    name, equals, expression = text.partition("=")
    if not equals or not name:
        hint = "for instance latest-cuda='cuda>=13'"
        raise ConfigError.of(f"not NAME=EXPR: {text!r}", where="--alias", hint=hint)
    return name.strip("/"), expression


def _yank(text: str) -> tuple[str, str]:
    name, _, reason = text.partition("=")
    return name, reason


@click.command(
    "index",
    epilog=examples(
        "index dist --output site",
        "index dist --output s3://bucket/whl --default device=cpu",
        "index --output site --remove cu126 --dry-run",
    ),
)
@click.argument("folders", nargs=-1, metavar="DIR...", type=DIRECTORY)
@click.option(
    "--output",
    required=True,
    metavar="SITE",
    help="Directory or s3://bucket/prefix of the site; an existing site is updated.",
)
@optional_matrix_option
@channel_option
@click.option("--url", metavar="URL", help="The site's public address, for its HTML page.")
@click.option(
    "--base-url", default="", metavar="URL", help="Address of the wheels, if it is another one."
)
@click.option("--default", metavar="EXPR", help="Variant that the root lists.")
@repeatable(
    "--alias aliases",
    "NAME=EXPR",
    "Another name for the highest variant that matches EXPR; NAME= removes it.",
    type=_alias,
)
@repeatable("--yank", "FILE[=REASON]", "Yank a file, or all that match a glob.", type=_yank)
@repeatable("--unyank", "FILE", "Undo a yank.")
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
    help="Keep development versions that are no older than DAYS, in addition to --keep.",
)
@repeatable("--remove", "PATH", "Remove the page at PATH and the wheels that no other index lists.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
def command(
    folders: Sequence[Path],
    output: str,
    matrix: Path | None,
    channel: str,
    base_url: str,
    *,
    dry_run: bool,
    **change: Any,
) -> None:
    """Write a package index of the wheels and sdists in each DIR, or add to an existing one."""
    import datetime as dt

    from orchestrator.cli.workspace import open_if_exists
    from orchestrator.host.network import HostNetwork
    from orchestrator.publish.index import SiteUpdate, scan
    from orchestrator.publish.index_site import SiteChange
    from orchestrator.publish.storage import open_storage
    from orchestrator.publish.variants import VariantRules, variant_paths
    from orchestrator.source.sdist import SdistName

    for path in sorted(path for folder in folders for path in folder.glob("*.tar.gz")):
        if SdistName.match(path.name) is None:
            say(f"note: {printable(path.name)} is left out: no sdist is named so (PEP 625)")
    rules = VariantRules()
    if workspace := open_if_exists(matrix, channel):
        plan, settings = workspace.plan, workspace.settings
        # A matrix that merely lies here must not decide where published wheels are.
        paths = () if matrix is None else tuple(variant_paths(plan, settings).items())
        rules = VariantRules(plan=plan, project=workspace.origin.name, paths=paths)
    storage = open_storage(output, HostNetwork.detect(os.environ).ca_bundle)
    change_site = SiteUpdate(
        wheels=tuple(wheel for folder in folders for wheel in scan(folder)),
        change=SiteChange(**change),
        rules=rules,
        base_url=base_url,
        now=dt.datetime.now(tz=dt.UTC),
    )
    _print(change_site.preview(storage) if dry_run else change_site.run(storage))


def _print(report: UpdateReport) -> None:
    from orchestrator.publish.index_site import default_variant

    site, would = report.site, "" if report.pages is None else "would be "
    files = count_of(len(site.files), "file")
    say(f"{len(report.added)} added, {len(report.dropped)} dropped, {files}")
    if report.pages is not None:
        say(f"{report.pages} pages would be written; nothing was")
    for names, what in (
        (report.added if would else (), "added"),
        (report.changed if would else (), "changed"),
        (report.dropped, "dropped"),
        ([f"{path}/" for path in report.opened] if would else (), "added"),
        ([f"{path}/" for path in report.closed], "removed"),
    ):
        for name in names:
            say(f"{would}{what}: {printable(name)}")
    for variant in site.variants:
        files = count_of(len(site.listed(variant.path)), "file")
        show(f"{printable(variant.path or '.')}: {files}")
    default = default_variant(site)
    if default is not None and default.path and site.listed(""):
        say("no page lists wheels without a sub-index: --default '' makes the root list them")
    if site.files and default is None:
        say("the root lists nothing: choose its variant with --default EXPR")
