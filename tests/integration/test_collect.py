"""A matrix that two machines build, one of which runs out of time, collected twice."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest

from orchestrator.report.documents import json_schema
from tests.conftest import orchestrator, results

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.index

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
MACHINE = os.uname().machine
A, B = (f"{TAG}-manylinux_{MACHINE}-{kind}" for kind in "ab")

SETUP = """\
import os
from setuptools import Extension, setup
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
"""

SOURCE = """\
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }
"""

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
"""

MATRIX = """\
[project]
source = "tiny"
[axes]
python = ["{tag}"]
arch = ["{machine}"]
kind = [
    "a",
    "b",
]
[version]
base = "1.0"
local = "{{kind}}"
on-mismatch = "rewrite"
[[override]]  # line 14
when = {{ kind = "b" }}
[override.build]
before-build = "test -e {ready} || {{ echo '::error::not ready ##[error]'; sleep 600; }}"
"""


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Path, Path]:
    """Two checkouts of one project, on machines that have nothing in common."""
    first = tmp_path / "1"
    project = first / "tiny"
    project.mkdir(parents=True)
    for name, text in (("setup.py", SETUP), ("tiny.c", SOURCE), ("pyproject.toml", PYPROJECT)):
        (project / name).write_text(text)
        os.utime(project / name, (1_700_000_000, 1_700_000_000))
    text = MATRIX.format(tag=TAG, machine=MACHINE, ready=tmp_path / "ready")
    (first / "matrix.toml").write_text(text)
    shutil.copytree(first, tmp_path / "2")
    return first, tmp_path / "2"


def test_what_one_machine_did_not_finish_is_built_by_its_next_run(
    machines: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = machines
    planned = orchestrator("plan", "--format=json", cwd=one)
    (tmp_path / "plan.json").write_text(planned.stdout)
    jsonschema.validate(json.loads(planned.stdout), json_schema("plan"))
    build = ("build", "--backend=direct", "--select")
    assert orchestrator(*build, A, cwd=one).code == 0
    actions = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}

    # Time to begin with it, but not to sleep.
    stopped = orchestrator(*build, B, "--stop-after=0.1", cwd=two, env=actions)

    assert stopped.code == 1, stopped.all
    assert f"{B}: not finished before --stop-after; run it again" in stopped.stderr
    found = results(two / "dist")[B]
    assert (found["status"], found["failure"]["kind"]) == ("cancelled", "out-of-time")
    collect = ("collect", one, two, "--plan=plan.json")
    lacking = orchestrator(*collect, cwd=tmp_path, env=actions)
    assert lacking.code == 1, lacking.all
    assert f"::error file=matrix.toml,line=14,title={B}::out-of-time" in lacking.stderr
    assert [each.name[:10] for each in (tmp_path / "dist").glob("*.whl")] == ["tiny-1.0+a"]

    (tmp_path / "ready").touch()
    assert orchestrator(*build, B, cwd=two).code == 0
    done = orchestrator(*collect, cwd=tmp_path)

    assert done.code == 0, done.all
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 2
    document = json.loads((tmp_path / "dist" / "results.json").read_text())
    jsonschema.validate(document, json_schema("results"))
    assert [each["status"] for each in document["results"]] == ["ok", "ok"]
    assert "::error" not in done.stderr
