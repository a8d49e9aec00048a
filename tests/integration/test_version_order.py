"""Nightlies, releases and variants sort as they should: for packaging, and for real pip and uv.

Both installers choose from a simple index (PEP 503) on the loopback interface.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.config.settings import VersionParts
from orchestrator.host.network import HostNetwork
from orchestrator.models.platforms import Arch
from orchestrator.plan.version import VersionContext, compose, merge
from orchestrator.provision import toolchain
from orchestrator.provision.cache_dir import default_cache_dir
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


@pytest.fixture(scope="module")
def tools() -> toolchain.Toolchain:
    return toolchain.sync(
        default_cache_dir(os.environ), HostNetwork.detect(os.environ), environ=os.environ
    )


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' name
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A server; called with (version, build tag) it offers those wheels and returns its URL."""
    root = tmp_path / "simple"
    page = root / "demo"
    page.mkdir(parents=True)
    handler = functools.partial(Silent, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def offer(*wheels: tuple[str, str]) -> str:
        links = []
        for text, build in wheels:
            spec = WheelSpec(version=text, build=build, python="py3", abi="none", platform="any")
            data = spec.write(page).read_bytes()
            link = f"{spec.filename.replace('+', '%2B')}#sha256={hashlib.sha256(data).hexdigest()}"
            links.append(f'<a href="{link}">{spec.filename}</a>')
        (page / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))
        return f"http://127.0.0.1:{server.server_port}/simple"

    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield offer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["pip", "uv"])
def install(
    request: pytest.FixtureRequest, tools: toolchain.Toolchain, tmp_path: Path
) -> Callable[..., str]:
    """Install from an index, and return the version and the build tag that were chosen."""
    installer = {
        "pip": (tools.python, "-I", "-m", "pip"),
        "uv": (tools.bin / "uv", "--no-cache", "--no-config", "pip"),
    }[request.param]

    def choose(url: str, requirement: str, *, pre: bool = False) -> str:
        target = tmp_path / "target"
        options = ["--pre"] if pre else []
        argv = [*installer, "install", "-q", "--no-deps", f"--index-url={url}", "--target", target]
        # Nothing of this machine's own settings: the index under test is the only one.
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
        done = subprocess.run(
            [str(each) for each in (*argv, *options, requirement)],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (info,) = target.glob("*.dist-info")
        build = re.search(r"(?m)^Build: (.*)$", (info / "WHEEL").read_text())
        chosen = info.name.removeprefix("demo-").removesuffix(".dist-info")
        return f"{chosen} {build[1]}" if build else chosen

    return choose


def test_installers_take_the_release_and_not_a_nightly(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index(*((each, "") for each in RISING))

    assert install(url, "demo") == RISING[-2] == "0.6.0.post1"


def test_installers_take_the_nightly_where_it_is_asked_for(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index(*((each, "") for each in RISING))

    assert install(url, "demo", pre=True) == "0.6.1.dev20250904+cu126"


def test_a_release_supersedes_its_nightlies(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    nightly, release = version("0.6.0", "12.6", dev="20250902"), version("0.6.0", "12.6")
    url = index((nightly, ""), (version("0.5.0", "12.6"), ""), (release, ""))

    assert install(url, "demo", pre=True) == "0.6.0+cu126"


def test_a_nightly_is_above_the_last_release(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index((version("0.5.0", "12.8"), ""), (version("0.6.0", dev="20250901"), ""))

    assert install(url, "demo", pre=True) == "0.6.0.dev20250901"


def test_variants_of_one_version(index: Callable[..., str], install: Callable[..., str]) -> None:
    variants = [version("0.6.0", cuda) for cuda in ("", "13.0", "12.6", "12.8")]
    url = index(*((each, "") for each in variants))

    assert install(url, "demo==0.6.0") == "0.6.0+cu130", "the highest, not the plain one"


@pytest.mark.parametrize("cuda", ["12.6", "13.0"])
def test_a_variant_by_its_name(
    index: Callable[..., str], install: Callable[..., str], cuda: str
) -> None:
    variants = [version("0.6.0", each) for each in ("", "13.0", "12.6", "12.8")]
    url = index(*((each, "") for each in variants))

    assert install(url, f"demo=={version('0.6.0', cuda)}") == version("0.6.0", cuda)


def test_kept_zeros_are_the_same_version(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index(("2.68.0+nv26.04.cu132", ""), ("2.68.0+nv26.03.cu132", ""))

    assert install(url, "demo") == "2.68.0+nv26.04.cu132"


def test_the_canonical_name_finds_kept_zeros(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index(("2.68.0+nv26.04.cu132", ""), ("2.68.0+nv26.03.cu132", ""))

    assert install(url, "demo==2.68.0+nv26.3.cu132") == "2.68.0+nv26.03.cu132"


def test_the_later_build_of_one_version(
    index: Callable[..., str], install: Callable[..., str]
) -> None:
    url = index(("1.0+cu132", "9"), ("1.0+cu132", "123456"), ("1.0+cu132", "77_rc"))

    assert install(url, "demo") == "1.0+cu132 123456"
