"""What a library exports that zig links, where GNU's linker has been told what it must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from orchestrator.cross import driver
from orchestrator.host.network import HostNetwork
from orchestrator.models.platforms import Arch
from orchestrator.provision import zig
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import ran
from tests.factories import host

pytestmark = pytest.mark.index

SOURCE = """\
int {name}(void) {{ return 1; }}
__attribute__((weak)) int both(void) {{ return 2; }}
int calls_{name}(void) {{ extern int part(void); return part(); }}
"""


@pytest.fixture(scope="module")
def links(tools: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compilers for another architecture, an object and an archive made by them."""
    cache, network = default_cache_dir(os.environ), HostNetwork.detect(os.environ)
    found = zig.provide(host(cache, tools, os.environ, network), print)
    folder = tmp_path_factory.mktemp("zig")
    places = driver.ZigPaths(root=found.root, cache=found.cache, scratch=folder / "scratch")
    made = driver.zig_driver(Arch.AARCH64, "2.17", places)
    driver.make(folder / "bin", made, driver.program(found, cache))
    for name in ("own", "part"):
        (folder / f"{name}.c").write_text(SOURCE.format(name=name))
        run(folder, "cc", "-fPIC", "-c", f"{name}.c")
    run(folder, "ar", "rcs", "libpart.a", "part.o")
    (folder / "names.map").write_text("{ global: calls_own; local: *; };\n")
    return folder


def run(folder: Path, name: str, *arguments: str) -> None:
    ran(folder / "bin" / name, *arguments, cwd=folder, code=0)


@pytest.mark.parametrize(
    ("flags", "exported"),
    [
        ((), {"own", "both", "calls_own", "part", "calls_part"}),
        (("-Wl,--exclude-libs,ALL",), {"own", "both", "calls_own"}),
        (("-Wl,--exclude-libs,ALL", "-Wl,--version-script=names.map"), {"calls_own"}),
    ],
)
def test_archives_that_are_excluded_export_nothing_of_their_own(
    links: Path, flags: tuple[str, ...], exported: set[str]
) -> None:
    run(links, "cc", "-shared", "own.o", "-L.", "-lpart", *flags, "-o", "made.so")
    with (links / "made.so").open("rb") as file:
        table = ELFFile(file).get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        found = {each.name for each in table.iter_symbols() if each["st_shndx"] != "SHN_UNDEF"}
    assert found == exported
