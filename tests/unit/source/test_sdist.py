"""What is wrong with an sdist, from its bytes alone."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version

from orchestrator.errors import ConfigError, SourceError
from orchestrator.run.make_sdist import injected, public_version
from orchestrator.source.sdist import SdistName, cure, last_words, package_info, sdist_problems
from tests import factories
from tests.factories import make_sdist as sdist
from tests.factories import write_files

INFO = "Metadata-Version: 2.4\nName: My.Thing\nVersion: 1.0\n"
GOOD = {"pyproject.toml": "", "PKG-INFO": INFO}


def test_a_good_one(tmp_path: Path) -> None:
    assert sdist_problems(sdist(tmp_path, GOOD), version="1.0") == ()
    assert [path.name for path in tmp_path.iterdir()] == ["my_thing-1.0.tar.gz"]


MULTIPLE = "error: Multiple packages: ['a', 'b']."


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("", "it says nothing"),
        ("one\nValueError: two\n\nexit 1: python\n", "ValueError: two"),
        ("error: Multiple packages: ['a', 'b'].\n\nTo find more\nexit 1: x", MULTIPLE),
    ],
)
def test_why_a_backend_makes_none(printed: str, words: str) -> None:
    assert last_words(printed) == words


WRONG = {
    "its name": (GOOD, {"name": "My.Thing-1.0", "top": "My.Thing-1.0"}, "not named as PEP 625"),
    "its directory": (GOOD, {"top": "src"}, "its directory is src, and not the name of the file"),
    "another project": (GOOD, {"name": "other-1.0", "top": "other-1.0"}, "PKG-INFO says My.Thing"),
    "its version": (
        GOOD,
        {"name": "my_thing-2", "top": "my_thing-2"},
        "PKG-INFO says My.Thing 1.0",
    ),
    "no PKG-INFO": ({"pyproject.toml": ""}, {}, "PKG-INFO: "),
    "no build": ({"PKG-INFO": INFO}, {}, "neither pyproject.toml nor setup.py"),
    "a member outside": (GOOD | {"../../x": ""}, {}, "would land outside"),
    "an absolute member": (GOOD, {"top": "/my_thing-1.0"}, "would land outside"),
    "a licence": (
        GOOD | {"PKG-INFO": f"{INFO}License-File: LICENSE\n"},
        {},
        "names licence files that it lacks: LICENSE",
    ),
    "metadata": (GOOD | {"PKG-INFO": f"{INFO}Requires-Python: >=x\n"}, {}, "PKG-INFO: "),
}


@pytest.mark.parametrize(("files", "names", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(
    files: dict[str, str], names: dict[str, str], words: str, tmp_path: Path
) -> None:
    assert any(words in each for each in sdist_problems(sdist(tmp_path, files, **names)))


def test_no_archive_and_another_version(tmp_path: Path) -> None:
    (tmp_path / "my_thing-1.0.tar.gz").write_bytes(b"no")
    assert "cannot be unpacked" in sdist_problems(tmp_path / "my_thing-1.0.tar.gz")[0]
    (said,) = sdist_problems(sdist(tmp_path, GOOD), version="1.1")
    assert said == "it has the version 1.0, and the wheels have 1.1"


NUMBER = "1" * 5000

HOSTILE = {
    "a version of thousands of digits": (
        GOOD | {"PKG-INFO": f"Metadata-Version: 2.4\nName: My.Thing\nVersion: {NUMBER}\n"},
        "4300 digits",
    ),
    "a licence with a name of thousands of letters": (
        GOOD | {"PKG-INFO": f"{INFO}License-File: {'a' * 5000}\n"},
        "names licence files that it lacks",
    ),
    "a licence outside": (
        GOOD | {"PKG-INFO": f"{INFO}License-File: /etc/passwd\n"},
        "paths must be relative",
    ),
}


@pytest.mark.parametrize(("files", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_metadata_is_a_finding(files: dict[str, str], words: str, tmp_path: Path) -> None:
    assert any(words in each for each in sdist_problems(sdist(tmp_path, files)))


def test_members_without_a_name_are_no_finding(tmp_path: Path) -> None:
    path = sdist(tmp_path, GOOD, top="./my_thing-1.0")
    with gzip.open(path) as packed:
        content = packed.read()
    folder = tarfile.TarInfo(".")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    path.write_bytes(gzip.compress(folder.tobuf() + content))

    assert sdist_problems(path, version="1.0") == ()
    assert package_info(path) == INFO.encode()


def test_several_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "my_thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for text in (INFO, f"{INFO}Requires-Dist: evil\n"):
            for member, content in (GOOD | {"PKG-INFO": text}).items():
                info = tarfile.TarInfo(f"my_thing-1.0/{member}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))

    assert sdist_problems(path) == ("it has several PKG-INFO",)


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "my_thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in (GOOD | {"data.bin": "x"}).items():
            info = tarfile.TarInfo(f"my_thing-1.0/{member}")
            info.size = len(content)
            if member == "data.bin":
                info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "4096"}
            archive.addfile(info, io.BytesIO(content.encode()))

    assert sdist_problems(path) == ("it has sparse members: PyPI refuses them",)


def test_what_installers_read_differently_is_refused(tmp_path: Path) -> None:
    path = sdist(tmp_path, GOOD)
    packed = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in GOOD.items():
            archive.writestr(f"my_thing-1.0/{member}", text)
    assert sdist_problems(path) == ("it is a zip file, and named like a tar file",)

    path.write_bytes(packed + path.read_bytes())
    (said,) = sdist_problems(path)
    assert "it is a tar and a zip file" in said
    with pytest.raises(SourceError, match="it is a tar and a zip file"):
        package_info(path)


@pytest.mark.parametrize(
    "name",
    [
        *("x-1.tar.gz.asc", "x-1.zip", "X-1.tar.gz", "x-y.tar.gz", "x.tar.gz"),
        f"x-{'1' * 5000}.tar.gz",
    ],
)
def test_no_name_of_an_sdist(name: str) -> None:
    assert SdistName.match(name) is None
    found = SdistName.match("my_thing-1.0rc1.tar.gz")
    assert found is not None
    assert (found.name, found.version) == ("my-thing", Version("1.0rc1"))


def test_the_version_is_the_wheels_without_their_local_part() -> None:
    one, two = factories.target(version="1.0+cu1"), factories.target(version="1.0+cu2")
    assert public_version([one, two]) == "1.0"
    with pytest.raises(ConfigError, match=r"several versions \(1.0, 1.1\)"):
        public_version([one, factories.target(version="1.1")])


def test_the_build_is_told_the_version_of_the_sdist() -> None:
    env = (
        *(factories.env(MINE="1.0+cu1")),
        replace(factories.env(TOLD="v1.0+cu1")[0], origin="version.inject"),
    )
    assert injected(factories.target(version="1.0+cu1", env=env), "1.0") == {"TOLD": "v1.0"}


@pytest.mark.parametrize(
    ("backend", "how"),
    [
        ("maturin", 'include = [{ path = "a.h", format = "sdist" }] in [tool.maturin]'),
        ("mesonpy", "`git add a.h`"),
        ("own.backend:api", "name a.h in the sdist's settings"),
    ],
)
def test_each_backend_has_its_cure(backend: str, how: str, tmp_path: Path) -> None:
    text = f'[build-system]\nrequires = []\nbuild-backend = "{backend}"\n'
    assert how in cure(write_files(tmp_path, {"pyproject.toml": text}), ["a.h"])
    assert cure(tmp_path / "none", ["a.h"]) == "`include a.h` in MANIFEST.in"
