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
        # servers: cargo, git, curl, wget, go, node, apt, uv, urllib3
        (
            "  [6] Could not resolve hostname (Could not resolve host: crates.example)",
            "crates.example",
        ),
        ("  failed to download from `https://crates.example/config.json`", "crates.example"),
        (
            "fatal: unable to access 'https://github.com/x/y/': Failed to connect to github.com",
            "from github.com, which",
        ),
        ("ssh: Could not resolve hostname github.com: Name or service", "from github.com, which"),
        ("curl: (7) Failed to connect to x.org port 443 after 1 ms", "from x.org, which"),
        ("wget: unable to resolve host address 'x.org'", "from x.org, which"),
        ("dial tcp: lookup go.example on 1.1.1.1:53: no such host", "go.example"),
        ("Error: getaddrinfo EAI_AGAIN npm.example", "npm.example"),
        ("W: Temporary failure resolving 'deb.example'", "deb.example"),
        ("error sending request for url (https://static.rust-lang.org/x)", "static.rust-lang.org"),
        (
            "HTTPSConnectionPool(host='index.example', port=443): Max retries exceeded with url: /",
            "from index.example, which",
        ),
        # programs: distutils, subprocess, shells, setup scripts, meson, CMake, cargo
        ("error: command 'swig' failed: No such file or directory", "swig (apt)"),
        ("Could not run curl-config: [Errno 2] No such file or directory: 'curl-config'", "curl"),
        ("Running `gfortran -V` gave \"[Errno 2] No such file or directory: 'gfortran'\"", "gcc-g"),
        ("/bin/sh: 1: autoreconf: not found", "autoconf (apt)"),
        ("bash: line 1: bison: command not found", "bison (apt)"),
        ("Could not find `dot` executable!", "graphviz (apt)"),
        ("proj executable not found. Please set the PROJ_DIR variable.", "proj-bin (apt)"),
        ("../meson.build:1:0: ERROR: Program 'nasm' not found or not executable", "nasm (apt)"),
        ("  No CMAKE_Fortran_COMPILER could be found.", "gfortran (apt)"),
        ("Cargo, the Rust package manager, is not installed or is not on PATH.", "cargo (apt)"),
        ("error: can't find Rust compiler", "cargo (apt)"),
        ("  error: pkg-config probably not installed: FileNotFoundError(2)", "pkg-config (apt)"),
        ("cmake is not on PATH", "cmake (apt)"),
        ("WARNING: numpy is not installed", ""),
        ("geos failed: Pkg-config for machine host machine not found. Giving up.", "pkg-config"),
        # libraries that setup scripts look for
        ("The headers or library files could not be found for jpeg,", "libjpeg62-turbo-dev"),
        ("../numpy/meson.build:185:4: ERROR: No BLAS library detected! Install one", "openblas"),
        ("Command 'pkg-config --exists libmariadb' returned non-zero exit", "libmariadb-dev"),
        # modules
        ("ModuleNotFoundError: No module named 'numpy'", 'build.requires = ["numpy"]'),
        ("ModuleNotFoundError: No module named 'distutils'", 'build.requires = ["setuptools"]'),
        ("/x/bin/python: No module named yaml", 'build.requires = ["pyyaml"]'),
        ("ModuleNotFoundError: No module named 'demo.part'", ""),
        ("everything is fine", ""),
        ("cibuildwheel: error: Command ['python', '-m', 'build'] failed with code 1.", ""),
        ("fatal error: own/thing.h: No such file or directory", "own/thing.h"),
    ],
)
def test_what_is_missing_is_named_with_its_package(tmp_path: Path, line: str, lacks: str) -> None:
    said = hint(tmp_path, "gcc ...", line, "error: command failed")

    assert lacks in said
    assert (said == FAILED.hint) is not bool(lacks)


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("geos failed: Pkg-config for machine host machine not found. Giving up.", "pkg-config"),
        ("error: can't find Rust compiler", "cargo"),
        ("/bin/sh: 1: libtoolize: not found", "libtoolize"),
    ],
)
def test_a_program_has_the_name_that_starts_it(tmp_path: Path, line: str, program: str) -> None:
    assert f"the program {program} is missing" in hint(tmp_path, line)


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

    assert clues.step.lacks == ("header", "geos_c.h")


def test_a_known_package_counts_before_headers_that_are_missing_for_its_sake(
    tmp_path: Path,
) -> None:
    lines = ("Could not find geos-config executable.", "fatal error: numpy/x.h: No such file")

    assert "libgeos-dev" in hint(tmp_path, *lines)


def test_of_several_names_of_one_thing_the_known_one_counts(tmp_path: Path) -> None:
    said = "Command 'pkg-config --exists {}' returned non-zero exit status 1."
    tried = [said.format(name) for name in ("unheard", "libmariadb", "perconaserverclient")]

    assert "libmariadb-dev" in hint(tmp_path, *tried)


def test_a_server_may_be_named_before_it_is_not_reached(tmp_path: Path) -> None:
    lines = (
        "Downloading zlib into libs/x.tar.gz from https://zlib.net/zlib-1.3.2.tar.gz",
        "Download failed: <urlopen error [Errno -2] Name or service not known>, retrying",
    )

    assert "from zlib.net, which" in hint(tmp_path, *lines)
    assert "zlib.net" not in hint(tmp_path, lines[0])


def test_a_server_may_be_named_after_it_is_not_reached(tmp_path: Path) -> None:
    """A Python whose output is a pipe prints its traceback before what it printed first."""
    lines = (
        "urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>",
        "Downloading https://raw.example.org/x/LICENSE -> licenses/LICENSE",
        "see https://docs.example.org",
    )
    failure = replace(FAILED, kind=FailureKind.SETUP, step="before-all")

    assert "from raw.example.org, which" in hint(tmp_path, *lines, failure=failure)
    assert "docs.example.org" not in hint(tmp_path, *lines)


def test_a_program_that_cmake_can_do_without_is_not_what_is_missing(tmp_path: Path) -> None:
    assert hint(tmp_path, "-- Could NOT find Git (missing: GIT_EXECUTABLE)") == FAILED.hint
    assert hint(tmp_path, "FileNotFoundError: No such file or directory: 'README'") == FAILED.hint


OWN = ("src/x.c:1:10: fatal error: own/x.h: No such file", '    1 | #include "own/x.h"')


@pytest.mark.parametrize(
    "line",
    [
        "cc1: fatal error: /tmp/enscons/xxmodule.c: No such file or directory",
        "src/x.c:12:3: error: unknown type name 'uint'",
        "x.cu(3): error: expected a ;",
        "src/x.c:12:3: warning: error: none",
    ],
)
def test_the_first_error_of_a_compiler_is_quoted(tmp_path: Path, line: str) -> None:
    is_error = "warning" not in line
    said = hint(tmp_path, "gcc x.c", line, "x.c:14:1: error: second" if is_error else "fine")

    assert (line in said) is is_error
    assert is_error or said == FAILED.hint


_TRACEBACK = ("Traceback (most recent call last):", '  File "setup.py", line 3, in <module>')


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # coincurve 21 with a cffi that has its licence elsewhere
        (
            (*_TRACEBACK, "    raise E", "RuntimeError: Expected one LICENSE", "exit 1: python"),
            "one",
        ),
        (tuple(f"      {line}" for line in (*_TRACEBACK, "KeyError: 'name'", "[end]")), "'name'"),
        ((*_TRACEBACK, "a.b.BuildError: first", *_TRACEBACK, "ValueError: second"), "second"),
        (("error: Multiple top-level packages discovered", "x"), "Multiple top-level packages"),
        (("meson.build:12:0: ERROR: Need libfoo > 2", "A full log is there"), "Need libfoo > 2"),
        (
            ("CMake Error at CMakeLists.txt:12 (message):", "", "  Foo needs C++23"),
            "Foo needs C++23",
        ),
        (("CMake Error: The source directory is empty",), "directory is empty"),
        (("💥 maturin failed", "  Caused by: Couldn't find bindings"), "find bindings"),
        (("error[E0432]: unresolved import", "error: could not compile `x`"), "unresolved import"),
        (("ERROR Missing dependencies:", "\tpybind12>=2"), "pybind12>=2"),
    ],
)
def test_what_ends_a_build_is_quoted(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    assert said in hint(tmp_path, *lines)
    assert said not in hint(tmp_path, "x.c:1:2: error: 'y' undeclared", *lines)


def test_that_a_program_failed_is_no_reason(tmp_path: Path) -> None:
    said = "subprocess.CalledProcessError: Command 'cmake' returned 1"
    assert hint(tmp_path, *_TRACEBACK, said) == FAILED.hint
    assert hint(tmp_path, "error: command 'gcc' failed with exit code 1") == FAILED.hint


def test_a_header_that_the_sources_name_as_their_own_may_be_left_out(tmp_path: Path) -> None:
    assert hint(tmp_path, *OWN).startswith("the header own/x.h is missing: install the ")
    assert "or build from a checkout, as the sources include it" in hint(tmp_path, *OWN)
    for header, known in (("numpy/x.h", 'requires = ["numpy"]'), ("geos_c.h", "libgeos-dev")):
        assert known in hint(tmp_path, *(line.replace("own/x.h", header) for line in OWN))
    system = OWN[1].replace('"own/x.h"', "<own/x.h>")
    assert "checkout" not in hint(tmp_path, OWN[0], system)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'README.rst'", "README.rst"),
        ("  cause: File not found: requirements/x.txt", "requirements/x.txt"),
        (
            "Could not open requirements file: [Errno 2] No such file or directory: 'x/y.txt'",
            "x/y.txt",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'SOURCE/VERSION.txt'",
            "VERSION.txt",
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/etc/x.conf'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'there.txt'", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'program'", ""),
    ],
)
def test_a_build_that_reads_a_file_names_it(tmp_path: Path, line: str, name: str) -> None:
    (tmp_path / "there.txt").touch()
    said = hint(tmp_path, line)

    assert (f"the build names {name}, which the source does not have" in said) is bool(name)
    assert name or said == FAILED.hint


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
        # ijson
        (
            "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'a.txt'",
            "a.txt",
        ),
        ("error: File not found: `tests/a.txt`", "tests/a.txt"),
        ("E   AssertionError: 1 != 2", ""),
    ],
)
def test_a_test_that_needs_files_which_the_source_has_not(
    tmp_path: Path, line: str, name: str
) -> None:
    said = hint(tmp_path, line, failure=replace(FAILED, kind=FailureKind.TEST, step="test"))

    assert (f"names {name}, which" in said) is bool(name)
    assert ("test.command" in said) is bool(name)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["FAILED tests/test_x.py::test_y - assert 1"], "its test tests/test_x.py::test_y fails"),
        (
            ["FAIL: test_a (demo.test.t.T)", "FAIL: test_b (demo.test.t.T)", "FAIL: test_c (t.T)"],
            "its test test_a (demo.test.t.T) and 2 more fail",
        ),
        # What the failing tests themselves print is not why they fail.
        (["sh: 1: cannot open x: No such file", "FAILED t.py::x"], "its test t.py::x fails"),
        (["ModuleNotFoundError: No module named 'pytest'"], 'test.requires = ["pytest"]'),
        (["ERROR: tests (unittest.loader._FailedTest)", "No module named 'tests'"], "names tests,"),
        # rtree
        (["OSError: Could not find libspatialindex_c library file"], "libspatialindex-dev"),
        (["cat: /etc/redhat-release: No such file or directory"], FAILED.hint),
        (["FAILED", "ERROR: everything"], FAILED.hint),
    ],
)
def test_why_a_test_failed(tmp_path: Path, lines: list[str], said: str) -> None:
    failure = replace(FAILED, kind=FailureKind.TEST, step="test")

    assert said in hint(tmp_path, *lines, failure=failure)


def test_a_module_of_the_source_is_required_from_nowhere(tmp_path: Path) -> None:
    (tmp_path / "src" / "demo").mkdir(parents=True)

    assert hint(tmp_path, "ModuleNotFoundError: No module named 'demo'") == FAILED.hint


def test_a_module_whose_name_no_file_can_have_is_none(tmp_path: Path) -> None:
    for length in (256, 5000):
        line = f"ModuleNotFoundError: No module named '{'a' * length}'"
        for kind in (FailureKind.BUILD, FailureKind.TEST):
            failure = replace(FAILED, kind=kind)
            assert hint(tmp_path, line, failure=failure) == failure.hint


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("sh: 1: .github/workflows/x.sh: not found", ".github/workflows/x.sh"),
        ("bash: ./tools/x.sh: No such file or directory", "./tools/x.sh"),
        ("bash: SOURCE/tools/x.sh: No such file or directory", "tools/x.sh"),
        ("error: File not found: `requirements.txt`", "requirements.txt"),
        ("sh: 1: yum: not found", ""),  # what `setup_hint` is for
        ("cat: /etc/redhat-release: No such file or directory", ""),
    ],
)
def test_a_step_that_needs_files_which_the_source_has_not(
    tmp_path: Path, line: str, name: str
) -> None:
    failure = replace(FAILED, kind=FailureKind.SETUP, step="before-all")

    said = hint(tmp_path, line, failure=failure)

    assert (f"names {name}, which" in said and 'before-all = "true"' in said) is bool(name)
    assert (said == failure.hint) is not bool(name)


def test_a_step_that_prepares_is_told_what_has_the_program(tmp_path: Path) -> None:
    failure = replace(FAILED, kind=FailureKind.SETUP, step="before-build")

    assert "cmake (apt)" in hint(tmp_path, "sh: 1: cmake: not found", failure=failure)


def test_the_table_has_every_row_whole() -> None:
    rows = system_packages()

    assert len({each.apt for each in rows}) == len(rows)
    assert all(each.names and each.apk for each in rows)


def test_a_program_that_died_under_qemu_is_named_unless_something_is_missing(
    tmp_path: Path,
) -> None:
    died = "qemu: uncaught target signal 11 (Segmentation fault) - core dumped"
    missing = "x.c:1: fatal error: zlib.h: No such file or directory"

    assert "died under QEMU (Segmentation fault)" in hint(tmp_path, died, "make: *** [all] Error 1")
    assert "zlib" in hint(tmp_path, died, missing)


PURE = replace(FAILED, kind=FailureKind.PURE_WHEEL, hint="needs no matrix")


def test_a_pure_wheel_may_have_left_out_what_did_not_compile(tmp_path: Path) -> None:
    line = "version.c:2:18: fatal error: yajl/yajl_version.h: No such file or directory"

    said = hint(tmp_path, line, failure=PURE)
    assert said.startswith("perhaps the project left its compiled code out, because the header")
    assert "libyajl-dev (apt)" in said
    assert hint(tmp_path, "running build_py", failure=PURE) == "needs no matrix"


HEADER = "yaml/_yaml.h:2:10: fatal error: yaml.h: No such file or directory"
WENT_ON = (
    "Error compiling module, falling back to pure Python",
    "warning: build_ext: building extension \"demo.fast\" failed: command 'gcc' failed with 1",
    "build optional Rust extension demo.fast failed",
    "WARNING: The C extension could not be compiled, speedups are not enabled.",
    "* Couldn't install with extension module, trying without it...",
    "WARNING: The bson._cbson extension module could not be compiled. No C extensions are",
    "The Cython code couldn't be built: falls back to plain Python",
)
TEST = replace(FAILED, kind=FailureKind.TEST, step="test")
REPAIR = replace(FAILED, kind=FailureKind.REPAIR, step="repair")
NO_CODE = "This does not look like a platform wheel, no ELF executable or shared library file"


def after_build(tmp_path: Path, built: list[str], failure: Failure, *lines: str) -> str:
    """Return the hint of a failure after a build that ended well and printed some lines."""
    clues = Clues()
    clues.begin_step("setup")
    clues.hear("fatal error: setup.h: No such file or directory")
    for step, said in {"build": built, failure.step: [*built, *lines]}.items():
        clues.begin_step(step)
        for line in said if step == "build" else lines:
            clues.hear(line)
    return with_clue(failure, clues, TARGET, source=tmp_path, in_container=True).hint


@pytest.mark.parametrize("line", [HEADER, *WENT_ON])
def test_a_later_step_says_what_the_build_left_out(tmp_path: Path, line: str) -> None:
    failed = "FAILED tests/test_fast.py::test_it - AssertionError"
    sign = "yaml.h is missing" if line is HEADER else line[:30]
    for failure, said in ((PURE, ""), (REPAIR, NO_CODE), (TEST, ""), (TEST, failed)):
        assert sign in after_build(tmp_path, [line], failure, said).replace("\\", "")
    assert after_build(tmp_path, [line], REPAIR, "patchelf: no") == REPAIR.hint
    assert "test_it fails" in after_build(tmp_path, [line], TEST, failed)


def test_a_build_that_compiled_everything_left_nothing_out(tmp_path: Path) -> None:
    fine = ["-- Could NOT find Doxygen", "sh: 1: ccache: not found", "extension demo was built"]

    assert after_build(tmp_path, fine, TEST) == TEST.hint
    assert after_build(tmp_path, ["gcc -c x.c"], PURE) == PURE.hint


def test_a_test_that_downloads_names_the_server(tmp_path: Path) -> None:
    line = "HTTPSConnectionPool(host='data.example.org', port=443): Max retries exceeded"

    assert "the test downloads from data.example.org" in hint(tmp_path, line, failure=TEST)


def test_another_image_than_manylinux_may_have_apt(tmp_path: Path) -> None:
    clues = Clues()
    clues.hear(HEADER)
    own = replace(TARGET, image="localhost/debian:12")
    said = with_clue(FAILED, clues, own, source=tmp_path, in_container=True).hint

    assert "{ apt-get update && apt-get install -y libyaml-dev; }" in said
    assert "apt-get" not in hint(tmp_path, HEADER)


@pytest.mark.parametrize(("inside", "where"), [(True, "in build.before-all"), (False, "on this")])
def test_what_nobody_knows_is_installed_where_the_build_runs(
    tmp_path: Path, *, inside: bool, where: str
) -> None:
    for line in ("a.c:1: fatal error: own.h: No such file", "ld: cannot find -lvery_own"):
        assert where in hint(tmp_path, line, inside=inside)


@pytest.mark.parametrize(
    "line",
    [
        "g++: fatal error: Killed signal terminated program cc1plus",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
        "nvcc error   : 'cicc' died due to signal 9 (Kill signal)",
        "  process didn't exit successfully: `rustc --crate-name x` (signal: 9, SIGKILL: kill)",
        "clang: error: unable to execute command: Killed",
        "Killed",
        "/bin/sh: line 1: 4711 Killed                  g++ -c x.cpp",
        "cc1plus: out of memory allocating 65536 bytes after a total of 1 bytes",
        "virtual memory exhausted: Cannot allocate memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "subprocess.CalledProcessError: Command '['ninja']' died with <Signals.SIGKILL: 9>.",
    ],
)
def test_a_build_that_ran_out_of_memory_says_so(tmp_path: Path, line: str) -> None:
    found = with_memory(tmp_path, "gcc -c x.c", line, "error: command 'g++' failed")

    assert found.kind is FailureKind.MEMORY
    assert found.message == f"memory ran out: {line.strip()}"
    assert "resources.memory-per-job" in found.hint


@pytest.mark.parametrize(
    "line",
    ["x.cpp:1: note: may throw std::bad_alloc", "class MemoryError: pass", "Killed: 0", "# Killed"],
)
def test_words_about_memory_are_no_want_of_it(tmp_path: Path, line: str) -> None:
    assert with_memory(tmp_path, line, "error: command 'g++' failed").kind is FailureKind.BUILD


def with_memory(tmp_path: Path, *lines: str) -> Failure:
    clues = Clues()
    for line in lines:
        clues.hear(line)
    return with_clue(FAILED, clues, TARGET, source=tmp_path, in_container=False)
