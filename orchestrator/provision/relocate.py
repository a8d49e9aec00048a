"""A program of the toolchain that runs in every container, emulated ones too.

The kernel runs a program of its own machine in any root file system, but a dynamic program needs
its loader and its libraries. A copy of the program is changed to find them where a container will
see them (`MOUNTED`), beside it, so that nothing of an image is covered.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.host.emulation import host_arch
from orchestrator.provision.cache_dir import PORTABLE

if TYPE_CHECKING:
    from orchestrator.provision.cache_dir import CacheEntry
    from orchestrator.provision.host import Host

MOUNTED = Path("/opt/orchestrator-native/tools")
"""Where a container finds the programs; their libraries are in ``lib`` there."""

_BY_NAME = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""Libraries that an older glibc opens to look up a host, without linking to them."""

_TIMEOUT = 120.0


def provide(name: str, host: Host) -> CacheEntry:
    """Return a directory, to be mounted at `MOUNTED`, with a program of the toolchain (``uv``)."""
    tools = host.toolchain.bin
    return PORTABLE.provide(
        host.cache_dir,
        f"{name}-{host_arch()}",
        lambda made: _make(tools / name, made, tools / "patchelf"),
    )


def _make(program: Path, made: Path, patchelf: Path) -> None:
    if not program.exists():
        raise EnvironmentProblemError.of(f"the toolchain has no {program.name} for this machine")
    own = Path(shutil.copy(program, made))
    libraries = bring(own, made / "lib", MOUNTED / "lib", patchelf)
    beside = {each.parent / name for each in libraries for name in _BY_NAME}
    for library in sorted(path for path in beside if path.exists()):
        shutil.copy(library, made / "lib" / library.name)


def bring(program: Path, into: Path, lib: Path, patchelf: Path) -> tuple[Path, ...]:
    """Have a copy of a program use copies of this host's libraries; return the originals.

    `into` gets the copies; `lib` is the same directory as the program will see it. A static
    program, or no program at all, is left alone.
    """
    loader = _loader(program, patchelf)
    if loader is None:
        return ()
    said = process.capture([str(loader), "--list", str(program)], timeout=_TIMEOUT)
    libraries = [Path(each) for each in re.findall(r"=> (/\S+) \(", said.stdout)]
    if not said.ok or not libraries or "not found" in said.stdout:
        what = f"the libraries of {program.name} are missing on this host"
        raise EnvironmentProblemError.of(what)
    into.mkdir(exist_ok=True)
    for each in (loader, *libraries):
        shutil.copy(each, into / each.name)
    redirect(program, lib, patchelf)
    return (loader, *libraries)


def redirect(program: Path, lib: Path, patchelf: Path) -> None:
    """Have a program look for its loader and its libraries in `lib`, as the program will see it.

    A static program, or no program at all, is left alone.
    """
    loader = _loader(program, patchelf)
    if loader is None:
        return
    argv = [str(patchelf), "--set-interpreter", str(lib / loader.name)]
    # DT_RPATH also counts for the libraries' own libraries, and before LD_LIBRARY_PATH.
    argv += ["--force-rpath", "--set-rpath", str(lib), str(program)]
    process.capture(argv, timeout=_TIMEOUT).check(f"{program.name} cannot be changed")


def _loader(program: Path, patchelf: Path) -> Path | None:
    said = process.capture([str(patchelf), "--print-interpreter", str(program)], timeout=_TIMEOUT)
    return Path(said.stdout.strip()) if said.ok else None
