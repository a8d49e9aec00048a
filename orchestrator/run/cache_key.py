"""Where a request's result lies in the store: its address, and what the address is the digest of.

A request's key is the same on every machine. An address has in it what the key cannot know: which
image a name means here today, or which compilers this host has; and the addresses of the libraries
that go into the source. Nothing here starts a program, but for the question what a name of an image
that is not pinned stands for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orchestrator
from orchestrator.host import identity
from orchestrator.host.emulation import host_arch
from orchestrator.models.target import BackendName, CompilerKind, CudaSource
from orchestrator.plan.expected_environment import cuda_of
from orchestrator.plan.plan import digest, request_content
from orchestrator.provision import zig
from orchestrator.store.result_record import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.target import BuildRequest, Digest, Target
    from orchestrator.provision.tools import Tools
    from orchestrator.run.inputs import LockFile

Place = dict[str, Any]
"""Where a build runs, as far as that can change its result."""

SHAPES_WHEELS = "SHAPES_WHEELS = True"
"""The line by which a room declares that its sources are a part of every address."""

_SOURCES = frozenset({".py", ".c", ".h", ".cpp", ".sh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A request in its place: everything that could change its result, and the digest of that."""

    request: BuildRequest
    document: dict[str, Any]
    address: Digest


def make_action(
    request: BuildRequest, place: Place, *, scope: str, needs: Iterable[Digest]
) -> Action:
    """Return where the result of a request lies.

    The scope is a salt that keeps results apart; a library that goes into the source counts by the
    address of its result.
    """
    document = {
        "store": FORMAT,
        "scope": scope,
        "request": request_content(request),
        "place": place,
        "needs": list(needs),
    }
    return Action(request=request, document=document, address=digest(document))


def rooms() -> list[Path]:
    """Return the directories of this program that have a hand in a wheel's bytes or its verdict."""
    return sorted(
        file.parent
        for file in Path(orchestrator.__file__).parent.glob("*/__init__.py")
        if SHAPES_WHEELS in file.read_text(encoding="utf-8").splitlines()
    )


@cache
def builder() -> str:
    """Return the version of this program, and a digest of what makes wheels in it.

    The version alone does not change while the program is worked on, or patched. A room says by
    `SHAPES_WHEELS` in its ``__init__.py`` that it counts; the file names within it do not.
    """
    total = hashlib.sha256()
    for room in rooms():
        files = sorted(file for file in room.rglob("*") if file.suffix in _SOURCES)
        digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        total.update("\n".join((room.name, *digests, "")).encode())
    return f"{orchestrator.__version__}+{total.hexdigest()[:16]}"


class BuildWay(NamedTuple):
    """How a target may be built: by what, and whether in a container of the target's image."""

    backend: BackendName
    in_container: bool


def build_place(
    target: Target,
    way: BuildWay,
    *,
    tools: Tools,
    containers: ContainerFactory,
    lock: LockFile | None = None,
) -> Place | None:
    """Return where a target would be built, and with which locked files.

    None means that it cannot be told without building it.
    """
    if way.in_container:
        place = _container_place(target, tools, containers)
    elif target.library is not None:
        return _host_place(target, tools)
    else:
        place = _interpreter_place(target, tools)
        if place is not None and target.arch is not host_arch():
            # With an engine, what is made for another architecture may have been tried.
            place |= {"engine": containers.installed}
    if place is not None and target.compiling.compiler is CompilerKind.ZIG:
        place |= {"zig": zig.lock_digest()}
    return place if place is None else place | _cuda_place(target, tools) | _locked(target, lock)


def _locked(target: Target, lock: LockFile | None) -> Place:
    """Return the files that a lock has for a target."""
    if lock is None or target.library is not None:
        return {}
    return {"locked": True} | {
        f"locked {number}": {file.name: f"{file.version} {file.sha256}" for file in each.files}
        for number, each in enumerate(lock.lock.environments_of(target.id))
    }


def _cuda_place(target: Target, tools: Tools) -> Place:
    """Return this host's toolkits that a target may be compiled with."""
    version, source = cuda_of(target), target.steps.environment.cuda
    if not version or source not in {None, CudaSource.HOST} or target.arch is not host_arch():
        return {}
    digests = tools.cuda_digests(version)
    return {"cuda": list(digests)} if digests else {}


def _container_place(target: Target, tools: Tools, containers: ContainerFactory) -> Place | None:
    reference = containers.reference(target)
    _, _, image = reference.partition("@sha256:")
    if not image:
        checked = containers.checked_id(target).removeprefix("sha256:")
        image = checked or containers.image_id(reference)
    if not image:
        return None
    arguments = list(containers.settings.create_args)
    place = {"image": image, "arguments": arguments}
    given = dict(containers.given)
    return place | _without_empty({"index": tools.index(in_container=True), "given": given})


def _without_empty(place: Place) -> Place:
    # What most hosts do not have does not make their addresses differ from older ones.
    return {name: value for name, value in place.items() if value}


def _host_place(target: Target, tools: Tools, compilers: Iterable[tuple[str, str]] = ()) -> Place:
    host = tools.host
    env = [*compilers, *((variable.name, variable.value) for variable in target.env)]
    place = {
        "index": tools.index(in_container=False),
        "home": identity.users_settings(Path(host.env.get("HOME") or "/nonexistent")),
    }
    return {"host": identity.describe(host.env["PATH"], env)} | _without_empty(place)


def _interpreter_place(target: Target, tools: Tools) -> Place | None:
    python = tools.known_python(target.python)
    if python is None:
        return None
    # What is in sysconfig's own file, counts by its variables.
    files = [(Path(path).name, digest[:16]) for path, digest in python.settings if digest]
    settings = {name: digest for name, digest in files if not name.startswith("_sysconfigdata")}
    facts = {
        "version": python.version,
        "implementation": python.tag.implementation,
        "soabi": python.soabi,
        "sysconfig": dict(python.variables),
        **_without_empty({"settings": settings}),
    }
    return _host_place(target, tools, python.variables) | {"python": facts}
