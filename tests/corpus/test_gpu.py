"""Real wheels with code for NVIDIA's GPUs: our reader finds what cuobjdump finds in each file.

`gpu_wheels.csv` lists them by name and hash, with the pieces of code that they have, and the number
of files that cuobjdump gives up on, such as those with code for sm_35. The ten marked ``ci`` are
the default; ``--corpus=all --corpus-cache=DIR`` runs all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.models.wheel import DeviceKind
from orchestrator.wheel import open_wheel
from orchestrator.wheel.scan import scan
from tests.corpus.listed import HERE, Listed, listed

SCRIPT = HERE.parents[1] / "benchmarks" / "gpu_wheels.py"


WHEELS = "gpu_wheels.csv"


@pytest.fixture(scope="module")
def cuobjdump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuobjdump")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, "nvidia-cuda-cuobjdump==13.5.*"], check=True)
    return next(folder.rglob("bin/cuobjdump"))


@pytest.mark.index
def test_the_code_is_what_cuobjdump_finds(path: Path, wheel: Listed, cuobjdump: Path) -> None:
    with open_wheel(path) as archive:
        devices = scan(archive).devices.values()
    nvidia = {DeviceKind.SASS, DeviceKind.PTX}
    pieces = [each for device in devices for each in device.entries if each.kind in nvidia]
    assert len(pieces) == int(wheel.pieces)
    command = [sys.executable, str(SCRIPT), str(path), f"--cuobjdump={cuobjdump}"]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    count, *lines = said.splitlines()
    assert count.endswith(f" {wheel.given_up} do not"), said
    assert ["fatal" in line for line in lines] == [True] * int(wheel.given_up), said


def test_the_corpus_is_wide_enough() -> None:
    wheels = listed(WHEELS)
    assert len(wheels) >= 30
    assert len({one.sha256 for one in wheels}) == len(wheels)
    assert sum(bool(one.ci) for one in wheels) == 10
    assert sum(int(one.bytes) for one in wheels if one.ci) < 40_000_000
    words = {word for one in wheels for word in one.why.split("; ")}
    wanted = {f"cudart {major}" for major in (10, 11, 12, 13)}
    assert words >= wanted | {"PTX", "lz4", "zstd", "sm_90a", "relocatable", "before sm_50"}
