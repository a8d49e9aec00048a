"""Where a request's result lies in the store: its address, and what the address is the digest of.

A request's key is the same on every machine. An address has in it what the key cannot know: which
image a name means here today, or which compilers this host has; and the addresses of the libraries
that go into the source. Nothing here starts a program, but for the question what a name of an image
that is not pinned stands for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchestrator
from orchestrator.containers.pinned_images import image_reference
from orchestrator.host import identity
from orchestrator.host.emulation import host_arch
from orchestrator.models.target import BackendName, CompilerKind
from orchestrator.plan.plan import digest, request_content
from orchestrator.provision import zig
from orchestrator.store.result_record import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import BuildRequest, Digest, Target
    from orchestrator.provision.host import Host
    from orchestrator.provision.pythons import Interpreter

Place = dict[str, Any]
"""Where a build runs, as far as that can change its result."""

SHAPES_WHEELS = "SHAPES_WHEELS = True"
"""The line by which a room declares that its sources are a part of every address."""

_SOURCES = frozenset({".py", ".c", ".h", ".cpp", ".sh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A request in its place.

    Attributes:
        request: what to build.
        document: everything that could change the result.
        address: digest of that.
    """

    request: BuildRequest
    document: dict[str, Any]
    address: Digest


def make_action(
    request: BuildRequest, place: Place, *, scope: str, needs: Iterable[Digest]
) -> Action:
    """Return where the result of a request lies.

    Args:
        request: what to build.
        place: from `BuildPlaces`.
        scope: salt that keeps results apart.
        needs: the addresses of the libraries that go into its source.
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


@dataclass(slots=True, kw_only=True)
class BuildPlaces:
    """Where builds would run on this machine.

    Attributes:
        host: tools and environment.
        create_args: the matrix' own arguments for the engine.
        image_id: asks the engine for the ID of an image; empty when it has none.
        interpreter: finds the interpreter of a python tag; None when none is known.
        has_engine: whether an engine is installed, so that what was made for another architecture
            may have been tried.
    """

    host: Host
    create_args: tuple[str, ...]
    image_id: Callable[[str], str]
    interpreter: Callable[[str], Interpreter | None]
    has_engine: bool = False
    _images: dict[tuple[str, Arch], Place | None] = field(default_factory=dict)
    _pythons: dict[str, Interpreter | None] = field(default_factory=dict)

    def of(self, target: Target, backend: BackendName, *, in_container: bool) -> Place | None:
        """Return where a target would be built; None where that cannot be told.

        Args:
            target: the target.
            backend: what would build it.
            in_container: for a library, whether its command would run in a container.
        """
        if in_container or backend is BackendName.CIBUILDWHEEL:
            return self._container(target)
        return self._here(target)

    def _container(self, target: Target) -> Place | None:
        key = (target.image, target.arch)
        if key not in self._images:
            reference = image_reference(target.image, target.arch, self.host.toolchain)
            _, _, pinned = reference.partition("@sha256:")
            found = pinned or self.image_id(reference)
            place = {"image": found, "arguments": list(self.create_args)}
            self._images[key] = place if found else None
        here = self._images[key]
        if here is not None and target.compiling.compiler is CompilerKind.ZIG:
            return here | {"zig": zig.lock_digest()}
        return here

    def _here(self, target: Target) -> Place | None:
        env = [(each.name, each.value) for each in target.env]
        place: Place = {"host": identity.describe(self.host.env["PATH"], env)}
        if target.library is not None:
            return place
        if target.python not in self._pythons:
            self._pythons[target.python] = self.interpreter(target.python)
        found = self._pythons[target.python]
        if found is None:
            return None
        if target.compiling.compiler is CompilerKind.ZIG:
            place |= {"zig": zig.lock_digest()}
        if target.arch is not host_arch():
            place |= {"engine": self.has_engine}
        return place | {
            "python": {
                "version": found.version,
                "implementation": found.implementation,
                "soabi": found.soabi,
                "linker": found.linker,
            }
        }
