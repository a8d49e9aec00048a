"""The torch table as data: well formed, and in agreement with what other projects built against.

Reads the file itself, not through the program.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.matrices import flash_attention, flashinfer, prebuild_wheels

TABLE = Path(__file__).parents[3] / "orchestrator" / "plan" / "torch_table.toml"
TORCH: dict[str, Any] = tomllib.loads(TABLE.read_text())["torch"]


RELEASES: dict[str, dict[str, Any]] = {
    torch: entry for entry in TORCH["releases"] for torch in entry["torch"]
}


def published(torch: str, python: str, arch: str, cuda: str) -> bool:
    """Whether one CUDA build is in the table."""
    entry = RELEASES[".".join(torch.split(".")[:2])]
    return python in entry["python"] and cuda in entry["cuda"].get(arch, [])


def abi(torch: str, build: str) -> str:
    """The C++ ABI of a build: ``12.6``, ``rocm 6.2.4``, ``cpu aarch64``."""
    of = RELEASES[".".join(torch.split(".")[:2])]["abi"]
    return str(of if isinstance(of, str) else of.get(build, of["*"]))


def test_the_table_is_dated_and_names_its_sources() -> None:
    assert set(TORCH) == {"updated", "source", "releases"}
    assert isinstance(TORCH["updated"], dt.date)
    assert "RELEASE.md" in TORCH["source"]


def test_no_series_has_two_entries() -> None:
    assert len(RELEASES) == sum(len(entry["torch"]) for entry in TORCH["releases"])


@pytest.mark.parametrize("entry", TORCH["releases"], ids=lambda entry: "+".join(entry["torch"]))
def test_an_entry_is_well_formed(entry: dict[str, Any]) -> None:
    assert set(entry) - {"gpu-archs", "unknown"} == {
        "torch",
        "python",
        "cpu",
        "cuda",
        "rocm",
        "abi",
    }
    assert all(re.fullmatch(r"2\.\d+", torch) for torch in entry["torch"])
    assert all(re.fullmatch(r"cp3\d+t?", python) for python in entry["python"])
    assert set(entry["cpu"]) == {"x86_64", "aarch64"}
    builds = {f"rocm {version}" for version in entry["rocm"]["x86_64"]}
    builds |= {f"cpu {arch}" for arch in entry["cpu"]} | {"*"}
    for arch, versions in entry["cuda"].items():
        assert arch in entry["cpu"]
        assert all(re.fullmatch(r"\d\d\.\d", version) for version in versions)
        builds |= set(versions)
    if isinstance(entry["abi"], dict):
        assert set(entry["abi"]) <= builds
    for arch, lists in entry.get("gpu-archs", {}).items():
        for version, gpus in lists.items():
            assert any(cuda.startswith(version) for cuda in entry["cuda"][arch])
            assert re.fullmatch(r"(\d+\.\d )+\d+\.\d(\+PTX)?", gpus)


def test_the_gpus_of_every_build_are_known_or_it_is_said_why_not() -> None:
    missing = [
        (torch, arch, cuda)
        for torch, entry in RELEASES.items()
        for arch, versions in entry["cuda"].items()
        for cuda in versions
        if not {cuda, cuda.split(".")[0]} & entry.get("gpu-archs", {}).get(arch, {}).keys()
    ]

    assert missing == [("2.8", "aarch64", "12.9")]
    assert "aarch64 with CUDA 12.9" in RELEASES["2.8"]["unknown"]


def test_torch_2_6_has_both_abis_and_cuda_12_6_the_new_one() -> None:
    of = {cuda: abi("2.6.0", cuda) for cuda in RELEASES["2.6"]["cuda"]["x86_64"]}
    assert of == {"11.8": "0", "12.4": "0", "12.6": "1"}
    assert (abi("2.6.0", "cpu x86_64"), abi("2.6.0", "cpu aarch64")) == ("0", "1")


def test_the_abi_is_0_before_torch_2_6_and_1_after_it() -> None:
    for torch, entry in RELEASES.items():
        minor = int(torch.split(".")[1])
        if minor != 6:
            assert entry["abi"] == ("0" if minor < 6 else "1"), torch


def test_prebuild_wheels_support_tables_say_the_same_of_every_linux_cell() -> None:
    """FA3's own rule (no free-threaded Python) is not torch's: FA2 has every other axis value."""
    valid = prebuild_wheels.expected()
    compared = 0
    for target in prebuild_wheels.candidates():
        of = dict(target)
        if of["os"] != "linux" or of["flash_attn"] == prebuild_wheels.FA3:
            continue
        found = published(of["torch"], of["python"], of["arch"], of["cuda"])
        assert found == (target in valid), sorted(of.items())
        compared += 1
    assert compared == 3 * 7 * 9 * 6 + 7 * 5 * 5


def test_what_flashinfer_excluded_as_unsupported_is_what_torch_never_published() -> None:
    for target in flashinfer.candidates_by_torch():
        of = dict(target)
        never = {"cuda": of["cuda"], "torch": of["torch"]} in flashinfer.NEVER_PUBLISHED
        found = published(of["torch"], "cp310", "x86_64", of["cuda"])
        assert found is not never, sorted(of.items())


def test_flash_attention_builds_only_against_published_torch_and_labels_2_6_wrongly() -> None:
    for target in flash_attention.expected():
        of = dict(target)
        cuda = flash_attention.torch_cuda(target)
        assert published(of["torch"], of["python"], of["arch"], cuda), sorted(of.items())
        assert abi(of["torch"], cuda) == "1"
        assert of["cxx11abi"] == "TRUE" or of["torch"] == "2.6.0"
