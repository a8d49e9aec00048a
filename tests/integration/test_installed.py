"""orchestrator's own wheel and sdist: what is in them, and that they work where nothing else is."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from orchestrator import DISTRIBUTION, __version__
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import REPOSITORY, git, orchestrator, ran, with_own_store

pytestmark = pytest.mark.index

STEM = f"{DISTRIBUTION.replace('-', '_')}-{__version__}"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="module")
def built(tools: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it, as for a release."""
    place = tmp_path_factory.mktemp("built")
    source = place / "clone"
    for name in listed():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, source / name)
    dist = place / "dist"
    ran(tools.python, "-m", "build", "--outdir", dist, source, code=0)
    return dist


def listed(*under: str) -> set[str]:
    """Files that git knows, or would with the next `git add`."""
    words = ("ls-files", "--cached", "--others", "--exclude-standard", *under)
    return {each for each in git(REPOSITORY, *words).splitlines() if (REPOSITORY / each).is_file()}


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    return built / f"{STEM}.tar.gz"


def interpreter(version: str) -> str:
    """Return a Python of this machine; the one that runs the tests is always one."""
    if version == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    versions = Path.home() / ".pyenv" / "versions"
    known = [shutil.which(f"python{version}"), *sorted(versions.glob(f"{version}.*/bin/python"))]
    for each in filter(None, known):
        if ran(str(each), "-c", "import ensurepip, ssl").code == 0:
            return str(each)
    pytest.skip(f"needs CPython {version} with venv")


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == listed("orchestrator")


def test_the_sdist_has_all_that_its_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert listed() - names <= {".gitignore", ".gitattributes"}
    assert names - listed() <= {"PKG-INFO", ".gitignore"}


def test_its_metadata_is_what_people_install_by(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{STEM}.dist-info/METADATA").decode()
        commands = archive.read(f"{STEM}.dist-info/entry_points.txt").decode()
    metadata = Parser().parsestr(text)

    assert metadata["Name"] == DISTRIBUTION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == {"fast", "remote", "sign"}
    assert commands.count("= orchestrator.cli:main") == 2


def test_twine_and_our_own_rules_find_nothing(tools: Toolchain, wheel: Path, sdist: Path) -> None:
    ran(tools.bin / "twine", "check", "--strict", wheel, sdist, code=0)
    said = orchestrator("verify", wheel, cwd=wheel.parent, code=0)
    assert ": ok" in said.stdout


@pytest.mark.parametrize("python", PYTHONS)
def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, python: str) -> None:
    said = use(wheel, interpreter(python))

    assert f"orchestrator {__version__}" in said
    assert "1 of 1 target " in said


def test_the_sdist_works_too(sdist: Path) -> None:
    assert "1 of 1 target " in use(sdist, sys.executable)


def use(file: Path, python: str) -> str:
    env = {name: value for name, value in with_own_store().items() if name != "PYTHONPATH"}
    said = ran(REPOSITORY / ".ci/installed", file, python, cwd=file.parent, env=env, code=0)
    return said.stdout + said.stderr


def test_uvx_finds_a_command_of_its_name(tools: Toolchain, wheel: Path, tmp_path: Path) -> None:
    """`uvx wheel-orchestrator`, where the index would have it."""
    env = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}
    words = ("tool", "run", "--from", wheel, DISTRIBUTION, "--version")

    said = ran(tools.bin / "uv", *words, cwd=tmp_path, env=env, code=0)

    assert said.stdout.startswith(f"orchestrator {__version__}\n")
