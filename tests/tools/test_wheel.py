"""What a compiler made and wheels of the index: pyelftools and auditwheel say the same of them.

The example of the docs runs, and harmful wheels take no more memory than they may.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from orchestrator.models.platforms import Arch, Libc
from orchestrator.wheel import Policies, elf, report
from orchestrator.wheel.scan import arch_of
from tests.auditor import audited
from tests.conftest import REPOSITORY, ran
from tests.rawzip import MIB, write
from tests.unit.wheel.test_hostile import INFO, NAME, spread_elf
from tests.unit.wheel.test_library import PAGE
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf

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


@gcc
def test_agrees_with_auditwheel_on_what_gcc_makes(tmp_path: Path, policies: Policies) -> None:
    source = tmp_path / "x.c"
    source.write_text(
        "#include <stdlib.h>\n#include <math.h>\n"
        "double PyInit_x(char *s) { return pow(strtod(s, 0), 2.5) + exp(atof(s)); }\n"
    )
    made = tmp_path / "x.so"
    ran("gcc", "-shared", "-fPIC", "-o", made, source, "-lm", code=0)
    data = made.read_bytes()
    arch = Arch.X86_64 if data[18] == 62 else Arch.AARCH64
    spec = WheelSpec(platform=f"linux_{arch}", members={"x.so": data})
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


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    versions = {"libc.so.6": {"GLIBC_2.17": ("secure_getenv",)}}
    made = ElfSpec(versions=versions, needed=("libc.so.6", "libcudart.so.13"))
    members = {EXTENSION: make_elf(made)}
    WheelSpec(platform="linux_x86_64", members=members, extra_info={}).write(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    done = ran(sys.executable, "-W", "error", "-c", example, cwd=tmp_path, env=env, code=0)

    observed, problems, said = done.stdout.partition("frozenset")
    assert observed.startswith("manylinux_2_17_x86_64 (Reason(file='demo/_ext.")
    assert "secure_getenv" in observed
    assert problems
    assert said.endswith(" 1.0+cu130\n")
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [
        "demo-1.0+cu130-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
    ]


CHILD = """
import resource, sys
from pathlib import Path
from orchestrator.errors import BadWheelError
from orchestrator.wheel import report, verify
from tests.auditor import load_policies
policies = load_policies()
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
for use in (report, verify):
    try:
        for problem in use(Path(sys.argv[2]), policies).problems:
            print(problem.rule)
    except BadWheelError as error:
        print("refused")
"""


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({}, "zip-integrity"),
        ({"strings": 420 * MIB}, "elf-malformed"),
        ({"strings": 90 * MIB}, "zip-integrity"),
    ],
)
def test_memory_is_bounded_for_good(tmp_path: Path, tags: dict[str, int], rule: str) -> None:
    """With 400 MiB of address space, the interpreter's own included."""
    path = tmp_path / NAME
    path.write_bytes(write([INFO, spread_elf(450, **tags)]))
    said = ran(sys.executable, "-c", CHILD, str(400 * MIB), path, code=0)
    assert said.stderr == ""
    assert rule in said.stdout
