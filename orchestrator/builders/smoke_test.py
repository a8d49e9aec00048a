"""Smoke test: import, on its own architecture, a wheel that was compiled natively for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import shell
from orchestrator.builders.direct_container import IDLE
from orchestrator.containers.container import ContainerError
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.builders.base import Backend, BuildContext, Outcome
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.host.process import Finished
    from orchestrator.models.target import BackendName
    from orchestrator.provision.foreign_python import ForeignPython

SMOKE_SCRIPT = Path(__file__).parent / "scripts" / "import_wheel.py"

_STEP = "smoke"

_BLAME = 'build.emulation = "full" for this target shows whether the compiler is to blame'


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTested:
    """A backend, and what tries its wheels.

    Attributes:
        backend: makes them.
        try_import: has a Python of the wheel's architecture import its modules, within the limits
            of the build.
        hint: what to do if the import fails.
    """

    backend: Backend
    try_import: Callable[[BuildContext, Path], Finished]
    hint: str = _BLAME

    @property
    def name(self) -> BackendName:
        return self.backend.name

    def build(self, job: BuildContext) -> Outcome:
        wheel = self.backend.build(job)
        if isinstance(wheel, Failure):
            return wheel
        job.step(_STEP)
        try:
            end = self.try_import(job, wheel)
        except ContainerError as refused:
            return refused.failure
        if end.returncode == 0:
            return wheel
        # A signal, as shells and engines report it.
        code = end.returncode if end.returncode > 0 else 128 - end.returncode
        said = job.clues.last_line
        return job.trouble(end, step=_STEP) or Failure(
            kind=FailureKind.TEST,
            step=_STEP,
            message=f"the natively compiled wheel cannot be imported: {said} (exit {code})",
            hint=f"{self.hint}; test.smoke = false skips the import",
        )


def import_in_container(containers: ContainerFactory, job: BuildContext, wheel: Path) -> Finished:
    """Import in a new container of the target's image.

    Raises:
        ContainerError: the engine refuses.
    """
    with containers.container(
        job.request.target, IDLE, step=_STEP, access=job.compilers
    ) as container:
        container.start()
        for file in (SMOKE_SCRIPT, wheel):
            container.put(str(file), f"/tmp/{file.name}")  # noqa: S108 - it is ours alone
        # The build has used this interpreter already.
        name = PythonTag.parse(job.request.target.python).image_directory
        found = container.ask("sh", "-c", f"ls -d /opt/python/{name}/bin/python")
        argv = [containers.engine.name, "exec", "--workdir=/tmp", container.id]
        argv += [found.stdout.split()[0], "-I", SMOKE_SCRIPT.name, wheel.name]
        end = job.run(argv, env=containers.env, client_of=containers)
        job.timer.spend(shell.counted(container.ask(*shell.ASK)))
        return end


UNDER_QEMU_HINT = f"where there is a container engine, {_BLAME}"


def import_under_qemu(
    python: ForeignPython, env: Mapping[str, str], job: BuildContext, wheel: Path
) -> Finished:
    """Import on this host, without a container; `env` is the environment of QEMU."""
    job.log(f"importing with {python.what}")
    scratch = job.scratch / _STEP
    scratch.mkdir()
    argv = [*python.argv, "-I", str(SMOKE_SCRIPT), str(wheel)]
    return job.run(argv, env={**env, "TMPDIR": str(scratch)}, cwd=scratch)
