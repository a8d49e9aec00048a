"""Which backend builds each target on this machine, and why; asked before any build starts."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, OrchestratorError, Problem
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.platforms import CROSSED, Libc
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import CompileReport, ContainerInfo, Failure, FailureKind
from orchestrator.models.target import BackendName, CompilerKind, EmulationMode, Target, TargetId
from orchestrator.plan.compilers import without_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.builders.cuda_choice import CudaChooser, CudaToolkit
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.containers.toolkits import Toolkit
    from orchestrator.cross.native_gcc import NativeCompilerFactory, NativeCompilers
    from orchestrator.models.target import CibuildwheelCatalog
    from orchestrator.provision.cross_gcc import CrossGcc
    from orchestrator.provision.foreign_python import ForeignPython
    from orchestrator.provision.tools import HostPython, Tools
    from orchestrator.provision.zig import Zig

_EMULATED = "the image's own compiler under QEMU"

_NOTHING = "nothing here can build it"

_DOCTOR = "`orchestrator doctor` says what a container build for it lacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one target will be built here.

    Attributes:
        backend: what builds it; None when nothing here can.
        how: how it is built, in words that many targets share; empty when nothing can.
        details: what is of this target alone: its image, its interpreter, its CUDA.
        reservations: what its container will not have, although it runs.
        why_not: why the way that is taken before this one cannot be.
        failure: why nothing can.
        container: what its container is made by and of; None when it is built on this host.
        zig: compiles it on this host; None where this host's own compilers do.
        gcc: compiles it in place of zig, which compiles for this host then; None for none.
        tested_in: the container that it is tested in, where it is built on this host and this host
            does not run it; None where there is no such container.
        imported_by: a Python of its architecture that imports it here, where there is no such
            container; None where there is one, or none is wanted or can be had.
        native: native compilers for that container; None without.
        compiled: how it is compiled for a foreign architecture; None for this machine's own.
        trouble: what keeps the target from its image and may pass soon; empty for nothing.
        test_pythons: the Pythons, beside the one that builds, that can test an abi3 wheel here.
        cuda: its CUDA toolkit; None if it has no CUDA, or brings its own.
    """

    backend: BackendName | None
    how: str = ""
    details: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()
    why_not: tuple[Problem, ...] = ()
    failure: Failure | None = None
    container: ContainerInfo | None = None
    zig: Zig | None = None
    gcc: CrossGcc | None = None
    tested_in: ContainerInfo | None = None
    imported_by: ForeignPython | None = None
    native: NativeCompilers | None = None
    compiled: CompileReport | None = None
    trouble: str = ""
    test_pythons: tuple[str, ...] = ()
    cuda: CudaToolkit | None = None

    @property
    def reason(self) -> str:
        """Everything about it in one line, for the log and ``results.json``."""
        if self.failure is not None:
            return self.failure.message
        why_not = tuple(dict.fromkeys(each.what for each in self.why_not))
        cuda = () if self.cuda is None else (self.cuda.what,)
        return "; ".join((*why_not, self.how, *self.details, *cuda, *self.reservations))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChooser:
    """Chooses what builds each target.

    A way to build that this machine does not have raises `EnvironmentProblemError`; `_choose` makes
    the explanation of it.

    Attributes:
        facts: what cibuildwheel knows.
        wanted: the backend of ``--backend``; None for auto.
        tools: interpreters and zig of this host.
        containers: the engine, and the images.
        native: native compilers for emulated containers.
        cuda: CUDA toolkits.
    """

    facts: CibuildwheelCatalog
    wanted: BackendName | None
    tools: Tools
    containers: ContainerFactory
    native: NativeCompilerFactory
    cuda: CudaChooser

    def choose(self, targets: Iterable[Target]) -> dict[TargetId, Choice]:
        """Return how each target is built; the targets are in plan order."""
        choices: dict[TargetId, Choice] = {}
        for target in targets:  # what a target needs has been chosen for before it
            lacking = next((need for need in target.needs if choices[need].backend is None), None)
            if lacking is None:
                choice = self._choose(target)
                choices[target.id] = replace(choice, trouble=self.containers.trouble(target))
            else:
                what = f"it needs {lacking}, which cannot be built here"
                choices[target.id] = _unavailable([EnvironmentProblemError.of(what)])
        return choices

    def forget_errors(self) -> None:
        """Look again for what could not be had."""
        for answers in (self.tools, self.containers, self.native):
            answers.forget_errors()

    def _choose(self, target: Target) -> Choice:
        """Take the first way that works, and say why those before it do not."""
        errors: list[OrchestratorError] = []
        for way in self._ways(target):
            try:
                choice = way(target)
            except OrchestratorError as error:
                errors.append(error)
                continue
            try:
                choice = self._with_cuda(self._with_compilers(choice, target), target)
            except OrchestratorError as error:  # another compiler would make another wheel
                return _unavailable([error])
            why_not = errors[-1].problems if errors else ()
            return replace(choice, why_not=why_not, test_pythons=self._test_pythons(target, choice))
        return _unavailable(errors)

    def _ways(self, target: Target) -> Iterator[Callable[[Target], Choice]]:
        """Yield the ways to build a target, the preferred one first."""
        if by_own_compiler(target, self.wanted):
            yield self._by_own_compiler
            return
        by_cibuildwheel = self.wanted in {None, BackendName.CIBUILDWHEEL}
        if target.library is not None:
            if by_cibuildwheel or not is_local(target):
                yield self._in_container
        else:
            if by_cibuildwheel:
                yield self._by_cibuildwheel
            if self._belongs_in_container(target):
                yield self._in_python_container
        if self.wanted in {None, BackendName.DIRECT}:
            yield self._on_host

    def _belongs_in_container(self, target: Target) -> bool:
        """Whether the direct backend builds a target in a container of its image.

        Asked for by name it stays on this host where it can. By itself it takes what cibuildwheel
        has no name for, and only then: an image that cibuildwheel cannot use is of no use to it
        either.
        """
        if self.wanted is BackendName.DIRECT:
            return not is_local(target)
        return self.wanted is None and target.build_identifier not in self.facts.identifiers

    def _by_cibuildwheel(self, target: Target) -> Choice:
        if target.build_identifier not in self.facts.identifiers:
            what = f"cibuildwheel has no identifier {target.build_identifier}"
            raise EnvironmentProblemError.of(what)
        return replace(self._in_python_container(target), backend=BackendName.CIBUILDWHEEL)

    def _in_python_container(self, target: Target) -> Choice:
        self.containers.check_python(target)
        return self._in_container(target)

    def _in_container(self, target: Target) -> Choice:
        container = self.containers.info(target)
        execution = how(host_arch(), target.arch)
        return Choice(
            backend=BackendName.DIRECT,
            how=f"{container.engine} {container.version}, {execution}",
            details=(f"image {target.image}",),
            reservations=self.containers.reservations(target),
            container=container,
        )

    def _on_host(self, target: Target) -> Choice:
        """Build on this host: with its compilers, or cross-compiled where no engine can."""
        try:
            details = self._own_compilers(target)
        except OrchestratorError:
            crossed = on_this_host(target)
            if crossed is target:
                raise
            return self._by_own_compiler(crossed)
        return Choice(backend=BackendName.DIRECT, how="this host", details=details)

    def _own_compilers(self, target: Target) -> tuple[str, ...]:
        """Make sure that this host itself builds a target, and say with which Python."""
        here, libc = host_arch(), host_libc()
        if how(here, target.arch) is not Execution.NATIVE:
            what = f"the compilers of this host build for {here}, and this target cannot be "
            what += f"cross-compiled for {target.arch}"
            raise EnvironmentProblemError.of(what, hint=_DOCTOR)
        if target.libc is not libc:
            what = f"this machine's libc makes {libc} wheels, not {target.libc}"
            raise EnvironmentProblemError.of(what, hint=_DOCTOR)
        if target.library is not None:
            return ()
        return (f"Python {self.tools.python(target.python).interpreter.path}",)

    def _by_own_compiler(self, target: Target) -> Choice:
        """Compile on this host by zig or a cross gcc; test in a container if it is foreign."""
        python = self._zig_python(target)
        zig, path = self.tools.zig, python.interpreter.path
        by_gcc = target.compiling.compiler is CompilerKind.GCC
        gcc = self.tools.cross_gcc(target.arch) if by_gcc else None
        compiler = f"zig {zig.version}" if gcc is None else gcc.version
        glibc = f"for glibc {target.compiling.baseline}" if gcc is None else ""
        choice = Choice(
            backend=BackendName.DIRECT,
            how=f"this host, by {compiler}",
            details=tuple(filter(None, (glibc, f"Python {path}"))),
            zig=zig,
            gcc=gcc,
        )
        if target.arch is host_arch():
            return choice
        derived = f"{compiler} {glibc}".strip()
        derived += f", with the settings of {path} derived for {target.arch}"
        report = CompileReport(emulation=EmulationMode.CROSS, compiler=derived)
        choice = replace(
            choice, how=f"cross-compiled for {target.arch} by {compiler}", compiled=report
        )
        if not (target.steps.smoke or target.steps.test_command):
            return _with_detail(choice, "not imported: test.smoke is off")
        try:
            self.containers.check_python(target)
        except OrchestratorError as error:
            return self._without_container(choice, report, target, error.cause)
        there = self._in_container(target)
        tested = f"tested in {there.how}, {', '.join(there.details)}"
        choice = replace(choice, tested_in=there.container, reservations=there.reservations)
        return _with_detail(choice, tested)

    def _zig_python(self, target: Target) -> HostPython:
        """Return the interpreter that drives a build by zig on this host."""
        here, libc = host_arch(), host_libc()
        if target.arch is not here and not {target.arch, here} <= CROSSED:
            raise EnvironmentProblemError.of(
                f"wheels for {target.arch} cannot be cross-compiled on {here}",
                hint=f'build.emulation = "full"; known are {", ".join(sorted(CROSSED))}',
            )
        if not target.libc is libc is Libc.MANYLINUX:
            what = f"this machine's libc makes {libc} wheels, not {target.libc}"
            raise EnvironmentProblemError.of(what)
        return self.tools.python(target.python)

    def _without_container(
        self, choice: Choice, report: CompileReport, target: Target, why: str
    ) -> Choice:
        """Have a Python of this host import a wheel that no container here can run."""
        if target.steps.smoke:
            needed = target.compiling.baseline if choice.gcc is None else choice.gcc.glibc
            try:
                python = self._foreign_python(target, needed)
            except OrchestratorError as error:
                why = f"{why}; {error.what}"
            else:
                not_tested = why if target.steps.test_command else ""
                choice = _with_detail(choice, f"imported by {python.what}")
                if not_tested:
                    choice = _with_detail(choice, f"NOT TESTED: {why}")
                report = replace(report, not_tested=not_tested)
                return replace(choice, compiled=report, imported_by=python)
        choice = _with_detail(choice, f"NOT IMPORTED anywhere: {why}")
        return replace(choice, compiled=replace(report, not_run=why))

    def _foreign_python(self, target: Target, needed: str) -> ForeignPython:
        python = self.tools.foreign_python(target.python, target.arch)
        if needed and _minor(python.glibc) < _minor(needed):
            what = f"{python.what} has glibc {python.glibc}, and the wheel may need {needed}"
            raise EnvironmentProblemError.of(what)
        return python

    def _with_compilers(self, choice: Choice, target: Target) -> Choice:
        """Add what compiles in an emulated container: natively where it may and can be."""
        planned, emulated = target.compiling, how(host_arch(), target.arch) is Execution.EMULATED
        by_zig = planned.compiler is CompilerKind.ZIG
        if choice.container is not None and by_zig and not emulated:
            # The image's gcc would make another wheel, perhaps of another tag.
            what = "in a container that this machine does not emulate, zig compiles nothing"
            raise EnvironmentProblemError.of(what, hint="--backend direct builds it on this host")
        if choice.container is None or not emulated:
            return choice
        full = CompileReport(emulation=EmulationMode.FULL, compiler=_EMULATED, why=planned.why)
        if planned.emulation is EmulationMode.FULL:
            return replace(choice, compiled=full)
        try:
            native = self.native.compilers(target)
        except OrchestratorError as error:
            if by_zig:
                raise
            return replace(choice, compiled=replace(full, why=error.cause))
        report = CompileReport(
            emulation=EmulationMode.ACCELERATED,
            compiler=native.what,
            cuda="" if native.kernels is None else native.kernels.what,
        )
        compiler = "zig" if by_zig else "native gcc"
        return replace(choice, how=f"{choice.how}, {compiler}", native=native, compiled=report)

    def _with_cuda(self, choice: Choice, target: Target) -> Choice:
        """Add the CUDA toolkit; a build without one would be of something else."""

        def of_image() -> tuple[Toolkit, ...]:
            known = choice.native
            return self.containers.toolkits(target) if known is None else known.toolkits

        found = self.cuda.choose(target, None if choice.container is None else of_image)
        return choice if found is None else replace(choice, cuda=found)

    def _test_pythons(self, target: Target, choice: Choice) -> tuple[str, ...]:
        """Return the Pythons of `Target.test_pythons` that are where the wheel is tested."""
        if not target.test_pythons:
            return ()
        if choice.container is not None or choice.tested_in is not None:
            there = self.containers.pythons(target)
            # The wheel is built with the lowest, and tested on the others.
            own = PythonTag.parse(target.python)
            later = (tag for tag in map(PythonTag.parse, target.test_pythons) if tag > own)
            return tuple(str(p) for p in later if there is None or p.image_directory in there)
        return tuple(filter(self._is_installed, target.test_pythons))

    def _is_installed(self, python: str) -> bool:
        try:
            return bool(self.tools.installed_python(python))
        except OrchestratorError:
            return False


def is_local(target: Target) -> bool:
    """Whether this machine's own architecture and libc are the target's."""
    return how(host_arch(), target.arch) is Execution.NATIVE and target.libc is host_libc()


def on_this_host(target: Target) -> Target:
    """Return a target as this host builds it without its image: cross-compiled if it is foreign.

    It is the same object where that changes nothing, or may not be.
    """
    here, compiling = host_arch(), without_engine(target.compiling)
    if compiling is None or target.arch is here or not {target.arch, here} <= CROSSED:
        return target
    return replace(target, compiling=compiling)


def host_libc() -> Libc:
    """Return the libc of this machine."""
    return Libc.MANYLINUX if platform.libc_ver()[0] == "glibc" else Libc.MUSLLINUX


def by_own_compiler(target: Target, wanted: BackendName | None) -> bool:
    """Whether a compiler that we bring builds a target on this host, so without a container.

    Args:
        target: the target.
        wanted: the backend of ``--backend``; None for auto.
    """
    compiling, local = target.compiling, is_local(target)
    by_zig = compiling.compiler is CompilerKind.ZIG
    ours = by_zig if local else compiling.emulation is EmulationMode.CROSS
    return target.library is None and wanted is not BackendName.CIBUILDWHEEL and ours


def needs_no_engine(target: Target) -> bool:
    """Whether this host builds a target without an engine, even where there is one."""
    crossed = {target.arch, host_arch()} <= CROSSED and target.libc is host_libc()
    return is_local(target) or (by_own_compiler(target, None) and crossed)


def _minor(glibc: str) -> int:
    return int(glibc.split(".")[1])


def _with_detail(choice: Choice, detail: str) -> Choice:
    return replace(choice, details=(*choice.details, detail))


def _unavailable(errors: Iterable[OrchestratorError]) -> Choice:
    """Say why no way works, and how to mend the first one that can be mended."""
    problems = [problem for error in errors for problem in error.problems]
    hint = next((each.hint for each in problems if each.hint), "")
    failure = Failure(
        kind=FailureKind.UNAVAILABLE,
        message="; ".join(dict.fromkeys(each.what for each in problems)) or _NOTHING,
        cause="; ".join(dict.fromkeys(each.cause or each.what for each in problems)),
        hint=hint or "`orchestrator doctor` says what this machine lacks",
    )
    return Choice(backend=None, failure=failure)
