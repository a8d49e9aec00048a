"""What a build requires, from the indexes of the matrix, made once and shared, on this host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import Said, orchestrator, results
from tests.factories import project_file
from tests.packages import ORIGIN, Indexes, indexes

pytestmark = pytest.mark.index

TAG = f"cp3{sys.version_info.minor}"

SETUP = f"""\
import importlib, json, os
found = {{}}
for name in os.environ["WANTED"].split():
    module = importlib.import_module(name)
    found[name] = [module.version, module.{ORIGIN}]
print("FOUND " + json.dumps(found))
{project_file("direct/setup.py")}"""


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Indexes]:
    with indexes(tmp_path / "indexes") as made:
        yield made


class Project:
    """A project whose setup.py says what it finds."""

    def __init__(self, root: Path, stock: Indexes) -> None:
        self.root, self.stock = root, stock
        source = root / "source"
        source.mkdir(parents=True)
        self.cache.mkdir()
        toolchain = default_cache_dir(os.environ) / "toolchain"
        (self.cache / "toolchain").symlink_to(toolchain)
        (source / "setup.py").write_text(SETUP)
        (source / "pyproject.toml").write_text(project_file("direct/pyproject.toml"))

    def build(self, wanted: str, more: str, *options: str, axis: str = 'kind = ["a"]') -> Said:
        text = f"""\
[project]
source = "source"
[axes]
python = ["{TAG}"]
arch = ["x86_64"]
{axis}
[version]
base = "1.0"
on-mismatch = "rewrite"
[env]
WANTED = "{wanted}"
{more}
"""
        (self.root / "matrix.toml").write_text(text.replace("OWN", self.stock.url("own")))
        env = {**self.stock.env, "ORCHESTRATOR_CACHE_DIR": str(self.cache)}
        arguments = ("build", "--backend", "direct", "--no-cache", *options)
        return orchestrator(*arguments, cwd=self.root, env=env)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def found(self, target: str = f"{TAG}-manylinux_x86_64") -> dict[str, list[str]]:
        log = (self.root / f".orchestrator/logs/{target}.log").read_text("utf-8")
        lines = [line.strip() for line in log.splitlines() if line.strip().startswith("FOUND ")]
        found: dict[str, list[str]] = json.loads(lines[-1].removeprefix("FOUND "))
        return found

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
    said = project.build("torchy triyx plain", f"{build}{ONLY}")
    assert said.code == 0, said.all
    wanted = {"torchy": ["2.13.0", "own"], "triyx": ["3.0", "own"], "plain": ["1.0", "public"]}
    assert project.found(f"{TAG}-manylinux_x86_64-a") == wanted


def test_what_an_index_lacks_comes_from_nowhere_else(project: Project) -> None:
    project.stock.add("public", "torchy", "2.13.0", "triyx")
    project.stock.add("own", "torchy", "2.13.0", "triyx")
    project.stock.add("public", "triyx", "3.0")
    project.stock.add("public", "plain", "1.0")
    said = project.build("torchy", f"[build]\n{REQUIRES}{ONLY}")
    assert said.code == 1, said.all
    result = results(project.root / "dist")[f"{TAG}-manylinux_x86_64-a"]
    assert result["failure"]["kind"] == "setup"
    assert "triyx" in result["failure"]["message"]
