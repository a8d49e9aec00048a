"""The compiled driver: what becomes of a compiler's arguments on their way to zig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.builders import direct_zig
from orchestrator.cross.driver import Driver, ZigPaths, make, zig_driver, zig_target
from orchestrator.models.platforms import Arch
from tests.conftest import Said, ran

SCRIPT = r"""printf '%s\n' "$@"; for each; do case $each in """
SCRIPT += '-Wl,--version-script,/proc/*) cat "${each##*,}";; esac; done'
SHOW = ("/bin/sh", "-c", SCRIPT, "sh")
"""Stands in for zig: says what it was called with, a line for each argument, and the version
script that was made for it."""

Call = Callable[..., Said]

PLACES = ZigPaths(root=Path("/zig"), cache=Path("/cache"), scratch=Path("/scratch"))


@pytest.fixture
def call(driver: Path, tmp_path: Path) -> Call:
    """Call the driver for an architecture under a name."""

    def call(
        *arguments: str,
        arch: Arch = Arch.AARCH64,
        name: str = "cc",
        drop_below: tuple[str, ...] = (),
    ) -> Said:
        plain = zig_driver(arch, "2.17", PLACES, native=arch is Arch.X86_64)
        tools = tuple((tool, (*SHOW, tool)) for tool, _ in plain.tools)
        bare = replace(plain, tools=tools, first=(), link=(), drop_below=drop_below)
        folder = tmp_path / f"{arch}{len(list(tmp_path.iterdir()))}"
        make(folder, bare, driver)
        return ran(folder / name, *arguments, cwd=tmp_path)

    return call


def passed(said: Said) -> list[str]:
    assert said.code == 0, said.all
    return said.stdout.splitlines()[1:]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-Wl,-Bsymbolic-functions", ""),
        ("-Wl,--exclude-libs,ALL -Wl,-z,relro", "-Wl,-z,relro"),
        ("-Wl,-z,separate-code -Wl,-z -Wl,now", "-Wl,-z,now"),
        ("-Wl,-h,libx.so", "-Wl,-soname,libx.so"),
        ("-Wl,--undefined=f", "-Wl,-u,f"),
        ("-Xlinker -rpath -Xlinker $ORIGIN", "-Wl,-rpath,$ORIGIN"),
        ("-Wl,-rpath -Wl,$ORIGIN", "-Wl,-rpath,$ORIGIN"),
        ("-Wl,-rpath=/a,-O1,--as-needed", "-Wl,-rpath,/a -Wl,--as-needed"),
        (
            "-Wl,--push-state,--as-needed -lm -Wl,--pop-state",
            "-Wl,--as-needed -lm -Wl,--no-as-needed",
        ),
        ("-Wl,-Map=x.map -Wl,--as-needed,-lm", "-Wl,--as-needed -lm"),
        ("-Wl,,-L/a,x.o -Xlinker liby.a", "-L/a x.o liby.a"),
        ("-Wp,-D_FORTIFY_SOURCE=2,-UX -Wp,-MD,x.d", "-D_FORTIFY_SOURCE=2 -UX -Wp,-MD,x.d"),
        ("-flto=auto -fuse-linker-plugin -ffat-lto-objects", "-flto -ffat-lto-objects"),
        ("-flto=4 -flto=thin", "-flto -flto=thin"),
        ("-fno-gnu-unique -specs=/x -fcf-protection=full -mtune=native", ""),
        ("-Wl,--dynamic-list=x.list -Wl,-z,now", "-Wl,--export-dynamic -Wl,-z,now"),
        ("-shared -Wl,--dynamic-list-data -Wl,-z,now", "-shared -Wl,-z,now"),
        ("-march=armv8-a", "-mcpu=generic"),
        ("-march=armv8.2-a+fp16+dotprod+nocrc", "-mcpu=generic+v8_2a+fullfp16+dotprod-crc"),
        ("-mcpu=neoverse-n1+crypto", "-mcpu=neoverse_n1+crypto"),
        ("--target=aarch64-unknown-linux-gnu -latomic", ""),
        ("-I a -DX='1 2' -o -O2", "-I a -DX='1 2' -o -O2"),
        ("-fvisibility=hidden -pthread f.S", "-fvisibility=hidden -pthread f.S"),
    ],
)
def test_what_zig_refuses_is_translated(call: Call, given: str, expected: str) -> None:
    assert " ".join(passed(call(*given.split(" ")))) == expected


@pytest.mark.parametrize(
    ("arch", "given", "expected"),
    [
        (Arch.RISCV64, "-march=rv64gc", "-mcpu=generic_rv64+m+a+f+d+zicsr+zifencei+c"),
        (Arch.RISCV64, "-march=rv64i_zba_zbb", "-mcpu=generic_rv64+zba+zbb"),
        (Arch.LOONGARCH64, "-march=loongarch64 -mfpu=64", ""),
        (Arch.LOONGARCH64, "-march=la464", "-mcpu=la464"),
        (Arch.X86_64, "-march=x86-64-v3 -mavx2", "-mcpu=x86_64_v3 -mavx2"),
        (Arch.X86_64, "-march=native", "-mcpu=native"),
    ],
)
def test_processors_are_spelled_as_zig_spells_them(
    call: Call, arch: Arch, given: str, expected: str
) -> None:
    assert passed(call(*given.split(), arch=arch)) == expected.split()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("-march=native", "this machine's CPU is not the one"),
        ("-mavx2", "is for x86, and this builds for aarch64"),
        ("-mno-sse4.1", "is for x86"),
        ("-march=x86-64-v3", "is for x86"),
    ],
)
def test_what_this_target_cannot_have_is_marked_for_the_one_who_reads_the_log(
    call: Call, given: str, why: str
) -> None:
    said = call(given, "-c", "x.c")
    assert said.code == 1
    found = direct_zig.REFUSED.pattern.search(said.stderr.strip())
    assert found is not None
    assert found["said"].startswith(f"{given}: ")
    assert why in found["said"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("-l:libnone.so.1 -c x.c", "no directory that -L names has this file"),
        ("--target=x86_64-linux-gnu -c x.c", "this builds for aarch64"),
        ("-Wl,-rpath -c x.c", "its value is missing"),
        ("x.c -Xlinker", "-Xlinker: its value is missing"),
    ],
)
def test_what_cannot_work_fails_with_a_reason(call: Call, given: str, why: str) -> None:
    said = call(*given.split())
    assert said.code == 1
    assert why in said.stderr
    assert "[refused]" not in said.stderr


@pytest.fixture
def objects(tmp_path: Path) -> None:
    """An object, and an archive that defines one of its functions too."""
    for name in ("own", "part"):
        both = "__attribute__((weak)) int both(void) { return 1; }"
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 1; }}\n{both}\n")
        ran("cc", "-c", f"{name}.c", cwd=tmp_path, code=0)
    ran("ar", "rcs", "libpart.a", "part.o", cwd=tmp_path, code=0)
    (tmp_path / "none.map").write_text("{ global: PyInit_*; /* part */ local: *; };\n")
    (tmp_path / "open.map").write_text("V1 { global: own; };\n")
    (tmp_path / "part.map").write_text("{global:own;part;local:*;};\n")


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize(
    ("given", "hidden"),
    [
        ("-shared own.o libpart.a -Wl,--exclude-libs,ALL", ['"part";']),
        ("-shared own.o -Wl,--exclude-libs=liba.a:libpart.a -L. -lpart", ['"part";']),
        ("-shared -Wl,--exclude-libs,ALL own.o -Wl,-Bstatic -L . -l part", ['"part";']),
        ("-shared own.o -L. -l:libpart.a -Wl,--exclude-libs,libother.a", []),
        ("-shared own.o -lnone -Wl,--exclude-libs,ALL", []),
        ("-shared own.o libpart.a -Wl,--exclude-libs,ALL -Wl,--version-script=none.map", []),
    ],
)
def test_what_an_archive_defines_is_not_exported_where_that_is_asked_for(
    call: Call, given: str, hidden: list[str]
) -> None:
    said = passed(call(*given.split()))
    assert [each for each in said if each.startswith('"')] == hidden
    assert ("-Wl,--undefined-version" in said) is bool(hidden)


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("-Wl,--exclude-libs,ALL -Wl,--version-script=open.map", "open.map: says what is exported"),
        ("-Wl,--exclude-libs,ALL -Wl,--version-script=part.map", "part.map: says what is exported"),
        ("-Wl,--dynamic-list=names.list", "what of a library may be replaced"),
        ("-Wl,--exclude-libs,ALL own.c.a", "own.c.a: has no index of its symbols"),
    ],
)
def test_what_would_export_other_symbols_is_refused(
    call: Call, tmp_path: Path, given: str, why: str
) -> None:
    (tmp_path / "own.c.a").write_text("int own(void);\n" * 9)
    said = call("-shared", "own.o", "libpart.a", *given.split())
    assert said.code == 1
    assert why in said.stderr


def test_openmp_is_refused_where_its_runtime_is_called(call: Call, tmp_path: Path) -> None:
    (tmp_path / "with.o").write_bytes(b"\0" * 65533 + b"__kmpc_fork_call\0")
    (tmp_path / "without.o").write_bytes(b"\0" * 70000)
    assert passed(call("-fopenmp", "-c", "x.c")) == ["-fopenmp", "-c", "x.c"]
    assert passed(call("-shared", "without.o", "-fopenmp")) == ["-shared", "without.o"]
    for refused in ("with.o", "x.c"):
        said = call("-shared", "-fopenmp", refused)
        assert said.code == 1
        assert 'build.compiler = "gcc"' in said.stderr


@pytest.mark.parametrize(
    ("symbol", "linked"),
    [
        (b"PyModuleDef_Init\0__cxx\0_ZN3foo3barEv\0_ZNK3foo3bazEv\0_Z3addii", False),
        (b"_Znwm", True),
        (b"_ZNSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEE6appendEPKc", True),
        (b"_ZNKSt9exception4whatEv", True),
        (b"_ZSt9terminatev", True),
        (b"_ZTIi", True),
        (b"_ZTVN10__cxxabiv117__class_type_infoE", True),
        (b"__gxx_personality_v0", True),
        (b"__cxa_guard_acquire", True),
        (b"_Unwind_Resume", True),
    ],
)
@pytest.mark.parametrize("before", [0, 65510, 65536])
def test_the_cxx_library_is_linked_where_something_of_it_is_used(
    call: Call,
    tmp_path: Path,
    symbol: bytes,
    before: int,
    *,
    linked: bool,
) -> None:
    (tmp_path / "x.o").write_bytes(b"\0" * before + symbol)
    given = ["-shared", "x.o", "-o", "x.so", "-lm"]
    assert passed(call(*given, name="g++")) == [*given, *(["-nostdlib++"] * (not linked))]
    assert passed(call(*given, name="gcc")) == given, "which zig never links it for"


@pytest.mark.parametrize(
    ("symbols", "linked"),
    [
        (b"PyInit__cpu\0_Z5helper\0memset", False),
        (b"PyInit__cpu\0__udivti3", True),
        (b"__aarch64_ldadd4_relax", True),
    ],
)
@pytest.mark.parametrize("before", [5, 65500, 65532, 65536])
def test_the_compiler_s_runtime_is_left_out_where_nothing_of_it_is_used(
    call: Call,
    tmp_path: Path,
    symbols: bytes,
    before: int,
    *,
    linked: bool,
) -> None:
    (tmp_path / "x.o").write_bytes(b"\177ELF" + b"\0" * before + symbols)
    (tmp_path / "lto.o").write_bytes(b"BC\xc0\xde")
    for name in ("gcc", "g++"):
        said = passed(call("-shared", "x.o", "-lm", name=name))
        assert ("-rtlib=none" in said) is not linked
        assert "-rtlib=none" not in passed(call("x.o", name=name)), "a program"
        assert "-rtlib=none" not in passed(call("-shared", "x.o", "lto.o", name=name))


def test_what_uses_the_cxx_library_gets_the_runtime_that_it_needs(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "x.o").write_bytes(b"\177ELF\0_Znwm\0")
    assert passed(call("-shared", "x.o", name="g++")) == ["-shared", "x.o"]


@pytest.mark.parametrize("more", ["-lfoo", "-l foo", "x.cpp", "-Wl,--whole-archive,libx.a", "-c"])
def test_the_cxx_library_is_left_out_only_where_everything_is_known(
    call: Call, tmp_path: Path, more: str
) -> None:
    (tmp_path / "x.o").touch()
    assert "-nostdlib++" in passed(call("-shared", "x.o", name="g++"))
    assert "-nostdlib++" not in passed(call("-shared", "x.o", *more.split(), name="g++"))


def test_response_files_and_names_with_blanks_are_read_as_gcc_reads_them(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "more").write_text("-flto=auto \"-DX=a b\" with\\ blank.c '-Wl,-O1'")
    read = ["-flto", "-DX=a b", "with blank.c", "an other.c"]
    assert passed(call("@more", "an other.c")) == read


def test_a_library_that_is_named_by_its_file_is_looked_for(call: Call, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libx.so.1").touch()
    assert passed(call("-Llib", "-l:libx.so.1")) == ["-Llib", "lib/libx.so.1"]


def test_headers_and_libraries_of_the_host_are_left_out(
    call: Call,
) -> None:
    given = ["-I/usr/include", "-isystem", "/usr/include/x", "-L/usr/lib/y", "-I/usr/includes"]
    said = call(*given, "-Ia", drop_below=("/usr/include", "/usr/lib"))
    assert passed(said) == ["-I/usr/includes", "-Ia"]


def test_cpp_is_compiled_as_cpp_whatever_the_compiler_is_called(
    call: Call,
) -> None:
    assert call("-c", "x.cpp", name="gcc").stdout.splitlines()[0] == "c++"
    assert call("-c", "x.c", name="gcc").stdout.splitlines()[0] == "cc"
    assert passed(call("-c", "x.c", name="g++")) == ["-c", "-x", "c++", "x.c", "-x", "none"]


def test_questions_are_answered_for_the_target(
    call: Call,
) -> None:
    for question in ("-dumpmachine", "-print-multiarch"):
        said = call(question, arch=Arch.RISCV64, name="riscv64-linux-gnu-gcc")
        assert said.stdout == "riscv64-linux-gnu\n"
    assert call("-print-file-name=libnone.a").stdout == "libnone.a\n"


def test_a_project_s_names_lead_to_the_right_tools() -> None:
    made: Driver = zig_driver(Arch.AARCH64, "2.17", PLACES)
    assert {"cc", "g++", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ar"} <= set(made.names)
    assert zig_target(Arch.LOONGARCH64, "2.36") == "loongarch64-linux-gnu.2.36"
    assert zig_target(Arch.I686, "2.17") == "x86-linux-gnu.2.17"
