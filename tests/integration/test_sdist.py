"""The sdist of a run: built, checked, compared with a wheel, collected and published."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MACHINE, TAG, git, orchestrator, results
from tests.factories import edit, write_files
from tests.servers import served
from tests.wheelmaker import WheelSpec

pytestmark = pytest.mark.index

ID = f"{TAG}-manylinux_{MACHINE}"

MATRIX = f"""\
[project]
source = "src"
sdist = true
[axes]
python = ["{TAG}"]
arch = ["{MACHINE}"]
"""

VERSION = "[version]\non-mismatch = 'rewrite'\n"

C = """\
#include <Python.h>
#include "{header}"
static struct PyModuleDef m = {{PyModuleDef_HEAD_INIT, "native"}};
PyMODINIT_FUNC PyInit_native(void) {{ return PyModule_Create(&m); }}
"""

SETUPTOOLS = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
    'build-backend = "setuptools.build_meta"\n[project]\nname = "My.Thing"\nversion = "1.0"\n',
    "setup.py": "from setuptools import Extension, setup\n"
    "setup(packages=['thing'], package_data={'thing': ['*.txt']},\n"
    "      ext_modules=[Extension('thing.native', ['native.c'])])\n",
    "native.c": C.format(header="include/native.h"),
    "include/native.h": "",
    "thing/__init__.py": "",
    "README.md": "# Thing\n",
}

SCIKIT = {
    "pyproject.toml": '[build-system]\nrequires = ["scikit-build-core"]\n'
    'build-backend = "scikit_build_core.build"\n'
    '[project]\nname = "my-thing"\nversion = "1.0"\n'
    '[tool.scikit-build]\nsdist.exclude = ["*.h"]\n',
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.20)\nproject(thing C)\n"
    "find_package(Python REQUIRED COMPONENTS Development.Module)\n"
    "python_add_library(native MODULE native.c WITH_SOABI)\n"
    "install(TARGETS native DESTINATION thing)\n",
    "native.c": C.format(header="native.h"),
    "native.h": "",
}

HATCH = {
    "pyproject.toml": '[build-system]\nrequires = ["hatchling", "setuptools"]\n'
    'build-backend = "hatchling.build"\n[project]\nname = "my-thing"\nversion = "1.0"\n'
    '[tool.hatch.build.targets.wheel]\npackages = ["thing"]\nartifacts = ["*.so"]\n'
    "[tool.hatch.build.targets.wheel.hooks.custom]\n"
    '[tool.hatch.build.targets.sdist]\nexclude = ["thing/data.txt"]\n',
    "hatch_build.py": """\
import subprocess, sysconfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
class CustomBuildHook(BuildHookInterface):
    def initialize(self, version, build_data):
        suffix, include = sysconfig.get_config_var("EXT_SUFFIX"), sysconfig.get_path("include")
        subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", "native.c",
                        "-o", f"thing/native{suffix}"], check=True, cwd=self.root)
        build_data["pure_python"], build_data["infer_tag"] = False, True
""",
    "native.c": C.format(header="native.h"),
    "native.h": "",
    "thing/__init__.py": "",
    "thing/data.txt": "data",
}

CURES = {
    "setuptools": (SETUPTOOLS, "include/native.h", "`include include/native.h` in MANIFEST.in"),
    "scikit-build-core": (
        SCIKIT,
        "native.h",
        'sdist.include = ["native.h"] in [tool.scikit-build]',
    ),
    "hatchling": (
        HATCH,
        "thing/data.txt",
        'include = ["thing/data.txt"] in [tool.hatch.build.targets.sdist]',
    ),
}


def write(place: Path, files: dict[str, str], more: str = "") -> Path:
    write_files(place, {"matrix.toml": MATRIX + more})
    return write_files(place / "src", files)


def build(place: Path, *options: str, code: int = 0) -> str:
    said = orchestrator("build", "--backend=direct", *options, cwd=place, code=code)
    return " ".join(said.stderr.split())


def sdist_of(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "results.json").read_text())["sdist"]
    return found


@pytest.mark.parametrize(("files", "missing", "how"), CURES.values(), ids=CURES)
def test_a_file_that_only_the_tree_has_is_named_with_its_cure(
    files: dict[str, str], missing: str, how: str, tmp_path: Path
) -> None:
    write(tmp_path, files)
    said = build(tmp_path, code=1)

    assert f"the sdist lacks {missing}: {how}" in said
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1, "the wheel is none the worse"
    assert not list((tmp_path / "dist").glob("*.tar.gz"))
    assert sdist_of(tmp_path / "dist")["failure"]["step"] == "sdist"


def test_an_sdist_is_built_once_compared_and_the_same_each_time(tmp_path: Path) -> None:
    source = write(
        tmp_path, {**SETUPTOOLS, "MANIFEST.in": "graft include\n"}, VERSION + "local = 'cu1'\n"
    )
    said = build(tmp_path)

    assert "sdist: my_thing-1.0.tar.gz, " in said
    assert f"a wheel built from it has the members of {ID}'s" in said
    first = sdist_of(tmp_path / "dist")
    assert (first["filename"], first["version"], first["compared"]) == (
        "my_thing-1.0.tar.gz",
        "1.0",
        ID,
    )
    assert results(tmp_path / "dist")[ID]["wheel"]["version"] == "1.0+cu1"
    with tarfile.open(tmp_path / "dist/my_thing-1.0.tar.gz") as archive:
        names = {member.name for member in archive.getmembers()}
        assert {(each.uid, each.uname) for each in archive.getmembers()} == {(0, "")}
    assert "my_thing-1.0/include/native.h" in names
    assert not list(source.glob("*.egg-info")), "the source itself stays untouched"

    build(tmp_path)
    assert sdist_of(tmp_path / "dist")["sha256"] == first["sha256"]
    build(tmp_path, "--select", "cp*")
    assert sdist_of(tmp_path / "dist") == first, "a part of the matrix leaves it alone"
    said = orchestrator("publish", "dist", "--to=pypi", "--dry-run", cwd=tmp_path).all
    assert re.search(r"my_thing-1.0.tar.gz +pypi +\d+ B +would be uploaded", " ".join(said.split()))


def test_an_sdist_gets_what_the_matrix_adds_to_a_build(tmp_path: Path) -> None:
    """The backend imports what only `build.requires` names, from an index of its own."""
    wheel = WheelSpec(name="needed", version="1.0", members={"needed.py": b""})
    index = tmp_path / "site" / "needed"
    index.mkdir(parents=True)
    made = replace(wheel, python="py3", abi="none", platform="any").write(index)
    (index / "index.html").write_text(f'<a href="{made.name}">{made.name}</a>')
    more = "[build]\nrequires = ['needed']\nconstraints = ['setuptools<81']\n"
    with served(tmp_path / "site") as server:
        write(
            tmp_path,
            {**SETUPTOOLS, "MANIFEST.in": "graft include\n"},
            f"{more}[indexes]\nneeded = '{server.url}'\n",
        )
        edit(
            tmp_path / "src/setup.py",
            "from setuptools",
            "import needed, setuptools\nassert int(setuptools.__version__.split('.')[0]) < 81\n"
            "from setuptools",
        )
        assert f"has the members of {ID}'s" in build(tmp_path)

    assert sdist_of(tmp_path / "dist")["failure"] is None


def test_the_files_of_a_repository_are_in_it(tmp_path: Path) -> None:
    files = {**SETUPTOOLS, "tests/test_thing.py": "", ".gitignore": "junk\n", "junk": ""}
    files["pyproject.toml"] = (
        files["pyproject.toml"]
        .replace('["setuptools"]', '["setuptools", "setuptools-scm"]')
        .replace('version = "1.0"', 'dynamic = ["version"]')
        + "[tool.setuptools_scm]\n"
    )
    source = write(tmp_path, files, "[version]\nbase = 'scm'\n")
    git(source, "init", "-q")
    git(source, "add", "-A")
    git(source, "commit", "-qm", "first")
    git(source, "tag", "v2.5")
    build(tmp_path)

    with tarfile.open(tmp_path / "dist/my_thing-2.5.tar.gz") as archive:
        names = archive.getnames()
    assert "my_thing-2.5/tests/test_thing.py" in names
    assert "my_thing-2.5/include/native.h" in names
    assert "my_thing-2.5/junk" not in names


def test_what_is_wrong_with_an_sdist_is_said(tmp_path: Path) -> None:
    source = write(
        tmp_path, {**SETUPTOOLS, "MANIFEST.in": "graft include\n"}, VERSION + "base = '2.0'\n"
    )
    said = build(tmp_path, code=1)
    assert "it has the version 1.0, and the wheels have 2.0" in said
    assert "version.inject" in said

    edit(
        source / "setup.py",
        "setup(pack",
        "import sys; 'sdist' in sys.argv and sys.exit('no')\nsetup(pack",
    )
    assert "the build backend makes no sdist" in build(tmp_path, code=1)


def test_the_sdist_of_a_job_is_collected(tmp_path: Path) -> None:
    write(tmp_path, {**SETUPTOOLS, "MANIFEST.in": "graft include\n"})
    planned = orchestrator("plan", "--format=github", "--save=plan.json", cwd=tmp_path, code=0)
    assert json.loads(planned.stdout)["include"][0]["sdist"] is True
    build(tmp_path, "--plan=plan.json", "--job=01", "--output-dir=jobs/job-01")
    collect = ("collect", "jobs", "--plan=plan.json", "--output-dir=all")
    said = orchestrator(*collect, cwd=tmp_path, code=0).all
    assert "sdist: my_thing-1.0.tar.gz" in said
    assert (tmp_path / "all/my_thing-1.0.tar.gz").is_file()
    assert sdist_of(tmp_path / "all") == sdist_of(tmp_path / "jobs/job-01")

    (tmp_path / "jobs/job-01/my_thing-1.0.tar.gz").write_bytes(b"other")
    (tmp_path / "all/my_thing-1.0.tar.gz").unlink()
    said = orchestrator(*collect, cwd=tmp_path, code=1).all
    assert "error: sdist: my_thing-1.0.tar.gz: its SHA-256 is" in " ".join(said.split())


def test_an_sdist_that_is_left_out_is_said_unless_the_matrix_says_so(tmp_path: Path) -> None:
    write(tmp_path, SETUPTOOLS)
    edit(tmp_path / "matrix.toml", "sdist = true\n", "")
    orchestrator("plan", "--save=plan.json", cwd=tmp_path, code=0)
    build(tmp_path)
    note = "the release gets no sdist"
    collect = ("collect", "dist", "--plan=plan.json", "--output-dir=all")
    publish = ("publish", "dist", "--to=pypi", "--dry-run")
    assert "sdist" not in orchestrator(*collect, cwd=tmp_path, code=0).stderr
    assert note in orchestrator(*publish, cwd=tmp_path).stderr
    elsewhere = (*publish[:2], "--to=file:///nowhere", "--dry-run")
    assert note not in orchestrator(*elsewhere, cwd=tmp_path).stderr

    edit(tmp_path / "matrix.toml", "[axes]", "sdist = false\n[axes]")
    orchestrator("plan", "--save=plan.json", cwd=tmp_path, code=0)
    assert note not in orchestrator(*publish, cwd=tmp_path).stderr
