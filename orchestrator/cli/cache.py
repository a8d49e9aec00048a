"""``orchestrator cache``: what this machine's store holds, and making room in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import matrix_option

if TYPE_CHECKING:
    from orchestrator.config.settings import StoreSettings


@click.group("cache")
def command() -> None:
    """Show what the store holds, or make room in it."""


@command.command("info")
@matrix_option
def info(matrix: Path) -> None:
    """Show where the store is, how much it holds and how much it may."""
    from orchestrator.report.summary import size
    from orchestrator.run.inputs import open_store
    from orchestrator.store.remote import shown

    settings = _settings(matrix)
    store = open_store(settings, environ=os.environ, warn=_warn)
    usage = store.local.usage()
    click.echo(f"store    {store.local.root}")
    click.echo(f"results  {usage.records}")
    click.echo(f"files    {usage.blobs}")
    click.echo(f"size     {size(usage.size)} of {size(settings.size_limit)}")
    if settings.remote is not None:
        mode = " (only read)" if store.read_only else ""
        click.echo(f"shared   {shown(settings.remote)}{mode}")


@command.command("gc")
@matrix_option
@click.option("--max-size", metavar="SIZE", help="As store.size-limit, for this time.")
def collect(matrix: Path, max_size: str | None) -> None:
    """Remove the results that were not used for longest; nothing that a run is using."""
    from orchestrator.config.verify_rules import parse_size
    from orchestrator.errors import ConfigError
    from orchestrator.report.summary import size
    from orchestrator.run.inputs import open_store

    settings = _settings(matrix)
    limit = settings.size_limit
    if max_size is not None:
        parsed = parse_size(max_size)
        if parsed is None:
            raise ConfigError.of(
                f"{max_size!r} is no size", where="--max-size", hint="for instance 5 GiB, or 0"
            )
        limit = parsed
    store = open_store(settings, environ=os.environ, warn=_warn)
    freed = store.local.collect(limit)
    click.echo(f"removed {size(freed)}; {size(store.local.usage().size)} are left")


def _settings(matrix: Path) -> StoreSettings:
    """Return ``[store]`` of the matrix, or what holds without one."""
    from orchestrator.cli.workspace import builder_facts
    from orchestrator.config.load import load
    from orchestrator.config.settings import StoreSettings

    if not matrix.exists() and matrix == Path("matrix.toml"):
        return StoreSettings()
    return load(matrix.read_bytes(), facts=builder_facts()).store


def _warn(line: str) -> None:
    click.echo(line, err=True)
