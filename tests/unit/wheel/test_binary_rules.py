"""`inspect` and `verify` on wheels for macOS and Windows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.models.external_libraries import soname
from orchestrator.models.wheel import Severity
from tests.binarymaker import (
    DYLIB,
    PROGRAM,
    WEAK,
    MachOSpec,
    PeSpec,
    make_fat,
    make_macho,
    make_pe,
)
from tests.unit.wheel.conftest import Inspector, extension
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

MODULE = "demo/x.cpython-312-darwin.so"
LIBRARY = "demo/.dylibs/liby.1.dylib"
PYD = "demo/x.cp312-win_amd64.pyd"


def macho(**spec: Any) -> bytes:
    return make_macho(MachOSpec(**{"defined": ("PyInit_x",), **spec}))


def dylib(**spec: Any) -> bytes:
    return make_macho(MachOSpec(**{"kind": DYLIB, "name": "liby", **spec}))


def both(**spec: Any) -> bytes:
    old = MachOSpec(**{"defined": ("PyInit_x",), "arch": "x86_64", "minimum": (10, 13), **spec})
    return make_fat(old, MachOSpec(defined=("PyInit_x",)))


def pyd(*imports: str, **spec: Any) -> bytes:
    libraries = {"KERNEL32.dll": (), **dict.fromkeys(imports or ("python312.dll",), ())}
    return make_pe(PeSpec(**{"imports": libraries, "exports": ("PyInit_x",), **spec}))


def wheel(
    members: dict[str, bytes], platform: str, *, abi: str = "cp312", python: str = ""
) -> WheelSpec:
    default = "cp312" if abi != "none" else "py3"
    return WheelSpec(members=members, platform=platform, python=python or default, abi=abi)


def mac(members: dict[str, bytes], platform: str = "macosx_11_0_arm64", **more: Any) -> WheelSpec:
    return wheel(members, platform, **more)


def windows(members: dict[str, bytes], platform: str = "win_amd64", **more: Any) -> WheelSpec:
    return wheel(members, platform, **more)


GOOD = {
    "arm64": mac({MODULE: macho()}),
    "universal2": mac({MODULE: both()}, "macosx_10_13_universal2"),
    "x86_64 needs no signature": mac(
        {MODULE: macho(arch="x86_64", signed=False)}, "macosx_11_0_x86_64"
    ),
    "two tags": mac({MODULE: both()}, "macosx_10_13_x86_64.macosx_11_0_arm64"),
    "one half of a larger file": mac({MODULE: both()}),
    "grafted": mac(
        {
            MODULE: macho(needed=("@loader_path/.dylibs/liby.1.dylib", "@rpath/libz.dylib")),
            LIBRARY: dylib(),
            "demo/lib/libz.dylib": dylib(),
            "demo/user.dylib": dylib(rpath=("@loader_path/lib",)),
        }
    ),
    "of a data directory": mac(
        {
            "demo-1.0.data/platlib/a/x.so": macho(needed=("@loader_path/../b/liby.dylib",)),
            "b/liby.dylib": dylib(),
        }
    ),
    "the system's": mac(
        {MODULE: macho(needed=("/System/Library/Frameworks/A.framework/A",), loads=((WEAK, "/x"),))}
    ),
    "swift": mac({MODULE: macho(needed=("@rpath/libswiftCore.dylib",), rpath=("/usr/lib/swift",))}),
    "abi3 of macOS": mac({"x.abi3.so": macho()}, abi="abi3"),
    "amd64": windows(
        {PYD: pyd("python312.dll", "VCRUNTIME140.dll", "api-ms-win-crt-heap-l1-1-0.dll")}
    ),
    "arm64 of Windows": windows({"x.pyd": pyd(arch="arm64")}, "win_arm64"),
    "arm64x": windows({"x.pyd": pyd(arch="arm64", hybrid=True)}, "win_arm64"),
    "win32": windows({"x.pyd": pyd(arch="x86")}, "win32"),
    "abi3 of Windows": windows({"x.pyd": pyd("python3.dll")}, abi="abi3"),
    "free-threaded": windows({"x.cp312t-win_amd64.pyd": pyd("python312t.dll")}, abi="cp312t"),
    "a DLL elsewhere": windows(
        {PYD: pyd("Y-0123456789abcdef.dll"), "demo.libs/y-0123456789ABCDEF.dll": pyd()}
    ),
    "no Python": windows({"demo/bin/x.dll": pyd("ucrtbase.dll", "ws2_32.dll")}, abi="none"),
    "a program": windows(
        {"demo-1.0.data/scripts/x.exe": pyd(library=False, exports=())}, abi="none"
    ),
    "PyPy": windows(
        {"x.pypy310-pp73-win_amd64.pyd": pyd("libpypy3.10-c.dll")},
        abi="pypy310_pp73",
        python="pp310",
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_sound_wheels_have_no_finding(inspector: Inspector, name: str) -> None:
    findings = inspector.findings(GOOD[name])
    report = inspector.report(GOOD[name])

    assert [each for each in findings if each.rule != "no-licence"] == []
    assert report.observed_tag in {GOOD[name].platform, "macosx_10_13_universal2"}
    assert report.not_examined == ()


BAD: dict[str, tuple[WheelSpec, list[str]]] = {
    "no Mach-O": (mac({MODULE: b"text"}), ["error binary-malformed"]),
    "cut off": (mac({MODULE: macho()[:50]}), ["error binary-malformed"]),
    "no library": (mac({MODULE: macho(), "x.dylib": b"text"}), ["warning binary-malformed"]),
    "no PE": (windows({PYD: b"MZ" + bytes(99)}), ["error binary-malformed"]),
    "DOS": (windows({PYD: pyd(), "x.dll": b"MZ" + bytes(99)}), ["warning binary-malformed"]),
    "cut off, for Linux": (
        wheel({"x.abi3.so": extension(), "data": macho()[:50]}, "linux_x86_64"),
        ["warning binary-malformed"],
    ),
    "another half": (mac({MODULE: macho()}, "macosx_11_0_x86_64"), ["error binary-machine"]),
    "one half": (mac({MODULE: macho()}, "macosx_11_0_universal2"), ["error binary-machine"]),
    "half a library": (
        mac(
            {MODULE: both(needed=("@loader_path/.dylibs/liby.1.dylib",)), LIBRARY: dylib()},
            "macosx_10_13_universal2",
        ),
        ["error binary-machine"],
    ),
    "a helper": (
        mac({MODULE: both(), "demo/attach.dylib": dylib()}, "macosx_10_13_universal2"),
        ["warning binary-machine"],
    ),
    "arm64e": (mac({MODULE: macho(arch="arm64e")}), ["error binary-machine"]),
    "haswell": (
        mac({MODULE: macho(arch="x86_64h")}, "macosx_11_0_x86_64"),
        ["error binary-machine"],
    ),
    "x86 for amd64": (windows({"x.pyd": pyd(arch="x86")}), ["error binary-machine"]),
    "arm64ec for amd64": (windows({"x.pyd": pyd(hybrid=True)}), ["error binary-machine"]),
    "another suffix": (windows({"x.cp312-win32.pyd": pyd()}), ["error python-abi"]),
    "newer macOS": (mac({MODULE: macho(minimum=(12, 0))}), ["error macos-version"]),
    "minor macOS": (mac({MODULE: macho(minimum=(11, 3))}), ["warning macos-version"]),
    "newer old macOS": (mac({MODULE: both()}, "macosx_10_9_universal2"), ["error macos-version"]),
    "homebrew": (
        mac({MODULE: macho(needed=("/opt/homebrew/opt/libomp/lib/libomp.dylib",))}),
        ["error external-library"],
    ),
    "Python's framework": (
        mac({MODULE: macho(needed=("/Library/Frameworks/Python.framework/Versions/3.12/Python",))}),
        ["error external-library"],
    ),
    "nowhere": (mac({MODULE: macho(needed=("@rpath/libgone.dylib",))}), ["error external-library"]),
    "not there": (
        mac({MODULE: macho(needed=("@loader_path/liby.1.dylib",)), LIBRARY: dylib()}),
        ["warning library-unreachable"],
    ),
    "beside the interpreter": (
        mac({MODULE: macho(needed=("@executable_path/liby.1.dylib",)), LIBRARY: dylib()}),
        ["warning library-unreachable"],
    ),
    "a plain name": (
        mac({MODULE: macho(needed=("liby.1.dylib",)), LIBRARY: dylib()}),
        ["error external-library"],
    ),
    "a machine's directory": (
        mac(
            {
                MODULE: macho(
                    needed=("@rpath/liby.1.dylib",), rpath=("/opt/work/a", "@loader_path/.dylibs")
                ),
                LIBRARY: dylib(),
            }
        ),
        ["error absolute-rpath"],
    ),
    "an unused directory": (
        mac({MODULE: macho(rpath=("/opt/work/a",))}),
        ["warning absolute-rpath"],
    ),
    "unsigned": (mac({MODULE: macho(signed=False)}), ["error code-signature"]),
    "unsigned half": (
        mac(
            {
                MODULE: make_fat(
                    MachOSpec(arch="x86_64", defined=("PyInit_x",)),
                    MachOSpec(defined=("PyInit_x",), signed=False),
                )
            },
            "macosx_11_0_universal2",
        ),
        ["error code-signature"],
    ),
    "twice": (
        mac({MODULE: macho(), LIBRARY: dylib(), "other/.dylibs/liby.1.dylib": dylib()}),
        ["warning duplicate-library"],
    ),
    "twice by other hashes": (
        windows({PYD: pyd(), "a/y-0123456789abcdef.dll": pyd(), "a/Y-f123456789abcdef.dll": pyd()}),
        ["warning duplicate-library"],
    ),
    "no function": (
        mac({MODULE: macho(defined=(), undefined=("PyLong_FromLong",))}),
        ["error module-init"],
    ),
    "no function in a pyd": (
        windows({PYD: make_pe(PeSpec(imports={"python312.dll": ("PyLong_FromLong",)}))}),
        ["error module-init"],
    ),
    "another Python's suffix": (mac({"x.cpython-311-darwin.so": macho()}), ["error python-abi"]),
    "another Python's DLL": (windows({PYD: pyd("python311.dll")}), ["error python-abi"]),
    "a Python's DLL in abi3": (
        windows({"x.pyd": pyd("python312.dll")}, abi="abi3"),
        ["error python-abi"],
    ),
    "the GIL's DLL": (
        windows({"x.cp312t-win_amd64.pyd": pyd("python312.dll")}, abi="cp312t"),
        ["error python-abi"],
    ),
    "the GIL's stable DLL": (
        windows({"x.cp312t-win_amd64.pyd": pyd("python3.dll")}, abi="cp312t"),
        ["error python-abi"],
    ),
    "debug Python": (windows({PYD: pyd("python312_d.dll")}), ["error debug-runtime"]),
    "debug runtime": (
        windows({PYD: pyd("ucrtbased.dll", "VCRUNTIME140D.dll")}),
        [*["error external-library"] * 2, *["error debug-runtime"] * 2],
    ),
    "the runtime of C++": (windows({PYD: pyd("MSVCP140.dll")}), ["error external-library"]),
    "a delayed DLL": (windows({PYD: pyd(delayed={"gone.dll": ()})}), ["error external-library"]),
    "ELF for macOS": (mac({MODULE: macho(), "x.abi3.so": extension()}), ["error other-system"]),
    "ELF data for Windows": (
        windows({PYD: pyd(), "attach.so": make_elf(ElfSpec())}),
        ["warning other-system"],
    ),
    "Mach-O for Linux": (
        wheel(
            {"x.abi3.so": extension(), "y.abi3.so": macho(defined=("PyInit_y",))}, "linux_x86_64"
        ),
        ["error other-system"],
    ),
    "a program for Windows": (
        wheel({"x.so": extension(), "a.exe": pyd(library=False)}, "linux_x86_64"),
        ["warning other-system"],
    ),
    "only PE for Linux": (wheel({"a.dll": pyd()}, "linux_x86_64"), ["error other-system"]),
    "a library for all": (wheel({"a.dll": pyd()}, "any", abi="none"), ["error other-system"]),
    "a program for all": (
        wheel({"t64.exe": pyd(library=False)}, "any", abi="none"),
        ["warning other-system"],
    ),
    "iOS": (mac({MODULE: macho(platform=2)}), ["error other-system"]),
    "purelib": (
        WheelSpec(members={MODULE: macho()}, platform="macosx_11_0_arm64", purelib="true"),
        ["warning root-is-purelib"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found(inspector: Inspector, name: str) -> None:
    wheel, expected = BAD[name]
    found = [each for each in inspector.findings(wheel) if each.rule != "no-licence"]

    assert [f"{each.severity} {each.rule}" for each in found] == expected, found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("homebrew", "delocate-wheel"),
        ("Python's framework", "do not link libpython"),
        ("the runtime of C++", "delvewheel"),
        ("newer macOS", "needs macOS 12.0 on arm64, macosx_11_0_arm64 promises 11.0"),
        ("one half", "macosx_11_0_universal2 needs x86_64"),
        ("unsigned", "codesign"),
    ],
)
def test_messages_say_what_to_do(inspector: Inspector, name: str, words: str) -> None:
    assert words in " ".join(each.message for each in inspector.findings(BAD[name][0]))


@pytest.mark.parametrize(
    ("members", "tag"),
    [
        ({MODULE: macho(minimum=(11, 3))}, "macosx_12_0_arm64"),
        ({MODULE: macho(minimum=(15, 4))}, "macosx_26_0_arm64"),
        ({MODULE: macho(minimum=(26, 1))}, "macosx_27_0_arm64"),
        ({MODULE: macho(minimum=(10, 9))}, "macosx_11_0_arm64"),
        ({MODULE: macho(minimum=None)}, "macosx_11_0_arm64"),
        ({MODULE: both(), LIBRARY: dylib(minimum=(13, 0))}, "macosx_13_0_arm64"),
        ({MODULE: both(minimum=(10, 9))}, "macosx_10_9_universal2"),
        ({MODULE: macho(arch="x86_64", minimum=(10, 12))}, "macosx_10_12_x86_64"),
        ({MODULE: macho()[:50]}, "unknown"),
    ],
)
def test_the_observed_tag_of_macos(
    inspector: Inspector, members: dict[str, bytes], tag: str
) -> None:
    assert inspector.report(mac(members, "macosx_10_9_universal2")).observed_tag == tag


def test_a_wheel_for_several_systems_is_held_against_each(inspector: Inspector) -> None:
    members = {
        "x.so": extension(needed=("libgone.so.1",)),
        "y.dylib": dylib(needed=("/opt/homebrew/libgone.dylib",)),
    }
    spec = wheel(members, "macosx_11_0_arm64.manylinux_2_17_x86_64")
    report = inspector.report(spec)

    assert report.observed_tag == "manylinux_2_5_x86_64"
    assert [name for name, _ in report.external_libs] == [
        "libgone.so.1",
        "/opt/homebrew/libgone.dylib",
    ]
    assert "promised by manylinux" in report.problems[0].message
    assert "promised by macOS" in report.problems[1].message
    assert "other-system" not in inspector.rules(spec)


def test_damaged_data_does_not_hide_the_tag(inspector: Inspector) -> None:
    spec = wheel({"data": macho()[:50]}, "any", abi="none")

    assert inspector.report(spec).observed_tag == "any"


def test_retag_writes_the_observed_tag(inspector: Inspector) -> None:
    report = inspector.report(mac({MODULE: both()}, "macosx_10_9_universal2"))
    path = inspector.path(mac({MODULE: both()}, "macosx_10_9_universal2"))
    copy = inspector.retag(path, platform_tags=(report.observed_tag,))

    assert copy.name.endswith("macosx_10_13_universal2.whl")
    assert [each for each in inspector.findings(copy) if each.rule == "macos-version"] == []


@pytest.mark.parametrize(
    ("wheel", "what"),
    [
        (mac({MODULE: macho(minimum=None)}), "the oldest macOS of"),
        (windows({PYD: pyd(), "net.dll": make_pe(PeSpec(managed=True))}), ".NET"),
        (wheel({"net.dll": make_pe(PeSpec(managed=True))}, "any", abi="none"), ".NET"),
        (windows({PYD: pyd(more={".nv_fatb": b"x"})}), "the code for GPUs in"),
        (
            wheel({"x.so": macho(platform=2)}, "ios_13_0_arm64_iphoneos"),
            "ios_13_0_arm64_iphoneos",
        ),
        (wheel({"x.txt": b""}, "android_24_arm64_v8a"), "android_24_arm64_v8a"),
    ],
)
def test_what_is_not_examined_is_said(inspector: Inspector, wheel: WheelSpec, what: str) -> None:
    (said,) = inspector.report(wheel).not_examined

    assert what in said
    assert not [x for x in inspector.findings(wheel) if x.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("@rpath/libtorch_cpu.dylib", "libtorch_cpu.so"),
        ("/a/libssl.3.dylib", "libssl.so.3"),
        ("torch_cpu.dll", "libtorch_cpu.so"),
        ("cudart64_12.dll", "libcudart.so.12"),
        ("libiomp5md.dll", "libiomp5md.so"),
        ("nvcuda.dll", "libcuda.so"),
        ("libc.so.6", "libc.so.6"),
        ("Python", "Python"),
    ],
)
def test_libraries_of_other_systems_have_names_on_linux(library: str, name: str) -> None:
    assert soname(library) == name


@pytest.mark.parametrize(
    ("wheel", "external"),
    [
        (mac({MODULE: macho(needed=("@rpath/libc10.dylib",))}), "torch"),
        (windows({PYD: pyd("c10.dll", "torch_cpu.dll")}), "torch"),
        (windows({PYD: pyd("cublas64_12.dll", "nvcuda.dll")}), "cuda"),
        (windows({PYD: pyd("msvcp140.dll")}), "msvcp*.dll"),
    ],
)
def test_libraries_of_others_are_allowed(
    inspector: Inspector, wheel: WheelSpec, external: str
) -> None:
    assert inspector.report(wheel).problems != ()
    assert inspector.report(wheel, external=[external]).problems == ()


def test_the_report_has_every_architecture_of_every_file(inspector: Inspector) -> None:
    program = make_macho(MachOSpec(kind=PROGRAM))
    members = {MODULE: both(), "demo/tool": program}
    files = inspector.report(mac(members, "macosx_10_13_universal2")).binary_files

    assert [(each.file, each.arch, each.kind, each.minimum) for each in files] == [
        (MODULE, "x86_64", "library", "10.13"),
        (MODULE, "arm64", "library", "11.0"),
        ("demo/tool", "arm64", "program", "11.0"),
    ]
    assert [each.python_abi for each in files] == ["cpython-312", "cpython-312", None]
