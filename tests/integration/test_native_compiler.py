"""The program that native compilers are called through, with this host's gcc behind it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cross.driver import Driver, make
from orchestrator.models.platforms import Arch
from orchestrator.models.target import CompilerKind
from tests.conftest import Said, ran
from tests.factories import program

C = "#include <which.h>\nint main(void) { return WHICH; }\n"
CXX = "#include <which.h>\nint x = WHICH;\n"


@pytest.fixture
def links(driver: Path, tmp_path: Path) -> Path:
    """Links to it, with one directory of headers for C and another for C++."""
    for language in ("c", "c++"):
        folder = tmp_path / language
        folder.mkdir()
        (folder / "which.h").write_text(f"#define WHICH {len(language)}\n")
    own = program(tmp_path / "own", 'echo "own $*"')
    calls = Driver(
        compiler=CompilerKind.GCC,
        arch=Arch.X86_64,
        tools=(("cc", (str(shutil.which("gcc")),)), ("c++", (str(shutil.which("g++")),))),
        first=("-nostdinc",),
        headers=(
            ("C_INCLUDE_PATH", str(tmp_path / "c")),
            ("CPLUS_INCLUDE_PATH", f"{tmp_path / 'c++'}:{tmp_path / 'c'}"),
        ),
        own=tuple((name, str(own)) for name in ("cc", "g++", "aarch64-linux-gnu-gcc")),
        log=str(tmp_path / "log"),
    )
    return make(tmp_path / "links", calls, driver)


Call = Callable[..., Said]


@pytest.fixture
def call(links: Path, tmp_path: Path) -> Call:
    def run(name: str, *arguments: str, **env: str) -> Said:
        return ran(links / name, *arguments, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", **env})

    return run


def test_each_language_has_its_own_headers(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(C)
    (tmp_path / "a.cpp").write_text(CXX)

    assert call("cc", "-E", "-P", "a.c").stdout.splitlines()[-1] == "int main(void) { return 1; }"
    assert call("cc", "-E", "-P", "a.cpp").stdout.splitlines()[-1] == "int x = 3;"
    assert call("g++", "-E", "-P", "a.c").stdout.splitlines()[-1] == "int main(void) { return 3; }"
    without = call("g++", "-nostdinc++", "-E", "-P", "a.cpp")
    assert without.stdout.splitlines()[-1] == "int x = 1;"
    assert "no include path in which to search" in call("cc", "-nostdinc", "-E", "-P", "a.c").stderr


def test_what_the_caller_names_comes_first(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(C)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/which.h").write_text("#define WHICH 9\n")

    said = call("cc", "-E", "-P", "a.c", C_INCLUDE_PATH=str(tmp_path / "mine"))

    assert said.stdout.splitlines()[-1] == "int main(void) { return 9; }"


def test_it_compiles_and_links(call: Call, tmp_path: Path) -> None:
    (tmp_path / "with space.c").write_text(C)
    (tmp_path / "arguments").write_text('"with space.c" -o "made by it"\n')

    assert call("aarch64-linux-gnu-gcc", "@arguments").code == 0
    ran(tmp_path / "made by it", code=1)
    assert (tmp_path / "log").read_text() == "native\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("-dumpmachine",),
        ("--version",),
        ("-v",),
        ("-print-file-name=libstdc++.so",),
        ("-c", "a.f90"),
        ("-x", "f95", "-c", "a"),
        ("-march=native", "-c", "a.c"),
        ("-fplugin=x.so", "-c", "a.c"),
    ],
)
def test_what_is_not_its_affair_is_left_to_the_images_own_compiler(
    call: Call, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    said = call("cc", *arguments)

    assert said.stdout == f"own {' '.join(arguments)}\n"
    assert (tmp_path / "log").read_text().splitlines()[-1] == "own"


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (("-c", "-D__CUDACC__", "a.c"), "CUDA"),
        (("a.a1-cgu.0.rcgu.o",), "Rust"),
        (("-c", "a.f90"), "Fortran"),
        (("a.o", "-lgfortran"), "Fortran"),
    ],
)
def test_the_log_names_other_languages_whose_compilers_call_it(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], who: str
) -> None:
    call("cc", *arguments)
    assert (tmp_path / "log").read_text().splitlines()[0] == who


def test_errors_are_those_of_the_compiler(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return missing; }\n")
    plain = ran("gcc", "-c", "bad.c", cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})

    assert call("cc", "-c", "bad.c") == plain


def test_a_driver_without_a_program_of_that_name_says_so(driver: Path, tmp_path: Path) -> None:
    own = (("cc", "/bin/true"),)
    calls = Driver(compiler=CompilerKind.GCC, arch=Arch.AARCH64, tools=(), own=own)
    folder = make(tmp_path / "links", calls, driver)

    assert "no program for cc" in ran(folder / "cc", "a.c", code=1).stderr
