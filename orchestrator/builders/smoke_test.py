"""Smoke test: import, on its own architecture, a wheel that was compiled natively for it."""

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

_BLAME = 'build.emulation = "full" for this target shows whether the compiler is to blame'


class Importer(Protocol):
    """Imports the modules of a wheel with its own Python, on its own architecture."""

    @property
    def hint(self) -> str:
        """What to do if the import fails."""

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        """Import them, within the limits of ``job``; ``on_line`` gets every line of output.

        Raises:
            ContainerError: the engine refuses.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTested:
    """A backend, and an importer that tries its wheels."""

    backend: Backend
    importer: Importer

    @property
    def name(self) -> BackendName:
        return self.backend.name

    def build(self, job: BuildContext) -> Outcome:
        wheel = self.backend.build(job)
        if isinstance(wheel, Failure):
            return wheel
        try:
            return self._try(job, wheel) or wheel
        except ContainerError as refused:
            return refused.failure

    def _try(self, job: BuildContext, wheel: Path) -> Failure | None:
        job.step(_STEP)
        tail: deque[str] = deque(maxlen=1)
        end = self.importer.run(job, wheel, tail.append)
        stopped = job.ended_early(end, step=_STEP)
        if stopped is not None or end.returncode == 0:
            return stopped
        # A signal, as shells and engines report it.
        code = end.returncode if end.returncode > 0 else 128 - end.returncode
        said = "".join(tail)
        return Failure(
            kind=FailureKind.TEST,
            step=_STEP,
            message=f"the natively compiled wheel cannot be imported: {said} (exit {code})",
            hint=f"{self.importer.hint}; test.smoke = false skips the import",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InContainer:
    """Import in a new container of the target's image."""

    containers: ContainerFactory
    hint: str = _BLAME

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        with self.containers.container(
            job.request.target, IDLE, step=_STEP, access=job.compilers
        ) as container:
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
            job.timer.spend(shell.counted(container.ask(*shell.ASK)))
            return end


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderQemu:
    """Import on this host, without a container, with a Python of the target's architecture.

    Attributes:
        python: that Python.
        env: the environment of QEMU.
        libraries: a directory of libraries that the wheel expects of others; empty for none.
        hint: see `Importer`.
    """

    python: ForeignPython
    env: Mapping[str, str]
    libraries: str = ""
    hint: str = f"where there is a container engine, {_BLAME}"

    def run(self, job: BuildContext, wheel: Path, on_line: Callable[[str], object]) -> Finished:
        job.log(f"importing with {self.python.what}")
        scratch = job.scratch / _STEP
        scratch.mkdir()
        argv = [*self.python.argv, "-I", str(SMOKE_SCRIPT), str(wheel)]
        env = {**self.env, "TMPDIR": str(scratch)}
        if self.libraries:  # of the emulated program, not of QEMU itself
            env["QEMU_SET_ENV"] = f"LD_LIBRARY_PATH={self.libraries}"
        return job.run(argv, env=env, on_line=on_line, cwd=scratch)


def _python(container: Container, job: BuildContext) -> str:
    """Return the interpreter that the wheel is for; the build has used it already."""
    name = PythonTag.parse(job.request.target.python).image_directory
    return container.ask("sh", "-c", f"ls -d /opt/python/{name}/bin/python").stdout.split()[0]
