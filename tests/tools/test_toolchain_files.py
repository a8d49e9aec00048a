"""What a cross build tells build systems, and what it understands of their failures."""

from __future__ import annotations

import configparser
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from orchestrator.builders import direct_zig
from orchestrator.cross.toolchain_files import CrossBuild
from orchestrator.models.platforms import CROSSED, Arch
from tests.conftest import ran

SCRIPTS = Path(direct_zig.__file__).parent / "scripts"


def crossing(arch: Arch) -> CrossBuild:
    return CrossBuild(arch=arch, here=Arch.X86_64, own=Path("/own"))


@pytest.mark.parametrize("arch", sorted(CROSSED))
def test_every_build_system_is_told_of_every_architecture(arch: Arch) -> None:
    told = crossing(arch)
    file = configparser.ConfigParser()
    file.read_string(told.meson())
    assert file["host_machine"]["cpu_family"] == f"'{arch}'"
    assert f'set(CMAKE_SYSTEM_PROCESSOR "{arch}")' in told.cmake()
    variables = told.variables()
    assert variables["CARGO_BUILD_TARGET"] == arch.facts.rust_target
    linker = f"CARGO_TARGET_{arch.facts.rust_target.upper().replace('-', '_')}_LINKER"
    here = variables["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"]
    assert here == "/own/here/cc"
    assert (variables[linker] == here) == (arch is Arch.X86_64)
    assert told.hooks("m", ".so")["_PYTHON_HOST_PLATFORM"] == f"linux-{arch}"


def test_nvcc_and_cmake_are_told_of_cuda() -> None:
    told = CrossBuild(arch=Arch.AARCH64, here=Arch.X86_64, own=Path("/own"), cuda="/cuda")
    assert 'set(CMAKE_FIND_ROOT_PATH "/own/python;/cuda")' in told.cmake()
    variables = told.variables()
    assert variables["CUDACXX"] == "/cuda/bin/nvcc"
    assert variables["NVCC_CCBIN"] == variables["CUDAHOSTCXX"] == "/own/bin/g++"
    assert not {"CUDACXX", "NVCC_CCBIN"} & set(crossing(Arch.AARCH64).variables())


def test_python_config_speaks_of_the_target(tmp_path: Path) -> None:
    script = tmp_path / "python3-config"
    script.write_text(crossing(Arch.RISCV64).config(".cpython-313t-riscv64-linux-gnu.so", "t"))
    script.chmod(0o755)

    def said(*asked: str, code: int = 0) -> str:
        return ran(script, *asked, code=code).stdout.strip()

    assert said("--extension-suffix") == ".cpython-313t-riscv64-linux-gnu.so"
    assert said("--abiflags") == "t"
    assert said("--includes") == "-I/own/python/include"
    assert said("--configdir").endswith("riscv64-linux-gnu")
    assert said("--ldflags", "--embed") == ""
    assert said("--nonsense", code=1) == ""


def derived(folder: Path, triplet: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Settings, pyconfig.h and facts of another architecture, by the Python that runs this."""
    question = folder / "question.json"
    tools = {"cc": "other-gcc", "c++": "other-g++", "ar": "other-ar"}
    place = {"triplet": triplet, "folder": str(folder / "made"), "headers": [], "tools": tools}
    question.write_text(json.dumps(place), encoding="utf-8")
    ran(sys.executable, "-I", SCRIPTS / "cross_python.py", question, code=0)
    facts = json.loads((folder / "made/facts.json").read_text("utf-8"))
    found: dict[str, Any] = {}
    exec((folder / "made/lib" / f"{facts['module']}.py").read_text("utf-8"), found)  # noqa: S102
    config = (folder / "made/include/pyconfig.h").read_text("utf-8")
    return found["build_time_vars"], config, facts


@pytest.mark.parametrize("arch", sorted(CROSSED))
def test_settings_of_another_architecture_name_nothing_of_this_one(
    tmp_path: Path, arch: str
) -> None:
    triplet = f"{arch}-linux-gnu"
    settings, config, facts = derived(tmp_path, triplet)
    own = sysconfig.get_config_var("MULTIARCH")
    assert facts["flags"] in {"", "t"}
    assert facts["suffix"].endswith(f"-{triplet}.so")
    assert settings["EXT_SUFFIX"] == facts["suffix"]
    assert settings["MULTIARCH"] == triplet
    assert settings["LDSHARED"] == "other-gcc -shared"
    named = "EXT_SUFFIX SOABI CC LDSHARED CFLAGS LDFLAGS HOST_GNU_TYPE LIBDIR"
    leftovers = [name for name in named.split() if own in str(settings.get(name))]
    assert not leftovers or own == triplet
    assert "#define SIZEOF_LONG __SIZEOF_LONG__" in config
    assert ("#define HAVE_GCC_ASM_FOR_X64 1" in config) == (arch == "x86_64")


def asked(program: str, folder: Path, **env: str) -> str:
    """What a program says whose Python has imported the script."""
    path = folder / program
    path.write_text("import cross_uname, platform\nprint(platform.machine())\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS), **env}
    return ran(sys.executable, path, env=env, code=0).stdout.strip()


def test_hooks_are_on_the_targets_machine_and_meson_is_on_this_one(tmp_path: Path) -> None:
    own, told = os.uname().machine, {"_PYTHON_HOST_PLATFORM": "linux-riscv64"}
    assert asked("setup.py", tmp_path, **told) == "riscv64"
    assert asked("meson", tmp_path, **told) == own
    assert asked("setup.py", tmp_path) == own


RUNS = "runs a program that it compiled"
KNOWN = {
    "./gen: 1: \x7fELF: not found": RUNS,
    "OSError: [Errno 8] Exec format error: './gen'": RUNS,
    "sh: ./gen: cannot execute: required file not found": RUNS,
    "qemu-aarch64: Could not open '/lib/ld-linux-aarch64.so.1': No such file or directory": RUNS,
    "configure: error: cannot run C compiled programs.": RUNS,
    "  TRY_RUN() invoked in cross-compiling mode, please set": RUNS,
    "meson.build:3:0: ERROR: Can not run test applications in this cross environment.": RUNS,
    'error: unable to find dynamic system library "z" using strategy paths_first.': (
        "links a library that is not in its source: z"
    ),
    "ld.lld: error: /env/libnpymath.a(x.o) is incompatible with aarch64linux": (
        "for another architecture than {arch}"
    ),
    "gcc: error: -mavx2: is for x86, and this builds for aarch64 [refused]": (
        "refused -mavx2: is for x86"
    ),
    "c++: error: a.o: needs OpenMP, and zig has no runtime for it [refused]": (
        "refused a.o: needs OpenMP"
    ),
    "error[E0463]: can't find crate for `core`": "no standard library for {rust}",
}


@pytest.mark.parametrize(("line", "words"), KNOWN.items())
def test_a_known_failure_is_named(line: str, words: str) -> None:
    reasons = (direct_zig.REFUSED, *direct_zig._CROSS_REASONS)
    (found,) = [(each, match) for each in reasons if (match := each.pattern.search(line))]
    reason, match = found
    groups = {name: text for name, text in match.groupdict().items() if text}
    said = reason.what.format_map({"arch": "{arch}", "rust": "{rust}", **groups})
    assert words in said


@pytest.mark.parametrize(
    "line",
    [
        "aarch64-linux-gnu-gcc -c native.c -o native.o",
        "native.c:3:1: error: unknown type name 'x'",
        "error: command 'aarch64-linux-gnu-gcc' failed with exit code 1",
    ],
)
def test_what_is_the_projects_own_affair_is_not(line: str) -> None:
    reasons = (direct_zig.REFUSED, *direct_zig._CROSS_REASONS)
    assert not [each for each in reasons if each.pattern.search(line)]
