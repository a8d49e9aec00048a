"""cibuildwheel's steps, driven by us: what the `direct` backend does, wherever it does it.

The options come from cibuildwheel's own parser (`scripts/cibw_options.py`), so that a project's
``[tool.cibuildwheel]`` means the same in both backends.
"""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import BuildContext, Outcome, StoppedBuild, machine_trouble
from orchestrator.builders.cibuildwheel import HINTS
from orchestrator.models.result import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host

OPTIONS_SCRIPT = Path(__file__).parent / "scripts" / "cibw_options.py"

_KINDS = {
    "setup": (FailureKind.SETUP, "the build environment could not be set up"),
    "before-all": (FailureKind.SETUP, "before-all failed"),
    "before-build": (FailureKind.SETUP, "before-build failed"),
    "build": (FailureKind.BUILD, "the project did not build"),
    "repair": (FailureKind.REPAIR, "the repair command failed"),
    "test": (FailureKind.TEST, "the test failed"),
}


class StepFailed(Exception):  # noqa: N818 - carries a Failure up to `outcome` and no further
    """A step ended the build."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class BuildSteps(ABC):
    """One target's way through the steps; a subclass says where it goes.

    Paths that are strings are paths of that place: this host, or a container.
    """

    def __init__(self, host: Host, job: BuildContext, *, project: str, scratch: str) -> None:
        """Prepare the steps; nothing is started yet.

        Args:
            host: tools, network, environment.
            job: what to build.
            project: where the place has the source.
            scratch: a directory of the place for everything else.
        """
        self.host = host
        self.job = job
        self.target: Target = job.request.target
        self.project = project
        self.scratch = scratch
        self.step = ""
        self._tail: deque[str] = deque(maxlen=30)
        self._last: tuple[Sequence[str], Mapping[str, str] | None, str] = ((), None, project)

    def outcome(self) -> Outcome:
        """Take all steps; return the wheel on this host, or why there is none."""
        try:
            return self._wheel()
        except StepFailed as ended:
            failure = ended.failure
            if self.job.stopped is not None and failure.kind is not FailureKind.CANCELLED:
                argv, env, cwd = self._last
                self.job.stopped(self.stop(failure, shlex.join(argv), env, cwd))
            return failure

    @abstractmethod
    def stop(
        self, failure: Failure, again: str, env: Mapping[str, str] | None, cwd: str
    ) -> StoppedBuild:
        """Return how to open a shell there.

        Args:
            failure: why the build ended.
            again: the last command.
            env: its environment; None where none ran.
            cwd: its directory there.
        """

    # the place

    @property
    @abstractmethod
    def uv(self) -> str:
        """The uv of the place."""

    @property
    @abstractmethod
    def repair_with(self) -> str:
        """How the repair script is started there."""

    @property
    @abstractmethod
    def evaluate(self) -> tuple[str, ...]:
        """What runs a command there when it is put before it; nothing on this host."""

    @abstractmethod
    def base(self) -> Mapping[str, str]:
        """Return the environment before the matrix and the project add theirs."""

    @abstractmethod
    def builder(self) -> str:
        """Return the directory of programs of the Python that builds."""

    @abstractmethod
    def path(self, builder: str) -> str:
        """Return the directories that come first on the PATH of the build."""

    @abstractmethod
    def tester(self, python: str) -> str:
        """Make the clean environment of a Python that tests; return its directory of programs."""

    @abstractmethod
    def build_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return the resolved environment, with what only this place needs."""

    @abstractmethod
    def provide_build(
        self, builder: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """See to it that ``python -m build`` works."""

    @abstractmethod
    def outer(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str
    ) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """Return what this host runs so that the place runs a command."""

    @abstractmethod
    def fresh(self, folder: str) -> None:
        """Make a directory, or make it empty."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the names in a directory, sorted."""

    @abstractmethod
    def give(self, source: Path, destination: str) -> None:
        """Copy a file or directory of this host to the place."""

    @abstractmethod
    def fetch(self, path: str) -> Path:
        """Return a file of the place as a file of this host."""

    # the steps

    def _wheel(self) -> Path:
        self.enter("setup")
        builder = self.builder()
        options = self._options(builder)
        if not options["selected"]:
            raise StepFailed(
                Failure(
                    kind=FailureKind.NO_IDENTIFIER,
                    step="setup",
                    message=f"the project does not support {self.target.python}",
                    hint="exclude this cell, or correct the project's requires-python",
                )
            )
        env = self.build_env(options["env"])
        self._command("before-all", options["before_all"], env)
        self._command("before-build", options["before_build"], env)
        self.enter("build")
        output = f"{self.scratch}/built"
        self.fresh(output)
        self.make_wheel(builder, output, options, env)
        built = self._platform_wheel(output)
        repaired = self._repair(built, options["repair"], env)
        self.prove(repaired, options)
        return self.fetch(repaired)

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test a wheel, where there is a test."""
        if options["test"] and options["tested"]:
            for python in (self.target.python, *self._later(wheel)):
                self._test(wheel, options, python)

    def _later(self, wheel: str) -> tuple[str, ...]:
        """The other Pythons that an abi3 wheel is tested on.

        A wheel that was to be for the stable ABI and is not could not even be installed there;
        `verify` says so.
        """
        stable = wheel.split("-")[-2].startswith("abi3")
        return self.target.test_pythons if stable else ()

    def _options(self, builder: str, test_path: str = "") -> dict[str, Any]:
        """Ask cibuildwheel what it would do for this target, its tests run from `test_path`."""
        question = self.job.scratch / "question.json"
        answer = self.job.scratch / "answer.json"
        base = self.base()
        asked = {
            "identifier": self.target.build_identifier,
            "package": str(self.job.source),
            "project": self.project,
            "environ": base,
            "evaluate": self.evaluate,
            "path": f"{self.path(builder)}:{base['PATH']}",
            "test_path": test_path or f"{self.scratch}/test-venv/bin",
            "scratch": str(self.job.scratch),
        }
        question.write_text(json.dumps(asked), encoding="utf-8")
        asked_for = cibuildwheel.options(
            self.job.request, repair_with=self.repair_with, compilers=self.job.compilers
        )
        env = {**self.host.net_env, **asked_for}
        script = ["-I", str(OPTIONS_SCRIPT), str(question), str(answer)]
        argv = [str(self.host.toolchain.python), *script]
        if self.attempt(argv, argv, env, self.job.source) != 0:
            raise StepFailed(
                Failure(
                    kind=FailureKind.CONFIGURATION,
                    step="setup",
                    message=self._tail[-1] if self._tail else "cibuildwheel refused its options",
                    hint="correct matrix.toml or the project's [tool.cibuildwheel]",
                )
            )
        options: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return options

    def make_wheel(
        self, builder: str, output: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Run the PEP 517 build in isolation, with the frontend the project asks for."""
        python, source = f"{builder}/python", self.project
        frontend, flags = options["frontend"], list(options["flags"])
        if frontend == "pip":
            argv = [python, "-m", "pip", "wheel", source, f"--wheel-dir={output}", "--no-deps"]
        elif frontend == "uv":
            argv = [self.uv, "build", "--python", python, "--wheel", f"--out-dir={output}", source]
        else:
            self.provide_build(builder, options, env)
            argv = [python, "-m", "build", source, "--wheel", f"--outdir={output}"]
            flags += ["--installer=uv"] if frontend == "build[uv]" else []
        self.run([*argv, *flags], env)

    def _platform_wheel(self, output: str) -> str:
        """Return the wheel that was built.

        Raises:
            StepFailed: there is not one, or it is for every platform.
        """
        wheel = self._only(output)
        if wheel.endswith("-none-any.whl"):
            raise StepFailed(
                Failure(
                    kind=FailureKind.PURE_WHEEL,
                    step="build",
                    message="the build made a pure Python wheel (none-any)",
                    hint=cibuildwheel.PURE_HINT,
                )
            )
        return wheel

    def _repair(self, wheel: str, command: str, env: Mapping[str, str]) -> str:
        if not command:
            return wheel
        output = f"{self.scratch}/repaired"
        self.fresh(output)
        filled = command.replace("{wheel}", wheel).replace("{dest_dir}", output)
        self._command("repair", filled, env)
        return self._only(output)

    def _test(self, wheel: str, options: Mapping[str, Any], python: str) -> None:
        """Install the wheel in a clean environment and test it away from the source."""
        self.enter("test")
        self.job.log(f"testing with {python}")
        env = options["test_env"]
        program = f"{self.tester(python)}/python"
        self._command("test", options["before_test"], env)
        install = [program, "-m", "pip", "install", "-q"]
        self.run([*install, f"{wheel}{options['test_extras']}"], env)
        if options["test_requires"]:
            self.run([*install, *options["test_requires"]], env)
        away = f"{self.scratch}/test"
        self.fresh(away)
        for each in options["test_sources"]:
            self.give(self.job.source / each, f"{away}/{each}")
        self._command("test", options["test"].replace("{wheel}", wheel), env, cwd=away)

    # helpers

    def enter(self, step: str) -> None:
        """Say that a step begins."""
        if step != self.step:
            self.step = step
            self.job.step(step)

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        """Run a command in the place, to the log.

        Raises:
            StepFailed: it fails.
        """
        env = self.base() if env is None else env
        self._last = (argv, env, cwd or self.project)
        outer, outer_env, folder = self.outer(*self._last)
        code = self.attempt(argv, outer, outer_env, folder)
        if code == 0:
            return
        kind, message = _KINDS[self.step]
        verdict = cibuildwheel.repair_verdict(self._tail) if self.step == "repair" else ""
        raise StepFailed(
            machine_trouble(code, self._tail, step=self.step)
            or Failure(
                kind=kind,
                step=self.step,
                message=verdict or f"{message} ({Path(argv[0]).name} exit {code})",
                hint="the log's last lines tell"
                if kind is FailureKind.SETUP
                else HINTS.get(kind, ""),
            )
        )

    def hear(self, line: str) -> None:
        """Take a line of what a command prints."""
        self._tail.append(line)

    def attempt(
        self, shown: Sequence[str], argv: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> int:
        """Run a program of this host within what is left of the target's time.

        Args:
            shown: what the log shows of it.
            argv: what is run.
            env: its environment.
            cwd: its directory.
        """
        self.job.log(f"+ {' '.join(shown)}")
        end = self.job.run(argv, env=env, cwd=cwd, on_line=self.hear, is_client=bool(self.evaluate))
        stopped = self.job.ended_early(end, step=self.step)
        if stopped is not None:
            raise StepFailed(stopped)
        return end.returncode

    def _command(
        self, step: str, command: str, env: Mapping[str, str], cwd: str | None = None
    ) -> None:
        if command:
            self.enter(step)
            self.run(["sh", "-c", command], env, cwd)

    def _only(self, folder: str) -> str:
        wheels = [each for each in self.names(folder) if each.endswith(".whl")]
        if len(wheels) == 1:
            return f"{folder}/{wheels[0]}"
        found = ", ".join(wheels) or "none"
        kind = FailureKind.DUPLICATE_WHEEL if wheels else FailureKind.NO_WHEEL
        raise StepFailed(
            Failure(kind=kind, step=self.step, message=f"expected one wheel, got: {found}")
        )
