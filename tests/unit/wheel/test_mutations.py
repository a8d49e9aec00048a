"""Each place in a wheel that a name, version or tag stands in: changed alone, it is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.wheel import Policies, verify
from tests.wheelmaker import EXTENSION, WheelSpec, make_bill, make_record, write_zip

VERSION = "1.0+gpu130"
INFO, DATA = f"demo-{VERSION}.dist-info", f"demo-{VERSION}.data"
PLATFORM = "manylinux2014_x86_64.manylinux_2_17_x86_64"
NAME = f"demo-{VERSION}-7-cp312-cp312-{PLATFORM}.whl"
BILL = f"{INFO}/sboms/auditwheel.cdx.json"

Files = dict[str, bytes]


@pytest.fixture
def files(extension: bytes) -> Files:
    """A wheel with everything that has a version or a tag, RECORD included."""
    spec = WheelSpec(
        version=VERSION,
        build="7",
        platform=PLATFORM,
        members={
            "demo/__init__.py": b"",
            EXTENSION: extension,
            f"{DATA}/scripts/tool": b"#!python\n",
        },
    )
    assert (spec.filename, spec.dist_info) == (NAME, INFO)
    return {**spec.files(), BILL: make_bill(VERSION, "pkg:pypi/demo@1.0%2Bgpu130?file_name=x.whl")}


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


NAMES = {"name-metadata", "name-dist-info"}
VERSIONS = {"version-metadata", "version-dist-info", "sbom"}


@pytest.mark.parametrize(
    ("old", "new", "rules", "words"),
    [
        ("demo-", "other-", NAMES, "METADATA says Name: demo"),
        ("1.0+gpu130", "1.0", VERSIONS, "METADATA says Version: 1.0+gpu130"),
        ("1.0+gpu130", "1.0+gpu126", VERSIONS, f"{INFO} says 1.0+gpu130"),
        ("1.0+gpu130", "1.0.post1+gpu130", VERSIONS, f"{BILL} says version {VERSION}"),
        ("-7-", "-", {"wheel-build"}, "WHEEL says Build '7', the file name says ''"),
        ("-7-", "-8-", {"wheel-build"}, "WHEEL says Build '7', the file name says '8'"),
        ("-cp312-cp312", "-cp313-cp312", {"wheel-tags"}, "the file name says cp313-cp312"),
        ("-cp312-cp312", "-cp312-cp311", {"wheel-tags", "python-abi"}, "says cp312-cp311"),
        ("-cp312-cp312", "-cp312-cp312t", {"wheel-tags", "python-abi"}, "says cp312-cp312t"),
        ("-cp312-cp312", "-cp312-abi3", {"wheel-tags", "python-abi"}, "name says cp312-abi3"),
        ("manylinux_2_17", "manylinux_2_28", {"wheel-tags"}, "manylinux_2_28_x86_64"),
        ("manylinux_2_17", "manylinux_2_12", {"wheel-tags", "tag-too-low"}, "manylinux_2_12"),
        (".manylinux_2_17_x86_64", "", {"wheel-tags"}, "cp312-cp312-manylinux_2_17_x86_64"),
        ("manylinux2014", "manylinux2010", {"wheel-tags", "tag-too-low"}, "says manylinux2010"),
        ("manylinux2014", "manylinux1", {"wheel-tags", "tag-too-low"}, "says manylinux1"),
        (PLATFORM, "musllinux_1_2_x86_64", {"wheel-tags", "elf-libc"}, "says musllinux"),
        (PLATFORM, "any", {"wheel-tags", "elf-in-any"}, "the tag says any"),
        (
            *(PLATFORM, "manylinux_2_17_aarch64"),
            *({"wheel-tags", "elf-machine", "python-abi"}, "is for x86_64, the tag says aarch64"),
        ),
    ],
)
def test_the_file_name(  # noqa: PLR0913, PLR0917 - a table of four columns
    files: Files, verified: Verified, old: str, new: str, rules: set[str], words: str
) -> None:
    assert old in NAME
    found = verified(NAME.replace(old, new, 1), files)
    assert {rule for rule, _ in found} == rules
    assert any(words in message for _, message in found), found


@pytest.mark.parametrize(
    ("member", "old", "new", "rule", "words"),
    [
        ("METADATA", "Version: 1.0+gpu130", "Version: 1.0", "version-metadata", "METADATA says"),
        ("METADATA", "Version: 1.0+gpu130", "Version: 1.0+gpu126", "version-metadata", "METADATA"),
        ("METADATA", "Version: 1.0+gpu130", "Version: one", "metadata-invalid", "'one' is not"),
        ("METADATA", "Version: 1.0+gpu130\n", "", "metadata-invalid", "0 Version fields"),
        ("METADATA", "Name: demo", "Name: demo2", "name-metadata", "METADATA says Name: demo2"),
        ("METADATA", "Name: demo", "Name: ", "metadata-invalid", "0 Name fields"),
        ("METADATA", "Name: demo\n", "", "metadata-invalid", "0 Name fields"),
        ("METADATA", "Name: demo\n", "Name: demo\n" * 2, "metadata-invalid", "2 Name fields"),
        ("METADATA", "Name: demo", "Name: \xff", "dist-info-files", "METADATA is not UTF-8"),
        ("METADATA", "Metadata-Version: 2.1\n", "", "metadata-invalid", "0 Metadata-Version"),
        ("WHEEL", "Build: 7", "Build: 8", "wheel-build", "WHEEL says Build '8'"),
        ("WHEEL", "Build: 7\n", "", "wheel-build", "WHEEL says Build ''"),
        ("WHEEL", "manylinux2014", "manylinux2010", "wheel-tags", "manylinux2010_x86_64"),
        ("WHEEL", "Tag: cp312-cp312-manylinux_2", "Tag: cp311-cp312-manylinux_2", "wheel-tags", ""),
        ("WHEEL", "Tag: cp312-cp312-manylinux_2", "Tag: cp312-abi3-manylinux_2", "wheel-tags", ""),
        ("WHEEL", "Tag: cp312-cp312-manylinux_2_17_x86_64\n", "", "wheel-tags", "WHEEL says"),
        ("WHEEL", "Build: 7", "Tag: cp312-cp312-linux_x86_64\nBuild: 7", "wheel-tags", "linux_x86"),
        ("WHEEL", "Tag: cp312-cp312", "Tag: cp312", "wheel-tags", "is not a tag"),
        ("WHEEL", "Wheel-Version: 1.0", "Wheel-Version: 2.0", "wheel-version", "'2.0'"),
        ("WHEEL", "Purelib: false", "Purelib: true", "root-is-purelib", EXTENSION),
        (
            "sboms/auditwheel.cdx.json",
            '"purl": "pkg:pypi/demo@1.0%2Bgpu130',
            '"purl": "pkg:pypi/demo@1.0',
            "sbom",
            "auditwheel.cdx.json says",
        ),
    ],
)
def test_a_member(  # noqa: PLR0913, PLR0917 - a table of five columns
    files: Files, verified: Verified, member: str, old: str, new: str, rule: str, words: str
) -> None:
    place = f"{INFO}/{member}"
    assert old.encode() in files[place]
    files[place] = files[place].replace(old.encode(), new.encode("latin-1"), 1)
    found = verified(NAME, files)
    assert {each for each, _ in found} == {rule}
    assert words in found[0][1]


OTHER = f"other-{VERSION}"


@pytest.mark.parametrize("new", ["demo-1.0", "demo-1.0+gpu126", "demo", OTHER])
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


def without(row: str, field: int) -> str:
    return ",".join("" if number == field else text for number, text in enumerate(row.split(",")))


CHANGES: dict[str, tuple[Callable[[str], str], set[str]]] = {
    "missing": (lambda _: "", {"record-missing"}),
    "twice": (lambda row: f"{row}\n{row}", {"record-extra"}),
    "name": (lambda row: row.replace(VERSION, "1.0", 1), {"record-missing", "record-extra"}),
    "quote": (lambda row: f'"{row}', {"record-missing", "record-extra"}),
    "hash": (other_hash, {"record-hash"}),
    "md5": (lambda row: row.replace("sha256", "md5"), {"record-hash"}),
    "no hash": (lambda row: without(row, 1), {"record-hash"}),
    "size": (lambda row: row + "0", {"record-size"}),
    "no size": (lambda row: without(row, 2), {"record-size"}),
}


@pytest.mark.parametrize("member", ["METADATA", "WHEEL", "licenses/LICENSE", "data"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_line_of_record(files: Files, verified: Verified, member: str, change: str) -> None:
    changed, rules = CHANGES[change]
    place = f"{DATA}/scripts/tool" if member == "data" else f"{INFO}/{member}"
    lines = make_record(files, f"{INFO}/RECORD").decode().splitlines()
    spoilt = [changed(line) if line.startswith(f"{place},") else line for line in lines]
    assert sum(a != b for a, b in zip(lines, spoilt, strict=True)) == 1
    record = "".join(f"{line}\n" for line in spoilt).encode()
    found = verified(NAME, {**files, f"{INFO}/RECORD": record})
    assert {rule for rule, _ in found} == rules
    assert any(place in message for _, message in found)
