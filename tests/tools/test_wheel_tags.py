"""Tags of what a real compiler made and of real wheels, against auditwheel."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.models.platforms import Arch, Libc
from orchestrator.wheel import Policies, report
from tests.auditor import audited
from tests.conftest import ran
from tests.wheelmaker import WheelSpec


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_agrees_with_auditwheel_on_what_gcc_makes(tmp_path: Path, policies: Policies) -> None:
    source = tmp_path / "x.c"
    source.write_text(
        "#include <stdlib.h>\n#include <math.h>\n"
        "double PyInit_x(char *s) { return pow(strtod(s, 0), 2.5) + exp(atof(s)); }\n"
    )
    made = tmp_path / "x.so"
    ran("gcc", "-shared", "-fPIC", "-o", made, source, "-lm", code=0)
    elf = made.read_bytes()
    arch = Arch.X86_64 if elf[18] == 62 else Arch.AARCH64
    spec = WheelSpec(platform=f"linux_{arch}", members={"x.so": elf})
    path = spec.write(tmp_path)
    assert report(path, policies).observed_tag == audited(path, Libc.MANYLINUX, arch).symbols


WHEELS = [
    ("numpy==2.3.5", "manylinux_2_28_x86_64", "3.12"),
    ("markupsafe==3.0.3", "manylinux_2_17_aarch64", "3.12"),
    ("markupsafe==3.0.3", "musllinux_1_2_x86_64", "3.13"),
    ("cryptography==46.0.3", "manylinux_2_28_x86_64", "3.12"),
    ("cryptography==46.0.3", "musllinux_1_2_aarch64", "3.12"),
    ("msgpack==1.1.2", "manylinux_2_17_x86_64", "3.12"),
    ("msgpack==1.1.2", "manylinux_2_17_aarch64", "3.12"),
]


@pytest.mark.index
@pytest.mark.parametrize(("requirement", "platform", "python"), WHEELS)
def test_agrees_with_auditwheel_show(
    tmp_path: Path, policies: Policies, requirement: str, platform: str, python: str
) -> None:
    where = [f"--python-version={python}", f"--platform={platform}", f"--dest={tmp_path}"]
    if "_2_28_" in platform:
        where.append(f"--platform={platform.replace('_2_28_', '_2_27_')}")
    download = ("-m", "pip", "download", "-q", "--only-binary=:all:", "--no-deps")
    ran(sys.executable, *download, *where, requirement, code=0)
    (path,) = tmp_path.glob("*.whl")
    show = ran(sys.executable, "-m", "auditwheel", "show", "--json", path, code=0)
    theirs = json.loads(show.stdout)
    got = report(path, policies)
    assert (got.observed_tag, got.problems) == (theirs["sym_tag"], ())
