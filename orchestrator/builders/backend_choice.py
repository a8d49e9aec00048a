"""Which backend builds each target on this machine, and why: asked before any build starts."""

from __future__ import annotations

import fnmatch
import platform
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.containers import engine as engines
from orchestrator.containers.images import (
    ImageCheck,
    check_image,
    programs_in,
    pythons_in,
)
from orchestrator.containers.pinned_images import image_reference
from orchestrator.cross import native_nvcc
from orchestrator.cross.native_gcc import TargetImage
from orchestrator.errors import (
    EnvironmentProblemError,
    ErrorKind,
    OrchestratorError,
    Problem,
    remember,
)
from orchestrator.host.emulation import Execution, examine, host_arch, how
from orchestrator.models.platforms import CROSSED, Arch, Libc
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import CompileReport, ContainerInfo, Failure, FailureKind
from orchestrator.models.target import BackendName, CompilerKind, EmulationMode, Target, TargetId
from orchestrator.plan.compilers import cuda, without_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchestrator.containers.access import Access
    from orchestrator.cross.native_gcc import NativeCompilers
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import CibuildwheelCatalog, CompilePlan
    from orchestrator.provision.foreign_python import ForeignPython
    from orchestrator.provision.host import Host
    from orchestrator.provision.nvcc import Nvcc
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.zig import Zig

_NOT_EXECUTED = {ErrorKind.NOT_EXECUTABLE, ErrorKind.CANNOT_RUN}

PULL_TIMEOUT = 1800.0
"""Seconds an image may take to arrive; manylinux images are about 400 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one target will be built here.

    Attributes:
        backend: what builds it; None when nothing here can.
        reason: why that one (and why not the other).
        failure: why nothing can.
        container: what its container is made by and of; None when it is built on this host.
        zig: compiles it on this host; None where this host's own compilers do.
        tested_in: the container that it is tested in, where it is built on this host and this host
            does not run it; None where there is no such container.
        imported_by: a Python of its architecture that imports it here, where there is no such
            container; None where there is one, or none is wanted or can be had.
        native: native compilers for that container; None without.
        compiled: how it is compiled for a foreign architecture; None for this machine's own.
        trouble: what keeps the target from its image and may pass soon; empty for nothing.
        installs: has uv install what the build requires on this host; None where pip does.
    """

    backend: BackendName | None
    reason: str
    failure: Failure | None = None
    container: ContainerInfo | None = None
    zig: Zig | None = None
    tested_in: ContainerInfo | None = None
    imported_by: ForeignPython | None = None
    native: NativeCompilers | None = None
    compiled: CompileReport | None = None
    trouble: str = ""
    installs: Callable[[Path], Access] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """What the `direct` backend found on this machine for one python tag.

    Attributes:
        interpreter: the interpreter, None when there is none.
        include_dirs: where Python.h is, when the interpreter came without.
        problem: why it cannot be used.
    """

    interpreter: Interpreter | None = None
    include_dirs: tuple[Path, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which engine is taken, and why none is.

    Attributes:
        chosen: the first usable one; None when there is none.
        problems: why there is none.
        trouble: why there is none for the moment.
    """

    chosen: engines.EngineStatus | None
    problems: tuple[Problem, ...] = ()
    trouble: str = ""


@dataclass(slots=True, kw_only=True)
class Survey:
    """Asks this machine each question once.

    Attributes:
        host: tools and environment.
        facts: what cibuildwheel knows.
        engine_preference: auto, docker or podman.
        create_args: the matrix' own arguments for the engine.
        pull: when images are pulled.
        log: takes what engines say while they pull.
        cancel: stops a pull.
        find: looks for the interpreter of a python tag, and fetches it if need be.
        find_here: looks for one that is on this machine already.
        find_zig: looks for zig, and fetches it if need be.
        accelerate: makes native compilers for an image.
        find_nvcc: looks for a native nvcc of a version, and fetches it if need be.
        find_foreign: returns a Python of another architecture that runs without a container.
    """

    host: Host
    facts: CibuildwheelCatalog
    engine_preference: engines.Preference
    create_args: tuple[str, ...]
    pull: engines.Pull
    log: Callable[[str], object]
    cancel: Cancel
    find: Callable[[str], HostPython]
    find_here: Callable[[str], Interpreter | None]
    find_zig: Callable[[], Zig]
    accelerate: Callable[[TargetImage, CompilePlan], NativeCompilers]
    find_nvcc: Callable[[str], Nvcc]
    find_foreign: Callable[[str, Arch], ForeignPython]
    pythons: dict[str, HostPython] = field(default_factory=dict)
    _engine: EngineChoice | None = None
    _images: dict[tuple[str, Arch], ImageCheck | OrchestratorError] = field(default_factory=dict)
    _unreached: dict[tuple[str, Arch], str] = field(default_factory=dict)
    _pythons: dict[tuple[str, Arch], frozenset[str] | None] = field(default_factory=dict)
    _programs: dict[tuple[str, Arch, tuple[str, ...]], frozenset[str]] = field(default_factory=dict)
    _zig: dict[None, Zig | OrchestratorError] = field(default_factory=dict)
    _natives: dict[tuple[str, Arch, CompilePlan], NativeCompilers | OrchestratorError] = field(
        default_factory=dict
    )
    _nvccs: dict[str, Nvcc | OrchestratorError] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of the engine's client."""
        return {**self.host.env, **self.host.network.child_env()}

    @property
    def images(self) -> Mapping[tuple[str, Arch], str]:
        """The engine's ID of every image that was found good: what was proved is what is used."""
        return {
            key: each.id
            for key, each in self._images.items()
            if isinstance(each, ImageCheck) and each.id
        }

    @property
    def engine(self) -> EngineChoice:
        """The engine that answers."""
        if self._engine is None:
            try:
                self._engine = EngineChoice(
                    chosen=engines.choose(self.engine_preference, env=self.env)
                )
            except EnvironmentProblemError as error:
                trouble = error.what if error.transient else ""
                self._engine = EngineChoice(chosen=None, problems=error.problems, trouble=trouble)
        return self._engine

    @property
    def known_engine(self) -> engines.EngineStatus | None:
        """The engine that answered, None also when none was ever asked for."""
        return None if self._engine is None else self._engine.chosen

    def no_cibuildwheel(self, target: Target) -> Problem | None:
        """Why the cibuildwheel backend cannot build ``target`` here; None when it can."""
        if target.build_identifier not in self.facts.identifiers:
            return Problem(what=f"cibuildwheel has no identifier {target.build_identifier}")
        return self.no_python_in_container(target)

    def no_python_in_container(self, target: Target) -> Problem | None:
        """Why no container with the target's Python can run here; None when one can."""
        problem = self.no_container(target)
        chosen = self.engine.chosen
        if problem is not None or chosen is None:
            return problem
        image = image_reference(target.image, target.arch, self.host.toolchain)
        key = (image, target.arch)
        if key not in self._pythons:
            self._pythons[key] = pythons_in(chosen.name, image, target.arch, env=self.env)
        return _no_python(target, self._pythons[key])

    def is_local(self, target: Target) -> bool:
        """Whether this machine's own architecture and libc are the target's."""
        return is_local(target)

    def no_container(self, target: Target) -> Problem | None:
        """Why no container of the target's image can run here; None when one can."""
        chosen = self.engine.chosen
        if chosen is None:
            return _joined(self.engine.problems)
        try:
            remember(self._images, self._key(target), lambda: self._check(chosen, target))
        except EnvironmentProblemError as error:
            return error.problems[0]
        return None

    def trouble(self, target: Target) -> str:
        """What keeps a target from its image and may pass soon, of what was asked; else empty."""
        if self._engine is None or self._engine.chosen is None:
            return "" if self._engine is None else self._engine.trouble
        error = self._images.get(self._key(target))
        return error.what if isinstance(error, OrchestratorError) and error.transient else ""

    def _check(self, chosen: engines.EngineStatus, target: Target) -> ImageCheck:
        try:
            return check_image(
                chosen.name,
                *self._key(target),
                self._args(chosen),
                env=self.env,
                timeout=PULL_TIMEOUT,
                log=self.log,
                pull=self.pull,
                cancel=self.cancel,
            )
        except EnvironmentProblemError as error:
            # An engine sees that a program died; what is wrong with QEMU says more.
            problem = examine(target.arch).problem if error.kind in _NOT_EXECUTED else None
            if problem is None:
                raise
            raise EnvironmentProblemError(problem, kind=error.kind) from None

    def _key(self, target: Target) -> tuple[str, Arch]:
        return image_reference(target.image, target.arch, self.host.toolchain), target.arch

    def _args(self, chosen: engines.EngineStatus) -> tuple[str, ...]:
        """What all containers of a run are created with."""
        return (*self.host.network.container_args(), *chosen.mount_args(), *self.create_args)

    def container(self, target: Target) -> ContainerInfo | None:
        """What a target's container is made by and of, once `no_container` found none wanting."""
        chosen = self.engine.chosen
        if chosen is None:
            return None
        image, arch = self._key(target)
        check = self._checked(image, arch)
        return ContainerInfo(
            engine=chosen.name,
            version=chosen.version,
            rootless=chosen.rootless,
            cgroup=chosen.cgroup,
            storage=chosen.storage,
            image=image,
            image_id=check.id,
            digest=check.digest,
        )

    def _checked(self, image: str, arch: Arch) -> ImageCheck:
        checked = self._images[image, arch]
        return checked if isinstance(checked, ImageCheck) else ImageCheck()

    def native(self, target: Target) -> NativeCompilers:
        """Native compilers for a target's container, once `no_container` found none wanting.

        Raises:
            EnvironmentProblemError: there are none.
        """
        chosen, key = self.engine.chosen, self._key(target)
        if chosen is None:
            raise EnvironmentProblemError(*self.engine.problems)
        image = TargetImage(
            engine=chosen.name,
            args=self._args(chosen),
            reference=key[0],
            id=self._checked(*key).id,
            arch=target.arch,
            env=self.env,
        )
        native = remember(
            self._natives,
            (*key, target.compiling),
            lambda: self.accelerate(image, target.compiling),
        )
        if target.arch is not Arch.AARCH64:
            return native
        version = cuda(dict(target.variant))
        return replace(native, kernels=native_nvcc.find(native.toolkits, version, self._nvcc))

    def _nvcc(self, version: str) -> Nvcc:
        return remember(self._nvccs, version, lambda: self.find_nvcc(version))

    def reservations(self, target: Target) -> tuple[str, ...]:
        """What will not be as asked for in a target's container although it runs."""
        chosen = self.engine.chosen
        if chosen is None:
            return ()
        return tuple(
            each
            for each in (chosen.unlimited(target.resources), self._lost(chosen, target))
            if each
        )

    def _lost(self, chosen: engines.EngineStatus, target: Target) -> str:
        """Say which services of this host, proxies mostly, a container does not reach."""
        key = self._key(target)
        if key not in self._unreached:
            lost = [
                f"{each.variable} names {each.host}:{each.port}, which a container does not reach"
                for each in self.host.network.loopbacks()
                if not engines.reaches(
                    *(chosen.name, *key, self._args(chosen), (each.host, each.port)), env=self.env
                )
            ]
            cure = 'engine.create-args = ["--network=host"] gives it this host\'s network'
            self._unreached[key] = "; ".join([*lost, cure]) if lost else ""
        return self._unreached[key]

    def programs(self, target: Target, names: Iterable[str]) -> frozenset[str]:
        """Return which of some programs the image of a target has on PATH."""
        chosen = self.engine.chosen
        if chosen is None:
            return frozenset()
        image = image_reference(target.image, target.arch, self.host.toolchain)
        wanted = tuple(names)
        key = (image, target.arch, wanted)
        if key not in self._programs:
            self._programs[key] = programs_in(chosen.name, image, target.arch, wanted, env=self.env)
        return self._programs[key]

    def no_direct(self, target: Target) -> Problem | None:
        """Why the direct backend cannot build ``target`` here; None when it can."""
        here = host_arch()
        if how(here, target.arch) is not Execution.NATIVE:
            return Problem(
                what=f"the direct backend builds for {here} only on this machine",
                hint="`orchestrator doctor` says what a container build for it lacks",
            )
        if target.libc is not self.libc:
            return Problem(
                what=f"this machine's libc makes {self.libc} wheels, not {target.libc}",
                hint="`orchestrator doctor` says what a container build for it lacks",
            )
        if target.library is not None:
            return None
        if target.python not in self.pythons:
            self.pythons[target.python] = self.find(target.python)
        return self.pythons[target.python].problem

    @property
    def zig(self) -> Zig:
        """zig; an error where it cannot be had."""
        return remember(self._zig, None, self.find_zig)

    def no_zig_here(self, target: Target) -> Problem | None:
        """Why zig cannot build ``target`` on this host; None when it can."""
        here = host_arch()
        if target.arch is not here and not {target.arch, here} <= CROSSED:
            return Problem(
                what=f"wheels for {target.arch} cannot be cross-compiled on {here}",
                hint=f'build.emulation = "full"; known are {", ".join(sorted(CROSSED))}',
            )
        if not target.libc is self.libc is Libc.MANYLINUX:
            return Problem(what=f"this machine's libc makes {self.libc} wheels, not {target.libc}")
        if target.python not in self.pythons:
            self.pythons[target.python] = self.find(target.python)
        if problem := self.pythons[target.python].problem:
            return problem
        try:
            remember(self._zig, None, self.find_zig)
        except EnvironmentProblemError as error:
            return error.problems[0]
        return None

    def foreign_python(self, target: Target) -> ForeignPython:
        """Return a Python that imports what is built for ``target`` here.

        Raises:
            EnvironmentProblemError: there is none.
        """
        found = self.find_foreign(target.python, target.arch)
        wanted = target.compiling.baseline
        if _glibc(found.glibc) < _glibc(wanted):
            raise EnvironmentProblemError.of(
                f"{found.what} has glibc {found.glibc}, and the wheel may need {wanted}"
            )
        return found

    def testers(self, target: Target, choice: Choice) -> tuple[str, ...]:
        """Return the Pythons, beside the one that builds, that can test an abi3 wheel here."""
        if choice.container is not None or choice.tested_in is not None:
            key = (image_reference(target.image, target.arch, self.host.toolchain), target.arch)
            there = self._pythons.get(key)
            own = PythonTag.parse(target.python)
            later = (tag for tag in map(PythonTag.parse, target.test_pythons) if tag > own)
            # The wheel is built with the lowest, and tested on the others.
            return tuple(str(p) for p in later if there is None or p.image_directory in there)
        found = []
        for python in target.test_pythons:
            interpreter = self.find_here(python)
            if interpreter is not None:
                self.pythons.setdefault(python, HostPython(interpreter=interpreter))
                found.append(python)
        return tuple(found)

    @property
    def libc(self) -> Libc:
        """The libc of this machine."""
        return host_libc()


def is_local(target: Target) -> bool:
    """Whether this machine's own architecture and libc are the target's."""
    return how(host_arch(), target.arch) is Execution.NATIVE and target.libc is host_libc()


def on_this_host(target: Target) -> Target:
    """Return a target as this host builds it without an engine: cross-compiled where it is foreign.

    It is the very same one where that changes nothing, or may not be.
    """
    here, compiling = host_arch(), without_engine(target.compiling)
    if compiling is None or target.arch is here or not {target.arch, here} <= CROSSED:
        return target
    return replace(target, compiling=compiling)


def host_libc() -> Libc:
    """Return the libc of this machine."""
    return Libc.MANYLINUX if platform.libc_ver()[0] == "glibc" else Libc.MUSLLINUX


def _glibc(version: str) -> int:
    return int(version.split(".")[1])


def _no_python(target: Target, found: frozenset[str] | None) -> Problem | None:
    """Why an image cannot build for a target's Python, None when it can."""
    tag = PythonTag.parse(target.python)
    if found is None or fnmatch.filter(found, tag.image_directory):
        return None
    return Problem(
        what=f"image {target.image} has no {tag}",
        hint=f"it has {', '.join(sorted(found)) or 'nothing in /opt/python'}; name another image",
    )


def choose(
    targets: Iterable[Target], survey: Survey, *, wanted: BackendName | None
) -> Mapping[TargetId, Choice]:
    """Decide for every target.

    Args:
        targets: the selected targets.
        survey: asks the machine.
        wanted: the backend of ``--backend``; None for auto.
    """
    choices: dict[TargetId, Choice] = {}
    for target in targets:  # in plan order: what a target needs has been decided before it
        decide = _decide if target.library is None else _decide_library
        lacking = next((each for each in target.needs if choices[each].backend is None), None)
        if lacking is None:
            choice = decide(target, survey=survey, wanted=wanted)
            choice = _compiled(choice, target, survey)
            choices[target.id] = replace(choice, trouble=survey.trouble(target))
        else:
            choices[target.id] = _unavailable(
                Problem(what=f"it needs {lacking}, which cannot be built here")
            )
    return choices


def _compiled(choice: Choice, target: Target, survey: Survey) -> Choice:
    """Add what compiles a target whose container is emulated: natively where it may and can be."""
    planned, emulated = target.compiling, how(host_arch(), target.arch) is Execution.EMULATED
    if choice.container is not None and planned.compiler is CompilerKind.ZIG and not emulated:
        # The image's gcc would make another wheel, perhaps of another tag.
        what = "in a container that this machine does not emulate, zig compiles nothing"
        return _unavailable(Problem(what=what, hint="--backend direct builds it on this host"))
    if choice.container is None or not emulated:
        return choice
    if planned.emulation is EmulationMode.FULL:
        full = CompileReport(emulation=EmulationMode.FULL, compiler=_EMULATED, why=planned.why)
        return replace(choice, compiled=full)
    try:
        native = survey.native(target)
    except EnvironmentProblemError as error:
        if planned.compiler is CompilerKind.ZIG:
            # gcc would make another wheel, perhaps of another tag
            return _unavailable(Problem(what=error.what, hint=error.hint))
        full = CompileReport(emulation=EmulationMode.FULL, compiler=_EMULATED, why=error.what)
        return replace(choice, compiled=full)
    nvcc = "" if native.kernels is None else native.kernels.what
    compiled = CompileReport(emulation=EmulationMode.ACCELERATED, compiler=native.what, cuda=nvcc)
    return replace(choice, native=native, compiled=compiled)


_EMULATED = "the image's own compiler under QEMU"


def _decide_library(target: Target, *, survey: Survey, wanted: BackendName | None) -> Choice:
    """In a container of its image where that works, as its wheels; else on this host."""
    problems: list[Problem] = []
    if wanted in {None, BackendName.CIBUILDWHEEL} or not survey.is_local(target):
        problem = survey.no_container(target)
        if problem is None:
            reason = _engine_reason(target, survey)
            container = survey.container(target)
            return Choice(backend=BackendName.DIRECT, reason=reason, container=container)
        problems.append(problem)
    if wanted in {None, BackendName.DIRECT}:
        problem = survey.no_direct(target)
        if problem is None:
            why = f"{problems[0].what}; " if problems else ""
            return Choice(backend=BackendName.DIRECT, reason=f"{why}running on this host")
        problems.append(problem)
    return _unavailable(_joined(problems))


def by_zig_here(target: Target, wanted: BackendName | None) -> bool:
    """Whether zig is to build a target on this host, so that no container is needed.

    Args:
        target: the target.
        wanted: the backend of ``--backend``; None for auto.
    """
    compiling = target.compiling
    return (
        target.library is None
        and compiling.compiler is CompilerKind.ZIG
        and wanted is not BackendName.CIBUILDWHEEL
        and (is_local(target) or compiling.emulation is EmulationMode.CROSS)
    )


def needs_no_engine(target: Target) -> bool:
    """Whether this host builds a target without an engine, even where there is one."""
    crossed = {target.arch, host_arch()} <= CROSSED and target.libc is host_libc()
    return is_local(target) or (by_zig_here(target, None) and crossed)


def _decide_zig(target: Target, survey: Survey) -> Choice:
    """On this host; tested in a container where this host does not run what is built."""
    problem = survey.no_zig_here(target)
    interpreter = survey.pythons.get(target.python, HostPython()).interpreter
    if problem is not None or interpreter is None:
        return _unavailable(problem or Problem(what=f"no {target.python} on this machine"))
    here = target.arch is host_arch()
    how_built = "compiled" if here else "cross-compiled"
    reason = (
        f"{how_built} by zig {survey.zig.version} for glibc {target.compiling.baseline}, "
        f"with {interpreter.path} of this host"
    )
    made = Choice(backend=BackendName.DIRECT, reason=reason, zig=survey.zig)
    if here:
        return made
    compiler = f"zig {survey.zig.version} for glibc {target.compiling.baseline}"
    derived = f"{compiler}, with the settings of {interpreter.path} derived for {target.arch}"
    compiled = CompileReport(emulation=EmulationMode.CROSS, compiler=derived)
    made = replace(made, compiled=compiled)
    if not (target.steps.smoke or target.steps.test_command):
        return replace(made, reason=f"{reason}; not imported: test.smoke is off")
    lacking = survey.no_python_in_container(target)
    if lacking is not None:
        return _without_container(made, target, survey, lacking)
    where = _engine_reason(target, survey)
    return replace(
        made, reason=f"{reason}; tested where {where}", tested_in=survey.container(target)
    )


def _without_container(made: Choice, target: Target, survey: Survey, lacking: Problem) -> Choice:
    """What becomes of a wheel for another architecture that no container here can run."""
    if made.compiled is None:
        return made
    why = lacking.what
    if target.steps.smoke:
        try:
            found = survey.foreign_python(target)
        except EnvironmentProblemError as error:
            why = f"{why}; {error.what}"
        else:
            not_tested = why if target.steps.test_command else ""
            reason = f"{made.reason}; imported by {found.what}"
            reason += f"; NOT TESTED: {why}" if not_tested else ""
            compiled = replace(made.compiled, not_tested=not_tested)
            return replace(made, reason=reason, compiled=compiled, imported_by=found)
    reason = f"{made.reason}; NOT IMPORTED anywhere: {why}"
    return replace(made, reason=reason, compiled=replace(made.compiled, not_run=why))


def _decide(target: Target, *, survey: Survey, wanted: BackendName | None) -> Choice:
    if by_zig_here(target, wanted):
        return _decide_zig(target, survey)
    problems: list[Problem] = []
    if wanted in {None, BackendName.CIBUILDWHEEL}:
        problem = survey.no_cibuildwheel(target)
        if problem is None:
            return Choice(
                backend=BackendName.CIBUILDWHEEL,
                reason=_engine_reason(target, survey),
                container=survey.container(target),
            )
        problems.append(problem)
    if _belongs_in_container(target, survey, wanted):
        problem = survey.no_python_in_container(target)
        if problem is None:
            why = f"{problems[0].what}; " if problems else ""
            return Choice(
                backend=BackendName.DIRECT,
                reason=f"{why}{_engine_reason(target, survey)}",
                container=survey.container(target),
            )
        problems.append(problem)
    if wanted in {None, BackendName.DIRECT}:
        problem = survey.no_direct(target)
        if problem is None:
            interpreter = survey.pythons[target.python].interpreter
            why = f"{problems[0].what}; " if problems else ""
            where = f"{interpreter.path} of this host" if interpreter else "this host"
            return Choice(backend=BackendName.DIRECT, reason=f"{why}building with {where}")
        crossed = on_this_host(target)
        if crossed is not target and survey.engine.chosen is None:
            problem = survey.no_zig_here(crossed)
            if problem is None:
                choice = _decide_zig(crossed, survey)
                return replace(choice, reason=f"{crossed.compiling.why}: {choice.reason}")
        problems.append(problem)
    return _unavailable(_joined(problems))


def _belongs_in_container(target: Target, survey: Survey, wanted: BackendName | None) -> bool:
    """Whether the direct backend builds a target in a container of its image.

    Asked for by name it stays on this host where it can. By itself it takes what cibuildwheel has
    no name for, and only then: an image that cibuildwheel cannot use is of no use to it either.
    """
    if wanted is BackendName.DIRECT:
        return not survey.is_local(target)
    return wanted is None and target.build_identifier not in survey.facts.identifiers


def _unavailable(together: Problem) -> Choice:
    failure = Failure(
        kind=FailureKind.UNAVAILABLE,
        message=together.what,
        hint=together.hint or "`orchestrator doctor` says what this machine lacks",
    )
    return Choice(backend=None, reason=together.what, failure=failure)


def _engine_reason(target: Target, survey: Survey) -> str:
    chosen = survey.engine.chosen
    name = f"{chosen.name} {chosen.version}" if chosen else "no engine"
    execution = how(host_arch(), target.arch)
    ran = f"{name} runs {target.image} ({execution})"
    return "; ".join((ran, *survey.reservations(target)))


def _joined(problems: Iterable[Problem]) -> Problem:
    found = list(problems)
    what = "; ".join(dict.fromkeys(each.what for each in found)) or "nothing here can build it"
    hint = "; ".join(dict.fromkeys(each.hint for each in found if each.hint))
    return Problem(what=what, hint=hint)
