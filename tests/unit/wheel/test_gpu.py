"""What a file has for GPUs, read from bytes that are made here."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from orchestrator.models.wheel import Compression, DeviceKind, GpuFile, WheelReport
from orchestrator.wheel import elf, gpu
from orchestrator.wheel.gpu import DeviceFile
from tests.gpumaker import (
    CUDART,
    FAMILY,
    LZ4,
    PTX,
    SPECIFIC,
    ZSTD,
    bundle,
    compressed,
    device_library,
    entry,
    fatbin,
)
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

HOST = "host-x86_64-unknown-linux--"
AMD = "hipv4-amdgcn-amd-amdhsa--"


class Bytes:
    """A file in memory that has to be read in order."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        assert 0 <= offset <= offset + size <= self.size
        return self.data[offset : offset + size]


def read(data: bytes) -> DeviceFile | None:
    info = elf.parse(data) if elf.is_elf(data) else None
    return gpu.read(Bytes(data), info, lambda _steps, _read, _what: None)


def code(data: bytes) -> list[tuple[DeviceKind, str, Compression, int, int]]:
    found = read(data)
    assert found is not None
    assert not found.problem
    return [
        (each.kind, each.arch, each.compression, each.size, each.unpacked) for each in found.entries
    ]


def one(inspector: Inspector, **members: bytes) -> tuple[WheelReport, tuple[GpuFile, ...]]:
    report = inspector.report(WheelSpec(members={f"{k}.so": v for k, v in members.items()}))
    return report, report.gpu_files


# Fat binaries


def test_each_entry_says_kind_architecture_compression_and_bytes() -> None:
    linked = fatbin(
        entry(90, b"12345678", flags=SPECIFIC),
        entry(100, b"1234567812345678", flags=ZSTD | FAMILY, unpacked=64, more=b"more" * 8),
        entry(75, b"12345678", flags=LZ4, unpacked=32),
        entry(120, b"12345678", kind=PTX, version=(9, 2)),
        entry(80, kind=64),
    )
    sass, ptx = DeviceKind.SASS, DeviceKind.PTX
    assert code(device_library(linked=linked)) == [
        (sass, "sm_90a", Compression.NONE, 72, 8),
        (sass, "sm_100f", Compression.ZSTD, 112, 64),
        (sass, "sm_75", Compression.LZ4, 72, 32),
        (ptx, "compute_120", Compression.NONE, 72, 8),
        (DeviceKind.OTHER, "sm_80", Compression.NONE, 72, 8),
    ]


def test_containers_may_be_padded() -> None:
    linked = b"\0" * 8 + fatbin(entry(80)) + b"\0" * 5000 + fatbin(entry(90)) + b"\0" * 3
    assert [each[1] for each in code(device_library(linked=linked))] == ["sm_80", "sm_90"]


def test_a_fat_binary_as_large_as_many_pieces_is_read() -> None:
    linked = fatbin(entry(80, b"x" * (3 << 20)), entry(90, b"y" * 8))
    assert [each[3] for each in code(device_library(linked=linked))] == [(3 << 20) + 64, 72]


def test_relocatable_code_counts_where_nothing_is_linked() -> None:
    both = read(device_library(linked=fatbin(entry(80)), __nv_relfatbin=fatbin(entry(90))))
    assert both is not None
    assert ([each.arch for each in both.entries], both.unused) == (["sm_80"], 88)
    alone = read(device_library(__nv_relfatbin=fatbin(entry(90))))
    assert alone is not None
    assert ([each.arch for each in alone.entries], alone.unused) == (["sm_90"], 0)


def test_a_file_that_cannot_load_a_driver_is_not_searched() -> None:
    quiet = make_elf(ElfSpec(more={".nv_fatbin": fatbin(entry(80))}))
    assert read(quiet) is None
    for name in ("dlsym", "__cudaRegisterFatBinary", "__hipRegisterFatBinary"):
        loud = make_elf(ElfSpec(undefined=(name,), more={".nv_fatbin": fatbin(entry(80))}))
        assert read(loud) is not None, name


BROKEN = {
    "no container": b"\x01" * 32,
    "a container cut off": fatbin(entry(80))[:20] + b"\x01",
    "a container that is larger": struct.pack("<4sHHQ", b"\x50\xed\x55\xba", 1, 16, 1 << 40),
    "a container with an entry of 8 bytes": fatbin(b"\x02" * 8),
    "an entry with a short header": fatbin(struct.pack("<HHIQ", 2, 1, 8, 0) + bytes(48)),
    "an entry with an endless header": fatbin(struct.pack("<HHIQ", 2, 1, 1 << 31, 0) + bytes(48)),
    "an entry larger than its container": fatbin(struct.pack("<HHIQ", 2, 1, 64, 99) + bytes(48)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_and_the_rest_stays(name: str) -> None:
    found = read(device_library(linked=fatbin(entry(80)) + BROKEN[name]))
    assert found is not None
    assert found.problem.startswith(".nv_fatbin: ")
    assert [each.arch for each in found.entries] == ["sm_80"]


# Runtimes


@pytest.mark.parametrize(
    ("library", "name", "major"),
    [
        ("libcudart.so.11.0", "cudart", 11),
        ("libcudart-9335f6a2.so.12.4.127", "cudart", 12),
        ("libcublasLt.so.13", "cublasLt", 13),
        ("libamdhip64.so.7", "amdhip64", 7),
    ],
)
def test_a_shared_runtime_has_a_major_version(library: str, name: str, major: int) -> None:
    found = read(device_library(library, linked=fatbin(entry(80))))
    assert found is not None
    assert found.runtimes == ((name, major, False),)


STATIC = {
    11: CUDART,
    12: CUDART + b"cuGetProcAddress_v2\0cuLaunchCooperativeKernelMultiDevice\0",
    13: CUDART + b"cuGetProcAddress_v2\0",
}


@pytest.mark.parametrize("major", STATIC)
def test_a_static_runtime_has_a_major_version_too(major: int) -> None:
    # The text begins in one piece of the file and ends in the next.
    texts = b"x" * ((1 << 20) - 9) + STATIC[major]
    found = read(device_library(texts=texts, linked=fatbin(entry(80))))
    assert found is not None
    assert found.runtimes == (("cudart", major, True),)


def test_a_static_runtime_is_found_without_code() -> None:
    imports = ("dlsym", "shm_open", "shm_unlink")
    more = {".rodata": STATIC[13]}
    found = read(make_elf(ElfSpec(undefined=imports, more=more)))
    assert found == DeviceFile(runtimes=(gpu.Runtime("cudart", 13, static=True),))
    assert read(make_elf(ElfSpec(undefined=imports[:2], more=more))) is None
    assert read(make_elf(ElfSpec(undefined=imports))) is None


def test_debug_information_is_not_read_just_to_look_for_code() -> None:
    debug = b"x" * (1 << 17)  # stands behind what is loaded, and in front of the section headers
    for name, read_it in (("dlopen", False), ("__cudaRegisterFatBinary", True)):
        data = make_elf(ElfSpec(undefined=(name,), more={".nv_fatbin": fatbin(entry(80))}))
        (at,) = struct.unpack_from("<Q", data, 40)
        moved = data[:40] + struct.pack("<Q", at + len(debug)) + data[48:at] + debug + data[at:]
        assert (read(moved) is not None) is read_it
        assert read(data) is not None


@pytest.mark.parametrize("wrapper", [b"\xb1\x43\x62\x46\x01", b"FPIH\x01"])
def test_what_is_registered_shows_code_in_front_of_debug_information(wrapper: bytes) -> None:
    """A library that loads the runtime by itself, such as those of jax, imports no name of it."""
    debug = b"x" * (1 << 17)
    more = {".nv_fatbin": fatbin(entry(80)), ".variables": wrapper + b"\0" * 19}
    data = make_elf(ElfSpec(undefined=("dlopen",), more=more))
    (at,) = struct.unpack_from("<Q", data, 40)
    moved = data[:40] + struct.pack("<Q", at + len(debug)) + data[48:at] + debug + data[at:]
    found = read(moved)
    assert found is not None
    assert [each.arch for each in found.entries] == ["sm_80"]


def test_static_libraries_are_named_but_not_in_themselves() -> None:
    texts = CUDART + b"CUBLASLT_LOG_LEVEL\0CUDNN_LOGLEVEL_DBG\0"
    found = read(device_library(texts=texts, linked=fatbin(entry(80))))
    assert found is not None
    assert found.static == ("cublasLt", "cudnn")
    more = {".rodata": texts, ".nv_fatbin": fatbin(entry(80))}
    own = read(make_elf(ElfSpec(soname="libcublasLt.so.12", undefined=("dlopen",), more=more)))
    assert own is not None
    assert own.static == ("cudnn",)


# ROCm


def test_bundles_say_architecture_and_bytes() -> None:
    first = bundle({HOST: b"", AMD + "gfx90a:xnack+": b"12345", AMD + "gfx1100": b"123"})
    second = bundle({HOST: b"", AMD + "gfx1100": b"1"})
    found = code(device_library(**{".hip_fatbin": first + b"\0" * 7 + second}))
    assert [(each[1], each[3]) for each in found] == [
        ("gfx90a:xnack+", 5),
        ("gfx1100", 3),
        ("gfx1100", 1),
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_the_objects_of_a_compressed_bundle_share_its_bytes(version: int) -> None:
    packed = compressed(bundle({AMD + "gfx90a": b"x" * 3000, AMD + "gfx942": b"x" * 1000}), version)
    found = code(device_library(**{".hip_fatbin": packed + b"\0" * 100 + packed}))
    assert found[0] == found[2]
    assert [(each[1], each[2], each[4]) for each in found[:2]] == [
        ("gfx90a", Compression.ZLIB, 3000),
        ("gfx942", Compression.ZLIB, 1000),
    ]
    assert found[0][3] == len(packed) * 3 // 4


BROKEN_BUNDLES = {
    "no bundle": b"\x01" * 64,
    "a bundle without a table": b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", 1 << 60),
    "a name that never ends": b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<QQQQ", 9, 0, 0, 1 << 62),
    "objects outside": bundle({AMD + "gfx90a": b"x"})[:-1],
    "objects that overlap": b"__CLANG_OFFLOAD_BUNDLE__"
    + struct.pack("<Q", 2)
    + (struct.pack("<QQQ", 200, 9, 1) + b"a") * 2
    + bytes(400),
    "another version": compressed(bundle({}))[:4] + struct.pack("<HH", 9, 0) + bytes(40),
    "more than there is": compressed(bundle({}))[:8] + struct.pack("<QQQ", 1 << 50, 1, 1),
    "damaged": compressed(bundle({}))[:32] + b"\xff" * 200,
}


@pytest.mark.parametrize("name", BROKEN_BUNDLES)
def test_a_broken_bundle_is_named(name: str) -> None:
    found = read(device_library(**{".hip_fatbin": BROKEN_BUNDLES[name]}))
    assert found is not None
    assert found.problem.startswith(".hip_fatbin: ")


def test_without_zstd_the_architecture_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.wheel.zstd._MODULES", ())
    packed = compressed(bundle({AMD + "gfx90a": b"x" * 3000}), method=1)
    (found,) = code(device_library(**{".hip_fatbin": packed}))
    assert found[1:4] == ("", Compression.ZSTD, len(packed))


# Loose files


def test_loose_files_are_read() -> None:
    ptx = b"//\n// Generated by NVIDIA NVVM Compiler\n.version 8.7\n.target sm_90a, debug\n"
    found = read(ptx)
    assert found is not None
    assert [(each.arch, each.version) for each in found.entries] == [("compute_90a", (8, 7))]
    assert read(b"// a text\n") is None
    assert code(fatbin(entry(80)))[0][1] == "sm_80"
    assert code(bundle({AMD + "gfx90a": b"x"}))[0][1] == "gfx90a"
    assert read(b"CCOBWEB, a text") is None


@pytest.mark.parametrize(
    ("machine", "abi", "flags", "arch"),
    [
        (190, 7, 0x00500550, "sm_80"),
        (190, 7, 0x0050085A | 0x800, "sm_90a"),
        (190, 8, 0x06006402, "sm_100"),
        (190, 8, 0x0600640A, "sm_100a"),
        (224, 0, 0x53F, "gfx90a"),
        (224, 0, 0x0FE, ""),
    ],
)
def test_a_loose_object_is_for_one_architecture(
    machine: int, abi: int, flags: int, arch: str
) -> None:
    data = bytearray(make_elf(ElfSpec(machine=(machine, 64, "<", flags))))
    data[8] = abi
    assert code(bytes(data))[0][1] == arch


# Wheels


def test_a_report_adds_up_files_and_finds_what_is_stored_twice(inspector: Inspector) -> None:
    twice = fatbin(entry(80, b"same"), entry(80, b"same"), entry(90, b"ptx", kind=PTX))
    report, files = one(
        inspector,
        a=device_library("libcudart.so.13", linked=twice),
        b=device_library("libcudart.so.13", linked=fatbin(entry(80, b"same", flags=ZSTD))),
        c=device_library("libcudart.so.13", linked=fatbin(entry(80, b"same"))),
        d=make_elf(ElfSpec()),
    )
    assert [each.file for each in files] == ["a.so", "b.so", "c.so"]
    sums = {(each.arch, each.compression.value): each for each in report.device_code}
    assert (sums["sm_80", "none"].entries, sums["sm_80", "none"].repeated) == (3, 144)
    assert (sums["sm_80", "zstd"].entries, sums["sm_80", "zstd"].repeated) == (1, 0)
    assert [each.repeated for each in files[0].code] == [0, 72]
    assert (report.runtimes, report.driver) == (("cudart 13",), "580.65.06")
    assert files[0].ptx == "9.0"


@pytest.mark.parametrize(
    ("libraries", "flags", "driver"),
    [
        (("libcudart.so.12",), 0, "525.60.13"),
        (("libcudart.so.12",), ZSTD, "550.54.14"),
        (("libcudart.so.13", "libcudart.so.12"), 0, "525.60.13"),
        ((), 0, ""),
    ],
)
def test_the_driver_follows_from_runtime_and_compression(
    inspector: Inspector, libraries: tuple[str, ...], flags: int, driver: str
) -> None:
    report, _ = one(inspector, a=device_library(*libraries, linked=fatbin(entry(80, flags=flags))))
    assert report.driver == driver


def test_architectures_are_sorted_by_number(inspector: Inspector) -> None:
    linked = fatbin(*(entry(arch) for arch in (120, 75, 100, 90)))
    report, _ = one(inspector, a=device_library(linked=linked))
    assert [each.arch for each in report.device_code] == ["sm_75", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("names", "abi"),
    [
        (("aoti_torch_empty_strided",), "stable"),
        (("aoti_torch_empty_strided", "_ZN2at5emptyEv"), "c++"),
        (("_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_stringE",), "c++ (cxx11)"),
        (("_ZN3c106detail14torchCheckFailEPKcS2_jRKSs",), "c++ (pre-cxx11)"),
        (("_ZNSt7__cxx1112basic_stringE",), ""),
    ],
)
def test_the_abi_of_libtorch_shows_in_names(
    inspector: Inspector, names: tuple[str, ...], abi: str
) -> None:
    report, _ = one(inspector, a=make_elf(ElfSpec(undefined=names)), b=make_elf(ElfSpec()))
    assert report.torch_abi == abi
    assert [each.torch_abi for each in report.elf_files] == [abi, ""]


def test_code_for_gpus_is_read_while_the_wheel_is_verified(inspector: Inspector) -> None:
    spec = WheelSpec(members={"a.so": device_library(linked=fatbin(entry(80)))})
    other = replace(spec, members={"a.ptx": b".version 8.7\n.target sm_90\n"})
    assert inspector.rules(spec) == []
    assert inspector.rules(other) == []
    assert [each.arch for each in inspector.report(other, ()).device_code] == ["compute_90"]
