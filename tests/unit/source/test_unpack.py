"""Sdists that mean harm: nothing lands outside, leads outside, fills the disk or never ends."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.source import unpack as unpacking
from orchestrator.source.unpack import unpack
from tests.unit.source.test_locate import ROOT, Member, tar, tree, zipped


def refused(archive: Path) -> str:
    with pytest.raises(SourceError) as caught:
        unpack(archive, archive.parent / "out" / "tree")
    assert not (archive.parent / "out" / "tree").exists()
    assert not [*archive.parent.rglob("evil"), *archive.parent.parent.glob("evil")]
    return str(caught.value)


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"foo-1.0/{name}")
    info.type, info.linkname = kind, link
    return info


OUTSIDE, SEVERAL = "outside the destination", "does not hold a single directory"
ABSOLUTE, BROKEN = "link to an absolute path", "cannot be unpacked"
HOSTILE: dict[str, tuple[tuple[Member | tarfile.TarInfo, ...], str]] = {
    "path traversal": ((ROOT, ("../../evil", b"")), OUTSIDE),
    "path traversal below the top": ((ROOT, ("foo-1.0/../../../evil", b"")), OUTSIDE),
    "absolute path": ((ROOT, ("/evil", b"")), OUTSIDE),
    "absolute link": ((ROOT, ("foo-1.0/l", "/etc/passwd")), ABSOLUTE),
    "link outside": ((ROOT, ("foo-1.0/l", "../../../evil")), OUTSIDE),
    "link to the parent": ((ROOT, ("foo-1.0/l", "..")), OUTSIDE),
    "link below to what is outside": ((ROOT, ("foo-1.0/a/l", "../../x")), OUTSIDE),
    "link to the destination": ((ROOT, ("foo-1.0/a/b/l", "../../../out")), OUTSIDE),
    "link that comes back": ((ROOT, ("foo-1.0/l", f"../{ROOT[0]}")), OUTSIDE),
    "link through another link": (
        (ROOT, ("foo-1.0/a/b/up", "../.."), ("foo-1.0/l", "a/b/up/../..")),
        OUTSIDE,
    ),
    "file through a link": (
        (ROOT, ("foo-1.0/l", ".."), ("foo-1.0/l/../../../evil", b"")),
        OUTSIDE,
    ),
    "hard link outside": ((ROOT, special("h", tarfile.LNKTYPE, "../../../etc/passwd")), OUTSIDE),
    "hard link to nothing": ((ROOT, special("h", tarfile.LNKTYPE, "foo-1.0/nothing")), BROKEN),
    "device": ((ROOT, special("d", tarfile.CHRTYPE)), "is a special file"),
    "pipe": ((ROOT, special("p", tarfile.FIFOTYPE)), "is a special file"),
    "two directories": ((ROOT, ("bar-1.0/x", b"")), SEVERAL),
    "a file beside it": ((ROOT, ("x", b"")), SEVERAL),
    "a file alone": ((("foo-1.0", b""),), SEVERAL),
    "a link alone": ((("foo-1.0", "/etc"),), "absolute path"),
    "nothing": ((), SEVERAL),
    "a file as a directory": ((ROOT, ("foo-1.0/a", b""), ("foo-1.0/a/b", b"")), BROKEN),
    "a name that is too long": ((ROOT, (f"foo-1.0/{'x' * 300}", b"")), f"{BROKEN}: [Errno 36]"),
}


@pytest.mark.parametrize(("members", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_and_broken_tar_files(
    tmp_path: Path, members: tuple[Member | tarfile.TarInfo, ...], message: str
) -> None:
    assert message in refused(tar(tmp_path / "foo-1.0.tar.gz", *members))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../evil", OUTSIDE),
        ("/evil", OUTSIDE),
        ("foo-1.0/../../evil", OUTSIDE),
        ("bar-1.0/x", SEVERAL),
    ],
)
def test_hostile_zip_files(tmp_path: Path, name: str, message: str) -> None:
    assert message in refused(zipped(tmp_path / "foo-1.0.zip", ROOT, (name, b"")))


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(each ^ 0xFF for each in data[at : at + 50]) + data[at + 50 :]


def flagged(data: bytes, local: int, central: int, value: int) -> bytes:
    """Set a byte of a zip's first member, in its local header and in the directory."""
    found = bytearray(data)
    found[data.index(b"PK\x03\x04") + local] = value
    found[data.index(b"PK\x01\x02") + central] = value
    return bytes(found)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "no archive": lambda _data: b"<html>not found</html>",
    "cut in half": lambda data: data[: len(data) // 2],
    "last bytes missing": lambda data: data[:-4],
    "changed in the middle": lambda data: changed(data, len(data) // 2),
    "changed at the front": lambda data: changed(data, 0),
    "changed checksum": lambda data: changed(data, len(data) - 8),
    "zip, encrypted": lambda data: flagged(data, 6, 8, 1),
    "zip, unknown compression": lambda data: flagged(data, 8, 10, 99),
    "zip, no such date": lambda data: flagged(data, 12, 14, 0xFF),
    "zip, cut": lambda data: data[:-30],
    "zip, changed": lambda data: data.replace(b"Foo.Bar", b"Foo.Baz"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_archive_is_never_taken_for_whole(tmp_path: Path, name: str) -> None:
    """Random content is stored as it is, so that nothing but the checksum tells."""
    if name.startswith("zip"):
        path = zipped(tmp_path / "foo-1.0.zip", ROOT, date=(2001, 15, 31, 0, 0, 0))
    else:
        path = tar(tmp_path / "foo-1.0.tar.gz", ROOT, ("foo-1.0/data", os.urandom(50_000)))
    path.write_bytes(DAMAGE[name](path.read_bytes()))

    assert "cannot be unpacked" in refused(path)


def test_a_link_is_no_way_to_write_somewhere(tmp_path: Path) -> None:
    """The file comes after the link; tar would follow it."""
    victim = tmp_path / "out" / "victim"
    victim.mkdir(parents=True)
    members = (ROOT, ("foo-1.0/d", "../victim"), ("foo-1.0/d/evil", b"evil"))

    assert "cannot be unpacked" in refused(tar(tmp_path / "foo-1.0.tar.gz", *members))
    assert list(victim.iterdir()) == []


def test_a_chain_of_long_links_does_not_hide_where_it_leads(tmp_path: Path) -> None:
    """CVE-2025-4517: the real path becomes too long to be checked."""
    component = "d" * 247
    members: list[Member] = [ROOT]
    path = "foo-1.0"
    for letter in "abcdefghijklmnop":
        members += [(f"{path}/{component}/x", b""), (f"{path}/{letter}", component)]
        path = f"{path}/{component}"
    chain = "/".join("abcdefghijklmnop")
    members += [
        (f"foo-1.0/{chain}/{'l' * 254}", "../" * 16),
        ("foo-1.0/escape", f"{chain}/{'l' * 254}/../../../evil"),
        ("foo-1.0/escape/newfile", b"evil"),
    ]

    assert "cannot be unpacked" in refused(tar(tmp_path / "foo-1.0.tar.gz", *members))
    assert not list(tmp_path.rglob("newfile"))


def test_a_hard_link_is_a_copy_of_what_came_before(tmp_path: Path) -> None:
    again = special("again", tarfile.LNKTYPE, ROOT[0])
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, again)

    unpack(tmp_path / "foo-1.0.tar.gz", tmp_path / "out")

    assert (tmp_path / "out/again").read_bytes() == ROOT[1]
    assert (tmp_path / "out/again").stat().st_nlink == 1


def test_the_last_of_several_files_of_a_name_counts(tmp_path: Path) -> None:
    members: list[Member] = [("foo-1.0/a", b"1"), ("foo-1.0/a", b"2"), ("foo-1.0/b", "a")]
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, *members, ("foo-1.0/b", b"3"))

    unpack(tmp_path / "foo-1.0.tar.gz", tmp_path / "out")

    assert (tmp_path / "out/a").read_bytes() + (tmp_path / "out/b").read_bytes() == b"23"
    assert not (tmp_path / "out/b").is_symlink()


def test_modes_are_those_of_files_and_programs(tmp_path: Path) -> None:
    members = []
    for number, mode in enumerate((0o4777, 0o2755, 0o666, 0o400, 0o1777)):
        info = tarfile.TarInfo(f"foo-1.0/{number}")
        info.mode = mode
        members.append(info)
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, *members)

    unpack(tmp_path / "foo-1.0.tar.gz", tmp_path / "out")

    modes = [stat.S_IMODE((tmp_path / "out" / str(each)).stat().st_mode) for each in range(5)]
    assert modes == [0o755, 0o755, 0o644, 0o644, 0o755]


def test_more_files_than_an_sdist_can_have_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(tmp_path / "foo-1.0.tar.gz", ROOT, ("foo-1.0/a", b""))
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 1)

    assert "more than 1 files" in refused(archive)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_what_unpacks_to_more_than_the_limit_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    many: Member = ("foo-1.0/zeros", bytes(3 << 20))
    make = tar if kind == "tar" else zipped
    archive = make(tmp_path / f"foo-1.0.{'tar.gz' if kind == 'tar' else 'zip'}", ROOT, many)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 2 << 20)

    assert "more than 2 MiB" in refused(archive)


def test_a_sparse_file_counts_as_large_as_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tarfile.TarInfo("foo-1.0/sparse")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": "0,0",
    }
    monkeypatch.setattr(unpacking, "MOST_BYTES", 2 << 20)

    assert "more than 2 MiB" in refused(tar(tmp_path / "foo-1.0.tar.gz", ROOT, info))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_gigabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    """A pax header may be as long as it says, and a megabyte of zeros is a kilobyte of gzip."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, 1 << 32
    path = tmp_path / "foo-1.0.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(header.tobuf(tarfile.USTAR_FORMAT))
        stream.write(bytes(3 << 20))

    assert "a name or a header of" in refused(path)


def test_the_headers_of_one_member_have_a_limit(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 600_000
    path = tmp_path / "foo-1.0.tar.gz"
    with gzip.open(path, "wb") as stream:
        for _ in range(2):
            stream.write(header.tobuf(tarfile.USTAR_FORMAT))
            stream.write(bytes(600_064))
        stream.write(bytes(1024))

    assert "a name or a header of more than 1048576 bytes" in refused(path)


@pytest.mark.parametrize("time", ["1e300", "inf", "nan", "-5", "99999999999999"])
def test_times_that_no_file_can_have(tmp_path: Path, time: str) -> None:
    info = tarfile.TarInfo(ROOT[0])
    info.size, info.pax_headers = len(ROOT[1]), {"mtime": time}
    path = tmp_path / "foo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as bundle:
        bundle.addfile(info, io.BytesIO(ROOT[1] if isinstance(ROOT[1], bytes) else b""))
    try:
        unpack(path, tmp_path / "out")
    except SourceError as error:
        assert "cannot be unpacked" in str(error)  # noqa: PT017
    else:
        assert 0 <= (tmp_path / "out/pyproject.toml").stat().st_mtime < 1 << 32


def test_a_zip_file_has_links_and_programs_too(tmp_path: Path) -> None:
    def write(target: str) -> Path:
        path = tmp_path / "foo-1.0.zip"
        with zipfile.ZipFile(path, "w") as bundle:
            for name, mode, content in (
                ("foo-1.0/configure", stat.S_IFREG | 0o4775, "#!"),
                ("foo-1.0/link", stat.S_IFLNK | 0o777, target),
            ):
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                bundle.writestr(info, content)
        return path

    unpack(write("configure"), tmp_path / "good")
    assert tree(tmp_path / "good") == ["configure", "link"]
    assert (tmp_path / "good/link").readlink() == Path("configure")
    assert stat.S_IMODE((tmp_path / "good/configure").stat().st_mode) == 0o755
    for target in ("/etc/passwd", "../../x"):
        assert "cannot be unpacked" in refused(write(target))


def test_names_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"foo-1.0/\xff")
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, (name, b"x"))

    unpack(tmp_path / "foo-1.0.tar.gz", tmp_path / "out")

    assert (tmp_path / "out" / name.removeprefix("foo-1.0/")).read_bytes() == b"x"


@pytest.mark.parametrize("what", ["after the end", "in a directory", "of a file nobody reads"])
def test_bytes_that_nobody_asks_for_have_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A gigabyte of zeros is a megabyte of gzip, and nothing of it reaches the disk."""
    entry = tarfile.TarInfo("foo-1.0/other")
    entry.type = tarfile.DIRTYPE if what == "in a directory" else tarfile.REGTYPE
    entry.size = 0 if what == "after the end" else 3 << 20
    path = tmp_path / "foo-1.0.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(entry.tobuf(tarfile.USTAR_FORMAT))
        stream.write(bytes(1024 + (3 << 20)))
    monkeypatch.setattr(unpacking, "_LONGEST_TAR", 2 << 20)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 8 << 20)

    assert "more than 2 MiB" in refused(path)
    if what != "after the end":
        with pytest.raises(SourceError, match="more than 2 MiB"):
            unpacking.read_top(path, {"PKG-INFO"}, limit=1000)
