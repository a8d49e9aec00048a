"""What installs the requirements of an accelerated build: what images say, when pip remains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.builders.cibuildwheel import options
from orchestrator.containers.access import Access
from orchestrator.cross import native_uv
from orchestrator.cross.native_uv import ALONE, FRONTEND, ImageFacts, Installer
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import Captured
from orchestrator.models.target import BuildRequest, EnvVar, TargetSteps
from orchestrator.provision.relocate import MOUNTED
from tests import factories
from tests.unit.cross.test_ccache import TARGET

SITE = "lib/python3.12/site-packages"


def asked(folder: Path, said: str, code: int = 0, **network: Any) -> ImageFacts:
    def run(_script: str, mount: str) -> Captured:
        assert mount == f"--volume={folder}:{MOUNTED}:ro"
        return Captured(returncode=code, stdout=said, stderr="exec format error" * (code != 0))

    return native_uv.ask(folder, HostNetwork(**network), run)


def test_an_image_says_which_of_its_pythons_can_use_it(tmp_path: Path) -> None:
    facts = asked(
        tmp_path,
        "uv 0.13.8 (x86_64-unknown-linux-gnu)\n"
        "pip PIP_NO_INPUT\npip PIP_INDEX_URL\n"
        f"/opt/python/cp312-cp312/{SITE}/build-1.5.0.dist-info\n"
        f"/opt/python/cp38-cp38/{SITE}/build-1.1.1.dist-info\n"
        f"/opt/python/cp314-cp314t/{SITE}/build-1.10rc1.dist-info\n",
        index=(("PIP_INDEX_URL", "https://index.example/simple"),),
    )
    assert facts == ImageFacts(
        version="uv 0.13.8", told=(), pythons=("cp312-cp312", "cp314-cp314t")
    )


def test_what_the_image_tells_pip_is_not_lost(tmp_path: Path) -> None:
    said = "uv 0.13.8\npip PIP_CONSTRAINT\npip /etc/pip.conf\n"
    facts = asked(tmp_path, said, code=2)  # what `ls` makes of no `build` at all
    with pytest.raises(EnvironmentProblemError, match=r"PIP_CONSTRAINT, /etc/pip.conf$"):
        native_uv.make(tmp_path, HostNetwork(), facts)


def test_where_it_does_not_run_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="exec format error"):
        asked(tmp_path, "", code=126)


def test_what_only_pip_knows_of_the_network_leaves_pip(tmp_path: Path) -> None:
    network = HostNetwork(index=(("PIP_PROXY", "http://proxy.example"), ("UV_INDEX", "x")))
    with pytest.raises(EnvironmentProblemError, match=r"^uv does not know PIP_PROXY$"):
        native_uv.make(tmp_path, network, ImageFacts(version="uv 1", told=(), pythons=()))


@pytest.fixture
def there(tmp_path: Path) -> Installer:
    network = HostNetwork(
        index=(("PIP_INDEX_URL", "https://me:s3cret@index.example/simple"),),
        links=(("PIP_FIND_LINKS", (tmp_path, "https://wheels.example/")),),
    )
    facts = ImageFacts(version="uv 0.13.8", told=(), pythons=("cp312-cp312",))
    return native_uv.make(tmp_path / "uv", network, facts)


def test_a_build_finds_it_behind_the_compilers_and_looks_where_pip_looks(there: Installer) -> None:
    plain = Access(links=(MOUNTED.parent / "bin",), env=(), private=(), mounts=())
    access = there.add_to(plain)
    assert access.path == f"{MOUNTED.parent}/bin:{MOUNTED}"
    env = dict(access.env)
    assert env["UV_FIND_LINKS"] == "/opt/orchestrator-links/0,https://wheels.example/"
    assert env["UV_NO_CONFIG"] == "1"
    assert "--env=UV_DEFAULT_INDEX" in access.container_args()
    assert "s3cret" not in str([access.container_args(), access.exports(), access, there])
    assert options(request(), compilers=access)["CIBW_BUILD_FRONTEND"] == FRONTEND
    assert "CIBW_BUILD_FRONTEND" not in options(request(), compilers=plain)
    assert plain.in_front_of(access).frontend == FRONTEND, (
        "a compiler cache in front changes nothing"
    )


def request(own: tuple[str, ...] = (), **changes: Any) -> BuildRequest:
    source = replace(factories.SOURCE, own_options=own)
    return factories.request(replace(TARGET, **changes), source=source)


def variable(name: str, value: str = "1") -> tuple[EnvVar, ...]:
    return (EnvVar(name=name, value=value, origin="env"),)


TESTED = TargetSteps(test_command="pytest")
NO_BUILD = request(python="cp313", steps=TESTED)
CONFIGURING = TargetSteps(before_all="pip config set global.pre true")


@pytest.mark.parametrize(
    ("asks", "told", "because"),
    [
        (request(own=("build-frontend",)), "", "the project chooses its frontend"),
        (NO_BUILD, "", "the image has no build 1.2 or newer for cp313"),
        (request(env=variable("PIP_CONSTRAINT")), "", "uv does not know PIP_CONSTRAINT"),
        (request(env=variable("X", "PIP_PRE")), "", "uv does not know PIP_PRE"),
        (request(steps=CONFIGURING), "", "uv does not know pip config"),
        (request(), 'environment = { PIP_NO_BINARY = "x" }', "uv does not know PIP_NO_BINARY"),
        (request(), "--volume=/x:/etc/pip.conf", "uv does not know pip.conf"),
    ],
)
def test_pip_remains_where_it_is_told_what_uv_does_not_know(
    there: Installer, asks: BuildRequest, told: str, because: str
) -> None:
    with pytest.raises(EnvironmentProblemError) as refused:
        there.for_target(asks, (told,))
    assert refused.value.what == because


@pytest.mark.parametrize(
    ("asks", "frontend"),
    [
        (request(), ALONE),
        (request(python="cp313"), ALONE),
        (request(env=variable("PIP_NO_INPUT")), ALONE),
        (request(steps=TESTED), FRONTEND),
        (request(own=("test-command",)), FRONTEND),
    ],
)
def test_environments_of_tests_are_made_by_pip(
    there: Installer, asks: BuildRequest, frontend: str
) -> None:
    told = '[tool.cibuildwheel]\nbefore-build = "pip install cmake"'
    settled = there.for_target(asks, (told,))
    assert isinstance(settled, Installer)
    access = settled.add_to(Access(links=(), env=(), private=(), mounts=()))
    assert options(asks, compilers=access)["CIBW_BUILD_FRONTEND"] == frontend


def test_on_this_host_uv_is_told_what_pip_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    network = HostNetwork(
        links=(("PIP_FIND_LINKS", (tmp_path,)),),
        host_only=(("PIP_FIND_LINKS", str(tmp_path)), ("PIP_INDEX_URL", "file:///srv/simple")),
    )
    variables = native_uv.variables_here(network, tmp_path / "scratch")

    assert variables["UV_FIND_LINKS"] == str(tmp_path)
    assert variables["UV_CACHE_DIR"] == str(tmp_path / "scratch" / "uv")
    assert variables["UV_DEFAULT_INDEX"] == "file:///srv/simple"
    assert variables["UV_NO_CONFIG"] == "1"


@pytest.mark.parametrize(
    ("network", "asks", "because"),
    [
        (HostNetwork(), request(python="cp38"), ""),
        (HostNetwork(), request(own=("build-frontend",)), "the project chooses its frontend"),
        (HostNetwork(pip_files=("user",)), request(), "uv does not know user"),
    ],
)
def test_pip_remains_on_this_host_where_its_files_say_more(
    network: HostNetwork, asks: BuildRequest, because: str
) -> None:
    assert native_uv.pip_here_because(network, asks, ()) == because
