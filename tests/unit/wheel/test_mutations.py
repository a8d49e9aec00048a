"""Each place in a wheel that a name, version or tag stands in: changed alone, it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.wheel import Policies, verify
from tests.wheelmaker import EXTENSION, WheelSpec, make_record, write_zip

VERSION = "1.0+cu130"
INFO, DATA = f"demo-{VERSION}.dist-info", f"demo-{VERSION}.data"
NAME = f"demo-{VERSION}-7-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
BILL = f"{INFO}/sboms/auditwheel.cdx.json"

Files = dict[str, bytes]


@pytest.fixture
def files(extension: bytes) -> Files:
    """A wheel with everything that has a version or a tag, RECORD included."""
    purl = f"pkg:pypi/demo@1.0%2Bcu130?file_name={NAME.replace('+', '%2B')}"
    component = {"type": "library", "name": "demo", "version": VERSION, "purl": purl}
    spec = WheelSpec(
        version=VERSION,
        build="7",
        platform="manylinux2014_x86_64.manylinux_2_17_x86_64",
        members={
            "demo/__init__.py": b"",
            EXTENSION: extension,
            f"{DATA}/scripts/tool": b"#!python\n",
        },
    )
    made = spec.files()
    made[BILL] = json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.4", "metadata": {"component": component}}
    ).encode()
    assert spec.filename == NAME
    assert spec.dist_info == INFO
    return made


Verified = Callable[[str, Files], list[tuple[str, str]]]


@pytest.fixture
def verified(tmp_path: Path, policies: Policies) -> Verified:
    """Writes a wheel, with a RECORD that fits unless there is one: its problems."""

    def problems(name: str, files: Files) -> list[tuple[str, str]]:
        if not any(each.endswith(".dist-info/RECORD") for each in files):
            metadata = next(each for each in files if each.endswith(".dist-info/METADATA"))
            place = metadata.replace("METADATA", "RECORD")
            files = {**files, place: make_record(files, place)}
        write_zip(tmp_path / name, files)
        return [(each.rule, each.message) for each in verify(tmp_path / name, policies).problems]

    return problems


def test_nothing_is_wrong_before(files: Files, verified: Verified) -> None:
    assert verified(NAME, files) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("demo-", "other-", {"name-metadata": "METADATA says Name: demo"}),
        ("1.0+cu130", "1.0", {"version-metadata": "METADATA says Version: 1.0+cu130"}),
        ("1.0+cu130", "1.0+cu126", {"version-dist-info": f"{INFO} says 1.0+cu130"}),
        ("1.0+cu130", "1.0.post1+cu130", {"sbom": f"{BILL} says version {VERSION}"}),
        ("-7-", "-", {"wheel-build": "WHEEL says Build '7', the file name says ''"}),
        ("-7-", "-8-", {"wheel-build": "WHEEL says Build '7', the file name says '8'"}),
        ("-cp312-cp312", "-cp313-cp312", {"wheel-tags": "the file name says cp313-cp312"}),
        ("-cp312-cp312", "-cp312-abi3", {"wheel-tags": "the file name says cp312-abi3"}),
        ("manylinux_2_17", "manylinux_2_28", {"wheel-tags": "manylinux_2_28_x86_64"}),
        (".manylinux_2_17_x86_64", "", {"wheel-tags": "cp312-cp312-manylinux_2_17_x86_64"}),
        ("manylinux2014", "manylinux2010", {"tag-too-low": "the tag says manylinux2010"}),
    ],
)
def test_the_file_name(
    files: Files, verified: Verified, old: str, new: str, expected: dict[str, str]
) -> None:
    assert old in NAME
    found = verified(NAME.replace(old, new, 1), files)
    for rule, words in expected.items():
        assert any(rule == each and words in message for each, message in found), found


@pytest.mark.parametrize(
    ("member", "old", "new", "rule", "words"),
    [
        ("METADATA", "Version: 1.0+cu130", "Version: 1.0", "version-metadata", "METADATA says"),
        ("METADATA", "Version: 1.0+cu130", "Version: 1.0+cu126", "version-metadata", "METADATA"),
        ("METADATA", "Name: demo", "Name: demo2", "name-metadata", "METADATA says Name: demo2"),
        ("WHEEL", "Build: 7", "Build: 8", "wheel-build", "WHEEL says Build '8'"),
        ("WHEEL", "Build: 7\n", "", "wheel-build", "WHEEL says Build ''"),
        ("WHEEL", "manylinux2014", "manylinux2010", "wheel-tags", "manylinux2010_x86_64"),
        ("WHEEL", "Tag: cp312-cp312-manylinux_2", "Tag: cp311-cp312-manylinux_2", "wheel-tags", ""),
        ("WHEEL", "Tag: cp312-cp312-manylinux_2", "Tag: cp312-abi3-manylinux_2", "wheel-tags", ""),
        ("sboms/auditwheel.cdx.json", "@1.0%2Bcu130", "@1.0", "sbom", "auditwheel.cdx.json says"),
    ],
)
def test_a_member(  # noqa: PLR0913, PLR0917 - a table of five columns
    files: Files, verified: Verified, member: str, old: str, new: str, rule: str, words: str
) -> None:
    place = f"{INFO}/{member}"
    assert old.encode() in files[place]
    files[place] = files[place].replace(old.encode(), new.encode(), 1)
    found = verified(NAME, files)
    assert {each for each, _ in found} == {rule}
    assert words in found[0][1]


OTHER = f"other-{VERSION}"


@pytest.mark.parametrize("new", ["demo-1.0", "demo-1.0+cu126", "demo", OTHER])
@pytest.mark.parametrize("kind", ["dist-info", "data"])
def test_a_directory(files: Files, verified: Verified, kind: str, new: str) -> None:
    old = f"demo-{VERSION}.{kind}/"
    moved = {name.replace(old, f"{new}.{kind}/"): text for name, text in files.items()}
    assert moved.keys() != files.keys()
    found = verified(NAME, moved)
    rule = "name-dist-info" if new == OTHER else "version-dist-info"
    assert rule in {each for each, _ in found}
    assert {message.split()[0] for _, message in found} == {f"{new}.{kind}"}


def other_hash(row: str) -> str:
    at = row.index("sha256=") + len("sha256=")
    return row[:at] + ("B" if row[at] == "A" else "A") + row[at + 1 :]


@pytest.mark.parametrize("member", ["METADATA", "WHEEL", "licenses/LICENSE", "data"])
@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (lambda row: row.replace(VERSION, "1.0", 1), {"record-missing", "record-extra"}),
        (other_hash, {"record-hash"}),
        (lambda row: row + "0", {"record-size"}),
    ],
    ids=["name", "hash", "size"],
)
def test_a_line_of_record(
    files: Files, verified: Verified, member: str, change: Callable[[str], str], rules: set[str]
) -> None:
    place = f"{DATA}/scripts/tool" if member == "data" else f"{INFO}/{member}"
    lines = make_record(files, f"{INFO}/RECORD").decode().splitlines()
    spoilt = [change(line) if line.startswith(f"{place},") else line for line in lines]
    assert sum(a != b for a, b in zip(lines, spoilt, strict=True)) == 1
    record = "".join(f"{line}\n" for line in spoilt).encode()
    found = verified(NAME, {**files, f"{INFO}/RECORD": record})
    assert {rule for rule, _ in found} == rules
    assert any(place in message for _, message in found)
