from __future__ import annotations

import io
import itertools
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.errors import BadWheelError, ConfigError, EnvironmentProblemError
from orchestrator.models import variant_metadata
from orchestrator.wheel import open_wheel, retag, zipcopy
from tests.rawzip import Entry, write
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import (
    EXTENSION,
    ElfSpec,
    WheelSpec,
    make_bill,
    make_elf,
    make_record,
    make_variant,
    write_zip,
)

INFO = "demo-1.0.dist-info"
TAGS = ["manylinux_2_17_x86_64", "manylinux2014_x86_64"]


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def compressed(path: Path) -> dict[str, bytes]:
    """The raw bytes of every member, local header and data descriptor included, by name."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
    return {
        info.filename: data[info.header_offset : end] for info, end in zip(infos, ends, strict=True)
    }


def test_platform_tags(spec: WheelSpec, tmp_path: Path, inspector: Inspector) -> None:
    spec.platform = "linux_x86_64"
    path = inspector.path(spec)
    before = path.read_bytes()
    out = retag(path, dest_dir=tmp_path / "new" / "dist", platform_tags=TAGS)
    assert out == tmp_path / "new" / "dist" / (
        "demo-1.0-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    )
    assert path.read_bytes() == before
    old, new = contents(path), contents(out)
    assert list(old) == list(new)
    assert {name for name in old if old[name] != new[name]} == {
        f"{INFO}/WHEEL",
        f"{INFO}/RECORD",
    }
    assert new[f"{INFO}/WHEEL"] == (
        b"Wheel-Version: 1.0\nGenerator: test (1)\nRoot-Is-Purelib: false\n"
        b"Tag: cp312-cp312-manylinux2014_x86_64\nTag: cp312-cp312-manylinux_2_17_x86_64\n\n"
    )
    assert inspector.findings(out) == ()


def test_a_variant_keeps_its_label(spec: WheelSpec, inspector: Inspector) -> None:
    spec.label = "cu13"
    out = inspector.retag(
        inspector.path(spec), ".", platform_tags=["linux_x86_64"], version="1.0+x", build_tag="2"
    )
    assert out.name == "demo-1.0+x-2-cp312-cp312-linux_x86_64-cu13.whl"
    assert inspector.findings(out) == ()


def test_a_wheel_becomes_a_variant_and_keeps_its_bytes(
    spec: WheelSpec, inspector: Inspector
) -> None:
    path = inspector.path(spec)
    own = variant_metadata.loads(make_variant("cu13"), where="x")
    out = inspector.retag(path, ".", version="1.0.post1", variant=own)
    assert out.name == "demo-1.0.post1-cp312-cp312-manylinux_2_17_x86_64-cu13.whl"
    assert inspector.findings(out) == ()
    written = contents(out)["demo-1.0.post1.dist-info/variant.json"]
    assert variant_metadata.loads(written, where="x") == own
    assert compressed(out)[EXTENSION] == compressed(path)[EXTENSION]
    assert (
        out.read_bytes()
        == inspector.retag(path, "2", version="1.0.post1", variant=own).read_bytes()
    )
    with pytest.raises(BadWheelError, match="it is a variant already"):
        inspector.retag(out, "3", variant=own)


def test_build_tag(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(spec)
    first = inspector.retag(path, ".", build_tag="7_a")
    assert first.name == "demo-1.0-7_a-cp312-cp312-manylinux_2_17_x86_64.whl"
    assert contents(first)[f"{INFO}/WHEEL"].endswith(b"Build: 7_a\n\n")
    assert inspector.findings(first) == ()
    second = inspector.retag(first, "2", build_tag="8")
    assert contents(second)[f"{INFO}/WHEEL"].endswith(b"Build: 8\n\n")
    kept = inspector.retag(second, "3", platform_tags=["linux_x86_64"])
    assert kept.name == "demo-1.0-8-cp312-cp312-linux_x86_64.whl"
    removed = inspector.retag(second, "4", build_tag="")
    assert removed.name == path.name
    assert contents(removed) == contents(path)


def test_version(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members["demo-1.0.data/scripts/tool"] = b"#!python\n"
    spec.members["demo-1.0.data/platlib/demo/data"] = b"data"
    spec.members["other-1.0.data_"] = b"a file, not a directory"
    spec.extra_info["licenses/LICENSE"] = b"free"
    path = inspector.path(spec)
    out = inspector.retag(path, version=Version("2.0rc1+CU130_torch-2.9"))
    assert out.name == "demo-2.0rc1+cu130.torch.2.9-cp312-cp312-manylinux_2_17_x86_64.whl"
    new = contents(out)
    moved = "demo-2.0rc1+cu130.torch.2.9"
    assert set(new) == {
        *("demo/__init__.py", EXTENSION, "other-1.0.data_"),
        *(f"{moved}.data/{name}" for name in ("scripts/tool", "platlib/demo/data")),
        *(f"{moved}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
        f"{moved}.dist-info/licenses/LICENSE",
    }
    metadata = new[f"{moved}.dist-info/METADATA"]
    assert metadata == (
        b"Metadata-Version: 2.1\nName: demo\nVersion: 2.0rc1+cu130.torch.2.9\n\nText.\n"
    )
    assert [each.rule for each in inspector.findings(out)] == ["cuda-label"]
    back = inspector.retag(out, "back", version=Version("1.0"))
    assert contents(back) == contents(path)
    assert compressed(back)[EXTENSION] == compressed(path)[EXTENSION]


REST = b"Requires-Dist: a\n\t>=1\nSummary: x\n\n"
WINDOWS = (
    b"Metadata-Version: 2.1\r\nName: demo\r\n%b\r\nX-Version: 1.0\r\n\r\nVersion: 1.0\r\nfirst."
)
TAG = b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp312-cp312-manylinux_2_17_x86_64"


@pytest.mark.parametrize(
    ("member", "before", "after"),
    [
        ("METADATA", WINDOWS % b"version:1.0", WINDOWS % b"Version: 1.1"),
        ("METADATA", b"Name: demo\nVersion:\n 1.0\n" + REST, b"Name: demo\nVersion: 1.1\n" + REST),
        ("WHEEL", TAG, TAG + b"\nBuild: 1\n"),
    ],
    ids=["only headers", "folded lines", "no last line end"],
)
def test_a_header_is_changed_where_it_stands(
    spec: WheelSpec, inspector: Inspector, member: str, before: bytes, after: bytes
) -> None:
    spec.extra_info[member] = before
    out = inspector.retag(spec, version="1.1", build_tag="1")
    assert contents(out)[f"demo-1.1.dist-info/{member}"] == after


@pytest.mark.parametrize(
    ("platform", "place", "becomes"),
    [
        ("any", EXTENSION, b"false"),
        ("manylinux_2_17_x86_64", EXTENSION, b"false"),
        ("manylinux_2_17_x86_64", "demo-1.0.data/platlib/x.so", b"true"),
    ],
)
def test_a_lie_about_purelib_ends_where_elf_files_go_there(
    spec: WheelSpec, inspector: Inspector, platform: str, place: str, becomes: bytes
) -> None:
    spec.members[place] = spec.members.pop(EXTENSION)
    spec.platform, spec.purelib = platform, "true"
    out = inspector.retag(spec, platform_tags=TAGS)
    assert b"\nRoot-Is-Purelib: " + becomes + b"\n" in contents(out)[f"{INFO}/WHEEL"]
    assert inspector.findings(out) == ()


class _Pipe(io.BytesIO):
    """Not seekable, so zipfile writes data descriptors."""

    def seek(self, *_: Any) -> int:
        raise OSError


def _odd_zip(spec: WheelSpec, path: Path) -> None:
    """Write everything a zip may have: descriptors, zip64 and other extra fields, comments."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.comment = b"a comment of the archive"
        archive.writestr(zipfile.ZipInfo("demo/"), b"")
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for number, (name, content) in enumerate(spec.all_files().items()):
            info = zipfile.ZipInfo(name, (1999, 12, 31, 23, 59, 58))
            info.compress_type = methods[number % 2]
            info.create_system, info.external_attr = 3, (0o100755 - number) << 16
            info.extra = struct.pack("<HH4s", 0x7875, 4, b"abcd")
            info.comment = f"number {number}".encode()
            with archive.open(info, "w", force_zip64=number % 3 == 0) as stream:
                stream.write(content)
    path.write_bytes(pipe.getvalue())


@pytest.mark.parametrize("version", [None, Version("2.0+long.local.version")])
def test_odd_zip_files(spec: WheelSpec, inspector: Inspector, version: Version | None) -> None:
    spec.extra_info["RECORD.jws"] = b"{}"
    spec.members["demo/grüße.txt"] = "ä".encode()
    path = inspector.folder / spec.filename
    _odd_zip(spec, path)
    out = inspector.retag(path, build_tag="1", version=version)
    assert inspector.findings(out) == ()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out) as new:
        assert new.comment == old.comment
        before = [info for info in old.infolist() if not info.filename.endswith(".jws")]
        assert len(before) == len(new.infolist())
        for a, b in zip(before, new.infolist(), strict=True):
            for field in ("date_time", "external_attr", "create_system", "comment"):
                assert getattr(a, field) == getattr(b, field), (a.filename, field)
            assert b"abcd" in b.extra or b.is_dir()
    raw, copied = compressed(path), compressed(out)
    assert raw["demo/"] == copied["demo/"]
    for name in spec.members:
        assert raw[name] == copied[name]


def test_order_of_bytes_and_of_directory_may_differ(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(spec)
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    end = data.rindex(b"PK\5\6")
    entries = [b"PK\1\2" + part for part in data[start:end].split(b"PK\1\2")[1:]]
    path.write_bytes(data[:start] + b"".join(reversed(entries)) + data[end:])
    out = inspector.retag(path, ".", build_tag="1")
    assert list(contents(out)) == list(contents(path))
    assert list(compressed(out)) == list(compressed(path)) == list(reversed(contents(path)))


def test_signatures_are_dropped(spec: WheelSpec, inspector: Inspector) -> None:
    spec.extra_info |= {"RECORD.jws": b"{}", "RECORD.p7s": b"x"}
    spec.members["demo/RECORD.jws"] = b"not a signature here"
    path = inspector.path(spec)
    out = inspector.retag(path, ".", build_tag="1")
    assert set(contents(path)) - set(contents(out)) == {
        f"{INFO}/RECORD.jws",
        f"{INFO}/RECORD.p7s",
    }
    assert inspector.findings(out) == ()
    same = inspector.retag(path, "same", build_tag="")
    assert same.read_bytes() == path.read_bytes()


def test_record_keeps_its_other_lines(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members['demo/with,comma "and" quote.txt'] = b"x"
    record = make_record(spec.files(), f"{INFO}/RECORD").replace(b"\n", b"\r\n")
    record = record.replace(b"demo/__init__.py,", b'"demo/__init__.py",').removesuffix(b"\r\n")
    spec.extra_info["RECORD"] = record
    out = inspector.retag(spec, version=Version("2"))
    lines = contents(out)["demo-2.dist-info/RECORD"].split(b"\r\n")
    assert lines[:3] == record.split(b"\r\n")[:3]
    assert lines[-1] == b"demo-2.dist-info/RECORD,,"
    assert inspector.findings(out) == ()


def test_same_input_same_bytes(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(spec)
    one, two = (inspector.retag(path, d, build_tag="1", version=Version("3")) for d in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_in_place(spec: WheelSpec, tmp_path: Path, inspector: Inspector) -> None:
    spec.platform = "manylinux_2_17_x86_64.linux_x86_64"
    path = inspector.path(spec)
    path.chmod(0o640)
    out = inspector.retag(path, ".", platform_tags=["linux_x86_64"])
    assert out != path
    again = inspector.retag(out, ".", platform_tags=["linux_x86_64"])
    assert again == out
    assert out.stat().st_mode & 0o777 == 0o640
    assert {one.name for one in tmp_path.iterdir()} == {path.name, out.name}
    assert inspector.rules(out) == []


def test_a_failed_copy_leaves_nothing(
    spec: WheelSpec, tmp_path: Path, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec.write(tmp_path / "src")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblemError, match="cannot be written"):
        inspector.retag(path, build_tag="1")
    assert list((inspector.folder / "new").iterdir()) == []


def test_destination_that_is_a_file(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(spec)
    with pytest.raises(EnvironmentProblemError, match="cannot be written"):
        retag(path, dest_dir=path, build_tag="1")


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        *(("platform_tags", tags) for tags in ([], [""], ["linux-x86_64"], ["Linux_x86_64"])),
        *(("platform_tags", tags) for tags in (["a.b"], ["../x"])),
        *(("build_tag", tag) for tag in ("a1", "1-2", "1/2", "-1", "1 ")),
    ],
)
def test_bad_tags(spec: WheelSpec, inspector: Inspector, what: str, bad: Any) -> None:
    with pytest.raises(ConfigError, match=f"not (a )?{what.replace('_', ' ')}"):
        inspector.retag(spec, ".", **{what: bad})


@pytest.mark.parametrize("missing", ["WHEEL", "METADATA", "RECORD"])
def test_missing_files(spec: WheelSpec, inspector: Inspector, missing: str) -> None:
    files = spec.all_files()
    del files[f"{INFO}/{missing}"]
    path = inspector.folder / spec.filename
    write_zip(path, files)
    with pytest.raises(BadWheelError, match=f"no member '.*{missing}'"):
        inspector.retag(path, build_tag="1", version=Version("2"))
    assert not list(inspector.folder.glob("new/*"))


def test_zip64_is_written_where_it_is_needed(
    spec: WheelSpec, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limits lowered every value is too large, and the copy must still be read back."""
    path = inspector.path(spec)
    monkeypatch.setattr(zipcopy, "MAX16", 2)
    out = inspector.retag(path, build_tag="1")
    data = out.read_bytes()
    assert b"PK\6\6" in data
    assert b"PK\6\7" in data
    # Readers look for the true limit.
    at = data.rindex(b"PK\5\6") + 8
    out.write_bytes(data[:at] + b"\xff" * 4 + data[at + 4 :])
    with open_wheel(out) as archive:
        assert len(archive.members) == 6
    assert inspector.findings(out) == ()


# Several tags


@pytest.mark.parametrize(
    ("python", "abi", "platform"),
    [
        ("cp312", "cp312", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        ("cp312", "cp312", "manylinux2014_x86_64.manylinux_2_17_x86_64"),
        ("cp312", "abi3", "manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64"),
        ("cp312.cp313", "abi3", "manylinux_2_17_x86_64"),
        ("cp315", "abi3.abi3t", "manylinux_2_17_x86_64"),
    ],
)
def test_tag_sets_round_trip(
    spec: WheelSpec, inspector: Inspector, python: str, abi: str, platform: str
) -> None:
    spec.python, spec.abi, spec.platform = python, abi, platform
    path = inspector.path(spec)
    before = path.read_bytes()
    same = inspector.retag(path, "same", platform_tags=platform.split("."))
    assert (same.name, same.read_bytes()) == (path.name, before)
    there = inspector.retag(path, "there", platform_tags=["linux_x86_64"], build_tag="1")
    assert there.name == f"demo-1.0-1-{python}-{abi}-linux_x86_64.whl"
    lines = contents(there)[f"{INFO}/WHEEL"].decode().splitlines()
    tags = itertools.product(python.split("."), abi.split("."))
    assert {line for line in lines if line.startswith("Tag:")} == {
        f"Tag: {interpreter}-{one}-linux_x86_64" for interpreter, one in tags
    }
    back = inspector.retag(there, ".", platform_tags=platform.split("."), build_tag="")
    with open_wheel(back) as new, open_wheel(same) as old:
        assert new.name.tags == old.name.tags


# Bills of materials


def test_bills_follow_the_wheel_s_name(spec: WheelSpec, inspector: Inspector) -> None:
    spec.platform = "linux_x86_64"
    spec.extra_info["sboms/auditwheel.cdx.json"] = make_bill()
    spec.extra_info["sboms/own.cdx.json"] = b'{"bomFormat": "CycloneDX", "components": []}'
    spec.extra_info["sboms/broken.cdx.json"] = b"{"
    out = inspector.retag(
        spec,
        platform_tags=["manylinux_2_17_x86_64"],
        version=Version("1.0+cu130"),
    )
    new = contents(out)
    name = out.name.replace("+", "%2B")
    got = new["demo-1.0+cu130.dist-info/sboms/auditwheel.cdx.json"]
    expected = json.loads(make_bill("1.0", f"pkg:pypi/demo@1.0%2Bcu130?file_name={name}"))
    for component in (expected["metadata"]["component"], expected["components"][0]):
        component["version"] = "1.0+cu130"
    assert json.loads(got) == expected
    for untouched in ("own", "broken"):
        place = f"sboms/{untouched}.cdx.json"
        assert new[f"demo-1.0+cu130.dist-info/{place}"] == spec.extra_info[place]
    assert set(inspector.rules(out)) == {"cuda-label", "sbom"}


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"indent": 2},
        {"indent": 4, "ensure_ascii": False},
        {"indent": "\t"},
        {"separators": (",", ":")},
        {"separators": (",", ":"), "ensure_ascii": False},
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_bills_keep_their_layout(
    spec: WheelSpec, inspector: Inspector, layout: dict[str, Any], end: str
) -> None:
    purl = f"pkg:pypi/demo@1.0?file_name={spec.filename}"
    document = json.loads(make_bill(purl=purl)) | {"properties": [{"name": "ä"}]}
    text = (json.dumps(document, **layout) + end).encode()
    spec.extra_info["sboms/a.cdx.json"] = text
    path = inspector.path(spec)
    there = inspector.retag(path, "there", version=Version("2"))
    assert len(contents(there)["demo-2.dist-info/sboms/a.cdx.json"].splitlines()) == len(
        text.splitlines()
    )
    back = inspector.retag(there, "back", version=Version("1.0"))
    assert back.read_bytes() == path.read_bytes()


def test_grafted_libraries_without_a_bill_get_one(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members["demo.libs/libz-0b1c2d3e.so.1"] = make_elf(ElfSpec(soname="libz-0b1c2d3e.so.1"))
    path = inspector.path(spec)
    out = inspector.retag(path, add_sbom=True, version=Version("2"))
    place = "demo-2.dist-info/sboms/orchestrator.cdx.json"
    assert place.encode() in contents(out)["demo-2.dist-info/RECORD"]
    assert list(contents(out))[-1] == place
    assert inspector.findings(out) == ()
    again = inspector.retag(out, "again", add_sbom=True)
    assert again.read_bytes() == out.read_bytes()
    without = inspector.retag(path, "without")
    assert without.read_bytes() == path.read_bytes()


# Normalised packing


EPOCH = 1_700_000_000


def test_what_was_packed_differently_is_the_same_once_normalised(
    spec: WheelSpec, tmp_path: Path, inspector: Inspector
) -> None:
    spec.members["demo/tool"] = b"#!/bin/sh\n"
    files = spec.files()
    place = f"{INFO}/RECORD"
    wheels = []
    for number, order in enumerate((sorted(files), sorted(files, reverse=True))):
        path = tmp_path / str(number) / spec.filename
        path.parent.mkdir()
        shuffled = {name: files[name] for name in order}
        shuffled[place] = make_record(shuffled, place)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in shuffled.items():
                info = zipfile.ZipInfo(name, (2020 + number, 1, 1, 0, 0, number * 2))
                mode = 0o755 if name == "demo/tool" else 0o644
                info.external_attr = (0o100000 | mode | number * 0o020) << 16
                info.extra = struct.pack("<HHI", 0x5455, 4, number)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
        wheels.append(path)
    one, two = (retag(each, dest_dir=each.parent / "n", epoch=EPOCH) for each in wheels)
    assert one.read_bytes() == two.read_bytes()
    assert inspector.findings(one) == ()
    with zipfile.ZipFile(one) as archive:
        infos = {info.filename: info for info in archive.infolist()}
    assert {info.date_time for info in infos.values()} == {(2023, 11, 14, 22, 13, 20)}
    modes = {name: info.external_attr >> 16 for name, info in infos.items()}
    assert modes == {name: 0o100755 if name == "demo/tool" else 0o100644 for name in infos}
    assert [name for name in infos if ".dist-info/" in name] == list(infos)[-4:]
    again = inspector.retag(one, "again", epoch=EPOCH)
    assert again.read_bytes() == one.read_bytes()


@pytest.mark.parametrize(
    ("epoch", "year"), [(0, 1980), (-5, 1980), (EPOCH, 2023), (10**11, 2107), (4354819199, 2107)]
)
def test_times_are_kept_within_what_a_zip_file_can_say(
    spec: WheelSpec, inspector: Inspector, epoch: int, year: int
) -> None:
    out = inspector.retag(spec, "n", epoch=epoch)
    with zipfile.ZipFile(out) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {year}


@pytest.mark.parametrize("version", [None, Version("2.0+long.local.version")])
def test_odd_zip_files_can_be_normalised(
    spec: WheelSpec, inspector: Inspector, version: Version | None
) -> None:
    spec.extra_info["RECORD.jws"] = b"{}"
    spec.members["demo/grüße.txt"] = "ä".encode()
    spec.members["demo.libs/libz-0b1c2d3e.so.1"] = make_elf(ElfSpec(soname="libz-0b1c2d3e.so.1"))
    path = inspector.folder / spec.filename
    _odd_zip(spec, path)
    out = inspector.retag(path, version=version, epoch=0, add_sbom=True)
    assert inspector.findings(out) == ()
    new = contents(out)
    for name, content in spec.members.items():
        assert new[name] == content
    assert not any(name.endswith(".jws") for name in new)
    # Raw deflate, bzip2 and LZMA streams are copied: what they need of the flags must stay.
    again = inspector.retag(out, "again", epoch=0, add_sbom=True)
    assert again.read_bytes() == out.read_bytes()


def test_large_members_are_normalised_with_zip64(
    spec: WheelSpec, inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limit lowered every size is too large, and the local headers must say so."""
    del spec.members["demo/__init__.py"]
    path = inspector.path(spec)
    monkeypatch.setattr(zipcopy, "MAX32", 10)
    out = inspector.retag(path, epoch=0)
    monkeypatch.undo()
    data = out.read_bytes()
    header = struct.unpack_from("<4s5H3I2H", data)
    name, extra = header[-2:]
    kind, size, full, _ = struct.unpack_from("<HHQQ", data, 30 + name)
    assert (extra, kind, size, header[8]) == (20, 1, 16, 10)
    with zipfile.ZipFile(path) as archive:
        assert full == archive.getinfo(data[30 : 30 + name].decode()).file_size


def test_data_directories_of_two_versions_never_become_one(
    spec: WheelSpec, inspector: Inspector
) -> None:
    spec.members = {"demo-1.0.data/scripts/x": b"1", "demo-2.0.data/scripts/x": b"2"}
    path = inspector.path(spec)
    with pytest.raises(BadWheelError, match=r"demo-1\.0\+x\.data/scripts/x"):
        inspector.retag(path, version="1.0+x")
    assert not list(inspector.folder.glob("new/*"))


@pytest.mark.parametrize("name", ["METADATA", "LICENSE"])
def test_a_second_name_in_the_extra_fields_goes_with_the_first(
    spec: WheelSpec, inspector: Inspector, name: str
) -> None:
    spec.members, spec.extra_info = {}, {"LICENSE": b"free"}
    place = f"{INFO}/{name}".encode()
    second = struct.pack("<HHBI", 0x7075, 5 + len(place), 1, zlib.crc32(place)) + place
    time = struct.pack("<HHBI", 0x5455, 5, 1, 0)
    entries = [
        Entry(name=at.encode(), content=text, extra=time + second if at.encode() == place else b"")
        for at, text in spec.all_files().items()
    ]
    path = inspector.folder / spec.filename
    path.write_bytes(write(entries))
    same = inspector.retag(path, "same", build_tag="")
    assert same.read_bytes() == path.read_bytes()
    out = inspector.retag(path, version="1.0+x")
    with zipfile.ZipFile(out) as archive:
        new = archive.getinfo(f"demo-1.0+x.dist-info/{name}")
    assert new.extra == time
    assert inspector.findings(out) == ()
