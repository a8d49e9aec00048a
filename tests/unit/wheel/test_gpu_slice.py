"""Which entries of a fat binary a slice keeps, and files that are fat binaries."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial

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


EMPTY: Mapping[str, bytes] = {}
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")


def with_sections(
    change: Callable[[list[list[int]], list[str]], object], sections: Mapping[str, bytes] = EMPTY
) -> bytes:
    """Return a library whose section headers were changed."""
    data = device_library(linked=fatbin(entry(80, bytes(9000)), entry(90)), **sections)
    (at,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    rows = [list(SECTION_HEADER.unpack_from(data, at + 64 * each)) for each in range(count)]
    texts = data[rows[names][4] :]
    change(rows, [texts[row[0] :].split(b"\0")[0].decode() for row in rows])
    head = data[:60] + struct.pack("<H", len(rows)) + data[62:at]
    return head + b"".join(SECTION_HEADER.pack(*row) for row in rows)


def at_the_code(rows: list[list[int]], names: list[str], kind: int, *, shift: int = 0) -> None:
    code = rows[names.index(".nv_fatbin")]
    rows.append([1, kind, 0, 0, code[4] + shift, 64, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (partial(at_the_code, kind=1), "shares bytes with the section"),
        (partial(at_the_code, kind=1, shift=8999), "shares bytes with the section"),
        (partial(at_the_code, kind=3, shift=-63), "shares bytes with the section"),
        # Twice: each would be cut out
        (
            lambda rows, names: rows.append([*rows[names.index(".nv_fatbin")]]),
            "shares bytes with the section",
        ),
        (
            lambda rows, names: rows.extend(
                [[*rows[names.index(".nv_fatbin")]] for _ in range(16)]
            ),
            "17 sections of code",
        ),
        (lambda rows, names: rows[names.index(".nv_fatbin")].__setitem__(2, 0), "in no segment"),
    ],
)
def test_nothing_else_is_cut_out(change: Callable[..., object], message: str) -> None:
    with pytest.raises(CannotShrinkError, match=message):
        sliced(with_sections(change), 90)


@pytest.mark.parametrize(
    ("kind", "at", "message"),
    [
        (2, 0, "shares bytes with a segment of type 0x2"),
        (0x6474E552, 100, "shares bytes with a segment of type 0x6474e552"),
        (1, 0, "its segments overlap"),
    ],
)
def test_a_segment_over_the_code_is_refused(kind: int, at: int, message: str) -> None:
    data = bytearray(LARGE)
    place = data.index(b"\x50\xed\x55\xba") + at
    # The second program header, that of the dynamic section
    struct.pack_into("<IIQQQQQQ", data, 120, kind, 4, place, place, place, 64, 64, 8)
    with pytest.raises(CannotShrinkError, match=message):
        sliced(bytes(data), 90)


LARGE = device_library(linked=fatbin(entry(80, bytes(9000)), entry(90)))


def test_packed_relocations_are_counted_one_by_one() -> None:
    """A word of 8 bytes stands for 63 of them."""

    def packed(rows: list[list[int]], names: list[str]) -> None:
        rows[names.index(".words")][1] = 19

    def steps(words: int) -> int:
        counted: list[int] = []
        start = (1 << 40).to_bytes(8, "little")
        data = with_sections(packed, {".words": start + b"\xff" * 8 * words})
        slice_file(data, Slice(frozenset({90}), ptx=False), lambda *spent: counted.append(spent[0]))
        return sum(counted)

    assert steps(200) - steps(100) >= 100 * 63
    assert steps(400) - steps(200) == 2 * (steps(200) - steps(100))
