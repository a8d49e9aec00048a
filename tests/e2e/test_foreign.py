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
from tests.conftest import orchestrator, results
from tests.factories import project_file, project_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]

MATRIX = project_file("foreign.toml")


def write(folder: Path, image: str, files: dict[str, str], more: str = "", **parts: str) -> None:
    """Write project and matrix."""
    for name, text in files.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    given = {"axes": "", "version": "", "cache": "off", **parts}
    (folder / "matrix.toml").write_text(MATRIX.format(image=image, **given) + more)


def built(folder: Path, *arguments: str) -> dict[str, Any]:
    said = orchestrator("build", *arguments, cwd=folder)
    assert said.code == 0, said.all
    return results(folder / "dist")


def modules(folder: Path, result: dict[str, Any]) -> dict[str, ElfInfo]:
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        names = [each for each in archive.namelist() if each.endswith(".so")]
        return {each: parse(archive.read(each)) for each in names}


def exported(folder: Path, result: dict[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
    """Module -> (name, type, binding) of what it defines for others."""
    found = {}
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        for each in archive.namelist():
            if each.endswith(".so"):
                file = ELFFile(io.BytesIO(archive.read(each)))
                table = file.get_section_by_name(".dynsym")
                assert isinstance(table, SymbolTableSection)
                found[each] = {
                    (symbol.name, symbol["st_info"]["type"], symbol["st_info"]["bind"])
                    for symbol in table.iter_symbols()
                    if symbol["st_shndx"] != "SHN_UNDEF"
                }
    return found


def described(folder: Path, result: dict[str, Any]) -> dict[str, str]:
    """Member -> its text, of what says what is in a wheel, and what built it."""
    with zipfile.ZipFile(folder / "dist" / result["wheel"]["filename"]) as archive:
        texts = {
            re.sub(r"\+\w+", "", each): re.sub(r"\+\w+", "", archive.read(each).decode())
            for each in archive.namelist()
            if each.endswith(("/METADATA", "/WHEEL", "/top_level.txt"))
        }
        return {**texts, "names": re.sub(r"\+\w+", "", "\n".join(sorted(archive.namelist())))}


def log_of(folder: Path, target: str) -> str:
    return (folder / ".orchestrator/logs" / f"{target}.log").read_text()


TWO = project_files("two")

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
    write(
        tmp_path,
        emulated,
        TWO,
        BOTH,
        axes='mode = ["full", "accelerated"]',
        version='local = "{mode}"',
    )

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
    assert before.keys() == now.keys()
    for name, info in now.items():
        assert info.undefined == before[name].undefined
        assert info.versions == before[name].versions
        assert info.needed == before[name].needed
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


ODD = project_files("odd")

CHECK = """
[test]
command = '''python -c "
import catcher, plain, thrower
print('CAUGHT', catcher.catch_it(thrower.function), catcher.catch_it(thrower.function))
try:
    catcher.pass_it(thrower.function)
except thrower.Shared as error:
    print('PASSED', error)
print('PLAIN', plain.all())
"'''
"""


def test_what_is_unusual_works_with_native_compilers_or_is_refused_as_by_the_images_own(
    emulated: str, tmp_path: Path
) -> None:
    write(tmp_path, emulated, ODD, CHECK, cache="local")

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
