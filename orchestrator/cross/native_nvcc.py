"""nvcc in an emulated container: a native one of the very same version, wherever a build finds it.

One small native program (`driver_src`) stands for nvcc. It finds the toolkit that the build
means, and becomes a native nvcc if that toolkit is of the same build, else the toolkit's own. It is
put over the nvcc of an image, so that every way to it leads there; a toolkit that only comes while
the build runs cannot be covered, and then variables that build systems read name the program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision.nvcc import MOUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.containers.access import Access
    from orchestrator.models.target import BuildRequest
    from orchestrator.provision.nvcc import Nvcc

_THERE = MOUNTED.parent / "nvcc"
"""Where a container has the program and what it is told."""

VARIABLES = ("CUDACXX", "NVCC", "PYTORCH_NVCC")
"""What names an nvcc: to CMake, to makefiles, to torch's extensions."""

_NO_CACHE = ("CMAKE_CUDA_COMPILER_LAUNCHER", "")
"""ccache knows a compiler by its file; this one stands for whatever toolkit the build brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """A CUDA toolkit of an image.

    Attributes:
        version: of its nvcc and its cicc: ``13.0.88``.
        profile: SHA-256 of nvcc's settings.
        nvcc: the file, no link.
    """

    version: str
    profile: str
    nvcc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeNvcc:
    """What compiles CUDA's kernels natively in a target's container.

    Attributes:
        natives: native nvccs, of different versions.
        covers: files of the image that our program stands in front of.
        variables: those that name it.
        lacking: which version is not there, and why; empty where nothing is missing.
    """

    natives: tuple[Nvcc, ...]
    covers: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    lacking: str = ""

    @property
    def what(self) -> str:
        """What compiles, in words."""
        found = ", ".join(f"native nvcc {each.version}" for each in self.natives)
        return "; ".join(filter(None, (found, self.lacking)))

    def settled(self, request: BuildRequest, told: Iterable[str]) -> NativeNvcc:
        """Return what one target gets: its project may choose, or change, its nvcc itself.

        Args:
            request: what is built.
            told: the text of the project's pyproject.toml with its ``[tool.cibuildwheel]``,
                arguments of containers.
        """
        steps, own = request.target.steps, request.source.own_options
        settled = self
        if self.covers and (steps.before_all or "before-all" in own):
            # It may install another toolkit there, and what is mounted cannot be replaced.
            settled = replace(self, covers=(), variables=VARIABLES)
        chosen = {each.name for each in request.target.env}
        chosen |= {word for text in told for word in re.findall(r"\b[A-Z_]+\b", text)}
        return replace(
            settled, variables=tuple(each for each in settled.variables if each not in chosen)
        )

    def added_to(self, access: Access, program: Path, scratch: Path, log: str) -> Access:
        """Return what a build gets, with a native nvcc.

        Args:
            access: the other compilers.
            program: the program that stands for all of them.
            scratch: the target's private directory.
            log: where calls are counted, in the container.
        """
        if not self.natives:
            return access
        here = scratch / "nvcc"
        here.mkdir(parents=True, exist_ok=True)
        stands = here / "nvcc"
        builds = "".join(f"nvcc {each.build} {each.there}\n" for each in self.natives)
        # ccache tells compilers apart by what is in their files.
        stands.write_bytes(program.read_bytes() + builds.encode())
        stands.chmod(0o755)
        (here / "compiler.conf").write_text(f"log {log}\n{builds}", encoding="utf-8")
        named = tuple((each, str(_THERE / "nvcc")) for each in self.variables)
        return replace(
            access,
            env=(*access.env, *named, *((_NO_CACHE,) if named else ())),
            mounts=(
                *access.mounts,
                *((each.folder, each.there, False) for each in self.natives),
                (here, _THERE, False),
                *((stands, Path(each), False) for each in self.covers),
            ),
        )


def find(
    toolkits: Iterable[Toolkit], cuda: str, provide: Callable[[str], Nvcc]
) -> NativeNvcc | None:
    """Return what compiles kernels natively; None where nobody expects any.

    Args:
        toolkits: those of the image.
        cuda: the version of CUDA that the target is for (``13.0``); empty for none.
        provide: finds or fetches a native nvcc.
    """
    there = tuple(toolkits)
    versions = [each.version for each in there]
    brought = bool(cuda) and not any(each.startswith(f"{cuda}.") for each in versions)
    wanted = dict.fromkeys((*versions, cuda) if brought else versions)
    if not wanted:
        return None
    found: dict[str, Nvcc] = {}
    lacking: list[str] = []
    for version in wanted:
        try:
            nvcc = provide(version)
            found[nvcc.version] = nvcc
        except EnvironmentProblemError as error:
            lacking.append(f"no native nvcc {version}: {error.what}")
    return NativeNvcc(
        natives=tuple(found.values()),
        covers=tuple(
            each.nvcc
            for each in there
            if (native := found.get(each.version)) and native.profile == each.profile
        ),
        variables=VARIABLES if brought and found else (),
        lacking="; ".join(lacking),
    )
