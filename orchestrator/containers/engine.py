"""Docker and podman: find one that works, and its capabilities.

Engines are asked: an installed client says nothing about its daemon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host.process import NOT_FOUND, Captured, capture
from orchestrator.host.transient_errors import may_pass
from orchestrator.models.reading import json_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.target import TargetResources

Preference = Literal["auto", "docker", "podman"]

Pull = Literal["missing", "always", "never"]
"""When an image is pulled: where it is not here, before every run, or not at all."""


class EngineName(StrEnum):
    """The container engines that cibuildwheel knows."""

    DOCKER = "docker"
    PODMAN = "podman"


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
    """What an engine that works said about itself.

    Attributes:
        name: which engine.
        version: of the engine; empty when it did not say.
        rootless: whether it runs without root.
        remapped: whether root in a container is another user outside although the engine is root.
        remote: whether it runs on another machine, which sees none of our files.
        cgroup: version of the control groups (``v1``, ``v2``), empty when it did not say.
        storage: storage driver (``overlay``).
        storage_root: where images and containers are.
        selinux: whether it confines containers with SELinux, so that they cannot read what is
            mounted into them.
        limits: what it can limit.
    """

    name: EngineName
    version: str = ""
    rootless: bool = False
    remapped: bool = False
    remote: bool = False
    cgroup: str = ""
    storage: str = ""
    storage_root: str = ""
    selinux: bool = False
    limits: frozenset[Limit] = frozenset(Limit)

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

    def limit_args(self, resources: TargetResources) -> tuple[str, ...]:
        """Return the options for what a target may use, as far as this engine can limit it."""
        return tuple(
            f"--{limit}={value:g}" if isinstance(value, float) else f"--{limit}={value}"
            for limit, value in _limits(resources).items()
            if limit in self.limits
        )

    def unlimited(self, resources: TargetResources) -> str:
        """Say which of a target's limits will not hold here; empty when all do."""
        lacking = " and ".join(limit for limit in _limits(resources) if limit not in self.limits)
        how = "rootless " if self.rootless else ""
        group = self.cgroup or "of this host"
        return f"{how}{self.name} on cgroup {group} cannot limit {lacking}" if lacking else ""


def _limits(resources: TargetResources) -> dict[Limit, float | str]:
    wanted = {Limit.CPUS: resources.cpus, Limit.MEMORY: resources.memory}
    return {limit: value for limit, value in wanted.items() if value is not None}


def probe(name: EngineName, *, env: Mapping[str, str], timeout: float = 20.0) -> EngineStatus:
    """Ask an engine whether it works; a daemon that hangs is a problem too.

    `env` is the environment of its client (`network.base_env` and `HostNetwork.child_env`).

    Raises:
        EnvironmentProblemError: it does not work.
    """
    return (_probe_docker if name is EngineName.DOCKER else _probe_podman)(env, timeout)


def choose(preference: Preference, *, env: Mapping[str, str]) -> EngineStatus:
    """Return the preferred engine, or with ``auto`` the first that works.

    With ``auto`` docker is asked first, because most images are tested with it.

    Raises:
        EnvironmentProblemError: none works; says why of each.
    """
    errors: list[EnvironmentProblemError] = []
    for name in EngineName if preference == "auto" else [EngineName(preference)]:
        try:
            return probe(name, env=env)
        except EnvironmentProblemError as error:
            errors.append(error)
    present = [error for error in errors if error.kind is not ErrorKind.NOT_FOUND]
    if not present:
        _refuse("; ".join(error.what for error in errors), _INSTALL)
    # Nobody with one engine that fails has to install another.
    problems = (problem for error in present or errors for problem in error.problems)
    raise EnvironmentProblemError(*problems, transient=any(e.transient for e in errors))


_REMOVALS = 5
"""How often containers are looked for and removed, before what is left is left."""


def remove_containers(engine: EngineName, label: str, *, env: Mapping[str, str]) -> tuple[str, ...]:
    """Remove all containers with a label; return the IDs of those removed.

    What fails is tried again: the engine may be busy or killed, refuses at first to remove a
    container whose monitor was killed, and may just be making another one.
    """
    seen, left = dict[str, None](), list[str]()
    for _ in range(_REMOVALS):
        listed = _list(engine, label, env)
        if not listed.ok:
            continue
        left = listed.stdout.split()
        if not left:
            break
        seen |= dict.fromkeys(left)
        # Their shell is process 1, ignores SIGTERM; `rm --force` alone would wait 10 s for each.
        capture([engine, "kill", *left], env=env, timeout=60)
        capture([engine, "rm", "--force", "--volumes", *left], env=env, timeout=120)
    return tuple(container for container in seen if container not in left)


def containers(engine: EngineName, label: str, *, env: Mapping[str, str]) -> list[str]:
    """Return the IDs of all containers with a label, running or not."""
    return _list(engine, label, env).stdout.split()


def first_processes(engine: EngineName, label: str, *, env: Mapping[str, str]) -> tuple[int, ...]:
    """Return the numbers, on the engine's machine, of the first processes of running containers."""
    found = capture([engine, "ps", "--quiet", f"--filter=label={label}"], env=env, timeout=10)
    if not found.stdout.split():
        return ()
    inspect = [engine, "inspect", "--format={{.State.Pid}}", *found.stdout.split()]
    said = capture(inspect, env=env, timeout=10).stdout.split()
    return tuple(int(word) for word in said if word.isdigit() and word != "0")


def _list(engine: EngineName, label: str, env: Mapping[str, str]) -> Captured:
    listing = [engine, "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={label}"]
    return capture(listing, env=env, timeout=60)


_INSTALL = "install podman or docker (Debian: `apt-get install podman`)"


def _probe_docker(env: Mapping[str, str], timeout: float) -> EngineStatus:
    name = EngineName.DOCKER
    answer = capture([name, "version", "--format", "{{json .}}"], env=env, timeout=timeout)
    said = _json(answer.stdout)
    client, server = said.get("Client") or {}, said.get("Server") or {}
    if answer.ok and not server and "APIVersion" in client:
        _refuse("docker is podman under another name here", "choose podman")
    if not answer.ok or not server:
        _refuse_docker(answer)
    version = str(server.get("Version", ""))
    api = min(_version(client.get("ApiVersion")), _version(server.get("ApiVersion")))
    if api < _MINIMUM[name]:
        _refuse_version(name, version, "docker 20.10 (API 1.41)")
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


def _refuse_docker(answer: Captured) -> NoReturn:
    said = answer.stderr
    passing = may_pass(said.splitlines())
    if answer.returncode == NOT_FOUND:
        _refuse("docker is not installed", _INSTALL, ErrorKind.NOT_FOUND)
    if "permission denied" in said.lower():
        hint = "add yourself to the docker group (`usermod -aG docker $USER`, then log in again)"
        _refuse("no permission to talk to the docker daemon", hint)
    if "Cannot connect" in said or "no such file" in said or "connection refused" in said:
        hint = "`systemctl start docker`, set DOCKER_HOST, or use podman"
        _refuse("the docker daemon is not running", hint)
    _refuse(f"docker does not answer: {answer.last_line}", "see `docker info`", transient=passing)


def _probe_podman(env: Mapping[str, str], timeout: float) -> EngineStatus:
    name = EngineName.PODMAN
    answer = capture([name, "info", "--format", "json"], env=env, timeout=timeout)
    if not answer.ok:
        _refuse_podman(answer)
    said = _json(answer.stdout)
    version = str((said.get("version") or {}).get("Version", ""))
    if _version(version) < _MINIMUM[name]:
        _refuse_version(name, version, "podman 3")
    host, store = said.get("host") or {}, said.get("store") or {}
    security = host.get("security") or {}
    rootless = bool(security.get("rootless"))
    return EngineStatus(
        name=name,
        version=version,
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


def _refuse_podman(answer: Captured) -> NoReturn:
    said = answer.stderr
    passing = may_pass(said.splitlines())
    if answer.returncode == NOT_FOUND:
        _refuse("podman is not installed", _INSTALL, ErrorKind.NOT_FOUND)
    if re.search(r"newuidmap|newgidmap|subuid|subgid|user namespace", said):
        hint = (
            "install uidmap, and `usermod --add-subuids 100000-165535 "
            "--add-subgids 100000-165535 $USER`"
        )
        _refuse(f"podman cannot run rootless: {plain_message(answer.last_line)}", hint)
    if "connect" in said and ("podman.sock" in said or "Podman" in said):
        hint = "`podman machine start`, or check CONTAINER_HOST"
        _refuse(
            f"podman's service is not running: {plain_message(answer.last_line)}",
            hint,
            transient=passing,
        )
    hint = "see `podman info --debug`"
    _refuse(f"podman does not work: {plain_message(answer.last_line)}", hint, transient=passing)


def _refuse(
    what: str, hint: str, kind: ErrorKind = ErrorKind.OTHER, *, transient: bool = False
) -> NoReturn:
    raise EnvironmentProblemError.of(what, hint=hint, kind=kind, transient=transient)


def _refuse_version(name: EngineName, version: str, minimum: str) -> NoReturn:
    what = f"{name} {version} is too old: {minimum} or later is needed"
    _refuse(what, f"upgrade {name}")


def _json(text: str) -> dict[str, Any]:
    try:
        value = json_value(text, where="engine")
    except ConfigError:
        return {}
    return value if isinstance(value, dict) else {}


def _version(text: object) -> tuple[int, ...]:
    """Leading numbers of a version; engines append words such as ``-dev`` or ``+azure-1``."""
    match = re.match(r"\d+(\.\d+)*", str(text))
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def plain_message(line: str) -> str:
    """Return a line of an engine without its log prefix."""
    match = re.search(r'level=\w+ msg="(.*)"$', line)
    return re.sub(
        r"^(Error: |Error response from daemon: |ERRO\[\d+\] )", "", match[1] if match else line
    )


def innermost_cause(message: str) -> str:
    """Return the innermost cause; engines wrap it in layer after layer, the image in each."""
    return ": ".join(message.split(": ")[-2:])
