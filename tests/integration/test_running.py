"""Runs with real builds on this host: shares, limits, attempts, what is shown."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import orchestrator, results
from tests.factories import project_file

pytestmark = pytest.mark.index

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
MACHINE = os.uname().machine
ID = f"{TAG}-manylinux_{MACHINE}"

SETUP = project_file("running/setup.py")

PYPROJECT = project_file("running/pyproject.toml")

MATRIX = project_file("running/matrix.toml")

FLAKY = """\
[[override]]
when = { kind = "b" }
[override.build]
before-build = "test -e %s || { touch %s; echo 'curl: (28) Operation timed out' >&2; exit 28; }"
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "setup.py").write_text(SETUP)
    (project / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def write(place: Path, more: str) -> None:
    text = MATRIX.format(tag=TAG, machine=MACHINE)
    (place / "matrix.toml").write_text(text + more)


def build(place: Path, *options: str) -> tuple[int, str]:
    said = orchestrator("build", "--backend", "direct", *options, cwd=place)
    return said.code, said.stderr


def log(place: Path, kind: str) -> str:
    return (place / f".orchestrator/logs/{ID}-{kind}.log").read_text()


def told(place: Path, kind: str) -> str:
    (*_, last) = re.finditer(r"(?m)^ *told (.*)$", log(place, kind))
    return last[1]


def test_builds_are_told_their_share_and_what_failed_for_the_moment_is_tried_again(
    tiny: Path,
) -> None:
    mark = tiny / "mark"
    settings = '[run]\ncpus = 8\nmemory = "32 GiB"\n'
    settings += '[env]\nNVCC_THREADS = "2"\nMINE = { shell = "-j$MAX_JOBS" }\n'
    write(tiny, settings + FLAKY % (mark, mark))
    code, said = build(tiny, "-j2")

    assert code == 0, said
    share = "MAX_JOBS=2 NVCC_THREADS=2 CMAKE_BUILD_PARALLEL_LEVEL=2 CARGO_BUILD_JOBS=7 MINE=-j2"
    assert told(tiny, "a") == told(tiny, "b") == share
    assert "up to 2 targets at once, together 8 CPUs and 32.0 GiB" in said
    assert f"{ID}-b: attempt 1 failed: before-build failed" in said
    first, second = log(tiny, "b").split("==== attempt 2\n")
    assert "curl: (28) Operation timed out" in first
    assert "told " in second

    # Other shares are the same request; and now it is known how long it takes.
    keys = {name: each["key"] for name, each in results(tiny / "dist").items()}
    code, said = build(tiny, "-j1", "--select", "*-a")
    assert code == 0, said
    assert told(tiny, "a").startswith("MAX_JOBS=4 ")
    assert re.search(rf"{ID}-a: started \(about \d+:\d\d\)", said), said
    assert {name: each["key"] for name, each in results(tiny / "dist").items()} == keys


def test_a_step_has_a_limit_of_its_own_and_quiet_tells_only_what_fails(tiny: Path) -> None:
    limits = "[build]\ntimeout = 600\ntimeouts = { before-build = 1 }\n"
    limits += '[[override]]\nwhen = { kind = "b" }\nbuild = { before-build = "sleep 600" }\n'
    write(tiny, limits)
    code, said = build(tiny, "-j2", "-q")

    assert code == 1, said
    found = results(tiny / "dist")
    assert found[f"{ID}-a"]["status"] == "ok", "its before-build takes no second"
    failure = found[f"{ID}-b"]["failure"]
    assert (failure["kind"], failure["step"]) == ("timeout", "before-build")
    assert "the 1 s of build.timeouts.before-build" in failure["message"]
    assert f"{ID}-a: " not in said
    assert "+ sh -c sleep 600" in said, "the end of its log is shown"
