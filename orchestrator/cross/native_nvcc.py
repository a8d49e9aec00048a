"""Native nvcc in emulated containers, of the same version as the build's own nvcc.

One small native program (`driver_src/nvcc.c`) stands for nvcc. It finds the toolkit that the build
uses, and becomes the native nvcc of the same build, or else the toolkit's own. It is mounted over
an image's nvcc, so that every path to nvcc leads to it. It cannot cover a toolkit that is installed
during the build: there, variables of the build systems name the program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cross.driver import CONFIGURATION
from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision.nvcc import MOUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.containers.access import Access
    from orchestrator.containers.toolkits import Toolkit
    from orchestrator.models.target import BuildRequest
    from orchestrator.provision.nvcc import Nvcc

_THERE = MOUNTED.parent / "nvcc"
"""The program and its configuration, in a container."""

VARIABLES = ("CUDACXX", "NVCC", "PYTORCH_NVCC")
"""Variables that name nvcc for CMake, for makefiles, and for torch's extensions."""

_NO_CACHE = ("CMAKE_CUDA_COMPILER_LAUNCHER", "")
"""ccache identifies a compiler by its file, and this file stands for any toolkit of the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeNvcc:
    """Native nvccs for a target's container.

    Attributes:
        natives: the nvccs, of different versions.
        covers: files of the image that our program is mounted over.
        variables: the variables that name our program.
        missing: the versions that are missing, and why; empty if none is.
    """

    natives: tuple[Nvcc, ...]
    covers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    missing: str = ""

    @property
    def what(self) -> str:
        """The nvccs in words, and what is missing."""
        natives = ", ".join(f"native nvcc {nvcc.version}" for nvcc in self.natives)
        return "; ".join(filter(None, (natives, self.missing)))

    def for_target(self, request: BuildRequest, told: Iterable[str]) -> NativeNvcc:
        """Return the nvccs for one target, whose project may choose or replace nvcc itself.

        Args:
            request: what is built.
            told: see `Installer.for_target`.
        """
        covers, variables = self.covers, self.variables
        if covers and (
            request.target.steps.before_all or "before-all" in request.source.own_options
        ):
            # That step may install another toolkit there, and a mounted file cannot be replaced.
            covers, variables = (), VARIABLES
        chosen = {variable.name for variable in request.target.env}
        chosen |= {word for text in told for word in re.findall(r"\b[A-Z_]+\b", text)}
        variables = tuple(name for name in variables if name not in chosen)
        return replace(self, covers=covers, variables=variables)

    def add_to(self, access: Access, program: Path, scratch: Path, log: str) -> Access:
        """Return an access that also has the native nvccs.

        Args:
            access: that of the other compilers.
            program: the program that stands for nvcc.
            scratch: the target's private directory.
            log: gets a line for each call; a file of the container.
        """
        if not self.natives:
            return access
        folder = scratch / "nvcc"
        folder.mkdir(parents=True, exist_ok=True)
        stand_in = folder / "nvcc"
        builds = "".join(f"nvcc {nvcc.build} {nvcc.there}\n" for nvcc in self.natives)
        # ccache tells compilers apart by the contents of their files.
        stand_in.write_bytes(program.read_bytes() + builds.encode())
        stand_in.chmod(0o755)
        (folder / CONFIGURATION).write_text(f"log {log}\n{builds}", encoding="utf-8")
        named = tuple((name, str(_THERE / "nvcc")) for name in self.variables)
        return replace(
            access,
            env=(*access.env, *named, *((_NO_CACHE,) if named else ())),
            mounts=(
                *access.mounts,
                *((nvcc.folder, nvcc.there, False) for nvcc in self.natives),
                (folder, _THERE, False),
                *((stand_in, Path(file), False) for file in self.covers),
            ),
        )


def find(
    toolkits: Iterable[Toolkit], cuda: str, provide: Callable[[str], Nvcc]
) -> NativeNvcc | None:
    """Return native nvccs for a target; None if it uses no CUDA.

    Args:
        toolkits: those of the image.
        cuda: the target's version of CUDA (``13.0``); empty for none.
        provide: finds or fetches a native nvcc.
    """
    toolkits = tuple(toolkit for toolkit in toolkits if toolkit.profile)
    versions = [toolkit.version for toolkit in toolkits]
    # The build installs a toolkit of its own.
    brought = bool(cuda) and not any(version.startswith(f"{cuda}.") for version in versions)
    wanted = dict.fromkeys((*versions, cuda) if brought else versions)
    if not wanted:
        return None
    found: dict[str, Nvcc] = {}
    missing: list[str] = []
    for version in wanted:
        try:
            nvcc = provide(version)
            found[nvcc.version] = nvcc
        except EnvironmentProblemError as error:
            missing.append(f"no native nvcc {version}: {error.what}")
    return NativeNvcc(
        natives=tuple(found.values()),
        covers=tuple(
            toolkit.nvcc
            for toolkit in toolkits
            if (native := found.get(toolkit.version)) and native.profile == toolkit.profile
        ),
        variables=VARIABLES if brought and found else (),
        missing="; ".join(missing),
    )
