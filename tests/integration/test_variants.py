"""Installers on loopback beside a site with wheel variants: ours, and those that others built.

No machine here has a GPU: uv's own variables say what it shall believe.
"""

from __future__ import annotations

import json
import os
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.wheel_name import WheelName
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import MACHINE, TAG, Said, orchestrator, ran
from tests.gpumaker import entry, fatbin
from tests.servers import Server, served
from tests.wheelmaker import WheelSpec, make_variant

PURE: dict[str, Any] = {"python": "py3", "abi": "none", "platform": "any", "purelib": "true"}
FLAG = ("--preview-features", "wheel-variants")
DRIVER = "NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION"
GPU = "NV_VARIANT_PROVIDER_FORCE_SM_ARCH"

MATRIX = f"""
[axes]
python = ["{TAG}"]
arch = ["x86_64", "aarch64"]
cuda = {{ values = ["cpu", "12.6", "13.0"], label = "cu{{cuda|nodot}}" }}
sm = {{ values = ["80", "90", "120"], label = "sm{{sm}}", when = {{ cuda = "13.0" }} }}
blas = {{ values = ["mkl", "open"], when = {{ cuda = "cpu" }} }}
[env]
CUDA = "{{cuda}}"
[version]
base = "1.0"
local = "cu{{cuda|nodot}}"
[[override]]
when = {{ sm = true }}
env.SM = "{{sm}}"
version.local = "cu{{cuda|nodot}}.sm{{sm}}"
[[override]]
when = {{ blas = true }}
env.BLAS = "{{blas}}"
version.local = "{{blas}}"
[variant]
axes.cuda = "nvidia::cuda_version_lower_bound::{{cuda}}"
axes.sm = "nvidia::sm_arch::{{sm}}_real"
axes.blas = "demo_blas::library::{{blas}}"
omit = {{ cuda = "cpu", blas = "open" }}
plain = "blas=open"
priorities = ["nvidia", "demo_blas"]
"""


Argv = tuple[str | Path, ...]


def code_of(label: str) -> dict[str, bytes]:
    return {"demo.py": f"label = {label!r}\n".encode()}


def install(argv: Argv, url: str, project: str, cwd: Path, **env: str) -> Said:
    """Have an installer that knows nothing but a site install a project into ``lib``."""
    ours = ("PIP_", "UV_", "PYTHON", "NV_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    more = ("--target", cwd / "lib", "--index-url", f"{url}/", project)
    environ = {**clean, "PIP_CONFIG_FILE": os.devnull, **env}
    return ran(*argv, *more, cwd=cwd, env=environ, timeout=300)


def installed(argv: Argv, url: str, cwd: Path, **env: str) -> str:
    """Return which wheel an installer takes."""
    said = install(argv, url, "demo", cwd, **env)
    assert said.code == 0, said.all
    line = (cwd / "lib" / "demo.py").read_text()
    return line.removeprefix("label = ").strip().strip("'")


@pytest.fixture(scope="module")
def uv(tools: Toolchain) -> Argv:
    return (tools.python.parent / "uv", "--no-cache", "--no-config", "pip", "install")


@pytest.fixture
def pip() -> Argv:
    return (sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "install")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One matrix: its wheels, the variants that `retag` made of them, and a site of both."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "matrix.toml").write_text(MATRIX)
    (folder / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    plan = json.loads(orchestrator("plan", "--format", "json", cwd=folder, code=0).stdout)
    for target in plan["targets"]:
        spec = WheelSpec(version=target["version"], python=TAG, abi=TAG)
        spec.platform = f"manylinux_2_17_{target['arch']}"
        spec.members = code_of(target["id"].split("-", 2)[2])
        if sm := target["variant"].get("sm"):
            spec.members["demo.fatbin"] = fatbin(entry(int(sm)))
        spec.write(folder / "dist")
    wheels = sorted((folder / "dist").iterdir())
    into = ("--variants", "--output-dir", "variants")
    orchestrator("retag", *wheels, *into, cwd=folder, code=0)
    whole = ("index", "dist", "variants", "--matrix", "matrix.toml", "--output", "site")
    orchestrator(*whole, cwd=folder, code=0)
    return folder


@pytest.fixture(params=[False, True], ids=["html", "json"])
def site(folder: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    with served(folder / "site", negotiates=request.param) as server:
        yield server


MACHINES: dict[str, tuple[dict[str, str], str]] = {
    "no GPU": ({}, "cucpu-mkl"),
    "a GPU without a driver": ({GPU: "9.0"}, "cucpu-mkl"),
    "driver 12.4": ({DRIVER: "12.4"}, "cucpu-mkl"),
    "driver 12.6": ({DRIVER: "12.6"}, "cu126"),
    "driver 12.8": ({DRIVER: "12.8"}, "cu126"),
    "driver 13.1, GPU unknown": ({DRIVER: "13.1"}, "cu126"),
    "driver 12.8, Hopper": ({DRIVER: "12.8", GPU: "9.0"}, "cu126"),
    **{
        f"driver 13.1, SM {sm}": ({DRIVER: "13.1", GPU: sm}, taken)
        for sm, taken in (
            ("7.5", "cu126"),
            ("8.0", "cu130-sm80"),
            ("8.9", "cu130-sm80"),
            ("9.0", "cu130-sm90"),
            ("10.0", "cu126"),
            ("12.0", "cu130-sm120"),
            ("12.1", "cu130-sm120"),
        )
    },
    "driver 13.0, Hopper": ({DRIVER: "13.0", GPU: "9.0"}, "cu130-sm90"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_uv_takes_the_variant_that_fits_the_machine(
    uv: Argv, site: Server, tmp_path: Path, machine: str
) -> None:
    forced, taken = MACHINES[machine]
    assert installed((*uv, *FLAG), site.url, tmp_path, **forced) == taken


@pytest.mark.parametrize("machine", ["no GPU", "driver 12.8", "driver 13.1, SM 8.9"])
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_a_variant_is_of_the_machines_architecture(
    uv: Argv, site: Server, tmp_path: Path, machine: str, arch: str
) -> None:
    forced, taken = MACHINES[machine]
    platform = ("--python-platform", f"{arch}-manylinux_2_28")
    assert installed((*uv, *FLAG, *platform), site.url, tmp_path, **forced) == taken
    (name,) = site.wheels()
    assert f"_{arch}-" in name


SLICED = {"7.5": 0, "8.0": 80, "8.6": 80, "9.0": 90, "10.0": 0, "12.0": 120}
"""GPU -> the architecture of the slice that uv takes; 0 for the whole wheel."""


def test_uv_takes_the_slice_for_the_machines_gpu(uv: Argv, pip: Argv, tmp_path: Path) -> None:
    noise = random.Random(1)  # noqa: S311 - nothing secret
    code = {sm: entry(sm, noise.randbytes(40_000)) for sm in (80, 90, 120)}
    spec = WheelSpec(python=TAG, abi=TAG, platform=f"manylinux_2_17_{MACHINE}")
    spec.members = {**code_of("fat"), "kernels.fatbin": fatbin(*code.values())}
    whole = spec.write(tmp_path / "dist")
    into = ("--by", "gpu-arch", "--variants", "--output-dir", "slices")
    orchestrator("slice", whole, *into, cwd=tmp_path, code=0)
    orchestrator("index", "dist", "slices", "--output", "site", cwd=tmp_path, code=0)
    with served(tmp_path / "site") as server:
        asked = [((*uv, *FLAG), sm, SLICED[sm]) for sm in SLICED]
        for number, (argv, sm, taken) in enumerate([*asked, (pip, "9.0", 0), (uv, "9.0", 0)]):
            (lib := tmp_path / str(number)).mkdir()
            assert installed(argv, server.url, lib, **{DRIVER: "13.1", GPU: sm}) == "fat"
            held = (lib / "lib" / "kernels.fatbin").read_bytes()
            assert [each for each in code if code[each] in held] == ([taken] if taken else [*code])


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_installers_that_know_no_variants_take_the_plain_wheel(
    uv: Argv, pip: Argv, site: Server, tmp_path: Path, installer: str
) -> None:
    argv = {"pip": pip, "uv": uv}[installer]
    assert installed(argv, site.url, tmp_path, **{DRIVER: "13.1", GPU: "9.0"}) == "cucpu-open"
    assert len(site.wheels()) == 1
    # Their own way to the other wheels is the one of before.
    sub = f"{site.url}/cu130/sm90"
    assert installed((*argv, "--upgrade"), sub, tmp_path) == "cu130-sm90"


def test_every_variant_is_what_its_name_says(folder: Path) -> None:
    wheels = sorted((folder / "variants").iterdir())
    labels = [WheelName.parse(path.name).label for path in wheels]
    of_one = ["cu126", "cu130_sm120", "cu130_sm80", "cu130_sm90", "mkl", "null", ""]
    assert labels == of_one * 2
    said = orchestrator("verify", *wheels, "--rule", "no-licence=off", cwd=folder)
    assert said.code == 0, said.all
    for path in wheels:
        origin, arch = ORIGINS[WheelName.parse(path.name).label], path.name.split("-")[4]
        (before,) = (folder / "dist").glob(f"demo-1.0+{origin}-*{arch.removesuffix('.whl')}.whl")
        with zipfile.ZipFile(path) as new, zipfile.ZipFile(before) as old:
            assert new.testzip() is None
            assert new.read("demo.py") == old.read("demo.py")


ORIGINS = {
    "": "open",
    "null": "open",
    "mkl": "mkl",
    "cu126": "cu126",
    **{f"cu130_sm{sm}": f"cu130.sm{sm}" for sm in ("80", "90", "120")},
}


def test_what_is_no_wheel_of_the_matrix_becomes_no_variant(folder: Path, tmp_path: Path) -> None:
    other = WheelSpec(version="7.0", **PURE).write(tmp_path)
    variants = ("--variants", "--output-dir", tmp_path / "out")
    said = orchestrator("retag", other, *variants, cwd=folder, code=2)
    assert "no target of the matrix makes it" in said.stderr
    again = next((folder / "variants").glob("*-cu126.whl"))
    said = orchestrator("retag", again, *variants, cwd=folder, code=2)
    assert "no target of the matrix makes it" in said.stderr
    assert not (tmp_path / "out").exists()


NVIDIA = {
    "requires": ["nvidia-variant-provider"],
    "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
}


def test_variants_that_others_have_built_are_served_too(
    uv: Argv, pip: Argv, tmp_path: Path
) -> None:
    features = {
        "cu12": {"nvidia": {"cuda_version_lower_bound": ["12.6"]}},
        "cu13": {"nvidia": {"cuda_version_lower_bound": ["13.0"]}},
        "null": {},
    }
    WheelSpec(members=code_of("plain"), **PURE).write(tmp_path / "dist")
    for label, own in features.items():
        document = make_variant(
            label,
            variants={label: own},
            providers={"nvidia": NVIDIA},
            **{"default-priorities": {"namespace": ["nvidia"]}},
        )
        spec = WheelSpec(label=label, members=code_of(label), **PURE)
        spec.extra_info["variant.json"] = document
        spec.write(tmp_path / "dist")
    WheelSpec(name="only", label="null", build="1", **PURE).write(tmp_path / "dist")
    orchestrator("index", "dist", "--output", "site", cwd=tmp_path, code=0)
    with served(tmp_path / "site") as server:
        for driver, taken in (("13.1", "cu13"), ("12.9", "cu12"), ("12.4", "null")):
            lib = tmp_path / driver
            lib.mkdir()
            assert installed((*uv, *FLAG), server.url, lib, **{DRIVER: driver}) == taken
        assert installed(uv, server.url, tmp_path) == "plain"
        for argv in (uv, pip):
            assert install(argv, server.url, "only", tmp_path).code == 1
        assert install((*uv, *FLAG), server.url, "only", tmp_path).code == 0
