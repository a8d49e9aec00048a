"""A native nvcc, from real wheels, in the place of a toolkit's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.containers.access import Access
from orchestrator.cross.native_nvcc import VARIABLES, NativeNvcc
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.host.network import HostNetwork
from orchestrator.models.platforms import Arch
from orchestrator.provision import cuda, nvcc
from orchestrator.provision.toolchain import WHEELS as WHEELS_FROM
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import Said, lacking, ran
from tests.factories import host

pytestmark = pytest.mark.index

CUDA, VERSION = "13.0", "13.0.88"
WHEELS = ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-runtime")

KERNEL = """\
__global__ void twice(float *x) { x[threadIdx.x] *= 2; }
void start(float *x) { twice<<<1, 32>>>(x); }
"""

OWN = """\
#!/bin/sh
echo "own $ORCHESTRATOR_CUDA $*"
"""


@pytest.fixture(scope="module", autouse=True)
def _x86_64() -> None:
    if host_arch() is not Arch.X86_64:
        lacking("needs an x86_64 machine")


@pytest.fixture(scope="module")
def wheels(tools: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the compiler's wheels, as a machine without a package index has them."""
    folder = tmp_path_factory.mktemp("wheels")
    download = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:")
    pins = [f"{name}=={VERSION}" for name in WHEELS[:3]]
    ran(tools.python, *download, f"--dest={folder}", *pins, f"{WHEELS[3]}=={CUDA}.*", code=0)
    return folder


@pytest.fixture(scope="module")
def native(
    tools: Toolchain, wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[nvcc.Nvcc]:
    """A native nvcc that has on this host the path which it has in containers."""
    there = tmp_path_factory.mktemp("mounted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nvcc, "MOUNTED", there)
        patch.setattr(cuda, "USUAL", ())
        made = provided(CUDA, tools, there / "cache", {WHEELS_FROM: str(wheels)})
        (there / made.version).symlink_to(made.folder)
        yield made


def provided(wanted: str, tools: Toolchain, cache: Path, environ: dict[str, str]) -> nvcc.Nvcc:
    network = HostNetwork.detect(os.environ)
    return nvcc.provide(
        wanted, host(cache, tools, {**os.environ, **environ}, network), say=lambda _: None
    )


@pytest.fixture(scope="module")
def unpacked(tools: Toolchain, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toolkit that a build would install."""
    folder = tmp_path_factory.mktemp("unpacked")
    install = ("pip", "install", "-q", "--no-index", "--no-deps")
    where = (f"--find-links={wheels}", f"--python={tools.python}", f"--target={folder}")
    ran(tools.bin / "uv", *install, *where, *WHEELS, code=0)
    return folder / "nvidia/cu13"


@pytest.fixture
def toolkit(unpacked: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    shutil.copytree(unpacked, tmp_path / "toolkit", copy_function=os.link)
    for name in ("bin/nvcc", "bin/nvcc.profile", "nvvm/bin/cicc"):
        (tmp_path / "toolkit" / name).unlink()
        shutil.copy(unpacked / name, tmp_path / "toolkit" / name)
    return tmp_path / "toolkit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """The program in nvcc's place.

    Attributes:
        path: what CUDACXX names.
        log: where it counts.
    """

    path: Path
    log: Path

    def __call__(self, *arguments: str, code: int | None = None, **env: str) -> Said:
        env = {"PATH": "/usr/bin:/bin", **env}
        return ran(self.path, *arguments, cwd=self.log.parent, env=env, code=code)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def stand(native: nvcc.Nvcc, driver: Path, tmp_path: Path) -> Stand:
    log = tmp_path / "log"
    nothing = Access(links=(), env=(), private=(), mounts=())
    kernels = NativeNvcc(natives=(native,), variables=VARIABLES)
    access = kernels.add_to(nothing, driver, tmp_path / "scratch", str(log))
    assert dict(access.env)["CUDACXX"] == "/opt/orchestrator-native/nvcc/nvcc"
    return Stand(path=tmp_path / "scratch/nvcc/nvcc", log=log)


def section(file: Path, name: str) -> bytes:
    out = file.with_suffix(f".{name.strip('.')}")
    ran("objcopy", "-O", "binary", f"-j{name}", file, out, code=0)
    return out.read_bytes()


def test_it_makes_what_the_toolkit_s_own_makes(stand: Stand, toolkit: Path, tmp_path: Path) -> None:
    (tmp_path / "kernel.cu").write_text(KERNEL)
    compile_it = ("-arch=sm_90", "-c", "kernel.cu", "-o")
    ran(toolkit / "bin/nvcc", *compile_it, "own.o", cwd=tmp_path, code=0)

    stand(*compile_it, "native.o", CUDA_HOME=str(toolkit), code=0)

    assert stand.calls == ["nvcc"]
    for name in (".nv_fatbin", ".text"):
        assert section(tmp_path / "native.o", name) == section(tmp_path / "own.o", name)
        assert section(tmp_path / "own.o", name), name
    assert b"mounted" not in (tmp_path / "native.o").read_bytes()


def test_its_programs_are_native_and_all_else_is_the_toolkit_s(
    native: nvcc.Nvcc, stand: Stand, toolkit: Path
) -> None:
    said = stand("--dryrun", "-c", "kernel.cu", CUDA_PATH=str(toolkit)).stderr
    lines = dict(line[3:].split("=", 1) for line in said.splitlines() if "=" in line[:30])
    assert lines["CICC_PATH"].startswith(str(native.there))
    assert lines["PATH"].split(":")[1] == f"{native.there}/bin"
    assert lines["TOP"] == f"{toolkit}/bin/.."
    assert str(native.there) not in lines["INCLUDES"] + lines["LIBRARIES"]
    assert lines["NVVMIR_LIBRARY_DIR"].startswith(str(toolkit))


def test_targets_in_the_toolkit_are_found_by_a_native_one_too(
    native: nvcc.Nvcc, stand: Stand, toolkit: Path
) -> None:
    (toolkit / "targets/sbsa-linux").mkdir(parents=True)
    said = stand("--dryrun", "-c", "kernel.cu", PATH=f"{toolkit}/bin:/usr/bin:/bin").stderr
    assert f"#$ _HERE_={native.there}/sbsa/bin" in said.splitlines()


Change = Callable[["Path"], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: None, id="another nvcc"),
        pytest.param(lambda root: shutil.copy("/bin/true", root / "nvvm/bin/cicc"), id="cicc"),
        pytest.param(lambda root: (root / "bin/nvcc.profile").write_text("TOP = /"), id="settings"),
    ],
)
def test_a_toolkit_that_differs_in_any_part_keeps_its_own(
    stand: Stand, unpacked: Path, toolkit: Path, change: Change
) -> None:
    nothing = change(toolkit) is None
    own = toolkit / "bin/nvcc"
    # What is of the same build but for one part is still no toolkit of that build.
    tail = b"" if nothing else (unpacked / "bin/nvcc").read_bytes()
    own.write_bytes(OWN.encode() + b"exit\n" + tail)
    own.chmod(0o755)

    said = stand("-c", "kernel.cu", CUDA_HOME=str(toolkit))

    assert said.stdout == "own  -c kernel.cu\n"
    assert stand.calls == []


def test_a_question_is_no_compilation(stand: Stand, toolkit: Path) -> None:
    said = stand("--version", CUDA_HOME=str(toolkit))
    assert VERSION in said.stdout
    assert stand.calls == []


def test_this_host_s_own_toolkit_is_taken_where_it_is_of_that_version(
    tools: Toolchain, unpacked: Path, tmp_path: Path
) -> None:
    nowhere = {WHEELS_FROM: str(tmp_path), "CUDA_HOME": str(unpacked)}
    made = provided(CUDA, tools, tmp_path / "cache", nowhere)
    assert isinstance(made, nvcc.Nvcc)
    assert made.version == VERSION
    assert made == provided(VERSION, tools, tmp_path / "cache", {WHEELS_FROM: str(tmp_path)})


def test_this_host_s_own_toolkit_is_left_out_where_it_lacks_something(
    tools: Toolchain, wheels: Path, toolkit: Path, tmp_path: Path
) -> None:
    (toolkit / "nvvm/bin/cicc").unlink()
    given = {WHEELS_FROM: str(wheels), "CUDA_HOME": str(toolkit)}
    made = provided(VERSION, tools, tmp_path, given)
    assert isinstance(made, nvcc.Nvcc)
    assert (made.folder / "nvvm/bin/cicc").is_file()


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("13.0.1", "nvcc 13.0.1 cannot be fetched: "),
        ("12.8", "the package index has no nvcc of CUDA 12.8, only from 13.0 on"),
    ],
)
def test_what_cannot_be_had_is_said(
    tools: Toolchain, wheels: Path, tmp_path: Path, wanted: str, why: str
) -> None:
    with pytest.raises(EnvironmentProblemError) as refused:
        provided(wanted, tools, tmp_path, {WHEELS_FROM: str(wheels)})
    assert refused.value.what.startswith(why)
    assert [path.name for path in tmp_path.glob("nvcc/*")] == ["lock"] * (wanted == "13.0.1")


def test_which_one_is_the_newest_is_asked_once_a_day(
    tools: Toolchain, native: nvcc.Nvcc, tmp_path: Path
) -> None:
    cache = native.folder.parents[1]
    offline = {WHEELS_FROM: str(tmp_path)}
    assert provided(CUDA, tools, cache, offline) == native
    known = native.folder.parent / f"newest-{CUDA}"
    os.utime(known, (0, 0))
    assert provided(CUDA, tools, cache, offline) == native, "an old answer is better than none"
    known.unlink()
    with pytest.raises(EnvironmentProblemError):
        provided(CUDA, tools, cache, offline)
    known.write_text(native.version)
