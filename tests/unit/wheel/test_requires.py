"""Pins in a wheel's requirements: what changes, what stays, and that `verify` knows."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.wheel import Policies, retag, verify
from orchestrator.wheel.requires import pinned
from tests.unit.wheel.conftest import EXPECTED
from tests.wheelmaker import WheelSpec


@pytest.mark.parametrize(
    ("stated", "result"),
    [
        ([], ["torch==2.8.*"]),
        (["numpy>=1"], ["numpy>=1", "torch==2.8.*"]),
        (["torch"], ["torch==2.8.*"]),
        (["Torch>=2.4", "numpy"], ["Torch==2.8.*", "numpy"]),
        (["torch == 2.8.*"], ["torch == 2.8.*"]),
        (["torch[opt]>=2 ; python_version>'3.8'"], ['torch[opt]==2.8.* ; python_version > "3.8"']),
        (["torch ; extra=='gpu'"], ['torch==2.8.* ; extra == "gpu"', "torch==2.8.*"]),
        (["torch @ https://example.org/t.whl"], ["torch==2.8.*"]),
        (["torch>=2 ;\n  python_version > '3.8'"], ['torch==2.8.* ; python_version > "3.8"']),
        (["torch (>=2", "torchvision"], ["torch (>=2", "torchvision", "torch==2.8.*"]),
    ],
)
def test_a_pin_takes_the_place_of_the_specifier(stated: list[str], result: list[str]) -> None:
    assert pinned(stated, ["torch==2.8.*"]) == result
    assert pinned(result, ["torch==2.8.*"]) == result, "and once is enough"


def metadata(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("demo-1.0.dist-info/METADATA").decode()


def test_pins_are_written_with_everything_else_in_one_step(
    spec: WheelSpec, tmp_path: Path, policies: Policies
) -> None:
    spec.extra_info["METADATA"] = (
        b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: torch>=2\n"
        b"Requires-Dist: numpy\n\nText\nRequires-Dist: not a header\n"
    )
    path = spec.write(tmp_path)
    out = retag(path, dest_dir=tmp_path / "new", pins=["torch==2.8.*", "x>1"], build_tag="3")

    assert metadata(out) == (
        "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: torch==2.8.*\n"
        "Requires-Dist: numpy\nRequires-Dist: x>1\n\nText\nRequires-Dist: not a header\n"
    )
    assert verify(out, policies).problems == ()
    again = retag(out, dest_dir=tmp_path / "again", pins=["torch==2.8.*", "x>1"])
    assert metadata(again) == metadata(out)


def test_verify_knows_the_pins(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    spec.extra_info["METADATA"] = (
        b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: torch>=2\n\n"
    )
    path = spec.write(tmp_path)
    wanted = replace(EXPECTED, pins=("torch==2.8.*",))
    (found,) = verify(path, policies, expected=wanted).problems

    assert found.rule == "planned-requires"
    assert found.message == "METADATA: planned Requires-Dist: torch==2.8.*, got torch>=2"
    good = retag(path, dest_dir=tmp_path / "new", pins=wanted.pins)
    assert verify(good, policies, expected=wanted).problems == ()


def test_verify_knows_the_spelling(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    path = retag(spec.write(tmp_path), dest_dir=tmp_path / "1", version="1.0+nv26.4")
    wanted = replace(EXPECTED, version="1.0+nv26.04")

    assert verify(path, policies, expected=replace(EXPECTED, version="1.0+nv26.4")).problems == ()
    assert {each.rule for each in verify(path, policies, expected=wanted).problems} == {
        "planned-version"
    }
    respelled = retag(path, dest_dir=tmp_path / "2", version=wanted.version)
    assert respelled.name.startswith("demo-1.0+nv26.04-cp312-")
    assert verify(respelled, policies, expected=wanted).problems == ()
    with zipfile.ZipFile(respelled) as archive:
        text = archive.read("demo-1.0+nv26.04.dist-info/METADATA").decode()
    assert "\nVersion: 1.0+nv26.04\n" in text
