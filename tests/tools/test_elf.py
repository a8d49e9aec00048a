"""ELF files that a real compiler made."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from orchestrator.models.platforms import Arch
from orchestrator.wheel import elf
from orchestrator.wheel.scan import arch_of
from tests.conftest import ran

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@gcc
@pytest.mark.parametrize("flags", [(), ("-s",), ("-Wl,--hash-style=sysv",)])
def test_agrees_with_pyelftools_on_what_gcc_makes(tmp_path: Path, flags: tuple[str, ...]) -> None:
    source = tmp_path / "demo.c"
    source.write_text(
        "#include <math.h>\nextern int outside(void);\n"
        "double PyInit_demo(double x) { return pow(x, outside()); }\n"
    )
    made = tmp_path / "demo.so"
    links = ("-Wl,-soname,libdemo.so.3", "-Wl,-rpath,$ORIGIN/x", *flags, "-lm")
    ran("gcc", "-shared", "-fPIC", "-o", made, source, *links, code=0)
    data = made.read_bytes()
    info = elf.parse(data)
    theirs = ELFFile(io.BytesIO(data))
    section = theirs.get_section_by_name(".gnu.version_r")
    assert isinstance(section, GNUVerNeedSection)
    assert info.versions == tuple(
        (need.name, tuple(one.name for one in names)) for need, names in section.iter_versions()
    )
    dynamic = theirs.get_section_by_name(".dynamic")
    assert isinstance(dynamic, DynamicSection)
    tags = [tag for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
    assert list(info.needed) == [getattr(tag, "needed") for tag in tags]  # noqa: B009 - untyped
    assert info.soname == "libdemo.so.3"
    assert info.rpath + info.runpath == ("$ORIGIN/x",)
    assert info.inits == ("PyInit_demo",)
    assert {"outside", "pow"} <= {symbol.name for symbol in info.undefined}
    assert {symbol.library for symbol in info.undefined if symbol.name == "pow"} == {"libm.so.6"}


@gcc
def test_separate_debug_files_need_nothing(tmp_path: Path) -> None:
    source = tmp_path / "demo.c"
    source.write_text("extern int outside(void);\nint f(void) { return outside(); }\n")
    made, debug = tmp_path / "demo.so", tmp_path / "demo.debug"
    ran("gcc", "-g", "-shared", "-fPIC", "-o", made, source, code=0)
    ran("objcopy", "--only-keep-debug", made, debug, code=0)
    info = elf.parse(debug.read_bytes())
    assert (arch_of(info), info.needed, info.undefined) == (Arch.X86_64, (), ())
