"""Where a target is built: cibuildwheel, or the direct steps in a container or on this host."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.builders import backend_choice
from orchestrator.builders.backend_choice import BackendChooser, Choice
from orchestrator.builders.cuda_choice import CudaChooser
from orchestrator.cli.workspace import builder_facts
from orchestrator.containers.engine import EngineName, EngineStatus
from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.result import ContainerInfo
from orchestrator.models.target import BackendName, CibuildwheelCatalog, EmulationMode, Target
from orchestrator.provision.pythons import Interpreter
from orchestrator.provision.tools import HostPython
from tests.factories import plan_of

FACTS = builder_facts()
MATRIX = """
[axes]
python = ["cp314"]
arch = ["x86_64", "loongarch64"]
[version]
base = "1.0"
[images]
manylinux_x86_64 = "localhost/one:1"
manylinux_loongarch64 = "localhost/loong:1"
"""

CONTAINER = ContainerInfo(
    engine="podman",
    version="5.0",
    rootless=False,
    cgroup="v2",
    storage="overlay",
    image="localhost/any:1",
    image_id="sha256:0",
    digest="",
)


PODMAN = EngineStatus(name=EngineName.PODMAN, version="5.0")


@dataclass(kw_only=True)
class Machine:
    """What `BackendChooser` asks of the engine and the host's tools, with answers given."""

    unusable: EnvironmentProblemError | None = None
    engine: EngineStatus = PODMAN

    def check_python(self, _target: Target) -> None:
        if self.unusable is not None:
            raise self.unusable

    def trouble(self, _target: Target) -> str:
        return ""

    def info(self, _target: Target) -> ContainerInfo:
        return CONTAINER

    def reservations(self, _target: Target) -> tuple[str, ...]:
        return ()

    def compilers(self, _target: Target) -> None:
        raise EnvironmentProblemError.of("no cross compiler")

    @property
    def zig(self) -> None:
        raise EnvironmentProblemError.of("no zig")

    def python(self, _tag: str) -> HostPython:
        return HostPython(interpreter=cast("Interpreter", SimpleNamespace(path="/usr/bin/python")))


def chosen(
    machine: Machine,
    wanted: BackendName | None = None,
    facts: CibuildwheelCatalog = FACTS,
) -> dict[str, Choice]:
    targets = plan_of(MATRIX).targets
    here = cast("Any", machine)
    cuda = CudaChooser(tools=here)
    chooser = BackendChooser(
        facts=facts, wanted=wanted, tools=here, containers=here, native=here, cuda=cuda
    )
    found = chooser.choose(targets)
    return {each.arch: found[each.id] for each in targets}


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests run on an x86_64 host with glibc, whatever it is."""
    monkeypatch.setattr(backend_choice, "host_arch", lambda: Arch.X86_64)
    monkeypatch.setattr(backend_choice, "host_libc", lambda: Libc.MANYLINUX)


def test_what_cibuildwheel_has_no_name_for_is_built_directly_in_its_image() -> None:
    found = chosen(Machine())

    assert found["x86_64"].backend is BackendName.CIBUILDWHEEL
    assert found["x86_64"].container == CONTAINER
    loong = found["loongarch64"]
    assert (loong.backend, loong.container) == (BackendName.DIRECT, CONTAINER)
    assert loong.reason.startswith("cibuildwheel has no identifier cp314-manylinux_loongarch64; ")
    assert "podman 5.0 runs localhost/loong:1" in loong.reason
    assert loong.compiled is not None
    assert loong.compiled.emulation is EmulationMode.FULL
    assert "no cross compiler" in loong.compiled.why


def test_asked_for_by_name_direct_stays_on_this_host_where_it_can() -> None:
    found = chosen(Machine(), BackendName.DIRECT)

    assert (found["x86_64"].backend, found["x86_64"].container) == (BackendName.DIRECT, None)
    assert found["loongarch64"].container == CONTAINER


def test_cibuildwheel_asked_for_by_name_gets_no_substitute() -> None:
    loong = chosen(Machine(), BackendName.CIBUILDWHEEL)["loongarch64"]

    assert loong.backend is None
    assert loong.failure is not None
    assert "no identifier" in loong.failure.message


def test_an_image_that_does_not_run_falls_back_to_this_host_or_says_why_not() -> None:
    error = EnvironmentProblemError.of("QEMU is too old", hint="a newer one")
    found = chosen(Machine(unusable=error))

    assert (found["x86_64"].backend, found["x86_64"].container) == (BackendName.DIRECT, None)
    failure = found["loongarch64"].failure
    assert failure is not None
    assert "QEMU is too old" in failure.message
    assert "a newer one" in failure.hint
