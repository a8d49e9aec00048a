"""Libraries: a command run in the source, in a container or on this host, for its outputs."""

from __future__ import annotations

import shlex
import shutil
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.builders.base import Host, Job, Outcome, ended_early, machine_trouble
from orchestrator.builders.cibuildwheel import container_limits, image_reference
from orchestrator.host import engine as engines
from orchestrator.host import process
from orchestrator.models import BackendName, Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.models import EnvVar

_PROJECT = "/project"
"""Where the source is in a container, as with cibuildwheel."""

COPY_TIMEOUT = 600.0
"""Seconds that copying the source into or out of a container may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryBuilder:
    """Runs a library's command.

    Attributes:
        host: tools, network, environment.
        engine: docker or podman; None to run on this host.
        create_args: the matrix' own arguments for the engine.
        label: put on every container, so that none can be left behind.
        name: the backend's name.
    """

    host: Host
    engine: engines.EngineName | None
    create_args: tuple[str, ...]
    label: str
    name: BackendName = BackendName.DIRECT

    def build(self, job: Job) -> Outcome:
        """Run the command; see `Backend.build`.

        Returns:
            The directory that holds the outputs, with everything else of the source.
        """
        job.step("library")
        tail: deque[str] = deque(maxlen=30)
        if self.engine is None:
            failure = self._on_host(job, tail)
            return failure or job.source
        return self._in_container(self.engine, job, tail)

    def _on_host(self, job: Job, tail: deque[str]) -> Failure | None:
        script = _script(job, str(job.source), in_container=False)
        return self._run(["sh", "-ec", script], job, tail, env=self._env(job))

    def _env(self, job: Job) -> dict[str, str]:
        private = dict(job.compilers.private if job.compilers is not None else ())
        return {**self.host.env, **self.host.network.child_env(), **private}

    def _in_container(self, engine: engines.EngineName, job: Job, tail: deque[str]) -> Outcome:
        target = job.request.target
        image = image_reference(target.image, target.arch, self.host.toolchain)
        script = _script(job, _PROJECT, in_container=True)
        env = self._env(job)
        arguments = (
            f"--label={self.label}",
            f"--platform={engines.OCI_PLATFORMS[target.arch]}",
            *self.host.network.container_args(),
            *container_limits(target.resources),
            *(job.compilers.container_args() if job.compilers is not None else ()),
            *self.create_args,
        )
        created = process.capture(
            [engine, "create", *arguments, "--entrypoint=", image, "sh", "-ec", script],
            env=env,
            timeout=COPY_TIMEOUT,
        )
        if not created.ok:
            return _engine_failure("the container could not be made", created)
        container = created.stdout.split()[-1]
        try:
            copied = self._copy(engine, f"{job.source}/.", f"{container}:{_PROJECT}", env)
            if copied is not None:
                return copied
            failed = self._run([engine, "start", "--attach", container], job, tail, env=env)
            if failed is not None:
                return failed
            back = job.scratch / "built"
            return self._copy(engine, f"{container}:{_PROJECT}", str(back), env) or back
        finally:
            process.capture([engine, "rm", "--force", container], env=env, timeout=COPY_TIMEOUT)

    def _copy(
        self, engine: str, source: str, destination: str, env: dict[str, str]
    ) -> Failure | None:
        done = process.capture([engine, "cp", source, destination], env=env, timeout=COPY_TIMEOUT)
        return None if done.ok else _engine_failure("the source could not be copied", done)

    def _run(
        self, argv: Sequence[str], job: Job, tail: deque[str], *, env: dict[str, str]
    ) -> Failure | None:
        end = process.run(
            argv, env=env, cwd=job.source, log=job.log, on_line=tail.append, cancel=job.cancel
        )
        stopped = ended_early(end, step="library", timeout=None)
        if stopped is not None or end.returncode == 0:
            return stopped
        machine = machine_trouble(end.returncode, tuple(tail), step="library")
        return machine or Failure(
            kind=FailureKind.BUILD,
            step="library",
            message=f"the library's command failed (exit {end.returncode})",
            hint="the log holds what it said",
        )


def collect(tree: Path, outputs: Sequence[str], destination: Path) -> Failure | None:
    """Move a library's outputs out of the tree it was built in.

    Args:
        tree: where the command ran.
        outputs: globs, relative to it.
        destination: gets the files at their relative paths.

    Returns:
        A failure when a glob matches no file.
    """
    for pattern in outputs:
        files = [each for each in sorted(tree.glob(pattern)) if each.is_file()]
        if not files:
            return Failure(
                kind=FailureKind.BUILD,
                step="library",
                message=f"the command left no file that matches {pattern!r}",
                hint="correct the library's outputs, or its command",
            )
        for each in files:
            place = destination / each.relative_to(tree)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(each, place)
    return None


def _script(job: Job, folder: str, *, in_container: bool) -> str:
    request, target = job.request, job.request.target
    epoch = f"export SOURCE_DATE_EPOCH={request.source.epoch}"
    command = target.library.command if target.library is not None else ""
    command = command.replace("{project}", folder).replace("{package}", folder)
    enter = [f"cd {folder}"] if in_container else []
    compilers = job.compilers.exports() if job.compilers is not None else ()
    return "\n".join([*enter, epoch, *map(_export, target.env), *compilers, command])


def _export(variable: EnvVar) -> str:
    if variable.shell:
        text = variable.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'export {variable.name}="{text}"'
    return f"export {variable.name}={shlex.quote(variable.value)}"


def _engine_failure(what: str, answer: process.Captured) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE,
        step="library",
        message=f"{what}: {answer.last_line}",
        hint="`orchestrator doctor` says what is wrong with the engine",
    )
