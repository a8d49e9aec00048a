"""The script that fetches a requirement's sdist, with a directory for an index."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from orchestrator.provision.toolchain import Toolchain
from orchestrator.source.stage import FETCH_SCRIPT
from tests.conftest import ran

pytestmark = pytest.mark.index


def test_an_sdist_of_a_directory_is_copied_like_a_downloaded_one(
    tools: Toolchain, tmp_path: Path
) -> None:
    links, folder = tmp_path / "links", tmp_path / "fetched"
    links.mkdir()
    folder.mkdir()
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    with tarfile.open(links / "demo-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "PKG-INFO", "demo-1.0/PKG-INFO")

    env = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}
    said = ran(tools.python, "-I", FETCH_SCRIPT, "demo==1.0", folder, env=env, code=0)

    assert said.stdout == str(folder / "demo-1.0.tar.gz")
    assert (folder / "demo-1.0.tar.gz").is_file()
    assert (links / "demo-1.0.tar.gz").is_file()
