"""Wheels that were spoilt in any way: comparing, demanding and normalising refuse in one way."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from orchestrator.errors import BadWheelError
from orchestrator.models.target import VerifyPolicy
from orchestrator.wheel import compare, retag, verify
from tests.conftest import examples
from tests.property.test_wheel import (
    POLICIES,
    SAMPLES,
    Changes,
    build_tags,
    changes_up_to,
    spoilt,
    versions,
)
from tests.wheelmaker import EXTENSION, WheelSpec

DEMANDS = VerifyPolicy(size_budget=1, required=("*.so",), build_paths=("/project", "answer"))


def sample(directory: Path) -> Path:
    purl = "pkg:pypi/demo@1.0?file_name=x.whl"
    component = {"name": "demo", "version": "1.0", "purl": purl, "bom-ref": purl}
    bill = {"bomFormat": "CycloneDX", "metadata": {"component": component}}
    members = {
        "demo/__init__.py": b"answer = 42\n" * 50,
        EXTENSION: SAMPLES[0],
        "demo.libs/libx-0123abcd.so.1": SAMPLES[1],
        "demo-1.0.data/scripts/tool": b"#!python\n",
    }
    info = {"licenses/LICENSE": b"free ", "sboms/a.cdx.json": json.dumps(bill).encode()}
    return WheelSpec(members=members, extra_info=info).write(directory)


@examples(150)
@given(changes_up_to(12000, 4, 6))
def test_spoilt_wheels_are_refused_in_one_way(changes: Changes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        good, path = sample(home / "good"), sample(home / "spoilt")
        path.write_bytes(spoilt(path.read_bytes(), changes))
        try:
            verify(path, POLICIES, demands=DEMANDS)
            assert (compare(good, path) == ()) == (good.read_bytes() == path.read_bytes())
            retag(path, dest_dir=home / "new", epoch=0, add_sbom=True, version=Version("2"))
        except BadWheelError:
            assert not list(home.glob("new/*"))


@examples(60)
@given(version=versions, build_tag=build_tags, epoch=st.integers(-(10**10), 10**12))
def test_order_of_normalising_and_renaming_does_not_matter(
    version: Version, build_tag: str, epoch: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        path = sample(home)

        def changed(source: Path, name: str, *, normalise: bool, rename: bool) -> Path:
            return retag(
                source,
                dest_dir=home / name,
                version=version if rename else None,
                build_tag=build_tag if rename else None,
                epoch=epoch if normalise else None,
            )

        both = changed(path, "both", normalise=True, rename=True)
        first = changed(path, "1", normalise=True, rename=False)
        last = changed(path, "2", normalise=False, rename=True)
        assert verify(both, POLICIES).problems == ()
        for half, normalise in ((last, True), (first, True)):
            other = changed(half, f"{half.parent.name}x", normalise=normalise, rename=half == first)
            assert other.read_bytes() == both.read_bytes()
