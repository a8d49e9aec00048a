"""The example of the docs runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, ran
from tests.unit.wheel.test_library import PAGE
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf


def test_the_example_of_the_docs_runs(spec: WheelSpec, tmp_path: Path) -> None:
    versions = {"libc.so.6": {"GLIBC_2.17": ("secure_getenv",)}}
    elf = ElfSpec(versions=versions, needed=("libc.so.6", "libcudart.so.13"))
    members = {EXTENSION: make_elf(elf)}
    WheelSpec(platform="linux_x86_64", members=members, extra_info={}).write(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    done = ran(sys.executable, "-W", "error", "-c", example, cwd=tmp_path, env=env, code=0)

    observed, problems, said = done.stdout.partition("frozenset")
    assert observed.startswith("manylinux_2_17_x86_64 (Reason(file='demo/_ext.")
    assert "secure_getenv" in observed
    assert problems
    assert said.endswith(" 1.0+cu130\n")
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [
        "demo-1.0+cu130-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    ]
