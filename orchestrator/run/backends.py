"""What builds a target: backend, containers, compilers, their cache, and the installer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.builders.cibuildwheel import Cibuildwheel
from orchestrator.builders.direct_container import DirectInContainer, show_left
from orchestrator.builders.direct_host import DirectOnHost
from orchestrator.builders.direct_zig import DirectByZig
from orchestrator.builders.library import LibraryBuilder
from orchestrator.builders.smoke_test import InContainer, SmokeTested, UnderQemu
from orchestrator.containers.container import ContainerFactory
from orchestrator.cross import native_uv
from orchestrator.cross.ccache import REMOTE, CompilerCache, compiler_names, own_launcher
from orchestrator.cross.driver import zig_names
from orchestrator.host import process
from orchestrator.models.result import CompilerCacheUse
from orchestrator.models.target import BackendName, EmulationMode
from orchestrator.run.run_dir import LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.builders.backend_choice import Choice, Survey
    from orchestrator.builders.base import Backend
    from orchestrator.models.target import BuildRequest
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs
    from orchestrator.run.worker import Compilers


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFactory:
    """What the builds of one run have in common.

    Attributes:
        inputs: what is built.
        host: toolchain, network and environment.
        survey: engine, images and interpreters, as `choose` has found them.
        environ: this process's environment.
        run: the run's ID; its containers carry it.
        shows: whether somebody wants to look where a build failed.
    """

    inputs: Inputs
    host: Host
    survey: Survey
    environ: Mapping[str, str]
    run: str
    shows: bool

    def settled(self, choice: Choice, request: BuildRequest, pyproject: str) -> Choice:
        """Decide what installs the requirements of a build for a foreign architecture.

        Args:
            choice: of `choose`.
            request: what is asked of the backend.
            pyproject: text of the source's ``pyproject.toml``.
        """
        compiled, host = choice.compiled, self.host
        if compiled is None or request.target.library is not None:
            return choice
        told = (pyproject, *self.inputs.engine.create_args)
        if choice.native is not None:
            native = choice.native.for_target(request, told)
            compiled = replace(compiled, installer=native.installs)
            return replace(choice, native=native, compiled=compiled)
        if compiled.emulation is not EmulationMode.CROSS:
            return choice
        because = native_uv.pip_here_because(host.network, request, told)
        if because:
            return replace(choice, compiled=replace(compiled, installer=f"pip: {because}"))
        uv = partial(native_uv.here, host.network)
        return replace(choice, installs=uv, compiled=replace(compiled, installer="uv"))

    def compilers(self, request: BuildRequest, choice: Choice, pyproject: str) -> Compilers | None:
        """Return what opens cache and native compilers for a target's build, None for neither.

        A project that brings a compiler cache of its own gets none of ours. The arguments are
        those of `settled`.
        """
        target, native, uv = request.target, choice.native, choice.installs
        cache = self._cache()
        if cache is None or own_launcher(target, pyproject):
            return uv if native is None else native.access
        names = compiler_names(target)
        if choice.container is not None:
            found = self.survey.programs(target, names)
            if native is None:
                return partial(cache.in_container, target, found=found)
            own = partial(cache.in_container, target, found=found, compiler=native.identity)
            return lambda scratch: own(scratch).in_front_of(native.access(scratch))
        if choice.zig is not None:
            what = f"zig {choice.zig.digest} {target.compiling.baseline}"
            own = partial(cache.on_host, target, found=zig_names(target.arch), compiler=what)
            return own if uv is None else lambda scratch: own(scratch).in_front_of(uv(scratch))
        found = process.on_path(names, self.survey.env["PATH"])
        return partial(cache.on_host, target, found=found)

    def _cache(self) -> CompilerCache | None:
        settings, program = self.inputs.compiler_cache, self.host.toolchain.bin / "ccache"
        if settings.use is CompilerCacheUse.OFF or not program.exists():
            return None
        remote = settings.use is CompilerCacheUse.REMOTE
        return CompilerCache(
            program=program,
            home=self.host.cache_dir / "ccache",
            size=settings.size,
            remote=self.environ.get(REMOTE, "") if remote else "",
        )

    def backend(self, request: BuildRequest, choice: Choice) -> Backend:
        """Return what builds a target, as `choose` decided."""
        shop = self._shop() if choice.container or choice.tested_in else None
        if request.target.library is not None:
            return LibraryBuilder(host=self.host, shop=shop)
        builds = self._wheel_builder(choice, shop)
        foreign = choice.native is not None or choice.tested_in is not None
        if not request.target.steps.smoke:
            return builds
        if choice.imported_by is not None:
            python = UnderQemu(python=choice.imported_by, env=self.host.env)
            return SmokeTested(backend=builds, importer=python)
        if foreign and shop is not None:
            return SmokeTested(backend=builds, importer=InContainer(shop=shop))
        return builds

    def _shop(self) -> ContainerFactory | None:
        engine = self.survey.known_engine
        if engine is None:
            return None
        return ContainerFactory(
            host=self.host,
            engine=engine,
            images=self.survey.images,
            create_args=self.inputs.engine.create_args,
            label=f"{LABEL}={self.run}",
        )

    def _wheel_builder(self, choice: Choice, shop: ContainerFactory | None) -> Backend:
        engine = self.survey.known_engine
        if choice.backend is BackendName.CIBUILDWHEEL and engine is not None:
            return Cibuildwheel(
                show=partial(show_left, shop) if shop is not None and self.shows else None,
                host=self.host,
                engine=engine,
                images=self.survey.images,
                create_args=self.inputs.engine.create_args,
                label=f"{LABEL}={self.run}",
            )
        if shop is not None and choice.zig is None:
            return DirectInContainer(shop=shop)
        found = self.survey.pythons
        direct = DirectOnHost(
            host=self.host,
            interpreters={
                tag: each.interpreter for tag, each in found.items() if each.interpreter is not None
            },
            include_dirs={tag: each.include_dirs for tag, each in found.items()},
        )
        if choice.zig is None:
            return direct
        imported = choice.imported_by is not None
        return DirectByZig(direct=direct, zig=choice.zig, shop=shop, imported=imported)
