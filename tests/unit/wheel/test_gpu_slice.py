"""Which entries of a fat binary a slice keeps, and files that are fat binaries."""

from __future__ import annotations

import pytest

from orchestrator.wheel import elf, gpu
from orchestrator.wheel.device_code import MalformedCodeError
from orchestrator.wheel.elf_shrink import CannotShrinkError
from orchestrator.wheel.gpu_slice import Slice, slice_file
from tests.gpumaker import FAMILY, PTX, SPECIFIC, device_library, entry, fatbin

OTHER = 0x40
LIBRARY = device_library(linked=fatbin(entry(80), entry(90)))


def free(steps: int, read: int, what: str) -> None:
    """Count nothing."""


def archs_of(data: bytes) -> list[str]:
    found = gpu.read(elf.ElfBytes(data), None, free)
    assert found is not None
    assert not found.problem
    return [each.arch for each in found.entries]


def sliced(data: bytes, *archs: int, ptx: bool = False) -> bytes:
    return slice_file(data, Slice(frozenset(archs), ptx), free)


@pytest.mark.parametrize(
    ("entries", "archs", "ptx", "kept"),
    [
        ("80 90 p90", (90,), False, "sm_90"),
        ("80 90 p90", (90,), True, "sm_90 compute_90"),
        ("80 90 90 p90", (90,), False, "sm_90 sm_90"),
        ("80 90 90a p90", (90,), False, "sm_90 sm_90a"),
        ("80 90a p80", (90,), False, "sm_90a"),
        ("80 86 90", (80, 90), False, "sm_80 sm_90"),
        # What the driver takes where there is no code for just this architecture
        ("75 80 90", (86,), False, "sm_80"),
        ("80 86 90", (89,), False, "sm_86"),
        ("80 90a p80", (120,), False, "compute_80"),
        ("80 p70 p80 p90", (86,), False, "sm_80"),
        ("70 p70 p80 p90", (86,), False, "compute_80"),
        ("100f 120f", (103,), False, "sm_100f"),
        ("100a 120f", (103,), False, "sm_120f"),  # nothing runs: the smallest stays
        ("90a p90a", (100,), False, "compute_90a"),
        ("80 p90a", (90,), False, "compute_90a"),
        ("80 x0 90", (90,), False, "sm_0 sm_90"),
        ("", (90,), False, ""),
    ],
)
def test_a_container_keeps_what_the_driver_would_take(
    entries: str, archs: tuple[int, ...], kept: str, *, ptx: bool
) -> None:
    made = []
    for number, text in enumerate(entries.split()):
        flags = SPECIFIC if text.endswith("a") else FAMILY if text.endswith("f") else 0
        kind = PTX if text.startswith("p") else OTHER if text.startswith("x") else 2
        content = bytes([number + 1]) * (64 - 8 * number)
        made.append(entry(int(text.strip("pxaf")), content, kind=kind, flags=flags))
    new = sliced(fatbin(*made), *archs, ptx=ptx)
    assert archs_of(new) == kept.split() if kept else new == fatbin()


def test_each_container_is_sliced_and_they_follow_each_other() -> None:
    one = fatbin(entry(80), entry(90, b"first"))
    two = fatbin(entry(90, b"second"), entry(90, b"more", kind=PTX))
    expected = fatbin(entry(90, b"first")) + fatbin(entry(90, b"second"))
    assert sliced(one + bytes(24) + two, 90) == expected
    assert sliced(expected, 90) == expected


def test_a_longer_header_of_a_container_stays() -> None:
    plain = fatbin(entry(80), entry(90))
    long = plain[:6] + (24).to_bytes(2, "little") + plain[8:16] + b"8 more.." + plain[16:]
    new = sliced(long, 90)
    assert new[16:24] == b"8 more.."
    assert archs_of(new) == ["sm_90"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (fatbin(entry(80))[:-1], MalformedCodeError),
        (fatbin(entry(80)) + b"more", MalformedCodeError),
        (b"", CannotShrinkError),
        (b"\x7fELF\x01\x01" + bytes(64), CannotShrinkError),
        (b"\x7fELF\x02\x02" + bytes(64), CannotShrinkError),
        (b"\x7fELF\x02\x01" + b"\xff" * 80, CannotShrinkError),
        (device_library(linked=fatbin(entry(80))[:-1]), MalformedCodeError),
        (LIBRARY.replace(b"\x3e", b"\x28", 1), CannotShrinkError),  # Arm, 32 bits
        (LIBRARY[: LIBRARY.index(b".nv_fatbin")], CannotShrinkError),
    ],
)
def test_what_cannot_be_sliced_is_an_error(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        sliced(data, 90)
