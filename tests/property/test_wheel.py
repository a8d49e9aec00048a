from __future__ import annotations

import contextlib
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from orchestrator.errors import BadWheelError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import VerifyPolicy
from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel import (
    WheelArchive,
    budget,
    compare,
    elf,
    inflate,
    open_wheel,
    report,
    retag,
    verify,
)
from orchestrator.wheel.archive import _flaw_of_name
from orchestrator.wheel.inflate import DEFLATED, STORED, fastest
from tests.auditor import audited, load_policies
from tests.conftest import examples
from tests.hostile_wheels import raw_elf, work
from tests.rawzip import Entry, compressed_member, write
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_bill, make_elf

POLICIES = load_policies()
VERSIONS = {
    "libc.so.6": {"GLIBC_2.2.5": ("malloc",), "GLIBC_2.14": ("memcpy",)},
    "libm.so.6": {"GLIBC_2.2.5": ("pow",)},
}
SAMPLES = [
    make_elf(
        ElfSpec(
            arch=arch,
            versions=VERSIONS,
            isa=1,
            defined=("PyInit__ext", "PyInit_x"),
            hash=table,
            sections=sections,
            interpreter="/lib/ld.so",
            undefined=("PyList_New",),
        )
    )
    for arch in (Arch.X86_64, Arch.S390X, Arch.ARMV7L)
    for table in ("sysv", "gnu")
    for sections in (True, False)
]

versions = st.builds(
    lambda epoch, release, pre, local: Version(
        (f"{epoch}!" if epoch else "")
        + ".".join(map(str, release))
        + pre
        + ("+" + ".".join(local) if local else "")
    ),
    st.integers(0, 2),
    st.lists(st.integers(0, 99), min_size=1, max_size=4),
    st.sampled_from(["", "a1", "rc2", ".post3", ".dev20260203"]),
    st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), max_size=3),
)
build_tags = st.one_of(st.just(""), st.from_regex(r"[0-9][A-Za-z0-9_.]{0,8}", fullmatch=True))


def parse(data: bytes) -> None:
    try:
        elf.parse(data)
    except elf.MalformedElfError as error:
        assert str(error)  # noqa: PT017


@given(st.binary(max_size=2000))
def test_random_bytes_are_refused_in_one_way(data: bytes) -> None:
    parse(data)
    parse(b"\x7fELF\2\1\1" + data)
    parse(b"\x7fELF\1\2\1" + data)


Changes = list[tuple[int, bytes]]


def changes_up_to(end: int, size: int, count: int) -> st.SearchStrategy[Changes]:
    values = st.binary(min_size=1, max_size=size)
    return st.lists(st.tuples(st.integers(0, end), values), max_size=count)


def spoilt(sample: bytes, changes: Changes, *, from_end: bool = True) -> bytes:
    """Change bytes; a zip file is counted from its end, where its directory is."""
    data = bytearray(sample)
    for offset, value in changes:
        at = offset % len(data)
        at = len(data) - 1 - at if from_end else at
        data[at : at + len(value)] = value
    return bytes(data)


@examples(600)
@given(st.sampled_from(SAMPLES), changes_up_to(4000, 8, 12))
def test_spoilt_elf_files_are_refused_in_one_way(sample: bytes, changes: Changes) -> None:
    parse(spoilt(sample, changes, from_end=False))


small = st.integers(0, 3000)
elf_pieces = st.builds(
    raw_elf,
    st.lists(
        st.tuples(
            st.sampled_from([1, 4, 5, 6, 10, 14, 15, 29, 0x6FFFFEF5, 0x6FFFFFFE, 0x6FFFFFFF]), small
        ),
        max_size=40,
    ),
    st.dictionaries(
        st.sampled_from(range(1024, 3000, 200)),
        st.one_of(
            st.binary(max_size=190),
            st.integers(1, 40).map(lambda count: b"$ORIGIN/a:" * count),
            st.integers(0, 3).map(lambda value: bytes([value, 0, 0, 0]) * 45),
        ),
        max_size=6,
    ),
    st.lists(st.tuples(st.sampled_from([1, 3, 4]), small, small), max_size=12),
)


@examples(150)
@given(st.lists(elf_pieces, min_size=1, max_size=4))
def test_what_is_done_is_counted(pieces: list[bytes]) -> None:
    """Whatever tables refer to, the budget ends it after so much work."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "STEPS", 3000)
        members = {f"demo/lib{number}.so": piece for number, piece in enumerate(pieces)}
        path = WheelSpec(members=members).write(Path(directory))

        def use() -> None:
            with contextlib.suppress(BadWheelError):
                verify(path, POLICIES)

        assert work(use) < 1_000_000


@examples(400)
@given(st.lists(st.text("ab/-", min_size=1, max_size=6), max_size=6))
def test_names_are_in_each_others_way_where_a_disk_says_so(names: list[str]) -> None:
    names = [name for name in names if _flaw_of_name(zipfile.ZipInfo(name)) is None]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, WheelSpec().filename)
        info = Entry(name=b"demo-1.0.dist-info/WHEEL")
        contents = [Entry(name=name.encode(), content=b"") for name in names]
        path.write_bytes(write([info, *contents]))
        try:
            open_wheel(path).close()
        except BadWheelError:
            assert not _unpacks(names, Path(directory, "there"))
        else:
            assert _unpacks(names, Path(directory, "there"))


def _unpacks(names: list[str], folder: Path) -> bool:
    """Whether each name gets a place of its own on a disk."""
    try:
        for name in sorted(names, key=lambda name: name.endswith("/")):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                place.touch(exist_ok=False)
            else:
                place.mkdir(exist_ok=True)
    except OSError:
        return False
    return len({name.removesuffix("/") for name in names}) == len(names)


DEMANDS = VerifyPolicy(size_budget=1, required=("*.so",), build_paths=("/project", "answer"))


def sample(directory: Path) -> Path:
    bill = make_bill(purl=f"pkg:pypi/demo@1.0?file_name={WheelSpec().filename}")
    members = {
        "demo/__init__.py": b"answer = 42\n" * 50,
        EXTENSION: SAMPLES[0],
        "demo.libs/libx-0123abcd.so.1": SAMPLES[1],
        "demo-1.0.data/scripts/tool": b"#!python\n",
    }
    info = {"licenses/LICENSE": b"free ", "sboms/a.cdx.json": bill}
    return WheelSpec(members=members, extra_info=info).write(directory)


@examples(150)
@given(changes_up_to(12000, 4, 6))
def test_spoilt_wheels_are_refused_in_one_way(changes: Changes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        good, path = sample(home / "good"), sample(home / "spoilt")
        path.write_bytes(spoilt(path.read_bytes(), changes))
        with contextlib.suppress(BadWheelError):
            report(path, POLICIES)
        try:
            verify(path, POLICIES, demands=DEMANDS)
            assert (compare(good, path) == ()) == (good.read_bytes() == path.read_bytes())
            retag(path, dest_dir=home / "new", epoch=0, add_sbom=True, version=Version("2"))
        except BadWheelError:
            assert not list(home.glob("new/*"))
        try:
            retag(path, dest_dir=home / "kept", build_tag="1", version=Version("2"))
        except BadWheelError:
            assert not list(home.glob("kept/*"))


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


@examples(60)
@given(version=versions, build_tag=build_tags, many=st.booleans())
def test_there_and_back(version: Version, build_tag: str, *, many: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        path = sample(home)
        tags = ["manylinux_2_17_x86_64", "manylinux2014_x86_64"] if many else ["linux_x86_64"]
        there = retag(
            path, dest_dir=home / "there", version=version, build_tag=build_tag, platform_tags=tags
        )
        seen = verify(there, POLICIES)
        assert seen.problems == ()
        assert Version(seen.version) == version
        back = retag(
            there,
            dest_dir=home / "back",
            version=Version("1.0"),
            build_tag="",
            platform_tags=["manylinux_2_17_x86_64"],
        )
        assert back.name == path.name
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(back) as new:
            assert old.namelist() == new.namelist()
            assert all(old.read(name) == new.read(name) for name in old.namelist())
        assert raw(path) == raw(there) == raw(back)


def raw(path: Path) -> dict[str, bytes]:
    """Compressed bytes of the members that no rewriting touches, by the end of their names."""
    with open_wheel(path) as archive:
        return {
            member.filename.rsplit("/", 1)[1]: archive.raw(
                member.header_offset + len(archive.local_header(member)), member.compress_size
            )
            for member in archive.members
            if not member.filename.endswith(("WHEEL", "METADATA", "RECORD", ".cdx.json"))
        }


POOL = {
    "libc.so.6": [
        *("GLIBC_2.2.5", "GLIBC_2.14", "GLIBC_2.17", "GLIBC_2.28", "GLIBC_2.34", "GLIBC_2.38"),
        *("GLIBC_ABI_DT_RELR", "GLIBC_PRIVATE"),
    ],
    "libstdc++.so.6": [
        *("GLIBCXX_3.4", "GLIBCXX_3.4.19", "GLIBCXX_3.4.29", "GLIBCXX_LDBL_3.4"),
        *("CXXABI_1.3.9", "CXXABI_FLOAT128"),
    ],
    "libgcc_s.so.1": ["GCC_3.0", "GCC_4.8.0", "GCC_7.0.0"],
    "libz.so.1": ["ZLIB_1.2.9", "ZLIB_1.2.12"],
    "libssl.so.3": ["OPENSSL_3.0.0"],
    "libinner.so": ["INNER_1", "GLIBC_2.99"],
}
needs = st.sets(
    st.sampled_from([(library, version) for library, all_ in POOL.items() for version in all_]),
    max_size=6,
)


def elf_spec(need: set[tuple[str, str]], arch: Arch, name: str, *, ext: bool) -> ElfSpec:
    by_library: dict[str, dict[str, tuple[str, ...]]] = {}
    for library, version in sorted(need):
        by_library.setdefault(library, {})[version] = (f"f_{version}",)
    return ElfSpec(arch=arch, versions=by_library, defined=(f"PyInit_{name}",) if ext else ())


@examples(40)
@given(
    st.sampled_from([Arch.X86_64, Arch.AARCH64, Arch.I686, Arch.RISCV64]),
    st.lists(needs, max_size=3),
)
def test_symbol_versions_weigh_as_in_auditwheel(
    arch: Arch, files: list[set[tuple[str, str]]]
) -> None:
    members = {
        f"x{number}.so": make_elf(elf_spec(need, arch, f"x{number}", ext=number % 2 == 0))
        for number, need in enumerate([set(), *files])
    }
    with tempfile.TemporaryDirectory() as directory:
        spec = WheelSpec(platform=f"manylinux_2_31_{arch}", members=members)
        path = spec.write(Path(directory))
        theirs = audited(path, Libc.MANYLINUX, arch)
        assert report(path, POLICIES).observed_tag == theirs.symbols


@pytest.mark.parametrize("engine", [zlib, fastest()], ids=["zlib", "fastest"])
@given(
    content=st.binary(max_size=3000),
    repeat=st.integers(1, 5),
    piece=st.integers(1, 500),
    head=st.integers(0, 4000),
    tail=st.integers(0, 4000),
    places=st.lists(st.tuples(st.integers(0, 20000), st.integers(0, 3000)), max_size=6),
)
def test_a_window_shows_what_is_there(  # noqa: PLR0913 - one for each dimension
    *,
    engine: ModuleType,
    content: bytes,
    repeat: int,
    piece: int,
    head: int,
    tail: int,
    places: list[tuple[int, int]],
) -> None:
    whole = content * repeat
    seen: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflate, "PIECE", piece)
        patch.setattr(inflate, "HEAD", head)
        patch.setattr(inflate, "TAIL", tail)
        patch.setattr(inflate, "_PASSES", 99)
        view = inflate.MemberWindow(compressed_member(whole, engine), seen.append)
        for place, length in places:
            offset = place % (len(whole) + 1)
            size = min(length, len(whole) - offset)
            assert view.read(offset, size) == whole[offset : offset + size]
        view.finish()
    assert b"".join(seen) == whole


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"[\w.+!-]{1,9}-[\w.+!]{1,9}(-\d\w*)?-[\w.]{1,9}-[\w.]{1,9}-[\w.]{1,9}\.whl"),
    )
)
def test_a_file_name_is_taken_apart_or_refused(name: str) -> None:
    try:
        parsed = WheelName.parse(name)
    except BadWheelError:
        return
    assert str(parsed) == name
    assert parsed.tags


lies = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([b"a", b"b", b"demo/x.so", b"../a", b"a/b"]),
        "flags": st.sampled_from([0, 0x800, 0x808, 0x801]),
        "method": st.sampled_from([0, 8, 12]),
        "crc": st.integers(0, 0xFFFFFFFF),
        "packed": st.integers(0, 60),
        "size": st.integers(0, 60),
        "extra": st.binary(max_size=24),
    },
)


def completed(entry: Entry) -> Entry:
    """Give an entry the data descriptor it promises, and none that it does not."""
    if not entry.flags & 8:
        return replace(entry, descriptor=b"")
    if entry.descriptor:
        return entry
    values = zlib.crc32(entry.content), len(entry.body), len(entry.content)
    return replace(entry, descriptor=struct.pack("<4I", 0x08074B50, *values))


entries = st.builds(
    Entry,
    name=st.sampled_from([b"a", b"b", b"c/d", b"demo/x.so", b"c"]),
    content=st.binary(max_size=20),
    method=st.sampled_from([STORED, DEFLATED]),
    flags=st.sampled_from([0x800, 0x800, 0x808]),
    mode=st.sampled_from([0o100644, 0o100644, 0, 0o120777, 0o040755]),
    extra=st.sampled_from([b"", b"", b"\1\0\0\0", b"\xfe\xca\0\0"]),
    descriptor=st.sampled_from([b"", bytes(12), b"PK\7\10" + bytes(12)]),
    local=st.one_of(st.just({}), st.just({}), lies),
    central=st.one_of(st.just({}), st.just({}), lies),
)


@examples(400)
@given(
    st.lists(entries.map(completed), max_size=4, unique_by=lambda entry: entry.name),
    st.sampled_from([{}, {}, {"before": b"x"}, {"between": b"PK\3\4"}, {"comment": b"PK\5\6"}]),
)
def test_what_is_not_refused_reads_the_same_from_both_ends(
    some: list[Entry], how: dict[str, Any]
) -> None:
    """As the zip directory says, and as one reads it who unpacks while downloading."""
    info = Entry(name=b"demo-1.0.dist-info/WHEEL", content=b"Wheel-Version: 1.0")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, WheelSpec().filename)
        path.write_bytes(write([info, *some], **how))
        try:
            archive = open_wheel(path)
        except BadWheelError:
            return
        with archive, zipfile.ZipFile(path) as theirs:
            assert [entry.filename for entry in archive.entries] == theirs.namelist()
            assert [name for name, _ in streamed(path.read_bytes(), archive)] == theirs.namelist()
            for name, content in streamed(path.read_bytes(), archive):
                try:
                    ours = archive.read(name)
                except BadWheelError:
                    with pytest.raises((zipfile.BadZipFile, zlib.error, EOFError)):
                        theirs.read(name)
                    continue
                assert ours == theirs.read(name) == content


def streamed(data: bytes, archive: WheelArchive) -> Iterator[tuple[str, bytes | None]]:
    """Read the members one behind the other, by their local headers; sizes may come later."""
    at = 0
    while data[at : at + 4] == b"PK\3\4":
        _, flags, method, _, _, _, packed, _, name, extra = struct.unpack_from(
            "<5H3I2H", data, at + 4
        )
        start = at + 30
        at = start + name + extra
        filename = data[start : start + name].decode()
        if flags & 8:
            entry = next(entry for entry in archive.entries if entry.filename == filename)
            packed = entry.compress_size
            end = at + packed + len(archive.descriptor(entry))
        else:
            end = at + packed
        try:
            body = data[at : at + packed]
            yield filename, body if method == STORED else zlib.decompress(body, -15)
        except zlib.error:
            yield filename, None
        at = end
