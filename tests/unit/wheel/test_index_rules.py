"""What PyPI's program refuses, rule by rule; the sources are named in docs/howto/publishing.md."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import pytest

from orchestrator.wheel import retag
from orchestrator.wheel.index_rules import index_refusals, metadata_refusals
from tests.rawzip import Entry, write
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import WheelSpec, write_zip

MIB = 1 << 20


def pure(**more: Any) -> WheelSpec:
    named = {"python": "py3", "abi": "none", "platform": "any", "purelib": "true", **more}
    spec = WheelSpec(**named)
    spec.members.setdefault("demo.py", b"")
    return spec


def stating(folder: Path, *lines: str, version: str = "2.4") -> tuple[str, ...]:
    """Return the refusals of a wheel whose METADATA has more lines."""
    spec = pure()
    files = spec.files()
    head = f"Metadata-Version: {version}\nName: demo\nVersion: 1.0\n"
    text = head + "".join(f"{line}\n" for line in lines) + "\nText.\n"
    files[f"{spec.dist_info}/METADATA"] = text.encode()
    return index_refusals(spec.write(folder, files))


def test_a_plain_wheel_is_taken(tmp_path: Path) -> None:
    assert index_refusals(pure().write(tmp_path)) == ()


def test_a_variant_is_refused_with_the_reason(tmp_path: Path) -> None:
    (why,) = index_refusals(pure(label="cu13").write(tmp_path))
    assert why == "a variant (cu13), and it takes none: the format is a draft (PEP 825)"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Summary: " + "x" * 512, ""),
        ("Summary: " + "x" * 513, "Summary has 513 characters"),
        ("Summary: one\n        two", "summary"),
        ("Requires-Dist: other >= 1", ""),
        ("Requires-Dist: other @ https://example.com/x.whl", "a direct reference"),
        ("Requires-Dist: other @ git+https://example.com/x ; extra == 'a'", "a direct reference"),
        ("Provides-Dist: other @ https://example.com/x.whl", "Provides-Dist"),
        ("Obsoletes-Dist: x y z", "Obsoletes-Dist 'x y z' is invalid"),
        ("Home-Page: https://example.com/a?b=c#d", ""),
        ("Home-Page: example.com", "Home-Page 'example.com' is not"),
        ("Home-Page: ftp://example.com/", "not an http(s) URL"),
        ("Download-URL: https://example.com/a b/ü", ""),
        ("Download-URL: https://example.com/[a]", "Download-URL"),
        ("Project-URL: Docs, https://example.com/", ""),
        ("Project-URL: Docs, UNKNOWN", "Project-URL Docs: 'UNKNOWN'"),
        ("Project-URL: Docs,", "Project-URL Docs"),
        ("Project-URL: , https://example.com/", "has no label"),
        (f"Project-URL: {'x' * 32}, https://example.com/", ""),
        (f"Project-URL: {'x' * 33}, https://example.com/", "more than 32 characters"),
        ("Project-URL: Docs, https://example.com:port/", "Project-URL Docs"),
        ("Author-Email: Me <me@example.com>", ""),
        ("Author-Email: me@localhost", "Author-Email 'me@localhost'"),
        ("Author-Email: a..b@example.com", "Author-Email"),
        ("Author-Email: me@example.c1", "Author-Email"),
        ("Maintainer-Email: Me <me@nowhere>", "Maintainer-Email"),
        ("License: MIT\nLicense-Expression: MIT", "exclude each other"),
        ("License-Expression: nonsense", "license-expression"),
        ("License-File: LICENSE", ""),
        ("License-File: sub/NOTICE", "there is no demo-1.0.dist-info/licenses/sub/NOTICE"),
        ("License-File: ../LICENSE", "license-file"),
        ("Dynamic: Name", "dynamic"),
        ("Dynamic: Dynamic", "cannot be dynamic"),
        ("Dynamic: Import-Name", ""),
        ("Description-Content-Type: text/html", "description-content-type"),
    ],
)
def test_metadata(tmp_path: Path, line: str, why: str) -> None:
    found = stating(tmp_path, line)
    assert bool(found) is bool(why)
    assert why in " ".join(found)


def test_versions_of_metadata(tmp_path: Path) -> None:
    assert stating(tmp_path / "1", version="2.5") == ()
    assert any("metadata" in each.lower() for each in stating(tmp_path / "2", version="3.7"))
    # setuptools has named licence files since long before 2.4.
    assert stating(tmp_path / "3", "License-File: LICENSE.txt", version="2.1") == ()


@pytest.mark.parametrize(
    ("classifier", "why"),
    [
        ("Programming Language :: Python :: 3", ""),
        ("Private :: Do Not Upload", "off every public index"),
        ("Programming Language :: Python :: 3.999", "is unknown"),
        ("Natural Language :: Ukranian", "deprecated: use Natural Language :: Ukrainian"),
    ],
)
def test_classifiers(tmp_path: Path, classifier: str, why: str) -> None:
    pytest.importorskip("trove_classifiers")
    found = stating(tmp_path, f"Classifier: {classifier}")
    assert bool(found) is bool(why)
    assert why in "".join(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[console_scripts]\nmy-tool.x = demo:main\n", ""),
        ("[console_scripts]\nmy tool = demo:main\n", "'my tool'"),
        ("[gui_scripts]\nc++ = demo:main\n", "c++"),
        ("[other]\nc++ x = demo:main\n", ""),
        ("[console_scripts]\nx = demo:main\nx = demo:main\n", "not an INI file"),
        ("x = demo:main\n", "not an INI file"),
        ("[console_scripts]\n" + "x\n" * 20_000, "too long"),
        # A value that names others may grow without end.
        ("[console_scripts]\nx = %(y)s%(y)s\ny = %(z)s%(z)s\nz = demo:main\n", ""),
        ("[console_scripts]\nx = %\n", ""),  # `verify` says so
    ],
)
def test_entry_points(tmp_path: Path, text: str, why: str) -> None:
    spec = pure(extra_info={"entry_points.txt": text.encode()})
    found = index_refusals(spec.write(tmp_path))
    assert bool(found) is bool(why)
    assert why.strip("'") in "".join(found)


def test_what_is_no_utf8_or_no_version_is_a_reason(tmp_path: Path) -> None:
    spec = pure(extra_info={"entry_points.txt": b"\xff"})
    assert "not UTF-8" in "".join(index_refusals(spec.write(tmp_path)))
    text = f"Metadata-Version: 2.1\nName: demo\nVersion: {'1' * 5000}\n"
    (why,) = metadata_refusals(text.encode())
    assert why.startswith("METADATA: Exceeds the limit (4300 digits)")


@pytest.mark.parametrize(
    ("name", "version", "info"),
    [
        ("Demo", "1.0", ""),
        ("demo.x", "1.0", ""),
        ("demo", "1.0", "Demo-1.0.dist-info"),
        ("demo", "1.0", "demo-1.0.0.dist-info"),
        ("demo", "1.00", ""),
    ],
)
def test_names_are_normalised_by_a_command(
    tmp_path: Path, inspector: Inspector, name: str, version: str, info: str
) -> None:
    spec = pure(name=name, version=version, extra_info={"licenses/LICENSE": b"free"})
    files = spec.all_files()
    if info:
        files = {key.replace(spec.dist_info, info): value for key, value in files.items()}
        record = f"{info}/RECORD"
        files[record] = files[record].replace(spec.dist_info.encode(), info.encode())
    path = tmp_path / spec.filename
    write_zip(path, files)
    found = index_refusals(path)
    assert bool(found) is (version == "1.0")
    assert all("orchestrator retag --normalise" in each for each in found)

    made = retag(path, dest_dir=tmp_path / "made", epoch=0, normal_names=True)

    assert index_refusals(made) == ()
    assert inspector.rules(made) == []
    assert made.name.startswith(("demo-1.0-", "demo_x-1.0-"))


def test_zip_files(tmp_path: Path, inspector: Inspector) -> None:
    path = pure().write(tmp_path)
    described, commented = tmp_path / "a" / path.name, tmp_path / "b" / path.name
    for made in (described, commented):
        made.parent.mkdir()
    with zipfile.ZipFile(path) as old:
        files = {each: old.read(each) for each in old.infolist()}
    with described.open("wb") as raw, zipfile.ZipFile(Pipe(raw), "w") as new:
        for each, content in files.items():
            new.writestr(each.filename, content)
    with zipfile.ZipFile(commented, "w") as new:
        for each, content in files.items():
            each.comment = b"by hand"
            new.writestr(each, content)
    for made, why in ((described, "data descriptors"), (commented, "comments")):
        (found,) = index_refusals(made)
        assert found.startswith(why)
        again = retag(made, dest_dir=made.parent / "made", epoch=0, normal_names=True)
        assert index_refusals(again) == ()
        assert inspector.rules(again) == []


def field(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


NAMED = b"\1" + struct.pack("<I", zlib.crc32(b"demo.py")) + b"demo.py"


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (b"", ""),
        (field(0x5455, b"\1abcd") * 2, ""),
        (field(1, b""), ""),
        (field(1, struct.pack("<QQ", 7, 9)), ""),
        (field(0x7075, NAMED), ""),
        (field(0x7075, NAMED) * 2, "an extra field twice"),
        (field(1, b"") * 2, "an extra field twice"),
        (field(1, struct.pack("<Q", 9)), "another size than it should have"),
        (field(1, b"12345"), "another size than it should have"),
        (field(1, struct.pack("<QQ", 7, 99)), "disagrees with the zip directory"),
        (field(0x5455, b"\1abcd")[:-1], "cut off"),
        (b"\x55\x54\x01", "cut off"),
    ],
)
def test_extra_fields_before_a_member(tmp_path: Path, extra: bytes, why: str) -> None:
    entries = [Entry(name=b"demo.py", local={"extra": extra})]
    entries += [
        Entry(name=name.encode(), content=content)
        for name, content in pure().all_files().items()
        if name != "demo.py"
    ]
    path = tmp_path / pure().filename
    path.write_bytes(write(entries))

    found = "".join(index_refusals(path))
    assert bool(found) is bool(why)
    assert why in found
    again = retag(path, dest_dir=tmp_path / "made", epoch=0, normal_names=True)
    assert index_refusals(again) == ()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("demo/a.py", b"__pyarmor__(__name__, __file__, b'x')", "encrypted with PyArmor"),
        ("demo/a.py", b"def f():\n    __pyarmor_enter__(1)\n", "encrypted with PyArmor"),
        ("demo/a.PYE", b"---BEGIN PYE FILE---\nx\n---END PYE FILE---", "with SourceDefender"),
        ("demo/a.txt", b"__pyarmor_enter__", ""),
        ("demo/a.py", b"# pyarmor is not used here, nor ---BEGIN PYE FILE---", ""),
    ],
)
def test_encrypted_sources(tmp_path: Path, name: str, text: bytes, why: str) -> None:
    found = "".join(index_refusals(pure(members={name: text}).write(tmp_path)))
    assert bool(found) is bool(why)
    assert why in found


def test_a_name_that_leaves_no_room_for_its_metadata(tmp_path: Path) -> None:
    for length, taken in ((246, True), (247, False)):
        spec = pure(name="d" * (length - len("-1.0-py3-none-any.whl")))
        assert (index_refusals(spec.write(tmp_path)) == ()) is taken


class Pipe(io.RawIOBase):
    """A file that cannot seek: zipfile then writes data descriptors."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


def test_bombs_and_odd_names(tmp_path: Path) -> None:
    found = index_refusals(pure(members={"zeros": bytes(65 * MIB)}).write(tmp_path))
    assert found == ("it unpacks to more than 50 times its size",)
    found = index_refusals(pure(members={"demo/a\tb": b""}).write(tmp_path))
    assert found == ("names with control characters: 'demo/a\\tb'",)
