from __future__ import annotations

import io
import os
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from orchestrator.errors import BadWheelError, ConfigError, EnvironmentProblemError
from orchestrator.wheel import Policies, open_wheel, retag, verify, zipcopy
from tests.unit.wheel.conftest import EXTENSION
from tests.unit.wheel.wheelmaker import WheelSpec, make_record

if TYPE_CHECKING:
    from pathlib import Path

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


def sound(path: Path, policies: Policies) -> None:
    assert verify(path, policies).problems == ()


def test_platform_tags(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.platform = "linux_x86_64"
    path = spec.write(tmp_path)
    before = path.read_bytes()
    out = retag(path, dest_dir=tmp_path / "new" / "dist", platform_tags=TAGS)
    assert out == tmp_path / "new" / "dist" / (
        "demo-1.0-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    )
    assert path.read_bytes() == before
    old, new = contents(path), contents(out)
    assert list(old) == list(new)
    assert {name for name in old if old[name] != new[name]} == {
        "demo-1.0.dist-info/WHEEL",
        "demo-1.0.dist-info/RECORD",
    }
    assert new["demo-1.0.dist-info/WHEEL"] == (
        b"Wheel-Version: 1.0\nGenerator: test (1)\nRoot-Is-Purelib: false\n"
        b"Tag: cp312-cp312-manylinux2014_x86_64\nTag: cp312-cp312-manylinux_2_17_x86_64\n\n"
    )
    sound(out, policies)


def test_python_and_abi_tags_are_expanded(spec: WheelSpec, tmp_path: Path) -> None:
    spec.python, spec.abi = "cp310.cp311", "abi3"
    out = retag(spec.write(tmp_path), dest_dir=tmp_path, platform_tags=["linux_x86_64"])
    assert out.name == "demo-1.0-cp310.cp311-abi3-linux_x86_64.whl"
    tags = b"Tag: cp310-abi3-linux_x86_64\nTag: cp311-abi3-linux_x86_64\n"
    assert tags in contents(out)["demo-1.0.dist-info/WHEEL"]


def test_build_tag(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    path = spec.write(tmp_path)
    first = retag(path, dest_dir=tmp_path, build_tag="7_a")
    assert first.name == "demo-1.0-7_a-cp312-cp312-manylinux_2_17_x86_64.whl"
    assert contents(first)["demo-1.0.dist-info/WHEEL"].endswith(b"Build: 7_a\n\n")
    sound(first, policies)
    second = retag(first, dest_dir=tmp_path / "2", build_tag="8")
    assert contents(second)["demo-1.0.dist-info/WHEEL"].endswith(b"Build: 8\n\n")
    kept = retag(second, dest_dir=tmp_path / "3", platform_tags=["linux_x86_64"])
    assert kept.name == "demo-1.0-8-cp312-cp312-linux_x86_64.whl"
    removed = retag(second, dest_dir=tmp_path / "4", build_tag="")
    assert removed.name == path.name
    assert contents(removed) == contents(path)


def test_version(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.members["demo-1.0.data/scripts/tool"] = b"#!python\n"
    spec.members["demo-1.0.data/platlib/demo/data"] = b"data"
    spec.members["other-1.0.data"] = b"a file, not a directory"
    spec.extra_info["licenses/LICENSE"] = b"free"
    path = spec.write(tmp_path)
    out = retag(path, dest_dir=tmp_path / "new", version=Version("2.0rc1+CU130_torch-2.9"))
    assert out.name == "demo-2.0rc1+cu130.torch.2.9-cp312-cp312-manylinux_2_17_x86_64.whl"
    new = contents(out)
    assert set(new) == {
        "demo/__init__.py",
        EXTENSION,
        "other-1.0.data",
        *(
            f"demo-2.0rc1+cu130.torch.2.9.data/{name}"
            for name in ("scripts/tool", "platlib/demo/data")
        ),
        *(
            f"demo-2.0rc1+cu130.torch.2.9.dist-info/{name}"
            for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")
        ),
    }
    metadata = new["demo-2.0rc1+cu130.torch.2.9.dist-info/METADATA"]
    assert metadata == (
        b"Metadata-Version: 2.1\nName: demo\nVersion: 2.0rc1+cu130.torch.2.9\n\nText.\n"
    )
    sound(out, policies)
    back = retag(out, dest_dir=tmp_path / "back", version=Version("1.0"))
    assert contents(back) == contents(path)
    assert compressed(back)[EXTENSION] == compressed(path)[EXTENSION]


def test_only_the_header_is_a_version(spec: WheelSpec, tmp_path: Path) -> None:
    files = spec.files()
    files["demo-1.0.dist-info/METADATA"] = (
        b"Metadata-Version: 2.1\r\nName: demo\r\nversion:1.0\r\nX-Version: 1.0\r\n"
        b"\r\nVersion: 1.0\r\nis the first."
    )
    out = retag(spec.write(tmp_path, files), dest_dir=tmp_path, version=Version("1.1"))
    assert contents(out)["demo-1.1.dist-info/METADATA"] == (
        b"Metadata-Version: 2.1\r\nName: demo\r\nVersion: 1.1\r\nX-Version: 1.0\r\n"
        b"\r\nVersion: 1.0\r\nis the first."
    )


def test_header_files_without_a_last_line_end(spec: WheelSpec, tmp_path: Path) -> None:
    files = spec.files()
    files["demo-1.0.dist-info/WHEEL"] = files["demo-1.0.dist-info/WHEEL"].rstrip()
    out = retag(spec.write(tmp_path, files), dest_dir=tmp_path, build_tag="1")
    assert contents(out)["demo-1.0.dist-info/WHEEL"].endswith(b"x86_64\nBuild: 1\n")


def test_pure_wheel_that_becomes_a_platform_wheel(
    spec: WheelSpec, tmp_path: Path, policies: Policies
) -> None:
    spec.platform, spec.purelib = "any", "true"
    out = retag(spec.write(tmp_path), dest_dir=tmp_path, platform_tags=TAGS)
    assert b"\nRoot-Is-Purelib: false\n" in contents(out)["demo-1.0.dist-info/WHEEL"]
    sound(out, policies)


def test_untouched_members_keep_every_byte(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    out = retag(path, dest_dir=tmp_path / "new", build_tag="1", version=Version("2"))
    old, new = compressed(path), compressed(out)
    for name in ("demo/__init__.py", EXTENSION):
        assert old[name] == new[name]


class _Pipe(io.RawIOBase):
    """Not seekable, so zipfile writes data descriptors."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.data += bytes(data)
        return len(data)


def _odd_zip(spec: WheelSpec, path: Path) -> None:
    """Write everything a zip may have: descriptors, zip64 and other extra fields, comments."""
    files = spec.files()
    place = f"{spec.dist_info}/RECORD"
    files[place] = make_record(files, place)
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.comment = b"a comment of the archive"
        archive.writestr(zipfile.ZipInfo("demo/"), b"")
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for number, (name, content) in enumerate(files.items()):
            info = zipfile.ZipInfo(name, (1999, 12, 31, 23, 59, 58))
            info.compress_type = methods[number % 2]
            info.create_system, info.external_attr = 3, (0o100755 - number) << 16
            info.extra = struct.pack("<HH4s", 0x7875, 4, b"abcd")
            info.comment = f"number {number}".encode()
            with archive.open(info, "w", force_zip64=number % 3 == 0) as stream:
                stream.write(content)
    path.write_bytes(pipe.data)


@pytest.mark.parametrize("version", [None, Version("2.0+long.local.version")])
def test_odd_zip_files(
    spec: WheelSpec, tmp_path: Path, policies: Policies, version: Version | None
) -> None:
    spec.extra_info["RECORD.jws"] = b"{}"
    spec.members["demo/grüße.txt"] = "ä".encode()
    path = tmp_path / spec.filename
    _odd_zip(spec, path)
    out = retag(path, dest_dir=tmp_path / "new", build_tag="1", version=version)
    sound(out, policies)
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


def test_order_of_bytes_and_of_directory_may_differ(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    end = data.rindex(b"PK\5\6")
    entries = [b"PK\1\2" + part for part in data[start:end].split(b"PK\1\2")[1:]]
    path.write_bytes(data[:start] + b"".join(reversed(entries)) + data[end:])
    out = retag(path, dest_dir=tmp_path, build_tag="1")
    assert list(contents(out)) == list(contents(path))
    assert list(compressed(out)) == list(compressed(path)) == list(reversed(contents(path)))


def test_signatures_are_dropped(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.extra_info |= {"RECORD.jws": b"{}", "RECORD.p7s": b"x"}
    spec.members["demo/RECORD.jws"] = b"not a signature here"
    path = spec.write(tmp_path)
    out = retag(path, dest_dir=tmp_path, build_tag="1")
    assert set(contents(path)) - set(contents(out)) == {
        "demo-1.0.dist-info/RECORD.jws",
        "demo-1.0.dist-info/RECORD.p7s",
    }
    sound(out, policies)
    same = retag(path, dest_dir=tmp_path / "same", build_tag="")
    assert same.read_bytes() == path.read_bytes()


def test_record_keeps_its_other_lines(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.members['demo/with,comma "and" quote.txt'] = b"x"
    files = spec.files()
    place = "demo-1.0.dist-info/RECORD"
    record = make_record(files, place).replace(b"\n", b"\r\n")
    record = record.replace(b"demo/__init__.py,", b'"demo/__init__.py",').removesuffix(b"\r\n")
    files[place] = record
    out = retag(spec.write(tmp_path, files), dest_dir=tmp_path, version=Version("2"))
    lines = contents(out)["demo-2.dist-info/RECORD"].split(b"\r\n")
    assert lines[:3] == record.split(b"\r\n")[:3]
    assert lines[-1] == b"demo-2.dist-info/RECORD,,"
    sound(out, policies)


def test_same_input_same_bytes(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    outs = [retag(path, dest_dir=tmp_path / d, build_tag="1", version=Version("3")) for d in "ab"]
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_in_place(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.platform = "manylinux_2_17_x86_64.linux_x86_64"
    path = spec.write(tmp_path)
    path.chmod(0o640)
    out = retag(path, dest_dir=tmp_path, platform_tags=["linux_x86_64"])
    assert out != path
    again = retag(out, dest_dir=tmp_path, platform_tags=["linux_x86_64"])
    assert again == out
    assert out.stat().st_mode & 0o777 == 0o640
    assert {one.name for one in tmp_path.iterdir()} == {path.name, out.name}
    assert [p.rule for p in verify(out, policies).problems] == []


def test_a_failed_copy_leaves_nothing(
    spec: WheelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec.write(tmp_path / "src")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblemError, match="cannot be written"):
        retag(path, dest_dir=tmp_path / "new", build_tag="1")
    assert list((tmp_path / "new").iterdir()) == []


def test_destination_that_is_a_file(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    with pytest.raises(EnvironmentProblemError, match="cannot be written"):
        retag(path, dest_dir=path, build_tag="1")


@pytest.mark.parametrize("tags", [[], [""], ["linux-x86_64"], ["Linux_x86_64"], ["a.b"], ["../x"]])
def test_bad_platform_tags(spec: WheelSpec, tmp_path: Path, tags: list[str]) -> None:
    with pytest.raises(ConfigError, match="not platform tags"):
        retag(spec.write(tmp_path), dest_dir=tmp_path, platform_tags=tags)


@pytest.mark.parametrize("tag", ["a1", "1-2", "1/2", "-1", "1 "])
def test_bad_build_tags(spec: WheelSpec, tmp_path: Path, tag: str) -> None:
    with pytest.raises(ConfigError, match="not a build tag"):
        retag(spec.write(tmp_path), dest_dir=tmp_path, build_tag=tag)


@pytest.mark.parametrize("missing", ["WHEEL", "METADATA", "RECORD"])
def test_missing_files(spec: WheelSpec, tmp_path: Path, missing: str) -> None:
    path = spec.write(tmp_path)
    with zipfile.ZipFile(path) as archive:
        infos = [
            (i, archive.read(i)) for i in archive.infolist() if not i.filename.endswith(missing)
        ]
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in infos:
            archive.writestr(info, content)
    with pytest.raises(BadWheelError, match=f"no member '.*{missing}'"):
        retag(path, dest_dir=tmp_path / "new", build_tag="1", version=Version("2"))
    assert not (tmp_path / "new").exists() or list((tmp_path / "new").iterdir()) == []


def test_local_header_that_disagrees(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"demo/__init__.py", b"demo/__inot__.py", 1))
    with pytest.raises(BadWheelError, match="local header disagrees"):
        retag(path, dest_dir=tmp_path / "new", build_tag="1")


def test_descriptor_that_disagrees(spec: WheelSpec, tmp_path: Path) -> None:
    path = tmp_path / spec.filename
    _odd_zip(spec, path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("demo/__init__.py")
    data[data.index(b"PK\7\10", info.header_offset) + 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadWheelError, match="data descriptor disagrees"):
        retag(path, dest_dir=tmp_path / "new", build_tag="1")


def test_zip64_is_written_where_it_is_needed(
    spec: WheelSpec, tmp_path: Path, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limits lowered every value is too large, and the copy must still be read back."""
    path = spec.write(tmp_path)
    monkeypatch.setattr(zipcopy, "_MAX16", 2)
    out = retag(path, dest_dir=tmp_path / "new", build_tag="1")
    data = out.read_bytes()
    assert b"PK\6\6" in data
    assert b"PK\6\7" in data
    # Readers look for the true limit.
    at = data.rindex(b"PK\5\6") + 8
    out.write_bytes(data[:at] + b"\xff" * 4 + data[at + 4 :])
    with open_wheel(out) as archive:
        assert len(archive.members) == 5
    sound(out, policies)
