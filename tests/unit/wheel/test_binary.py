"""Mach-O and PE files: what their readers say, and what they do with hostile bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from orchestrator.wheel import macho, pe
from orchestrator.wheel.binary import Binary, MalformedBinaryError
from tests.binarymaker import (
    CPUS,
    DYLIB,
    LAZY,
    OBJECT,
    PROGRAM,
    REEXPORT,
    SYSTEM,
    UPWARD,
    WEAK,
    MachOSpec,
    PeSpec,
    fat,
    make_fat,
    make_macho,
    make_pe,
)


def thin(**spec: Any) -> Binary:
    (info,) = macho.parse(make_macho(MachOSpec(**spec)))
    return info


def dll(**spec: Any) -> Binary:
    (info,) = pe.parse(make_pe(PeSpec(**spec)))
    return info


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("arch", CPUS)
def test_every_architecture_and_byte_order_is_read(arch: str, order: str) -> None:
    info = thin(
        arch=arch,
        order=order,
        kind=DYLIB,
        name="@rpath/libx.dylib",
        needed=(SYSTEM, "@loader_path/.dylibs/liby.1.dylib"),
        loads=((WEAK, "weak"), (REEXPORT, "again"), (LAZY, "lazy"), (UPWARD, "up")),
        rpath=("@loader_path/.dylibs", "/opt/homebrew/lib"),
        defined=("PyInit_x", "other"),
        undefined=("PyLong_FromLong", "_Py_Dealloc", "malloc"),
        weak=("PyNewName",),
        minimum=(10, 13),
    )

    assert (info.system, info.arch, info.kind, info.minimum) == ("macOS", arch, "library", (10, 13))
    assert info.name == "@rpath/libx.dylib"
    assert info.needed == (SYSTEM, "@loader_path/.dylibs/liby.1.dylib", "again", "up")
    assert info.optional == ("weak", "lazy")
    assert info.rpath == ("@loader_path/.dylibs", "/opt/homebrew/lib")
    assert info.inits == ("PyInit_x",)
    names = {each.name: each.weak for each in info.undefined}
    assert names == {"PyLong_FromLong": False, "_Py_Dealloc": False, "PyNewName": True}
    assert info.signed


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [False, True])
def test_a_file_for_several_architectures_is_read_slice_by_slice(order: str, *, wide: bool) -> None:
    specs = MachOSpec(arch="x86_64", minimum=(10, 9), old=True), MachOSpec(order=">", signed=False)
    found = macho.parse(make_fat(*specs, wide=wide, order=order))

    assert [(each.arch, each.minimum, each.signed) for each in found] == [
        ("x86_64", (10, 9), True),
        ("arm64", (11, 0), False),
    ]


@pytest.mark.parametrize(
    ("spec", "kind"), [(DYLIB, "library"), (PROGRAM, "program"), (OBJECT, "other"), (10, "other")]
)
def test_what_nothing_loads_is_told_apart(spec: int, kind: str) -> None:
    assert thin(kind=spec).kind == kind


@pytest.mark.parametrize(
    ("platform", "system"), [(2, "iOS"), (6, "Mac Catalyst"), (99, "platform 99")]
)
def test_other_systems_of_apple_are_not_macos(platform: int, system: str) -> None:
    assert thin(platform=platform).system == system


def test_a_library_for_macos_and_catalyst_is_for_macos() -> None:
    catalyst = struct.pack("<IIIIII", 0x32, 24, 6, 13 << 16, 0, 0)

    assert (thin(more=(catalyst,)).system, thin(more=(catalyst,)).minimum) == ("macOS", (11, 0))


def test_a_minimum_that_is_not_said_is_unknown() -> None:
    assert (thin(minimum=None).system, thin(minimum=None).minimum) == ("macOS", None)


def test_the_newer_form_of_a_load_can_be_weak() -> None:
    name = b"@rpath/libz.dylib\0".ljust(20, b"\0")
    use = struct.pack("<IIIIIII", 0xC, 48, 28, 0x1A741800, 0, 0, 1) + name

    assert (thin(more=(use,)).needed, thin(more=(use,)).optional) == (
        (SYSTEM,),
        ("@rpath/libz.dylib",),
    )


@pytest.mark.parametrize("name", ["PyInit_x", "PyModExport_x", "PyInitU_x"])
def test_a_stripped_module_has_its_function_in_the_exports(name: str) -> None:
    assert thin(defined=(name, "PyOther"), stripped=True).inits == (name,)


def test_exports_that_lead_back_are_read_once() -> None:
    loop = bytes([0, 2]) + b"_Py\0" + bytes([0]) + b"_PyInit_\0" + bytes([0])

    assert thin(stripped=True, trie=loop).inits == ()
    assert thin(stripped=True, trie=b"").inits == ()


def test_names_of_other_libraries_are_not_pythons() -> None:
    """The first library, by number, has the name: nothing of Python's is looked up."""
    data = make_macho(MachOSpec(undefined=("PyOfSomebody",)))
    row = struct.pack("<BBH", 0x01, 0, 0xFE00)
    assert data.count(row) == 1
    (info,) = macho.parse(data.replace(row, struct.pack("<BBH", 0x01, 0, 0x0100)))

    assert info.undefined == ()


def test_an_archive_of_objects_is_nothing() -> None:
    assert macho.parse(fat([((0x0100000C, 0), b"!<arch>\n" + bytes(64))])) == ()


@pytest.mark.parametrize(
    "head",
    [
        b"\xca\xfe\xba\xbe\0\0\0\x34",
        b"\xca\xfe\xba\xbe\0\3\0\x2d",
        b"\xca\xfe\xba\xbe\0\0\0\0",
        b"text",
    ],
)
def test_class_files_of_java_are_not_mach_o(head: bytes) -> None:
    assert not macho.is_macho(head)


def spoilt(data: bytes, at: int, value: int, layout: str = "<I") -> bytes:
    made = bytearray(data)
    struct.pack_into(layout, made, at, value)
    return bytes(made)


MACHO = make_macho(MachOSpec(name="libx", defined=("PyInit_x",)))
FAT = make_fat(MachOSpec(arch="x86_64"), MachOSpec())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (MACHO[:40], "load commands"),
        (spoilt(MACHO, 16, 1 << 20), "load commands in"),
        (spoilt(MACHO, 20, 1 << 30), "load commands in 1073741824 bytes"),
        (spoilt(MACHO, 36, 4), "a load command of 4 bytes"),
        (spoilt(MACHO, 36, 1 << 20), "a load command of"),
        (spoilt(MACHO, 36, 8), "is too short"),
        (spoilt(MACHO, 64, 4000), "a name is outside"),
        (spoilt(FAT, 16, 1 << 30, ">I"), "slice for x86_64"),
        (spoilt(FAT, 36, 300, ">I"), "overlap"),
        (spoilt(FAT, 8, 7, ">I"), "the slice for i386 is for x86_64"),
        (spoilt(FAT, 256, 0), "no Mach-O header"),
        (make_fat(MachOSpec(), MachOSpec()), "one architecture twice"),
        (fat([((0x0100000C, 0), FAT)]), "no Mach-O header"),
        (make_macho(MachOSpec(stripped=True, trie=b"\0\1_Py")), "no end of a name"),
        (make_macho(MachOSpec(stripped=True, trie=b"\0\1_Py\0" + b"\x80" * 20)), "has no end"),
        (make_macho(MachOSpec(stripped=True, trie=b"\0\1_Py\0\x70")), "has no end"),
    ],
)
def test_inconsistent_mach_o_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedBinaryError, match=message):
        macho.parse(data)


@pytest.mark.parametrize("arch", ["x86", "amd64", "arm64"])
@pytest.mark.parametrize("old", [False, True])
def test_dlls_say_what_they_import_and_export(arch: str, *, old: bool) -> None:
    info = dll(
        arch=arch,
        old=old,
        name="_x.pyd",
        imports={
            "KERNEL32.dll": ("CreateFileW",),
            "python312.dll": ("PyLong_FromLong", "", "_Py_Dealloc", "other"),
        },
        delayed={"Python3.dll": ("PyLater",), "d3d11.dll": ()},
        exports=("PyInit__x", "helper"),
        subsystem=(6, 1),
        signed=True,
    )

    assert (info.system, info.arch, info.kind, info.minimum) == ("Windows", arch, "library", (6, 1))
    assert (info.name, info.signed) == ("_x.pyd", True)
    assert info.needed == ("KERNEL32.dll", "python312.dll")
    assert info.optional == ("Python3.dll", "d3d11.dll")
    assert info.inits == ("PyInit__x",)
    assert [each.name for each in info.undefined] == ["PyLong_FromLong", "_Py_Dealloc", "PyLater"]


def test_programs_and_dotnet_are_told_apart() -> None:
    assert dll(library=False, exports=()).kind == "program"
    assert (dll(managed=True).kind, dll(managed=True).arch) == ("other", ".NET")


@pytest.mark.parametrize(("arch", "hybrid"), [("amd64", "arm64ec"), ("arm64", "arm64x")])
def test_code_for_two_machines_is_named(arch: str, hybrid: str) -> None:
    assert dll(arch=arch, hybrid=True).arch == hybrid


def test_what_begins_with_mz_need_not_be_a_pe_file() -> None:
    assert pe.parse(b"MZ") == pe.parse(b"MZ" * 40) == pe.parse(b"MZ".ljust(256, b"\0")) == ()


PE = make_pe(PeSpec(exports=("PyInit_demo",)))
OPTIONAL = 0x40 + 24
EXPORTS = struct.unpack_from("<I", PE, OPTIONAL + 112)[0] - 0x2000 + 0x600


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PE[: OPTIONAL + 20], "optional header"),
        (spoilt(PE, OPTIONAL, 0x107, "<H"), "optional header of kind"),
        (spoilt(PE, 0x40 + 6, 97, "<H"), "97 sections"),
        (spoilt(PE, OPTIONAL + 112, 0x900000), "exports: address 0x900000 is in no section"),
        (spoilt(PE, OPTIONAL + 120, 0x900000), "imports: address 0x900000 is in no section"),
        (spoilt(PE, EXPORTS + 24, 1 << 20), "1048576 exported names"),
        (PE[:0x640], "imports"),
    ],
)
def test_inconsistent_pe_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedBinaryError, match=message):
        pe.parse(data)


def test_sections_that_overlap_are_read_at_the_first() -> None:
    row = OPTIONAL + 112 + 128
    second = row + 40
    made = bytearray(make_pe(PeSpec(exports=("PyInit_demo",), more={".more": b"x"})))
    made[second + 8 : second + 40] = made[row + 8 : row + 40]

    assert pe.parse(bytes(made)) == pe.parse(PE)


@pytest.mark.parametrize("data", [MACHO, FAT, make_macho(MachOSpec(stripped=True)), PE])
def test_any_changed_byte_is_read_or_refused(data: bytes) -> None:
    read = pe.parse if data.startswith(pe.MAGIC) else macho.parse
    for at in range(len(data)):
        for value in (0, 0x7F, 0x80, 0xFF):
            with suppress(MalformedBinaryError):
                read(spoilt(data, at, value, "B"))
    for size in range(len(data)):
        with suppress(MalformedBinaryError):
            read(data[:size])


def steps_of(data: bytes) -> int:
    """Return what reading takes, even if the file is refused."""
    taken = 0

    def meter(steps: int, _read: int, _what: str) -> None:
        nonlocal taken
        taken += steps

    read = pe.parse if data.startswith(pe.MAGIC) else macho.parse
    with suppress(MalformedBinaryError):
        read(data, meter=meter)
    return taken


def names(count: int) -> tuple[str, ...]:
    return tuple(f"PyInit_{number}" for number in range(count))


def chain_of(count: int) -> bytes:
    """Return a trie whose nodes follow one another, the last leading to the first."""
    places = [5 * (number + 1) for number in range(count - 1)] + [0]
    return b"".join(bytes([0, 1, 0, at & 0x7F | 0x80, at >> 7]) for at in places)


GROWING: dict[str, Callable[[int], bytes]] = {
    "load commands": lambda n: make_macho(MachOSpec(needed=names(n))),
    "symbols": lambda n: make_macho(MachOSpec(defined=names(n))),
    "nodes": lambda n: make_macho(MachOSpec(stripped=True, trie=chain_of(n))),
    "imports": lambda n: make_pe(PeSpec(imports=dict.fromkeys(names(n), ()))),
    "names": lambda n: make_pe(PeSpec(imports={"python3.dll": names(n)})),
    "exported": lambda n: make_pe(PeSpec(exports=names(n))),
    "one text": lambda n: make_pe(PeSpec(exports=("PyInit_x", "PyInit_" * n))),
}


@pytest.mark.parametrize("table", GROWING)
def test_steps_grow_as_the_file_does(table: str) -> None:
    small, large = GROWING[table](200), GROWING[table](1600)

    assert steps_of(large) < 9 * steps_of(small)
    assert steps_of(large) < len(large)
