"""The bills we write and change, against the schema of CycloneDX."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel import open_wheel, retag, sbom
from tests.wheelmaker import ElfSpec, WheelSpec, make_bill, make_elf


def check_valid(text: bytes) -> None:
    """Raise unless the text is valid by the schema of the version it names, strictly."""
    version = SchemaVersion.from_version(json.loads(text)["specVersion"])
    assert JsonStrictValidator(version).validate_str(text.decode()) is None


NAME = WheelName.parse("Demo_pkg-1.0+cu130-1-cp312-cp312-linux_x86_64.whl")


@given(
    st.dictionaries(
        st.from_regex(r"Demo_pkg\.libs/lib[a-z0-9_+-]{1,9}\.so(\.[0-9]{1,2}){0,3}", fullmatch=True),
        st.binary(min_size=32, max_size=32),
        max_size=4,
    )
)
def test_our_bills_follow_the_schema(libraries: dict[str, bytes]) -> None:
    text = sbom.grafted(NAME, libraries)
    check_valid(text)
    document = json.loads(text)
    purl = f"pkg:pypi/demo-pkg@1.0%2Bcu130?file_name={str(NAME).replace('+', '%2B')}"
    assert document["metadata"]["component"]["purl"] == purl
    assert {each["bom-ref"] for each in document["components"]} == set(libraries)
    assert sbom.grafted(NAME, dict(reversed(libraries.items()))) == text, "no order of chance"
    assert sbom.version_of(document, "demo-pkg") == "1.0+cu130"


def test_auditwheel_s_bill_is_valid_before_and_after(spec: WheelSpec, tmp_path: Path) -> None:
    before = make_bill()
    check_valid(before)
    spec.extra_info["sboms/auditwheel.cdx.json"] = before
    out = retag(spec.write(tmp_path), dest_dir=tmp_path / "new", build_tag="7")
    with open_wheel(out) as archive:
        after = archive.read("demo-1.0.dist-info/sboms/auditwheel.cdx.json")
    assert after != before
    check_valid(after)


@pytest.mark.parametrize(
    ("library", "original"),
    [
        ("libz-0b1c2d3e.so.1", "libz.so.1"),
        ("libgfortran-040039e1-0352e75f.so.5.0.0", "libgfortran.so.5.0.0"),
        ("libscipy_openblas64_-56d6093b.so", "libscipy_openblas64_.so"),
        ("libgcc_s-a04fdf82.so.1", "libgcc_s.so.1"),
        ("libfoo.so.1", "libfoo.so.1"),
        ("libfoo-1.2.so", "libfoo-1.2.so"),
        ("libabc-dead.so.1", "libabc-dead.so.1"),
    ],
)
def test_names_before_the_graft(library: str, original: str) -> None:
    assert sbom.original_name(library) == original


def test_only_grafted_libraries_are_on_the_bill(spec: WheelSpec, tmp_path: Path) -> None:
    library = make_elf(ElfSpec(soname="libz.so"))
    spec.members |= {"demo.libs/libz-0b1c2d3e.so.1": library, "demo.libs/README": b""}
    spec.members["demo/libown.so"] = library
    with open_wheel(spec.write(tmp_path)) as archive:
        assert list(sbom.libraries_of(archive)) == ["demo.libs/libz-0b1c2d3e.so.1"]
