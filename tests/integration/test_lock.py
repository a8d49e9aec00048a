"""A lock of requirements: builds and tests install what it has, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TAG, Said, orchestrator, results
from tests.factories import edit
from tests.integration.test_environments import A, Project
from tests.packages import Indexes, write_wheel

pytestmark = pytest.mark.index

ONLY = '[indexes]\n"tor*" = "OWN"\n'
REQUIRES = '[build]\nrequires = ["torchy", "setuptools"]\n'
TESTED = """\
[test]
requires = ["torchy"]
command = "python -c 'import torchy; print(\\"TEST\\", torchy.version)'"
"""
MATRIX = REQUIRES + ONLY + TESTED


class Locked(Project):
    """A project with a lock."""

    wanted = "torchy"

    def lock(self, *options: str, more: str = MATRIX, code: int = 0) -> Said:
        self.prepare(self.wanted, more)
        return orchestrator("lock", *options, cwd=self.root, env=self.env, code=code)

    def build_locked(self, *options: str, more: str = MATRIX, code: int = 0) -> Said:
        return self.build(self.wanted, more, "--locked", *options, code=code)

    def later(self) -> None:
        """Ten minutes later, when uv asks indexes again."""
        for pages in (self.cache / "environments").glob("*-downloads/simple-*"):
            shutil.rmtree(pages)

    @property
    def text(self) -> str:
        return (self.root / "matrix.lock").read_text("utf-8")

    @property
    def pins(self) -> set[str]:
        """What is locked, of the packages of these tests."""
        every = tomllib.loads(self.text)["environments"].values()
        files = (file for each in every for file in each["files"])
        named = {f"{file['name']}=={file['version']}" for file in files}
        return {pin for pin in named if pin.startswith(("tor", "plain", "more"))}

    def failure(self) -> dict[str, Any]:
        found: dict[str, Any] = results(self.root / "dist")[A]["failure"]
        return found


@pytest.fixture
def project(tmp_path: Path, stock: Indexes) -> Locked:
    stock = replace(stock, hashed=("own", "public"))
    stock.add("own", "torchy", "1.0", "plain")
    stock.add("public", "plain", "1.0")
    return Locked(tmp_path / "project", stock)


def test_what_is_locked_is_installed_whatever_the_index_has(project: Locked) -> None:
    said = project.lock().stderr
    assert "+ plain==1.0\n" in said
    assert project.pins == {"torchy==1.0", "plain==1.0"}
    project.stock.add("own", "torchy", "2.0", "plain")
    project.stock.add("public", "plain", "1.5")
    project.later()

    said = project.build_locked().stderr

    assert "matrix.lock: the index has newer: plain==1.0 (1.5), torchy==1.0 (2.0)" in said
    assert project.found() == {"torchy": ["1.0", "own"]}
    assert project.said() == ["TEST 1.0"]
    assert project.files()["torchy"] == ["1.0", "own"]
    assert "the index has torchy==2.0, and 1.0 is locked" in project.log()
    project.build("torchy", MATRIX)
    assert project.found() == {"torchy": ["2.0", "own"]}


def test_what_is_locked_stays_until_an_option_says_otherwise(project: Locked) -> None:
    project.lock()
    before = project.text
    project.stock.add("own", "torchy", "2.0", "plain")
    project.stock.add("public", "plain", "1.5")
    project.later()

    assert "unchanged" in project.lock().stderr
    project.lock("--check")
    assert project.text == before
    said = project.lock("--upgrade", "--check", code=1).stderr
    assert "torchy 1.0 -> 2.0\n" in said
    assert project.text == before
    project.lock("--upgrade-package", "Torchy")
    assert project.pins == {"torchy==2.0", "plain==1.0"}
    project.lock("--upgrade")
    assert project.pins == {"torchy==2.0", "plain==1.5"}
    project.lock(more=MATRIX.replace('"torchy", ', '"torchy<2", '))
    assert project.pins == {"torchy==1.0", "torchy==2.0", "plain==1.5"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"torchy", "set', '"torchy", "plain", "set', "the build requires 'plain' now"),
        ('"torchy", "set', '"set', "the build requires no 'torchy'"),
        ('requires = ["torchy"]', 'requires = ["plain"]', "the test requires 'plain' now, no 'tor"),
        ("[indexes]", 'constraints = ["plain<9"]\n[indexes]', "has other constraints now"),
        (ONLY, "", "the build has other indexes now"),
        (TESTED, "", "has other tests now"),
        (
            "[indexes]",
            '[images]\nmanylinux_x86_64 = "manylinux2014"\n[indexes]',
            "the build has other glibc now (2.17, locked: 2.28)",
        ),
    ],
)
def test_a_lock_of_another_matrix_is_refused(
    project: Locked, old: str, new: str, told: str
) -> None:
    project.lock()
    project.build_locked(more=MATRIX.replace(old, new), code=1)
    failure = project.failure()
    assert failure["kind"] == "setup"
    assert told in failure["message"]
    assert failure["hint"] == "`orchestrator lock` locks it again"


def test_a_target_that_is_not_locked_stops_the_run_before_it_begins(project: Locked) -> None:
    assert "there is no lock" in project.build_locked(code=2).stderr
    project.lock()
    edit(project.root / "matrix.lock", f'"{A}"', '"cp399-manylinux_x86_64-a"')
    assert f"{A} not locked" in project.build_locked(code=2).stderr


BROKEN = {
    "no TOML": ("lock-version = 1", "lock-version", "not valid TOML"),
    "another format": ("lock-version = 1", "lock-version = 2", "this orchestrator reads 1"),
    "requirements changed by hand": ('  "torchy",', '  "torchy>0",', "not the name of what"),
    "an environment is missing": ("[environments.", "[environment.", "there is no environment"),
    "no hash": ('sha256 = "', 'sha256 = "x', "sha256"),
    "a path as a file name": ('filename = "', 'filename = "../', "filename"),
    "a program as an address": ('url = "http', 'url = "ssh', "url"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_lock_that_was_changed_by_hand_is_refused(project: Locked, what: str) -> None:
    project.lock()
    old, new, told = BROKEN[what]
    file = project.root / "matrix.lock"
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    said = project.build_locked(code=2).stderr
    assert "matrix.lock" in said
    assert told in said


def test_another_hash_in_the_lock_is_refused(project: Locked) -> None:
    project.lock()
    (sha256,) = set(re.findall(r'torchy-1.0-py3-none-any.whl", sha256 = "(\w+)"', project.text))
    edit(project.root / "matrix.lock", sha256, "0" * 64)
    project.build_locked(code=1)
    assert "has other files of torchy==1.0" in project.failure()["message"]


def test_an_index_that_changed_a_version_is_refused(project: Locked) -> None:
    """Also if the environment is in the cache, and if the index has newer versions."""
    project.lock()
    project.build_locked()
    wheel = project.stock.root / "own/torchy/torchy-1.0-py3-none-any.whl"
    write_wheel(wheel.parent, "torchy", "1.0", "plain", origin="elsewhere")
    project.stock.add("own", "torchy", "2.0")
    shutil.rmtree(project.cache / "environments")
    project.build_locked(code=1)
    failure = project.failure()
    assert re.search(r"own\S* has other files of torchy==1.0 than", failure["message"])
    assert "find out who changed it" in failure["hint"]


def test_a_file_that_changed_under_its_address_is_refused(project: Locked) -> None:
    """The index says what it said before."""
    project.lock()
    wheel = project.stock.root / "own/torchy/torchy-1.0-py3-none-any.whl"
    write_wheel(wheel.parent, "torchy", "1.0", "plain", origin="elsewhere")
    shutil.rmtree(project.cache / "environments")
    project.build_locked(code=1)
    assert "Hash mismatch" in project.log() or "other files" in project.log()


def test_without_the_index_what_is_locked_is_installed(project: Locked) -> None:
    project.lock()
    project.build_locked()
    project.env |= {"PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0", "HTTPS_PROXY": "http://[::1]:9"}
    project.stock.server.shutdown()
    project.stock.server.server_close()
    project.build_locked()
    assert project.found() == {"torchy": ["1.0", "own"]}
    assert "what the index has newer than the lock is not known" in project.log()


BACKEND = """\
import os
from setuptools.build_meta import *
def get_requires_for_build_wheel(config_settings=None):
    return [line for line in open("asked").read().splitlines() if line]
"""


def test_what_the_backend_asks_for_is_locked_and_nothing_else(project: Locked) -> None:
    source = project.root / "source"
    (source / "backend.py").write_text(BACKEND)
    (source / "asked").write_text("more; python_version >= '3'\nnever; python_version < '3'\n")
    edit(source / "pyproject.toml", '"setuptools.build_meta"', '"backend"\nbackend-path = ["."]')
    project.stock.add("public", "more", "1.0")
    project.stock.add("public", "plain", "3.0")
    project.lock()
    assert "more==1.0" in project.pins
    project.build_locked()

    (source / "asked").write_text("more\n")  # as it may be where the wheel is built
    project.build_locked()

    (source / "asked").write_text("other\n")
    project.build_locked(code=1)
    assert "'other' is required only now, and the lock does not have it" in project.log()
    (source / "asked").write_text("more; python_version < '3.7'\n")
    project.build_locked()
    for line in ("more @ file:///nowhere", "more[extra]"):
        (source / "asked").write_text(f"{line}\n")
        project.build_locked(code=1)
        assert "is required only now" in project.log()
    (source / "asked").write_text("more>=2\n")
    project.build_locked(code=1)
    assert "the lock has more 1.0: add it to build.requires" in project.log()


def test_a_backend_may_ask_each_cell_for_something_else(project: Locked) -> None:
    source = project.root / "source"
    ask = 'return ["more"] if os.environ["KIND"] == "b" else []\n'
    text = BACKEND.partition("    return")[0] + f"    {ask}"
    (source / "backend.py").write_text(text)
    edit(source / "pyproject.toml", '"setuptools.build_meta"', '"backend"\nbackend-path = ["."]')
    project.stock.add("public", "more", "1.0")
    project.prepare("torchy", MATRIX, axis='kind = ["a", "b"]')
    orchestrator("lock", cwd=project.root, env=project.env)
    document = tomllib.loads(project.text)
    builds = {name.rpartition("-")[2]: each["build"] for name, each in document["targets"].items()}
    asked = {kind: document["environments"][name] for kind, name in builds.items()}
    assert "backend" not in asked["a"]
    assert asked["b"]["backend"] == ["more"]
    project.build("torchy", MATRIX, "--locked", axis='kind = ["a", "b"]')


def test_a_test_of_the_projects_own_that_replaces_ours_is_named(project: Locked) -> None:
    with (project.root / "source/pyproject.toml").open("a") as file:
        file.write('[tool.cibuildwheel]\nbefore-test = "true"\n')
    project.lock()
    project.build_locked(code=1)
    assert "before-test of [tool.cibuildwheel]" in project.failure()["message"]
    assert project.failure()["hint"] == "say test.before in the matrix instead"


def test_before_build_keeps_to_the_lock_and_a_test_installs_nothing(project: Locked) -> None:
    before = "before-build = 'pip install -q --target there torchy && ls there'\n"
    more = MATRIX.replace("[indexes]", f"{before}[indexes]")
    project.stock.add("public", "torchy", "1.0", "plain")
    project.lock(more=more)
    project.stock.add("public", "torchy", "2.0")
    project.build_locked(more=more)
    assert "torchy-1.0.dist-info" in project.log()

    asks = more.replace('command = "', 'command = "pip install plain==1.0 && pip install more && ')
    project.stock.add("public", "more", "1.0")
    project.build_locked(more=asks, code=1)
    assert project.failure()["kind"] == "test"
    assert "No matching distribution found for more" in project.log()

    by_uv = asks.replace("pip install more", "uv pip install more")
    project.build_locked(more=by_uv, code=1)
    assert project.failure()["kind"] == "test"
    assert "more was not found" in project.log()


def test_another_requirement_does_not_move_the_others(project: Locked) -> None:
    project.lock()
    project.stock.add("own", "torchy", "2.0", "plain")
    project.stock.add("public", "more", "1.0")
    project.later()
    project.lock(more=MATRIX.replace('"setuptools"]', '"setuptools", "more"]'))
    assert project.pins == {"torchy==1.0", "plain==1.0", "more==1.0"}


def test_dependencies_of_the_wheel_are_locked_where_they_are_stated(project: Locked) -> None:
    source = project.root / "source"
    stated = """
[project]
name = "tiny"
version = "1.0"
dependencies = ["plain"]
[project.optional-dependencies]
gpu = ["more"]
all = ["tiny[gpu]"]
[dependency-groups]
test = ["other", {include-group = "base"}]
base = ["last"]
"""
    with (source / "pyproject.toml").open("a") as file:
        file.write(stated)
    more = MATRIX.replace("[test]", '[test]\nextras = ["all"]\ngroups = ["test"]')
    for name in ("more", "other", "last"):
        project.stock.add("public", name, "1.0")
    said = project.lock(more=more).stderr
    assert "states its dependencies only" not in said
    project.stock.add("public", "plain", "2.0")
    project.build_locked(more=more)
    (environment,) = (
        each
        for each in tomllib.loads(project.text)["environments"].values()
        if "setuptools" not in each["requires"]
    )
    assert environment["requires"] == ["torchy", "other", "last", "plain", "more"]


def test_a_project_that_does_not_state_its_dependencies_is_told(project: Locked) -> None:
    assert "states its dependencies only when it is built" in project.lock().stderr


def test_results_of_other_files_are_not_taken_from_the_store(project: Locked) -> None:
    project.env["ORCHESTRATOR_STORE_DIR"] = str(project.root / "store")

    def build(*options: str) -> bool:
        project.prepare("torchy", MATRIX)
        command = ("build", "--backend", "direct", *options)
        orchestrator(*command, cwd=project.root, env=project.env)
        return bool(results(project.root / "dist")[A]["cached"])

    project.lock()
    assert [build("--locked"), build("--locked"), build(), build()] == [False, True, False, True]
    project.stock.add("own", "torchy", "2.0", "plain")
    project.later()
    project.lock("--upgrade")
    assert not build("--locked")


def test_an_index_that_says_no_hashes_cannot_be_locked(project: Locked) -> None:
    (project.stock.root / "public/plain/index.html").unlink()
    said = project.lock(code=4).stderr
    assert "plain==1.0 cannot be locked: no hash of a file is known" in said


def test_files_of_this_machine_are_named(project: Locked) -> None:
    project.stock.add("links", "plain", "1.1")
    said = project.lock().stderr
    assert "files of this machine are locked, which others may not have: plain==1.1" in said


def test_what_cannot_be_locked_is_named_and_the_rest_is_locked(project: Locked) -> None:
    project.prepare("torchy", MATRIX, axis='kind = ["a", "b"]')
    matrix = project.root / "matrix.toml"
    bad = '\n[[override]]\nwhen = { kind = "b" }\nbuild = { requires = ["missing-one"] }\n'
    matrix.write_text(matrix.read_text() + bad)
    said = orchestrator("lock", cwd=project.root, env=project.env, code=4).stderr
    assert f"{TAG}-manylinux_x86_64-b: could not resolve" in said
    assert "missing-one" in said
    assert list(tomllib.loads(project.text)["targets"]) == [A]


def test_a_selection_leaves_the_rest_of_the_lock(project: Locked) -> None:
    project.prepare("torchy", MATRIX, axis='kind = ["a", "b"]')
    orchestrator("lock", cwd=project.root, env=project.env)
    two = set(tomllib.loads(project.text)["targets"])
    assert len(two) == 2
    orchestrator("lock", "--select", A, "--upgrade", cwd=project.root, env=project.env)
    assert set(tomllib.loads(project.text)["targets"]) == two
    project.lock()
    assert set(tomllib.loads(project.text)["targets"]) == {A}


def test_the_lock_is_no_part_of_the_source(project: Locked) -> None:
    project.prepare("torchy", MATRIX)
    edit(project.root / "matrix.toml", '"source"', '"."')
    for each in (project.root / "source").iterdir():
        each.rename(project.root / each.name)
    plan = ("plan", "--format", "json")

    def key() -> str:
        text = orchestrator(*plan, cwd=project.root, env=project.env).stdout
        found: str = json.loads(text)["targets"][0]["key"]
        return found

    before = key()
    (project.root / "matrix.lock").write_text("lock-version = 1\n")
    assert key() == before
