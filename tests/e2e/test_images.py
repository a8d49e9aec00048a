"""The images that the other tests build in are the product's own, and the same every time."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IMAGES, lacking, orchestrator, podman

pytestmark = [pytest.mark.engine, pytest.mark.index]

LAYOUT = """
set -e
/opt/python/cp39-cp39/bin/python -c 'import sys; assert sys.version_info[:2] == (3, 11)'
/opt/python/cp311-cp311/bin/python -c 'import build, pip, virtualenv'
/opt/python/cp311-cp311/bin/python -c '
import base64, hashlib, importlib.metadata as m
for dist in ("build", "pip", "virtualenv"):
    for file in m.files(dist):
        if file.hash:
            found = hashlib.sha256(file.locate().read_bytes()).digest()
            assert base64.urlsafe_b64encode(found).rstrip(b"=").decode() == file.hash.value, file
'
auditwheel --version >/dev/null
uv --version >/dev/null
patchelf --version
"""


def test_an_image_holds_what_cibuildwheel_and_people_look_for(engine: str) -> None:
    image = f"{IMAGES}:bookworm-x86_64"
    said = podman("run", "--rm", "--network=none", image, "sh", "-c", LAYOUT)
    assert said.code == 0, said.all
    numbers = said.stdout.split()[1].split(".")
    assert tuple(map(int, numbers[:3])) >= (0, 14, 5), "the oldest patchelf auditwheel takes"
    labels = json.loads(podman("image", "inspect", image).stdout)[0]["Labels"]
    assert labels["org.orchestrator.libc"] == "glibc-2.36"
    assert labels["org.orchestrator.python"] == "cp311"


def make(output: Path) -> dict[str, Any]:
    """Make an image file; return its ID and configuration."""
    command = ("image", "build", "bookworm", "x86_64", "--output", output)
    said = orchestrator(*command, cwd=output.parent, code=0)
    assert said.stdout.startswith(f"{IMAGES}:bookworm-x86_64 sha256:")
    assert said.stdout.rstrip().endswith("glibc-2.36 cp311-cp311")
    with tarfile.open(output) as archive:
        name = next(each for each in archive.getnames() if each != "manifest.json")
        stored = archive.extractfile(name)
        assert stored is not None
        return {"Id": name.removesuffix(".json"), **json.load(stored)}


def test_an_image_is_the_same_every_time(engine: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        lacking("needs root: an image is a file system with owners of its own")
    made = make(tmp_path / "one.tar")
    loaded = json.loads(podman("image", "inspect", f"{IMAGES}:bookworm-x86_64").stdout)[0]
    recipe = loaded["Labels"].get("org.orchestrator.recipe")
    same = made["config"]["Labels"]["org.orchestrator.recipe"] == recipe
    if not same or loaded["Created"] != made["created"]:
        # The one that is loaded was made by other code, or from another state of the archive.
        loaded = make(tmp_path / "two.tar")
    assert loaded["Id"] == made["Id"]
