"""``orchestrator cache``: what this machine's store holds, making room in it, and its keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import Commands, examples
from orchestrator.cli.options import FILE, optional_matrix_option, size_option
from orchestrator.cli.output import say, show
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.config.settings import StoreSettings
    from orchestrator.store.cas import Store


@click.group("cache", cls=Commands)
def command() -> None:
    """Show what the store holds, make room in it, or make its keys."""


@command.command("info", epilog=examples("cache info"))
@optional_matrix_option
def info(matrix: Path | None) -> None:
    """Show where the store is, its size and its limit."""
    from orchestrator.report.summary import size
    from orchestrator.store.remote import public_url

    settings, store = _open(matrix)
    usage = store.local.usage()
    show(f"store    {store.local.root}")
    show(f"results  {usage.records}")
    show(f"files    {usage.blobs}")
    show(f"size     {size(usage.size)} of {size(settings.size_limit)}")
    if settings.remote is not None:
        mode = " (read only)" if store.read_only else ""
        show(f"shared   {public_url(settings.remote)}{mode}")
    show(f"trust    {store.trust}")
    for name in store.keys.keys:
        show(f"key      {name}")


@command.command("gc", epilog=examples("cache gc --max-size 20GB"))
@optional_matrix_option
@size_option("--max-size", "Use this limit instead of store.size-limit.", least=0)
def collect(matrix: Path | None, max_size: int | None) -> None:
    """Remove the least recently used results, but none that a run is using."""
    from orchestrator.report.summary import size

    settings, store = _open(matrix)
    freed = store.local.collect(settings.size_limit if max_size is None else max_size)
    show(f"removed {size(freed)}; {size(store.local.usage().size)} are left")


@command.group("key", cls=Commands)
def key() -> None:
    """Make the keys that sign results in a shared store."""


@key.command("new", epilog=examples("cache key new store.key"))
@click.argument("file", type=FILE)
def new(file: Path) -> None:
    """Write a new private key to FILE, and print its public key for store.trusted-keys."""
    from orchestrator.store.seals import SigningKey, write_key

    made = SigningKey.new()
    write_key(made, file)
    show(made.public)
    say(f"{file} has the private key: whoever has it is believed; keep it out of the repository")


@key.command("public", epilog=examples("cache key public store.key"))
@click.argument("file", type=FILE, required=False)
def public(file: Path | None) -> None:
    """Print the public key of the private key in FILE, or in ORCHESTRATOR_STORE_KEY."""
    from orchestrator.run.inputs import KEY, KEY_FILE, signing_key

    found = signing_key(os.environ if file is None else {KEY_FILE: str(file)})
    if found is None:
        raise ConfigError.of("there is no private key", where=KEY, hint="set it, or say FILE")
    show(found.public)


def _open(matrix: Path | None) -> tuple[StoreSettings, Store]:
    """Open the store as ``[store]`` of the matrix says; without a matrix, the default one."""
    from orchestrator.cli.find_matrix import find_matrix, use_matrix
    from orchestrator.cli.workspace import errors_with_lines, read
    from orchestrator.config.load import load
    from orchestrator.config.settings import StoreSettings
    from orchestrator.host.program_tables import builder_facts
    from orchestrator.run.inputs import open_store

    settings = StoreSettings()
    if matrix is not None or find_matrix() is not None:
        named = use_matrix(matrix)
        data = read(named, hint="say --matrix FILE")
        with errors_with_lines(named, data):
            settings = load(data, facts=builder_facts()).store
    return settings, open_store(settings, environ=os.environ, warn=say)
