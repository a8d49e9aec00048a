"""How wheels grow, by file and by GPU architecture."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from orchestrator.models.growth import growth
from orchestrator.models.wheel import (
    LARGEST_FILES,
    Compression,
    DeviceCode,
    DeviceKind,
    FileSize,
)
from orchestrator.report.summary import growth_lines

KIB, MIB = 1 << 10, 1 << 20


class Wheel(NamedTuple):
    size: int
    device_code: tuple[DeviceCode, ...]
    largest: tuple[FileSize, ...]


def wheel(files: dict[str, int], **code: dict[str, int]) -> Wheel:
    """A wheel of some files; `code` is file -> architecture -> bytes."""
    held = {name.replace("__", "/") + ".so": archs for name, archs in code.items()}
    found = [
        FileSize(file=name, size=size, code=tuple(held.get(name, {}).items()))
        for name, size in sorted(files.items(), key=lambda item: -item[1])
    ]
    entries = [
        DeviceCode(
            kind=DeviceKind.SASS,
            arch=arch,
            compression=Compression.NONE,
            entries=1,
            size=size,
            unpacked=size,
            repeated=0,
        )
        for archs in held.values()
        for arch, size in archs.items()
    ]
    return Wheel(sum(files.values()), tuple(entries), tuple(found[:LARGEST_FILES]))


def lines(before: Wheel, now: Wheel) -> list[str]:
    return list(growth_lines(growth(before, now)))


def test_a_new_architecture_is_named_with_its_file() -> None:
    before = wheel({"_C.so": 40 * MIB, "a.py": KIB}, _C={"sm_90": 80 * MIB})
    now = wheel({"_C.so": 60 * MIB, "a.py": KIB}, _C={"sm_90": 80 * MIB, "sm_120": 39 * MIB})
    assert lines(before, now) == [
        "40.0 MiB → 60.0 MiB (+20.0 MiB, +50.0 %)",
        "_C.so: 40.0 MiB → 60.0 MiB (+20.0 MiB, +50.0 %)",
        "sm_120: +39.0 MiB in _C.so (new architecture)",
    ]
    assert lines(now, before)[1:] == [
        "_C.so: 60.0 MiB → 40.0 MiB (-20.0 MiB, -33.3 %)",
        "sm_120: -39.0 MiB in _C.so (no longer there)",
    ]
    assert lines(now, now) == []


def test_an_architecture_in_several_files_is_named_once() -> None:
    files = {"a.so": MIB, "b.so": MIB, "c.so": MIB}
    before = wheel(files, a={"sm_80": KIB}, b={"sm_80": KIB}, c={"sm_80": 9 * KIB})
    now = wheel(files, a={"sm_80": 3 * KIB}, b={"sm_80": 5 * KIB}, c={"sm_80": 8 * KIB})
    assert lines(before, now)[-1] == "sm_80: +5.0 KiB in b.so and 1 other file"


@pytest.mark.parametrize(
    ("then", "today"),
    [
        ("x.libs/libjpeg-0123abcd.so.8", "x.libs/libjpeg-fedc4321.so.8"),
        ("x.libs/libnvjpeg.8dd2b5e6.so.12", "x.libs/libnvjpeg.36e11081.so.13"),
        ("x/_C.cpython-311-x86_64-linux-gnu.so", "x/_C.cpython-314t-x86_64-linux-gnu.so"),
        ("x-1.0.dist-info/sboms/a.json", "x-1.1rc1.dist-info/sboms/a.json"),
        ("x-1.0.data/data/lib/a.so", "x-1.0+cu130.data/data/lib/a.so"),
    ],
)
def test_files_are_matched_whatever_changes_in_their_names(then: str, today: str) -> None:
    assert lines(wheel({then: MIB}), wheel({today: 2 * MIB}))[1:] == [
        f"{today}: 1.0 MiB → 2.0 MiB (+1.0 MiB, +100.0 %)"
    ]


def test_files_that_come_and_go_are_told() -> None:
    grown = lines(wheel({"a.so": MIB, "b.so": MIB}), wheel({"a.so": MIB, "c.so": 3 * MIB}))
    assert grown[1:] == ["c.so: 3.0 MiB, new", "b.so: 1.0 MiB before, no longer there"]


def test_a_file_that_one_list_had_no_room_for_is_not_called_new() -> None:
    many: dict[str, Any] = {f"f{number}.so": MIB for number in range(LARGEST_FILES)}
    before = wheel({**many, "last.so": MIB - 1})
    assert lines(before, wheel({**many, "last.so": MIB - 1, "f0.so": 2 * MIB}))[1:] == [
        "f0.so: 1.0 MiB → 2.0 MiB (+1.0 MiB, +100.0 %)"
    ]
    assert lines(before, wheel({**many, "last.so": 3 * MIB}))[1:] == [
        "last.so: 3.0 MiB, new among the largest files"
    ]


def test_little_changes_are_not_told() -> None:
    before, now = wheel({"a.so": MIB, "b.py": 9}), wheel({"a.so": MIB, "b.py": 99})
    assert lines(before, now) == ["1.0 MiB → 1.0 MiB (+90 B, +0.0 %)"]


def test_many_architectures_are_counted() -> None:
    archs = {f"sm_{number}": KIB for number in range(50, 60)}
    grown = lines(wheel({"a.so": MIB}), wheel({"a.so": MIB}, a=archs))
    assert grown[-1] == "and 2 other architectures"
