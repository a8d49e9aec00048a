"""`orchestrator init` and an index on loopback."""

from __future__ import annotations

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


def test_an_index_that_nobody_named_need_not_answer(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.1"\n')
    (tmp_path / "setup.py").write_text("setup(ext_modules=[x])")
    gone = "http://127.0.0.1:9/simple"

    said = orchestrator("init", cwd=tmp_path, code=0, env={"PIP_INDEX_URL": gone})

    assert "no index was read" in said.stderr
    assert gone in said.stderr
    assert orchestrator("init", "--force", "--index", gone, cwd=tmp_path, code=4).stderr
