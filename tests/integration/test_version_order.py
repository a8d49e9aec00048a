"""Nightlies, releases and variants sort as they should: for packaging, and for real pip and uv.

Both installers choose from a simple index (PEP 503) on the loopback interface.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.config.settings import VersionParts
from orchestrator.models.platforms import Arch
from orchestrator.plan.version import VersionContext, compose, merge
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import ran
from tests.servers import served
from tests.wheelmaker import WheelSpec

pytestmark = pytest.mark.index


def version(base: str, cuda: str = "", **parts: Any) -> str:
    """Compose one as a matrix with a release and a nightly channel would."""
    table = {"base": base, "local": "cu{cuda|nodot}", "omit": {"cuda": "none"}, **parts}
    return compose(
        merge((("version", VersionParts.model_validate(table)),)),
        axes={"cuda": cuda or "none"},
        outside=VersionContext(),
        image="",
        arch=Arch.X86_64,
    ).version


RISING = (
    version("0.5.0"),
    version("0.5.0", "12.8"),
    version("0.6.0", dev="20250901"),
    version("0.6.0", "12.6", dev="20250901"),
    version("0.6.0", dev="20250902"),
    version("0.6.0", "12.6", dev="20250902"),
    version("0.6.0", pre="rc1", dev="20250903"),
    version("0.6.0", pre="rc1"),
    version("0.6.0"),
    version("0.6.0", "12.6"),
    version("0.6.0", "12.8"),
    version("0.6.0", "13.0"),
    version("0.6.0", post="1"),
    version("0.6.1", "12.6", dev="20250904"),
)
"""Nightlies are above the last release and below the next; variants rise with their CUDA."""


def test_packaging_sorts_them_so() -> None:
    assert sorted(RISING, key=Version) == list(RISING)
    assert len({Version(each) for each in RISING}) == len(RISING)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A server; called with (version, build tag) it offers those wheels and returns its URL."""
    page = tmp_path / "simple" / "demo"
    page.mkdir(parents=True)

    def offer(*wheels: tuple[str, str] | str) -> str:
        links = []
        for each in wheels:
            text, build = (each, "") if isinstance(each, str) else each
            spec = WheelSpec(version=text, build=build, python="py3", abi="none", platform="any")
            data = spec.write(page).read_bytes()
            link = f"{spec.filename.replace('+', '%2B')}#sha256={hashlib.sha256(data).hexdigest()}"
            links.append(f'<a href="{link}">{spec.filename}</a>')
        (page / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))
        return f"{server.url}/simple"

    with served(tmp_path) as server:
        yield offer


@pytest.fixture(params=["pip", "uv"])
def install(request: pytest.FixtureRequest, tools: Toolchain, tmp_path: Path) -> Callable[..., str]:
    """Install from an index, and return the version and the build tag that were chosen."""
    installer = {
        "pip": (tools.python, "-I", "-m", "pip"),
        "uv": (tools.bin / "uv", "--no-cache", "--no-config", "pip"),
    }[request.param]

    def choose(url: str, asked: str) -> str:
        target = tmp_path / "target"
        argv = (*installer, "install", "-q", "--no-deps", f"--index-url={url}", "--target", target)
        # Nothing of this machine's own settings: the index under test is the only one.
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
        ran(*argv, *asked.split(), env=env, code=0)
        (info,) = target.glob("*.dist-info")
        build = re.search(r"(?m)^Build: (.*)$", (info / "WHEEL").read_text())
        chosen = info.name.removeprefix("demo-").removesuffix(".dist-info")
        return f"{chosen} {build[1]}" if build else chosen

    return choose


NIGHTLY, RELEASE = version("0.6.0", "12.6", dev="20250902"), version("0.6.0", "12.6")
VARIANTS = tuple(version("0.6.0", cuda) for cuda in ("", "13.0", "12.6", "12.8"))
ZEROS = ("2.68.0+nv26.04.cu132", "2.68.0+nv26.03.cu132")
BUILDS = (("1.0+cu132", "9"), ("1.0+cu132", "123456"), ("1.0+cu132", "77_rc"))

Offer = tuple[tuple[str, str] | str, ...]
CHOICES: dict[str, tuple[Offer, str, str]] = {
    # what there is, what is asked for, what is installed
    "the release, and not a nightly": (RISING, "demo", "0.6.0.post1"),
    "the nightly, if it is asked for": (RISING, "--pre demo", "0.6.1.dev20250904+cu126"),
    "a release before its nightlies": (
        (NIGHTLY, version("0.5.0", "12.6"), RELEASE),
        *("--pre demo", "0.6.0+cu126"),
    ),
    "a nightly before the last release": (
        (version("0.5.0", "12.8"), version("0.6.0", dev="20250901")),
        *("--pre demo", "0.6.0.dev20250901"),
    ),
    "the highest variant, not the plain one": (VARIANTS, "demo==0.6.0", "0.6.0+cu130"),
    "a variant by its name": (VARIANTS, "demo==0.6.0+cu126", "0.6.0+cu126"),
    "the highest variant by its name": (VARIANTS, "demo==0.6.0+cu130", "0.6.0+cu130"),
    "the higher of two with kept zeros": (ZEROS, "demo", "2.68.0+nv26.04.cu132"),
    "kept zeros by the canonical name": (
        ZEROS,
        *("demo==2.68.0+nv26.3.cu132", "2.68.0+nv26.03.cu132"),
    ),
    "the later build of one version": (BUILDS, "demo", "1.0+cu132 123456"),
}


@pytest.mark.parametrize(("offer", "asked", "chosen"), CHOICES.values(), ids=CHOICES)
def test_installers_choose(
    index: Callable[..., str], install: Callable[..., str], offer: Offer, asked: str, chosen: str
) -> None:
    assert install(index(*offer), asked) == chosen
