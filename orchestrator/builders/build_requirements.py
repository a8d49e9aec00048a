"""What a build requires: prepared in the cache before its steps begin, or installed by them.

Where uv can, everything that the project's build system and the matrix require is one environment
in the cache, for all targets that need the same (`orchestrator.provision.environments`). It is
mounted into containers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.access import NO_ACCESS, Access
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import EnvironmentSpec
from orchestrator.provision.environments import EnvironmentQuestion

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
        prepared: the environment in the cache that has it; None if the build's steps install it.
        has: the requirements that it was made for.
        site: its directory where the build runs; empty for none.
        access: how a container reaches it.
        maker: made it.
    """

    spec: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    prepared: PreparedEnvironment | None = None
    has: tuple[str, ...] = ()
    site: str = ""
    access: Access = NO_ACCESS
    maker: EnvironmentMaker | None = field(default=None, repr=False)

    @property
    def is_managed(self) -> bool:
        """Whether pip and uv, too, build in an environment that our frontend script has made."""
        spec = self.spec
        return bool(spec.requires or spec.constraints or spec.indexes or not spec.isolation)

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
        if self.prepared is None or self.maker is None:
            return None
        try:
            file = self.prepared.written()
        except OSError:
            file = str(self.prepared.site)
        if not file:
            return None
        self.maker.discard(self.prepared)
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
        interpreter: returns this host's interpreter of the target's Python; None if it has none.
        glibc: the version of the glibc in the container; empty for another libc.
        in_container: whether it is built in one.
        pip_because: why uv does not know where pip finds packages; empty if it does.
    """

    maker: EnvironmentMaker
    target: Target
    interpreter: Callable[[], Interpreter | None]
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
        plain = BuildRequirements(spec=spec)
        if self.in_container and not plain.is_managed:
            return plain
        requires = (*(_own_requires(source) if spec.isolation else ()), *spec.requires)
        question = EnvironmentQuestion(
            python=self.target.python,
            interpreter=self.interpreter(),
            arch=self.target.arch,
            libc=self.target.libc,
            glibc=self.glibc,
            is_here=not self.in_container,
            requires=requires,
            constraints=spec.constraints,
            indexes=spec.indexes,
        )
        because = self.pip_because or self._why_not(question)
        if because and spec.indexes:
            what = f"[indexes] need uv: {because}"
            raise EnvironmentProblemError.of(what, hint="remove what only pip knows")
        if because:
            log(f"pip installs what the build requires: {because}")
        if because or not requires:
            return plain
        prepared = self.maker.prepare(question)
        for each in prepared.packages:
            log(f"has {each.requirement}{f' from {each.index}' if each.index else ''}")
        made = replace(plain, prepared=prepared, has=requires)
        if not self.in_container:
            return replace(made, site=str(prepared.site), maker=self.maker)
        access = Access(mounts=((prepared.site, Path(MOUNTED), False),))
        return replace(made, site=MOUNTED, access=access)

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


def _own_requires(source: Path) -> tuple[str, ...]:
    """Return ``build-system.requires``; before-build may change it still."""
    file = source / "pyproject.toml"
    try:
        system = tomllib.loads(file.read_text(encoding="utf-8")).get("build-system", {})
        return tuple(map(str, system.get("requires", LEGACY)))
    except (OSError, ValueError, AttributeError, TypeError):
        return LEGACY  # the frontend says what is wrong
