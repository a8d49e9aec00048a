"""A smoke test: what native compilers made for an emulated machine is imported on it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import shell
from orchestrator.builders.contained import IDLE
from orchestrator.builders.container import ContainerError
from orchestrator.models import Failure, FailureKind

if TYPE_CHECKING:
    from orchestrator.builders.base import Backend, Job, Outcome
    from orchestrator.builders.container import Container, Shop
    from orchestrator.models import BackendName

SMOKE_SCRIPT = Path(__file__).parent / "scripts" / "import_wheel.py"

_STEP = "smoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoked:
    """A backend whose wheels have been imported where they are for.

    Attributes:
        backend: builds them.
        shop: makes the containers.
    """

    backend: Backend
    shop: Shop

    @property
    def name(self) -> BackendName:
        """The backend's name."""
        return self.backend.name

    def build(self, job: Job) -> Outcome:
        """See `Backend.build`."""
        made = self.backend.build(job)
        if isinstance(made, Failure):
            return made
        try:
            return self._tried(job, made) or made
        except ContainerError as refused:
            return refused.failure

    def _tried(self, job: Job, wheel: Path) -> Failure | None:
        """Import what is in a wheel; return why it cannot be."""
        job.step(_STEP)
        with self.shop.container(job, IDLE, step=_STEP) as container:
            container.start()
            for file in (SMOKE_SCRIPT, wheel):
                container.put(str(file), f"/tmp/{file.name}")  # noqa: S108 - it is ours alone
            tail: deque[str] = deque(maxlen=1)
            argv = [self.shop.engine.name, "exec", "--workdir=/tmp", container.id]
            argv += [_python(container, job), "-I", f"/tmp/{SMOKE_SCRIPT.name}"]  # noqa: S108
            end = job.run(
                [*argv, f"/tmp/{wheel.name}"],  # noqa: S108
                env=self.shop.env,
                on_line=tail.append,
                is_client=True,
            )
            job.course.spend(shell.counted(container.ask(*shell.ASK)))
        stopped = job.ended_early(end, step=_STEP)
        if stopped is not None or end.returncode == 0:
            return stopped
        return Failure(
            kind=FailureKind.TEST,
            step=_STEP,
            message=f"what was compiled natively does not load: {''.join(tail)} "
            f"(exit {end.returncode})",
            hint='build.emulation = "full" for this target tells whether the compiler is to blame; '
            "test.smoke = false leaves the import out",
        )


def _python(container: Container, job: Job) -> str:
    """Return the interpreter that a wheel is for; the backend has used it already."""
    python = job.request.target.python
    name = f"{python.rstrip('t')}-{python}" if python.startswith("cp") else f"{python}-*"
    return container.ask("sh", "-c", f"ls -d /opt/python/{name}/bin/python").stdout.split()[0]
