"""What commands say of an index has no login and no token."""

from __future__ import annotations

from pathlib import Path

import pytest

import orchestrator.cli
from orchestrator.host import simple_index
from orchestrator.host.simple_index import IndexFile
from tests.factories import write_files

URL = "https://me:hush-hush@example.org/{variant}/simple?private_token=hush-hush"
FILES = {
    "pyproject.toml": '[project]\nname = "demo"\nversion = "1.0"\n'
    '[build-system]\nbuild-backend = "maturin"\nrequires = ["maturin"]\n',
    "matrix.toml": '[axes]\npython = ["cp312"]\narch = ["x86_64"]\n[version]\nbase = "1.0"\n',
}
NAMES = (
    "demo-0.9-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-2.12.0+cu130-cp312-cp312-manylinux_2_28_x86_64.whl",
)


@pytest.mark.parametrize(
    "command",
    [
        "coverage --index URL --format json",
        "coverage --index URL",
        "coverage --index URL --format markdown",
        "init --check URL",
        "init --index URL --output new.toml",
        "compat refresh --index URL",
        "compat refresh --index URL --output torch.toml",
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_login_stays_where_it_was_given(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    there: bool,
) -> None:
    asked = []

    def listing(index: str, *_: object) -> tuple[IndexFile, ...] | None:
        asked.append(index)
        return tuple(IndexFile(name=name, yanked=False) for name in NAMES) if there else None

    monkeypatch.setattr(simple_index, "listing", listing)
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, FILES)
    url = URL if command.startswith("coverage") else URL.replace("/{variant}", "")
    orchestrator.cli.run([url if word == "URL" else word for word in command.split()])

    said = capsys.readouterr()
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert all("hush-hush" in each for each in asked)
    assert asked
    assert "hush-hush" not in said.out + said.err + written
