"""What this machine is asked before a build, and what is said of it; the engine is made up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from orchestrator.builders import backend_choice as choosing
from orchestrator.builders.backend_choice import BackendChooser, Choice
from orchestrator.builders.cuda_choice import CudaChooser
from orchestrator.config.settings import Build, EngineSettings
from orchestrator.containers import container as containers
from orchestrator.containers import engine as engines
from orchestrator.containers.container import ContainerFactory
from orchestrator.containers.engine import EngineName, EngineStatus, Limit
from orchestrator.containers.images import ImageCheck
from orchestrator.cross.native_gcc import NativeCompilerFactory, NativeCompilers, TargetImage
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.result import CompileReport, ContainerInfo
from orchestrator.models.target import (
    BackendName,
    CibuildwheelCatalog,
    CompilePlan,
    CompilerKind,
    Digest,
    EmulationMode,
    Target,
    TargetId,
    TargetResources,
)
from orchestrator.plan.compilers import compile_plan
from orchestrator.provision.answers import once
from orchestrator.provision.cache_dir import CacheEntry
from orchestrator.provision.cross_gcc import CrossGcc
from orchestrator.provision.cuda import HostToolkit
from orchestrator.provision.foreign_python import ForeignPython
from orchestrator.provision.nvcc import Nvcc
from orchestrator.provision.pythons import Interpreter
from orchestrator.provision.tools import HostPython, Tools
from orchestrator.provision.zig import Zig
from tests import factories
from tests.unit.builders.test_cibuildwheel import host_with_pins

IMAGE = "registry.example/x/y:1"
TARGET = factories.target(image=IMAGE)
STATUS = EngineStatus(
    name=EngineName.PODMAN, version="5.0", rootless=True, cgroup="v1", storage="vfs"
)
GOOD = ImageCheck(id="sha256:abc", digest="registry.example/x/y@sha256:1")


def refusing(what: str) -> Callable[..., NoReturn]:
    """Return what raises an error whenever it is called."""

    def refuse(*_: object) -> NoReturn:
        raise EnvironmentProblemError.of(what)

    return refuse


NO_PYTHON = refusing("no interpreter")
NO_ZIG = refusing("no zig in this test")
NO_QEMU = refusing("no QEMU in this test")
NO_GCC = refusing("no cross gcc in this test")
NO_COMPILER = refusing("no native compiler")


@dataclass(kw_only=True, eq=False)
class FewTools(Tools):
    """A machine that has no tool but those that a test gives it."""

    find_python: Callable[[str], HostPython] = NO_PYTHON
    find_zig: Callable[[], Zig] = NO_ZIG
    find_nvcc: Callable[[str], Nvcc] = NO_COMPILER
    find_foreign: Callable[[str, Arch], ForeignPython] = NO_QEMU
    find_gcc: Callable[[Arch], CrossGcc] = NO_GCC

    @once
    def python(self, tag: str) -> HostPython:
        return self.find_python(tag)

    @property
    def zig(self) -> Zig:
        return self.find_zig()

    @once
    def nvcc(self, version: str) -> Nvcc:
        return self.find_nvcc(version)

    @once
    def cuda_toolkits(self, minor: str) -> tuple[HostToolkit, ...]:
        return ()

    @once
    def newest_cuda(self, wanted: str) -> str:
        return f"{wanted}.88"

    @once
    def cuda_wheels(self, version: str, arch: Arch) -> CacheEntry:
        return CacheEntry(folder=Path("/cuda", f"{version}-{arch}"))

    @once
    def cross_cuda(self, version: str, arch: Arch) -> CacheEntry:
        return CacheEntry(folder=Path("/cuda", f"{version}-{arch}-here"))

    @once
    def cross_gcc(self, arch: Arch) -> CrossGcc:
        return self.find_gcc(arch)

    @once
    def foreign_python(self, tag: str, arch: Arch) -> ForeignPython:
        return self.find_foreign(tag, arch)


@dataclass(kw_only=True, eq=False)
class FewCompilers(NativeCompilerFactory):
    """The same for native compilers."""

    accelerate: Callable[[TargetImage, CompilePlan], NativeCompilers]

    @once
    def _compilers(self, image: TargetImage, planned: CompilePlan) -> NativeCompilers:
        return self.accelerate(image, planned)


def machine(
    tmp_path: Path,
    environ: dict[str, str] | None = None,
    *,
    pull: Any = "missing",
    accelerate: Callable[..., NativeCompilers] = NO_COMPILER,
    **found: Any,
) -> BackendChooser:
    host = host_with_pins(tmp_path, environ)
    tools = FewTools(host=host, cancel=Cancel(), say=lambda _line: None, **found)
    factory = ContainerFactory(
        host=host,
        settings=EngineSettings.model_validate({"create-args": ["--network=host"], "pull": pull}),
        label="",
        log=lambda _line: None,
        cancel=tools.cancel,
    )
    return BackendChooser(
        facts=CibuildwheelCatalog(
            version="4",
            identifiers=frozenset({TARGET.build_identifier}),
            aliases={},
            default_images={},
        ),
        wanted=None,
        tools=tools,
        containers=factory,
        native=FewCompilers(tools=tools, containers=factory, accelerate=accelerate),
        cuda=CudaChooser(tools=tools),
    )


def choose(
    targets: list[Target], here: BackendChooser, wanted: BackendName | None = None
) -> Mapping[TargetId, Choice]:
    return replace(here, wanted=wanted).choose(targets)


def choose_one(target: Target, here: BackendChooser, wanted: BackendName | None = None) -> Choice:
    return choose([target], here, wanted)[target.id]


def compiled(choice: Choice) -> CompileReport:
    assert choice.compiled is not None
    return choice.compiled


Asked = dict[str, Any]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the engine was asked; what it answers can be changed there, too."""
    said: dict[str, Any] = {"status": STATUS, "image": GOOD, "reaches": True, "places": []}

    def check_image(*words: Any, **options: Any) -> ImageCheck:
        said["args"], said["pull"] = words[1], options["pull"]
        if isinstance(said["image"], EnvironmentProblemError):
            raise said["image"]
        found: ImageCheck = said["image"]
        return found

    def reaches(*words: Any, **_: Any) -> bool:
        said["places"].append(words[2])
        return bool(said["reaches"])

    def chosen(*_: Any, **__: Any) -> EngineStatus:
        status: EngineStatus | None = said["status"]
        if status is None:
            raise EnvironmentProblemError.of("no engine here")
        return status

    monkeypatch.setattr(choosing, "host_arch", lambda: Arch.X86_64)
    monkeypatch.setattr(choosing, "host_libc", lambda: Libc.MANYLINUX)
    monkeypatch.setattr(engines, "choose", chosen)
    monkeypatch.setattr(containers, "check_image", check_image)
    monkeypatch.setattr(containers, "pythons_in", lambda *_, **__: None)
    monkeypatch.setattr(containers, "reaches", reaches)
    return said


def test_what_a_container_is_made_of_is_part_of_the_choice(asked: Asked, tmp_path: Path) -> None:
    here = machine(tmp_path, pull="always")
    choice = choose_one(TARGET, here)
    assert choice.backend is BackendName.CIBUILDWHEEL
    assert (choice.how, choice.details) == ("podman 5.0, native", (f"image {IMAGE}",))
    assert choice.reason == f"podman 5.0, native; image {IMAGE}"
    assert choice.container == ContainerInfo(
        engine="podman",
        version="5.0",
        rootless=True,
        cgroup="v1",
        storage="vfs",
        image=IMAGE,
        image_id="sha256:abc",
        digest="registry.example/x/y@sha256:1",
    )
    assert here.containers.checked_id(TARGET) == "sha256:abc"
    assert asked["pull"] == "always"
    assert asked["places"] == [], "nothing of this network runs on this machine"


PYTHON = HostPython(interpreter=cast("Interpreter", SimpleNamespace(path="/usr/bin/python")))
LOONG = replace(TARGET, arch=Arch.LOONGARCH64)  # cibuildwheel has no name for it
DIRECT = BackendName.DIRECT


@pytest.mark.parametrize(
    ("target", "wanted", "backend", "contained"),
    [
        (LOONG, None, DIRECT, True),
        (TARGET, DIRECT, DIRECT, False),  # asked for by name, on this host where it can
        (LOONG, DIRECT, DIRECT, True),
        (LOONG, BackendName.CIBUILDWHEEL, None, False),  # no substitute
    ],
)
def test_where_a_target_is_built(
    tmp_path: Path,
    target: Target,
    wanted: BackendName | None,
    backend: BackendName | None,
    *,
    contained: bool,
) -> None:
    found = choose_one(target, machine(tmp_path, find_python=lambda _tag: PYTHON), wanted)

    assert (found.backend, found.container is not None) == (backend, contained)
    if wanted is not DIRECT:
        assert "cibuildwheel has no identifier cp312-manylinux_loongarch64" in found.reason
    if contained:
        assert f"podman 5.0, emulated; image {IMAGE}" in found.reason
        assert compiled(found).emulation is EmulationMode.FULL


def test_an_image_that_does_not_run_falls_back_to_this_host_or_says_why_not(
    asked: Asked, tmp_path: Path
) -> None:
    asked["image"] = EnvironmentProblemError.of("QEMU is too old", hint="a newer one")
    here = machine(tmp_path, find_python=lambda _tag: PYTHON)

    found = choose_one(TARGET, here)
    assert (found.backend, found.container) == (DIRECT, None)
    failure = choose_one(LOONG, here).failure
    assert failure is not None
    assert "QEMU is too old" in failure.message
    assert failure.hint == "a newer one", "one way to mend it, the preferred one"


ACCELERATED = CompilePlan(emulation=EmulationMode.ACCELERATED)


def foreign(compiling: CompilePlan) -> Target:
    """A target that this machine emulates, whatever it is."""
    return replace(TARGET, arch=Arch.RISCV64, compiling=compiling)


def test_native_compilers_are_made_once_for_an_image(tmp_path: Path) -> None:
    images = []

    def accelerate(image: TargetImage, planned: CompilePlan) -> NativeCompilers:
        images.append((image.id, image.arch, planned))
        return NativeCompilers(folder=tmp_path / "links", what="native gcc", mounts=())

    first = foreign(ACCELERATED)
    second = replace(first, id=TargetId("other"), version="2.0")
    here = machine(tmp_path, accelerate=accelerate)
    choices = choose([first, second], here, DIRECT)
    assert images == [("sha256:abc", Arch.RISCV64, ACCELERATED)]
    for choice in choices.values():
        assert choice.native is not None
        assert choice.compiled == CompileReport(
            emulation=EmulationMode.ACCELERATED, compiler="native gcc"
        )


def test_a_native_nvcc_is_looked_for_once_for_each_version(tmp_path: Path) -> None:
    versions = []

    def find_nvcc(version: str) -> Nvcc:
        versions.append(version)
        return Nvcc(folder=tmp_path, version=f"{version}.88", build="a/b_1", profile="")

    native = NativeCompilers(folder=tmp_path / "links", what="native gcc", mounts=())
    first = replace(foreign(ACCELERATED), arch=Arch.AARCH64, variant=(("cuda", "13.0"),))
    second = replace(first, id=TargetId("other"))
    plain = replace(first, id=TargetId("plain"), variant=(("cuda", "cpu"),))
    here = machine(tmp_path, accelerate=lambda _image, _planned: native, find_nvcc=find_nvcc)
    choices = choose([first, second, plain], here, DIRECT)
    assert versions == ["13.0"]
    said = [each.compiled.cuda for each in choices.values() if each.compiled]
    assert said == ["native nvcc 13.0.88", "native nvcc 13.0.88", ""]


@pytest.mark.parametrize(
    ("planned", "backend", "why"),
    [
        (ACCELERATED, DIRECT, "no native compiler"),
        # Without zig nothing else takes its place.
        (replace(ACCELERATED, compiler=CompilerKind.ZIG, baseline="2.27"), None, ""),
        (CompilePlan(why="cuda"), DIRECT, "cuda"),  # nobody wants a native compiler
    ],
)
def test_without_a_native_compiler_everything_is_emulated_and_that_is_said(
    tmp_path: Path, planned: CompilePlan, backend: BackendName | None, why: str
) -> None:
    choice = choose_one(foreign(planned), machine(tmp_path), DIRECT)
    assert (choice.backend, choice.native) == (backend, None)
    if backend is None:
        assert choice.reason == "no native compiler"
    else:
        assert (compiled(choice).emulation, compiled(choice).why) == (EmulationMode.FULL, why)


PLANNED = replace(ACCELERATED, alone="2.27")


def without_an_engine(tmp_path: Path, asked: Asked, **found: Any) -> BackendChooser:
    """A machine that has zig and an interpreter, and no engine."""
    asked["status"] = None
    zig = Zig(root=tmp_path, version="0.1", digest=Digest("0" * 64), cache=tmp_path)
    usual: dict[str, Any] = {
        "find_python": lambda _tag: PYTHON,
        "find_zig": lambda: zig,
    }
    return machine(tmp_path, **(usual | found))


def test_without_an_engine_a_foreign_target_is_cross_compiled_and_that_is_said(
    asked: Asked, tmp_path: Path
) -> None:
    wanted = foreign(PLANNED)
    here = without_an_engine(tmp_path, asked)
    choice = choose_one(wanted, here)
    assert (choice.backend, choice.container) == (DIRECT, None)
    assert choice.zig is not None
    assert [each.what for each in choice.why_not] == ["no engine here"]
    assert choice.how == "cross-compiled for riscv64 by zig 0.1"
    assert choice.reason.startswith(f"no engine here; {choice.how}; for glibc 2.27; ")
    assert compiled(choice).emulation is EmulationMode.CROSS
    assert compiled(choice).not_run == "no engine here; no QEMU in this test"
    assert choice.imported_by is None
    built = choosing.on_this_host(wanted).compiling
    assert (built.compiler, built.baseline) == (CompilerKind.ZIG, "2.27")


def test_a_foreign_target_that_cannot_be_cross_compiled_is_refused_and_that_is_said(
    asked: Asked, tmp_path: Path
) -> None:
    failure = choose_one(foreign(CompilePlan()), without_an_engine(tmp_path, asked)).failure
    assert failure is not None
    assert "of this host build for x86_64, and this target cannot be" in failure.message
    assert "cross-compiled for riscv64" in failure.message


FOREIGN = ForeignPython(argv=("qemu", "python"), glibc="2.36", what="a Python under QEMU")


def test_what_no_container_runs_is_imported_on_this_host_where_it_can_be(
    asked: Asked, tmp_path: Path
) -> None:
    asked_for = []

    def find(python: str, arch: Arch) -> ForeignPython:
        asked_for.append((python, arch))
        return FOREIGN

    wanted = foreign(PLANNED)
    tested = replace(wanted, steps=replace(wanted.steps, test_command="pytest"))
    untried = replace(wanted, steps=replace(wanted.steps, smoke=False))
    here = without_an_engine(tmp_path, asked, find_foreign=find)

    choice = choose_one(wanted, here)
    assert choice.imported_by is FOREIGN
    assert choice.reason.endswith("imported by a Python under QEMU")
    assert (compiled(choice).not_run, compiled(choice).not_tested) == ("", "")
    choice = choose_one(tested, here)
    assert choice.imported_by is FOREIGN
    assert choice.compiled is not None
    assert (compiled(choice).not_run, compiled(choice).not_tested) == ("", "no engine here")
    assert asked_for == [(TARGET.python, Arch.RISCV64)], "once for all targets"
    choice = choose_one(untried, here)
    assert choice.imported_by is None
    assert choice.reason.endswith("test.smoke is off")
    untried = replace(untried, python="cp313")
    assert choose_one(untried, here).imported_by is None
    assert len(asked_for) == 1, "nobody looks for what is not wanted"


def test_a_glibc_that_is_older_than_the_wheel_may_need_imports_nothing(
    asked: Asked, tmp_path: Path
) -> None:
    wanted = foreign(replace(PLANNED, alone="2.39"))
    here = without_an_engine(tmp_path, asked, find_foreign=lambda _python, _arch: FOREIGN)
    choice = choose_one(wanted, here)
    assert choice.imported_by is None
    assert "has glibc 2.36, and the wheel may need 2.39" in compiled(choice).not_run


def test_without_an_engine_nothing_else_is_replaced(asked: Asked, tmp_path: Path) -> None:
    here = without_an_engine(tmp_path, asked)
    for compiling, backend in (
        (ACCELERATED, None),
        (CompilePlan(), None),
        (PLANNED, BackendName.CIBUILDWHEEL),
    ):
        choice = choose_one(foreign(compiling), here, backend)
        assert choice.backend is None
        assert choice.failure is not None
    here = without_an_engine(tmp_path, asked, find_zig=refusing("no network"))
    assert "no engine here; no network" in choose_one(foreign(PLANNED), here).reason


@pytest.mark.parametrize(("wanted", "built"), [(None, True), (BackendName.CIBUILDWHEEL, False)])
def test_an_engine_without_the_image_makes_no_machine_weaker(
    asked: Asked, tmp_path: Path, wanted: BackendName | None, *, built: bool
) -> None:
    here = without_an_engine(tmp_path, asked)
    asked["status"] = STATUS
    asked["image"] = EnvironmentProblemError.of("no QEMU", hint="install it")
    choice = choose_one(foreign(PLANNED), here, wanted)
    assert (choice.backend is BackendName.DIRECT) is built
    assert choice.reason.startswith("no QEMU; cross-compiled") is built


def test_cuda_of_the_index_is_cross_compiled_by_gcc(asked: Asked, tmp_path: Path) -> None:
    axes = {"arch": "aarch64", "cuda": "13.0"}
    planned = compile_plan(
        Build(), libc=Libc.MANYLINUX, baseline="", axes=axes, where=lambda key: f"build.{key}"
    )
    wanted = replace(
        foreign(planned), arch=Arch.AARCH64, variant=(("cuda", "13.0"),), image="aarch64/image:1"
    )
    gcc = CrossGcc(
        folder=Path("/gcc"),
        gcc=Path("/gcc/usr/bin/aarch64-linux-gnu-gcc"),
        gxx=Path("/gcc/usr/bin/aarch64-linux-gnu-g++"),
        version="g++-12-aarch64-linux-gnu 12.2",
        glibc="2.36",
        identity="g",
    )
    here = without_an_engine(tmp_path, asked, find_gcc=lambda _: gcc)
    choice = choose_one(wanted, here)
    assert choice.gcc is gcc
    assert choice.cuda is not None
    assert choice.cuda.root == "/cuda/13.0.88-aarch64-here"
    assert choice.how == "cross-compiled for aarch64 by g++-12-aarch64-linux-gnu 12.2"
    assert choosing.on_this_host(wanted).compiling == CompilePlan(
        emulation=EmulationMode.CROSS, compiler=CompilerKind.GCC
    )


def test_limits_that_will_not_hold_are_said(asked: Asked, tmp_path: Path) -> None:
    asked["status"] = replace(STATUS, limits=frozenset({Limit.CPUS}))
    limited = replace(TARGET, resources=TargetResources(cpus=2.0, memory="1g"))
    reason = choose_one(limited, machine(tmp_path)).reason
    assert reason.endswith("; rootless podman on cgroup v1 cannot limit memory")


@pytest.mark.parametrize("reaches", [True, False])
def test_a_proxy_of_this_machine_is_tried_from_a_container_once(
    asked: Asked, tmp_path: Path, *, reaches: bool
) -> None:
    asked["reaches"] = reaches
    here = machine(tmp_path, {"HTTPS_PROXY": "http://user:hunter2@127.0.0.1:3128"})
    twin = replace(TARGET, id=type(TARGET.id)("twin"))
    choices = choose([TARGET, twin], here)
    assert asked["places"] == [("127.0.0.1", 3128)]
    for choice in choices.values():
        assert ("https_proxy names 127.0.0.1:3128" in choice.reason) is not reaches
        assert ("--network=host" in choice.reason) is not reaches
        assert "hunter2" not in choice.reason


def test_confined_containers_are_proved_as_they_will_be_made(asked: Asked, tmp_path: Path) -> None:
    asked["status"] = replace(STATUS, selinux=True)
    choose([TARGET], machine(tmp_path))
    assert asked["args"][-2:] == ("--security-opt=label=disable", "--network=host")


@pytest.mark.parametrize("transient", [True, False])
def test_what_may_pass_is_told_from_what_does_not(
    asked: Asked, tmp_path: Path, *, transient: bool
) -> None:
    asked["image"] = EnvironmentProblemError.of("cannot pull it", transient=transient)
    choice = choose_one(TARGET, machine(tmp_path))
    assert choice.trouble == ("cannot pull it" if transient else "")
    assert not choose_one(TARGET, machine(tmp_path), DIRECT).trouble


def test_an_image_that_does_not_run_is_no_choice(asked: Asked, tmp_path: Path) -> None:
    asked["image"] = EnvironmentProblemError.of("it is gone", hint="look")
    here = machine(tmp_path)
    choice = choose_one(TARGET, here, BackendName.CIBUILDWHEEL)
    assert (choice.backend, choice.container) == (None, None)
    assert choice.failure is not None
    assert (choice.failure.message, choice.failure.hint) == ("it is gone", "look")
    assert here.containers.checked_id(TARGET) == ""
