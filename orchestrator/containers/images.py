"""Look into images: which one a name means, what it holds, whether it fits a target."""

from __future__ import annotations

import json
import re
import resource
import shlex
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.engine import EngineName, Pull, _cause, _last, _message
from orchestrator.errors import Problem
from orchestrator.host.process import (
    Cancel,
    Captured,
    Finished,
    LineCallback,
    Tail,
    TextSink,
    capture,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.platforms import Arch


class ImageFault(StrEnum):
    """Why an image cannot be used."""

    NOT_FOUND = "not-found"
    UNREACHABLE = "unreachable"
    WRONG_ARCH = "wrong-arch"
    NO_BINFMT = "no-binfmt"
    CANNOT_RUN = "cannot-run"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """Whether a container of an image really runs here.

    Attributes:
        ok: it does.
        id: the engine's image ID (of the image's configuration), empty when it has none.
        digest: ``name@sha256:...`` in its registry, empty for a local image.
        fault: the kind of problem.
        problem: why not.
    """

    ok: bool
    id: str = ""
    digest: str = ""
    fault: ImageFault | None = None
    problem: Problem | None = None


def check_image(  # noqa: PLR0913 - mostly keywords
    engine: EngineName,
    image: str,
    arch: Arch,
    create_args: Sequence[str] = (),
    *,
    env: Mapping[str, str],
    timeout: float,
    log: TextSink | LineCallback,
    pull: Pull = "missing",
    cancel: Cancel | None = None,
) -> ImageCheck:
    """Make sure that an image for `arch` is here and runs; pull it as `pull` says.

    Args:
        engine: a usable engine.
        image: the reference as cibuildwheel will get it.
        arch: the architecture the container must have.
        create_args: the options the build's container will be created with, since one of them
            may be what the engine refuses.
        env: environment of the engine's client.
        timeout: seconds for pulling and running together.
        log: gets what the engine says.
        pull: when to pull it; a ``localhost/`` image of podman never is.
        cancel: stops it.
    """
    session = _Session(engine, env, time.monotonic() + timeout, log, cancel)
    return _ImageChecker(session, image, arch).check(tuple(create_args), pull)


def pythons_in(
    engine: EngineName, image: str, arch: Arch, *, env: Mapping[str, str]
) -> frozenset[str] | None:
    """Return the directories of ``/opt/python`` in an image that `check_image` found good.

    Args:
        engine: the engine.
        image: the image.
        arch: the architecture it is run for.
        env: environment of the engine's client.

    Returns:
        Names such as ``cp312-cp312``; None when the image can install any interpreter itself
        (``manylinux-interpreters``), or does not say.
    """
    script = "command -v manylinux-interpreters && exit 3; cd /opt/python && ls -d */bin/python"
    argv = ["run", "--rm", "--pull=never", "--network=none", f"--platform={_platform(arch)}"]
    said = capture(
        [engine, *argv, "--entrypoint=/bin/sh", image, "-c", script], env=env, timeout=60
    )
    return frozenset(line.split("/")[0] for line in said.stdout.split()) if said.ok else None


def programs_in(
    engine: EngineName, image: str, arch: Arch, names: Iterable[str], *, env: Mapping[str, str]
) -> frozenset[str]:
    """Return which of some programs are on PATH in an image that `check_image` found good.

    Args:
        engine: the engine.
        image: the image.
        arch: the architecture it is run for.
        names: plain names of programs.
        env: environment of the engine's client.
    """
    script = f"for name in {shlex.join(names)}; do command -v $name >/dev/null && echo $name; done"
    argv = ["run", "--rm", "--pull=never", "--network=none", f"--platform={_platform(arch)}"]
    said = capture(
        [engine, *argv, "--entrypoint=/bin/sh", image, "-c", script], env=env, timeout=60
    )
    return frozenset(said.stdout.split())


def _platform(arch: Arch) -> str:
    """An i686 image may be run as the x86_64 image it often is."""
    return arch.facts.wider_oci or arch.facts.oci


def image_env(
    engine: EngineName, image: str, arch: Arch, *, env: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the environment that an image gives its containers; None when it is not here.

    Args:
        engine: a usable engine.
        image: the image.
        arch: the architecture it must be for.
        env: environment of the engine's client.
    """
    session = _Session(engine, env, time.monotonic(), lambda _line: None, None)
    return _ImageChecker(session, image, arch).environment()


def image_file(
    engine: EngineName, image: str, arch: Arch, path: str, *, env: Mapping[str, str]
) -> Captured:
    """Read a text file out of an image that is here.

    Args:
        engine: a usable engine.
        image: the image.
        arch: the architecture it is run for.
        path: the file, absolute.
        env: environment of the engine's client.
    """
    argv = ["run", "--rm", "--pull=never", "--network=none", f"--platform={_platform(arch)}"]
    return capture([engine, *argv, "--entrypoint=/bin/cat", image, "--", path], env=env, timeout=60)


def image_id(engine: EngineName, image: str, *, env: Mapping[str, str]) -> str:
    """Return the ID of an image the engine has, which changes with its contents; else nothing.

    Args:
        engine: the engine.
        image: any reference it knows.
        env: environment of the engine's client.
    """
    argv = [engine, "image", "inspect", "--format", "{{.Id}}", image]
    said = capture(argv, env=env)
    return said.stdout.strip().removeprefix("sha256:") if said.ok else ""


def pullable(
    engine: EngineName, image: str, *, env: Mapping[str, str], timeout: float = 20.0
) -> Problem | None:
    """Ask the registry, through the engine with its mirrors and credentials, for an image.

    Nothing is pulled.

    Args:
        engine: a usable engine.
        image: the image.
        env: environment of the engine's client.
        timeout: seconds it may take.

    Returns:
        Why it cannot be pulled; None when it can.
    """
    said = capture([engine, "manifest", "inspect", image], env=env, timeout=timeout)
    if said.ok or _ONE_PLATFORM.search(said.stderr):
        return None
    return Problem(
        what=f"image {image.partition('@')[0]} is not here, and its registry does not give it: "
        f"{_cause(_last(said))}",
        hint=f"check the network and `{engine} login`, or load the image (`{engine} load`)",
    )


_ONE_PLATFORM = re.compile(r"manifest lists? is not implemented|a list type (is )?required")
"""What podman 4 says when it was given the image, and it is for one platform only."""


_RUN_HINTS = (
    (
        r"setrlimit|rlimit",
        (
            "this host may not raise limits (it lacks CAP_SYS_RESOURCE): engine.create-args = "
            '["--ulimit=nofile={files}:{files}", "--ulimit=nproc={processes}:{processes}"], or '
            "default_ulimits in containers.conf"
        ),
    ),
    (
        r"cgroups in hybrid mode",
        (
            "crun refuses control groups v1 and v2 side by side: `apt-get install runc`, and "
            'runtime = "runc" in [engine] of containers.conf'
        ),
    ),
    (
        r"slirp4netns|pasta|/dev/net/tun|netavark|\bCNI\b|iptables|nftables",
        (
            "the engine cannot make a network of its own here: engine.create-args = "
            '["--network=host"]'
        ),
    ),
    (
        r"controller .*not available",
        (
            "the limits of [resources] need control groups that this host does not delegate: leave "
            "them out, or log in through systemd (`loginctl enable-linger`)"
        ),
    ),
)
"""What engines say when a container does not start, and what to do; the first match counts."""


def _filled(hint: str) -> str:
    """Fill in the limits that containers may have here."""
    files, processes = resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC
    pid_max = 32768  # what processes get where nothing limits them (proc(5), pid_max)
    most = resource.getrlimit(processes)[1]
    return hint.replace("{files}", str(resource.getrlimit(files)[1])).replace(
        "{processes}", str(pid_max if most < 0 else min(most, pid_max))
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """One engine, and what all its commands of one check have in common."""

    engine: EngineName
    env: Mapping[str, str]
    end: float
    log: TextSink | LineCallback
    cancel: Cancel | None

    def run(self, *argv: str) -> tuple[Finished, Tail]:
        tail = Tail()
        done = run(
            [self.engine, *argv],
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            on_line=tail,
            timeout=max(1.0, self.end - time.monotonic()),
            cancel=self.cancel,
        )
        return done, tail


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """An image the engine has."""

    id: str
    digest: str
    platforms: tuple[str, str]  # without and with the variant
    env: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ImageChecker:
    session: _Session
    image: str
    arch: Arch

    def check(self, create_args: tuple[str, ...], pull: Pull) -> ImageCheck:
        local = self._inspect()
        here = local is not None and (self._fits(local) or self._may_fit(local))
        if not here and pull == "never":
            return self._not_here(local)
        if not here or (pull == "always" and not self._is_local):
            refused = self._pull(local)
            if refused is not None:
                return refused
            local = self._inspect()
        if local is None:
            return self._bad(ImageFault.NOT_FOUND, f"image {self.image} was pulled but is not here")
        # Docker's containerd store holds several platforms under one name, and `inspect` shows
        # any of them: there only running it can tell.
        fits = self._fits(local) or self._lacks_variant(local)
        if self.session.engine is EngineName.PODMAN and not fits:
            return self._wrong_arch(local)
        return self._run(local, create_args)

    def environment(self) -> dict[str, str] | None:
        local = self._inspect()
        # As in `check`: docker shows any platform of an image that has several.
        docker = self.session.engine is EngineName.DOCKER
        if local is None or not (docker or self._fits(local) or self._lacks_variant(local)):
            return None
        pairs = (each.partition("=") for each in local.env)
        return {name: value for name, _, value in pairs}

    @property
    def _platform(self) -> str:
        return self.arch.facts.oci

    def _inspect(self) -> _Local | None:
        answer = capture(
            [self.session.engine, "image", "inspect", self.image], env=self.session.env
        )
        try:
            said = json.loads(answer.stdout)[0] if answer.ok else None
        except (ValueError, LookupError):
            said = None
        if not isinstance(said, dict):
            return None
        short = f"{said.get('Os')}/{said.get('Architecture')}"
        digests = said.get("RepoDigests") or [""]
        return _Local(
            id=str(said.get("Id", "")),
            # podman gives local images a digest under the name localhost/, which no one can pull
            digest="" if digests[0].startswith("localhost/") else str(digests[0]),
            platforms=(short, f"{short}/{said.get('Variant') or ''}"),
            env=tuple((said.get("Config") or {}).get("Env") or ()),
        )

    def _fits(self, local: _Local) -> bool:
        if self._platform in local.platforms:
            return True
        # cibuildwheel runs i686 builds in an x86_64 image as well, with `linux32`.
        return self.arch.facts.wider_oci in local.platforms

    def _lacks_variant(self, local: _Local) -> bool:
        """Whether it fits but for the variant (``v7``), which podman 4 does not tell."""
        short, full = local.platforms
        return full.endswith("/") and self._platform.startswith(full) and short != self._platform

    def _may_fit(self, local: _Local) -> bool:
        """Whether it is one no registry has, so that pulling cannot make sure of its variant."""
        return self._is_local and self._lacks_variant(local)

    @property
    def _is_local(self) -> bool:
        """Whether it is in podman's namespace of images that were built here."""
        return self.session.engine is EngineName.PODMAN and self.image.startswith("localhost/")

    def _pull(self, local: _Local | None) -> ImageCheck | None:
        """Pull the image; return why that did not work."""
        if self._is_local:
            return self._missing_local() if local is None else self._wrong_arch(local)
        done, tail = self.session.run("pull", f"--platform={self._platform}", self.image)
        if done.cancelled or done.timed_out:
            return self._stopped(done, "pulling")
        if done.returncode == 0:
            return None
        said, last = tail.text, _message(tail.last)
        if re.search(r"no (image found|matching manifest|match for platform)", said):
            return self._bad(
                ImageFault.WRONG_ARCH,
                f"image {self.image} does not exist for {self._platform}: {last}",
                f"name an image that has {self.arch}",
            )
        if re.search(r"x509|certificate", said):
            fault, hint = (
                ImageFault.UNREACHABLE,
                "the engine does not trust the registry's certificate",
            )
        elif re.search(
            r"no such host|dial tcp|connection refused|timeout|timed out|TLS handshake|EOF", said
        ):
            fault, hint = ImageFault.UNREACHABLE, "the registry cannot be reached from here: "
            hint += f"check the network, or load the image (`{self.session.engine} load`)"
        elif "no space left" in said:
            fault, hint = ImageFault.CANNOT_RUN, f"make room: `{self.session.engine} system prune`"
        else:
            fault = ImageFault.NOT_FOUND
            hint = f"check the reference and `{self.session.engine} login`"
        had = "" if local is None else f" (the local one is for {local.platforms[0]})"
        name = self.image.partition("@")[0]  # a digest is 64 digits that nobody reads
        return self._bad(fault, f"cannot pull image {name}{had}: {_cause(last)}", hint)

    def _run(self, local: _Local, create_args: tuple[str, ...]) -> ImageCheck:
        """Prove that the image can be executed, with the options of the build's container."""
        fits = self._platform in local.platforms
        platform = self._platform if fits else self.arch.facts.wider_oci or self._platform
        # With the network the build will have: setting it up is what fails most without root.
        done, tail = self.session.run(
            *("run", "--rm", "--pull=never", f"--platform={platform}"),
            *create_args,
            "--entrypoint=/bin/true",
            self.image,
        )
        if done.cancelled or done.timed_out:
            return self._stopped(done, "starting")
        if done.returncode == 0:
            return ImageCheck(ok=True, id=local.id, digest=local.digest)
        said, last = tail.text, _message(tail.last)
        if re.search(r"exec format error", said, re.IGNORECASE):
            return self._bad(
                ImageFault.NO_BINFMT,
                f"this machine cannot execute {self.arch} programs (image {self.image}): {last}",
                f"register QEMU for it: `orchestrator doctor` says how for {self.arch}",
            )
        if "does not match the specified platform" in said or "platform" in last:
            return self._bad(
                ImageFault.WRONG_ARCH,
                f"image {self.image} is not for {self._platform}: {last}",
                f"name an image that has {self.arch}",
            )
        hints = (_filled(hint) for sign, hint in _RUN_HINTS if re.search(sign, said))
        own = f"try `{self.session.engine} run --rm --entrypoint=/bin/true {self.image}`"
        return self._bad(
            ImageFault.CANNOT_RUN,
            f"{self.session.engine} cannot run a container of {self.image}: {last}",
            next(hints, f"{own}, and see docs/hosts.md"),
        )

    def _stopped(self, done: Finished, doing: str) -> ImageCheck:
        why = "cancelled" if done.cancelled else f"not done after {done.duration:.0f} s"
        return self._bad(ImageFault.STOPPED, f"{doing} image {self.image}: {why}")

    def _not_here(self, local: _Local | None) -> ImageCheck:
        if self._is_local:
            return self._missing_local() if local is None else self._wrong_arch(local)
        had = "" if local is None else f" (the local one is for {local.platforms[0]})"
        return self._bad(
            ImageFault.NOT_FOUND,
            f"image {self.image.partition('@')[0]} is not here{had}, and must not be pulled",
            f"`{self.session.engine} pull --platform={self._platform} {self.image}`, or "
            'engine.pull = "missing"',
        )

    def _missing_local(self) -> ImageCheck:
        return self._bad(
            ImageFault.NOT_FOUND,
            f"there is no local image {self.image}",
            "build or load it first (`podman images` lists what is here)",
        )

    def _wrong_arch(self, local: _Local) -> ImageCheck:
        return self._bad(
            ImageFault.WRONG_ARCH,
            f"image {self.image} is for {local.platforms[0]}, not for {self._platform}",
            f"name an image that has {self.arch}",
        )

    def _bad(self, fault: ImageFault, what: str, hint: str = "") -> ImageCheck:
        return ImageCheck(ok=False, fault=fault, problem=Problem(what=what, hint=hint))
