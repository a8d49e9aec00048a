from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from orchestrator.errors import BadWheelError, ExitCode
from orchestrator.wheel import open_wheel
from orchestrator.wheel.archive import WheelName
from tests.wheelmaker import WheelSpec


def test_file_name_is_taken_apart() -> None:
    text = "Foo_Bar-1.0.0+cu130-7_a-cp39.cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    name = WheelName.parse(text)
    assert (name.distribution, name.version_text, name.build) == ("Foo_Bar", "1.0.0+cu130", "7_a")
    assert (name.python, name.abi) == ("cp39.cp310", "abi3")
    assert (name.name, name.version) == ("foo-bar", Version("1.0.0+cu130"))
    assert name.platforms == ("manylinux2014_x86_64", "manylinux_2_17_x86_64")
    assert len(name.tags) == 4
    assert str(name) == text


@pytest.mark.parametrize(
    "name",
    [
        "demo.whl",
        "demo-1.0-cp312-cp312.whl",
        "demo-1.0-x-cp312-cp312-any.whl",
        "demo-1-py3-none-any.zip",
    ],
)
def test_other_file_names_are_refused(name: str) -> None:
    with pytest.raises(BadWheelError, match=r"whl|wheel"):
        WheelName.parse(name)


def test_opens_a_wheel(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    with open_wheel(path) as archive:
        assert archive.dist_info == "demo-1.0.dist-info"
        assert archive.members[0].filename == "demo/__init__.py"
        assert "demo-1.0.dist-info/RECORD" in archive
        assert archive.headers("METADATA")["Name"] == "demo"
        assert archive.headers("WHEEL").get_all("Tag") == ["cp312-cp312-manylinux_2_17_x86_64"]
        content = path.read_bytes()
        assert archive.digest() == (hashlib.sha256(content).hexdigest(), len(content))
        with pytest.raises(BadWheelError, match="no member 'nothing'"):
            archive.read("nothing")


def _zip(spec: WheelSpec, tmp_path: Path, *infos: zipfile.ZipInfo | str) -> Path:
    path = tmp_path / spec.filename
    with zipfile.ZipFile(path, "w") as archive:
        for info in infos:
            archive.writestr(info, b"content")
    return path


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/etc/passwd", "absolute"),
        ("C:/windows", "absolute"),
        ("../outside", "leaves the wheel"),
        ("demo/../../outside", "leaves the wheel"),
        ("demo//twice", "not normal"),
        ("demo/./here", "not normal"),
        ("demo\\..\\outside", "backslash"),
    ],
)
def test_names_that_leave_the_wheel(spec: WheelSpec, tmp_path: Path, name: str, what: str) -> None:
    path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL", name)
    with pytest.raises(BadWheelError, match=what) as caught:
        open_wheel(path)
    assert caught.value.exit_code is ExitCode.BAD_WHEEL
    assert spec.filename in str(caught.value)


def test_nul_in_a_name(spec: WheelSpec, tmp_path: Path) -> None:
    path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL", "demo/a#b")
    path.write_bytes(path.read_bytes().replace(b"a#b", b"a\0b"))
    with pytest.raises(BadWheelError, match="NUL"):
        open_wheel(path)


def test_duplicates(spec: WheelSpec, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL", "twice", "twice")
    with pytest.raises(BadWheelError, match="'twice' is there twice"):
        open_wheel(path)


def test_links(spec: WheelSpec, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with pytest.raises(BadWheelError, match="'link' is a symbolic link"):
        open_wheel(_zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL", link))


def test_encryption(spec: WheelSpec, tmp_path: Path) -> None:
    path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BadWheelError, match="encrypted"):
        open_wheel(path)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("demo/__init__.py",), "no .dist-info"),
        (("demo/_vendor/x-1.dist-info/WHEEL",), "no .dist-info"),
        (("demo-1.0.dist-info/WHEEL", "b-2.dist-info/WHEEL"), "2 .dist-info directories"),
    ],
)
def test_dist_info(spec: WheelSpec, tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    with pytest.raises(BadWheelError, match=what):
        open_wheel(_zip(spec, tmp_path, *names))


def test_overlapping_members(spec: WheelSpec, tmp_path: Path) -> None:
    path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL", "a", "b")
    data = bytearray(path.read_bytes())
    last = data.rindex(b"PK\1\2")
    second = data.rindex(b"PK\1\2", 0, last)
    data[last + 42 : last + 46] = data[second + 42 : second + 46]
    path.write_bytes(data)
    with pytest.raises(BadWheelError, match="overlaps"):
        open_wheel(path)


def test_directory_that_overlaps_a_member(spec: WheelSpec, tmp_path: Path) -> None:
    path = _zip(spec, tmp_path, "demo-1.0.dist-info/WHEEL")
    data = bytearray(path.read_bytes())
    struct.pack_into("<II", data, data.index(b"PK\1\2") + 20, 1 << 20, 1 << 20)
    struct.pack_into("<II", data, 18, 1 << 20, 1 << 20)
    path.write_bytes(data)
    with pytest.raises(BadWheelError, match="overlaps"):
        open_wheel(path)


@pytest.mark.parametrize("keep", [0, 4, 50, 200, -1, -10, -30])
def test_truncated_files(spec: WheelSpec, tmp_path: Path, keep: int) -> None:
    path = spec.write(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadWheelError, match=r"not a readable zip|overlaps|dist-info"):
        open_wheel(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadWheelError, match="No such file"):
        open_wheel(tmp_path / "demo-1.0-py3-none-any.whl")


def test_damaged_member(spec: WheelSpec, tmp_path: Path) -> None:
    path = spec.write(tmp_path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("demo-1.0.dist-info/METADATA")
    data[info.header_offset + 30 + len(info.filename) + 5] ^= 0xFF
    path.write_bytes(data)
    with (
        open_wheel(path) as archive,
        pytest.raises(BadWheelError, match="METADATA' cannot be read"),
    ):
        archive.read(info.filename)


def test_metadata_that_is_not_utf8(spec: WheelSpec, tmp_path: Path) -> None:
    files = spec.files()
    files["demo-1.0.dist-info/METADATA"] = b"Name: \xff\n"
    with (
        open_wheel(spec.write(tmp_path, files)) as archive,
        pytest.raises(BadWheelError, match="not UTF-8"),
    ):
        archive.headers("METADATA")
