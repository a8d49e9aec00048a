"""What builds a target: backend, containers, compilers, their cache, and the installer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders.build_requirements import BuildRequirements, RequirementsOpener
from orchestrator.builders.cibuildwheel import Cibuildwheel
from orchestrator.builders.direct_container import DirectInContainer, show_left
from orchestrator.builders.direct_host import DirectOnHost
from orchestrator.builders.direct_zig import DirectByZig
from orchestrator.builders.library import LibraryBuilder
from orchestrator.builders.locked_target import LockedTarget
from orchestrator.builders.smoke_test import (
    UNDER_QEMU_HINT,
    SmokeTested,
    import_in_container,
    import_under_qemu,
)
from orchestrator.containers.access import Access
from orchestrator.cross import native_uv
from orchestrator.cross.ccache import REMOTE, CompilerCache, compiler_names, own_launcher
from orchestrator.cross.driver import zig_names
from orchestrator.host import process
from orchestrator.models.target import BackendName, CompilerCacheUse, EmulationMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.builders.base import Backend
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.result import CompileReport, ContainerInfo
    from orchestrator.models.target import BuildRequest, Target
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.tools import Tools
    from orchestrator.run.cache_key import Action
    from orchestrator.run.inputs import Inputs


Compilers = Callable[[Path], Access]
"""Opens the compiler cache and native compilers for a build, given its private directory."""

Requirements = Callable[[Path, Path, Callable[[str], object]], BuildRequirements]
"""Prepares what a build requires; see `RequirementsOpener.open`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A target with the backend that will build it, and why this one.

    An action says where its result will lie; without one it is not stored. A container says what it
    is made by and of. `requirements` prepares what the build requires, `compilers` opens the
    compiler cache and native compilers, and `compiled` says how it is compiled for a foreign
    architecture. `parallel` are variables that say how many programs it may run at once.
    """

    request: BuildRequest
    backend: Backend
    reason: str
    action: Action | None = None
    container: ContainerInfo | None = None
    requirements: Requirements | None = None
    compilers: Compilers | None = None
    compiled: CompileReport | None = None
    parallel: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The target."""
        return self.request.target


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFactory:
    """Makes everything that builds a target, as it was chosen."""

    inputs: Inputs
    tools: Tools
    containers: ContainerFactory
    pyproject: str
    profiles: bool
    shows: bool

    def assign(self, request: BuildRequest, choice: Choice, action: Action | None) -> Assignment:
        """Return what builds a request; without an action its result is not stored."""
        texts = (self.pyproject, *self.inputs.engine.create_args)
        network = self.tools.host.network
        pip_here = native_uv.pip_here_because(network, request, texts)
        choice = _with_installer(choice, request, texts, pip_here)
        return Assignment(
            request=request,
            backend=self._backend(request, choice),
            reason=choice.reason,
            action=action,
            container=choice.container,
            compiled=choice.compiled,
            requirements=self._requirements(request, choice, by_uv=not pip_here),
            compilers=self._compilers(request, choice),
        )

    def _requirements(
        self, request: BuildRequest, choice: Choice, *, by_uv: bool
    ) -> Requirements | None:
        """Return what prepares the environment of a build; None for a library, which has none."""
        target, tools, lock = request.target, self.tools, self.inputs.lock
        if target.library is not None:
            return None
        contained = choice.container is not None
        texts = (self.pyproject, *(self.inputs.engine.create_args if contained else ()))

        def interpreter(python: str) -> Interpreter | None:
            if contained:
                return tools.known_python(python)
            find = tools.python if python == target.python else tools.installed_python
            return find(python).interpreter

        return RequirementsOpener(
            maker=tools.environments,
            target=target,
            interpreter=interpreter,
            glibc=self.containers.glibc(target) if contained else "",
            in_container=contained,
            pip_because=native_uv.settings_of_pip(tools.host.network, request, texts),
            by_uv=by_uv and not contained,
            locked=None
            if lock is None
            else LockedTarget(lock=lock.lock, where=lock.where, maker=tools.locked_environments),
        ).open

    def _compilers(self, request: BuildRequest, choice: Choice) -> Compilers | None:
        """Return what opens compilers, their cache and CUDA for a target's build; None for none."""
        found, cuda = self._host_compilers(request, choice), choice.cuda
        if cuda is None:
            return found
        own = cuda.access(request.target)
        return lambda scratch: own if found is None else found(scratch).in_front_of(own)

    def _host_compilers(self, request: BuildRequest, choice: Choice) -> Compilers | None:
        """Return what opens cache and native compilers for a target's build, None for neither.

        A project that brings a compiler cache of its own gets none of ours.
        """
        target, native = request.target, choice.native
        cache = self._compiler_cache()
        if cache is None or own_launcher(target, self.pyproject):
            return None if native is None else native.access
        names = compiler_names(target)
        if choice.container is not None:
            found = self.containers.programs(target, names)
            if native is None:
                return partial(cache.in_container, target, found=found)
            own = partial(cache.in_container, target, found=found, compiler=native.identity)
            return lambda scratch: own(scratch).in_front_of(native.access(scratch))
        if choice.zig is not None:
            what = f"zig {choice.zig.digest} {target.compiling.baseline}"
            if choice.gcc is not None:
                what = f"gcc {choice.gcc.identity}"
            return partial(cache.on_host, target, found=zig_names(target.arch), compiler=what)
        found = process.on_path(names, self.tools.host.env["PATH"])
        return partial(cache.on_host, target, found=found)

    def _compiler_cache(self) -> CompilerCache | None:
        settings, host = self.inputs.compiler_cache, self.tools.host
        program = host.toolchain.bin / "ccache"
        if settings.use is CompilerCacheUse.OFF or not program.exists():
            return None
        remote = settings.use is CompilerCacheUse.REMOTE
        return CompilerCache(
            program=program,
            home=host.cache_dir / "ccache",
            size=settings.size,
            remote=host.environ.get(REMOTE, "") if remote else "",
            shares=not self.profiles,
        )

    def _backend(self, request: BuildRequest, choice: Choice) -> Backend:
        contained = choice.container is not None or choice.tested_in is not None
        containers = self.containers if contained else None
        if request.target.library is not None:
            return LibraryBuilder(host=self.tools.host, containers=containers)
        backend = self._wheel_backend(request, choice, containers)
        if not request.target.steps.smoke:
            return backend
        if choice.imported_by is not None:
            env = self.tools.host.env
            if choice.cuda is not None:  # of the emulated program, not of QEMU itself
                env = {**env, "QEMU_SET_ENV": f"LD_LIBRARY_PATH={choice.cuda.root}/lib"}
            imported = partial(import_under_qemu, choice.imported_by, env)
            return SmokeTested(backend=backend, try_import=imported, hint=UNDER_QEMU_HINT)
        foreign = choice.native is not None or choice.tested_in is not None
        if foreign and containers is not None:
            return SmokeTested(backend=backend, try_import=partial(import_in_container, containers))
        return backend

    def _wheel_backend(
        self, request: BuildRequest, choice: Choice, containers: ContainerFactory | None
    ) -> Backend:
        if choice.backend is BackendName.CIBUILDWHEEL and containers is not None:
            show = partial(show_left, containers) if self.shows else None
            return Cibuildwheel(containers=containers, show=show)
        if containers is not None and choice.zig is None:
            return DirectInContainer(containers=containers)
        python, testers = request.target.python, request.target.test_pythons
        pythons = {python: self.tools.python(python)}
        if containers is None:  # otherwise it is tested there
            pythons |= {tester: self.tools.installed_python(tester) for tester in testers}
        direct = DirectOnHost(host=self.tools.host, pythons=pythons)
        if choice.zig is None:
            return direct
        return DirectByZig(
            direct=direct,
            zig=choice.zig,
            gcc=choice.gcc,
            containers=containers,
            imported=choice.imported_by is not None,
        )


def _with_installer(
    choice: Choice, request: BuildRequest, texts: Sequence[str], pip_here: str
) -> Choice:
    """Add what installs the requirements of a build for a foreign architecture.

    `texts` may have settings of pip; `pip_here` says why pip installs on this host, if it does.
    """
    compiled, native = choice.compiled, choice.native
    if request.target.library is not None or compiled is None:
        return choice
    if native is not None:
        native = native.for_target(request, texts)
        compiled = replace(compiled, installer=native.installs)
    elif compiled.emulation is EmulationMode.CROSS:
        compiled = replace(compiled, installer=f"pip: {pip_here}" if pip_here else "uv")
    return replace(choice, native=native, compiled=compiled)
