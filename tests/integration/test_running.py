"""Runs with real builds on this host: shares, limits, attempts, what is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import MACHINE, TAG, build_soon, log_of, orchestrator, results
from tests.factories import write_project

pytestmark = pytest.mark.index

ID = f"{TAG}-manylinux_{MACHINE}"

FLAKY = """\
[[override]]
when = { kind = "b" }
[override.build]
before-build = "test -e %s || { touch %s; echo 'curl: (28) Operation timed out' >&2; exit 28; }"
"""


def build(place: Path, *options: str, code: int = 0) -> str:
    return orchestrator("build", "--backend", "direct", *options, cwd=place, code=code).stderr


def told(place: Path, kind: str) -> str:
    (*_, last) = re.finditer(r"(?m)^ *told (.*)$", log_of(place, f"{ID}-{kind}"))
    return last[1]


def test_builds_are_told_their_share_and_what_failed_for_the_moment_is_tried_again(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "mark"
    settings = '[run]\ncpus = 8\nmemory = "32 GiB"\n'
    settings += '[env]\nNVCC_THREADS = "2"\nMINE = { shell = "-j$MAX_JOBS" }\n'
    write_project(tmp_path, "running", settings + FLAKY % (mark, mark))
    said = build(tmp_path, "-j2")

    half, whole = (
        f"MAX_JOBS={n} NVCC_THREADS=2 CMAKE_BUILD_PARALLEL_LEVEL={n} CARGO_BUILD_JOBS=7 MINE=-j{n}"
        for n in (2, 4)
    )
    assert told(tmp_path, "a") == half
    # At its second attempt the other may have ended, which leaves it all there is.
    assert told(tmp_path, "b") in {half, whole}
    assert "up to 2 targets at once, together 8 CPUs and 32.0 GiB" in said
    assert f"{ID}-b: attempt 1 failed: before-build failed" in said
    first, second = log_of(tmp_path, f"{ID}-b").split("==== attempt 2\n")
    assert "curl: (28) Operation timed out" in first
    assert "told " in second

    # Other shares are the same request; and now it is known how long it takes.
    keys = {name: each["key"] for name, each in results(tmp_path / "dist").items()}
    said = build(tmp_path, "-j1", "--select", "*-a")
    assert told(tmp_path, "a").startswith("MAX_JOBS=4 ")
    assert re.search(rf"\[1/1\] ok +\d+:\d\d +{ID}-a", said), said
    assert {name: each["key"] for name, each in results(tmp_path / "dist").items()} == keys


def test_a_compiler_that_the_kernel_ends_is_tried_again_with_fewer_beside_it(
    tmp_path: Path,
) -> None:
    kill, flags = tmp_path / "kill.sh", tmp_path / "flags.sh"
    kill.write_text("#!/bin/sh\nkill -9 $$\n")
    kill.chmod(0o755)
    # gcc starts its compiler by this program, as long as two may run.
    flags.write_text(f'[ "$MAX_JOBS" = 1 ] || echo -wrapper {kill}\n')
    settings = '[run]\ncpus = 2\nmemory = "8 GiB"\nretries = 0\n'
    settings += f'[env]\nCFLAGS = {{ shell = "$(sh {flags})" }}\n'
    write_project(tmp_path, "running", settings)
    said = build(tmp_path, "-j1", "--select", "*-a")

    assert f"{ID}-a: attempt 1 failed: memory ran out: " in said
    first, second = log_of(tmp_path, f"{ID}-a").split("==== attempt 2\n")
    assert "Killed signal terminated program" in first
    assert "told MAX_JOBS=2 " in first
    assert "told MAX_JOBS=1 " in second
    assert results(tmp_path / "dist")[f"{ID}-a"]["attempts"] == 2


def test_a_step_has_a_limit_of_its_own_and_quiet_tells_only_what_fails(tmp_path: Path) -> None:
    limits = "[build]\ntimeout = 600\ntimeouts = { before-build = 1 }\n"
    limits += '[[override]]\nwhen = { kind = "b" }\nbuild = { before-build = "sleep 600" }\n'
    write_project(tmp_path, "running", limits)
    said = build(tmp_path, "-j2", "-q", code=1)

    found = results(tmp_path / "dist")
    assert found[f"{ID}-a"]["status"] == "ok", "its before-build takes no second"
    failure = found[f"{ID}-b"]["failure"]
    assert (failure["kind"], failure["step"]) == ("timeout", "before-build")
    assert "the 1 s of build.timeouts.before-build" in failure["message"]
    assert f"{ID}-a" not in said
    assert "+ sh -c sleep 600" in said, "the end of its log is shown"


def test_a_step_that_waits_is_named_with_what_it_waits_for(tmp_path: Path) -> None:
    write_project(tmp_path, "running", "[build]\nbefore-build = 'sleep 3; echo on; sleep 3'\n")
    said = build_soon(tmp_path, "--backend=direct", "--select=*-a", "-j1")

    line = "has printed nothing and used no processor for"
    assert f"{ID}-a: before-build {line} 1 s: sh -c sleep 3" in said
    assert said.count(line) == 4, "at one and two seconds, before and after it moved"
    assert said.count("before-build moves again, after 3 s") == 2, "also by its end"
    assert re.search(
        rf"(?m)^# {line} 1 s.*\n#   \d+ sh -c .*\n#     \d+ sleep 3: ", log_of(tmp_path)
    )
