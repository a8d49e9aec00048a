"""ELF files as linkers other than GNU's write them: the locked zig (lld) stands for those."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from orchestrator.host.network import HostNetwork
from orchestrator.models.platforms import Arch
from orchestrator.provision import zig
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.toolchain import Toolchain
from orchestrator.wheel import Policies, elf, report
from orchestrator.wheel.scan import arch_of
from tests.conftest import ran
from tests.factories import host
from tests.wheelmaker import WheelSpec

pytestmark = pytest.mark.index

MODULE = """\
extern int PyList_New(long);
__attribute__((visibility("default"))) int PyInit_demo(void) { return PyList_New(3); }
int other(void) { return 2; }
"""


@pytest.fixture(scope="module")
def compiler(tools: Toolchain) -> zig.Zig:
    cache, network = default_cache_dir(os.environ), HostNetwork.detect(os.environ)
    return zig.provide(host(cache, tools, os.environ, network), print)


def link(compiler: zig.Zig, folder: Path, source: str, target: str, *flags: str) -> bytes:
    (folder / "x.c").write_text(source)
    # What zig has compiled of a C library is kept for the next test.
    cache = f"ZIG_GLOBAL_CACHE_DIR={compiler.cache}"
    argv = ("cc", f"--target={target}", *flags, "x.c", "-o", "made")
    ran("env", cache, compiler.program, *argv, cwd=folder, code=0)
    return (folder / "made").read_bytes()


@pytest.mark.parametrize("style", ["both", "sysv", "gnu"])
def test_hash_tables_of_s390x(compiler: zig.Zig, tmp_path: Path, style: str) -> None:
    flags = ("-shared", "-fPIC", "-s", f"-Wl,--hash-style={style}", "-Wl,-z,undefs")
    made = link(compiler, tmp_path, MODULE, "s390x-linux-gnu.2.28", *flags)
    info = elf.parse(made)
    assert arch_of(info) is Arch.S390X
    assert info.inits == ("PyInit_demo",)
    assert "PyList_New" in {each.name for each in info.undefined}


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie", "-s")])
def test_static_programs_of_musl(
    compiler: zig.Zig, tmp_path: Path, policies: Policies, flags: tuple[str, ...]
) -> None:
    machine = platform.machine()
    source = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
    made = link(compiler, tmp_path, source, f"{machine}-linux-musl", *flags)
    assert subprocess.check_output(tmp_path / "made", text=True) == "hello\n"
    spec = WheelSpec(python="py3", abi="none", platform=f"linux_{machine}")
    spec.members["demo-1.0.data/scripts/hello"] = made
    seen = report(spec.write(tmp_path), policies)
    libcs = {tag.partition("linux")[0] for tag in (seen.observed_tag, *seen.aliases)}
    assert (libcs, seen.problems) == ({"many", "musl"}, ())
