"""Sdists that mean harm: nothing lands outside, leads outside, fills the disk or never ends."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from orchestrator.errors import SourceError
from orchestrator.source import unpack as unpacking
from orchestrator.source.unpack import unpack
from tests.unit.source.test_locate import ROOT, Member, special, tar, tree, zipped


def refused(archive: Path) -> str:
    with pytest.raises(SourceError) as caught:
        unpack(archive, archive.parent / "out" / "tree")
    assert not (archive.parent / "out" / "tree").exists()
    return str(caught.value)


def test_a_link_is_no_way_to_write_somewhere(tmp_path: Path) -> None:
    """The file comes after the link; tar would follow it."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "victim").mkdir()
    tar(
        tmp_path / "foo-1.0.tar.gz",
        *(ROOT, ("foo-1.0/d", "../victim"), ("foo-1.0/d/evil", b"evil")),
    )

    assert "cannot be unpacked" in refused(tmp_path / "foo-1.0.tar.gz")
    assert list((tmp_path / "out" / "victim").iterdir()) == []


def test_a_chain_of_long_links_does_not_hide_where_it_leads(tmp_path: Path) -> None:
    """CVE-2025-4517: the real path becomes too long to be checked."""
    component = "d" * 247
    members: list[Member] = [ROOT]
    path = "foo-1.0"
    for letter in "abcdefghijklmnop":
        members += [
            (f"{path}/{component}/x", b""),
            (f"{path}/{letter}", component),
        ]
        path = f"{path}/{component}"
    chain = "/".join("abcdefghijklmnop")
    members += [
        (f"foo-1.0/{chain}/{'l' * 254}", "../" * 16),
        ("foo-1.0/escape", f"{chain}/{'l' * 254}/../../../evil"),
        ("foo-1.0/escape/newfile", b"evil"),
    ]
    tar(tmp_path / "foo-1.0.tar.gz", *members)

    assert "cannot be unpacked" in refused(tmp_path / "foo-1.0.tar.gz")
    assert not list(tmp_path.rglob("newfile"))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a/l", "../../x"),
        ("l", ".."),
        ("a/b/l", "../../../out"),
        ("l", "../foo-1.0/pyproject.toml"),
    ],
)
def test_links_lead_to_what_is_beside_them(tmp_path: Path, name: str, target: str) -> None:
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, (f"foo-1.0/{name}", target))

    assert "outside the destination" in refused(tmp_path / "foo-1.0.tar.gz")


def test_a_link_through_another_link_leads_out(tmp_path: Path) -> None:
    links: list[Member] = [("foo-1.0/a/b/up", "../.."), ("foo-1.0/l", "a/b/up/../..")]
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, *links)

    assert "outside the destination" in refused(tmp_path / "foo-1.0.tar.gz")


def test_the_one_directory_may_not_be_a_link(tmp_path: Path) -> None:
    tar(tmp_path / "foo-1.0.tar.gz", ("foo-1.0", "/etc"))

    assert "absolute path" in refused(tmp_path / "foo-1.0.tar.gz")


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


@pytest.mark.parametrize("members", [(("foo-1.0/a", b""), ("foo-1.0/a/b", b""))])
def test_a_file_is_no_directory(tmp_path: Path, members: tuple[Member, ...]) -> None:
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, *members)

    assert "cannot be unpacked" in refused(tmp_path / "foo-1.0.tar.gz")


def test_a_name_may_be_too_long_for_the_file_system(tmp_path: Path) -> None:
    tar(tmp_path / "foo-1.0.tar.gz", ROOT, (f"foo-1.0/{'x' * 300}", b""))

    assert "cannot be unpacked: [Errno 36]" in refused(tmp_path / "foo-1.0.tar.gz")


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


def test_a_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A pax header may be as long as it says, and a megabyte of zeros is a kilobyte of gzip."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "foo-1.0.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(header.tobuf(tarfile.USTAR_FORMAT))
        stream.write(bytes(1 << 20))

    assert "a name or a header of" in refused(path)


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
