"""What makes an sdist: the frontend script on this host, with what the matrix adds to a build."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.builders.build_requirements import RequirementsOpener
from orchestrator.builders.frontend_on_host import frontend_command
from orchestrator.cross import native_uv
from orchestrator.errors import EnvironmentProblemError, SourceError
from orchestrator.fsutil import make_empty
from orchestrator.host.emulation import host_arch
from orchestrator.source.locate import text_or_nothing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.builders.build_requirements import BuildRequirements
    from orchestrator.models.target import BuildRequest
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.tools import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class SdistFrontend:
    """Makes the sdist of a tree, in the environment that a target's build has on this host.

    Attributes:
        tools: this machine; its Python of the target, or else the one that runs this, makes it.
        request: a target's build: its requirements, constraints and indexes count.
        tree: the source.
        scratch: a private directory beside it.
        pins: constraints that the target's lock adds to those of the matrix.
    """

    tools: Tools
    request: BuildRequest
    tree: Path
    scratch: Path
    pins: tuple[str, ...] = ()

    def run(
        self, output: Path, make: Callable[[list[str]], Path], log: Callable[[str], object]
    ) -> Path:
        """Return the sdist that `make` makes with a command, once what it requires is prepared.

        Args:
            output: the directory for it.
            make: runs a command and returns the sdist.
            log: told what is prepared.

        Raises:
            EnvironmentProblemError: the requirements cannot be had.
            SourceError: the backend makes no sdist, or writes into what others share.
        """
        make_empty(self.scratch)
        python = self._python()
        requirements = self._requirements(python, log)
        made = make(self._command(python, requirements, output))
        if failure := requirements.check_unchanged():
            raise SourceError.of(failure.message, where="project.sdist", hint=failure.hint)
        return made

    def _python(self) -> Interpreter:
        try:
            found = self.tools.installed_python(self.request.target.python)
        except EnvironmentProblemError:
            found = self.tools.installed_python(f"cp3{sys.version_info.minor}")
        return found.interpreter

    def _requirements(self, python: Interpreter, log: Callable[[str], object]) -> BuildRequirements:
        target, steps = self.request.target, self.request.target.steps
        # before-build, which an environment without isolation is made for, does not run.
        limits = (*steps.environment.constraints, *self.pins)
        environment = replace(steps.environment, isolation=True, constraints=limits)
        own = replace(steps, test_command=None, environment=environment)
        texts = (text_or_nothing(self.tree, "pyproject.toml"),)
        network = self.tools.host.network
        return RequirementsOpener(
            maker=self.tools.environments,
            target=replace(target, python=str(python.tag), arch=host_arch(), steps=own),
            interpreter=lambda _: python,
            pip_because=native_uv.settings_of_pip(network, self.request, texts),
            by_uv=not native_uv.pip_here_because(network, self.request, texts),
        ).open(self.tree, self.scratch, log)

    def _command(
        self, python: Interpreter, requirements: BuildRequirements, output: Path
    ) -> list[str]:
        toolchain = self.tools.host.toolchain
        more = {**requirements.frontend, "output": str(output), "makes": "sdist"}
        if requirements.uv is not None:
            more |= {"uv": str(toolchain.bin / "uv"), "variables": requirements.uv}
        return frontend_command(toolchain, python, self.tree, self.scratch, more)
