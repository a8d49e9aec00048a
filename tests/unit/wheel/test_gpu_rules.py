"""Rules of `verify` on code for GPUs."""

from __future__ import annotations

import random
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.wheel import Severity
from orchestrator.plan.gpu_archs import AskedArchs
from orchestrator.wheel import Expected, verify
from tests.gpumaker import CUDART, LZ4, PTX, ZSTD, bundle, device_library, entry, fatbin
from tests.unit.wheel.conftest import EXPECTED, Inspector
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf

RULES = {"cuda-label", "gpu-arch", "torch-abi", "compression"}
CODE = fatbin(entry(80), entry(90, flags=0x100000), entry(90, kind=PTX))
CUDA_12 = device_library("libcudart.so.12", linked=CODE)
CUDA_13 = device_library("libcudart.so.13", linked=CODE)
STATIC_13 = device_library(texts=CUDART + b"cuGetProcAddress_v2", linked=CODE)
AMD = device_library(
    "libamdhip64.so.7", **{".hip_fatbin": bundle({"hipv4-amdgcn-amd-amdhsa--gfx90a": b"x"})}
)
PLAIN = make_elf(ElfSpec())
LOADS = make_elf(ElfSpec(undefined=("dlsym",)))
TORCH_CUDA = make_elf(ElfSpec(needed=("libc10_cuda.so",)))
TORCH_CPU = make_elf(ElfSpec(needed=("libtorch_cpu.so",)))
CUBLAS_12 = make_elf(ElfSpec(needed=("libcublas.so.12",)))

NOISE = random.Random(1).randbytes(1 << 20)  # noqa: S311 - nothing secret

EXTERNAL = ("cuda", "torch", "rocm")


def found(
    inspector: Inspector, local: str, *members: bytes, want: Expected | None = None
) -> list[tuple[Severity, str, str]]:
    """Return severity, rule and message of what these rules find in a wheel."""
    files = {f"f{number}.so": data for number, data in enumerate(members)}
    version = f"1.0+{local}" if local else "1.0"
    path = inspector.path(WheelSpec(version=version, members=files))
    if want is not None:
        want = replace(want, version=version)
    report = verify(path, inspector.policies, external=EXTERNAL, expected=want)
    return [(e.severity, e.rule, e.message) for e in report.problems if e.rule in RULES]


@pytest.mark.parametrize(
    ("local", "members", "message"),
    [
        ("cu130", (CUDA_13,), ""),
        ("cu130.torch2.12", (CUDA_13,), "no file uses libtorch"),
        ("cu13", (CUDA_12, CUDA_13), ""),
        ("cu140", (STATIC_13,), ""),  # a newer static runtime looks the same
        ("cuda12.8", (CUBLAS_12,), ""),
        ("cu118", (TORCH_CUDA,), ""),
        ("cu126", (CUDA_13,), "but f0.so needs cudart 13"),
        ("cu12torch2.8cxx11abitrue", (STATIC_13,), "but f0.so needs cudart 13 (static)"),
        ("cu130", (CUBLAS_12,), "but f0.so needs cublas 12"),
        ("cu130", (TORCH_CPU,), "but no file has anything of CUDA"),
        ("cu130", (PLAIN,), "but no file has anything of CUDA"),
        ("cu130", (TORCH_CPU, LOADS), "but no file has anything of CUDA"),
        ("cu130", (AMD,), "and nothing CUDA"),
        ("cu130", (), ""),
        ("rocm7.1", (AMD,), ""),
        ("rocm6.4", (AMD,), "but f0.so needs amdhip64 7"),
        ("rocm6.4", (CUDA_13,), "and nothing ROCm"),
        ("cpu", (PLAIN,), ""),
        ("cpu", (CUDA_13,), "the label says cpu, but f0.so needs libcudart.so.13"),
        ("cpu", (STATIC_13,), "the label says cpu, but f0.so needs cudart 13 (static)"),
        ("cpu", (AMD,), "the label says cpu, but f0.so needs libamdhip64.so.7"),
        ("cpu.torch2.12", (TORCH_CUDA,), "the label says cpu.torch2.12, but f0.so needs libc10_"),
        ("abcpu", (CUDA_13,), ""),
        ("acu130", (CUDA_12,), ""),
        ("g0123456", (CUDA_12,), ""),
    ],
)
def test_a_label_of_a_device_is_true(
    inspector: Inspector, local: str, members: tuple[bytes, ...], message: str
) -> None:
    findings = [each for each in found(inspector, local, *members) if each[1] == "cuda-label"]
    expected = bool(message) and "libtorch" not in message
    assert [message in each[2] for each in findings] == [True] * expected
    warns = members in {(PLAIN,), (TORCH_CPU, LOADS)}
    assert {each[0] for each in findings} <= {Severity.WARNING if warns else Severity.ERROR}


@pytest.mark.parametrize(
    ("wanted", "member", "message"),
    [
        ({"cuda_version": "13.0"}, CUDA_13, ""),
        ({"cuda_version": "13"}, STATIC_13, ""),
        ({"cuda_version": "13.0"}, PLAIN, ""),
        ({"cuda_version": "12.6"}, CUDA_13, "planned for CUDA 12.6, but f0.so needs cudart 13"),
        ({"cuda": False}, STATIC_13, "planned without CUDA, but f0.so has code for sm_80"),
        ({"cuda": False}, PLAIN, ""),
        ({}, CUDA_13, ""),
    ],
)
def test_the_cuda_of_the_cell_is_that_of_the_wheel(
    inspector: Inspector, wanted: dict[str, Any], member: bytes, message: str
) -> None:
    findings = found(inspector, "", member, want=replace(EXPECTED, **wanted))
    assert [each[2].startswith(message) for each in findings] == [True] * bool(message)


ASKED = ("sm_80", "sm_90a", "compute_90")


@pytest.mark.parametrize(
    ("asked", "missing", "more"),
    [
        (ASKED, "", ""),
        (("sm_80", "sm_90", "compute_90"), "", ""),  # sm_90a serves it
        (("sm_80", "sm_90a", "sm_100", "compute_90"), "asks for sm_100, the wheel has code", ""),
        (("sm_80", "sm_90a", "compute_120"), "asks for compute_120", "compute_90 (68 B)"),
        (("sm_80", "compute_90"), "", "does not ask for sm_90a (72 B)"),
        (("gfx90a",), "", ""),  # the other vendor's is not judged
        ((), "", ""),
    ],
)
@pytest.mark.parametrize("by_user", [True, False])
def test_the_architectures_are_those_asked_for(
    inspector: Inspector, asked: tuple[str, ...], missing: str, more: str, *, by_user: bool
) -> None:
    archs = AskedArchs(names=frozenset(asked), variables=("TORCH_CUDA_ARCH_LIST",), by_user=by_user)
    findings = found(inspector, "", CUDA_13, want=replace(EXPECTED, gpu_archs=archs))
    level = Severity.ERROR if by_user else Severity.WARNING
    assert [each[0] for each in findings if "asks for" in each[2]] == [level] * bool(missing)
    assert [each[0] for each in findings if "not ask" in each[2]] == [Severity.WARNING] * (
        bool(more) and by_user
    )
    for _, rule, message in findings:
        assert rule == "gpu-arch"
        assert message.startswith("TORCH_CUDA_ARCH_LIST")


def test_architectures_of_rocm_are_judged_without_their_features(inspector: Inspector) -> None:
    archs = AskedArchs(
        names=frozenset({"gfx90a", "gfx942"}), variables=("PYTORCH_ROCM_ARCH",), by_user=True
    )
    objects = {f"hipv4-amdgcn-amd-amdhsa--{arch}": b"x" for arch in ("gfx90a:xnack+", "gfx942")}
    both = device_library(**{".hip_fatbin": bundle(objects)})
    want = replace(EXPECTED, gpu_archs=archs)
    assert found(inspector, "", both, want=want) == []
    (only,) = found(inspector, "", AMD, want=want)
    assert "asks for gfx942, the wheel has code for gfx90a" in only[2]


def test_code_that_cannot_be_read_is_a_warning(inspector: Inspector) -> None:
    (only,) = found(inspector, "", device_library(linked=CODE + b"\x01" * 64))
    assert only[:2] == (Severity.WARNING, "gpu-arch")
    assert "f0.so cannot be read whole" in only[2]


NEW = "_ZN3c105ErrorC1ENS_14SourceLocationENSt7__cxx1112basic_stringE"
OLD = "_ZN3c106detail14torchCheckFailEPKcS2_jRKSs"


@pytest.mark.parametrize(
    ("local", "planned", "symbol", "message"),
    [
        ("cxx11abitrue", None, NEW, ""),
        ("cxx11abifalse", None, OLD, ""),
        ("cu12torch2.8cxx11abifalse", None, NEW, f"c++ (cxx11), as in {NEW}"),
        ("cxx11abitrue", None, OLD, f"c++ (pre-cxx11), as in {OLD}"),
        ("", True, OLD, "planned with cxx11abi=True"),
        ("", False, NEW, "planned with cxx11abi=False"),
        ("", True, NEW, ""),
        ("", None, OLD, ""),
        ("", True, "aoti_torch_empty_strided", ""),
        ("torch2.8", None, NEW, ""),
        ("torch2.8", None, "malloc", "no file uses libtorch"),
    ],
)
def test_the_abi_of_label_and_cell_is_that_of_the_symbols(
    inspector: Inspector, local: str, symbol: str, message: str, *, planned: bool | None
) -> None:
    module = make_elf(ElfSpec(undefined=(symbol,), defined=("PyInit_f0",)))
    findings = found(inspector, local, module, want=replace(EXPECTED, cxx11abi=planned))
    findings = [each for each in findings if each[1] == "torch-abi"]
    assert [message in each[2] for each in findings] == [True] * bool(message)
    level = Severity.WARNING if "no file" in message else Severity.ERROR
    assert {each[0] for each in findings} <= {level}


def test_code_that_is_not_compressed_is_a_warning(inspector: Inspector) -> None:
    large = b"code" * (9 << 18)
    (only,) = found(inspector, "", device_library(linked=fatbin(entry(80, large))))
    assert only[:2] == (Severity.WARNING, "compression")
    assert only[2].startswith("9.0 MiB of machine code for GPUs is not compressed")
    assert "about 0.0 MiB or less with nvcc --compress-mode=size" in only[2]
    for quiet in (entry(80, large, flags=ZSTD), entry(80, large, kind=PTX)):
        assert found(inspector, "", device_library(linked=fatbin(quiet))) == []


def test_code_that_is_compressed_with_lz4_is_a_warning_if_zstd_is_much_better(
    inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A block of literals alone is as long as what it stands for; here each is there 8 times.
    block = lz4_literals(NOISE * 8)
    code = [entry(80, block, flags=LZ4, unpacked=8 << 20) for _ in range(2)]
    library = device_library(linked=fatbin(*code))
    (only,) = (each for each in found(inspector, "", library) if "LZ4" in each[2])
    assert only[:2] == (Severity.WARNING, "compression")
    assert re.search(
        r"16\.\d MiB .*LZ4, most of it in f0.so: about 2\.\d MiB or less with nvcc", only[2]
    )
    plain = random.Random(2).randbytes(17 << 20)  # noqa: S311 - nothing secret
    packed = entry(80, lz4_literals(plain), flags=LZ4, unpacked=17 << 20)
    assert not found(inspector, "", device_library(linked=fatbin(packed)))
    monkeypatch.setattr("orchestrator.wheel.recompress.zstd", lambda: None)
    assert not any("LZ4" in each[2] for each in found(inspector, "", library))
    (only,) = found(inspector, "", device_library(linked=fatbin(entry(80, b"code" * (9 << 18)))))
    assert "or less" not in only[2]


def lz4_literals(content: bytes) -> bytes:
    """Return an LZ4 block of one sequence."""
    more, rest = divmod(len(content) - 15, 255)
    return b"\xf0" + b"\xff" * more + bytes([rest]) + content


def test_code_that_nothing_can_use_is_a_warning(inspector: Inspector) -> None:
    large = b"code" * (2 << 18)
    more = {"__nv_relfatbin": fatbin(entry(80, large))}
    (only,) = found(inspector, "", device_library(linked=CODE, **more))
    assert only[2].startswith("2.0 MiB of relocatable code that nothing can load is in f0.so: ")
    one = device_library(linked=fatbin(entry(80, large)))
    (only,) = found(inspector, "", one, one)
    assert only[2].startswith("2.0 MiB of code for GPUs is in the wheel twice or more")


@pytest.mark.parametrize(
    ("content", "method", "warns"),
    [
        (b"text " * (1 << 18), zipfile.ZIP_STORED, True),
        (b"text " * (1 << 18), zipfile.ZIP_DEFLATED, False),
        (NOISE, zipfile.ZIP_STORED, False),
        (b"text " * (1 << 10), zipfile.ZIP_STORED, False),
    ],
)
def test_a_member_that_is_stored_by_mistake(
    inspector: Inspector, tmp_path: Path, content: bytes, method: int, *, warns: bool
) -> None:
    spec = WheelSpec(members={"demo/data.bin": content})
    path = spec.write(tmp_path)
    files = spec.all_files()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data, compress_type=method)
    messages = [e.message for e in inspector.findings(path) if e.rule == "compression"]
    assert len(messages) == warns
    assert all("demo/data.bin (1.2 MiB) is stored; its beginning" in each for each in messages)


def test_the_size_budget_names_architectures(inspector: Inspector) -> None:
    wheel = WheelSpec(members={EXTENSION: device_library(linked=CODE)})
    (message,) = (
        each.message
        for each in inspector.findings(wheel, size_budget=10)
        if each.rule == "size-budget"
    )
    assert message.endswith(
        "; code for GPUs, before it is deflated: compute_90 (72 bytes), sm_80 (72 bytes), "
        "sm_90a (72 bytes)"
    )
