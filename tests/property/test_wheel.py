from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from orchestrator.errors import BadWheelError
from orchestrator.models import Arch, Libc
from orchestrator.wheel import elf, open_wheel, report, retag, verify
from tests.unit.wheel.auditor import audited, load_policies
from tests.unit.wheel.conftest import EXTENSION
from tests.unit.wheel.wheelmaker import ElfSpec, WheelSpec, make_elf

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
            defined=("PyInit_x",),
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


@settings(max_examples=600)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), max_size=12),
)
def test_spoilt_elf_files_are_refused_in_one_way(
    sample: bytes, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(sample)
    for offset, value in changes:
        at = offset % len(data)
        data[at : at + len(value)] = value
    parse(bytes(data))


def sample_wheel(directory: Path) -> Path:
    members = {
        "demo/__init__.py": b"answer = 42\n" * 50,
        EXTENSION: SAMPLES[0],
        "demo-1.0.data/scripts/tool": b"#!python\n",
    }
    spec = WheelSpec(members=members, extra_info={"licenses/LICENSE": b"free " * 100})
    return spec.write(directory)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8000), st.binary(min_size=1, max_size=4)), max_size=6))
def test_spoilt_wheels_are_refused_in_one_way(changes: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = sample_wheel(Path(directory))
        data = bytearray(path.read_bytes())
        for offset, value in changes:
            # Counted from the end, where the zip directory is.
            at = len(data) - 1 - offset % len(data)
            data[at : at + len(value)] = value
        path.write_bytes(data)
        for use in (report, verify):
            try:
                use(path, POLICIES)
            except BadWheelError:
                continue
        try:
            retag(path, dest_dir=Path(directory, "new"), build_tag="1", version=Version("2"))
        except BadWheelError:
            assert not list(Path(directory).glob("new/*"))


@settings(max_examples=60, deadline=None)
@given(version=versions, build_tag=build_tags, many=st.booleans())
def test_there_and_back(version: Version, build_tag: str, *, many: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        path = sample_wheel(home)
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
            if not member.filename.endswith(("WHEEL", "METADATA", "RECORD"))
        }


POOL = {
    "libc.so.6": [
        "GLIBC_2.2.5",
        "GLIBC_2.14",
        "GLIBC_2.17",
        "GLIBC_2.28",
        "GLIBC_2.34",
        "GLIBC_2.38",
        "GLIBC_ABI_DT_RELR",
        "GLIBC_PRIVATE",
    ],
    "libstdc++.so.6": [
        "GLIBCXX_3.4",
        "GLIBCXX_3.4.19",
        "GLIBCXX_3.4.29",
        "CXXABI_1.3.9",
        "CXXABI_FLOAT128",
        "GLIBCXX_LDBL_3.4",
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


@settings(max_examples=40, deadline=None)
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
