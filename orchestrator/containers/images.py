"""Check that an image can be used, and look into it.

Containers are run: a pulled image does not prove that this kernel can execute its programs.
"""

from __future__ import annotations

import re
import resource
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orchestrator.containers.engine import EngineName, Pull, innermost_cause, plain_message
from orchestrator.containers.toolkits import SCRIPT as TOOLKITS_SCRIPT
from orchestrator.containers.toolkits import parse_toolkits
from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host.process import Cancel, Captured, LineCallback, Tail, capture, run
from orchestrator.host.transient_errors import pull_may_pass
from orchestrator.models.reading import json_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.containers.toolkits import Toolkit
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
    image: Image,
    create_args: Sequence[str] = (),
    *,
    timeout: float,
    log: LineCallback,
    pull: Pull = "missing",
    cancel: Cancel | None = None,
) -> ImageCheck:
    """Make sure that an image is here and runs; pull it as `pull` says.

    Args:
        image: the image, by the name that cibuildwheel will get.
        create_args: the options of the build's container: the engine may refuse one of them.
        timeout: seconds for pulling and running together.
        log: gets what the engine prints.
        pull: when to pull it; a ``localhost/`` image of podman is never pulled.
        cancel: stops it.

    Raises:
        EnvironmentProblemError: it cannot be used; the kind says why.
    """
    session = _Session(image, time.monotonic() + timeout, log, cancel)
    local = _bring_here(image, session, pull)
    # Docker's containerd store holds several platforms under one name, and `inspect` shows
    # any of them: only running it can tell.
    is_podman = image.engine is EngineName.PODMAN
    if is_podman and not (image.fits(local) or image.lacks_variant(local)):
        image.refuse_platform(local)
    wider = image.arch.facts.wider_oci
    platform = wider if wider and image.platform not in local.platforms else image.platform
    # With the network the build will have: setting it up is what fails most without root.
    options = ("--rm", "--pull=never", f"--platform={platform}", *create_args)
    code, tail = session.run("starting", "run", *options, "--entrypoint=/bin/true", image.name)
    if code != 0:
        image.refuse_start(tail)
    return ImageCheck(id=local.id, digest=local.digest)


def _bring_here(image: Image, session: _Session, pull: Pull) -> _Local:
    """Return what the engine has of an image; pull it if need be."""
    local = image.inspect()
    # No registry has a local image, so that pulling it cannot make sure of its variant.
    here = local is not None and (
        image.fits(local) or (image.is_local and image.lacks_variant(local))
    )
    if not here or (pull == "always" and not image.is_local):
        if pull == "never" or image.is_local:
            image.refuse_missing(local)
        code, tail = session.run("pulling", "pull", f"--platform={image.platform}", image.name)
        if code != 0:
            image.refuse_pull(local, tail)
        local = image.inspect()
    if local is None:
        what = f"image {image.name} was pulled but is not here"
        raise EnvironmentProblemError.of(what, kind=ErrorKind.NOT_FOUND)
    return local


def pythons_in(image: Image) -> frozenset[str] | None:
    """Return the directories of ``/opt/python`` (``cp312-cp312``) in a checked image.

    None if the image can install any interpreter (``manylinux-interpreters``), or does not answer.
    """
    script = "command -v manylinux-interpreters >/dev/null && exit 3; cd /opt/python || exit 0; "
    script += "for each in */bin/python; do test -e $each && echo $each $(readlink -f $each); done"
    said = image.ask("/bin/sh", "-c", f"{script}; exit 0")
    return genuine_pythons(said.stdout.splitlines()) if said.ok else None


def genuine_pythons(lines: Iterable[str]) -> frozenset[str]:
    """Return the directories whose ``python`` is not a link to a Python of another version.

    The tools of cibuildwheel run in ``cp39-cp39``, which images may link to what they have.
    """
    found = set()
    for line in lines:
        path, _, real = line.partition(" ")
        directory = path.partition("/")[0]
        version = re.fullmatch(r"python(\d+\.\d+)t?", real.rpartition("/")[2])
        tag = re.match(r"cp3(\d+)-", directory)
        if version is None or tag is None or version[1] == f"3.{tag[1]}":
            found.add(directory)
    return frozenset(found)


def programs_in(image: Image, names: Iterable[str]) -> frozenset[str]:
    """Return which of some programs are on PATH in a checked image."""
    script = f"for name in {shlex.join(names)}; do command -v $name >/dev/null && echo $name; done"
    return frozenset(image.ask("/bin/sh", "-c", script).stdout.split())


def glibc_of(image: Image) -> str:
    """Return the version of a checked image's glibc (``2.36``); empty for another libc."""
    said = image.ask("/bin/sh", "-c", "getconf GNU_LIBC_VERSION || ldd --version")
    found = re.search(r"\b(?i:g(?:nu )?libc)\D*(2\.\d+)|^ldd .* (2\.\d+)", said.stdout)
    return (found[1] or found[2]) if found else ""


def toolkits_in(image: Image) -> tuple[Toolkit, ...]:
    """Return the CUDA toolkits of a checked image."""
    said = image.ask("/bin/sh", "-c", TOOLKITS_SCRIPT.read_text("utf-8"))
    return parse_toolkits(said.stdout.splitlines())


def image_file(image: Image, path: str) -> Captured:
    """Read a text file, by its absolute path, out of an image that is here."""
    return image.ask("/bin/cat", "--", path)


def image_env(image: Image) -> dict[str, str] | None:
    """Return the environment that an image gives its containers; None if it is not here."""
    local = image.inspect()
    # As in `check_image`: docker shows any platform of an image that has several.
    docker = image.engine is EngineName.DOCKER
    if local is None or not (docker or image.fits(local) or image.lacks_variant(local)):
        return None
    pairs = (pair.partition("=") for pair in local.env)
    return {name: value for name, _, value in pairs}


def image_id(engine: EngineName, image: str, *, env: Mapping[str, str]) -> str:
    """Return the ID, which changes with the contents, of an image the engine has; else nothing."""
    said = capture([engine, "image", "inspect", "--format", "{{.Id}}", image], env=env)
    return said.stdout.strip().removeprefix("sha256:") if said.ok else ""


def reaches(image: Image, create_args: Sequence[str], place: tuple[str, int]) -> bool:
    """Whether a container gets a TCP connection to a host and port.

    The image is a checked one. It has bash, because builds need it.
    """
    script = f"exec 3<>/dev/tcp/{place[0]}/{place[1]}"
    return image.ask("/bin/bash", "-c", script, options=create_args).ok


def check_pullable(image: Image, *, timeout: float = 20.0) -> None:
    """Ask the registry, through the engine with its mirrors and credentials, for an image.

    Nothing is pulled.

    Raises:
        EnvironmentProblemError: it cannot be pulled.
    """
    engine = image.engine
    said = capture([engine, "manifest", "inspect", image.name], env=image.env, timeout=timeout)
    if not said.ok and not _ONE_PLATFORM.search(said.stderr):
        raise EnvironmentProblemError.of(
            f"image {image.short_name} is not here, and its registry does not give it: "
            f"{innermost_cause(plain_message(said.last_line))}",
            hint=f"check the network and `{engine} login`, or load the image (`{engine} load`)",
            kind=ErrorKind.NOT_FOUND,
            transient=pull_may_pass(said.stderr.splitlines()),
        )


_ONE_PLATFORM = re.compile(r"manifest lists? is not implemented|a list type (is )?required")
"""What podman 4 says when it was given the image, and it is for one platform only."""


_RUN_HINTS = {
    r"setrlimit|rlimit": (
        "this host may not raise limits (CAP_SYS_RESOURCE is missing): engine.create-args = "
        '["--ulimit=nofile={files}:{files}", "--ulimit=nproc={processes}:{processes}"], or '
        "default_ulimits in containers.conf"
    ),
    r"cgroups in hybrid mode": (
        "crun refuses control groups v1 and v2 side by side: `apt-get install runc`, and "
        'runtime = "runc" in [engine] of containers.conf'
    ),
    r"slirp4netns|pasta|/dev/net/tun|netavark|\bCNI\b|iptables|nftables": (
        'the engine cannot make a network of its own here: engine.create-args = ["--network=host"]'
    ),
    r"controller .*not available": (
        "the limits of [resources] need control groups that this host does not delegate: leave "
        "them out, or log in through systemd (`loginctl enable-linger`)"
    ),
}
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

    image: Image
    end: float
    log: LineCallback
    cancel: Cancel | None

    def run(self, doing: str, *argv: str) -> tuple[int, Tail]:
        """Return a command's exit status, and the last of what it said."""
        tail = Tail()
        done = run(
            [self.image.engine, *argv],
            env=self.image.env,
            cwd=Path("/"),
            log=self.log,
            on_line=tail,
            timeout=max(1.0, self.end - time.monotonic()),
            cancel=self.cancel,
        )
        if done.cancelled:
            what = f"{doing} image {self.image.name}: cancelled"
            raise EnvironmentProblemError.of(what, kind=ErrorKind.CANCELLED)
        if done.timed_out:
            what = f"{doing} image {self.image.name}: not done after {done.duration:.0f} s"
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
class Image:
    """An image that is wanted, and why it cannot be used.

    Attributes:
        engine: a usable engine.
        name: any reference that the engine knows.
        arch: the architecture that containers must have.
        env: environment of the engine's client.
    """

    engine: EngineName
    name: str
    arch: Arch
    env: Mapping[str, str]

    @property
    def platform(self) -> str:
        """The platform as engines spell it."""
        return self.arch.facts.oci

    @property
    def is_local(self) -> bool:
        """Whether it is in podman's namespace of images that were built here."""
        return self.engine is EngineName.PODMAN and self.name.startswith("localhost/")

    @property
    def short_name(self) -> str:
        """The name without a digest, which is 64 digits that nobody reads."""
        return self.name.partition("@")[0]

    def ask(
        self, program: str, *words: str, options: Sequence[str] = ("--network=none",)
    ) -> Captured:
        """Run a program in a container of its own."""
        # An i686 image may be run as the x86_64 image it often is.
        platform = f"--platform={self.arch.facts.wider_oci or self.platform}"
        argv = [self.engine, "run", "--rm", "--pull=never", platform, *options]
        argv += [f"--entrypoint={program}", self.name, *words]
        return capture(argv, env=self.env, timeout=60)

    def inspect(self) -> _Local | None:
        """Return what the engine has under the name."""
        answer = capture([self.engine, "image", "inspect", self.name], env=self.env)
        try:
            said = json_value(answer.stdout, where=self.name)[0] if answer.ok else None
        except (ConfigError, LookupError, TypeError):
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
        """Whether it is for the architecture."""
        if self.platform in local.platforms:
            return True
        # cibuildwheel runs i686 builds in an x86_64 image as well, with `linux32`.
        return self.arch.facts.wider_oci in local.platforms

    def lacks_variant(self, local: _Local) -> bool:
        """Whether only the variant (``v7``), which podman 4 does not show, is unknown."""
        short, full = local.platforms
        return full.endswith("/") and self.platform.startswith(full) and short != self.platform

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
            f"image {self.short_name} is not here{_had(local)}, and must not be pulled",
            hint=f"`{self.engine} pull --platform={self.platform} {self.name}`, or "
            'engine.pull = "missing"',
            cause="its image is not here, and must not be pulled",
            kind=ErrorKind.NOT_FOUND,
        )

    def refuse_platform(self, local: _Local) -> NoReturn:
        """Refuse an image that is for another architecture."""
        self._refuse_arch(f"is for {local.platforms[0]}, not for {self.platform}")

    def _refuse_arch(self, why: str) -> NoReturn:
        raise EnvironmentProblemError.of(
            f"image {self.name} {why}",
            hint=f"name an image that has {self.arch}",
            kind=ErrorKind.WRONG_ARCH,
        )

    def refuse_pull(self, local: _Local | None, tail: Tail) -> NoReturn:
        """Say why the image could not be pulled."""
        said, last = tail.text, plain_message(tail.last)
        if re.search(r"no (image found|matching manifest|match for platform)", said):
            self._refuse_arch(f"does not exist for {self.platform}: {last}")
        kind, hint = ErrorKind.NOT_FOUND, f"check the reference and `{self.engine} login`"
        for sign, its_kind, its_hint in _PULL_HINTS:
            if re.search(sign, said):
                kind, hint = its_kind, its_hint.format(engine=self.engine)
                break
        why = innermost_cause(last)
        raise EnvironmentProblemError.of(
            f"cannot pull image {self.short_name}{_had(local)}: {why}",
            cause=f"cannot pull its image: {why}",
            hint=hint,
            kind=kind,
            transient=pull_may_pass(said.splitlines()),
        )

    def refuse_start(self, tail: Tail) -> NoReturn:
        """Say why the container did not start."""
        said, last = tail.text, plain_message(tail.last)
        if re.search(r"exec format error", said, re.IGNORECASE):
            raise EnvironmentProblemError.of(
                f"this machine cannot execute {self.arch} programs (image {self.name}): {last}",
                hint=f"register QEMU for it: `orchestrator doctor` says how for {self.arch}",
                kind=ErrorKind.NOT_EXECUTABLE,
            )
        if "does not match the specified platform" in said or "platform" in last:
            self._refuse_arch(f"is not for {self.platform}: {last}")
        hints = (_filled(hint) for sign, hint in _RUN_HINTS.items() if re.search(sign, said))
        own = f"try `{self.engine} run --rm --entrypoint=/bin/true {self.name}`"
        raise EnvironmentProblemError.of(
            f"{self.engine} cannot run a container of {self.name}: {last}",
            hint=next(hints, f"{own}, and see docs/howto/hosts.md"),
            kind=ErrorKind.CANNOT_RUN,
        )


def _had(local: _Local | None) -> str:
    return "" if local is None else f" (the local one is for {local.platforms[0]})"
