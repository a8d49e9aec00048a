from __future__ import annotations

import struct

import pytest

from orchestrator.models.platforms import Arch
from orchestrator.wheel import elf
from orchestrator.wheel.scan import arch_of
from tests.wheelmaker import ISA, MACHINES, ElfSpec, make_elf

VERSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "libc.so.6": {"GLIBC_2.2.5": ("malloc", "free"), "GLIBC_2.34": ("dlopen",)},
    "libstdc++.so.6": {"GLIBCXX_3.4.30": ("_ZSt1",)},
}


@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize("sections", [True, False])
@pytest.mark.parametrize("table", ["sysv", "gnu"])
def test_reads_everything_on_every_architecture(arch: Arch, table: str, *, sections: bool) -> None:
    spec = ElfSpec(
        arch=arch,
        versions=VERSIONS,
        needed=("libm.so.6",),
        undefined=("PyList_New",),
        weak=("__cxa_finalize",),
        defined=("helper", "PyInit_demo", "other"),
        soname="libdemo.so.1",
        rpath="$ORIGIN/../lib:/opt/lib",
        runpath="$ORIGIN",
        interpreter="/lib/ld-musl-x86_64.so.1",
        sections=sections,
        hash=table,
    )
    info = elf.parse(make_elf(spec))
    assert arch_of(info) is arch
    assert (info.machine, info.bits, "<" if info.little_endian else ">") == MACHINES[arch][:3]
    assert info.needed == ("libm.so.6", "libc.so.6", "libstdc++.so.6")
    assert (info.soname, info.interpreter) == ("libdemo.so.1", "/lib/ld-musl-x86_64.so.1")
    assert info.rpath == ("$ORIGIN/../lib", "/opt/lib")
    assert info.runpath == ("$ORIGIN",)
    assert info.versions == (
        ("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.34")),
        ("libstdc++.so.6", ("GLIBCXX_3.4.30",)),
    )
    assert info.undefined == (
        ("malloc", "libc.so.6", "GLIBC_2.2.5", False),
        ("free", "libc.so.6", "GLIBC_2.2.5", False),
        ("dlopen", "libc.so.6", "GLIBC_2.34", False),
        ("_ZSt1", "libstdc++.so.6", "GLIBCXX_3.4.30", False),
        ("PyList_New", "", "", False),
        ("__cxa_finalize", "", "", True),
    )
    assert info.inits == ("PyInit_demo",)


@pytest.mark.parametrize("sections", [True, False])
@pytest.mark.parametrize(("level", "bits"), {**ISA, "": 1, "x86-64-unknown": 16}.items())
def test_isa_level(level: str, bits: int, *, sections: bool) -> None:
    info = elf.parse(make_elf(ElfSpec(isa=bits, sections=sections)))
    assert (info.isa, info.isa_level) == (bits, level)
    assert elf.parse(make_elf(ElfSpec(arch=Arch.AARCH64, isa=bits))).isa == 0


@pytest.mark.parametrize(
    ("machine", "arch"),
    [
        # A tag promises that doubles are passed in registers.
        ((243, 64, "<", 0x5), Arch.RISCV64),
        ((243, 64, "<", 0x1), None),
        ((243, 64, "<", 0x3), None),
        ((258, 64, "<", 0x43), Arch.LOONGARCH64),
        ((258, 64, "<", 0x41), None),
        # armv7l is ARM with hard float and EABI 5.
        ((40, 32, "<", 0x05000200), None),
        ((40, 32, "<", 0x04000400), None),
        ((40, 32, "<", 0), None),
        # No tag names these.
        ((190, 64, "<", 0), None),
        ((21, 64, ">", 0), None),
        ((62, 32, "<", 0), None),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_machines(machine: tuple[int, int, str, int], arch: Arch | None) -> None:
    assert arch_of(elf.parse(make_elf(ElfSpec(machine=machine)))) is arch


def test_accepts_any_buffer() -> None:
    data = make_elf(ElfSpec())
    assert elf.parse(memoryview(data)) == elf.parse(bytearray(data)) == elf.parse(data)


@pytest.mark.parametrize("spec", [ElfSpec(versions=VERSIONS), ElfSpec(arch=Arch.I686, isa=7)])
def test_every_truncation_is_refused(spec: ElfSpec) -> None:
    data = make_elf(spec)
    for size in range(len(data)):
        with pytest.raises(elf.MalformedElfError):
            elf.parse(data[:size])


def _patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


@pytest.mark.parametrize(
    ("offset", "value", "what"),
    [
        (4, b"\3", "unknown class"),
        (5, b"\0", "unknown class"),
        (32, struct.pack("<Q", 1 << 63), "program headers"),
        (54, struct.pack("<H", 55), "program headers of 55"),
        (56, struct.pack("<H", 60000), "program headers"),
        (58, struct.pack("<H", 1), "section headers of 1"),
        (60, struct.pack("<H", 65535), "section headers"),
    ],
)
def test_lying_headers(offset: int, value: bytes, what: str) -> None:
    data = make_elf(ElfSpec(versions=VERSIONS))
    with pytest.raises(elf.MalformedElfError, match=what):
        elf.parse(_patched(data, offset, value))


def _dynamic(data: bytes, tag: int) -> int:
    """Offset of a dynamic entry's value in a 64-bit little-endian file."""
    at: int = struct.unpack_from("<Q", data, 64 + 56 + 8)[0]
    while struct.unpack_from("<Q", data, at)[0] != tag:
        at += 16
    return at + 8


@pytest.mark.parametrize("tag", [5, 6, 10, 0x6FFFFFF0, 0x6FFFFFFE])
@pytest.mark.parametrize("value", [1 << 40, (1 << 64) - 1])
def test_lying_dynamic_entries(tag: int, value: int) -> None:
    data = make_elf(ElfSpec(versions=VERSIONS))
    with pytest.raises(elf.MalformedElfError):
        elf.parse(_patched(data, _dynamic(data, tag), struct.pack("<Q", value)))


@pytest.mark.parametrize("arch", [Arch.X86_64, Arch.S390X])
@pytest.mark.parametrize("step", [1, 0xFFFFFFFF])
def test_version_needs_without_end_are_bounded(arch: Arch, step: int) -> None:
    """Each is one byte behind the last, or the step overflows 32 bits: offsets only grow."""
    order = MACHINES[arch][2]
    data = bytearray(make_elf(ElfSpec(arch=arch, versions={"libc.so.6": {"GLIBC_2.5": ()}})))
    need = data.index(struct.pack(order + "HH", 1, 1), 64 + 56 * 2)
    struct.pack_into(order + "I", data, need + 12, step)
    assert elf.parse(data).versions == (("libc.so.6", ("GLIBC_2.5",)),)
    entry = data.index(struct.pack(order + "QQ", 0x6FFFFFFF, 1))
    struct.pack_into(order + "Q", data, entry + 8, 1 << 40)
    with pytest.raises(elf.MalformedElfError):
        elf.parse(data)


@pytest.mark.parametrize(
    "limit", ["_MAX_VERSIONS", "_MAX_SEGMENTS", "_MAX_UNDEFINED", "_MAX_TABLES"]
)
def test_limits(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, limit, 1)
    with pytest.raises(elf.MalformedElfError):
        elf.parse(make_elf(ElfSpec(versions=VERSIONS)))


def test_sections_are_bounded_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "_MAX_SECTIONS", 1)
    # A GNU hash table without symbols does not say how many undefined ones there are.
    data = make_elf(ElfSpec(versions=VERSIONS, hash="gnu"))
    with pytest.raises(elf.MalformedElfError, match="sections"):
        elf.parse(data)


def test_names_that_are_not_utf8_stay_printable() -> None:
    data = make_elf(ElfSpec(undefined=("naive",))).replace(b"naive", b"na\xffve")
    assert elf.parse(data).undefined[0].name == "na\\xffve"


def test_header_only_and_relocatable_files_need_nothing() -> None:
    info = elf.parse(_patched(_patched(make_elf(ElfSpec())[:64], 40, bytes(8)), 56, bytes(2)))
    assert (arch_of(info), info.needed, info.versions) == (Arch.X86_64, (), ())
