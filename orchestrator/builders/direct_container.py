"""The `direct` backend in a container: for what cibuildwheel cannot build, loongarch64 first.

The image is laid out as cibuildwheel's are: ``/opt/python/<tag>/bin/python`` with pip.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import shell
from orchestrator.builders.base import StepTimer, StoppedBuild
from orchestrator.builders.cibuildwheel import (
    ATTACH_IN_CONTAINER,
    IN_CONTAINER,
    IN_CONTAINER_LIBRARY,
    IN_CONTAINER_SCRATCH,
    IN_CONTAINER_TOOLS,
    KEPT_PIP,
    SEED_SCRIPT,
    CibuildwheelEnd,
    tool_mounts,
)
from orchestrator.builders.clues import Clues
from orchestrator.builders.steps import BuildSteps, Command, Place, StepFailed
from orchestrator.containers import engine as engines
from orchestrator.containers.access import NO_ACCESS
from orchestrator.containers.container import PROJECT, Container, ContainerError, ContainerFactory
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.reading import json_value
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName, TargetSteps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import BuildContext, Outcome

_TEST_FOLDER = "test_cwd"
"""Where cibuildwheel runs a test, beside the test's virtual environment."""

IDLE = ("tail", "-f", "/dev/null")
"""Keeps a container running; coreutils and busybox have it."""

_SHELL = ("sh", "-c", "if command -v bash >/dev/null; then exec bash --norc; else exec sh; fi")
"""Opens a shell that reads no file which would change the environment of the build."""

_SEED = f"{IN_CONTAINER_SCRATCH}/{SEED_SCRIPT.name}"

_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectInContainer:
    """Build in a container of the target's image."""

    containers: ContainerFactory
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        mounts = tool_mounts(self.containers.host.toolchain)
        try:
            with self.containers.container(
                job.request.target, IDLE, step="start", access=job.compilers, mounts=mounts
            ) as container:
                job.step("start")
                container.start()
                job.step("copy")
                container.put(f"{job.source}/.", PROJECT)
                outcome = _ContainerSteps(job, container).outcome()
                job.timer.spend(shell.counted(container.ask(*shell.ASK)))
                return outcome
        except ContainerError as refused:
            return refused.failure


def prove_elsewhere(containers: ContainerFactory, job: BuildContext, wheel: Path) -> None:
    """Test a wheel of this host in a container of its target's image, within the job's limits.

    Raises:
        StepFailed: the test fails, or the engine refuses.
    """
    # Nothing is compiled there.
    job = replace(job, compilers=NO_ACCESS)
    try:
        with containers.container(job.request.target, IDLE, step="test") as container:
            container.start()
            container.put(f"{job.source}/.", PROJECT)
            _ContainerSteps(job, container).prove_foreign(wheel)
    except ContainerError as refused:
        raise StepFailed(refused.failure) from None


def show_left(
    containers: ContainerFactory, job: BuildContext, failure: Failure, ended: CibuildwheelEnd
) -> None:
    """Start the container that a failed cibuildwheel left behind, and offer a shell in it.

    Args:
        containers: whose label the container has.
        job: what was built; its log gets the reason if there is no shell.
        failure: how it ended.
        ended: what cibuildwheel did last.
    """
    left = engines.containers(containers.engine.name, containers.label, env=containers.env)
    if not left or job.stopped is None:
        return
    container = Container(factory=containers, id=left[0], step=failure.step)
    # Without limits: the one that the build exceeded would end these questions as well.
    steps = _ContainerSteps(replace(job, timer=StepTimer(TargetSteps()), clues=Clues()), container)
    try:
        container.start()
        job.stopped(steps.left(failure, ended))
    except (ContainerError, StepFailed) as refused:
        job.log(f"no shell: {refused.failure.message}")


class _ContainerSteps(BuildSteps):
    """The steps in a running container that nobody else uses."""

    def __init__(self, job: BuildContext, container: Container) -> None:
        super().__init__(container.factory.host, job)
        self.containers = container.factory
        self._container = container
        self._given: dict[str, str] = {}
        # Otherwise uname(2) names the 64-bit kernel's architecture, and so does the wheel.
        compatible = how(host_arch(), self.target.arch) is Execution.COMPATIBLE
        self._prefix = ("linux32",) if compatible else ()

    def prove_foreign(self, wheel: Path) -> None:
        """Test a wheel that was built elsewhere."""
        options = self.options()
        copied = f"{IN_CONTAINER_SCRATCH}/{wheel.name}"
        self.give(wheel, copied)
        self.prove(copied, options)

    def left(self, failure: Failure, ended: CibuildwheelEnd) -> StoppedBuild:
        """Return how to open a shell in the container where cibuildwheel stopped."""
        tests = failure.step == "test" and bool(ended.venv)
        options = self.options(f"{ended.venv}/bin" if tests else "")
        env = {
            **options["test_env" if tests else "env"],
            "CIBUILDWHEEL_BUILD_IDENTIFIER": self.target.build_identifier,
        }
        cwd = str(Path(ended.venv).parent / _TEST_FOLDER) if ended.tests else PROJECT
        stopped = self.stop(failure, Command(argv=(), env=env, cwd=cwd))
        return replace(stopped, again=ended.command)

    def open_place(self) -> Place:
        """Look at the image's Python, and keep its pip from what the build does to it."""
        programs = self._programs(self.target.python)
        python = f"{programs}/python"
        self._given = self._ask_environment(python)
        self._keep_pip(python, KEPT_PIP)
        return Place(
            project=PROJECT,
            scratch=IN_CONTAINER_SCRATCH,
            base={
                "AUDITWHEEL_ARCH": str(self.target.arch),  # as images of manylinux have it
                **self._given,
                **self.job.parallel,
                "CIBUILDWHEEL": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_ROOT_USER_ACTION": "ignore",
            },
            interpreter=python,
            programs=programs,
            frontend=(python, "-I", "-S", f"{IN_CONTAINER_TOOLS}/frontend.py"),
            attach=ATTACH_IN_CONTAINER,
            libraries=(IN_CONTAINER_LIBRARY,),
            pip=KEPT_PIP,
            uv="uv",
            repair_with=IN_CONTAINER,
            evaluate=(*self._engine("exec", f"--workdir={PROJECT}"), self._container.id),
        )

    def _programs(self, python: str) -> str:
        """Return the directory of an image's Python; manylinux images can make some first."""
        name = PythonTag.parse(python).image_directory
        script = (
            "command -v manylinux-interpreters >/dev/null && manylinux-interpreters ensure $0 >&2; "
            "ls -d /opt/python/$0/bin"
        )
        what = f"image {self.target.image} has no /opt/python/{name}"
        return self._ask("sh", "-c", script, name, failed=what).split()[0]

    def _ask_environment(self, python: str) -> dict[str, str]:
        """Return the environment that the image, the engine and the host's network give."""
        what = "the image's Python does not run: {}"
        said = self._ask(python, "-I", "-c", _ENVIRONMENT, failed=what)
        given: dict[str, str] = json_value(said, where="the container", names=True)
        return given

    def _keep_pip(self, python: str, place: str) -> None:
        """Copy an image's pip; an image without one can build, but not test."""
        self.give(SEED_SCRIPT, _SEED)
        self._container.ask(python, "-I", _SEED, "keep", place)

    def make_tester(self, python: str) -> tuple[str, str]:
        venv, kept = f"{IN_CONTAINER_SCRATCH}/test-venv", KEPT_PIP
        program = f"{self._programs(python)}/python"
        if python != self.target.python:
            kept = f"{KEPT_PIP}-{python}"
            self._keep_pip(program, kept)
        # Without the site-packages of this Python, which may be the project's by now.
        words = (program, "-I", "-S", _SEED, "venv", venv, kept)
        self._ask(*words, failed="no environment for the test: {}")
        return f"{venv}/bin", kept

    def outer(self, command: Command) -> tuple[Sequence[str], Mapping[str, str], Path]:
        return self._exec(command), self._container.factory.env, self.job.source

    def _exec(self, command: Command, *options: str) -> list[str]:
        # What the container has already, credentials among it, need not be shown in a process list.
        changed = [f"--env={k}={v}" for k, v in command.env.items() if self._given.get(k) != v]
        argv = self._engine("exec", *options, f"--workdir={command.cwd}")
        return [*argv, *changed, self._container.id, *self._prefix, *command.argv]

    def _engine(self, *words: str) -> tuple[str, ...]:
        return self._container.factory.engine.name, *words

    def stop(self, failure: Failure, last: Command) -> StoppedBuild:
        terminal = ("--interactive", "--tty", "--env=TERM")
        return StoppedBuild(
            failure=failure,
            argv=self._exec(replace(last, argv=_SHELL), *terminal),
            env=self._container.factory.env,
            cwd=self.job.source,
            again=shlex.join(last.argv),
            place=f"container {self._container.id[:12]}; the source is in {PROJECT}",
        )

    def empty(self, folder: str) -> None:
        what = f"{folder} cannot be made: {{}}"
        self._ask("sh", "-c", 'rm -rf "$0" && mkdir -p "$0"', folder, failed=what)

    def names(self, folder: str) -> Sequence[str]:
        return sorted(self._container.ask("ls", folder).stdout.splitlines())

    def give(self, source: Path, destination: str) -> None:
        self._container.ask("mkdir", "-p", str(Path(destination).parent))
        self._container.put(f"{source}/." if source.is_dir() else str(source), destination)

    def fetch(self, path: str) -> Path:
        wheel = self.job.scratch / Path(path).name
        self._container.take(path, str(wheel))
        return wheel

    def _ask(self, *argv: str, failed: str) -> str:
        """Return what a command prints; `failed` says what is wrong otherwise, `{}` being why.

        Raises:
            StepFailed: it fails: the image is not what a build needs.
        """
        said = self._container.ask(*argv)
        if said.ok:
            return said.stdout
        raise StepFailed(
            Failure(
                kind=FailureKind.SETUP,
                step=self.step,
                message=failed.format(said.last_line),
                hint="an image needs /opt/python/<tag>/bin/python with pip: "
                "`orchestrator image build` makes one",
                transient=said.may_pass,
            )
        )
