"""The expected cells agree with the totals that their projects have."""

from __future__ import annotations

from collections import Counter

from tests.unit.matrices import bitsandbytes, flash_attention, flashinfer, prebuild_wheels, vllm


def test_flash_attention_goes_from_160_cells_to_56() -> None:
    built = flash_attention.expected()
    assert len(flash_attention.candidates()) == flash_attention.BEFORE == 160
    assert len(built) == flash_attention.AFTER == 56
    assert Counter(dict(c)["arch"] for c in built) == flash_attention.AFTER_BY_ARCH
    assert len(flash_attention.EXCLUDE) == 8


def test_flash_attention_labels_torch_2_6_wheels_with_an_abi_their_torch_does_not_have() -> None:
    old = {c for c in flash_attention.expected() if ("torch", "2.6.0") in c}
    assert {flash_attention.torch_cuda(c) for c in old} == {"12.6"}
    assert {flash_attention.label(c) for c in old} == {
        "cu12torch2.6cxx11abiFALSE",
        "cu12torch2.6cxx11abiTRUE",
    }


def test_flashinfer_by_torch_goes_from_15_cells_to_7_with_one_image_each() -> None:
    built = flashinfer.expected_by_torch()
    assert len(flashinfer.candidates_by_torch()) == flashinfer.BEFORE_BY_TORCH == 15
    assert len(built) == flashinfer.AFTER_BY_TORCH == 7
    assert {(dict(c)["torch"], dict(c)["cuda"]) for c in built} == set(flashinfer.IMAGE)
    assert len({flashinfer.label(c) for c in built}) == 7


def test_flashinfer_0_1_6_goes_from_9_cells_to_7_and_has_the_quoted_label() -> None:
    built = flashinfer.expected_0_1_6()
    assert len(flashinfer.candidates_0_1_6()) == flashinfer.BEFORE_0_1_6 == 9
    assert len(built) == flashinfer.AFTER_0_1_6 == 7
    assert "cu124torch2.4" in {flashinfer.label(c) for c in built}


def test_flashinfer_builds_6_wheels_today_each_with_an_arch_list() -> None:
    built = flashinfer.expected_today()
    assert len(built) == flashinfer.TODAY == 6
    assert {(dict(c)["cuda"], dict(c)["arch"]) for c in built} == set(flashinfer.TODAY_ARCH_LISTS)


def test_prebuild_wheels_go_from_2102_cells_to_854_to_650_wheels() -> None:
    built, wheels = prebuild_wheels.expected(), prebuild_wheels.wheels()
    assert len(prebuild_wheels.candidates()) == prebuild_wheels.BEFORE == 2_102
    assert len(built) == prebuild_wheels.VALID == 854
    assert len(wheels) == prebuild_wheels.WHEELS == 650
    by_platform = Counter((dict(c)["os"], dict(c)["arch"]) for c in built)
    assert by_platform == prebuild_wheels.VALID_BY_PLATFORM
    assert sum(len(pythons) for _, pythons in wheels) == 854


def test_bitsandbytes_builds_38_libraries_for_5_wheels_each_library_for_one() -> None:
    libraries, feeds = bitsandbytes.libraries(), bitsandbytes.feeds()
    assert len(libraries) == bitsandbytes.LIBRARIES == 38
    assert Counter(dict(c)["backend"] for c in libraries) == bitsandbytes.LIBRARIES_BY_BACKEND
    assert len(feeds) == bitsandbytes.WHEELS == 5
    assert {
        (dict(wheel)["os"], dict(wheel)["arch"]): len(fed) for wheel, fed in feeds.items()
    } == bitsandbytes.LIBRARIES_BY_WHEEL
    assert sum(len(fed) for fed in feeds.values()) == 38


def test_vllm_has_6_wheels_and_only_the_default_cuda_has_no_suffix() -> None:
    built = vllm.expected()
    assert len(built) == vllm.CELLS == 6
    assert Counter(vllm.local_version(c) for c in built) == {"": 2, "cu129": 2, "cpu": 2}
    assert Counter(vllm.local_version(c, "0123abc") for c in built) == {
        "g0123abc": 2,
        "g0123abc.cu129": 2,
        "g0123abc.cpu": 2,
    }
    for name in vllm.FILENAMES.values():
        assert name.startswith(("vllm-{}-", "vllm-{}+cu129-", "vllm-{}+cpu-"))
