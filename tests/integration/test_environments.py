"""What a build requires, from the indexes of the matrix, made once and shared, on this host."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.fsutil import file_sha256
from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import TAG, Said, log_of, orchestrator, results, started
from tests.factories import project_file, write_files
from tests.packages import ORIGIN, Indexes

pytestmark = pytest.mark.index

A = f"{TAG}-manylinux_x86_64-a"

SETUP = f"""\
import importlib, json, os
found = {{}}
for name in os.environ["WANTED"].split():
    module = importlib.import_module(name)
    found[name] = [module.version, module.{ORIGIN}]
print("FOUND " + json.dumps(found))
{project_file("direct/setup.py")}"""


class Project:
    """A project whose setup.py says what it finds."""

    def __init__(
        self, root: Path, stock: Indexes, arch: str = "x86_64", backend: str = "direct"
    ) -> None:
        self.root, self.stock, self.arch, self.backend = root, stock, arch, backend
        self.cache = root / "cache"
        self.cache.mkdir(parents=True)
        toolchain = default_cache_dir(os.environ) / "toolchain"
        (self.cache / "toolchain").symlink_to(toolchain)
        self.env = {**stock.env, "ORCHESTRATOR_CACHE_DIR": str(self.cache)}
        pyproject = project_file("direct/pyproject.toml")
        write_files(root / "source", {"setup.py": SETUP, "pyproject.toml": pyproject})

    def prepare(self, wanted: str, more: str, axis: str = 'kind = ["a"]') -> tuple[str, ...]:
        """Write the matrix; return the arguments that build it."""
        text = f"""\
[project]
source = "source"
[axes]
python = ["{TAG}"]
arch = ["{self.arch}"]
{axis}
[version]
base = "1.0"
local = "{{kind}}"
on-mismatch = "rewrite"
[env]
WANTED = "{wanted}"
KIND = "{{kind}}"
{more}
"""
        (self.root / "matrix.toml").write_text(text.replace("OWN", self.stock.url("own")))
        return ("build", "--backend", self.backend, "--no-cache")

    def build(self, wanted: str, more: str, *options: str, code: int = 0, **how: str) -> Said:
        """Build; `how` is an axis for `prepare`."""
        arguments = self.prepare(wanted, more, **how)
        return orchestrator(*arguments, *options, cwd=self.root, env=self.env, code=code)

    def log(self) -> str:
        return log_of(self.root, f"{TAG}-manylinux_{self.arch}-a")

    def found(self) -> dict[str, list[str]]:
        lines = [line.strip() for line in self.log().splitlines()]
        (*_, last) = (line for line in lines if line.startswith("FOUND "))
        found: dict[str, list[str]] = json.loads(last.removeprefix("FOUND "))
        return found

    def files(self) -> dict[str, list[str]]:
        """What the result says of the files that are checked: version and index."""
        (result,) = results(self.root / "dist").values()
        found = {}
        for each in result["environment"]["files"]:
            if each["name"] in {"torchy", "triyx", "plain"}:
                where = urlsplit(each["index"]).path.strip("/")
                name = f"{each['name']}-{each['version']}-py3-none-any.whl"
                file = self.stock.root / where / each["name"] / name
                assert each["sha256"] == file_sha256(file)
                found[each["name"]] = [each["version"], where]
        return found

    def said(self) -> list[str]:
        """Return what `LIMITED` prints."""
        return re.findall(r"(?m)^\s*((?:BEFORE|TEST) .*)$", self.log())

    def environments(self) -> list[Path]:
        places = (self.cache / "environments").glob(f"*-{TAG}-x86_64")
        return sorted(each for each in places if each.is_dir())


@pytest.fixture
def project(tmp_path: Path, stock: Indexes) -> Project:
    return Project(tmp_path / "project", stock)


ONLY = '[indexes]\ntorchy = "OWN"\n"triy*" = "OWN"\n'
REQUIRES = 'requires = ["torchy==2.13.*", "plain", "setuptools"]\n'


@pytest.mark.parametrize("isolation", ["true", "false"])
@pytest.mark.parametrize("frontend", ["build", "build[uv]", "pip", "uv"])
def test_each_package_comes_from_its_index_alone(
    project: Project, isolation: str, frontend: str
) -> None:
    add = project.stock.add
    # What is assigned is better elsewhere, and what is not assigned is better there.
    add("own", "torchy", "2.13.0", "triyx>=3")
    add("own", "triyx", "3.0")
    add("own", "plain", "9.0")
    add("public", "torchy", "2.13.1")
    add("public", "triyx", "3.1")
    add("public", "plain", "1.0")
    add("links", "torchy", "2.13.0+cpu")
    add("links", "triyx", "3.2")
    chosen = f'{{ name = "{frontend}", args = ["-v"] }}'
    build = f"[build]\n{REQUIRES}isolation = {isolation}\nfrontend = {chosen}\n"
    project.build("torchy triyx plain", f"{build}{ONLY}")
    wanted = {"torchy": ["2.13.0", "own"], "triyx": ["3.0", "own"], "plain": ["1.0", "public"]}
    assert project.found() == wanted
    assert project.files() == wanted, "their hashes are recorded"


LIMITED = """\
requires = ["plain", "setuptools"]
constraints = ["plain<2"]
before-build = '''
mkdir there && pip install -q --target there plain other && env | grep -q _BUILD_CONSTRAINT= &&
PYTHONPATH=there python -c "import plain, other; print('BEFORE', plain.version, other.version)"
'''
[test]
requires = ["plain>1"]
command = '''
python -c "import plain; print('TEST', plain.version)" && ! env | grep _BUILD_CONSTRAINT=
'''
"""


@pytest.mark.parametrize("isolation", ["true", "false"])
def test_what_before_build_installs_keeps_to_the_constraints(
    project: Project, isolation: str
) -> None:
    """Constraints of the user's own count beside them; the test is not limited."""
    for version in ("1.0", "2.0", "3.0"):
        project.stock.add("public", "plain", version)
        project.stock.add("public", "other", version)
    own, config = project.root / "own.txt", project.root / "pip.conf"
    own.write_text("other<2\n")
    config.write_text(f"[global]\nconstraint = {own}\n")
    project.env["PIP_CONFIG_FILE"] = str(config)
    project.build("plain", f"[build]\nisolation = {isolation}\n{LIMITED}")
    assert project.said() == ["BEFORE 1.0 1.0", "TEST 3.0"]
    assert project.found() == {"plain": ["1.0", "public"]}


def test_what_an_index_lacks_comes_from_nowhere_else(project: Project) -> None:
    project.stock.add("public", "torchy", "2.13.0", "triyx")
    project.stock.add("own", "torchy", "2.13.0", "triyx")
    project.stock.add("public", "triyx", "3.0")
    project.stock.add("public", "plain", "1.0")
    project.build("torchy", f"[build]\n{REQUIRES}{ONLY}", code=1)
    failure = results(project.root / "dist")[A]["failure"]
    assert failure["kind"] == "setup"
    assert "triyx" in failure["message"]


ONE = '[build]\nrequires = ["torchy"]\n' + ONLY


def test_many_targets_at_once_make_one_environment(project: Project) -> None:
    project.stock.add("own", "torchy", "2.13.0")
    project.build("torchy", ONE, "-j5", axis='kind = ["a", "b", "c", "d", "e"]')
    assert len(project.environments()) == 1
    assert log_of(project.root).count("preparing an environment") == 1
    torchy = results(project.root / "dist")[A]["environment"]["files"][-1]
    assert torchy["filename"] == "torchy-2.13.0-py3-none-any.whl"
    assert torchy["url"] == f"{torchy['index']}torchy/{torchy['filename']}"
    fetched = project.stock.server.wheels()
    # Once for its metadata, which this server does not have apart, and once to install it.
    size = (project.stock.root / "own/torchy/torchy-2.13.0-py3-none-any.whl").stat().st_size
    assert fetched == {"/own/torchy/torchy-2.13.0-py3-none-any.whl": 2 * size}


def test_a_build_that_writes_into_it_fails_and_spoils_nothing(project: Project) -> None:
    project.stock.add("own", "torchy", "2.13.0")
    setup = project.root / "source/setup.py"
    honest = setup.read_text()
    setup.write_text(f"{honest}\nopen(module.__file__, 'a').write('# spoilt')\n")
    project.build("torchy", ONE, code=1)
    failure = results(project.root / "dist")[A]["failure"]
    assert "torchy/__init__.py" in failure["message"]
    assert project.environments() == []
    setup.write_text(honest)
    project.build("torchy", ONE)
    (made,) = project.environments()
    assert "spoilt" not in (made / "site/torchy/__init__.py").read_text()


def test_what_somebody_wrote_into_it_is_found_before_it_is_used(project: Project) -> None:
    project.stock.add("own", "torchy", "2.13.0")
    project.build("torchy", ONE)
    (made,) = project.environments()
    (made / "site/torchy/more.py").write_text("")
    project.build("torchy", ONE)
    assert "torchy/more.py" in log_of(project.root)
    (made,) = project.environments()
    assert not (made / "site/torchy/more.py").exists()


def test_without_the_index_the_last_resolution_counts(project: Project) -> None:
    project.stock.add("own", "torchy", "2.13.0")
    project.build("torchy", ONE)
    nowhere = {"PIP_EXTRA_INDEX_URL": "", "HTTPS_PROXY": "http://127.0.0.1:9", "PIP_RETRIES": "0"}
    project.env |= nowhere
    project.stock.server.shutdown()
    project.stock.server.server_close()
    project.build("torchy", ONE)
    assert "cannot be reached" in log_of(project.root)
    assert project.found() == {"torchy": ["2.13.0", "own"]}


def test_a_killed_run_leaves_nothing_that_the_next_one_takes(project: Project) -> None:
    project.stock.add("own", "torchy", "2.13.0")
    held = project.stock.server.hold("torchy-2.13.0-py3-none-any.whl", after=1)
    arguments = project.prepare("torchy", ONE)
    child = started(*arguments, cwd=project.root, env=project.env, start_new_session=True)
    assert held.reached.wait(120)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert project.environments() == []
    assert list((project.cache / "environments").glob(".new-*"))
    held.release.set()
    project.build("torchy", ONE)
    assert len(project.environments()) == 1
    assert not list((project.cache / "environments").glob(".new-*"))


BACKEND = """\
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    umask = os.umask(0)
    os.umask(umask)
    home = set(os.listdir(os.path.expanduser("~"))) - {".local"}  # uv's own
    found = "".join(home) + oct(umask)
    name, info = "torchy-2.13.0-py3-none-any.whl", "torchy-2.13.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        archive.writestr("torchy.py", f"came_from = {found!r}; version = '2.13.0'")
        text = "Metadata-Version: 2.1\\nName: torchy\\nVersion: 2.13.0"
        archive.writestr(f"{info}/METADATA", text)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", "")
    return name
"""


def test_an_sdist_is_built_without_the_users_home_and_umask(project: Project) -> None:
    place = project.stock.root / "own/torchy"
    place.mkdir()
    own = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    info = "Metadata-Version: 2.2\nName: torchy\nVersion: 2.13.0\n"
    with tarfile.open(place / "torchy-2.13.0.tar.gz", "w:gz") as bundle:
        for name, text in {"pyproject.toml": own, "backend.py": BACKEND, "PKG-INFO": info}.items():
            member = tarfile.TarInfo(f"torchy-2.13.0/{name}")
            member.size = len(text)
            bundle.addfile(member, io.BytesIO(text.encode()))
    before = os.umask(0o077)
    try:
        project.build("torchy", ONE)
    finally:
        os.umask(before)
    assert project.found() == {"torchy": ["2.13.0", "0o22"]}
    (made,) = project.environments()
    site = [made / "site", *(made / "site").rglob("*")]
    assert {path for path in site if path.stat().st_mode & 0o044 != 0o044} == set()
