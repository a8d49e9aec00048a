"""Real wheels from the index: our tag is auditwheel's on all of them.

`wheels.csv` lists them by name and hash, and says why each is there. The 20 marked ``ci`` are the
default; ``--corpus=all --corpus-cache=DIR`` runs all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.platforms import Libc
from orchestrator.wheel import Policies, open_wheel, retag
from orchestrator.wheel.scan import scan
from orchestrator.wheel.tags import Observation, summarise
from tests.corpus.listed import HERE, listed

WHEELS = "wheels.csv"


def audited(path: Path) -> dict[str, Any]:
    """Return auditwheel's verdict; see `audit.py`."""
    command = [sys.executable, str(HERE / "audit.py"), str(path)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


@pytest.mark.index
def test_the_tag_is_auditwheels(path: Path, policies: Policies, tmp_path: Path) -> None:
    theirs = audited(path)
    with open_wheel(path) as archive:
        report, seen = summarise(archive, scan(archive), policies, ())
    assert seen is not None
    assert seen.symbol_tag == theirs["sym_tag"]
    assert {one.rule for one in report.problems} <= {"external-library", "library-unreachable"}
    ours = outside(seen)
    others = set(theirs["external"][report.observed_tag])
    if seen.libc is Libc.MUSLLINUX:
        # musl's loader takes every name of this kind for itself (ldso/dynlink.c, load_library);
        # auditwheel knows the name only that distributions give it, and says linux_*.
        others -= {"libc.so"}
    assert ours == others
    if not ours and not theirs["external"][report.observed_tag]:
        assert report.observed_tag == theirs["overall_tag"]
    copy = retag(path, dest_dir=tmp_path / "copy", build_tag="7")
    with open_wheel(copy) as archive:
        again, _ = summarise(archive, scan(archive), policies, ())
    assert (again.steps, again.elf_files) == (report.steps, report.elf_files)


def outside(seen: Observation) -> set[str]:
    """Return what auditwheel calls external: what is in the wheel and not found is, too."""
    return {name for name, _ in seen.external_libs} | {each.library for each in seen.unreachable}


def test_the_corpus_is_wide_enough() -> None:
    wheels = listed(WHEELS)
    assert len(wheels) >= 150
    assert len({one.sha256 for one in wheels}) == len(wheels)
    assert sum(bool(one.ci) for one in wheels) == 20
    assert sum(int(one.bytes) for one in wheels if one.ci) < 20_000_000
    words = {word for one in wheels for word in one.why.split("; ")}
    arches = ("x86_64", "aarch64", "ppc64le", "s390x", "armv7l", "riscv64", "i686")
    wanted = {f"{libc} {arch}" for libc in Libc for arch in arches}
    wanted |= {"C", "C++", "Rust", "Go", "Fortran", "CUDA", "grafted libraries"}
    wanted |= {"abi3", "free-threaded", "PyPy", "executable", "old Python"}
    assert wanted <= words
