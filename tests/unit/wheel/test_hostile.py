"""Files made to harm: each is refused with one message, in little memory, and without traceback."""

from __future__ import annotations

import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadWheelError, ExitCode
from orchestrator.models.wheel import WheelReport
from orchestrator.wheel import (
    Policies,
    budget,
    compare,
    inflate,
    open_wheel,
    report,
    retag,
    verify,
)
from orchestrator.wheel import archive as archives
from orchestrator.wheel.inflate import STORED, DamagedError, fastest
from tests.auditor import load_policies
from tests.rawzip import MIB, Entry, compressed_member, deflated, deflated_zeros, write
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

INFO = Entry(name=b"demo-1.0.dist-info/WHEEL", content=b"Wheel-Version: 1.0\n")
NAME = WheelSpec().filename


POLICIES = load_policies()
Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def make(*entries: Entry, **how: Any) -> Path:
        path = tmp_path / NAME
        path.write_bytes(write([INFO, *entries], **how))
        return path

    return make


def refused(path: Path) -> str:
    """Return the one message with which everything refuses a file."""
    what = refused_by_readers(path)
    with pytest.raises(BadWheelError):
        retag(path, dest_dir=path.parent / "new", build_tag="1")
    assert not list(path.parent.glob("new/*"))
    return what


def refused_by_readers(path: Path) -> str:
    said = set()
    for use in (report, verify):
        with pytest.raises(BadWheelError) as caught:
            use(path, POLICIES)
        (problem,) = caught.value.problems
        said.add(problem.what)
        assert (problem.where, caught.value.exit_code) == (NAME, ExitCode.BAD_WHEEL)
        assert "\n" not in problem.what
    (what,) = said
    return what


def zip64(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


SECOND_NAME = struct.pack("<HHBI", 0x7075, 8, 1, zlib.crc32(b"x")) + b"y.z"
DESCRIPTOR = struct.pack("<4I", 0x08074B50, 1, 2, 3)
WIDE, HUGE = (1 << 32) - 1, (1 << 64) - 1
LARGE = {"packed": MIB}
SIX, EIGHT = {"size": 6, "packed": 6}, {"size": 8, "packed": 8}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (Entry(name=b"../x"), "leaves the wheel"),
        (Entry(name=b"demo/../../x"), "leaves the wheel"),
        (Entry(name=b"/x"), "absolute"),
        (Entry(name=b"C:/x"), "absolute"),
        (Entry(name=b"C:"), "absolute"),
        (Entry(name=b"..\\x"), "backslash"),
        (Entry(name=b"x\0.py"), "NUL"),
        (Entry(name=b""), "not normal"),
        (Entry(name=b"demo//x"), "not normal"),
        (Entry(name=b"demo/./x"), "not normal"),
        (Entry(name=b"x", mode=0o120777), "symbolic link"),
        (Entry(name=b"x", mode=0o120777, system=0), "symbolic link"),
        (Entry(name=b"x", mode=0o010644), "neither a file nor a directory"),
        (Entry(name=b"x", mode=0o020644), "neither a file nor a directory"),
        (Entry(name=b"\xff.py"), "not a readable zip"),
        (Entry(name=b"\xff.py", flags=0), "not marked as UTF-8"),
        (Entry(name="ä.py".encode(), flags=0), "not marked as UTF-8"),
        (Entry(name=b"x", extra=SECOND_NAME), "second name"),
        (Entry(name=b"x", local={"extra": SECOND_NAME}), "local header disagrees"),
        (Entry(name=b"x" * 60_000, flags=0x801), "more characters"),
        (Entry(name=b"x", flags=0x801), "encrypted"),
        (Entry(name=b"x", flags=0x840), "encrypted"),
        (Entry(name=b"x", method=12), "compressed with bzip2"),
        (Entry(name=b"x", method=14), "compressed with lzma"),
        (Entry(name=b"x", method=93), "compressed with zstandard"),
        (Entry(name=b"x", method=99), "compressed with 99"),
        (Entry(name=b"demo/", content=b"hidden"), "directory that holds bytes"),
        (Entry(name=b"x", local={"name": b"y"}), "local header disagrees"),
        (Entry(name=b"x", local={"name": b"../x"}), "local header disagrees"),
        (Entry(name=b"x", local={"method": STORED}), "local header disagrees"),
        (Entry(name=b"x", local={"size": 6}), "local header disagrees"),
        (Entry(name=b"x", local={"packed": 2}), "local header disagrees"),
        (Entry(name=b"x", local={"crc": 1}), "local header disagrees"),
        (Entry(name=b"x", local={"flags": 0x808}), "local header disagrees"),
        (Entry(name=b"x", local={"flags": 0x801}), "local header disagrees"),
        (Entry(name=b"x", local={"size": WIDE, "extra": zip64(1 << 40)}), "local header disagrees"),
        (Entry(name=b"x", local={"size": WIDE}), "local header disagrees"),
        (Entry(name=b"x", flags=0x808, descriptor=DESCRIPTOR), "data descriptor disagrees"),
        (Entry(name=b"x", flags=0x808), "data descriptor disagrees"),
        (Entry(name=b"x", central={"offset": 1}), "overlaps another"),
        (Entry(name=b"x", central={"offset": 0}), "overlaps another"),
        (Entry(name=b"x", central={"offset": 1 << 31}), "belong to no member"),
        (Entry(name=b"x", local=LARGE, central=LARGE), "overlaps the zip directory"),
        (Entry(name=b"x", method=STORED, central={"size": 8}), "is stored in 7 bytes"),
        (Entry(name=b"x", method=STORED, local=SIX, central=SIX), "belong to no member"),
        (Entry(name=b"x", method=STORED, local=EIGHT, central=EIGHT), "overlaps"),
        (Entry(name=b"x", packed=b""), "cannot hold them"),
        (Entry(name=b"x", central={"size": 1 << 30}), "cannot hold them"),
        (Entry(name=b"x", central={"size": WIDE, "extra": zip64(HUGE)}), "cannot hold them"),
        (Entry(name=b"x", central={"size": WIDE, "extra": zip64()}), "not a readable zip"),
    ],
)
def test_members_that_no_wheel_may_have(written: Written, entry: Entry, what: str) -> None:
    assert what in refused(written(entry))


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((b"x", b"x"), "'x' is there twice"),
        ((b"x/", b"x"), "'x' is there twice"),
        ((b"x", b"x/y"), "file and a directory"),
        ((b"x/y/z", b"x"), "file and a directory"),
    ],
)
def test_names_that_are_in_each_others_way(
    written: Written, names: tuple[bytes, ...], what: str
) -> None:
    entries = [Entry(name=name, content=b"" if name.endswith(b"/") else b"x") for name in names]
    assert what in refused(written(*entries))


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"before": b"#!/bin/sh\n"}, "belong to no member"),
        ({"between": b"PK\3\4"}, "belong to no member"),
        ({"after": b"more"}, "not at its end"),
        ({"comment": b"x" * 9, "after": b"PK\5\6" + bytes(18)}, "not where its end record says"),
        ({"offset": 7}, "not where its end record says"),
        ({"size": 1}, "not where its end record says"),
        ({"size": 0xFFFFFFFF}, "not where its end record says"),
        ({"count": 3}, "another number of members"),
    ],
)
def test_bytes_outside_the_zip(written: Written, how: dict[str, Any], what: str) -> None:
    assert what in refused(written(**how))


def ending64(count: int, size: int, offset: int, *, at: int) -> bytes:
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    return record + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)


@pytest.mark.parametrize("spoilt", ["", "count", "size", "offset", "at", "huge"])
def test_zip64_end_records(written: Written, tmp_path: Path, spoilt: str) -> None:
    path = written(Entry(name=b"x"))
    data = path.read_bytes()
    end = len(data) - 22
    size, offset = struct.unpack_from("<2I", data, end + 12)
    values = {"count": 2, "size": size, "offset": offset, "at": end}
    if spoilt == "huge":
        values |= {"size": HUGE, "offset": 1 << 63}
    elif spoilt:
        values[spoilt] += 1
    path.write_bytes(data[:end] + ending64(**values) + data[end:])
    if spoilt:
        assert "zip" in refused(path)
    else:
        with open_wheel(path) as archive:
            assert [member.filename for member in archive.members][1:] == ["x"]


def test_a_sound_zip64_member_is_read(written: Written) -> None:
    body = len(deflated(b"content"))
    wide = {"size": WIDE, "packed": WIDE, "extra": zip64(7, body)}
    with open_wheel(written(Entry(name=b"x", local=wide, central=wide))) as archive:
        assert archive.read("x") == b"content"


@pytest.mark.parametrize("layout", ["<4I", "<3I", "<I2Q", "<2I2Q"])
@pytest.mark.parametrize("known", [True, False])
def test_sound_data_descriptors_are_read(written: Written, layout: str, *, known: bool) -> None:
    values = [zlib.crc32(b"content"), len(deflated(b"content")), 7]
    magic = [0x08074B50] if len(struct.unpack(layout, bytes(struct.calcsize(layout)))) == 4 else []
    entry = Entry(
        name=b"x",
        flags=0x808,
        descriptor=struct.pack(layout, *magic, *values),
        local={} if known else {"crc": 0, "packed": 0, "size": 0},
    )
    with open_wheel(written(entry, Entry(name=b"y"))) as archive:
        assert archive.read("x") == archive.read("y") == b"content"


def test_a_directory_larger_than_any_wheels(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 100)
    assert "at most 100" in refused(written(Entry(name=b"x" * 60)))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(name=b"x", packed=b"\xff" * 40),
        Entry(name=b"x", packed=deflated(b"content")[:-1]),
        Entry(name=b"x", packed=deflated(b"content") + b"!"),
        Entry(name=b"x", packed=deflated(b"content" * 2)),
        Entry(name=b"x", packed=deflated(b"conten!")),
        Entry(name=b"x", packed=deflated_zeros(b"content", 8)),
        Entry(name=b"x", local={"size": 6}, central={"size": 6}),
        Entry(name=b"x", local={"size": 8}, central={"size": 8}),
    ],
)
def test_compressed_bytes_that_are_damaged(written: Written, entry: Entry) -> None:
    path = written(entry)
    with open_wheel(path) as archive, pytest.raises(BadWheelError, match="'x' cannot be read"):
        archive.read("x")
    assert [one.rule for one in verify(path, POLICIES).problems].count("zip-integrity") == 1


def test_a_text_of_gigabytes_is_not_read(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "TEXT_LIMIT", 100)
    path = written(Entry(name=b"demo-1.0.dist-info/METADATA", content=b"x" * 101))
    with open_wheel(path) as archive, pytest.raises(BadWheelError, match="at most 100 are read"):
        archive.headers("METADATA")
    assert "dist-info-files" in {one.rule for one in verify(path, POLICIES).problems}


def test_zip_bombs(written: Written) -> None:
    bomb = deflated_zeros(b"", 600)
    lie = {"size": 600 * MIB, "crc": 0}
    entries = [Entry(name=name, packed=bomb, local=lie, central=lie) for name in (b"a", b"b")]
    assert refused(written(*entries)).startswith("a zip bomb: ")


@pytest.mark.parametrize(
    "hash_", ["md5=x", "sha1=x", "shake_256=x", "sha256", "=", "\0=x", "blake2b=x", "x" * 9999]
)
def test_records_with_other_hashes(tmp_path: Path, hash_: str) -> None:
    spec = WheelSpec(members={"demo/x.py": b"x"})
    rows = [f"{name},{hash_},{len(content)}\n" for name, content in spec.files().items()]
    spec.extra_info["RECORD"] = "".join([*rows, f"{spec.dist_info}/RECORD,,\n"]).encode()
    problems = verify(spec.write(tmp_path), POLICIES).problems
    assert {one.rule for one in problems} <= {"record-hash", "dist-info-files"}
    assert problems


# ELF files: a header, one segment with everything, and zeros between.


def elf_of(mebibytes: int, dynamic: dict[int, int], spaces: dict[int, bytes]) -> Entry:
    """Make a file whose dynamic section stands far from everything else, at its end."""
    size = mebibytes * MIB
    dynamic_at = size - 4096
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    entries = b"".join(struct.pack("<QQ", *entry) for entry in dynamic.items()) + bytes(16)
    for kind, at, length in ((1, 0, size), (2, dynamic_at, len(entries))):
        head += struct.pack("<IIQQQQQQ", kind, 5, at, at, at, length, length, 8)
    for at, content in spaces.items():
        head = head.ljust(at, b"\0") + content
    zeros, rest = divmod(dynamic_at - len(head), MIB)
    packed = deflated_zeros(head, zeros, bytes(rest) + entries)
    claim = {"size": dynamic_at + len(entries), "crc": 0}
    return Entry(name=b"demo/x.so", packed=packed, local=claim, central=claim)


def spread_elf(mebibytes: int, **tags: int) -> Entry:
    dynamic = {5: 4096, 10: tags.get("strings", 64), 6: 8192, 4: tags.get("hash_at", 16384)}
    return elf_of(mebibytes, dynamic, {16384: struct.pack("<II", 1, tags.get("symbols", 1))})


def measured(use: Callable[[Path, Policies], WheelReport], path: Path) -> tuple[WheelReport, int]:
    """Return what is said of a wheel, and the most memory that finding out took."""
    tracemalloc.start()
    try:
        return use(path, POLICIES), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def verified(path: Path) -> tuple[set[str], int]:
    """Return which rules a wheel breaks, and the most memory that finding out took."""
    found, peak = measured(verify, path)
    return {problem.rule for problem in found.problems}, peak


def test_a_large_elf_file_is_read_in_little_memory(written: Written) -> None:
    got, peak = measured(report, written(spread_elf(200)))
    assert (got.problems, got.observed_tag) == ((), "manylinux_2_5_x86_64")
    assert peak < 48 * MIB


@pytest.mark.parametrize("tags", [{"strings": 200 * MIB}, {"symbols": 6_000_000}])
def test_tables_of_gigabytes_are_refused(written: Written, tags: dict[str, int]) -> None:
    (problem,) = report(written(spread_elf(220, **tags)), POLICIES).problems
    assert problem.rule == "elf-malformed"
    assert "at most" in problem.message


def shrink_windows(monkeypatch: pytest.MonkeyPatch, head: int, tail: int, passes: int = 0) -> None:
    monkeypatch.setattr(inflate, "HEAD", head)
    monkeypatch.setattr(inflate, "TAIL", tail)
    monkeypatch.setattr(inflate, "_PASSES", passes or inflate._PASSES)
    monkeypatch.setattr(inflate, "PIECE", 64)


def test_a_window_reads_any_bytes_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_windows(monkeypatch, head=1000, tail=500, passes=99)
    content = bytes((i * i) & 0xFF for i in range(5000))
    seen: list[bytes] = []
    view = inflate.MemberWindow(compressed_member(content), seen.append)
    for offset in (0, 990, 4990, 10, 2000, 4500, 1, 950, 999, 1000, 1001, 3000, 2999):
        for wanted in (0, 1, 10, 100):
            size = min(wanted, len(content) - offset)
            assert view.read(offset, size) == content[offset : offset + size]
    view.finish()
    assert b"".join(seen) == content


def test_reading_onwards_is_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_windows(monkeypatch, head=1000, tail=500, passes=1)
    content = bytes((i * i) & 0xFF for i in range(5000))
    view = inflate.MemberWindow(compressed_member(content))
    for offset in range(0, 4900, 30):
        assert view.read(offset, 100) == content[offset : offset + 100]


def test_tables_scattered_all_over_a_file_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_windows(monkeypatch, head=100, tail=100)
    view = inflate.MemberWindow(compressed_member(bytes(5000)))
    for _ in range(5):
        view.read(4000, 10)
        view.read(1000, 10)
    view.read(4000, 10)
    with pytest.raises(DamagedError, match="scattered"):
        view.read(1000, 10)


def test_version_needs_that_jump_are_given_up(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each need stands where the file would have to be inflated anew for it."""
    monkeypatch.setattr(inflate, "HEAD", 4 * MIB)
    monkeypatch.setattr(inflate, "TAIL", 4 * MIB)
    needs = struct.pack("<HHIII", 1, 1, 1, 40 * MIB, 16) * 200
    dynamic = {5: 4096, 10: 64, 6: 8192, 0x6FFFFFFE: 12 * MIB, 0x6FFFFFFF: 200}
    entry = elf_of(64, dynamic, {12 * MIB: needs})
    (problem,) = report(written(entry), POLICIES).problems
    assert "scattered" in problem.message


def test_needs_that_go_in_a_circle_end(tmp_path: Path) -> None:
    one = make_elf(ElfSpec(needed=("libb.so",), runpath="$ORIGIN", soname="liba.so"))
    two = make_elf(ElfSpec(needed=("liba.so", "libb.so"), runpath="$ORIGIN", soname="libb.so"))
    spec = WheelSpec(members={"liba.so": one, "libb.so": two})
    assert report(spec.write(tmp_path), POLICIES).problems == ()


def test_without_isal_zlib_reads_the_same(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(Entry(name=b"x", content=b"content" * 1000))
    with open_wheel(path) as archive:
        usual = archive.read("x")
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    assert "isal" not in repr(fastest())
    with open_wheel(path) as archive:
        assert archive.read("x") == usual == b"content" * 1000


def test_headers_without_end_are_not_parsed(written: Written) -> None:
    """Each would take a hundred times its bytes in memory."""
    many = Entry(name=b"demo-1.0.dist-info/METADATA", content=b"A:b\n" * 500_000)
    long = Entry(name=b"demo-1.0.dist-info/METADATA", content=b"A:b\n\n" + b"text\n" * 500_000)
    with open_wheel(written(long)) as archive:
        assert archive.headers("METADATA")["A"] == "b"
    path = written(many)
    with open_wheel(path) as archive, pytest.raises(BadWheelError, match="bytes of headers"):
        archive.headers("METADATA")
    assert "dist-info-files" in {one.rule for one in verify(path, POLICIES).problems}


def test_needs_that_multiply_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that all need each other, what they need together grows with the cube."""
    names = tuple(f"lib{number}.so" for number in range(20))
    made = make_elf(ElfSpec(needed=names, runpath="$ORIGIN"))
    path = WheelSpec(members=dict.fromkeys(names, made)).write(tmp_path)
    assert report(path, POLICIES).observed_tag == "manylinux_2_5_x86_64"
    monkeypatch.setattr(budget, "STEPS", 6000)
    assert "needed libraries" in refused_by_readers(path)


@pytest.mark.parametrize(
    "text", [b"a\n" * (5 << 20), b"," * (10 << 20), b"a\n" * 20_000, b"\r" * 20_000]
)
def test_a_record_of_far_more_rows_than_members_is_not_parsed(tmp_path: Path, text: bytes) -> None:
    path = WheelSpec(extra_info={"RECORD": text, "LICENSE": b""}).write(tmp_path)
    rules, peak = verified(path)
    assert rules == {"dist-info-files"}
    assert peak < 8 * MIB
    with pytest.raises(BadWheelError, match=r"RECORD has \d+ (bytes|lines) for 4 members"):
        retag(path, dest_dir=tmp_path / "new", build_tag="1", epoch=0)
    with pytest.raises(BadWheelError, match="RECORD has"):
        compare(path, WheelSpec().write(tmp_path / "other"))


HEADERS = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n"
OPEN_BILL = b'{"bomFormat": "CycloneDX", "a": ['


@pytest.mark.parametrize(
    ("name", "text", "rules", "most"),
    [
        ("METADATA", HEADERS + b"\n" * (8 * MIB), set(), 48),
        ("sboms/a.cdx.json", OPEN_BILL + b"[]," * (3 * MIB) + b"0]}", {"sbom"}, 8),
    ],
    ids=["description", "bill"],
)
def test_long_texts_are_not_parsed(
    tmp_path: Path, name: str, text: bytes, rules: set[str], most: int
) -> None:
    found, peak = verified(WheelSpec(extra_info={name: text, "LICENSE": b""}).write(tmp_path))
    assert found == rules
    assert peak < most * MIB


def test_tags_are_counted_before_they_are_listed(tmp_path: Path) -> None:
    tag = "-".join(".".join(f"{part}{n}" for n in range(400)) for part in "abc")
    text = f"Wheel-Version: 1.0\nTag: {tag}\n\n".encode()
    path = WheelSpec(extra_info={"WHEEL": text}).write(tmp_path)
    with pytest.raises(BadWheelError, match="steps to read: tags of WHEEL"):
        verified(path)


def test_numbers_of_more_digits_than_python_reads_are_no_versions(tmp_path: Path) -> None:
    digits = "1" * 5000
    text = f"Metadata-Version: 2.1\nName: demo\nVersion: {digits}\nRequires-Dist: x>={digits}\n\n"
    path = WheelSpec(extra_info={"METADATA": text.encode(), "LICENSE": b""}).write(tmp_path)
    assert verified(path)[0] == {"metadata-invalid"}
    retag(path, dest_dir=tmp_path / "new", pins=["x==1"])
    with pytest.raises(BadWheelError, match="at most 255 are allowed"):
        retag(path, dest_dir=tmp_path / "new", build_tag=digits)
    with pytest.raises(BadWheelError, match="at most 255 are allowed"):
        retag(path, dest_dir=tmp_path / "new", version=f"1.0+{digits}")


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize("value", [DEEP, '"\\ud800\u00e4"'])
def test_a_bill_that_cannot_be_written_again_stays_and_is_reported(
    tmp_path: Path, value: str
) -> None:
    purl = '{"component": {"purl": "pkg:pypi/demo@1.0"}}'
    text = f'{{"bomFormat": "CycloneDX", "metadata": {purl}, "a": {value}}}'.encode()
    path = WheelSpec(extra_info={"sboms/a.cdx.json": text, "LICENSE": b""}).write(tmp_path)
    assert verified(path)[0] == set()
    made = retag(path, dest_dir=tmp_path / "new", version="1.0+x")
    # Later Pythons write what is so deep.
    written = value == DEEP and sys.version_info >= (3, 14)
    assert verified(made)[0] == (set() if written else {"sbom"})
