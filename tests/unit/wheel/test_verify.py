from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import RuleLevel
from orchestrator.models.wheel import Severity
from orchestrator.wheel import verify
from tests.unit.wheel.conftest import EXPECTED, Inspector, extension, one_extension
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf, make_record, write_zip

INFO = "demo-1.0.dist-info"


def test_a_right_wheel(spec: WheelSpec, inspector: Inspector) -> None:
    report = verify(inspector.path(spec), inspector.policies, expected=EXPECTED)
    assert (report.problems, report.observed_tag) == ((), "manylinux_2_17_x86_64")


def test_a_right_pure_wheel(inspector: Inspector) -> None:
    spec = WheelSpec(
        python="py3", abi="none", platform="any", purelib="true", members={"a.py": b""}
    )
    assert inspector.rules(spec) == []


def test_a_wheel_of_a_stronger_hash(spec: WheelSpec, inspector: Inspector) -> None:
    record = make_record(spec.files(), f"{INFO}/RECORD")
    sha256 = b"sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    sha384 = b"sha384=OLBgp1GsljhM2TJ-sbHjaiH9txEUvgdDTAzHv2P24donTt6_529l-9Ua0vFImLlb"
    assert sha256 in record
    spec.extra_info["RECORD"] = record.replace(sha256, sha384)
    assert inspector.rules(spec) == []


@pytest.mark.parametrize("missing", ["WHEEL", "METADATA", "RECORD"])
def test_missing_files(spec: WheelSpec, inspector: Inspector, missing: str) -> None:
    files = spec.files()
    files.pop(f"{INFO}/{missing}", None)
    path = inspector.folder / spec.filename
    write_zip(path, files if missing == "RECORD" else spec.all_files(files))
    assert inspector.rules(path) == ["dist-info-files"]


@pytest.mark.parametrize("member", [EXTENSION, "demo/data.txt", f"{INFO}/WHEEL"])
def test_damaged_members(spec: WheelSpec, inspector: Inspector, member: str) -> None:
    spec.members["demo/data.txt"] = bytes(range(256))
    path = spec.write(inspector.folder)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(member) + info.compress_size // 2] ^= 0x55
    path.write_bytes(data)
    problems = inspector.findings(path)
    assert problems[0].rule == "zip-integrity"
    assert member in problems[0].message


def test_elf_in_purelib(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members["demo-1.0.data/purelib/demo/x.so"] = spec.members.pop(EXTENSION)
    assert inspector.rules(spec) == ["root-is-purelib"]
    spec.members["demo-1.0.data/platlib/x.so"] = spec.members.pop("demo-1.0.data/purelib/demo/x.so")
    spec.purelib = "true"
    assert inspector.rules(spec) == []


def test_segments_that_large_pages_cannot_hold(inspector: Inspector) -> None:
    name = "demo/_ext.cpython-312-aarch64-linux-gnu.so"
    members = {name: make_elf(ElfSpec(arch=Arch.AARCH64))}
    found = inspector.findings(WheelSpec(platform="linux_aarch64", members=members))
    (problem,) = (each for each in found if each.rule == "page-alignment")
    assert problem.severity is Severity.WARNING
    assert "aligned to 4096 bytes; kernels of aarch64 may have pages of 65536" in problem.message


def test_foreign_helpers_are_a_warning(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members["demo/firmware.bin"] = make_elf(ElfSpec(machine=(190, 64, "<", 0), needed=()))
    spec.members["demo/tool"] = make_elf(ElfSpec(arch=Arch.AARCH64))
    (problem,) = inspector.findings(spec)
    assert (problem.rule, problem.severity) == ("elf-machine", Severity.WARNING)
    assert problem.message == "demo/tool is for aarch64, the tag says x86_64"


@pytest.mark.parametrize(
    ("version", "platform", "caught"),
    [
        ("GLIBC_2.29", "manylinux_2_29_x86_64", []),
        ("GLIBC_2.29", "manylinux_2_30_x86_64", []),
        ("GLIBC_2.29", "manylinux_2_28_x86_64", ["tag-too-low"]),
        ("GLIBC_2.31", "manylinux_2_30_x86_64", ["tag-too-low"]),
        ("GLIBC_2.17", "manylinux2014_x86_64.manylinux_2_12_x86_64", ["tag-too-low"]),
        ("GLIBC_2.17", "manylinux2014_x86_64.manylinux_2_17_x86_64", []),
        ("GLIBC_2.99", "manylinux_2_41_x86_64", ["tag-too-low"]),
        ("GLIBC_2.99", "linux_x86_64", []),
    ],
)
def test_tag_too_low(inspector: Inspector, version: str, platform: str, caught: list[str]) -> None:
    spec = one_extension(versions={"libc.so.6": {version: ("f",)}})
    spec.platform = platform
    found = inspector.findings(spec)
    assert [each.rule for each in found] == caught
    for each in found:
        assert version in each.message
        assert "x.so" in each.message


def test_isa_of_loaded_libraries_is_a_warning(inspector: Inspector) -> None:
    spec = one_extension(needed=("libc.so.6", "libfast.so"), runpath="$ORIGIN")
    spec.members["libfast.so"] = make_elf(ElfSpec(isa=7))
    (problem,) = inspector.findings(spec)
    assert (problem.rule, problem.severity) == ("isa-level", Severity.WARNING)


@pytest.mark.parametrize(
    ("python", "abi", "suffixes", "fine"),
    [
        ("cp312", "cp312", ["cpython-312-x86_64-linux-gnu"], True),
        ("cp312", "cp312", ["abi3"], True),
        ("cp312", "cp312", [""], True),
        ("cp312", "cp312", ["cpython-311-x86_64-linux-gnu"], False),
        ("cp312", "cp312", ["cpython-311-x86_64-linux-gnu", "cpython-312-x86_64-linux-gnu"], True),
        ("cp312", "cp312", ["cpython-312-aarch64-linux-gnu"], False),
        ("cp312", "cp312", ["cpython-312-x86_64-linux-musl"], True),
        ("cp313", "cp313t", ["cpython-313t-x86_64-linux-gnu"], True),
        ("cp313", "cp313t", ["cpython-313-x86_64-linux-gnu"], False),
        ("cp313", "cp313t", ["abi3"], False),
        ("cp37", "cp37m", ["cpython-37m-x86_64-linux-gnu"], True),
        ("cp39", "abi3", ["abi3"], True),
        ("cp39", "abi3", [""], True),
        ("cp39", "abi3", ["cpython-39-x86_64-linux-gnu"], False),
        ("cp315", "abi3.abi3t", ["abi3t"], True),
        ("pp311", "pypy311_pp73", ["pypy311-pp73-x86_64-linux-gnu"], True),
        ("pp310", "pypy310_pp73", ["pypy311-pp73-x86_64-linux-gnu"], False),
        ("pp311", "pypy311_pp73", ["cpython-311-x86_64-linux-gnu"], False),
        ("py3", "none", ["cpython-312-x86_64-linux-gnu"], False),
        ("py3", "none", ["cpython-312-x86_64-linux-gnu", "cpython-313-x86_64-linux-gnu"], True),
        ("cp312", "none", ["cpython-312-x86_64-linux-gnu"], True),
        ("py3", "none", ["abi3"], True),
    ],
)
def test_python_abi(
    inspector: Inspector, python: str, abi: str, suffixes: list[str], *, fine: bool
) -> None:
    members = {f"demo/x.{suffix}.so".replace("..", "."): extension() for suffix in suffixes}
    spec = WheelSpec(python=python, abi=abi, members=members, platform="linux_x86_64")
    assert inspector.rules(spec) == ([] if fine else ["python-abi"])


def test_external_libraries(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(one_extension(needed=("libc.so.6", "libcuda.so.1")))
    assert inspector.rules(path) == ["external-library"]
    assert verify(path, inspector.policies, external=["cuda"]).problems == ()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": "other"}, "planned-name"),
        ({"version": "1.1"}, "planned-version"),
        ({"version": "1.0+cu130"}, "planned-version"),
        ({"build_tag": "1"}, "planned-build-tag"),
        ({"python": "cp311"}, "planned-python"),
        ({"python": "cp312t"}, "planned-python"),
        ({"python": "pp312"}, "planned-python"),
        ({"arch": Arch.AARCH64}, "planned-platform"),
        ({"libc": Libc.MUSLLINUX}, "planned-platform"),
    ],
)
def test_another_wheel_was_planned(
    spec: WheelSpec, inspector: Inspector, change: dict[str, Any], rule: str
) -> None:
    assert set(inspector.rules(spec, expected=replace(EXPECTED, **change))) == {rule}


def test_a_variant_was_not_planned(spec: WheelSpec, inspector: Inspector) -> None:
    spec.label = "cu13"
    assert inspector.rules(spec, expected=EXPECTED) == ["planned-label"]


@pytest.mark.parametrize(
    ("python", "abi", "planned", "fine"),
    [
        ("cp39", "abi3", "cp312", True),
        ("cp312", "abi3", "cp312", True),
        ("cp313", "abi3", "cp312", False),
        ("cp39", "abi3", "cp313t", False),
        ("cp315", "abi3.abi3t", "cp315t", True),
        ("cp310.cp312", "cp312", "cp312", True),
        ("py3", "none", "cp312", True),
        ("py3", "none", "cp314t", True),
        ("cp314", "cp314t", "cp314t", True),
        ("cp314", "cp314", "cp314t", False),
        ("pp311", "pypy311_pp73", "pp311", True),
        ("pp311", "pypy311_pp73", "pp310", False),
        ("graalpy312", "graalpy250_312_native", "gp312_250", True),
        ("graalpy312", "graalpy250_312_native", "gp313_253", False),
        ("cp312", "cp312", "gp312_250", False),
        ("py3", "none", "pp311", True),
    ],
)
def test_planned_python(
    inspector: Inspector, python: str, abi: str, planned: str, *, fine: bool
) -> None:
    spec = replace(one_extension(), python=python, abi=abi)
    got = inspector.rules(spec, expected=replace(EXPECTED, python=planned))
    assert got == ([] if fine else ["planned-python"])


def test_a_platform_wheel_was_planned(inspector: Inspector) -> None:
    spec = WheelSpec(python="py3", abi="none", platform="any", purelib="true")
    assert inspector.rules(spec, expected=EXPECTED) == ["not-platform-wheel"]
    spec = WheelSpec(python="py3", abi="none", platform="linux_x86_64", purelib="false")
    assert inspector.rules(spec, expected=EXPECTED) == ["not-platform-wheel"]


@pytest.mark.parametrize(
    ("needed", "planned", "message"),
    [
        ("libcudart.so.13", False, f"planned without CUDA, but {EXTENSION} needs libcudart.so.13"),
        ("libc10_cuda.so", False, f"planned without CUDA, but {EXTENSION} needs libc10_cuda.so"),
        ("libtorch_cpu.so", False, ""),
        ("libc10_cuda.so", True, ""),
        ("libtorch_cpu.so", True, "planned for CUDA, but no file needs a library of CUDA: "),
        ("libown.so", True, ""),  # not of torch: it may load CUDA by itself
        ("libcudart.so.13", None, ""),
        ("libtorch_cpu.so", None, ""),
    ],
)
def test_planned_cuda(
    inspector: Inspector, needed: str, message: str, *, planned: bool | None
) -> None:
    elf = make_elf(ElfSpec(needed=(needed,)))
    path = inspector.path(WheelSpec(members={EXTENSION: elf}))
    report = verify(
        path, inspector.policies, external=[needed], expected=replace(EXPECTED, cuda=planned)
    )
    found = [each for each in report.problems if each.rule == "planned-cuda"]
    assert [each.message.startswith(message) for each in found] == [True] * bool(message)
    severities = {each.severity for each in found}
    assert severities <= {Severity.WARNING if planned else Severity.ERROR}


def test_an_unrepaired_wheel_is_of_the_planned_platform(
    spec: WheelSpec, inspector: Inspector
) -> None:
    spec.platform = "linux_x86_64"
    assert inspector.rules(spec, expected=EXPECTED) == []


def test_isa_of_an_extension_module_is_an_error_of_its_own(inspector: Inspector) -> None:
    fast = extension(isa=7, versions={"libc.so.6": {"GLIBC_2.14": ("memcpy",)}})
    spec = WheelSpec(members={"x.cpython-312-x86_64-linux-gnu.so": fast})
    (problem,) = inspector.findings(spec)
    assert (problem.rule, problem.severity) == ("isa-level", Severity.ERROR)
    off = (("isa-level", RuleLevel.OFF),)
    assert inspector.rules(spec, levels=off) == []
    # What it says of the libc still counts.
    spec.platform = "manylinux_2_5_x86_64"
    assert inspector.rules(spec, levels=off) == ["tag-too-low"]


HEADER = make_elf(ElfSpec())[:51]


@pytest.mark.parametrize("content", [b"", b"text", b"#!/bin/sh\n", HEADER[:4], HEADER[:20], HEADER])
def test_what_is_named_as_an_extension_module_is_one(inspector: Inspector, content: bytes) -> None:
    name = "demo/_ext.cpython-312-x86_64-linux-gnu.so"
    members = {"x.so": extension(), name: content}
    (problem,) = inspector.findings(WheelSpec(members=members))
    assert problem.rule == "elf-malformed"
    assert name in problem.message
