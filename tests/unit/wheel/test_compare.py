from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from orchestrator.wheel import HARMLESS, Difference, DifferenceKind, compare, retag
from orchestrator.wheel.archive import CHUNK
from tests.wheelmaker import WheelSpec

INFO = "demo-1.0.dist-info"
Members = Mapping[str, bytes]


def repacked(path: Path, folder: Path, *, level: int = 9, **changes: object) -> Path:
    """Write a wheel's members again: same contents, another compression or other fields."""
    folder.mkdir()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(folder / path.name, "w") as new:
        for info in old.infolist():
            copy = zipfile.ZipInfo(info.filename, info.date_time)
            copy.external_attr, copy.create_system = info.external_attr, info.create_system
            copy.compress_type = info.compress_type
            for name, value in changes.items():
                setattr(copy, name, value)
            new.writestr(copy, old.read(info), compresslevel=level)
    return folder / path.name


def said(first: Path, second: Path) -> list[tuple[DifferenceKind, str]]:
    return [(each.kind, each.where) for each in compare(first, second)]


def test_the_same_bytes(spec: WheelSpec, tmp_path: Path) -> None:
    assert compare(spec.write(tmp_path / "a"), spec.write(tmp_path / "b")) == ()


def test_what_is_compressed_differently_is_told_apart(spec: WheelSpec, tmp_path: Path) -> None:
    spec.members["demo/text"] = b"".join(b"%d," % (i * i % 1000) for i in range(5000))
    path = spec.write(tmp_path / "a")
    other = repacked(path, tmp_path / "b", level=1)
    found = compare(path, other)
    assert {each.kind for each in found} == {DifferenceKind.COMPRESSION} <= HARMLESS
    assert "demo/text" in {each.where for each in found}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"date_time": (2020, 1, 1, 0, 0, 0)}, "time 2026-02-03 04:05:06 / 2020-01-01 00:00:00"),
        ({"external_attr": 0o100755 << 16}, "mode -rw-r--r-- / -rwxr-xr-x"),
        (
            {"external_attr": 0x20, "create_system": 0},
            "mode -rw-r--r-- / none; zip fields create_system",
        ),
        ({"comment": b"x"}, "zip fields comment"),
        ({"extra": b"\xfe\xca\x00\x00"}, "zip fields extra"),
    ],
)
def test_packing(spec: WheelSpec, tmp_path: Path, change: dict[str, object], detail: str) -> None:
    path = spec.write(tmp_path / "a")
    found = compare(path, repacked(path, tmp_path / "b", level=6, **change))
    assert {(each.kind, each.detail) for each in found} == {(DifferenceKind.PACKING, detail)}
    assert len(found) == len(spec.files()) + 1


def test_order_and_comment(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path / "a")
    files = spec.all_files()
    last = files.pop("demo/__init__.py")
    other = spec.write(tmp_path / "b", {**files, "demo/__init__.py": last})
    assert said(path, other) == [(DifferenceKind.PACKING, "order of members")]
    with zipfile.ZipFile(other, "a") as archive:
        archive.comment = b"hello"
    assert (DifferenceKind.PACKING, "zip comment") in said(path, other)


def compared(folder: Path, first: Members, second: Members) -> tuple[Difference, ...]:
    """Compare two wheels with these members."""
    one, two = (
        WheelSpec(members=dict(members)).write(folder / name)
        for name, members in (("first", first), ("second", second))
    )
    return compare(one, two)


def test_members_and_contents(tmp_path: Path) -> None:
    first = {"a.bin": b"\0" * 10, "old.py": b"", "t.txt": b"one\ntwo\n"}
    second = {"a.bin": b"\0" * 9 + b"\1", "new.py": b"", "t.txt": b"one\n2\n"}
    differences = compared(tmp_path, first, second)
    found = {each.where: each for each in differences}
    assert found["old.py"].kind is DifferenceKind.MEMBER
    assert found["old.py"].detail == "only in the first"
    assert found["new.py"].detail == "only in the second"
    assert found["t.txt"].detail == "-two\n+2"
    assert found["a.bin"].detail == "10 / 10 bytes, different from byte 9 on"
    assert found[f"{INFO}/RECORD"].kind is DifferenceKind.CONTENT
    kinds = [each.kind for each in differences]
    assert kinds == sorted(kinds, key=list(DifferenceKind).index), "the gravest first"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
@pytest.mark.parametrize("rest", [b"", b"y" + bytes(5)])
def test_where_long_contents_part(tmp_path: Path, size: int, rest: bytes) -> None:
    first, second = bytes(size) + b"x" + bytes(5), bytes(size) + rest
    found = {each.where: each for each in compared(tmp_path, {"a": first}, {"a": second})}
    sizes = f"{len(first)} / {len(second)} bytes"
    assert found["a"].detail == f"{sizes}, different from byte {size} on"


@pytest.mark.parametrize(
    ("first", "second", "detail"),
    [
        ("a\nb\n", "b\na\n", "same lines, other order"),
        ("a\na\nb\n", "a\nb\nc\n", "-a\n+c"),
        ("a\n", "a", "2 / 1 bytes"),
        ("a" * 9999, "b" * 9999, "more characters"),
        ("a\0", "b\0", "2 / 2 bytes"),
        (str([*range(9)]), "".join(f"{i}\n" for i in range(50)), "\n... and 45 more lines"),
    ],
)
def test_texts_are_compared_by_lines(tmp_path: Path, first: str, second: str, detail: str) -> None:
    found = compared(tmp_path, {"t.txt": first.encode()}, {"t.txt": second.encode()})
    (text,) = (each.detail for each in found if each.where == "t.txt")
    assert detail in text
    assert len(text.splitlines()) <= 7


def test_another_version_changes_names_and_what_names_it(spec: WheelSpec, tmp_path: Path) -> None:
    spec.members["demo-1.0.data/scripts/tool"] = b"#!python\n"
    path = spec.write(tmp_path / "a")
    other = retag(path, dest_dir=tmp_path / "b", version=Version("1.0+cu130"))
    assert said(path, other) == [
        (DifferenceKind.NAME, "file name"),
        (DifferenceKind.NAME, "dist-info directory"),
        (DifferenceKind.CONTENT, f"{INFO}/METADATA"),
        (DifferenceKind.CONTENT, f"{INFO}/RECORD"),
    ]


def test_members_of_one_wheel_only_are_listed_in_order(tmp_path: Path) -> None:
    members = {f"{n}.py": b"" for n in range(9)}
    assert [each.where for each in compared(tmp_path, members, {})][:9] == list(members)
