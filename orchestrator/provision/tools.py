"""The tools that the builds of one run need: each is found or fetched once, when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.host import index_identity
from orchestrator.provision import cross_gcc, cuda, nvcc, pythons, relocate, zig
from orchestrator.provision.answers import Answers, once
from orchestrator.provision.foreign_python import ForeignPythons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.host.process import Cancel
    from orchestrator.models.platforms import Arch
    from orchestrator.provision.cache_dir import CacheEntry
    from orchestrator.provision.environments import EnvironmentMaker
    from orchestrator.provision.foreign_python import ForeignPython
    from orchestrator.provision.host import Host
    from orchestrator.provision.locked_environments import LockedEnvironmentMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """This machine's interpreter for a Python tag.

    Attributes:
        interpreter: the interpreter.
        include_dirs: where Python.h is, if the interpreter came without it.
    """

    interpreter: pythons.Interpreter
    include_dirs: tuple[Path, ...] = ()


@dataclass(kw_only=True, eq=False)
class Tools(Answers):
    """Finds or fetches tools; raises `EnvironmentProblemError` if that is impossible.

    Attributes:
        host: the locked tools, network and environment.
        cancel: stops downloads.
        say: told what takes a while.
    """

    host: Host
    cancel: Cancel
    say: Callable[[str], object]

    @once
    def python(self, tag: str) -> HostPython:
        """Find or fetch an interpreter, and its headers if it came without."""
        found = pythons.provide(tag, self.host, cancel=self.cancel)
        return HostPython(interpreter=found, include_dirs=pythons.headers(found, self.host))

    @once
    def installed_python(self, tag: str) -> HostPython:
        """Find an interpreter; none is fetched."""
        found = pythons.find(tag, environ=self.host.environ, cache_dir=self.host.cache_dir)
        return HostPython(interpreter=found)

    def known_python(self, tag: str) -> pythons.Interpreter | None:
        """Return the interpreter that this run or an earlier one found; starts nothing."""
        found = self.answered("python", tag)
        return found.interpreter if isinstance(found, HostPython) else self._known_python(tag)

    @once
    def _known_python(self, tag: str) -> pythons.Interpreter | None:
        return pythons.known(tag, environ=self.host.environ, cache_dir=self.host.cache_dir)

    @property
    @once
    def zig(self) -> zig.Zig:
        """The locked zig; nobody prunes it while this run goes on."""
        return zig.provide(self.host, self.say, self.cancel)

    @property
    @once
    def environments(self) -> EnvironmentMaker:
        """What makes the environments of builds."""
        # Its web server takes long to import, and what comes from the store needs none.
        from orchestrator.provision.environments import EnvironmentMaker  # noqa: PLC0415

        return EnvironmentMaker(host=self.host, cancel=self.cancel)

    @property
    @once
    def locked_environments(self) -> LockedEnvironmentMaker:
        """What locks environments of builds, and makes them as they are locked."""
        from orchestrator.provision.locked_environments import (  # noqa: PLC0415 - as above
            LockedEnvironmentMaker,
        )

        return LockedEnvironmentMaker(maker=self.environments)

    @property
    @once
    def portable_uv(self) -> CacheEntry:
        """A directory with a uv that runs in any container; nobody prunes it either."""
        return relocate.provide("uv", self.host)

    @once
    def nvcc(self, version: str) -> nvcc.Nvcc:
        """Find or fetch a native nvcc of a version, or the newest of a CUDA version."""
        return nvcc.provide(version, self.host, say=self.say)

    @once
    def cuda_toolkits(self, minor: str) -> tuple[cuda.HostToolkit, ...]:
        """Return this host's own CUDA toolkits; see `cuda.host_toolkits`."""
        return cuda.host_toolkits(self.host.environ, minor)

    @once
    def cuda_digests(self, minor: str) -> tuple[str, ...]:
        """Return digests of this host's own nvccs of a CUDA; starts nothing."""
        return cuda.toolkit_digests(self.host.environ, minor, self.host.cache_dir)

    @once
    def index(self, *, in_container: bool) -> dict[str, str]:
        """Return what decides which packages a build gets; see `index_identity.describe`."""
        return index_identity.describe(self.host.network, in_container=in_container)

    @once
    def newest_cuda(self, wanted: str) -> str:
        """Return the newest version of nvcc of a CUDA on the package index."""
        return cuda.CudaIndex(host=self.host).newest(wanted)

    @once
    def cuda_wheels(self, version: str, arch: Arch) -> CacheEntry:
        """Find or fetch a CUDA toolkit of the package index; nobody prunes it either."""
        return cuda.CudaIndex(host=self.host).toolkit(version, arch, self.say)

    @once
    def cross_cuda(self, version: str, arch: Arch) -> CacheEntry:
        """Find or fetch a CUDA toolkit that compiles on this host for another architecture."""
        return cuda.CudaIndex(host=self.host).cross_toolkit(version, arch, self.say)

    @once
    def cross_gcc(self, arch: Arch) -> cross_gcc.CrossGcc:
        """Find or fetch a gcc that compiles on this host for another architecture."""
        wanted = cross_gcc.ImageCompiler(triplet=arch.facts.triplet)
        return cross_gcc.provide(wanted, self.host, say=self.say)

    @property
    @once
    def _foreign_pythons(self) -> ForeignPythons:
        return ForeignPythons(host=self.host, say=self.say, cancel=self.cancel)

    def foreign_python(self, tag: str, arch: Arch) -> ForeignPython:
        """Find or fetch a Python of another architecture that runs here without a container."""
        return self._foreign_pythons.provide(tag, arch)

    def forget_errors(self) -> None:
        """Look again for what was not found, including Pythons of other architectures."""
        super().forget_errors()
        self._foreign_pythons.forget_errors()
