"""A smoke test: what native compilers made for an emulated machine is imported on it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.builders import shell
from orchestrator.builders.direct_container import IDLE
from orchestrator.containers.container import ContainerError
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.builders.base import Backend, BuildContext, Outcome
    from orchestrator.containers.container import Container, ContainerFactory
    from orchestrator.host.process import Finished
    from orchestrator.models.target import BackendName
    from orchestrator.provision.foreign_python import ForeignPython

SMOKE_SCRIPT = Path(__file__).parent / "scripts" / "import_wheel.py"

_STEP = "smoke"

_BLAME = 'build.emulation = "full" for this target tells whether the compiler is to blame'


class Importer(Protocol):
    """Runs a program with a wheel's own Python, on its own architecture."""

    @property
    def hint(self) -> str:
        """What to do about a wheel that it cannot import."""

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        """Import what is in a wheel.

        Args:
            job: what was built; its limits hold here too.
            wheel: the wheel.
            on_line: gets every line that is said.

        Raises:
            ContainerError: the engine refuses.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTested:
    """A backend whose wheels have been imported where they are for.

    Attributes:
        backend: builds them.
        importer: imports them.
    """

    backend: Backend
    importer: Importer

    @property
    def name(self) -> BackendName:
        """The backend's name."""
        return self.backend.name

    def build(self, job: BuildContext) -> Outcome:
        """See `Backend.build`."""
        made = self.backend.build(job)
        if isinstance(made, Failure):
            return made
        try:
            return self._tried(job, made) or made
        except ContainerError as refused:
            return refused.failure

    def _tried(self, job: BuildContext, wheel: Path) -> Failure | None:
        """Import what is in a wheel; return why it cannot be."""
        job.step(_STEP)
        tail: deque[str] = deque(maxlen=1)
        end = self.importer.run(job, wheel, tail.append)
        stopped = job.ended_early(end, step=_STEP)
        if stopped is not None or end.returncode == 0:
            return stopped
        # A signal, as shells and engines tell of it.
        code = end.returncode if end.returncode > 0 else 128 - end.returncode
        return Failure(
            kind=FailureKind.TEST,
            step=_STEP,
            message=f"what was compiled natively does not load: {''.join(tail)} (exit {code})",
            hint=f"{self.importer.hint}; test.smoke = false leaves the import out",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InContainer:
    """Imports in a new container of the target's image.

    Attributes:
        containers: makes the containers.
    """

    containers: ContainerFactory

    @property
    def hint(self) -> str:
        """See `Importer.hint`."""
        return _BLAME

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        """See `Importer.run`."""
        target, access = job.request.target, job.compilers
        with self.containers.container(target, IDLE, step=_STEP, access=access) as container:
            container.start()
            for file in (SMOKE_SCRIPT, wheel):
                container.put(str(file), f"/tmp/{file.name}")  # noqa: S108 - it is ours alone
            argv = [self.containers.engine.name, "exec", "--workdir=/tmp", container.id]
            argv += [_python(container, job), "-I", f"/tmp/{SMOKE_SCRIPT.name}"]  # noqa: S108
            end = job.run(
                [*argv, f"/tmp/{wheel.name}"],  # noqa: S108
                env=self.containers.env,
                on_line=on_line,
                is_client=True,
            )
            job.course.spend(shell.counted(container.ask(*shell.ASK)))
            return end


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderQemu:
    """Imports on this host, without a container, with a Python of the target's architecture.

    Attributes:
        python: the Python.
        env: the part of our environment that any child may see.
    """

    python: ForeignPython
    env: Mapping[str, str]

    @property
    def hint(self) -> str:
        """See `Importer.hint`."""
        return f"where there is a container engine, {_BLAME}"

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        """See `Importer.run`."""
        job.log(f"importing with {self.python.what}")
        scratch = job.scratch / _STEP
        scratch.mkdir()
        argv = [*self.python.argv, "-I", str(SMOKE_SCRIPT), str(wheel)]
        env = {**self.env, "TMPDIR": str(scratch)}
        return job.run(argv, env=env, on_line=on_line, cwd=scratch)


def _python(container: Container, job: BuildContext) -> str:
    """Return the interpreter that a wheel is for; the backend has used it already."""
    name = PythonTag.parse(job.request.target.python).image_directory
    return container.ask("sh", "-c", f"ls -d /opt/python/{name}/bin/python").stdout.split()[0]
