"""`orchestrator init` and an index on loopback."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import orchestrator
from tests.servers import served

pytestmark = pytest.mark.index

NAMES = (
    *(
        "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "demo-1.0-cp39-cp39-musllinux_1_2_i686.whl",
    ),
    *("demo-1.0-cp312-cp312-win_amd64.whl", "demo-0.9-cp312-cp312-manylinux_2_17_s390x.whl"),
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site" / "demo"
    folder.mkdir(parents=True)
    links = "".join(f'<a href="{name}">{name}</a>' for name in NAMES)
    yanked = "demo-2.0-cp312-cp312-manylinux_2_17_ppc64le.whl"
    (folder / "index.html").write_text(f'{links}<a href="{yanked}" data-yanked>{yanked}</a>')
    with served(tmp_path / "site") as server:
        yield server.url


def test_the_matrix_follows_the_last_release_and_is_compared_with_it(
    tmp_path: Path, index: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "1.1"\nrequires-python = ">=3.12"\n'
    )
    (tmp_path / "setup.py").write_text("setup(ext_modules=[x])")

    said = orchestrator("init", "--index", index, "--check", index, cwd=tmp_path, code=0)

    assert "found: 3 wheels of 1.0" in said.stderr
    text = (tmp_path / "matrix.toml").read_text()
    assert 'arch = ["x86_64", "i686"]  # the wheels of 1.0' in text
    assert "the plan makes 1 of the 2 wheels for Linux of 1.0" in said.stdout
    assert "not made:\n  demo-1.0-cp39-cp39-musllinux_1_2_i686.whl" in said.stdout
    assert "new:\n" in said.stdout
    assert "cp313-manylinux_x86_64" in said.stdout

    (tmp_path / "matrix.toml").write_text('[axes]\npython = ["cp312"]\narch = ["s390x"]\n')
    said = orchestrator("init", "--check", index, cwd=tmp_path, code=0)

    assert "makes 0 of the 2 wheels" in said.stdout
    assert "s390x" in (tmp_path / "matrix.toml").read_text()


def test_a_name_without_a_version_means_the_newest_that_has_an_sdist(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "demo"
    tree = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 1.9\n",
        "pyproject.toml": '[project]\nname = "demo"\nversion = "1.9"\n',
        "setup.py": "setup(ext_modules=[x])",
    }
    folder.mkdir(parents=True)
    with tarfile.open(folder / "demo-1.9.tar.gz", "w:gz") as archive:
        for name, text in tree.items():
            (tmp_path / name).write_text(text)
            archive.add(tmp_path / name, f"demo-1.9/{name}")
    names = ["demo-1.10.tar.gz", "demo-1.9.tar.gz", "demo-1.8.tar.gz", "demo-2.0rc1.tar.gz"]
    names += ["demo-1.11-cp312-cp312-win_amd64.whl", "demo.exe"]
    links = "".join(f'<a href="{name}">{name}</a>' for name in names[1:])
    links += f'<a href="{names[0]}" data-yanked>{names[0]}</a>'
    (folder / "index.html").write_text(links)
    with served(tmp_path / "site") as server:
        (tmp_path / "work").mkdir()
        env = {"PIP_INDEX_URL": server.url, "PIP_CONFIG_FILE": os.devnull}
        said = orchestrator("init", "demo", cwd=tmp_path / "work", code=0, env=env)
        none = orchestrator("init", "gone", "--force", cwd=tmp_path / "work", code=2, env=env)

    assert "found: demo 1.9, the newest version with an sdist" in said.stderr
    assert 'source = "demo==1.9"' in (tmp_path / "work" / "matrix.toml").read_text()
    assert "there is no directory 'gone', and no sdist" in " ".join(none.stderr.split())


def test_an_index_that_nobody_named_need_not_answer(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.1"\n')
    (tmp_path / "setup.py").write_text("setup(ext_modules=[x])")
    gone = "http://127.0.0.1:9/simple"

    said = orchestrator("init", cwd=tmp_path, code=0, env={"PIP_INDEX_URL": gone})

    assert "no index was read" in said.stderr
    assert gone in said.stderr
    assert orchestrator("init", "--force", "--index", gone, cwd=tmp_path, code=4).stderr
