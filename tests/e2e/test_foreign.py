"""Native compilers in emulated containers: the same wheel, and what is unusual works, or says why.

The projects are built for aarch64 under QEMU with podman; the compilers come from the
distribution's packages, into the user's cache.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from orchestrator.wheel.elf import ElfInfo, parse
from tests.conftest import log_of, orchestrator, results
from tests.factories import project_file, project_files, write_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]


def write(folder: Path, image: str, files: dict[str, str], more: str = "", **parts: str) -> None:
    """Write project and matrix."""
    write_files(folder / "project", files)
    given = {"axes": "", "version": "", "cache": "off", **parts}
    (folder / "matrix.toml").write_text(
        project_file("foreign.toml").format(image=image, **given) + more
    )


def built(folder: Path, *arguments: str) -> dict[str, Any]:
    orchestrator("build", *arguments, cwd=folder, code=0)
    return results(folder / "dist")


def parts(folder: Path, result: dict[str, Any]) -> dict[str, bytes]:
    """Module of a wheel -> its contents."""
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        return {each: archive.read(each) for each in archive.namelist() if each.endswith(".so")}


def modules(folder: Path, result: dict[str, Any]) -> dict[str, ElfInfo]:
    return {name: parse(data) for name, data in parts(folder, result).items()}


def exported(folder: Path, result: dict[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
    """Module -> (name, type, binding) of what it defines for others."""
    found = {}
    for name, data in parts(folder, result).items():
        table = ELFFile(io.BytesIO(data)).get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        found[name] = {
            (symbol.name, symbol["st_info"]["type"], symbol["st_info"]["bind"])
            for symbol in table.iter_symbols()
            if symbol["st_shndx"] != "SHN_UNDEF"
        }
    return found


def assert_needs_are_equal(one: dict[str, ElfInfo], other: dict[str, ElfInfo]) -> None:
    """The modules of two wheels ask for the same symbols of the same libraries."""
    assert one.keys() == other.keys()
    for name, info in one.items():
        assert info.undefined == other[name].undefined
        assert info.versions == other[name].versions
        assert info.needed == other[name].needed


def described(folder: Path, result: dict[str, Any]) -> dict[str, str]:
    """Member -> its text, of what says what is in a wheel, and what built it."""
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        texts = {
            re.sub(r"\+\w+", "", each): re.sub(r"\+\w+", "", archive.read(each).decode())
            for each in archive.namelist()
            if each.endswith(("/METADATA", "/WHEEL", "/top_level.txt"))
        }
        return {**texts, "names": re.sub(r"\+\w+", "", "\n".join(sorted(archive.namelist())))}


BOTH = """
[env]
VERSION = "{version}"
[[override]]
when = { mode = "full" }
build = { emulation = "full" }
"""


def test_cibuildwheel_makes_the_same_wheel_with_native_compilers(
    emulated: str, tmp_path: Path
) -> None:
    both = {"axes": 'mode = ["full", "accelerated"]', "version": 'local = "{mode}"'}
    write(tmp_path, emulated, project_files("two"), BOTH, **both)

    found = built(tmp_path)

    full, fast = (found[f"cp311-manylinux_aarch64-{mode}"] for mode in ("full", "accelerated"))
    assert {full["backend"], fast["backend"]} == {"cibuildwheel"}
    assert full["compiled"]["emulation"] == "full"
    assert full["compiled"]["native"] is None
    assert fast["compiled"]["emulation"] == "accelerated", fast["compiled"]
    assert fast["compiled"]["native"] == 4, "two compilations and two links"
    assert fast["compiled"]["emulated"] == 0
    assert fast["compiled"]["installer"].startswith("native uv ")
    assert full["compiled"]["installer"] == ""
    assert fast["wheel"]["observed_tag"] == full["wheel"]["observed_tag"]
    before, now = modules(tmp_path, full), modules(tmp_path, fast)
    assert_needs_are_equal(now, before)
    for name, info in now.items():
        assert info.inits == before[name].inits
        assert info.align >= 1 << 16
        assert not info.rpath
        assert not info.runpath
    assert exported(tmp_path, fast) == exported(tmp_path, full)
    assert described(tmp_path, fast) == described(tmp_path, full)
    log = log_of(tmp_path, "cp311-manylinux_aarch64-accelerated")
    assert "emulation accelerated: compiled by native g++-" in log
    assert "installed by native uv " in log
    assert "+ uv build --python=/opt/python/cp311-cp311/bin/python /project --wheel" in log
    assert "importing cxx_part" in log
    with zipfile.ZipFile(tmp_path / "dist" / fast["wheel"]["filename"]) as archive:
        assert not [each for each in archive.namelist() if b"orchestrator-" in archive.read(each)]


CROSSING = """
[test]
command = '''python -c "
import catcher, thrower
print('CAUGHT', catcher.catch_it(thrower.function), catcher.catch_it(thrower.function))
try:
    catcher.pass_it(thrower.function)
except thrower.Shared as error:
    print('PASSED', error)
print('ON', next(line for line in open('/proc/cpuinfo') if 'CPU implementer' in line))
{more}"'''
"""
"""Exceptions cross from one module to another, and the processor is one of the architecture."""


def test_what_is_unusual_works_with_native_compilers_or_is_refused_as_by_the_images_own(
    emulated: str, tmp_path: Path
) -> None:
    check = CROSSING.format(more="import plain; print('PLAIN', plain.all())\n")
    write(tmp_path, emulated, project_files("odd"), check, cache="local")

    found = built(tmp_path, "--backend=direct")

    target = "cp311-manylinux_aarch64"
    result, log = found[target], log_of(tmp_path, target)
    assert result["backend"] == "direct"
    assert result["compiled"]["emulation"] == "accelerated", result["compiled"]
    assert result["compiled"]["native"] > 0
    assert "installed by native uv" in log
    assert re.search(r"Installed \d+ packages", log)  # uv's words
    assert "CAUGHT thrown1 thrown2" in log
    assert "PASSED thrown" in log
    plain = re.search(r"PLAIN (.*)", log)
    assert plain
    assert plain[1] == "(5, 42, 'two words', 'with spaces/answer.c', 7, 5, 4, 113)"
    assert re.search(r"broken\.c:1:\d+: error: .undeclared_name. undeclared", log)
    for flag in ("-march=haswell", "-msse4.2", "-m64"):
        assert re.search(rf"CALL 1 cc {re.escape(flag)} .* \| .*: error: .*{flag[1:5]}", log)
    assert "CALL 0 gcc -dumpmachine | aarch64-linux-gnu" in log
    assert "/opt/orchestrator" not in log.split("-print-file-name=libstdc++.so |")[1].split("\n")[0]
    info = modules(tmp_path, result)
    assert len(info) == 3
    plain_module = next(each for name, each in info.items() if name.startswith("plain"))
    assert plain_module.inits == ("PyInit_plain",)
