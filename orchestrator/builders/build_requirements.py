"""What a build requires: prepared in the cache before its steps begin, or installed by them.

Where uv can, everything that the project's build system and the matrix require is one environment
in the cache, for all targets that need the same (`orchestrator.provision.environments`). It is
mounted into containers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.requirements import requirement_fault
from orchestrator.containers.access import NO_ACCESS, Access
from orchestrator.errors import EnvironmentProblemError, ErrorKind, SourceError
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import EnvironmentSpec
from orchestrator.plan.expected_environment import questions
from orchestrator.provision.environments import EnvironmentQuestion
from orchestrator.source.locate import read_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.models.target import Target
    from orchestrator.provision.environments import EnvironmentMaker, PreparedEnvironment
    from orchestrator.provision.pythons import Interpreter

PREPARE = "prepare"
"""The step that prepares what a build requires."""

MOUNTED = "/opt/orchestrator-environment"
"""Where a container has the prepared environment, whatever is in it."""

LEGACY = ("setuptools >= 40.8.0",)
"""What a project requires that has no ``[build-system]`` (PEP 517)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequirements:
    """What the environment that compiles gets.

    Attributes:
        spec: what the matrix says.
        checked: whether axes of the cell say what must be in the environment.
        prepared: the environment in the cache that has it; None if the build's steps install it.
        has: the requirements that it was made for.
        site: its directory where the build runs; empty for none.
        access: how a container reaches it.
        maker: made it.
        tests: for the test and each of the further tests the directories, where the build runs, of
            environments with what it requires, one for each Python it runs with; empty for none.
        of_tests: these environments in the cache.
    """

    spec: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    checked: bool = False
    prepared: PreparedEnvironment | None = None
    has: tuple[str, ...] = ()
    site: str = ""
    access: Access = NO_ACCESS
    maker: EnvironmentMaker | None = field(default=None, repr=False)
    tests: tuple[tuple[str, ...], ...] = ()
    of_tests: tuple[PreparedEnvironment, ...] = ()

    @property
    def is_managed(self) -> bool:
        """Whether pip and uv, too, build in an environment that our frontend script has made."""
        spec = self.spec
        named = spec.requires or spec.constraints or spec.indexes
        return bool(named or self.checked or not spec.isolation)

    def for_frontend(self) -> dict[str, object]:
        """Return what the frontend script is told of it."""
        return {
            "requires": self.spec.requires,
            "constraints": self.spec.constraints,
            "isolated": self.spec.isolation,
            "managed": self.is_managed,
            "prepared": self.site,
            "has": self.has,
            "indexes": [name for name, _ in self.spec.indexes],
        }

    def check_unchanged(self) -> Failure | None:
        """Return a failure if the build wrote into what others share, and remove that."""
        shared = (*((self.prepared,) if self.prepared else ()), *self.of_tests)
        written = filter(None, map(self._written, shared))
        file = next(written, "")
        return self._was_written(file) if file else None

    def _written(self, environment: PreparedEnvironment) -> str:
        """Return a file that was written into what others share, which is removed then."""
        if self.maker is None:
            return ""
        try:
            file = environment.written()
        except OSError:
            file = str(environment.site)
        if file:
            self.maker.discard(environment)
        return file

    @staticmethod
    def _was_written(file: str) -> Failure:
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
    """

    maker: EnvironmentMaker
    target: Target
    interpreter: Callable[[str], Interpreter | None]
    glibc: str = ""
    in_container: bool = False
    pip_because: str = ""

    def open(self, source: Path, log: Callable[[str], object]) -> BuildRequirements:
        """Return what the build gets; what can be prepared is prepared.

        Args:
            source: the source of the target.
            log: told what is prepared, or why nothing is.

        Raises:
            EnvironmentProblemError: the requirements cannot be had.
        """
        spec = self.target.steps.environment
        # Every cell asks for its Python.
        plain = BuildRequirements(spec=spec, checked=len(questions(self.target)) > 1)
        if self.in_container and not plain.is_managed:
            return plain
        requires = (*(_own_requires(source) if spec.isolation else ()), *spec.requires)
        question = self._question(self.target.python, requires, spec.constraints)
        because = self.pip_because or self._why_not(question)
        if because and spec.indexes:
            what = f"[indexes] need uv: {because}"
            raise EnvironmentProblemError.of(what, hint="remove what only pip knows")
        if because:
            log(f"pip installs what the build requires: {because}")
        if because:
            return plain
        made = self._with_build(plain, question, log) if requires else plain
        return self._with_tests(made, log) if plain.is_managed else made

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

    def _with_build(
        self, plain: BuildRequirements, question: EnvironmentQuestion, log: Callable[[str], object]
    ) -> BuildRequirements:
        prepared = self._prepared(question, log)
        made = replace(plain, prepared=prepared, has=question.requires)
        if not self.in_container:
            return replace(made, site=str(prepared.site), maker=self.maker)
        access = Access(mounts=((prepared.site, Path(MOUNTED), False),))
        return replace(made, site=MOUNTED, access=access)

    def _with_tests(
        self, made: BuildRequirements, log: Callable[[str], object]
    ) -> BuildRequirements:
        """Prepare what the tests require, too, where they run on this Python and platform."""
        steps = self.target.steps
        every = (steps.test_requires, *(each.requires for each in self.target.further_tests))
        may = self.in_container or how(host_arch(), self.target.arch) is Execution.NATIVE
        usable = any(every) and all(map(_are_requirements, every))
        if not may or steps.test_command is None or not usable:
            return made
        pythons = (self.target.python, *self.target.test_pythons)
        prepared = [
            self._prepared(self._question(python, each), log)
            for each in every
            for python in pythons
        ]
        sites, access = [each.site for each in prepared], made.access
        if self.in_container:
            sites = [Path(f"{MOUNTED}-of-test-{number}") for number in range(len(prepared))]
            pairs = zip(prepared, sites, strict=True)
            mounts = tuple((each.site, site, False) for each, site in pairs)
            access = replace(access, mounts=(*access.mounts, *mounts))
        places = iter(map(str, sites))
        tests = tuple(tuple(islice(places, len(pythons))) for _ in every)
        maker = None if self.in_container else self.maker
        return replace(made, tests=tests, of_tests=tuple(prepared), access=access, maker=maker)

    def _prepared(
        self, question: EnvironmentQuestion, log: Callable[[str], object]
    ) -> PreparedEnvironment:
        prepared = self.maker.prepare(question, log)
        log(f"prepared for {', '.join(question.requires)}:")
        for each in prepared.packages:
            log(f"has {each.requirement}{f' from {each.index}' if each.index else ''}")
        return prepared

    def _why_not(self, question: EnvironmentQuestion) -> str:
        try:
            question.options(self.maker.host.toolchain.python)
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


def _are_requirements(lines: tuple[str, ...]) -> bool:
    """Whether all lines are requirements (PEP 508): pip takes options and paths as well."""
    return bool(lines) and not any(map(requirement_fault, lines))


def _own_requires(source: Path) -> tuple[str, ...]:
    """Return ``build-system.requires``; before-build may change it still."""
    try:
        system = read_toml(source, "pyproject.toml").get("build-system", {})
        return tuple(map(str, system.get("requires", LEGACY)))
    except (SourceError, AttributeError, TypeError):
        return LEGACY  # the frontend says what is wrong
