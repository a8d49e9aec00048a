"""Libraries that feed a wheel, and a wheel for the stable ABI, on this host without an engine."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision import pythons
from tests import demo
from tests.conftest import orchestrator, results

pytestmark = pytest.mark.index

MACHINE = os.uname().machine
WHEEL = f"abi3-{demo.TAG}-manylinux_{MACHINE}"
LIBRARIES = [f"core-manylinux_{MACHINE}-{number}" for number in (1, 2)]


def test_libraries_are_built_once_and_go_into_the_wheel(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    planned = orchestrator("plan", "--format", "ids", cwd=tmp_path)
    assert planned.stdout.split() == [*LIBRARIES, WHEEL]

    said = orchestrator("build", "--backend", "direct", "--select", WHEEL, "-j2", cwd=tmp_path)

    assert said.code == 0, said.all
    found = results(tmp_path / "dist")
    assert sorted(found) == sorted([*LIBRARIES, WHEEL])
    name = found[WHEEL]["wheel"]["filename"]
    assert re.match(rf"fanin-1\.0-{demo.TAG}-abi3-", name)
    with zipfile.ZipFile(tmp_path / "dist" / name) as wheel:
        assert {"fanin/lib1.so", "fanin/lib2.so"} <= set(wheel.namelist())
    assert list((tmp_path / "dist").glob("*.whl")) == [tmp_path / "dist" / name]


def is_here(python: str) -> bool:
    try:
        pythons.find(python, environ=os.environ)
    except EnvironmentProblemError:
        return False
    return True


def test_an_abi3_wheel_is_tested_on_every_later_python_of_this_machine(tmp_path: Path) -> None:
    """Each of them gets what the test requires from an environment of its own in the cache."""
    demo.write(tmp_path, arch=MACHINE)
    matrix = (tmp_path / "matrix.toml").read_text()
    before = "python -c 'import six, sys; print(sys.version_info[1], six.__file__)' && python"
    test = matrix.replace('"python {', f'"{before} {{').replace(
        "[test]", '[build]\nconstraints = ["setuptools<90"]\n[test]\nrequires = ["six==1.16.0"]'
    )
    (tmp_path / "matrix.toml").write_text(test)

    said = orchestrator("build", "--backend", "direct", cwd=tmp_path)

    assert said.code == 0, said.all
    log = (tmp_path / ".orchestrator" / "logs" / f"{WHEEL}.log").read_text()
    tested = re.findall(r"^tested with \(3, (\d+)\)", log, re.MULTILINE)
    first = int(demo.TAG.removeprefix("cp3"))
    later = [str(minor) for minor in range(first + 1, 16) if is_here(f"cp3{minor}")]
    assert tested == [str(first), *later]
    prepared = re.findall(
        r"^(\d+) .*/environments/\w+-\w+-cp3(\d+)-\w+/site/six", log, re.MULTILINE
    )
    assert prepared == [(each, each) for each in tested]


def test_a_library_that_fails_takes_only_its_wheels_along(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    text = (tmp_path / "matrix.toml").read_text()
    (tmp_path / "matrix.toml").write_text(text.replace("-DNUMBER={number}", "-DNUMBER=$("))

    said = orchestrator("build", "--backend", "direct", cwd=tmp_path)

    assert said.code == 1, said.all
    found = results(tmp_path / "dist")
    assert [found[each]["failure"]["kind"] for each in LIBRARIES] == ["build", "build"]
    assert found[WHEEL]["failure"]["kind"] == "needs"
    assert LIBRARIES[0] in found[WHEEL]["failure"]["message"]


def test_outputs_that_are_not_there_are_named(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    text = (tmp_path / "matrix.toml").read_text()
    (tmp_path / "matrix.toml").write_text(text.replace('"fanin/lib*.so"', '"fanin/*.dll"'))

    said = orchestrator("build", "--backend", "direct", "--select", LIBRARIES[0], cwd=tmp_path)

    assert said.code == 1, said.all
    failure = results(tmp_path / "dist")[LIBRARIES[0]]["failure"]
    assert "no file that matches 'fanin/*.dll'" in failure["message"]


def test_a_wheel_that_is_not_for_the_planned_abi_is_refused(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    setup = tmp_path / "project" / "setup.py"
    lines = setup.read_text().splitlines(keepends=True)
    setup.write_text("".join(line for line in lines if "imited_api" not in line.lower()))

    said = orchestrator("build", "--backend", "direct", cwd=tmp_path)

    assert said.code == 5, said.all
    message = results(tmp_path / "dist")[WHEEL]["failure"]["message"]
    assert f"planned {demo.TAG}-abi3" in message


def test_a_baseline_that_the_wheel_does_not_keep_is_refused(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    matrix = tmp_path / "matrix.toml"
    text = matrix.read_text().replace("[images]", 'libc = ["manylinux_2_17"]\n\n[images]')
    matrix.write_text(text)
    # arc4random is as new as glibc 2.36.
    (tmp_path / "project" / "core.c").write_text(
        "#include <stdlib.h>\nint answer(void) { return arc4random() ? NUMBER : NUMBER; }\n"
    )

    said = orchestrator("build", "--backend", "direct", cwd=tmp_path)

    assert said.code == 5, said.all
    wheel = f"abi3-{demo.TAG}-manylinux_2_17_{MACHINE}"
    message = results(tmp_path / "dist")[wheel]["failure"]["message"]
    assert "planned for manylinux 2.17, it needs manylinux 2.36" in message
