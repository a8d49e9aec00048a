"""A container of ours: made, filled, emptied, and in any case removed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.containers.pinned_images import image_reference
from orchestrator.host import process
from orchestrator.models.result import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.containers import engine as engines
    from orchestrator.containers.access import Access
    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host

PROJECT = "/project"
"""Where the source is in a container, as with cibuildwheel."""

COPY_TIMEOUT = 600.0
"""Seconds that making a container, or copying into or out of one, may take."""


class ContainerError(Exception):
    """The engine refused; carries the Failure of the target."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFactory:
    """What all containers of a run have in common.

    Attributes:
        host: tools, network, environment.
        engine: docker or podman, and what it can do.
        images: (image, architecture) -> the engine's ID of what was found good.
        create_args: the matrix' own arguments for the engine.
        label: put on every container, so that none can be left behind.
    """

    host: Host
    engine: engines.EngineStatus
    images: Mapping[tuple[str, Arch], str]
    create_args: tuple[str, ...]
    label: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of the engine's client."""
        return {**self.host.env, **self.host.network.child_env()}

    @contextmanager
    def container(
        self,
        target: Target,
        command: Sequence[str],
        *,
        step: str,
        access: Access | None = None,
        mounts: Sequence[str] = (),
    ) -> Iterator[Container]:
        """Make a container of a target's image that will run a command once it is started.

        Args:
            target: whose image, platform and limits.
            command: what it runs.
            step: the step that fails when the engine refuses.
            access: the compiler cache and native access of the build; None without.
            mounts: further arguments.

        Raises:
            ContainerError: the engine refuses.
        """
        image = image_reference(target.image, target.arch, self.host.toolchain)
        image = self.images.get((image, target.arch), image)
        made = process.capture(
            [
                *(self.engine.name, "create", "--pull=never", f"--label={self.label}"),
                f"--platform={target.arch.facts.oci}",
                *self.host.network.container_args(),
                *self.engine.mount_args(),
                *self.engine.limit_args(target.resources),
                *mounts,
                *(access.container_args() if access is not None else ()),
                *self.create_args,
                *("--entrypoint=", image, *command),
            ],
            env={**self.env, **dict(access.private if access is not None else ())},
            timeout=COPY_TIMEOUT,
        )
        if not made.ok:
            raise ContainerError(_failure("the container could not be made", made, step))
        container = Container(shop=self, id=made.stdout.split()[-1], step=step)
        try:
            yield container
        finally:
            # Process 1 ignores SIGTERM; `rm --force` alone would wait 10 s for it.
            for argv in (["kill", container.id], ["rm", "--force", "--volumes", container.id]):
                process.capture([self.engine.name, *argv], env=self.env, timeout=COPY_TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container.

    Attributes:
        shop: its engine.
        id: its ID.
        step: the step that fails when the engine refuses.
    """

    shop: ContainerFactory
    id: str
    step: str

    def start(self) -> None:
        """Start it, and leave it running.

        Raises:
            ContainerError: it does not start.
        """
        self._engine("the container did not start", "start", self.id)

    def put(self, source: str, destination: str) -> None:
        """Copy a file of this host, or what is in a directory (``directory/.``), into it.

        Raises:
            ContainerError: that does not work.
        """
        self._engine("the source could not be copied", "cp", source, f"{self.id}:{destination}")

    def take(self, source: str, destination: str) -> None:
        """Copy a file or a directory out of it.

        Raises:
            ContainerError: that does not work.
        """
        self._engine("nothing could be copied out", "cp", f"{self.id}:{source}", destination)

    def ask(self, *argv: str) -> process.Captured:
        """Run a short command in it, once it is started, and return what it says."""
        return process.capture(
            [self.shop.engine.name, "exec", self.id, *argv], env=self.shop.env, timeout=COPY_TIMEOUT
        )

    def _engine(self, failed: str, *argv: str) -> None:
        done = process.capture(
            [self.shop.engine.name, *argv], env=self.shop.env, timeout=COPY_TIMEOUT
        )
        if not done.ok:
            raise ContainerError(_failure(failed, done, self.step))


def _failure(what: str, answer: process.Captured, step: str) -> Failure:
    return Failure(
        kind=FailureKind.ENGINE,
        step=step,
        message=f"{what}: {answer.last_line}",
        hint="`orchestrator doctor` says what is wrong with the engine",
    )
