"""Libraries that feed a wheel, and a wheel for the stable ABI, on this host without an engine."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision import pythons
from tests import demo
from tests.conftest import MACHINE, TAG, log_of, orchestrator, results
from tests.factories import edit

pytestmark = pytest.mark.index

WHEEL = f"abi3-{TAG}-manylinux_{MACHINE}"
LIBRARIES = [f"core-manylinux_{MACHINE}-{number}" for number in (1, 2)]


def built(place: Path, *options: str, code: int = 0) -> dict[str, Any]:
    orchestrator("build", "--backend", "direct", *options, cwd=place, code=code)
    return results(place / "dist")


def test_libraries_are_built_once_and_go_into_the_wheel(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    planned = orchestrator("plan", "--format", "ids", cwd=tmp_path)
    assert planned.stdout.split() == [*LIBRARIES, WHEEL]

    found = built(tmp_path, "--select", WHEEL, "-j2")

    assert sorted(found) == sorted([*LIBRARIES, WHEEL])
    name = found[WHEEL]["wheel"]["filename"]
    assert re.match(rf"fanin-1\.0-{TAG}-abi3-", name)
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

    built(tmp_path)

    log = log_of(tmp_path, WHEEL)
    tested = re.findall(r"^tested with \(3, (\d+)\)", log, re.MULTILINE)
    first = int(TAG.removeprefix("cp3"))
    later = [str(minor) for minor in range(first + 1, 16) if is_here(f"cp3{minor}")]
    assert tested == [str(first), *later]
    prepared = re.findall(
        r"^(\d+) .*/environments/\w+-\w+-cp3(\d+)-\w+/site/six", log, re.MULTILINE
    )
    assert prepared == [(each, each) for each in tested]


def test_the_pip_of_an_old_python_does_not_install_for_later_ones(tmp_path: Path) -> None:
    """That of Python 3.8 does not run on 3.12."""
    oldest = next(f"cp3{minor}" for minor in range(8, 16) if is_here(f"cp3{minor}"))
    floor = f"0x03{int(oldest[3:]):02x}0000"
    demo.write(tmp_path, arch=MACHINE, tag=oldest, floor=floor)

    (result,) = (each for each in built(tmp_path).values() if "abi3" in each["id"])

    assert result["status"] == "ok"
    assert "testing with cp311" in log_of(tmp_path, result["id"])


def test_a_library_that_fails_takes_only_its_wheels_along(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    edit(tmp_path / "matrix.toml", "-DNUMBER={number}", "-DNUMBER=$(")

    found = built(tmp_path, code=1)

    assert [found[each]["failure"]["kind"] for each in LIBRARIES] == ["build", "build"]
    assert found[WHEEL]["failure"]["kind"] == "needs"
    # Both are built at once, and either may be the first that fails.
    assert any(each in found[WHEEL]["failure"]["message"] for each in LIBRARIES)


def test_outputs_that_are_not_there_are_named(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    edit(tmp_path / "matrix.toml", '"fanin/lib*.so"', '"fanin/*.dll"')

    found = built(tmp_path, "--select", LIBRARIES[0], code=1)

    assert "no file that matches 'fanin/*.dll'" in found[LIBRARIES[0]]["failure"]["message"]


def test_a_wheel_that_is_not_for_the_planned_abi_is_refused(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    setup = tmp_path / "project" / "setup.py"
    lines = setup.read_text().splitlines(keepends=True)
    setup.write_text("".join(line for line in lines if "imited_api" not in line.lower()))

    found = built(tmp_path, code=5)

    assert f"planned {TAG}-abi3" in found[WHEEL]["failure"]["message"]


def test_a_baseline_that_the_wheel_does_not_keep_is_refused(tmp_path: Path) -> None:
    demo.write(tmp_path, arch=MACHINE)
    edit(tmp_path / "matrix.toml", "[images]", 'libc = ["manylinux_2_17"]\n\n[images]')
    # arc4random is as new as glibc 2.36.
    (tmp_path / "project" / "core.c").write_text(
        "#include <stdlib.h>\nint answer(void) { return arc4random() ? NUMBER : NUMBER; }\n"
    )

    found = built(tmp_path, code=5)

    message = found[f"abi3-{TAG}-manylinux_2_17_{MACHINE}"]["failure"]["message"]
    assert "planned for manylinux 2.17, it needs manylinux 2.36" in message
