"""Real wheels from the index: our tag is auditwheel's on all of them.

`wheels.csv` lists them by name and hash, and says why each is there. The 20 marked ``ci`` are the
default; ``--corpus=all --corpus-cache=DIR`` runs all.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.utils import parse_wheel_filename

from orchestrator.models.platforms import Libc
from orchestrator.wheel import Policies, open_wheel, retag
from orchestrator.wheel.scan import scan
from orchestrator.wheel.tags import Observation, summarise

HERE = Path(__file__).parent


class Listed(NamedTuple):
    """A row of `wheels.csv`."""

    name: str
    sha256: str
    bytes: str
    ci: str
    why: str


def listed() -> list[Listed]:
    with (HERE / "wheels.csv").open(encoding="utf-8", newline="") as file:
        return [Listed(**row) for row in csv.DictReader(file)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wheel" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        chosen = [one for one in listed() if every or one.ci]
        metafunc.parametrize("wheel", chosen, ids=lambda one: one.name)


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = request.config.getoption("--corpus-cache")
    return Path(given).absolute() if given else tmp_path_factory.mktemp("corpus")


@pytest.fixture
def path(wheel: Listed, cache: Path, tmp_path: Path) -> Path:
    kept = cache / wheel.name
    if not kept.exists():
        fetch(wheel, cache, tmp_path)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == wheel.sha256
    return kept


def fetch(wheel: Listed, cache: Path, scratch: Path) -> None:
    """Have pip fetch exactly this file: it takes the one whose hash is asked for."""
    name, version, _, tags = parse_wheel_filename(wheel.name)
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{wheel.sha256}\n")
    interpreter = max(tag.interpreter for tag in tags)
    abis = {tag.abi for tag in tags}
    # Which Python takes the file: for the stable ABI and for none, a recent one.
    exact = not abis & {"abi3", "none"}
    version_of_python = interpreter[2:] if exact else "312"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", interpreter[:2] if exact else "cp"]
    command += ["--python-version", version_of_python, "-d", str(cache)]
    for abi in sorted(abis):
        command += ["--abi", abi]
    for platform in sorted({tag.platform for tag in tags}):
        command += ["--platform", platform]
    subprocess.run([*command, "--require-hashes", "-r", str(requirements)], check=True)


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
    wheels = listed()
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
