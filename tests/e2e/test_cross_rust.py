"""Cross builds by cargo: maturin and PyO3, with Rust out of unpacked packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.models.platforms import Arch
from orchestrator.provision import apt
from orchestrator.provision.apt import Archive, Package
from tests.conftest import lacking, log_of
from tests.e2e.test_cross_projects import built, quoted, write
from tests.factories import program, project_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu, pytest.mark.nightly]

SUITE = "bookworm"
"""Its crate pyo3 knows CPython up to 3.11, and its Rust compiles that."""

ANSWERS = """\
import native
assert native.arch == 'aarch64' and native.half(4) == 2
try:
    native.half(3)
except ValueError:
    pass
else:
    raise SystemExit('no exception')
"""


def is_of_this_host(package: Package) -> bool:
    """Whether a package has what this host has as well: its C library and compiler."""
    names = ("binutils", "cpp", "g++", "gcc", "libc-", "libc6", "libgcc", "libstdc++", "linux-")
    return package.name.startswith(names)


def download(archive: Archive, folder: Path, *names: str, alone: bool = False) -> None:
    """Download packages with what they need, or without."""
    chosen = [
        package.exact
        for package in archive.resolve(*names)
        if (package.name in names if alone else not is_of_this_host(package))
    ]
    archive.fetch(chosen, folder)


@pytest.fixture
def rust(tmp_path: Path) -> Path:
    """The root of a Rust for this machine, with the standard library for aarch64, and of crates."""
    if os.uname().machine != "x86_64":
        lacking("needs a cargo of this machine")
    root, scratch = tmp_path / "rust", tmp_path / "scratch"
    scratch.mkdir()
    here = apt.of_suite(SUITE, scratch, os.environ)
    download(here, scratch / "here", "rustc", "cargo", "librust-pyo3-dev")
    there = apt.of_suite(SUITE, scratch, os.environ, arch=Arch.AARCH64)
    download(there, scratch / "there", "libstd-rust-dev", alone=True)
    for each in ("here", "there"):
        apt.unpack(scratch / each, root)
    libraries = f'LD_LIBRARY_PATH="{root}/usr/lib/x86_64-linux-gnu"'
    for name, argument in (("cargo", ""), ("rustc", f"--sysroot={root}/usr ")):
        call = f'{libraries} exec {root}/usr/bin/{name} {argument}"$@"'
        program(root / "programs" / name, call)
    return root


def test_maturin_cross_compiles_an_extension_of_pyo3(
    emulated: str, rust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It has maturin 1.4.0, as later ones want a later cargo.
    files = {
        name: text.replace("{rust}", str(rust)) for name, text in project_files("maturin").items()
    }
    # What a crate says when it panics names its source.
    flags = f'[env]\nRUSTFLAGS = "--remap-path-prefix={rust}=/rust"\n'
    write(tmp_path, "aarch64", files=files, more=flags + quoted(ANSWERS))
    monkeypatch.setenv("PATH", f"{rust}/programs:{os.environ['PATH']}")
    built(tmp_path, "aarch64")
    log = log_of(tmp_path, "cp311-manylinux_aarch64")
    assert "Compiling pyo3 v0.17" in log
    assert "== test" in log
