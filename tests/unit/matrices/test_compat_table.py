"""The torch table as data: well formed, and in agreement with what other projects built against.

Reads the file itself, not through the program.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.matrices import flash_attention, flashinfer, prebuild_wheels

TABLE = Path(__file__).parents[3] / "orchestrator" / "matrix" / "compat.toml"
TORCH: dict[str, Any] = tomllib.loads(TABLE.read_text())["torch"]


class Build(NamedTuple):
    torch: str
    python: str
    arch: str
    backend: str
    """cpu, or cuda or rocm and its version."""


def rows() -> list[tuple[Build, str]]:
    """Every build that a row stands for, and its C++ ABI."""
    listed = []
    for row in TORCH["builds"]:
        backends = (
            ["cpu"] * row.get("cpu", False)
            + [f"cuda {v}" for v in row.get("cuda", [])]
            + [f"rocm {v}" for v in row.get("rocm", [])]
        )
        listed += [
            (Build(*parts), row["cxx11abi"])
            for parts in itertools.product(row["torch"], row["python"], row["arch"], backends)
        ]
    return listed


ABI = dict(rows())
RELEASES = {build.torch for build in ABI}


def abi(torch: str, python: str, arch: str, cuda: str) -> str | None:
    """The C++ ABI of one CUDA build, None where it was never published."""
    series = torch if torch in RELEASES else ".".join(torch.split(".")[:2])
    return ABI.get(Build(series, python, arch, f"cuda {cuda}"))


def test_the_table_is_dated_and_names_its_sources() -> None:
    assert isinstance(TORCH["updated"], dt.date)
    assert len(TORCH["sources"]) > 1
    assert set(TORCH) == {"updated", "sources", "partial", "builds", "gpu-arches"}
    assert set(TORCH["partial"]["torch"]) <= RELEASES


@pytest.mark.parametrize("row", TORCH["builds"], ids=lambda row: "+".join(row["torch"]))
def test_a_row_of_builds_is_well_formed(row: dict[str, Any]) -> None:
    assert set(row) <= {"torch", "python", "arch", "cpu", "cuda", "rocm", "cxx11abi"}
    assert row["cxx11abi"] in {"0", "1"}
    assert row.get("cpu", True) is True
    assert {"cpu", "cuda", "rocm"} & set(row)
    assert all(re.fullmatch(r"2\.\d+(\.\d+)?", torch) for torch in row["torch"])
    assert all(re.fullmatch(r"cp3\d+t?", python) for python in row["python"])
    assert set(row["arch"]) <= {"x86_64", "aarch64"}
    assert all(re.fullmatch(r"\d+\.\d", cuda) for cuda in row.get("cuda", []))


def test_no_build_stands_in_two_rows() -> None:
    assert len(rows()) == len(ABI)


def test_gpu_architectures_are_those_of_builds_in_the_table() -> None:
    builds = {(build.torch, build.arch, build.backend) for build in ABI}
    listed = [
        (torch, arch, f"cuda {cuda}")
        for row in TORCH["gpu-arches"]
        for torch, arch, cuda in itertools.product(row["torch"], row["arch"], row["cuda"])
    ]
    assert set(listed) <= builds
    assert len(listed) == len(set(listed))
    for row in TORCH["gpu-arches"]:
        assert all(re.fullmatch(r"\d+\.\d(\+PTX)?", gpu) for gpu in row["arches"])


def test_torch_2_6_has_both_abis_and_cuda_12_6_the_new_one() -> None:
    of = {cuda: abi("2.6.0", "cp312", "x86_64", cuda) for cuda in ("11.8", "12.4", "12.6")}
    assert of == {"11.8": "0", "12.4": "0", "12.6": "1"}


def test_one_release_may_differ_from_its_series() -> None:
    assert abi("2.12.0", "cp313t", "x86_64", "13.0") == "1"
    assert abi("2.12.1", "cp313t", "x86_64", "13.0") is None
    assert abi("2.12.1", "cp314t", "x86_64", "13.0") == "1"


def test_prebuild_wheels_support_tables_say_the_same_of_every_linux_cell() -> None:
    """FA3's own rule (no free-threaded Python) is not torch's: FA2 has every other axis value."""
    valid = prebuild_wheels.expected()
    compared = 0
    for target in prebuild_wheels.candidates():
        of = dict(target)
        if of["os"] != "linux" or of["flash_attn"] == prebuild_wheels.FA3:
            continue
        published = abi(of["torch"], of["python"], of["arch"], of["cuda"]) is not None
        assert published == (target in valid), sorted(of.items())
        compared += 1
    assert compared == 3 * 7 * 9 * 6 + 7 * 5 * 5


def test_what_flashinfer_excluded_as_unsupported_is_what_torch_never_published() -> None:
    for target in flashinfer.candidates_by_torch():
        of = dict(target)
        published = abi(of["torch"], "cp310", "x86_64", of["cuda"]) is not None
        never = {"cuda": of["cuda"], "torch": of["torch"]} in flashinfer.NEVER_PUBLISHED
        assert published is not never, sorted(of.items())


def test_flash_attention_builds_only_against_published_torch_and_labels_2_6_wrongly() -> None:
    for target in flash_attention.expected():
        of = dict(target)
        build = abi(of["torch"], of["python"], of["arch"], flash_attention.torch_cuda(target))
        assert build == "1", sorted(of.items())
        assert of["cxx11abi"] == "TRUE" or of["torch"] == "2.6.0"
