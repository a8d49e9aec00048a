"""The source: found, unpacked, cleaned; and whether two of them are the same."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode, SourceError
from orchestrator.fsutil import copy_tree
from orchestrator.source.locate import SourceKind, locate
from orchestrator.source.stage import EARLIEST_EPOCH, StagedSource, stage, tree_digest

PYPROJECT = '[project]\nname = "Foo.Bar"\nversion = "1.0"\n'
TIME = 1_000_000_000

Member = tuple[str, bytes | str]
"""Name, and content or the target of a link."""

ROOT: Member = ("foo-1.0/pyproject.toml", PYPROJECT.encode())


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (TIME, TIME))
    return root


def tree(root: Path) -> list[str]:
    """All files and links, relative."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


class Stager:
    """Stages into a fresh directory each time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def __call__(
        self,
        text: str,
        *,
        skip: Iterable[Path] = (),
        fetch: Callable[[str], Path] | None = None,
    ) -> StagedSource:
        self.count += 1
        dest = self.root / "staged" / str(self.count)

        def unexpected(requirement: str) -> Path:
            pytest.fail(f"fetched {requirement}")

        origin = locate(text, base=self.root)
        return stage(origin, dest=dest, fetch=fetch or unexpected, skip=skip)

    def sdist(self, *members: Member | tarfile.TarInfo) -> StagedSource:
        """Stage an sdist with these members."""
        return self(tar(self.root / "foo-1.0.tar.gz", *members).name)

    def project(self, pyproject: str) -> StagedSource:
        """Stage an sdist with nothing but this pyproject.toml."""
        return self.sdist((ROOT[0], pyproject.encode()))


@pytest.fixture
def staged(tmp_path: Path) -> Stager:
    return Stager(tmp_path)


def problem(call: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        call()
    assert caught.value.exit_code is ExitCode.CONFIG
    (found,) = caught.value.problems
    assert found.where
    return str(found)


# Where it is


def test_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "src", {"pyproject.toml": PYPROJECT})
    origin = locate("src", base=tmp_path)
    assert origin.kind is SourceKind.DIRECTORY
    assert origin.path == tmp_path / "src"
    assert (origin.name, origin.version) == ("foo-bar", "1.0")


@pytest.mark.parametrize("text", [".", "", "./", "../{name}"])
def test_the_directory_of_the_matrix(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT})

    assert locate(text.format(name=tmp_path.name), base=tmp_path).path == tmp_path


IDENTITIES: dict[str, tuple[dict[str, str], str, str | None]] = {
    "dynamic": ({"pyproject.toml": '[project]\nname = "a"\ndynamic = ["version"]'}, "a", None),
    "no project": ({"pyproject.toml": "[build-system]\nrequires = []"}, "", None),
    "setup.py": ({"setup.py": ""}, "", None),
    "setup.cfg": ({"setup.cfg": ""}, "", None),
    "number": ({"pyproject.toml": '[project]\nname = "a"\nversion = 1.5'}, "a", "1.5"),
    "unpacked sdist": (
        {"setup.py": "", "PKG-INFO": "Metadata-Version: 2.1\nName: A_b\nVersion: 2\n\nVersion: 3"},
        "a-b",
        "2",
    ),
    "dynamic in an unpacked sdist": (
        {
            "pyproject.toml": '[project]\nname = "a"\ndynamic = ["version"]',
            "PKG-INFO": "Metadata-Version: 2.2\nName: a\nVersion: 4\n",
        },
        "a",
        "4",
    ),
    "tools only, and setup.py": ({"pyproject.toml": "[tool.x]", "setup.py": ""}, "", None),
}


@pytest.mark.parametrize(("files", "name", "version"), IDENTITIES.values(), ids=IDENTITIES)
def test_name_and_version_where_they_are_static(
    tmp_path: Path, files: dict[str, str], name: str, version: str | None
) -> None:
    write(tmp_path, files)
    origin = locate(".", base=tmp_path)
    assert (origin.name, origin.version) == (name, version)


def test_an_sdist(tmp_path: Path) -> None:
    write(tmp_path, {"dist/My_Thing-1.0rc1.tar.gz": b"", "other-thing-2.0.zip": b""})

    one = locate("dist/My_Thing-1.0rc1.tar.gz", base=tmp_path)
    two = locate(str(tmp_path / "other-thing-2.0.zip"), base=tmp_path / "elsewhere")

    assert (one.kind, one.name, one.version) == (SourceKind.SDIST, "my-thing", "1.0rc1")
    assert (two.kind, two.name, two.version) == (SourceKind.SDIST, "other-thing", "2.0")


@pytest.mark.parametrize("text", ["Thing_X==1.0", "thing-x == 1.0", "thing.x==1.0"])
def test_a_requirement(tmp_path: Path, text: str) -> None:
    origin = locate(text, base=tmp_path)

    assert (origin.kind, origin.name, origin.version) == (SourceKind.REQUIREMENT, "thing-x", "1.0")
    assert origin.path is None
    assert origin.text == text


def test_a_directory_wins_over_a_requirement_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"thing==1.0/setup.py": ""})

    assert locate("thing==1.0", base=tmp_path).kind is SourceKind.DIRECTORY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone", "there is no directory 'gone'"),
        ("thing>=1", "is not pinned to one version"),
        ("thing==1.*", "is not pinned to one version"),
        ("thing==1,!=2", "is not pinned to one version"),
        ("thing===1", "is not pinned to one version"),
        ("thing==one", "is neither a directory, nor an sdist, nor a requirement"),
        ("gone/src", "is neither a directory, nor an sdist, nor a requirement"),
        ("thing @ https://example.org/x", "is neither a directory, nor an sdist"),
        ("git+https://example.org/x", "is neither a directory, nor an sdist"),
        ("~nobody-of-this-name/x", "is neither a directory, nor an sdist"),
        ("nul\0byte", "is neither a directory, nor an sdist"),
        ("file", "is not pinned to one version"),
        ("gone-1.0.tar.gz", "there is no file 'gone-1.0.tar.gz'"),
        ("nameless.tar.gz", "is not named like an sdist"),
        ("x" * 5000, "is not pinned to one version"),
    ],
)
def test_what_is_no_source(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, {"file": "", "nameless.tar.gz": ""})

    found = problem(lambda: locate(text, base=tmp_path))

    assert found.startswith("project.source: ")
    assert message in found


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README": ""}, "neither pyproject.toml nor setup.py is there"),
        ({"pyproject.toml": "[tool.x]"}, "has neither [build-system] nor [project]"),
        ({"pyproject.toml": ""}, "has neither [build-system] nor [project]"),
        ({"pyproject.toml": "[project"}, "not valid TOML"),
        ({"pyproject.toml": b"\xff"}, "is not UTF-8"),
        ({"pyproject.toml": "a = " + "[" * 100_000}, "not valid TOML"),
    ],
)
def test_no_build_backend(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    write(tmp_path, files)

    assert message in problem(lambda: locate(".", base=tmp_path))


def linked(root: Path, links: Mapping[str, str]) -> Path:
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    return root


# From sdists


def tar(path: Path, *members: Member | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as bundle:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                bundle.addfile(each)
                continue
            name, content = each
            info = tarfile.TarInfo(name)
            info.mtime = TIME
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                bundle.addfile(info)
            else:
                info.size = len(content)
                info.mode = 0o755 if name.endswith(".sh") else 0o644
                bundle.addfile(info, io.BytesIO(content))
    return path


def test_a_tar_file(tmp_path: Path, staged: Stager) -> None:
    found = staged.sdist(
        ROOT, ("foo-1.0/run.sh", b"#!"), ("foo-1.0/pkg/a.c", b"a"), ("foo-1.0/l", "pkg/a.c")
    )
    assert tree(found.root) == ["l", "pkg/a.c", "pyproject.toml", "run.sh"]
    assert (found.root / "run.sh").stat().st_mode & stat.S_IXUSR
    assert (found.root / "l").readlink() == Path("pkg/a.c")
    assert found.source.epoch == TIME
    assert (found.source.name, found.source.version) == ("foo-bar", "1.0")
    assert os.listdir(tmp_path / "staged") == ["1"]  # noqa: PTH208 - names


def test_the_name_of_an_sdist_says_what_its_files_do_not(tmp_path: Path, staged: Stager) -> None:
    tar(tmp_path / "Foo_x-1.5.tar.gz", ("foo-1.5/setup.py", b""))

    assert staged("Foo_x-1.5.tar.gz").source.name == "foo-x"
    assert staged("Foo_x-1.5.tar.gz").source.version == "1.5"


def test_a_leading_dot_and_a_file_of_git_archive_do_not_matter(staged: Stager) -> None:
    found = staged.sdist(("pax_global_header", b"x"), (f"./{ROOT[0]}", ROOT[1]))

    assert tree(found.root) == ["pyproject.toml"]


def test_an_sdist_without_a_build_backend(staged: Stager) -> None:
    assert "has no build backend" in problem(lambda: staged.sdist(("foo-1.0/README", b"")))


def zipped(path: Path, *members: Member, date: tuple[int, ...] = (2001, 9, 9, 1, 46, 40)) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.date_time = date  # type: ignore[assignment]
            bundle.writestr(info, content)
    return path


def test_a_zip_file(tmp_path: Path, staged: Stager) -> None:
    zipped(tmp_path / "foo-1.0.zip", ("foo-1.0/", b""), ROOT, ("foo-1.0/pkg/a.c", b"a"))
    found = staged("foo-1.0.zip")
    assert tree(found.root) == ["pkg/a.c", "pyproject.toml"]
    assert found.source.epoch == TIME
    assert found.source == staged("foo-1.0.zip").source


def test_a_zip_file_without_times(tmp_path: Path, staged: Stager) -> None:
    path = zipped(tmp_path / "foo-1.0.zip", ROOT)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as bundle:
        (info,) = bundle.infolist()
    date = (((info.date_time[0] - 1980) << 9) | (9 << 5) | 9).to_bytes(2, "little")
    assert data.count(date) >= 2
    path.write_bytes(data.replace(date, b"\0\0"))

    assert staged("foo-1.0.zip").source.epoch >= EARLIEST_EPOCH


def test_a_requirement_is_fetched(tmp_path: Path, staged: Stager) -> None:
    sdist = tar(tmp_path / "Foo_Bar-2.0.tar.gz", ("foo-2.0/setup.py", b""))
    asked: list[str] = []

    def fetch(requirement: str) -> Path:
        asked.append(requirement)
        return sdist

    found = staged("foo.bar==2.0", fetch=fetch)
    assert asked == ["foo.bar==2.0"]
    assert tree(found.root) == ["setup.py"]
    assert (found.source.name, found.source.version) == ("foo-bar", "2.0")


# The digest

FILES = {"pyproject.toml": PYPROJECT, "pkg/a.c": "a", "pkg/b.c": "b"}


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return linked(write(tmp_path / "tree", FILES), {"link": "pkg/a.c"})


def test_the_digest_does_not_depend_on_times_place_or_order_or_bits_that_sdists_do_not_keep(
    tmp_path: Path, subject: Path
) -> None:
    before = tree_digest(subject)
    (subject / "pkg" / "a.c").chmod(0o640)
    for path in subject.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert tree_digest(subject) == before

    other = linked(tmp_path / "other", {"link": "pkg/a.c"})
    write(other, dict(reversed(FILES.items())))
    assert tree_digest(other) == before
    copy_tree(subject, tmp_path / "copy")
    assert tree_digest(tmp_path / "copy") == before


def relink(root: Path, target: str | None) -> None:
    (root / "link").unlink()
    if target is None:
        (root / "link").write_text("pkg/a.c", encoding="utf-8")
    else:
        (root / "link").symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "pkg" / "a.c").write_text("A", encoding="utf-8"),
    "executable bit": lambda root: (root / "pkg" / "a.c").chmod(0o755),
    "name": lambda root: (root / "pkg" / "a.c").rename(root / "pkg" / "c.c"),
    "place": lambda root: (root / "pkg" / "a.c").rename(root / "a.c"),
    "new file": lambda root: (root / "pkg" / "new").touch(),
    "file less": lambda root: (root / "pkg" / "a.c").unlink(),
    "link": lambda root: relink(root, "pkg/b.c"),
    "a file for a link": lambda root: relink(root, None),
    "contents exchanged": lambda root: write(root, {"pkg/a.c": "b", "pkg/b.c": "a"}),
    "name that no UTF-8 is": lambda root: Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_depends_on_all_else(subject: Path, change: Callable[[Path], object]) -> None:
    before = tree_digest(subject)
    change(subject)

    assert tree_digest(subject) != before


def test_where_one_name_ends_and_content_begins_is_part_of_the_digest(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a": "b", "c": ""})
    two = write(tmp_path / "two", {"a": "", "bc": ""})

    assert tree_digest(one) != tree_digest(two)


def test_no_epoch_is_older_than_a_zip_file_can_say(staged: Stager) -> None:
    info = tarfile.TarInfo("foo-1.0/setup.py")
    info.mtime = 0

    assert staged.sdist(info).source.epoch == EARLIEST_EPOCH


# What [tool.cibuildwheel] has copied into a container


@pytest.mark.parametrize(
    "setting",
    [
        "test-sources = ['tests', '/etc/passwd']",
        "test-sources = 'tests ../secret'",
        "test-sources = ['pkg/../../secret']",
        "linux.test-sources = ['/']",
        "overrides = [{ select = '*', test-sources = ['/etc'] }]",
        "dependency-versions = '/etc/passwd'",
        "dependency-versions = 'file: ../secret'",
        "dependency-versions = { file = '/etc/passwd' }",
    ],
)
def test_no_option_names_a_file_outside_the_source(staged: Stager, setting: str) -> None:
    pyproject = f"{PYPROJECT}[tool.cibuildwheel]\n{setting}\n"

    assert "which is outside the source" in problem(lambda: staged.project(pyproject))


def test_options_may_name_files_of_the_source(staged: Stager) -> None:
    settings = "test-sources = ['tests', 'a b']\ndependency-versions = 'packages: pip==24'\n"
    settings += "[[tool.cibuildwheel.overrides]]\nselect = '*'\ntest-sources = \"x 'y z'\"\n"
    settings += "dependency-versions = 'pinned'\n"

    found = staged.project(f"{PYPROJECT}[tool.cibuildwheel]\n{settings}").source
    assert found.own_options == ("dependency-versions", "overrides", "test-sources")
    assert found.own_overrides == (("*", ("dependency-versions", "test-sources")),)


@pytest.mark.parametrize(
    "tool", ["tool = 1", "tool.cibuildwheel = 'x'", "tool.cibuildwheel.overrides = 3"]
)
def test_tables_of_another_type_are_none(staged: Stager, tool: str) -> None:
    assert isinstance(staged.project(f"{tool}\n{PYPROJECT}").source.own_options, tuple)


@pytest.mark.parametrize("name", ["../../x", "a b", "x" * 300, "a\u2028b", "::error::"])
def test_the_name_of_a_project_is_a_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"pyproject.toml": f'[project]\nname = "{name}"\nversion = "1"\n'})

    assert "is not the name of a project" in problem(lambda: locate(".", base=tmp_path))


def test_a_file_of_any_size_is_not_taken_into_memory(tmp_path: Path) -> None:
    write(tmp_path, {"setup.py": ""})
    with (tmp_path / "PKG-INFO").open("wb") as file:
        file.truncate(1 << 40)

    assert "has more than 16 MiB" in problem(lambda: locate(".", base=tmp_path))
