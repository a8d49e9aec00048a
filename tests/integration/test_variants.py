"""Installers on loopback beside a site with wheel variants."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.provision.toolchain import Toolchain
from tests.conftest import Said, orchestrator, ran
from tests.servers import served
from tests.wheelmaker import WheelSpec, make_variant

PURE: dict[str, Any] = {"python": "py3", "abi": "none", "platform": "any", "purelib": "true"}


def made(folder: Path, label: str = "", name: str = "demo", **more: Any) -> Path:
    """Write a wheel whose module knows the label."""
    code = f"label = {label!r}\n".encode()
    return WheelSpec(name=name, label=label, members={f"{name}.py": code}, **PURE, **more).write(
        folder
    )


def installed(argv: tuple[str | Path, ...], url: str, project: str, cwd: Path, **env: str) -> Said:
    """Have an installer that knows nothing but a site install a project into ``lib``."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    more = ("--target", cwd / "lib", "--index-url", f"{url}/", project)
    environ = {**clean, "PIP_CONFIG_FILE": os.devnull, **env}
    return ran(*argv, *more, cwd=cwd, env=environ, timeout=300)


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("negotiates", [False, True], ids=["html", "json"])
def test_installers_that_know_no_variants_take_the_plain_wheel(
    tools: Toolchain, tmp_path: Path, installer: str, *, negotiates: bool
) -> None:
    for label in ("", "cu130", "null"):
        made(tmp_path / "dist", label)
    made(tmp_path / "dist", "cu130", build="1")
    made(tmp_path / "dist", "cu130", name="only")
    orchestrator("index", "dist", "--output", "site", cwd=tmp_path, code=0)
    argv: dict[str, tuple[str | Path, ...]] = {
        "pip": (sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "install"),
        "uv": (tools.python.parent / "uv", "--no-cache", "--no-config", "pip", "install"),
    }
    with served(tmp_path / "site", negotiates=negotiates) as server:
        said = installed(argv[installer], server.url, "demo", tmp_path)
        assert said.code == 0, said.all
        assert (tmp_path / "lib" / "demo.py").read_text() == "label = ''\n"
        assert installed(argv[installer], server.url, "only", tmp_path).code == 1
        assert not any(path.endswith("cu130.whl") for path in server.sent)


NVIDIA = {
    "requires": ["nvidia-variant-provider"],
    "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
}
FEATURES = {
    "cu126": {"nvidia": {"cuda_version_lower_bound": ["12.6"]}},
    "cu130": {"nvidia": {"cuda_version_lower_bound": ["13.0"]}},
    "cu130_sm90": {"nvidia": {"cuda_version_lower_bound": ["13.0"], "sm_arch": ["90_real"]}},
    "null": {},
}


@pytest.mark.parametrize(
    ("driver", "taken"),
    [("13.1", "cu130"), ("13.0", "cu130"), ("12.9", "cu126"), ("12.4", "null"), ("", "null")],
)
@pytest.mark.parametrize("negotiates", [False, True], ids=["html", "json"])
def test_uv_takes_the_variant_that_fits_from_wheels_that_others_have_built(
    tools: Toolchain, tmp_path: Path, driver: str, taken: str, *, negotiates: bool
) -> None:
    made(tmp_path / "dist")
    for label, own in FEATURES.items():
        document = make_variant(
            label,
            variants={label: own},
            providers={"nvidia": NVIDIA},
            **{"default-priorities": {"namespace": ["nvidia"]}},
        )
        made(tmp_path / "dist", label, extra_info={"variant.json": document})
    orchestrator("index", "dist", "--output", "site", cwd=tmp_path, code=0)
    argv = (tools.python.parent / "uv", "--no-cache", "--no-config", "pip", "install")
    flag = ("--preview-features", "wheel-variants")
    forced = {"NV_VARIANT_PROVIDER_FORCE_CUDA_DRIVER_VERSION": driver} if driver else {}
    with served(tmp_path / "site", negotiates=negotiates) as server:
        said = installed((*argv, *flag), server.url, "demo", tmp_path, **forced)
        assert said.code == 0, said.all
        assert (tmp_path / "lib" / "demo.py").read_text() == f"label = {taken!r}\n"
