"""Where a target is built: cibuildwheel, or the direct steps in a container or on this host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from orchestrator.builders.backend_choice import Choice, EngineChoice, HostPython, Survey, choose
from orchestrator.cli.workspace import builder_facts
from orchestrator.config.load import load
from orchestrator.containers.engine import EngineName, EngineStatus
from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.models.result import ContainerInfo
from orchestrator.models.target import BackendName, CibuildwheelCatalog, EmulationMode, Target
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(kw_only=True)
class Machine:
    """What `choose` asks, with answers given."""

    unusable: Problem | None = None
    host: Problem | None = None
    facts: CibuildwheelCatalog = FACTS
    pythons: Mapping[str, HostPython] = field(default_factory=lambda: {"cp314": HostPython()})
    engine: EngineChoice = field(
        default_factory=lambda: EngineChoice(
            chosen=EngineStatus(name=EngineName.PODMAN, version="5.0")
        )
    )

    def no_cibuildwheel(self, target: Target) -> Problem | None:
        if target.build_identifier not in self.facts.identifiers:
            return Problem(what=f"cibuildwheel has no identifier {target.build_identifier}")
        return self.unusable

    def no_python_in_container(self, target: Target) -> Problem | None:
        return self.unusable

    def no_direct(self, target: Target) -> Problem | None:
        return self.host if self.is_local(target) else Problem(what="not for this machine")

    def trouble(self, target: Target) -> str:
        return ""

    def container(self, target: Target) -> ContainerInfo | None:
        return CONTAINER

    def native(self, target: Target) -> None:
        raise EnvironmentProblemError.of("no cross compiler")

    def reservations(self, target: Target) -> tuple[str, ...]:
        return ()

    def is_local(self, target: Target) -> bool:
        return target.arch == "x86_64"


def chosen(machine: Machine, wanted: BackendName | None = None) -> dict[str, Choice]:
    settings = load(MATRIX.encode(), facts=FACTS)
    targets = make_plan(settings, outside=VersionContext(), facts=FACTS).targets
    found = choose(targets, cast("Survey", machine), wanted=wanted)
    return {each.arch: found[each.id] for each in targets}


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
    found = chosen(Machine(unusable=Problem(what="QEMU is too old", hint="a newer one")))

    assert (found["x86_64"].backend, found["x86_64"].container) == (BackendName.DIRECT, None)
    failure = found["loongarch64"].failure
    assert failure is not None
    assert "QEMU is too old" in failure.message
    assert "a newer one" in failure.hint
