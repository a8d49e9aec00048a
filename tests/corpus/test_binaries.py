"""Real wheels for macOS and Windows: our readers agree with delocate and delvewheel.

`binaries.csv` lists them as `wheels.csv` lists those for Linux; the eight marked ``ci`` are the
default.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus.binaries import compare, put_tools_on_path
from tests.corpus.listed import listed

WHEELS = "binaries.csv"


@pytest.mark.index
def test_others_say_the_same(path: Path, tmp_path: Path) -> None:
    if not put_tools_on_path(tmp_path / "bin"):
        assert "CI" not in os.environ
        pytest.skip("otool and lipo are missing: install llvm")
    same, differences = compare(path, tmp_path / "wheel")
    assert same
    assert [each for each in differences if not each.reason] == []


def test_the_wheels_are_of_all_kinds() -> None:
    wheels = listed(WHEELS)
    assert len({one.sha256 for one in wheels}) == len(wheels)
    assert sum(bool(one.ci) for one in wheels) == 8
    assert sum(int(one.bytes) for one in wheels if one.ci) < 5_000_000
    assert sum("Windows" in one.why for one in wheels) >= 30
    assert sum("macOS" in one.why for one in wheels) >= 30
    words = {word for one in wheels for word in one.why.split("; ")}
    assert {f"macOS {arch}" for arch in ("arm64", "x86_64", "universal2")} <= words
    assert {f"Windows {tag}" for tag in ("win32", "win_amd64", "win_arm64")} <= words
