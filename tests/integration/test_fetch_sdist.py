"""The script that fetches a requirement's sdist, with a directory for an index."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from orchestrator.host.network import HostNetwork
from orchestrator.provision import toolchain
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.source.stage import FETCH_SCRIPT

pytestmark = pytest.mark.index


def test_an_sdist_of_a_directory_is_copied_like_a_downloaded_one(tmp_path: Path) -> None:
    tools = toolchain.sync(
        default_cache_dir(os.environ), HostNetwork.detect(os.environ), environ=os.environ
    )
    links, folder = tmp_path / "links", tmp_path / "fetched"
    links.mkdir()
    folder.mkdir()
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    with tarfile.open(links / "demo-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "PKG-INFO", "demo-1.0/PKG-INFO")

    done = subprocess.run(
        [str(tools.python), "-I", str(FETCH_SCRIPT), "demo==1.0", str(folder)],
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == str(folder / "demo-1.0.tar.gz")
    assert (folder / "demo-1.0.tar.gz").is_file()
    assert (links / "demo-1.0.tar.gz").is_file()
