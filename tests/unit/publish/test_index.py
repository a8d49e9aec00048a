"""What a site keeps through kills, faults and changes: right bytes, and every published address."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import orchestrator.cli
from orchestrator import fsutil
from orchestrator.errors import ExitCode
from orchestrator.models import variant_metadata
from orchestrator.publish import index as index_module
from orchestrator.publish import storage as storage_module
from orchestrator.publish.index import SiteUpdate, scan
from orchestrator.publish.index_site import SiteChange
from orchestrator.publish.storage import Folder
from orchestrator.publish.variants import VariantRules
from tests.factories import make_sdist
from tests.wheelmaker import WheelSpec, make_variant

pytestmark = pytest.mark.usefixtures("wide_terminal")

LONG = "a" * 252


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wheel(folder: str, version: str = "1.0+cu126", content: bytes = b"1", **spec: Any) -> Path:
    members = {"demo.py": content}
    return WheelSpec(**{"version": version, "members": members, **spec}).write(Path(folder))


def index(*arguments: str | Path) -> int:
    return orchestrator.cli.run(["index", *map(str, arguments), "--output", "site"])


def entries(path: str) -> list[dict[str, Any]]:
    document = json.loads(Path("site", path, "index.json").read_text())
    found: list[dict[str, Any]] = document["files"]
    return found


def names(path: str) -> list[str]:
    return [each["filename"] for each in entries(path)]


def fails(arguments: tuple[str, ...], code: ExitCode, message: str, capsys: Any) -> None:
    """Assert that an update fails with one clear message."""
    capsys.readouterr()
    assert index(*arguments) == code
    assert message in capsys.readouterr().err


def contents() -> dict[str, bytes]:
    files = (path for path in Path("site").rglob("*") if path.is_file())
    return {str(path.relative_to("site")): path.read_bytes() for path in files}


def assert_sound() -> None:
    """Every file that a page lists is there, with the hashes that the page has."""
    for page in Path("site").rglob("index.json"):
        for each in json.loads(page.read_text()).get("files", ()):
            if not each["hashes"]:
                assert each["filename"].endswith("-variants.json")
                continue
            file = (page.parent / unquote(each["url"])).resolve()
            assert hashlib.sha256(file.read_bytes()).hexdigest() == each["hashes"]["sha256"]
            beside = Path(f"{file}.metadata")
            digest = hashlib.sha256(beside.read_bytes()).hexdigest()
            assert each["core-metadata"] == {"sha256": digest}


# Kills and faults


class KilledError(BaseException):
    """The program ends here."""


class Mortal(Folder):
    """A directory that is written until the program is killed, before or after an operation."""

    def __init__(self, root: Path, left: float) -> None:
        super().__init__(root)
        self.left = left
        self.done: list[str] = []

    def _count(self, what: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError
        self.done.append(what)

    def write(self, name: str, data: bytes) -> None:
        self._count(f"write {name}")
        super().write(name, data)

    def add(self, name: str, source: Path | bytes, sha256: str) -> None:
        self._count(f"add {name}")
        super().add(name, source, sha256)

    def remove(self, name: str) -> None:
        self._count(f"remove {name}")
        super().remove(name)


def update(*folders: str, **change: Any) -> SiteUpdate:
    return SiteUpdate(
        wheels=tuple(each for folder in folders for each in scan(Path(folder))),
        change=SiteChange(**change),
        rules=VariantRules(),
        base_url="",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_after_a_kill_at_any_operation_the_next_run_publishes_right_hashes() -> None:
    """The wheel is built once more in between: another file of the same name and size."""
    first, second = wheel("first", content=b"1"), wheel("second", content=b"2")
    wheel("second", "1.0.dev1+cu130")
    assert first.stat().st_size == (Path("second") / first.name).stat().st_size
    whole = Mortal(Path("whole"), float("inf"))
    update("first").run(whole)
    for after in range(len(whole.done)):
        root = Path(f"site{after}")
        with pytest.raises(KilledError):
            update("first").run(Mortal(root, after))
        Path("site").symlink_to(root)
        published = "write site.json" in whole.done[:after]
        assert index("first" if published else "second") == ExitCode.OK
        assert names("cu126/demo") == [first.name]
        assert_sound()
        assert not list(root.rglob("*.partial"))
        Path("site").unlink()
    assert second.read_bytes() != first.read_bytes()


def test_a_removal_that_was_killed_is_completed_by_the_next_run() -> None:
    wheel("dist"), wheel("dist", "1.0+cu130")
    remove = {"remove": ("cu126",)}
    whole = Mortal(Path("whole"), float("inf"))
    update("dist").run(whole)
    before = len(whole.done)
    update(**remove).run(whole)
    for after in range(len(whole.done) - before):
        root = Path(f"site{after}")
        update("dist").run(Folder(root))
        with pytest.raises(KilledError):
            update(**remove).run(Mortal(root, after))
        Path("site").symlink_to(root)
        assert index("--remove", "cu126") == ExitCode.OK
        assert not Path("site/cu126").exists()
        assert names("cu130/demo")
        assert_sound()
        Path("site").unlink()


@pytest.mark.parametrize("suffix", ["", ".metadata"])
def test_a_file_of_equal_size_is_not_the_same_file(suffix: str) -> None:
    path = wheel("dist")
    assert index("dist") == ExitCode.OK
    file = Path("site/files/demo", f"{path.name}{suffix}")
    right = file.read_bytes()
    for damaged in (b"\0" * len(right), right[:-1], b""):
        file.write_bytes(damaged)
        assert index("dist") == ExitCode.OK
        assert file.read_bytes() == right


def test_a_wheel_that_changes_while_it_is_copied_is_not_published(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wheel("dist")
    copy = fsutil.copy_file

    def changed(source: Path, place: Path) -> None:
        path.write_bytes(path.read_bytes() + b"\0")
        copy(source, place)

    monkeypatch.setattr(storage_module, "copy_file", changed)
    fails(("dist",), ExitCode.ENVIRONMENT, "changed while it was copied", capsys)
    assert contents() == {}


def sdist(folder: str, version: str, requires: str = ">=3.9") -> Path:
    Path(folder).mkdir(exist_ok=True)
    info = f"Metadata-Version: 2.4\nName: demo\nVersion: {version}\nRequires-Python: {requires}\n"
    name = f"demo-{version}"
    return make_sdist(Path(folder), {"PKG-INFO": info, "setup.py": ""}, name=name, top=name)


def test_an_sdist_is_listed_wherever_a_wheel_of_its_version_is() -> None:
    wheel("dist", "1.0+cu126")
    wheel("dist", "2.0+cu130")
    path = sdist("dist", "1.0")
    Path(f"{path}.asc").write_bytes(b"1")
    assert index("dist", "--default", "cu126") == ExitCode.OK

    assert names("cu130/demo") == ["demo-2.0+cu130-cp312-cp312-manylinux_2_17_x86_64.whl"]
    (found, _) = entries("cu126/demo")
    assert (found["filename"], found["requires-python"]) == ("demo-1.0.tar.gz", ">=3.9")
    assert (found["gpg-sig"], "core-metadata" in found) == (True, False)
    assert found["hashes"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (Path("site/cu126/demo") / unquote(found["url"])).read_bytes() == path.read_bytes()
    assert names("demo") == names("cu126/demo")
    picker = Path("site/index.html").read_text()
    assert "tar.gz" not in picker

    # A variant that comes later gets it too, and one that goes takes it only from its own page.
    wheel("later", "1.0+cu128")
    assert index("later") == ExitCode.OK
    assert "demo-1.0.tar.gz" in names("cu128/demo")
    assert index("--remove", "cu126", "--default", "cu128") == ExitCode.OK
    assert "demo-1.0.tar.gz" in names("cu128/demo")
    assert index("--yank", "demo-1.0.tar.gz=broken") == ExitCode.OK
    assert [each["yanked"] for each in entries("cu128/demo")] == ["broken", False]
    assert index("--remove", "cu128", "--default", "cu130") == ExitCode.OK
    assert not list(Path("site").rglob("*.tar.gz*"))


def test_sdists_of_nightlies_go_with_their_wheels_and_one_alone_is_at_the_root() -> None:
    for number in (1, 2):
        wheel("dist", f"1.0.dev{number}+cu126")
        sdist("dist", f"1.0.dev{number}")
    assert index("dist", "--keep", "1") == ExitCode.OK
    assert names("cu126/demo") == [
        "demo-1.0.dev2.tar.gz",
        "demo-1.0.dev2+cu126-cp312-cp312-manylinux_2_17_x86_64.whl",
    ]

    sdist("alone", "3.0")
    assert index("alone", "--default", "") == ExitCode.OK
    assert names("demo") == ["demo-3.0.tar.gz"]
    wheel("plain", "3.0")
    assert index("plain") == ExitCode.OK
    assert names("demo") == ["demo-3.0-cp312-cp312-manylinux_2_17_x86_64.whl", "demo-3.0.tar.gz"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "zip", "tar and zip"])
def test_what_is_no_sdist_is_refused(
    place: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place / "other" / "demo-1.0.tar.gz"
    path.parent.mkdir()
    info = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("demo-1.0/PKG-INFO", info)
        zipped = path.read_bytes()
        make_sdist(path.parent, {"PKG-INFO": info}, name="demo-1.0", top="demo-1.0")
        path.write_bytes((path.read_bytes() if kind == "tar and zip" else b"") + zipped)
    why = {"zip": "is a zip file", "tar and zip": "a tar and a zip file"}
    fails(("other",), ExitCode.CONFIG, why.get(kind, "cannot be read"), capsys)
    assert not (place / "site" / "site.json").exists()


def test_an_archive_that_is_no_sdist_is_left_out_and_one_that_lies_is_refused(capsys: Any) -> None:
    wheel("dist")
    sdist("dist", "1.0").rename("dist/backup.tar.gz")
    assert index("dist") == ExitCode.OK
    assert "note: backup.tar.gz is left out" in capsys.readouterr().err

    sdist("other", "1.0").rename("other/demo-2.0.tar.gz")
    fails(("other",), ExitCode.BAD_WHEEL, "the file name says 2.0, PKG-INFO says 1.0", capsys)


def test_what_stands_beside_wheels_is_not_kept_for_all_of_them() -> None:
    """A METADATA may have 64 MB, and compresses to nothing."""

    def peak(count: int) -> int:
        folder = f"many{count}"
        for number in range(count):
            spec = WheelSpec(version=str(number))
            place = f"{spec.dist_info}/METADATA"
            files = spec.files()
            spec.write(Path(folder), files | {place: files[place] + b"\n" * 2_000_000})
        tracemalloc.start()
        try:
            found = scan(Path(folder))
            assert len(found) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6) < peak(2) + 1_000_000


@pytest.mark.parametrize("suffix", [".metadata", ".asc"])
def test_what_stands_beside_a_wheel_may_not_change_meanwhile(
    suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wheel("dist")
    signature = Path(f"{path}.asc")
    signature.write_bytes(b"1")
    added = Folder.add

    def add(folder: Folder, name: str, source: Path | bytes, sha256: str) -> None:
        added(folder, name, source, sha256)
        if suffix == ".asc":
            signature.write_bytes(b"2")
        else:
            spec = WheelSpec(version="1.0+cu126", extra_info={"LICENSE": b"other"})
            place = f"{spec.dist_info}/METADATA"
            spec.write(Path("dist"), spec.files() | {place: spec.files()[place] + b"more"})

    monkeypatch.setattr(Folder, "add", add)
    fails(("dist",), ExitCode.BAD_WHEEL, "changed while the index was written", capsys)
    assert not Path("site", "site.json").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", '{"attestation_bundles": [1]}'])
def test_a_provenance_that_is_none_is_one_clear_message(text: str, capsys: Any) -> None:
    Path(f"{wheel('dist')}.provenance").write_text(text)
    fails(("dist",), ExitCode.BAD_WHEEL, "not a provenance file", capsys)


def test_a_signature_of_gigabytes_is_not_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(index_module, "TEXT_LIMIT", 10)
    Path(f"{wheel('dist')}.asc").write_text("x" * 11)
    fails(("dist",), ExitCode.BAD_WHEEL, "more than 10 bytes", capsys)


def test_everything_is_on_the_disk_before_it_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel("dist")
    synced: list[int] = []
    real_sync, real_replace = os.fsync, Path.replace
    renamed: list[str] = []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        assert self.stat().st_ino in synced, target
        renamed.append(str(target))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    assert index("dist") == ExitCode.OK
    assert renamed[0] == f"site/files/demo/{path.name}"
    assert renamed[1] == f"site/files/demo/{path.name}.metadata"
    assert renamed[2] == "site/site.json"
    assert renamed[-2:] == ["site/index.html", "site/index.json"]
    assert set(map(str, Path("site").rglob("*.*"))) >= set(renamed)
    for folder in ("site", "site/files/demo", "site/cu126/demo"):
        assert Path(folder).stat().st_ino in synced


@pytest.mark.parametrize("suffix", ["", ".metadata", ".asc"])
def test_files_whose_removal_was_interrupted_are_removed_by_the_next_run(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheel("dist")
    path.with_name(f"{path.name}.asc").write_text("signature")
    wheel("dist", "1.0+cu130")
    assert index("dist") == ExitCode.OK
    remove = Folder.remove

    def fail(folder: Folder, name: str) -> None:
        if name.endswith(f"{path.name}{suffix}"):
            raise KilledError
        remove(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "remove", fail)
        with pytest.raises(KilledError):
            index("--remove", "cu126")
    assert index() == ExitCode.OK
    assert list(Path("site").rglob(f"*{path.name}*")) == []
    assert json.loads(Path("site/site.json").read_text())["gone"] == []
    assert_sound()


def test_what_a_killed_update_was_writing_is_removed(tmp_path: Path) -> None:
    wheel("dist")
    assert index("dist") == ExitCode.OK
    for folder in ("site", "site/files/demo", "site/cu126/demo"):
        Path(folder, f".a.0123abcd.{2**22 + 1}.partial").touch()
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / f".a.0123abcd.{2**22 + 1}.partial"
    other.touch()
    Path("site/link").symlink_to(other.parent)
    assert index("dist") == ExitCode.OK
    assert [each for each in Path("site").rglob(".*.partial") if "link" not in each.parts] == []
    assert other.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_is_named_by_what_was_to_be_written(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = wheel("dist")

    def fail(source: Path, place: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(place))

    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "copy_file", fail)
        assert index("dist") == ExitCode.ENVIRONMENT
    said = capsys.readouterr().err
    assert said == f"error: site/files/demo/{path.name}: {os.strerror(number)}\n"
    assert contents() == {}
    assert index("dist") == ExitCode.OK
    assert_sound()


@pytest.mark.parametrize(
    ("there", "output", "code", "message"),
    [
        ("file", "file", ExitCode.CONFIG, "--output file: not a directory"),
        ("file", "file/below", ExitCode.ENVIRONMENT, "file/below: Not a directory"),
        ("s/site.json/", "s", ExitCode.ENVIRONMENT, "s/site.json: Is a directory"),
        ("s/cu126", "s", ExitCode.ENVIRONMENT, "s/cu126/demo/index.html: Not a directory"),
        ("s/index.html/", "s", ExitCode.ENVIRONMENT, "s/index.html: Is a directory"),
        ("s/files", "s", ExitCode.ENVIRONMENT, "Not a directory"),
    ],
)
def test_what_is_no_site_is_one_clear_message(
    there: str,
    output: str,
    code: ExitCode,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(there).parent.mkdir(parents=True, exist_ok=True)
    Path(there).mkdir() if there.endswith("/") else Path(there).touch()
    wheel("dist")
    assert orchestrator.cli.run(["index", "dist", "--output", output]) == code
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("length", [246, 247, 252, 255])
def test_a_wheel_may_have_as_long_a_name_as_file_systems_allow(length: int) -> None:
    spec = WheelSpec(version="1.0+cu126")
    path = wheel("dist", name="d" * (length - len(spec.filename) + len(spec.name)))
    assert len(path.name) == length
    assert index("dist") == ExitCode.OK
    (entry,) = entries(f"cu126/{path.name.partition('-')[0]}")
    # PEP 658: the name of the file with the metadata would be too long.
    assert ("core-metadata" in entry) == (length + len(".metadata") <= 255)


# Addresses


def test_no_published_address_vanishes_but_with_remove() -> None:
    wheel("dist", "1.0.dev1+cu126"), wheel("dist", "1.0+cu130")
    wheel("other", "1.0+cu130", name="other")
    assert index("dist", "--default", "cu126", "--alias", "latest=variant=cu126") == ExitCode.OK
    before = {name for name in contents() if name.endswith("index.html")}

    changes = ("--default", "cu130", "--alias", "latest=variant=cu130", "--keep", "0")
    assert index("other", *changes) == ExitCode.OK
    assert before <= set(contents())
    assert names("cu126/demo") == []
    assert names("demo") == names("cu130/demo") != []
    assert index() == ExitCode.OK
    assert before <= set(contents())

    assert index("--remove", "cu126/", "--remove", "cu130/other") == ExitCode.OK
    gone = before - set(contents())
    assert gone == {"cu126/index.html", "cu126/demo/index.html"}
    assert [name for name in contents() if "other" in name and ".whl" in name] == []
    assert names("latest/other") == []
    assert index("--alias", "latest=") == ExitCode.OK
    assert not Path("site/latest").exists()


def test_the_root_goes_on_to_list_its_variant_when_another_one_comes() -> None:
    first = wheel("one")
    wheel("two", "1.0+cu130")
    assert index("one") == index("two") == ExitCode.OK
    assert names("demo") == [first.name]
    assert index("two", "--default", "cu130") == ExitCode.OK
    assert names("demo") != [first.name]


def test_a_site_of_an_earlier_version_keeps_its_addresses_too() -> None:
    path = wheel("dist", "1.0.dev1+cu126")
    assert index("dist") == ExitCode.OK
    state = Path("site/site.json")
    old = json.loads(state.read_text().replace("cu126", "cu126/torch-2.12.0"))
    old["files"][0] |= {"filename": path.name, "version": "1.0.dev1+cu126"}
    del old["published"], old["removed"]
    state.write_text(json.dumps(old))
    assert index("dist") == ExitCode.OK
    assert names("cu126/torch-2.12.0/demo") == [path.name]
    assert index("--keep", "0") == ExitCode.OK
    assert names("cu126/torch-2.12.0/demo") == []


def test_a_removed_page_comes_back_with_its_wheels() -> None:
    path = wheel("dist")
    assert index("dist") == ExitCode.OK
    assert index("--remove", "cu126") == ExitCode.OK
    assert contents().keys() & {f"files/demo/{path.name}", "cu126/index.html"} == set()
    assert index("dist") == ExitCode.OK
    assert names("cu126/demo") == [path.name]
    assert_sound()


@pytest.mark.parametrize("path", ["nothing", "", "cu12", "..", "files", "cu126/demo/x"])
def test_only_what_was_published_can_be_removed(path: str, capsys: Any) -> None:
    wheel("dist")
    assert index("dist") == ExitCode.OK
    before = contents()
    fails(("--remove", path), ExitCode.CONFIG, f"the site has no page {path!r}", capsys)
    assert contents() == before


@pytest.mark.parametrize("name", ["index.html", "site.json", "x/index.json", ".x", "a//b"])
def test_an_alias_has_the_name_of_no_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wheel("dist")
    arguments = ("dist", "--alias", f"{name}=cu126")
    fails(arguments, ExitCode.CONFIG, "cannot be a path", capsys)


# What somebody else has written into site.json


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("files", 0, "filename"), "../../../victim"),
        (("files", 0, "filename"), "/etc/passwd"),
        (("files", 0, "project"), "../.."),
        (("files", 0, "project"), "a/b"),
        (("files", 0, "sha256"), "x"),
        (("files", 0, "metadata"), "<script>"),
        (("files", 0, "size"), -1),
        (("files", 0, "version"), "one"),
        (("files", 0, "url"), "javascript:alert(1)"),
        (("files", 0, "cells"), [["cp312", "../../x"]]),
        (("variants", 0, "path"), "../x"),
        (("variants", 0, "path"), "/x"),
        (("aliases",), [["../x", "variant"]]),
        (("published",), [["../x", ""]]),
        (("published",), [["cu126", "../x"]]),
        (("removed",), [["..", ""]]),
        (("removed",), [["", "../../victim"]]),
        (("files", 0, "cells"), [["cp312", "of-no-variant"]]),
        (("gone",), [["..", "../victim"]]),
        (("gone",), [["demo", "../../../victim"]]),
        (("gone",), [["../..", "victim"]]),
        (("gone",), [["", "/etc/passwd"]]),
        (("gone",), [["demo", ".."]]),
    ],
)
def test_a_site_that_names_what_no_site_has_is_refused(
    where: tuple[str | int, ...], value: Any, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel("dist", "1.0.dev1+cu126")
    assert index("dist") == ExitCode.OK
    state = Path("site/site.json")
    document = json.loads(state.read_text())
    inner = document
    for part in where[:-1]:
        inner = inner[part]
    inner[where[-1]] = value
    state.write_text(json.dumps(document))
    for name in ("victim", "x"):
        (place / name).write_text("precious")
    before = sorted(place.rglob("*"))

    fails(("--keep", "0"), ExitCode.ENVIRONMENT, "not a site's document", capsys)
    assert sorted(place.rglob("*")) == before


# Before anything is written


def test_a_dry_run_of_a_new_site_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    path = wheel("dist")
    assert index("dist", "--dry-run") == ExitCode.OK
    assert not Path("site").exists()
    said = capsys.readouterr()
    assert f"would be added: {path.name}" in said.err
    assert "would be added: cu126/demo/" in said.err
    assert said.out == "cu126: 1 file\n"


def test_a_dry_run_shows_what_would_change_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, kept = wheel("dist", "1.0.dev1+cu126"), wheel("dist", "1.0+cu128")
    wheel("more", "1.0+cu130")
    assert index("dist") == ExitCode.OK
    before, times = contents(), Path("site/site.json").stat().st_mtime_ns
    capsys.readouterr()

    options = ("more", "--keep", "0", "--yank", "*cu128*", "--remove", "cu126")
    assert index(*options, "--dry-run") == ExitCode.OK
    assert contents() == before
    assert Path("site/site.json").stat().st_mtime_ns == times
    said = capsys.readouterr()
    for line in (
        f"would be dropped: {old.name}",
        f"would be changed: {kept.name}",
        "would be added: cu130/demo/",
        "would be removed: cu126/demo/",
    ):
        assert line in said.err.splitlines()

    assert index(*options) == ExitCode.OK
    assert capsys.readouterr().out == said.out
    assert index("more", "--yank", "*cu128*", "--remove", "cu126", "--dry-run") == ExitCode.OK
    assert "0 added, 0 dropped, 2 files\n0 pages would be written" in capsys.readouterr().err


PURE: dict[str, Any] = {"python": "py3", "abi": "none", "platform": "any"}


def test_variants_are_listed_and_offered_to_nobody_who_picks() -> None:
    files = [wheel("dist", "2.0", label=label, **PURE).name for label in ("cu130", "null")]
    files.append(wheel("dist", "1.0", **PURE).name)
    assert index("dist") == ExitCode.OK
    assert sorted(names("demo")) == sorted([*files, "demo-2.0-variants.json"])
    assert_sound()
    assert "demo-2.0-py3-none-any-cu130.whl" in Path("site/demo/index.html").read_text()
    page = Path("site/index.html").read_text()
    assert '"version": "1.0"' in page
    assert '"version": "2.0"' not in page


def described(version: str = "1.0") -> dict[str, Any] | None:
    path = Path(f"site/files/demo/demo-{version}-variants.json")
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def test_a_version_has_one_document_on_all_its_variants() -> None:
    wheel("one", "1.0", label="cu130", **PURE)
    wheel("two", "1.0", label="null", **PURE)
    wheel("two", "1.0", label="cu130", content=b"musl", **{**PURE, "platform": "linux_x86_64"})
    wheel("two", "2.0.dev1", label="cu126", **PURE)
    wheel("two", "2.0.dev2", **PURE)
    assert index("one") == index("two") == ExitCode.OK
    first, second = described(), described("2.0.dev1")
    assert first is not None
    assert second is not None
    assert first["variants"] == {"cu130": {"own": {"kind": ["cu130"]}}, "null": {}}
    assert first["default-priorities"] == {"namespace": ["own"]}
    assert [*second["variants"]] == ["cu126"]
    (entry,) = [each for each in entries("demo") if each["filename"] == "demo-1.0-variants.json"]
    file = Path("site/demo", entry["url"])
    assert json.loads(file.read_text()) == first
    assert entry["size"] == file.stat().st_size
    assert 'href="../files/demo/demo-1.0-variants.json"' in Path("site/demo/index.html").read_text()

    assert index("--keep", "1") == ExitCode.OK
    assert (described(), described("2.0.dev1")) == (first, None)
    assert not any("2.0.dev1" in name for name in names("demo"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (make_variant("a", **{"$schema": "https://x/2.json"}), "$schema"),
        (
            make_variant(
                "a", **{"default-priorities": {"namespace": ["b", "own"]}, "providers": {}}
            ),
            "values of default-priorities.namespace",
        ),
        (make_variant("a", providers={"own": {"requires": ["x"]}}), "values of providers.own"),
        (make_variant("a", providers={}), ""),
        (make_variant("a", providers={"x": {}}), "providers has other namespaces"),
        (make_variant("a", later=1), "keys that this version does not know"),
        (make_variant("b"), "describes b"),
        (make_variant("a", "b"), "describes a, b"),
        (make_variant("a", **{"default-priorities": {"namespace": []}}), "namespace lacks own"),
        (make_variant("a", variants={"a": {"Own": {"kind": ["x"]}}}), "variant.json: variants"),
        (make_variant("a", variants=None), "variant.json: variants"),
        (make_variant("a", more=json.loads("[" * 300 + "]" * 300)), "variant.json: more.more"),
        (
            make_variant("a", providers={"own": {"x": float("nan")}}),
            "variant.json: providers.own.x",
        ),
        (b"[1]", "not a document of wheel variants"),
        (b"[" * 100_000, "not a JSON document"),
        (b'"' + b"x" * (1 << 20) + b'"', "at most 1048576 are read"),
    ],
)
def test_variants_that_contradict_each_other_or_themselves_are_one_clear_message(
    document: bytes, message: str, capsys: Any
) -> None:
    wheel("dist", "1.0", label="c", **PURE)
    wheel("dist", "1.0", label="a", extra_info={"variant.json": document}, **PURE)
    if message:
        fails(("dist",), ExitCode.BAD_WHEEL, message, capsys)
        assert not Path("site/site.json").exists()
    else:
        assert index("dist") == ExitCode.OK


def test_variants_do_not_say_more_together_than_a_document_may(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Each wheel may say a megabyte, which is a kilobyte in it; a thousand are a gigabyte."""
    monkeypatch.setattr(variant_metadata, "LARGEST", 3000)
    for label in "abc":
        more = {"default-priorities": {"namespace": ["own"], label: ["x" * 1000]}}
        info = {"variant.json": make_variant(label, **more)}
        wheel("dist", "1.0", label=label, extra_info=info, **PURE)
    fails(("dist",), ExitCode.BAD_WHEEL, "at most 3000 are read", capsys)
    assert not Path("site/site.json").exists()
