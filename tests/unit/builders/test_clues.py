"""Lines of compilers, linkers, build systems and test runners that say what a build lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.builders.clues import Clues, with_clue
from orchestrator.builders.system_packages import system_packages
from orchestrator.models.platforms import Libc
from orchestrator.models.result import Failure, FailureKind
from tests.factories import TARGET

FAILED = Failure(kind=FailureKind.BUILD, step="build", message="no", hint="the log")


def hint(
    tmp_path: Path,
    *lines: str,
    failure: Failure = FAILED,
    libc: Libc = Libc.MANYLINUX,
    inside: bool = True,
) -> str:
    """Return the hint of a failure after some lines."""
    target = replace(TARGET, libc=libc)
    clues = Clues()
    for line in lines:
        clues.hear(line.replace("SOURCE", str(tmp_path)))
    return with_clue(failure, clues, target, source=tmp_path, in_container=inside).hint


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        # lxml
        (
            "src/lxml/etree.c:277:10: fatal error: libxml/xpath.h: No such file or directory",
            "libxml2-dev",
        ),
        (
            "Error: Please make sure the libxml2 and libxslt development packages are installed.",
            "libxml2-dev",
        ),
        ("/bin/sh: 1: xslt-config: not found", "libxslt1-dev"),
        # shapely, h5py
        ("src/x.c:9:10: fatal error: geos_c.h: No such file or directory", "libgeos-dev"),
        ("geos-config: command not found", "libgeos-dev"),
        (
            "error: Unable to load dependency HDF5, make sure HDF5 is installed properly",
            "libhdf5-dev",
        ),
        (
            "error: libhdf5.so: cannot open shared object file: No such file or directory",
            "libhdf5-dev",
        ),
        ("Could not find geos-config executable. Either append the path to", "libgeos-dev"),
        ("x.cpp:1: fatal error: pybind11/pybind11.h: No such file", 'requires = ["pybind11"]'),
        ("x.cpp:1: fatal error: ATen/ATen.h: No such file", 'requires = ["torch"]'),
        # clang, linkers
        ("./x.c:1:10: fatal error: 'openssl/ssl.h' file not found", "libssl-dev"),
        ("/usr/bin/ld: cannot find -lxml2: No such file or directory", "libxml2-dev"),
        ("ld.lld: error: unable to find library -lz", "zlib1g-dev"),
        ("error: unable to find dynamic system library 'ffi' using strategy", "libffi-dev"),
        # build systems
        (
            '../meson.build:3:6: ERROR: Dependency "cairo" not found, tried pkgconfig and cmake',
            "libcairo2-dev",
        ),
        ("No package 'libffi' found", "libffi-dev"),
        ("Package 'openssl', required by 'virtual:world', not found", "libssl-dev"),
        ("-- Could NOT find HDF5 (missing: HDF5_LIBRARIES)", "libhdf5-dev"),
        ("-- Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)", ""),
        ("Error: pg_config executable not found.", "libpq-dev"),
        ("everything is fine", ""),
        ("fatal error: own/thing.h: No such file or directory", "own/thing.h"),
    ],
)
def test_what_is_missing_is_named_with_its_package(tmp_path: Path, line: str, lacks: str) -> None:
    said = hint(tmp_path, "gcc ...", line, "error: command failed")

    assert lacks in said
    assert (said == FAILED.hint) is not bool(lacks)


def test_the_package_has_a_name_for_each_manager(tmp_path: Path) -> None:
    line = "fatal error: libxml/xpath.h: No such file or directory"

    assert "libxml2-dev (apt), libxml2-devel (dnf, yum) or libxml2-dev (apk)" in (
        hint(tmp_path, line, inside=False)
    )
    assert "apk add libxml2-dev" in hint(tmp_path, line, libc=Libc.MUSLLINUX)
    assert "dnf install -y libxml2-devel" in hint(tmp_path, line)


def test_a_compiler_counts_before_a_package_that_was_looked_for() -> None:
    clues = Clues()
    for line in (
        "x.c: fatal error: linux/ethtool.h: No such file or directory",
        "x.c:1: fatal error: geos_c.h: No such file or directory",
        "-- Could NOT find OpenSSL",
    ):
        clues.hear(line)

    assert clues.lacks == ("header", "geos_c.h")


def test_a_known_package_counts_before_headers_that_are_missing_for_its_sake(
    tmp_path: Path,
) -> None:
    lines = ("Could not find geos-config executable.", "fatal error: numpy/x.h: No such file")

    assert "libgeos-dev" in hint(tmp_path, *lines)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        # httptools
        (
            "python: can't open file '/project/tests/__init__.py': [Errno 2] No such file",
            "tests/__init__.py",
        ),
        ("python: can't open file 'SOURCE/tests/x.py': [Errno 2]", "tests/x.py"),
        ("ERROR: file or directory not found: /project/tests", "tests"),
        ("ImportError: Start directory is not importable: '/project/tests'", "tests"),
        ("make: *** No rule to make target 'testinstalled'.  Stop.", "testinstalled"),
        (
            "bash: /project/tools/wheels/x.sh: No such file or directory",
            "tools/wheels/x.sh",
        ),
        ("sh: 1: cannot open /project/run.sh: No such file", "run.sh"),
        ("sh: 1: cd: can't cd to /project/tests", "tests"),
        ("E   AssertionError: 1 != 2", ""),
    ],
)
def test_a_test_that_needs_files_which_the_source_has_not(
    tmp_path: Path, line: str, name: str
) -> None:
    said = hint(tmp_path, line, failure=replace(FAILED, kind=FailureKind.TEST, step="test"))

    assert (f"names {name}, which" in said) is bool(name)
    assert ("test.command" in said) is bool(name)


def test_the_table_has_every_row_whole() -> None:
    rows = system_packages()

    assert len({each.apt for each in rows}) == len(rows)
    assert all(each.headers and each.names and each.apk for each in rows)
