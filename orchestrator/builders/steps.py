"""cibuildwheel's steps, driven by us: the `direct` backend, wherever it builds.

The options come from cibuildwheel's own parser (`scripts/cibw_options.py`), so that a project's
``[tool.cibuildwheel]`` means the same in both backends.
"""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
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
    **cibuildwheel.BY_STEP,
    "setup": (FailureKind.SETUP, "the build environment could not be set up"),
}


class StepFailed(Exception):  # noqa: N818 - carries a Failure up to `outcome` and no further
    """A step ended the build."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the steps run: this host, or a container. The paths are paths of that place.

    Attributes:
        project: the source.
        scratch: a directory for everything else.
        uv: its uv.
        repair_with: the command that starts the repair script there.
        evaluate: words that run a command there when they come before it; none on this host.
    """

    project: str
    scratch: str
    uv: str
    repair_with: str
    evaluate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the place; ``env`` is its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str


class BuildSteps(ABC):
    """Take one target through the steps; a subclass knows the place where they run.

    Paths that are strings are paths of the place.
    """

    def __init__(self, host: Host, job: BuildContext, place: Place) -> None:
        self.host = host
        self.job = job
        self.place = place
        self.target: Target = job.request.target
        self.step = ""
        self.tail: deque[str] = deque(maxlen=30)
        self._last = Command(argv=(), env={}, cwd=place.project)

    def outcome(self) -> Outcome:
        """Take all steps; return the wheel on this host, or why there is none."""
        try:
            return self._wheel()
        except StepFailed as ended:
            failure = ended.failure
            if self.job.stopped is not None and failure.kind is not FailureKind.CANCELLED:
                self.job.stopped(self.stop(failure, shlex.join(self._last.argv), self._last))
            return failure

    # the place

    @abstractmethod
    def stop(self, failure: Failure, again: str, last: Command) -> StoppedBuild:
        """Return how to open a shell where the last command ran, which is ``again`` as typed."""

    @abstractmethod
    def base(self) -> Mapping[str, str]:
        """Return the environment before the matrix and the project add theirs."""

    @abstractmethod
    def builder(self) -> str:
        """Return the directory of programs of the Python that builds."""

    @abstractmethod
    def tester(self, python: str) -> str:
        """Make a clean environment of a Python for the test; return its directory of programs."""

    def path(self, builder: str) -> str:
        """Return the directories that come first on the build's PATH."""
        return builder

    def build_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return the resolved environment with what only this place needs."""
        return env

    def provide_build(  # noqa: B027 - images have it
        self, builder: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Make ``python -m build`` work."""

    @abstractmethod
    def outer(self, command: Command) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """Return the arguments, environment and directory that run a command from this host."""

    @abstractmethod
    def fresh(self, folder: str) -> None:
        """Make a directory, or empty it."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a directory."""

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
        options = self.options(builder)
        if not options["selected"]:
            raise self.failed(
                FailureKind.NO_IDENTIFIER,
                f"the project does not support {self.target.python}",
                HINTS[FailureKind.NO_IDENTIFIER],
            )
        env = self.build_env(options["env"])
        self._shell("before-all", options["before_all"], env)
        self._shell("before-build", options["before_build"], env)
        self.enter("build")
        output = f"{self.place.scratch}/built"
        self.fresh(output)
        self.make_wheel(builder, output, options, env)
        wheel = self._only_wheel(output)
        if wheel.endswith("-none-any.whl"):
            message = "the build made a pure Python wheel (none-any)"
            raise self.failed(FailureKind.PURE_WHEEL, message, HINTS[FailureKind.PURE_WHEEL])
        if options["repair"]:
            repaired = f"{self.place.scratch}/repaired"
            self.fresh(repaired)
            command = options["repair"].replace("{wheel}", wheel).replace("{dest_dir}", repaired)
            self._shell("repair", command, env)
            wheel = self._only_wheel(repaired)
        self.prove(wheel, options)
        return self.fetch(wheel)

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test a wheel, if it has a test; an abi3 wheel on the later Pythons too."""
        if options["test"] and options["tested"]:
            # `verify` reports a wheel that was planned for the stable ABI and is not for it. The
            # later Pythons could not even install it.
            stable = wheel.split("-")[-2].startswith("abi3")
            for python in (self.target.python, *(self.target.test_pythons if stable else ())):
                self._test(wheel, options, python)

    def options(self, builder: str, test_path: str = "") -> dict[str, Any]:
        """Ask cibuildwheel for its options for this target; `test_path` runs its tests."""
        answer, base = self.job.scratch / "answer.json", self.base()
        question = self.write_json(
            "question",
            {
                "identifier": self.target.build_identifier,
                "package": str(self.job.source),
                "project": self.place.project,
                "environ": base,
                "evaluate": self.place.evaluate,
                "path": f"{self.path(builder)}:{base['PATH']}",
                "test_path": test_path or f"{self.place.scratch}/test-venv/bin",
                "scratch": str(self.job.scratch),
            },
        )
        given = cibuildwheel.options(
            self.job.request, repair_with=self.place.repair_with, compilers=self.job.compilers
        )
        script = ["-I", str(OPTIONS_SCRIPT), question, str(answer)]
        argv = [str(self.host.toolchain.python), *script]
        if self._attempt(argv, argv, {**self.host.net_env, **given}, self.job.source) != 0:
            raise StepFailed(
                Failure(
                    kind=FailureKind.CONFIGURATION,
                    step="setup",
                    message=self.tail[-1] if self.tail else "cibuildwheel refused its options",
                    hint="correct matrix.toml or the project's [tool.cibuildwheel]",
                )
            )
        options: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return options

    def make_wheel(
        self, builder: str, output: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Run the PEP 517 build in isolation, with the frontend that the project chooses."""
        python, source = f"{builder}/python", self.place.project
        frontend, flags = options["frontend"], list(options["flags"])
        if frontend == "pip":
            argv = [python, "-m", "pip", "wheel", source, f"--wheel-dir={output}", "--no-deps"]
        elif frontend == "uv":
            argv = [self.place.uv, "build", "--python", python, "--wheel"]
            argv += [f"--out-dir={output}", source]
        else:
            self.provide_build(builder, options, env)
            argv = [python, "-m", "build", source, "--wheel", f"--outdir={output}"]
            flags += ["--installer=uv"] if frontend == "build[uv]" else []
        self.run([*argv, *flags], env)

    def _test(self, wheel: str, options: Mapping[str, Any], python: str) -> None:
        """Install the wheel in a clean environment, and test it away from the source."""
        self.enter("test")
        self.job.log(f"testing with {python}")
        env = options["test_env"]
        program = f"{self.tester(python)}/python"
        self._shell("test", options["before_test"], env)
        install = [program, "-m", "pip", "install", "-q"]
        self.run([*install, f"{wheel}{options['test_extras']}"], env)
        if options["test_requires"]:
            self.run([*install, *options["test_requires"]], env)
        away = f"{self.place.scratch}/test"
        self.fresh(away)
        for source in options["test_sources"]:
            if not (self.job.source / source).exists():
                hint = "test.sources names files and directories of the source"
                raise self.failed(FailureKind.TEST, f"no test source {source}", hint)
            self.give(self.job.source / source, f"{away}/{source}")
        self._shell("test", options["test"].replace("{wheel}", wheel), env, cwd=away)

    # helpers

    def enter(self, step: str) -> None:
        """Begin a step, unless it is the current one."""
        if step != self.step:
            self.step = step
            self.job.step(step)

    def write_json(self, name: str, facts: Mapping[str, object]) -> str:
        """Write the question for a script of this host; return the file."""
        file = self.job.scratch / f"{name}.json"
        file.write_text(json.dumps(facts), encoding="utf-8")
        return str(file)

    def failed(self, kind: FailureKind, message: str, hint: str = "") -> StepFailed:
        """Return the error that ends the build in the current step."""
        return StepFailed(Failure(kind=kind, step=self.step, message=message, hint=hint))

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        """Run a command in the place.

        Raises:
            StepFailed: it fails.
        """
        env = self.base() if env is None else env
        self._last = Command(argv=argv, env=env, cwd=cwd or self.place.project)
        code = self._attempt(argv, *self.outer(self._last))
        if code == 0:
            return
        if machine := machine_trouble(code, self.tail, step=self.step):
            raise StepFailed(machine)
        kind, message = _KINDS[self.step]
        verdict = cibuildwheel.repair_verdict(self.tail) if self.step == "repair" else ""
        setup = "see the log's last lines" if kind is FailureKind.SETUP else ""
        message = verdict or f"{message} ({Path(argv[0]).name} exit {code})"
        raise self.failed(kind, message, setup or HINTS.get(kind, ""))

    def hear(self, line: str) -> None:
        """Take a line that a command prints."""
        self.tail.append(line)

    def _attempt(
        self, shown: Sequence[str], argv: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> int:
        """Run a program of this host, which the log shows as ``shown``; return its exit status."""
        self.job.log(f"+ {' '.join(shown)}")
        client = bool(self.place.evaluate)
        end = self.job.run(argv, env=env, cwd=cwd, on_line=self.hear, is_client=client)
        stopped = self.job.ended_early(end, step=self.step)
        if stopped is not None:
            raise StepFailed(stopped)
        return end.returncode

    def _shell(
        self, step: str, command: str, env: Mapping[str, str], cwd: str | None = None
    ) -> None:
        if command:
            self.enter(step)
            self.run(["sh", "-c", command], env, cwd)

    def _only_wheel(self, folder: str) -> str:
        wheels = [name for name in self.names(folder) if name.endswith(".whl")]
        if len(wheels) == 1:
            return f"{folder}/{wheels[0]}"
        kind = FailureKind.DUPLICATE_WHEEL if wheels else FailureKind.NO_WHEEL
        raise self.failed(kind, f"expected one wheel, got: {', '.join(wheels) or 'none'}")
