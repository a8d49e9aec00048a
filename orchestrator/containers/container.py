"""The containers of a run: check, make, fill, empty and remove them."""

from __future__ import annotations

import fnmatch
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.containers import engine as engines
from orchestrator.containers.access import NO_ACCESS, Access
from orchestrator.containers.engine import EngineStatus
from orchestrator.containers.given import given_to_containers
from orchestrator.containers.images import (
    Image,
    ImageCheck,
    check_image,
    glibc_of,
    image_id,
    programs_in,
    pythons_in,
    reaches,
    toolkits_in,
)
from orchestrator.containers.pinned_images import image_reference
from orchestrator.errors import EnvironmentProblemError, ErrorKind, OrchestratorError
from orchestrator.fsutil import write_whole
from orchestrator.host import process
from orchestrator.host.emulation import examine, processors
from orchestrator.host.stall import Inside
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import ContainerInfo, Failure, FailureKind
from orchestrator.provision.answers import Answers, once
from orchestrator.provision.cache_dir import PROCESSORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import EngineSettings
    from orchestrator.containers.toolkits import Toolkit
    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host

PROJECT = "/project"
"""Where the source is in a container, as with cibuildwheel."""

TARGET_LABEL = "orchestrator.target"
"""Container label whose value is the ID of the run and of the target."""

COPY_TIMEOUT = 600.0
"""Seconds that making a container, or copying into or out of one, may take."""


class ContainerError(Exception):
    """The engine refused; carries the Failure of the target."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


PULL_TIMEOUT = 1800.0
"""Seconds an image may take to arrive; manylinux images are about 400 MB."""

_NOT_EXECUTED = {ErrorKind.NOT_EXECUTABLE, ErrorKind.CANNOT_RUN}


@dataclass(kw_only=True, eq=False)
class ContainerFactory(Answers):
    """Makes the containers of a run; checks an engine, and an image, before it is used first.

    Raises `EnvironmentProblemError` if something is impossible.

    Attributes:
        host: tools, network, environment.
        settings: ``[engine]`` of the matrix.
        label: put on every container, so that none can be left behind.
        log: takes what engines say while they pull.
        cancel: stops a pull.
    """

    host: Host
    settings: EngineSettings
    label: str
    log: Callable[[str], object]
    cancel: process.Cancel

    @property
    def env(self) -> dict[str, str]:
        """The environment of the engine's client."""
        return self.host.net_env

    @property
    @once
    def installed(self) -> bool:
        """Whether an engine is installed, whatever its state; nothing is started."""
        named = self.settings.name
        names = tuple(engines.EngineName) if named == "auto" else (named,)
        return any(shutil.which(name, path=self.env["PATH"]) for name in names)

    @property
    @once
    def engine(self) -> EngineStatus:
        """The engine that answers."""
        return engines.choose(self.settings.name, env=self.env)

    @property
    @once
    def given(self) -> Mapping[str, str]:
        """What containers take from this host by its name; see `given_to_containers`."""
        return given_to_containers(self.settings.create_args, self.env)

    @property
    def args(self) -> tuple[str, ...]:
        """The options that all containers of a run are created with."""
        network = self.host.network.container_args()
        return (*network, *self.engine.mount_args(), *self.settings.create_args)

    def create_args(self, target: Target, more: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the options that a target's container is created with, some of them our own."""
        return (
            f"--label={self.label}",
            f"--label={self.target_label(target)}",
            *self.host.network.container_args(),
            *self.engine.mount_args(),
            *self.engine.limit_args(target.resources),
            *self._processors(target.arch),
            *more,
            *self.settings.create_args,
        )

    @once
    def _processors(self, arch: Arch) -> tuple[str, ...]:
        """Return the option for an emulated architecture's own list of processors."""
        text = processors(arch)
        if not text:
            return ()
        file = PROCESSORS.place(self.host.cache_dir) / arch
        write_whole(file, text, durable=False)
        return (f"--volume={file}:/proc/cpuinfo:ro",)

    def _image(self, image: str, arch: Arch) -> Image:
        return Image(self.engine.name, image, arch, self.env)

    def reference(self, target: Target) -> str:
        """Return the reference of a target's image."""
        return self._reference(target.image, target.arch)

    @once
    def _reference(self, image: str, arch: Arch) -> str:
        return image_reference(image, arch, self.host.toolchain)

    def check(self, target: Target) -> ImageCheck:
        """Make sure that containers of a target's image run; the image is pulled if need be."""
        return self._check(self.reference(target), target.arch)

    @once
    def _check(self, image: str, arch: Arch) -> ImageCheck:
        try:
            return check_image(
                self._image(image, arch),
                self.args,
                timeout=PULL_TIMEOUT,
                log=self.log,
                pull=self.settings.pull,
                cancel=self.cancel,
            )
        except EnvironmentProblemError as error:
            # An engine sees that a program died; what is wrong with QEMU says more.
            problem = examine(arch).problem if error.kind in _NOT_EXECUTED else None
            if problem is None:
                raise
            raise EnvironmentProblemError(problem, kind=error.kind) from None

    def trouble(self, target: Target) -> str:
        """Return why a target's image is not available yet, if that may pass; else nothing."""
        for question in (("engine",), ("_check", self.reference(target), target.arch)):
            error = self._answers.get(question)
            if isinstance(error, OrchestratorError) and error.transient:
                return error.cause
        return ""

    def checked_id(self, target: Target) -> str:
        """Return the engine's ID of a target's image; empty if it was not checked, or has none.

        An ID, unlike a name, cannot be moved to another image.
        """
        checked = self.answered("_check", self.reference(target), target.arch)
        return checked.id if isinstance(checked, ImageCheck) else ""

    def check_python(self, target: Target) -> None:
        """Make sure that a target's image runs, and has the target's Python."""
        self.check(target)
        found = self.pythons(target)
        tag = PythonTag.parse(target.python)
        if found is None or fnmatch.filter(found, tag.image_directory):
            return
        names = ", ".join(sorted(found)) or "nothing in /opt/python"
        raise EnvironmentProblemError.of(
            f"image {target.image} has no {tag}", hint=f"it has {names}; name another image"
        )

    def pythons(self, target: Target) -> frozenset[str] | None:
        """Return the directories of ``/opt/python`` in a checked image; see `pythons_in`."""
        return self._pythons(self.reference(target), target.arch)

    @once
    def _pythons(self, image: str, arch: Arch) -> frozenset[str] | None:
        return pythons_in(self._image(image, arch))

    def programs(self, target: Target, names: Iterable[str]) -> frozenset[str]:
        """Return which of some programs a checked image has on PATH."""
        return self._programs(self.reference(target), target.arch, tuple(names))

    @once
    def _programs(self, image: str, arch: Arch, names: tuple[str, ...]) -> frozenset[str]:
        return programs_in(self._image(image, arch), names)

    def glibc(self, target: Target) -> str:
        """Return the version of the glibc in a checked image; empty for another libc."""
        return self._glibc(self.reference(target), target.arch)

    @once
    def _glibc(self, image: str, arch: Arch) -> str:
        return glibc_of(self._image(image, arch))

    def toolkits(self, target: Target) -> tuple[Toolkit, ...]:
        """Return the CUDA toolkits of a checked image."""
        return self._toolkits(self.reference(target), target.arch)

    @once
    def _toolkits(self, image: str, arch: Arch) -> tuple[Toolkit, ...]:
        return toolkits_in(self._image(image, arch))

    @once
    def image_id(self, reference: str) -> str:
        """Return the engine's ID of an image by any name; empty if it has none of that name."""
        if not self.installed:
            return ""
        try:
            return image_id(self.engine.name, reference, env=self.env)
        except EnvironmentProblemError:  # no engine answers
            return ""

    def info(self, target: Target) -> ContainerInfo:
        """Return the engine and the image of a target's container."""
        engine, checked = self.engine, self.check(target)
        return ContainerInfo(
            engine=engine.name,
            version=engine.version,
            rootless=engine.rootless,
            cgroup=engine.cgroup,
            storage=engine.storage,
            image=self.reference(target),
            image_id=checked.id,
            digest=checked.digest,
        )

    def reservations(self, target: Target) -> tuple[str, ...]:
        """Return what a target's container will not have, although it runs."""
        unlimited = self.engine.unlimited(target.resources)
        unreachable = self._unreachable(self.reference(target), target.arch)
        return tuple(filter(None, (unlimited, unreachable)))

    @once
    def _unreachable(self, image: str, arch: Arch) -> str:
        """Return the services of this host, mostly proxies, that a container cannot reach."""
        lost = [
            f"{each.variable} names {each.host}:{each.port}, which a container does not reach"
            for each in self.host.network.loopbacks()
            if not reaches(self._image(image, arch), self.args, (each.host, each.port))
        ]
        cure = 'engine.create-args = ["--network=host"] gives it this host\'s network'
        return "; ".join([*lost, cure]) if lost else ""

    def remove_left(self, label: str) -> None:
        """Remove the containers with a label, which a killed cibuildwheel may have left behind."""
        engine = self.answered("engine")
        if isinstance(engine, EngineStatus):
            engines.remove_containers(engine.name, label, env=self.env)

    def target_label(self, target: Target) -> str:
        """Return the label of a target's containers in this run."""
        return f"{TARGET_LABEL}={self.label.partition('=')[2]}/{target.id}"

    def inside(self, target: Target) -> Inside:
        """Return where the processes of a target's containers are on this host."""
        if self.engine.remote:
            return Inside(hidden=f"{self.engine.name} runs on another machine: see `ps` there")
        label = self.target_label(target)
        return Inside(pids=engines.first_processes(self.engine.name, label, env=self.env))

    @contextmanager
    def container(
        self,
        target: Target,
        command: Sequence[str],
        *,
        step: str,
        access: Access = NO_ACCESS,
        mounts: Sequence[str] = (),
    ) -> Iterator[Container]:
        """Make a container of a target's image that will run a command once it is started.

        Args:
            target: whose image, platform and limits.
            command: what it runs.
            step: the step that fails when the engine refuses.
            access: how it reaches the compiler cache and native compilers.
            mounts: further arguments.

        Raises:
            ContainerError: the engine refuses.
        """
        image = self.checked_id(target) or self.reference(target)
        made = process.capture(
            [
                *(self.engine.name, "create", "--pull=never"),
                f"--platform={target.arch.facts.oci}",
                *self.create_args(target, (*mounts, *access.container_args())),
                *("--entrypoint=", image, *command),
            ],
            env={**self.env, **dict(access.private)},
            timeout=COPY_TIMEOUT,
        )
        if not made.ok:
            raise ContainerError(_failure("the container could not be made", made, step))
        container = Container(factory=self, id=made.stdout.split()[-1], step=step)
        try:
            yield container
        finally:
            # Process 1 ignores SIGTERM; `rm --force` alone would wait 10 s for it.
            self.run_engine("kill", container.id)
            self.run_engine("rm", "--force", "--volumes", container.id)

    def run_engine(self, *argv: str) -> process.Captured:
        """Run a command of the engine that may copy a lot, and return what it says."""
        return process.capture([self.engine.name, *argv], env=self.env, timeout=COPY_TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container; its methods raise `ContainerError` when the engine refuses.

    Attributes:
        factory: made it.
        id: its ID.
        step: the step that fails when the engine refuses.
    """

    factory: ContainerFactory
    id: str
    step: str

    def start(self) -> None:
        """Start it, and leave it running."""
        self._engine("the container did not start", "start", self.id)

    def put(self, source: str, destination: str) -> None:
        """Copy a file of this host, or what is in a directory (``directory/.``), into it."""
        self._engine("the source could not be copied", "cp", source, f"{self.id}:{destination}")

    def take(self, source: str, destination: str) -> None:
        """Copy a file or a directory out of it."""
        self._engine("nothing could be copied out", "cp", f"{self.id}:{source}", destination)

    def ask(self, *argv: str) -> process.Captured:
        """Run a short command in it, once it is started, and return what it says."""
        return self.factory.run_engine("exec", self.id, *argv)

    def _engine(self, failed: str, *argv: str) -> None:
        done = self.factory.run_engine(*argv)
        if not done.ok:
            raise ContainerError(_failure(failed, done, self.step))


def _failure(what: str, answer: process.Captured, step: str) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE,
        step=step,
        message=f"{what}: {answer.last_line}",
        hint="`orchestrator doctor` says what is wrong with the engine",
        transient=answer.may_pass,
    )
