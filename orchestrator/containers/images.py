"""Look into images: which one a name means, what it holds, whether it fits a target."""

from __future__ import annotations

import json
import re
import resource
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orchestrator.containers.engine import EngineName, Pull, _cause, _last, _message
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.host.process import Cancel, Captured, LineCallback, Tail, TextSink, capture, run
from orchestrator.host.transient_errors import pull_may_pass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.platforms import Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """An image whose containers run here.

    Attributes:
        id: the engine's image ID (of the image's configuration), empty when it has none.
        digest: ``name@sha256:...`` in its registry, empty for a local image.
    """

    id: str = ""
    digest: str = ""


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

    Raises:
        EnvironmentProblemError: it cannot be used; the kind says why.
    """
    session = _Session(engine, image, env, time.monotonic() + timeout, log, cancel)
    wanted = _Image(engine, image, arch, env)
    local = _bring_here(wanted, session, pull)
    # Docker's containerd store holds several platforms under one name, and `inspect` shows
    # any of them: there only running it can tell.
    if engine is EngineName.PODMAN and not (wanted.fits(local) or wanted.lacks_variant(local)):
        wanted.refuse_platform(local)
    is_32_in_64 = arch.facts.wider_oci and wanted.platform not in local.platforms
    platform = arch.facts.wider_oci if is_32_in_64 else wanted.platform
    # With the network the build will have: setting it up is what fails most without root.
    options = ("--rm", "--pull=never", f"--platform={platform}", *create_args)
    code, tail = session.run("starting", "run", *options, "--entrypoint=/bin/true", image)
    if code != 0:
        wanted.refuse_start(tail)
    return ImageCheck(id=local.id, digest=local.digest)


def _bring_here(wanted: _Image, session: _Session, pull: Pull) -> _Local:
    """Return what the engine has of an image; pull it if need be."""
    local = wanted.inspect()
    here = local is not None and (wanted.fits(local) or wanted.may_fit(local))
    if not here or (pull == "always" and not wanted.is_local):
        if pull == "never" or wanted.is_local:
            wanted.refuse_missing(local)
        argv = ("pull", f"--platform={wanted.platform}", wanted.name)
        code, tail = session.run("pulling", *argv)
        if code != 0:
            wanted.refuse_pull(local, tail)
        local = wanted.inspect()
    if local is None:
        what = f"image {wanted.name} was pulled but is not here"
        raise EnvironmentProblemError.of(what, kind=ErrorKind.NOT_FOUND)
    return local


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
    said = _ask(engine, image, arch, "/bin/sh", "-c", script, env=env)
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
    return frozenset(_ask(engine, image, arch, "/bin/sh", "-c", script, env=env).stdout.split())


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
    return _ask(engine, image, arch, "/bin/cat", "--", path, env=env)


def _ask(
    engine: EngineName, image: str, arch: Arch, program: str, *words: str, env: Mapping[str, str]
) -> Captured:
    # An i686 image may be run as the x86_64 image it often is.
    platform = arch.facts.wider_oci or arch.facts.oci
    argv = [engine, "run", "--rm", "--pull=never", "--network=none", f"--platform={platform}"]
    return capture([*argv, f"--entrypoint={program}", image, *words], env=env, timeout=60)


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
    wanted = _Image(engine, image, arch, env)
    local = wanted.inspect()
    # As in `check_image`: docker shows any platform of an image that has several.
    docker = engine is EngineName.DOCKER
    if local is None or not (docker or wanted.fits(local) or wanted.lacks_variant(local)):
        return None
    pairs = (pair.partition("=") for pair in local.env)
    return {name: value for name, _, value in pairs}


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


def check_pullable(
    engine: EngineName, image: str, *, env: Mapping[str, str], timeout: float = 20.0
) -> None:
    """Ask the registry, through the engine with its mirrors and credentials, for an image.

    Nothing is pulled.

    Args:
        engine: a usable engine.
        image: the image.
        env: environment of the engine's client.
        timeout: seconds it may take.

    Raises:
        EnvironmentProblemError: it cannot be pulled.
    """
    said = capture([engine, "manifest", "inspect", image], env=env, timeout=timeout)
    if not said.ok and not _ONE_PLATFORM.search(said.stderr):
        raise EnvironmentProblemError.of(
            f"image {image.partition('@')[0]} is not here, and its registry does not give it: "
            f"{_cause(_last(said))}",
            hint=f"check the network and `{engine} login`, or load the image (`{engine} load`)",
            kind=ErrorKind.NOT_FOUND,
            transient=pull_may_pass(said.stderr.splitlines()),
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

_PULL_HINTS = (
    (
        r"x509|certificate",
        ErrorKind.UNREACHABLE,
        "the engine does not trust the registry's certificate",
    ),
    (
        r"no such host|dial tcp|connection refused|timeout|timed out|TLS handshake|EOF",
        ErrorKind.UNREACHABLE,
        (
            "the registry cannot be reached from here: check the network, or load the image "
            "(`{engine} load`)"
        ),
    ),
    ("no space left", ErrorKind.CANNOT_RUN, "make room: `{engine} system prune`"),
)
"""What engines say when a pull fails, its kind, and what to do; the first match counts."""


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
    """What the engine's commands of one check have in common."""

    engine: EngineName
    image: str
    env: Mapping[str, str]
    end: float
    log: TextSink | LineCallback
    cancel: Cancel | None

    def run(self, doing: str, *argv: str) -> tuple[int, Tail]:
        """Return a command's exit status, and the last of what it said."""
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
        if done.cancelled:
            what = f"{doing} image {self.image}: cancelled"
            raise EnvironmentProblemError.of(what, kind=ErrorKind.CANCELLED)
        if done.timed_out:
            what = f"{doing} image {self.image}: not done after {done.duration:.0f} s"
            raise EnvironmentProblemError.of(what, kind=ErrorKind.TIMED_OUT)
        return done.returncode, tail


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """An image the engine has."""

    id: str
    digest: str
    platforms: tuple[str, str]  # without and with the variant
    env: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that is wanted, and why it cannot be used."""

    engine: EngineName
    name: str
    arch: Arch
    env: Mapping[str, str]

    @property
    def platform(self) -> str:
        return self.arch.facts.oci

    @property
    def is_local(self) -> bool:
        """Whether it is in podman's namespace of images that were built here."""
        return self.engine is EngineName.PODMAN and self.name.startswith("localhost/")

    def inspect(self) -> _Local | None:
        answer = capture([self.engine, "image", "inspect", self.name], env=self.env)
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

    def fits(self, local: _Local) -> bool:
        if self.platform in local.platforms:
            return True
        # cibuildwheel runs i686 builds in an x86_64 image as well, with `linux32`.
        return self.arch.facts.wider_oci in local.platforms

    def lacks_variant(self, local: _Local) -> bool:
        """Whether it fits but for the variant (``v7``), which podman 4 does not tell."""
        short, full = local.platforms
        return full.endswith("/") and self.platform.startswith(full) and short != self.platform

    def may_fit(self, local: _Local) -> bool:
        """Whether it is one no registry has, so that pulling cannot make sure of its variant."""
        return self.is_local and self.lacks_variant(local)

    def refuse_missing(self, local: _Local | None) -> NoReturn:
        """Refuse an image that is not here and is not pulled."""
        if self.is_local and local is not None:
            self.refuse_platform(local)
        if self.is_local:
            raise EnvironmentProblemError.of(
                f"there is no local image {self.name}",
                hint="build or load it first (`podman images` lists what is here)",
                kind=ErrorKind.NOT_FOUND,
            )
        raise EnvironmentProblemError.of(
            f"image {self._short} is not here{_had(local)}, and must not be pulled",
            hint=f"`{self.engine} pull --platform={self.platform} {self.name}`, or "
            'engine.pull = "missing"',
            kind=ErrorKind.NOT_FOUND,
        )

    def refuse_platform(self, local: _Local) -> NoReturn:
        self._refuse_arch(f"is for {local.platforms[0]}, not for {self.platform}")

    def _refuse_arch(self, why: str) -> NoReturn:
        raise EnvironmentProblemError.of(
            f"image {self.name} {why}",
            hint=f"name an image that has {self.arch}",
            kind=ErrorKind.WRONG_ARCH,
        )

    def refuse_pull(self, local: _Local | None, tail: Tail) -> NoReturn:
        """Say why the image could not be pulled."""
        said, last = tail.text, _message(tail.last)
        if re.search(r"no (image found|matching manifest|match for platform)", said):
            self._refuse_arch(f"does not exist for {self.platform}: {last}")
        kind, hint = ErrorKind.NOT_FOUND, f"check the reference and `{self.engine} login`"
        for sign, its_kind, its_hint in _PULL_HINTS:
            if re.search(sign, said):
                kind, hint = its_kind, its_hint.format(engine=self.engine)
                break
        raise EnvironmentProblemError.of(
            f"cannot pull image {self._short}{_had(local)}: {_cause(last)}",
            hint=hint,
            kind=kind,
            transient=pull_may_pass(said.splitlines()),
        )

    def refuse_start(self, tail: Tail) -> NoReturn:
        """Say why the container did not start."""
        said, last = tail.text, _message(tail.last)
        if re.search(r"exec format error", said, re.IGNORECASE):
            raise EnvironmentProblemError.of(
                f"this machine cannot execute {self.arch} programs (image {self.name}): {last}",
                hint=f"register QEMU for it: `orchestrator doctor` says how for {self.arch}",
                kind=ErrorKind.NOT_EXECUTABLE,
            )
        if "does not match the specified platform" in said or "platform" in last:
            self._refuse_arch(f"is not for {self.platform}: {last}")
        hints = (_filled(hint) for sign, hint in _RUN_HINTS if re.search(sign, said))
        own = f"try `{self.engine} run --rm --entrypoint=/bin/true {self.name}`"
        raise EnvironmentProblemError.of(
            f"{self.engine} cannot run a container of {self.name}: {last}",
            hint=next(hints, f"{own}, and see docs/hosts.md"),
            kind=ErrorKind.CANNOT_RUN,
        )

    @property
    def _short(self) -> str:
        return self.name.partition("@")[0]  # a digest is 64 digits that nobody reads


def _had(local: _Local | None) -> str:
    return "" if local is None else f" (the local one is for {local.platforms[0]})"
