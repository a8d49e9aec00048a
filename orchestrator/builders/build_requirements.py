"""What a build requires: prepared in the cache before its steps begin, or installed by them.

Where uv can, everything that the project's build system and the matrix require is one environment
in the cache, for all targets that need the same (`orchestrator.provision.environments`). It is
mounted into containers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders.declared_requirements import build_requires
from orchestrator.config.requirements import requirement_fault
from orchestrator.containers.access import Access
from orchestrator.cross.native_uv import variables_here
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.result import Failure, FailureKind
from orchestrator.plan.expected_environment import questions
from orchestrator.provision.environments import EnvironmentQuestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.builders.locked_target import LockedTarget
    from orchestrator.models.requirement_lock import LockedEnvironment
    from orchestrator.models.result import RequirementFile
    from orchestrator.models.target import Target
    from orchestrator.provision.environments import EnvironmentMaker, PreparedEnvironment
    from orchestrator.provision.pythons import Interpreter

PREPARE = "prepare"
"""The step that prepares what a build requires."""

MOUNTED = "/opt/orchestrator-environment"
"""Where a container has the prepared environment, whatever is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEnvironment:
    """A prepared environment as a build has it.

    Attributes:
        prepared: the environment in the cache.
        requires: the requirements that it was made for.
        place: its directory where the build runs.
        is_mounted: whether that is in a container, which cannot write there.
    """

    prepared: PreparedEnvironment
    requires: tuple[str, ...]
    place: str
    is_mounted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequirements:
    """What the environment that compiles gets.

    Attributes:
        frontend: what the frontend script is told of it.
        shared: the prepared environments of the build.
        test_sites: for the test and each of the further tests the directories of environments with
            what it requires, one for each Python it runs with.
        locked: what `PreparedEnvironment.locked` says of the environment that compiles.
        uv: variables of the uv that installs on this host what is not prepared; None where pip
            does, and in a container.
        limits: the constraints of everything that the build installs.
        tests_offline: whether tests install nothing but what is prepared for them.
    """

    frontend: Mapping[str, object] = field(default_factory=dict)
    shared: tuple[SharedEnvironment, ...] = ()
    test_sites: tuple[tuple[str, ...], ...] = ()
    locked: Mapping[str, RequirementFile] = field(default_factory=dict)
    uv: Mapping[str, str] | None = None
    limits: tuple[str, ...] = ()
    tests_offline: bool = False

    @property
    def access(self) -> Access:
        """How a container reaches the prepared environments."""
        mounted = (each for each in self.shared if each.is_mounted)
        return Access(
            mounts=tuple((each.prepared.site, Path(each.place), False) for each in mounted)
        )

    def check_unchanged(self) -> Failure | None:
        """Return a failure if the build wrote into what others share, and remove that."""
        written = (each.prepared.discard_written() for each in self.shared if not each.is_mounted)
        file = next(filter(None, written), "")
        if not file:
            return None
        return Failure(
            kind=FailureKind.SETUP,
            step=PREPARE,
            message=f"a build wrote into the shared environment of builds: {file}",
            hint="have the build write into its source, or into a copy of the package; the "
            "environment is removed, and made again for the next build",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementsOpener:
    """Prepares what the builds of one target require.

    Attributes:
        maker: makes environments in the cache.
        target: what is built.
        interpreter: returns this host's interpreter of a Python; None if it has none.
        glibc: the version of the glibc in the container; empty for another libc.
        in_container: whether it is built in one.
        pip_because: why uv does not know where pip finds packages; empty if it does.
        by_uv: whether uv installs on this host what is not prepared, in place of pip.
        locked: what the lock has for the target; None without `--locked`.
    """

    maker: EnvironmentMaker
    target: Target
    interpreter: Callable[[str], Interpreter | None]
    glibc: str = ""
    in_container: bool = False
    pip_because: str = ""
    by_uv: bool = False
    locked: LockedTarget | None = None

    def open(self, source: Path, scratch: Path, log: Callable[[str], object]) -> BuildRequirements:
        """Return what the build gets; what can be prepared is prepared.

        Args:
            source: the source of the target.
            scratch: the private directory of its build.
            log: told what is prepared, or why nothing is.

        Raises:
            EnvironmentProblemError: the requirements cannot be had.
        """
        if self.locked is not None:
            return self._open_locked(self.locked, source, scratch, log)
        spec = self.target.steps.environment
        if self.in_container and not self._is_managed:
            return self._describe(scratch)
        if because := self.pip_because or self._why_not_uv():
            if spec.indexes:
                what = f"[indexes] need uv: {because}"
                raise EnvironmentProblemError.of(what, hint="remove what only pip knows")
            log(f"pip installs what the build requires: {because}")
            return self._describe(scratch)
        requires = build_requires(self.target, source)
        python, numbers = self.target.python, count()
        build = None
        if requires:
            build = self._share(python, requires, MOUNTED, log, spec.constraints)
        pythons = (python, *self.target.test_pythons)
        tests = tuple(
            tuple(
                self._share(each, required, f"{MOUNTED}-of-test-{next(numbers)}", log)
                for each in pythons
            )
            for required in self._required_by_tests()
        )
        return self._describe(scratch, build, tests)

    def _open_locked(
        self, locked: LockedTarget, source: Path, scratch: Path, log: Callable[[str], object]
    ) -> BuildRequirements:
        """Return what the build gets, as it is locked."""
        if because := self.pip_because or self._why_not_uv():
            raise EnvironmentProblemError.of(f"a locked build needs uv: {because}")
        numbers = count()
        build, tests = locked.check(self.target, source)
        if not self._may_prepare_tests:
            tests = ()
        if build is not None and not self.in_container and not build.is_for(host_arch()):
            raise EnvironmentProblemError.of(
                f"a build without a container installs for this machine, and the lock is for "
                f"{build.asked.platform}",
                hint='build in a container, or say build.emulation = "cross" and lock again',
            )
        compiles = None if build is None else self._share_locked(locked, build, MOUNTED, log)
        tested = tuple(
            tuple(
                self._share_locked(locked, each, f"{MOUNTED}-of-test-{next(numbers)}", log)
                for each in row
            )
            for row in tests
        )
        return self._describe(scratch, compiles, tested, build)

    def _share_locked(
        self,
        locked: LockedTarget,
        environment: LockedEnvironment,
        mounted: str,
        log: Callable[[str], object],
    ) -> SharedEnvironment:
        asked = environment.asked
        question = self._question(asked.python, environment.everything, asked.constraints)
        prepared = locked.maker.prepare(question, environment, log)
        return self._shared(prepared, environment.everything, mounted, log)

    @property
    def _is_managed(self) -> bool:
        """Whether pip and uv, too, build in an environment that our frontend script has made."""
        spec = self.target.steps.environment
        named = spec.requires or spec.constraints or spec.indexes or not spec.isolation
        named = named or self.locked is not None
        # Every cell asks for its Python.
        return bool(named) or len(questions(self.target)) > 1

    def _describe(
        self,
        scratch: Path,
        build: SharedEnvironment | None = None,
        tests: tuple[tuple[SharedEnvironment, ...], ...] = (),
        locked: LockedEnvironment | None = None,
    ) -> BuildRequirements:
        """Return what the build gets, given the prepared environments."""
        spec = self.target.steps.environment
        files = () if locked is None else locked.files
        limits = (*spec.constraints, *(file.pin for file in files))
        return BuildRequirements(
            frontend={
                "requires": spec.requires,
                "constraints": limits,
                "locked": self.locked and {file.name: file.version for file in files},
                "isolated": spec.isolation,
                "managed": self._is_managed,
                "prepared": build.place if build else "",
                "has": build.requires if build else (),
                "indexes": [name for name, _ in spec.indexes],
            },
            shared=(*((build,) if build else ()), *chain.from_iterable(tests)),
            test_sites=tuple(tuple(each.place for each in some) for some in tests),
            locked=build.prepared.locked if build else {},
            uv=variables_here(self.maker.host.network, scratch) if self.by_uv else None,
            limits=limits,
            tests_offline=self.locked is not None and self._may_prepare_tests,
        )

    @property
    def _may_prepare_tests(self) -> bool:
        """Whether tests run on this Python and platform."""
        return self.in_container or how(host_arch(), self.target.arch) is Execution.NATIVE

    def _required_by_tests(self) -> tuple[tuple[str, ...], ...]:
        """Return what the tests require, if they run on this Python and platform; else nothing."""
        if not self._is_managed:
            return ()
        steps = self.target.steps
        every = (steps.test_requires, *(each.requires for each in self.target.further_tests))
        may = self._may_prepare_tests
        # pip takes options and paths as well.
        usable = all(each and not any(map(requirement_fault, each)) for each in every)
        return every if may and steps.test_command is not None and usable else ()

    def _share(
        self,
        python: str,
        requires: tuple[str, ...],
        mounted: str,
        log: Callable[[str], object],
        constraints: tuple[str, ...] = (),
    ) -> SharedEnvironment:
        prepared = self.maker.prepare(self._question(python, requires, constraints), log)
        return self._shared(prepared, requires, mounted, log)

    def _shared(
        self,
        prepared: PreparedEnvironment,
        requires: tuple[str, ...],
        mounted: str,
        log: Callable[[str], object],
    ) -> SharedEnvironment:
        log(f"prepared for {', '.join(requires)}:")
        for each in prepared.packages:
            log(f"has {each.pin}{f' from {each.index}' if each.index else ''}")
        return SharedEnvironment(
            prepared=prepared,
            requires=requires,
            place=mounted if self.in_container else str(prepared.site),
            is_mounted=self.in_container,
        )

    def _question(
        self, python: str, requires: tuple[str, ...], constraints: tuple[str, ...] = ()
    ) -> EnvironmentQuestion:
        return EnvironmentQuestion(
            python=python,
            interpreter=self.interpreter(python),
            arch=self.target.arch,
            libc=self.target.libc,
            glibc=self.glibc,
            is_here=not self.in_container,
            requires=requires,
            constraints=constraints,
            indexes=self.target.steps.environment.indexes,
        )

    def _why_not_uv(self) -> str:
        try:
            self._question(self.target.python, ()).options(self.maker.host.toolchain.python)
        except EnvironmentProblemError as error:
            return error.what
        return ""


def without_requirements(error: EnvironmentProblemError) -> Failure:
    """Return the failure of a build whose requirements cannot be had."""
    if error.kind is ErrorKind.CANCELLED:
        message = "stopped before it was done"
        return Failure(kind=FailureKind.CANCELLED, step=PREPARE, message=message)
    first, *rest = error.what.removeprefix("toolchain: ").splitlines()
    return Failure(
        kind=FailureKind.SETUP,
        step=PREPARE,
        message=" ".join([f"{first}:" if rest else first, *map(str.strip, rest)]),
        hint=error.hint
        or "correct build.requires, build.constraints, [indexes] or the "
        "project's build-system.requires",
        transient=error.transient,
    )
