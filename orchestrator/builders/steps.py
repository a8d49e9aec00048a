"""cibuildwheel's steps, driven by us: the `direct` backend, wherever it builds.

The options come from cibuildwheel's own parser (`scripts/cibw_options.py`), so that a project's
``[tool.cibuildwheel]`` means the same in both backends.
"""

from __future__ import annotations

import json
import os
import shlex
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import StoppedBuild
from orchestrator.builders.cibuildwheel import (
    HINTS,
    RUN_PIP,
    frontend_question,
    repair_verdict,
    setup_hint,
)
from orchestrator.builders.known_options import config_file
from orchestrator.fsutil import copy_any, make_empty, resolve_beneath
from orchestrator.host.json_file import load_json
from orchestrator.host.network import NO_INDEX
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.untrusted import RelativePath
from orchestrator.models.wheel_name import WheelName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host

LIMITING = (
    *("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"),
    *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"),
)
"""Variables with files that limit what pip and uv install, there and to build an sdist."""

OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    **dict.fromkeys(("PIP_NO_INDEX", "UV_NO_CONFIG"), "1"),
    "UV_DEFAULT_INDEX": NO_INDEX,
    **dict.fromkeys(("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_INDEX", "UV_EXTRA_INDEX_URL"), ""),
}
"""Variables with which neither pip nor uv installs what is not there; `shell.sh` has them too."""

_PLAIN_SHELL = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
"""Options that keep a shell from reading files that would change the environment of a build."""

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
class Command:
    """A command of the place; ``env`` is its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the steps run: this host, or a container. The paths are paths of that place.

    Attributes:
        project: the source.
        scratch: a directory for everything else.
        base: the environment before the matrix and the project add theirs.
        interpreter: the Python below all environments of the build.
        programs: the directory of programs of the environment that before-build fills.
        first: directories that come first on PATH.
        last: directories that come after it there.
        frontend: the words that start the frontend script, before the name of its file.
        attach: the script that adds a prepared environment to another one.
        libraries: directories that this script needs on its path.
        pip: the directory that has the package pip, for the frontend alone.
        uv: its uv.
        repair_with: the command that starts the repair script there.
        evaluate: words that run a command there when they come before it; none on this host.
    """

    project: str
    scratch: str
    base: Mapping[str, str]
    interpreter: str
    programs: str
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    frontend: tuple[str, ...]
    attach: str
    libraries: tuple[str, ...] = ()
    pip: str
    uv: str
    repair_with: str
    evaluate: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The PATH of the build."""
        return ":".join((*self.first, self.programs, *self.last, self.base["PATH"]))


class BuildSteps(ABC):
    """Take one target through the steps, on this host where a subclass does not say otherwise.

    Args:
        host: this machine.
        job: what is built.
    """

    def __init__(self, host: Host, job: BuildContext) -> None:
        self.host = host
        self.job = job
        self.target: Target = job.request.target
        self.step = ""
        self.containers: ContainerFactory | None = None
        self._last: Command | None = None

    def outcome(self) -> Outcome:
        """Take all steps; return the wheel on this host, or why there is none."""
        try:
            return self._wheel()
        except StepFailed as ended:
            failure, last = ended.failure, self._last
            cancelled = failure.kind is FailureKind.CANCELLED
            if self.job.stopped is not None and last is not None and not cancelled:
                self.job.stopped(self.stop(failure, last))
            return failure

    @cached_property
    def place(self) -> Place:
        """Where the steps run; it is prepared when the first step needs it."""
        place = self.open_place()
        self._last = Command(argv=(), env=place.base, cwd=place.project)
        return place

    # the place

    @abstractmethod
    def open_place(self) -> Place:
        """Prepare the place where the steps run."""

    @abstractmethod
    def make_tester(self, python: str) -> tuple[str, str]:
        """Make a clean environment of a Python; return its directory of programs, and of a pip.

        A pip that is as old as the Python that builds does not run on the newest ones.
        """

    def outer(self, command: Command) -> tuple[Sequence[str], Mapping[str, str], Path]:
        """Return the arguments, environment and directory that run a command from this host."""
        return command.argv, command.env, Path(command.cwd)

    def stop(self, failure: Failure, last: Command) -> StoppedBuild:
        """Return how to open a shell where a failed command ran."""
        shell = os.environ.get("SHELL") or "/bin/sh"
        return StoppedBuild(
            failure=failure,
            argv=[shell, *_PLAIN_SHELL.get(Path(shell).name, ())],
            env=last.env,
            cwd=Path(last.cwd),
            again=shlex.join(last.argv),
            place=f"this host; the source is in {self.job.source}",
        )

    def empty(self, folder: str) -> None:
        """Make a directory, or empty it."""
        make_empty(Path(folder))

    def names(self, folder: str) -> Sequence[str]:
        """Return the sorted names in a directory."""
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths

    def give(self, source: Path, destination: str) -> None:
        """Copy a file or directory of this host there."""
        copy_any(source, Path(destination))

    def fetch(self, path: str) -> Path:
        """Return a file of the place as a file of this host."""
        return Path(path)

    def adapt(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Add what only this place needs to the environment of the build."""
        return env

    def for_test(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Change what only this place has to in the environment of a test."""
        return env

    # the steps

    def _wheel(self) -> Path:
        self.enter("setup")
        options = self.options()
        if not options["selected"]:
            raise self.failed(
                FailureKind.NO_IDENTIFIER,
                f"the project does not support {self.target.python}",
                HINTS[FailureKind.NO_IDENTIFIER],
            )
        place = self.place
        env, spec = self.adapt(options["env"]), self.target.steps.environment
        if self.job.requirements.limits or not spec.isolation:
            # before-build gets what the matrix requires of its environment, and its constraints.
            self._run_frontend("", options, env, "setup")
        self._shell("before-all", options["before_all"], env)
        self._shell("before-build", options["before_build"], self._limited(env))
        self.enter("build")
        output = f"{place.scratch}/built"
        self.empty(output)
        self._run_frontend(output, options, env)
        wheel = self._only_wheel(output)
        name = WheelName.match(PurePosixPath(wheel).name)
        if name is not None and (name.abi, name.platform) == ("none", "any"):
            message = "the build made a pure Python wheel (none-any)"
            raise self.failed(FailureKind.PURE_WHEEL, message, HINTS[FailureKind.PURE_WHEEL])
        if options["repair"]:
            repaired = f"{place.scratch}/repaired"
            self.empty(repaired)
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
            name = WheelName.match(PurePosixPath(wheel).name)
            stable = name is not None and name.abi.startswith("abi3")
            for python in (self.target.python, *(self.target.test_pythons if stable else ())):
                self._test(wheel, options, python)

    def options(self, test_path: str = "") -> dict[str, Any]:
        """Ask cibuildwheel for its options for this target; `test_path` runs its tests."""
        answer, place = self.job.scratch / "answer.json", self.place
        question = self.write_json(
            "question",
            {
                "identifier": self.target.build_identifier,
                "package": str(self.job.source),
                "project": place.project,
                "environ": place.base,
                "evaluate": place.evaluate,
                "path": place.path,
                "test_path": test_path or f"{place.scratch}/test-venv/bin",
                "scratch": str(self.job.scratch),
                "config": str(config_file(self.job) or ""),
                "graft": cibuildwheel.repair_command(self.target, place.repair_with),
            },
        )
        given = cibuildwheel.options(
            self.job.request,
            repair_with=place.repair_with,
            compilers=self.job.compilers,
            tests=self.job.requirements.test_sites,
            attach=place.attach,
        )
        script = ["-I", str(OPTIONS_SCRIPT), question, str(answer)]
        argv = [str(self.host.toolchain.python), *script]
        if self._attempt(argv, argv, {**self.host.net_env, **given}, self.job.source) != 0:
            raise StepFailed(
                Failure(
                    kind=FailureKind.CONFIGURATION,
                    step="setup",
                    message=self.job.clues.last_line or "cibuildwheel refused its options",
                    hint="correct matrix.toml or the project's [tool.cibuildwheel]",
                )
            )
        return load_json(dict[str, Any], answer)

    def _limited(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment of before-build: what it installs keeps to the constraints."""
        if not self.job.requirements.limits:
            return env
        file = f"{self.place.scratch}/limits.txt"
        own = {name: " ".join(filter(None, (file, env.get(name)))) for name in LIMITING}
        return {**env, **own}

    def _run_frontend(
        self, output: str, options: Mapping[str, Any], env: Mapping[str, str], *words: str
    ) -> None:
        """Run the frontend script, which makes the wheel unless `words` say otherwise."""
        place = self.place
        question = {
            **frontend_question(
                self.job,
                libraries=place.libraries,
                scratch=place.scratch,
                attach=place.attach,
                pip=place.pip,
            ),
            "source": place.project,
            "output": output,
            "interpreter": place.interpreter,
            "python": f"{place.programs}/python",
            "frontend": options["frontend"],
            "flags": options["flags"],
            **self._installer(options),
            **self.for_hooks(),
        }
        file = f"{place.scratch}/frontend.json"
        self.give(Path(self.write_json("frontend-question", question)), file)
        self.run([*place.frontend, file, *words], env)

    def _installer(self, options: Mapping[str, Any]) -> dict[str, object]:
        """Return what installs the requirements of the build, and with which variables."""
        place = self.place
        if options["frontend"] in {"build[uv]", "uv"} or "--installer=uv" in options["flags"]:
            return {"uv": place.uv}
        variables = self.job.requirements.uv
        return {} if variables is None else {"uv": place.uv, "variables": variables}

    def for_hooks(self) -> dict[str, object]:
        """Return what the frontend script is told about the hook that builds."""
        return {}

    def _test(self, wheel: str, options: Mapping[str, Any], python: str) -> None:
        """Install the wheel in a clean environment, and test it away from the source."""
        self.enter("test")
        self.job.log(f"testing with {python}")
        env, place = self.for_test(options["test_env"]), self.place
        if self.job.requirements.tests_offline:
            env = {**env, **OFFLINE}
        programs, pip = self.make_tester(python)
        self._shell("test", options["before_test"], env)
        # Nothing of the source, of PYTHONPATH or of before-test stands in for pip.
        install = [f"{programs}/python", "-I", "-c", RUN_PIP, pip, "install", "-q"]
        self.run([*install, f"{wheel}{options['test_extras']}"], env)
        if options["test_requires"]:
            self.run([*install, *options["test_requires"]], env)
        away = f"{place.scratch}/test"
        self.empty(away)
        for source in options["test_sources"]:
            self.give(self._test_source(source), f"{away}/{source}")
        self._shell("test", options["test"].replace("{wheel}", wheel), env, cwd=away)

    def _test_source(self, name: str) -> Path:
        """Return a file or directory of the source, which no link leads out of.

        Raises:
            StepFailed: there is none.
        """
        with suppress(OSError):
            path = self.job.source / resolve_beneath(self.job.source, name)
            if RelativePath.match(name) and path.exists():
                return path
        hint = "test.sources names files and directories of the source"
        raise self.failed(FailureKind.TEST, f"no test source {name}", hint)

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
        place = self.place
        self._last = Command(argv=argv, env=env or place.base, cwd=cwd or place.project)
        self.check(argv, self._attempt(argv, *self.outer(self._last)))

    def run_here(self, argv: Sequence[str]) -> None:
        """Run a program of this host in the source, with nothing but the network's settings.

        Raises:
            StepFailed: it fails.
        """
        self.check(argv, self._attempt(argv, argv, self.host.net_env, self.job.source))

    def check(self, argv: Sequence[str], code: int) -> None:
        """Raise what a program's exit status means."""
        if code == 0:
            return
        kind, message = _KINDS[self.step]
        verdict = repair_verdict(self.job.clues.tail) if self.step == "repair" else ""
        setup = "see the log's last lines" if kind is FailureKind.SETUP else ""
        setup = setup_hint(self.job.clues.tail, self.step, setup)
        message = verdict or f"{message} ({Path(argv[0]).name} exit {code})"
        raise self.failed(kind, message, setup or HINTS.get(kind, ""))

    def _attempt(
        self, shown: Sequence[str], argv: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> int:
        """Run a program of this host, which the log shows as ``shown``; return its exit status."""
        self.job.log(f"+ {' '.join(shown)}")
        # Everything else runs on this host.
        containers = self.containers if argv != shown else None
        end = self.job.run(argv, env=env, cwd=cwd, client_of=containers)
        if trouble := self.job.trouble(end, step=self.step):
            raise StepFailed(trouble)
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
