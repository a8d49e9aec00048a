from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from orchestrator.wheel import HARMLESS, DifferenceKind, compare, retag
from orchestrator.wheel.archive import CHUNK
from tests.wheelmaker import WheelSpec

INFO = "demo-1.0.dist-info"


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


def test_members_and_contents(spec: WheelSpec, tmp_path: Path) -> None:
    spec.members |= {"demo/a.bin": b"\0" * 10, "demo/old.py": b"", "demo/t.txt": b"one\ntwo\n"}
    one = spec.write(tmp_path / "a")
    del spec.members["demo/old.py"]
    spec.members |= {"demo/a.bin": b"\0" * 9 + b"\1", "demo/new.py": b"", "demo/t.txt": b"one\n2\n"}
    two = spec.write(tmp_path / "b")
    found = {each.where: each for each in compare(one, two)}
    old = found["demo/old.py"]
    assert (old.kind, old.detail) == (DifferenceKind.MEMBER, "only in the first")
    assert found["demo/new.py"].detail == "only in the second"
    assert found["demo/t.txt"].detail == "-two\n+2"
    assert found["demo/a.bin"].detail == "10 / 10 bytes, different from byte 9 on"
    assert found[f"{INFO}/RECORD"].kind is DifferenceKind.CONTENT
    kinds = [each.kind for each in compare(one, two)]
    assert kinds == sorted(kinds, key=list(DifferenceKind).index), "the gravest first"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_where_long_contents_part(spec: WheelSpec, tmp_path: Path, size: int) -> None:
    spec.members["demo/a"] = b"\0" * size + b"x" + b"\0" * 5
    one = spec.write(tmp_path / "a")
    spec.members["demo/a"] = b"\0" * size + b"y" + b"\0" * 5
    two = spec.write(tmp_path / "b")
    (detail,) = (each.detail for each in compare(one, two) if each.where == "demo/a")
    assert detail == f"{size + 6} / {size + 6} bytes, different from byte {size} on"
    spec.members["demo/a"] = b"\0" * size
    three = spec.write(tmp_path / "c")
    (detail,) = (each.detail for each in compare(one, three) if each.where == "demo/a")
    assert detail == f"{size + 6} / {size} bytes, different from byte {size} on"


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


def test_many_changed_lines_are_cut(spec: WheelSpec, tmp_path: Path) -> None:
    spec.members["demo/t.txt"] = b"".join(b"%d\n" % i for i in range(50))
    one = spec.write(tmp_path / "a")
    spec.members["demo/t.txt"] = b"".join(b"%d.\n" % i for i in range(50))
    two = spec.write(tmp_path / "b")
    (detail,) = (each.detail for each in compare(one, two) if each.where == "demo/t.txt")
    assert detail.endswith("\n... and 94 more lines")
    assert len(detail.splitlines()) == 7


def test_members_of_one_wheel_only_are_listed_in_order(spec: WheelSpec, tmp_path: Path) -> None:
    two = spec.write(tmp_path / "b")
    spec.members |= {f"demo/{n}.py": b"" for n in range(9)}
    found = [each.where for each in compare(spec.write(tmp_path / "a"), two)]
    assert found[:9] == [f"demo/{n}.py" for n in range(9)]
