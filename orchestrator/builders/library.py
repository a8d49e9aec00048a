"""Libraries: run a command in the source, in a container or on this host, for its outputs."""

from __future__ import annotations

import fnmatch
import os
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.container import PROJECT, ContainerError, ContainerFactory
from orchestrator.fsutil import DEEPEST, copy_beneath, make_beneath, resolve_beneath
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.host.process import Finished
    from orchestrator.models.target import EnvVar
    from orchestrator.provision.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryBuilder:
    """Run a library's command: in a container, or on this host if ``containers`` is None."""

    host: Host
    containers: ContainerFactory | None
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        """Run the command; return the tree that then has the outputs."""
        job.step("library")
        if self.containers is not None:
            return self._in_container(self.containers, job)
        argv = ["sh", "-ec", _script(job, str(job.source), in_container=False)]
        env = {**self.host.build_env(job.scratch), **dict(job.compilers.private)}
        return _failed(job, job.run(argv, env=env)) or job.source

    def _in_container(self, containers: ContainerFactory, job: BuildContext) -> Outcome:
        command = ("sh", "-ec", _script(job, PROJECT, in_container=True))
        try:
            with containers.container(
                job.request.target, command, step="library", access=job.compilers
            ) as container:
                container.put(f"{job.source}/.", PROJECT)
                argv = [containers.engine.name, "start", "--attach", container.id]
                failed = _failed(job, job.run(argv, env=containers.env, client_of=containers))
                if failed is not None:
                    return failed
                back = job.scratch / "built"
                container.take(PROJECT, str(back))
                return back
        except ContainerError as refused:
            return refused.failure


def _failed(job: BuildContext, end: Finished) -> Failure | None:
    if end.returncode == 0:
        return None
    return job.trouble(end, step="library") or _failure(
        f"the library's command failed (exit {end.returncode})", "see its output in the log"
    )


def collect(tree: Path, outputs: Sequence[str], destination: Path) -> Failure | None:
    """Copy the files that the globs ``outputs`` match; return a failure if one matches none.

    Args:
        tree: where the command ran.
        outputs: globs, relative to the tree.
        destination: gets the files at their relative paths.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for pattern in outputs:
        found = 0
        for name in sorted(set(_matching(tree, Path(), [*Path(pattern).parts]))):
            try:
                inside = resolve_beneath(tree, name)
            except OSError as error:
                what = f"the output {str(name)!r} {error.strerror}: it is no file of the library"
                return _failure(what, "have the command copy the file")
            if stat.S_ISREG(_mode(tree / inside)):
                make_beneath(destination, name.parent)
                copy_beneath(tree, inside, destination / name)
                found += 1
        if not found:
            return _failure(
                f"the command left no file that matches {pattern!r}",
                "correct the library's outputs, or its command",
            )
    return None


def _failure(message: str, hint: str) -> Failure:
    return Failure(kind=FailureKind.BUILD, step="library", message=message, hint=hint)


def _matching(tree: Path, folder: Path, pattern: list[str]) -> Iterator[Path]:
    """Find the files that a glob matches, in at most `DEEPEST` directories in one another.

    No link is followed that leads out of the tree.
    """
    head, *rest = pattern
    names: list[str] = []
    with suppress(OSError):
        names = sorted(os.listdir(tree / resolve_beneath(tree, folder)))  # noqa: PTH208 - names
    if len(folder.parts) > DEEPEST:
        return
    if head == "**":
        yield from _matching(tree, folder, rest or ["*"])
        inner = (name for name in names if stat.S_ISDIR(_mode(tree / folder / name)))
        for name in inner:
            yield from _matching(tree, folder / name, pattern)
        return
    for name in fnmatch.filter(names, head):
        if rest:
            yield from _matching(tree, folder / name, rest)
        elif not stat.S_ISDIR(_mode(tree / folder / name)):
            yield folder / name


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _script(job: BuildContext, folder: str, *, in_container: bool) -> str:
    target = job.request.target
    epoch = f"export SOURCE_DATE_EPOCH={job.request.source.epoch}"
    parallel = [f"export {name}={value}" for name, value in job.parallel.items()]
    command = target.library.command if target.library is not None else ""
    command = command.replace("{project}", folder).replace("{package}", folder)
    enter = [f"cd {folder}"] if in_container else []
    own = [*map(_export, target.env), *job.compilers.exports()]
    return "\n".join([*enter, epoch, *parallel, *own, command])


def _export(variable: EnvVar) -> str:
    if variable.shell:
        text = variable.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'export {variable.name}="{text}"'
    return f"export {variable.name}={shlex.quote(variable.value)}"
