"""The example matrices give their projects the torch that the published sdists ask for."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

from orchestrator.config.requirements import requirement_name
from orchestrator.host.network import HostNetwork
from orchestrator.provision import toolchain
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.source.stage import FETCH_SCRIPT
from tests.unit.matrices.test_examples import plan, wheels

pytestmark = pytest.mark.index

SDISTS = {
    "flash-attention": "flash-attn==2.8.3",
    "flashinfer-torch": "flashinfer-python==0.2.5",
    "vllm": "vllm==0.20.0",
}
"""Example -> the sdist of its project; the index has none of the others."""


def fetch(requirement: str, folder: Path) -> dict[str, str]:
    """Return the texts of the sdist's setup.py and pyproject.toml; nothing of it is run."""
    environ = os.environ
    tools = toolchain.sync(default_cache_dir(environ), HostNetwork.detect(environ), environ=environ)
    argv = [str(tools.python), "-I", str(FETCH_SCRIPT), requirement, str(folder)]
    path = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            file = archive.extractfile(member) if member.isfile() else None
            if name in {"setup.py", "pyproject.toml"} and file is not None:
                found[name] = file.read().decode("utf-8")
    return found


@pytest.mark.parametrize("example", SDISTS)
def test_the_build_gets_the_torch_that_the_sdist_needs(example: str, tmp_path: Path) -> None:
    files = fetch(SDISTS[example], tmp_path)
    pyproject = tomllib.loads(files.get("pyproject.toml", ""))
    declared = map(requirement_name, pyproject.get("build-system", {}).get("requires", ()))
    declares = "torch" in set(declared)

    assert re.search(r"^\s*(import|from) torch\b", files["setup.py"], re.MULTILINE)
    for target in wheels(plan(example)):
        environment = target.steps.environment
        required = set(map(requirement_name, environment.requires))
        assert target.version.partition("+")[0] == SDISTS[example].partition("==")[2]
        assert environment.isolation == declares
        assert ("torch" in required) != declares
        assert "torch" in dict(environment.indexes)
