"""Where a target's CUDA comes from: the first place that has it, or the one that is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.builders import cuda_choice
from orchestrator.builders.cuda_choice import MOUNTED, CudaChooser, CudaToolkit
from orchestrator.containers.toolkits import Toolkit, parse_toolkits
from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import CudaSource, EnvironmentSpec, Target, TargetSteps
from orchestrator.plan.devices import index_fault
from orchestrator.provision.cache_dir import CacheEntry
from orchestrator.provision.cuda import HostToolkit, wheel_requirements
from tests.factories import SOURCE, env, plan_of, target

OF_IMAGE = Toolkit(version="12.6.85", profile="p", nvcc="/usr/local/cuda-12.6/bin/nvcc")
OF_HOST = HostToolkit(root=Path("/opt/cuda"), version="13.2.78", build="b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Its own toolkits, and what its package index has."""

    def cuda_toolkits(self, _minor: str) -> tuple[HostToolkit, ...]:
        return (OF_HOST,)

    def newest_cuda(self, wanted: str) -> str:
        if fault := index_fault(wanted):
            raise EnvironmentProblemError.of(fault)
        return f"{wanted}.88"

    def cuda_wheels(self, version: str, arch: Arch) -> CacheEntry:
        return CacheEntry(folder=Path("/cache", f"{version}-{arch}"))


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_choice, "host_arch", lambda: Arch.X86_64)


def cell(
    cuda: str, source: CudaSource | None = None, *, torch: str = "2.9", **steps: Any
) -> Target:
    spec = EnvironmentSpec(cuda=source, requires=steps.pop("requires", ()))
    variant = (("cuda", cuda), *((("torch", torch),) if torch else ()))
    return target(variant=variant, steps=TargetSteps(environment=spec, **steps))


def choose(
    what: Target, *, container: bool = True, own: tuple[str, ...] = ()
) -> CudaToolkit | None:
    chooser = CudaChooser(tools=cast("Any", Machine()), source=replace(SOURCE, own_options=own))
    return chooser.choose(what, (lambda: (OF_IMAGE,)) if container else None)


@pytest.mark.parametrize(
    ("cuda", "container", "source"),
    [
        ("12.6", True, CudaSource.IMAGE),
        ("13.2", True, CudaSource.HOST),
        ("13.0", True, CudaSource.INDEX),
        ("13.2", False, CudaSource.HOST),
        ("13.0.1", False, CudaSource.INDEX),
        ("cu130", False, CudaSource.INDEX),
    ],
)
def test_the_first_place_that_has_the_version_is_taken(
    cuda: str, *, container: bool, source: CudaSource
) -> None:
    found = choose(cell(cuda), container=container)
    assert found is not None
    assert found.source is source


IN_IMAGE = "image manylinux_2_28 has nvcc 12.6.85 (/usr/local/cuda-12.6)"
ON_HOST = "this host has nvcc 13.2.78 (/opt/cuda)"
ON_INDEX = "the package index has no nvcc of CUDA 12.8, only from 13.0 on"


@pytest.mark.parametrize(
    ("source", "container", "why"),
    [
        (CudaSource.IMAGE, True, IN_IMAGE),
        (CudaSource.IMAGE, False, "it is built on this host, in no image"),
        (CudaSource.HOST, True, ON_HOST),
        (CudaSource.INDEX, True, ON_INDEX),
        (None, True, f"{IN_IMAGE}; {ON_HOST}; {ON_INDEX}"),
    ],
)
def test_a_place_that_has_another_version_is_an_error_that_names_it(
    source: CudaSource | None, *, container: bool, why: str
) -> None:
    with pytest.raises(EnvironmentProblemError) as refused:
        choose(cell("12.8", source), container=container)
    assert refused.value.what == f"no CUDA 12.8: {why}"
    assert "CUDA_HOME" in refused.value.problems[0].hint


def test_a_machine_without_any_has_no_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "cuda_toolkits", lambda *_: ())
    with pytest.raises(EnvironmentProblemError, match="this host has no nvcc"):
        choose(cell("12.8", CudaSource.HOST))


@pytest.mark.parametrize(
    ("what", "own"),
    [
        (cell("cpu"), ()),
        (replace(cell("12.8"), env=env(CUDA_HOME="/mine")), ()),
        (cell("12.8", before_all="dnf install cuda"), ()),
        (cell("12.8", requires=("nvidia_cuda_nvcc-cu12",)), ()),
        (cell("12.8"), ("before-build",)),
        (target(variant=(("device", "cu128"),)), ()),
    ],
)
def test_a_target_without_cuda_or_with_its_own_gets_none(
    what: Target, own: tuple[str, ...]
) -> None:
    assert choose(what, own=own) is None


def test_a_foreign_container_takes_no_toolkit_of_this_host() -> None:
    foreign = replace(cell("13.2"), arch=Arch.AARCH64)
    found = choose(foreign)
    assert found is not None
    assert found.source is CudaSource.INDEX
    with pytest.raises(EnvironmentProblemError, match="toolkits are for x86_64"):
        choose(replace(foreign, steps=cell("13.2", CudaSource.HOST).steps))


def test_a_build_reaches_its_toolkit_by_the_usual_variables() -> None:
    what = replace(cell("13.2"), env=env(CUDA_PATH="/mine"))
    for container in (True, False):
        found = choose(replace(what, env=()), container=container)
        assert found is not None
        root = MOUNTED if container else OF_HOST.root
        access = found.access(what)
        assert access.path == f"{root}/bin"
        libraries = f"{root}/lib64:{root}/lib64/stubs"
        assert dict(access.env) == {"CUDA_HOME": str(root), "LIBRARY_PATH": libraries}
        assert access.mounts == (((OF_HOST.root, MOUNTED, False),) if container else ())


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.AARCH64])
def test_wheels_are_those_of_the_architecture_of_the_target(arch: Arch) -> None:
    what = replace(cell("13.0"), arch=arch)
    found = choose(what)
    assert found is not None
    mounts = found.access(what).mounts
    assert mounts == ((Path(f"/cache/13.0.88-{arch}"), MOUNTED, False),)


def test_the_image_s_own_library_path_stays() -> None:
    found = choose(cell("12.6"))
    assert found is not None
    root = "/usr/local/cuda-12.6"
    assert dict(found.access(cell("12.6")).env) == {"CUDA_HOME": root, "CUDA_PATH": root}


def test_wheels_of_one_cuda_are_required_together() -> None:
    lines = wheel_requirements("13.0.88")
    assert lines[:3] == (
        *("nvidia-cuda-nvcc==13.0.88", "nvidia-cuda-crt==13.0.88", "nvidia-nvvm==13.0.88"),
    )
    assert lines[3].endswith("==13.0.*")


def test_wheels_that_never_are_a_toolkit_are_refused_while_planning() -> None:
    text = (
        '[version]\nbase = "1"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'
        'cuda = ["13.0", "12.6"]\n[build]\ncuda = "index"\n'
    )
    with pytest.raises(ConfigError) as refused:
        plan_of(text)
    (problem,) = refused.value.problems
    assert problem.where == "build.cuda"
    assert problem.what == (
        "the package index has no nvcc of CUDA 12.6, only from 13.0 on "
        "(cp312-manylinux_x86_64-12.6)"
    )


def test_toolkits_of_an_image_are_read_from_its_answers() -> None:
    lines = [
        "noise",
        "nvcc 13.0.88 - /a b/bin/nvcc",
        "nvcc 12.6.85 p /usr/local/cuda-12.6/bin/nvcc",
    ]
    found = parse_toolkits(lines)
    assert found[1] == OF_IMAGE
    assert (found[0].root, found[0].profile) == ("/a b", "")
