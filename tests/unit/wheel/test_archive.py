from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from packaging.version import Version

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel import open_wheel
from tests.wheelmaker import WheelSpec, write_zip


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


def test_neither_pipes_nor_devices_are_wheels(spec: WheelSpec, tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    for path in (tmp_path / spec.filename, tmp_path / "device" / spec.filename):
        os.mkfifo(path) if path.parent == tmp_path else path.symlink_to("/dev/zero")
        with pytest.raises(BadWheelError, match="cannot be opened: is not a regular file"):
            open_wheel(path)


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


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("demo/__init__.py",), "no .dist-info"),
        (("demo/_vendor/x-1.dist-info/WHEEL",), "no .dist-info"),
        (("demo-1.0.dist-info/WHEEL", "b-2.dist-info/WHEEL"), "2 .dist-info directories"),
    ],
)
def test_dist_info(spec: WheelSpec, tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    path = tmp_path / spec.filename
    write_zip(path, dict.fromkeys(names, b"content"))
    with pytest.raises(BadWheelError, match=what):
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
