"""Docker and podman: is one usable, has it got the image, and can it run that image.

Engines are asked, not guessed at: an installed client says nothing about its daemon, and a pulled
image says nothing about whether this kernel can execute what is in it.
"""

from __future__ import annotations

import json
import re
import resource
import shlex
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import Problem
from orchestrator.host.process import (
    NOT_FOUND,
    Cancel,
    Captured,
    Finished,
    LineCallback,
    Tail,
    TextSink,
    capture,
    run,
)
from orchestrator.models import Arch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models import Resources

Preference = Literal["auto", "docker", "podman"]

Pull = Literal["missing", "always", "never"]
"""When an image is pulled: where it is not here, before every run, or not at all."""


class EngineName(StrEnum):
    """The container engines that cibuildwheel knows."""

    DOCKER = "docker"
    PODMAN = "podman"


OCI_PLATFORMS: Mapping[Arch, str] = {
    Arch.X86_64: "linux/amd64",
    Arch.I686: "linux/386",
    Arch.AARCH64: "linux/arm64",
    Arch.ARMV7L: "linux/arm/v7",
    Arch.PPC64LE: "linux/ppc64le",
    Arch.S390X: "linux/s390x",
    Arch.RISCV64: "linux/riscv64",
    Arch.LOONGARCH64: "linux/loong64",
}
"""OCI image specification, `platform`: GOOS/GOARCH[/variant]."""

_MINIMUM = {
    # What cibuildwheel 4.3 demands: the first ones whose --platform can be relied on.
    EngineName.DOCKER: (1, 41),
    EngineName.PODMAN: (3,),
}


class Limit(StrEnum):
    """What an engine can limit for a container."""

    CPUS = "cpus"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What one engine said about itself.

    Attributes:
        name: which engine.
        version: of the engine; empty when it did not say.
        usable: whether containers can be asked of it.
        rootless: whether it runs without root.
        remapped: whether root in a container is another user outside although the engine is root.
        remote: whether it runs on another machine, which sees none of our files.
        cgroup: version of the control groups (``v1``, ``v2``), empty when it did not say.
        storage: storage driver (``overlay``).
        storage_root: where images and containers are.
        selinux: whether it confines containers with SELinux, so that they cannot read what is
            mounted into them.
        limits: what it can limit.
        problem: why it is not usable.
    """

    name: EngineName
    version: str = ""
    usable: bool = False
    rootless: bool = False
    remapped: bool = False
    remote: bool = False
    cgroup: str = ""
    storage: str = ""
    storage_root: str = ""
    selinux: bool = False
    limits: frozenset[Limit] = frozenset(Limit)
    problem: Problem | None = None

    @property
    def summary(self) -> str:
        """Version and capabilities in one line."""
        said = {
            "rootless": self.rootless,
            "user namespaces": self.remapped,
            "on another machine": self.remote,
            f"cgroup {self.cgroup}": self.cgroup,
            f"storage {self.storage}": self.storage,
            "SELinux": self.selinux,
            f"cannot limit {' and '.join(sorted(frozenset(Limit) - self.limits))}": (
                self.limits != frozenset(Limit)
            ),
        }
        return ", ".join((self.version, *(words for words, holds in said.items() if holds)))

    def mount_args(self) -> tuple[str, ...]:
        """Return the options without which a container cannot read what is mounted into it.

        Relabelling (``:z``) would change the label of the host's own CA bundle for good.
        """
        return ("--security-opt=label=disable",) if self.selinux else ()

    def limit_args(self, resources: Resources) -> tuple[str, ...]:
        """Return the options for what a target may use, as far as this engine can limit it."""
        wanted = {Limit.CPUS: resources.cpus, Limit.MEMORY: resources.memory}
        return tuple(
            f"--{limit}={value:g}" if isinstance(value, float) else f"--{limit}={value}"
            for limit, value in wanted.items()
            if value is not None and limit in self.limits
        )

    def unlimited(self, resources: Resources) -> str:
        """Say which of a target's limits will not hold here; empty when all do."""
        wanted = {Limit.CPUS: resources.cpus, Limit.MEMORY: resources.memory}
        lacking = [
            str(limit)
            for limit, value in wanted.items()
            if value is not None and limit not in self.limits
        ]
        how = "rootless " if self.rootless else ""
        return (
            f"{how}{self.name} on cgroup {self.cgroup or 'of this host'} cannot limit "
            f"{' and '.join(lacking)}"
            if lacking
            else ""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which engine is taken, and why not another.

    Attributes:
        chosen: the first usable one; None when there is none.
        tried: all that were asked, in order.
    """

    chosen: EngineStatus | None
    tried: tuple[EngineStatus, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the others were not taken."""
        return tuple(status.problem for status in self.tried if status.problem is not None)


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


def probe(name: EngineName, *, env: Mapping[str, str], timeout: float = 20.0) -> EngineStatus:
    """Ask an engine whether it works.

    Args:
        name: which one.
        env: environment of its client (`network.base_env` and `HostNetwork.child_env`).
        timeout: seconds it may take; a daemon that hangs is a problem too.
    """
    ask = _probe_docker if name is EngineName.DOCKER else _probe_podman
    return ask(env, timeout)


def choose(preference: Preference, *, env: Mapping[str, str]) -> EngineChoice:
    """Return the engine to use: the preferred one, or with ``auto`` the first that works.

    Both are asked with ``auto``, docker first, as it is the one most images are tested with.

    Args:
        preference: an engine's name, or ``auto``.
        env: environment of the engines' clients.
    """
    names = list(EngineName) if preference == "auto" else [EngineName(preference)]
    tried: list[EngineStatus] = []
    for name in names:
        status = probe(name, env=env)
        tried.append(status)
        if status.usable:
            return EngineChoice(chosen=status, tried=tuple(tried))
    return EngineChoice(chosen=None, tried=tuple(tried))


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
    return OCI_PLATFORMS[Arch.X86_64 if arch is Arch.I686 else arch]


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
    native = OCI_PLATFORMS[Arch.X86_64 if arch is Arch.I686 else arch]
    argv = ["run", "--rm", "--pull=never", "--network=none", f"--platform={native}"]
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


def reaches(  # noqa: PLR0913 - mostly keywords
    engine: EngineName,
    image: str,
    arch: Arch,
    create_args: Sequence[str],
    place: tuple[str, int],
    *,
    env: Mapping[str, str],
) -> bool:
    """Whether a container gets a TCP connection to an address.

    Args:
        engine: a usable engine.
        image: an image that `check_image` found good; it has bash, as builds need one.
        arch: the architecture it is run for.
        create_args: the options the build's container will be created with.
        place: host and port.
        env: environment of the engine's client.
    """
    script = f"exec 3<>/dev/tcp/{place[0]}/{place[1]}"
    native = OCI_PLATFORMS[Arch.X86_64 if arch is Arch.I686 else arch]
    argv = ["run", "--rm", "--pull=never", f"--platform={native}", *create_args]
    run_it = [engine, *argv, "--entrypoint=/bin/bash", image, "-c", script]
    return capture(run_it, env=env, timeout=60).ok


def remove_containers(engine: EngineName, label: str, *, env: Mapping[str, str]) -> tuple[str, ...]:
    """Remove all containers with a label, running or not, and return the IDs of those removed.

    Args:
        engine: the engine.
        label: ``key`` or ``key=value``.
        env: environment of the engine's client.
    """
    before = containers(engine, label, env=env)
    if not before:
        return ()
    # Their shell is process 1 and ignores SIGTERM; `rm --force` alone would wait 10 s for each.
    capture([engine, "kill", *before], env=env, timeout=60)
    capture([engine, "rm", "--force", "--volumes", *before], env=env, timeout=120)
    after = set(containers(engine, label, env=env))
    return tuple(container for container in before if container not in after)


def containers(engine: EngineName, label: str, *, env: Mapping[str, str]) -> list[str]:
    """Return the IDs of all containers with a label, running or not."""
    listing = [engine, "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={label}"]
    return capture(listing, env=env).stdout.split()


# --- engines -------------------------------------------------------------------------------------


def _probe_docker(env: Mapping[str, str], timeout: float) -> EngineStatus:
    name = EngineName.DOCKER
    answer = capture([name, "version", "--format", "{{json .}}"], env=env, timeout=timeout)
    said = _json(answer.stdout)
    client, server = said.get("Client") or {}, said.get("Server") or {}
    if answer.ok and not server and "APIVersion" in client:
        return _unusable(name, "docker is podman under another name here", "choose podman")
    if not answer.ok or not server:
        return _no_docker(answer)
    version = str(server.get("Version", ""))
    api = min(_version(client.get("ApiVersion")), _version(server.get("ApiVersion")))
    if api < _MINIMUM[name]:
        return _too_old(name, version, "docker 20.10 (API 1.41)")
    info = capture([name, "info", "--format", "{{json .}}"], env=env, timeout=timeout)
    about = _json(info.stdout)
    options = " ".join(map(str, about.get("SecurityOptions") or ()))
    lacking = {
        limit
        for limit, key in ((Limit.CPUS, "CpuCfsQuota"), (Limit.MEMORY, "MemoryLimit"))
        if about.get(key) is False
    }
    group = str(about.get("CgroupVersion") or "")
    return EngineStatus(
        name=name,
        version=version,
        usable=True,
        rootless="name=rootless" in options,
        remapped="name=userns" in options,
        remote=_is_remote(env.get("DOCKER_HOST", "")),
        cgroup=f"v{group}" if group else "",
        storage=str(about.get("Driver") or ""),
        storage_root=str(about.get("DockerRootDir") or ""),
        selinux="name=selinux" in options,
        limits=frozenset(Limit) - lacking,
    )


def _is_remote(address: str) -> bool:
    return "://" in address and not address.startswith("unix://")


def _no_docker(answer: Captured) -> EngineStatus:
    name, said = EngineName.DOCKER, answer.stderr
    if answer.returncode == NOT_FOUND:
        return _unusable(name, "docker is not installed", "install docker or podman")
    if "permission denied" in said.lower():
        hint = "add yourself to the docker group (`usermod -aG docker $USER`, then log in again)"
        return _unusable(name, "no permission to talk to the docker daemon", hint)
    if "Cannot connect" in said or "no such file" in said or "connection refused" in said:
        hint = "`systemctl start docker`, set DOCKER_HOST, or use podman"
        return _unusable(name, "the docker daemon is not running", hint)
    return _unusable(name, f"docker does not answer: {answer.last_line}", "see `docker info`")


def _probe_podman(env: Mapping[str, str], timeout: float) -> EngineStatus:
    name = EngineName.PODMAN
    answer = capture([name, "info", "--format", "json"], env=env, timeout=timeout)
    if not answer.ok:
        return _no_podman(answer)
    said = _json(answer.stdout)
    version = str((said.get("version") or {}).get("Version", ""))
    if _version(version) < _MINIMUM[name]:
        return _too_old(name, version, "podman 3")
    host, store = said.get("host") or {}, said.get("store") or {}
    security = host.get("security") or {}
    rootless = bool(security.get("rootless"))
    return EngineStatus(
        name=name,
        version=version,
        usable=True,
        rootless=rootless,
        remote=bool(host.get("serviceIsRemote")),
        cgroup=str(host.get("cgroupVersion") or ""),
        storage=str(store.get("graphDriverName") or ""),
        storage_root=str(store.get("graphRoot") or ""),
        selinux=bool(security.get("selinuxEnabled")),
        limits=_podman_limits(host) if rootless else frozenset(Limit),
    )


def _podman_limits(host: Mapping[str, Any]) -> frozenset[Limit]:
    """Without root, podman limits what systemd has delegated to the user, on cgroup v2 only."""
    if host.get("cgroupVersion") == "v1":
        return frozenset()
    if "cgroupControllers" not in host:
        return frozenset(Limit)
    names = {Limit.CPUS: "cpu", Limit.MEMORY: "memory"}
    delegated = set(host.get("cgroupControllers") or ())
    return frozenset(limit for limit, name in names.items() if name in delegated)


def _no_podman(answer: Captured) -> EngineStatus:
    name, said = EngineName.PODMAN, answer.stderr
    if answer.returncode == NOT_FOUND:
        hint = "install podman or docker (Debian: `apt-get install podman`)"
        return _unusable(name, "podman is not installed", hint)
    if re.search(r"newuidmap|newgidmap|subuid|subgid|user namespace", said):
        hint = "install uidmap, and `usermod --add-subuids 100000-165535 "
        hint += "--add-subgids 100000-165535 $USER`"
        return _unusable(name, f"podman cannot run rootless: {_last(answer)}", hint)
    if "connect" in said and ("podman.sock" in said or "Podman" in said):
        hint = "`podman machine start`, or check CONTAINER_HOST"
        return _unusable(name, f"podman's service is not running: {_last(answer)}", hint)
    return _unusable(name, f"podman does not work: {_last(answer)}", "see `podman info --debug`")


def _unusable(name: EngineName, what: str, hint: str, version: str = "") -> EngineStatus:
    return EngineStatus(name=name, version=version, problem=Problem(what=what, hint=hint))


def _too_old(name: EngineName, version: str, minimum: str) -> EngineStatus:
    return _unusable(
        name,
        f"{name} {version} is too old: {minimum} or later is needed",
        f"upgrade {name}",
        version,
    )


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _version(text: object) -> tuple[int, ...]:
    """Leading numbers of a version; engines append words such as ``-dev`` or ``+azure-1``."""
    match = re.match(r"\d+(\.\d+)*", str(text))
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _last(answer: Captured) -> str:
    return _message(answer.last_line)


def _message(line: str) -> str:
    """An engine's last line without its log prefix."""
    match = re.search(r'level=\w+ msg="(.*)"$', line)
    return re.sub(
        r"^(Error: |Error response from daemon: |ERRO\[\d+\] )", "", match[1] if match else line
    )


def _cause(message: str) -> str:
    """The innermost cause; engines wrap it in one layer after another, the image in each."""
    return ": ".join(message.split(": ")[-2:])


# --- images --------------------------------------------------------------------------------------


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
        return OCI_PLATFORMS[self.arch]

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
        return self.arch is Arch.I686 and OCI_PLATFORMS[Arch.X86_64] in local.platforms

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
        is_32_in_64 = self._platform not in local.platforms and self.arch is Arch.I686
        platform = OCI_PLATFORMS[Arch.X86_64] if is_32_in_64 else self._platform
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
