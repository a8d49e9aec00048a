"""What makes a file a module that Python imports: its function, its stack, the stable ABI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.wheel import Finding
from orchestrator.wheel import Policies, abi3, elf
from tests.binarymaker import MachOSpec, PeSpec, make_fat, make_pe
from tests.unit.wheel.conftest import EXPECTED, Inspector
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

MUSL = ElfSpec(needed=("libc.musl-x86_64.so.1",))


def module(
    *defined: str, name: str = "demo/_ext.abi3.so", tag: str = "cp39-abi3", **more: Any
) -> WheelSpec:
    """Make a wheel of one module; `more` is of the file, but for `platform`."""
    python, abi = tag.split("-")
    spec = WheelSpec(python=python, abi=abi, platform=more.pop("platform", WheelSpec.platform))
    spec.members[name] = make_elf(ElfSpec(defined=defined, **more))
    return spec


# The function that Python calls


@pytest.mark.parametrize(
    ("defined", "tag", "name", "said"),
    [
        (("PyInit__ext",), "cp39-abi3", "demo/_ext.abi3.so", ""),
        (("PyInit__ext",), "cp312-cp312", "_ext.cpython-312-x86_64-linux-gnu.so", ""),
        ((), "cp39-abi3", "demo/_ext.abi3.so", "no PyInit__ext or PyModExport__ext"),
        ((), "cp312-cp312", "_ext.cpython-312-x86_64-linux-gnu.so", "no PyInit__ext"),
        (("PyInit_ext",), "cp39-abi3", "demo/_ext.abi3.so", "it has PyInit_ext"),
        (("PyModExport_ext",), "cp315-abi3", "_ext.abi3.so", "it has PyModExport_ext"),
        (("PyModExport__ext",), "cp315-abi3.abi3t", "_ext.abi3t.so", ""),
        (("PyModExport__ext",), "cp315-abi3t", "_ext.abi3t.so", ""),
        (("PyModExport__ext",), "cp315-cp315", "_ext.cpython-315-x86_64-linux-gnu.so", ""),
        (("PyModExport__ext",), "cp314-abi3", "_ext.abi3.so", "before 3.15"),
        (("PyModExport__ext", "PyInit__ext"), "cp314-abi3", "_ext.abi3.so", ""),
        (("PyModExport__ext",), "cp315-cp315", "demo/_ext.so", ""),
        (("PyInitU_x",), "cp39-abi3", "demo/tö.abi3.so", "no PyInitU_t_1ga"),
        (("PyInitU_t_1ga",), "cp39-abi3", "demo/tö.abi3.so", ""),
        (
            ("_cffi_pypyinit__ext",),
            "pp311-pypy311_pp73",
            "_ext.pypy311-pp73-x86_64-linux-gnu.so",
            "",
        ),
        (("PyInit_demo",), "cp312-cp312", "demo/__init__.cpython-312-x86_64-linux-gnu.so", ""),
        (("PyInit_demo",), "cp312-cp312", "demo/__init__.so", ""),
        (("PyInit___init__",), "cp39-abi3", "demo/__init__.abi3.so", "no PyInit_demo"),
        ((), "py3-none", "demo/libx.so", ""),
    ],
)
def test_a_module_has_its_function(
    inspector: Inspector, defined: tuple[str, ...], tag: str, name: str, said: str
) -> None:
    found = inspector.findings(module(*defined, name=name, tag=tag))
    assert [each.rule for each in found] == (["module-init"] if said else [])
    assert all(said in each.message for each in found)


def test_what_registers_operators_of_torch_need_not_be_a_module(inspector: Inspector) -> None:
    for spec in (module(needed=("libc10.so",)), module(undefined=("aoti_torch_new_handle",))):
        found = [each for each in inspector.findings(spec) if each.rule == "module-init"]
        assert [each.severity for each in found] == ["warning"]


def test_a_library_that_ctypes_loads_may_be_named_like_a_module(inspector: Inspector) -> None:
    """pycryptodome's are; what uses Python is a module that nobody can import."""
    for undefined, severity in (((), "warning"), (("PyLong_FromLong",), "error")):
        found = inspector.findings(module(undefined=undefined))
        assert [(each.rule, each.severity) for each in found] == [("module-init", severity)]


@pytest.mark.parametrize(
    ("abi3", "tag", "serves"),
    [
        ("cp315t", "cp315-abi3.abi3t", True),
        ("cp315t", "cp315-abi3t", True),
        ("cp315t", "cp315-abi3", False),
        ("cp315t", "cp316-abi3.abi3t", False),
        ("cp315", "cp315-abi3.abi3t", True),
        ("cp315", "cp315-abi3t", False),
    ],
)
def test_a_planned_stable_abi(inspector: Inspector, abi3: str, tag: str, *, serves: bool) -> None:
    expected = replace(EXPECTED, abi3=abi3, python=abi3)
    spec = module("PyInit__ext", "PyModExport__ext", name="_ext.abi3t.so", tag=tag)
    found = [each for each in inspector.findings(spec, expected) if each.rule == "planned-python"]
    assert (found == []) is serves


# Stacks


@pytest.mark.parametrize(
    ("stack", "arch", "bad"),
    [
        (6, Arch.X86_64, False),
        (7, Arch.X86_64, True),
        (0, Arch.X86_64, True),
        (0, Arch.I686, True),
        (0, Arch.ARMV7L, True),
        (0, Arch.S390X, True),
        (0, Arch.AARCH64, False),
        (0, Arch.PPC64LE, False),
        (7, Arch.AARCH64, True),
    ],
)
def test_executable_stacks(inspector: Inspector, stack: int, arch: Arch, *, bad: bool) -> None:
    spec = module("PyInit__ext", stack=stack, arch=arch, platform=f"manylinux_2_41_{arch}")
    found = [each.rule for each in inspector.findings(spec) if each.severity == "error"]
    assert found == (["executable-stack"] if bad else [])


def test_musl_gives_no_executable_stack_and_programs_get_one(inspector: Inspector) -> None:
    musl = module("PyInit__ext", needed=MUSL.needed, stack=7, platform="musllinux_1_2_x86_64")
    assert inspector.rules(musl) == []
    program = ElfSpec(pie=True, interpreter="/lib64/ld-linux-x86-64.so.2", stack=7)
    spec = module("PyInit__ext")
    spec.members["demo/tool"] = make_elf(program)
    assert inspector.rules(spec) == []


# The stable ABI

LISTED = """
_FUNCTIONS: Final = {
    Symbol(name="PyLong_AsLong", visibility=None): Function(
        symbol=Symbol(name="PyLong_AsLong", visibility=None), added=PyVersion(major=3, minor=2),
    ),
    Symbol(name="PyType_GetModule"): Function(
        symbol=Symbol(name="PyType_GetModule"), added=PyVersion(major=3, minor=10)
    ),
    Symbol(name="PyModule_Exec"): Function(
        symbol=Symbol(name="PyModule_Exec"), added=PyVersion(major=3, minor=15)
    ),
}
_DATAS = {Symbol(name="PyExc_OSError"): Data(
    symbol=Symbol(name="PyExc_OSError"), added=PyVersion(major=3, minor=2))}
"""


OUTSIDE_ABI: dict[str, Any] = {"undefined": ("_PyLong_Sign",), "defined": ("PyInit_x",)}


@pytest.fixture
def abi_inspector(inspector: Inspector) -> Inspector:
    policies = {(libc, arch): inspector.policies.of(libc, arch) for libc in Libc for arch in Arch}
    return replace(inspector, policies=Policies(policies, LISTED))


def test_the_list_is_read() -> None:
    known = {"PyLong_AsLong": 2, "PyType_GetModule": 10, "PyModule_Exec": 15, "PyExc_OSError": 2}
    assert abi3.read(LISTED) == known


@pytest.mark.parametrize("text", ["", "(", "x = 1", "Function(symbol=1, added=2)", "Data()"])
def test_another_list_is_a_broken_toolchain(text: str) -> None:
    with pytest.raises(EnvironmentProblemError, match="stable ABI cannot be read"):
        abi3.read(text)


@pytest.mark.parametrize(
    ("tag", "name", "undefined", "said"),
    [
        ("cp39-abi3", "_ext.abi3.so", ("PyLong_AsLong", "PyExc_OSError"), ""),
        ("cp39-abi3", "_ext.abi3.so", ("_PyLong_Sign",), "uses _PyLong_Sign: not in"),
        ("cp39-abi3", "_ext.abi3.so", ("PyType_GetModule",), "3.9 and later, but uses PyType"),
        ("cp310-abi3", "_ext.abi3.so", ("PyType_GetModule",), ""),
        ("cp39.cp310-abi3", "_ext.abi3.so", ("PyType_GetModule",), "3.9 and later"),
        ("cp39-abi3", "_ext.so", ("_PyLong_Sign",), "uses _PyLong_Sign"),
        ("cp315-abi3.abi3t", "_ext.abi3t.so", ("PyModule_Exec",), ""),
        ("cp315-abi3t", "_ext.abi3t.so", ("PyModule_Exec", "_Py_X"), "uses _Py_X: not in"),
        ("cp315-abi3t", "_ext.abi3t.so", ("PyModule_Exec",), ""),
        ("cp39-abi3", "_ext.abi3.so", ("PyMine_Help", "helper"), ""),
        ("cp312-cp312", "_ext.cpython-312-x86_64-linux-gnu.so", ("_PyLong_Sign",), ""),
    ],
)
def test_the_stable_abi(
    abi_inspector: Inspector, tag: str, name: str, undefined: tuple[str, ...], said: str
) -> None:
    hook = "PyModExport__ext" if "abi3t" in name else "PyInit__ext"
    spec = module(hook, name=name, tag=tag, undefined=undefined)
    spec.members["demo/libmine.so.1"] = make_elf(ElfSpec(defined=("PyMine_Help",)))
    found = abi_inspector.findings(spec)
    assert [each.rule for each in found] == (["abi3audit"] if said else [])
    assert all(said in each.message for each in found)


@pytest.mark.parametrize(
    ("platform", "name", "data"),
    [
        (
            "macosx_10_13_universal2",
            "x.abi3.so",
            make_fat(
                MachOSpec(arch="x86_64", minimum=(10, 13), **OUTSIDE_ABI),
                MachOSpec(**OUTSIDE_ABI, weak=("PyUnstable_Thing",)),
            ),
        ),
        (
            "win_amd64",
            "x.pyd",
            make_pe(PeSpec(imports={"python3.dll": ("_PyLong_Sign",)}, exports=("PyInit_x",))),
        ),
    ],
)
def test_the_stable_abi_on_other_systems(
    abi_inspector: Inspector, platform: str, name: str, data: bytes
) -> None:
    spec = WheelSpec(members={name: data}, python="cp39", abi="abi3", platform=platform)
    (found,) = abi_inspector.findings(spec)
    assert (found.rule, "uses _PyLong_Sign: not in" in found.message) == ("abi3audit", True)


def test_what_a_module_defines_or_can_do_without_is_no_violation(abi_inspector: Inspector) -> None:
    spec = module("PyInit__ext", "PyErr_Mine", "_PyMine", weak=("PyUnstable_Thing",))
    assert abi_inspector.rules(spec) == []


def test_a_library_that_a_module_loads_counts(abi_inspector: Inspector) -> None:
    spec = module("PyInit__ext")
    spec.members["demo/libpart.abi3.so.6"] = make_elf(ElfSpec(undefined=("_PyLong_Sign",)))
    (found,) = abi_inspector.findings(spec)
    assert found.message.startswith("demo/libpart.abi3.so.6 uses _PyLong_Sign")


# Static programs


def static(platform: str, **more: Any) -> WheelSpec:
    made = make_elf(ElfSpec(needed=(), pie=True, **more))
    spec = WheelSpec(python="py3", abi="none", platform=platform)
    spec.members["demo-1.0.data/scripts/tool"] = made
    return spec


@pytest.mark.parametrize(
    "platform",
    [
        "manylinux_2_5_x86_64",
        "musllinux_1_1_x86_64",
        "manylinux1_x86_64.manylinux_2_5_x86_64.musllinux_1_1_x86_64",
        "linux_x86_64",
    ],
)
def test_a_static_program_has_the_tags_of_both_c_libraries(
    inspector: Inspector, platform: str
) -> None:
    spec = static(platform)
    report = inspector.report(spec)
    wanted = {"manylinux_2_5_x86_64", "manylinux1_x86_64", "musllinux_1_1_x86_64"}
    assert wanted <= {report.observed_tag, *report.aliases}
    for libc in Libc:
        expected = replace(EXPECTED, libc=libc, python="cp312")
        found = inspector.findings(spec, expected)
        assert {each.rule for each in found} <= {"planned-platform"}
        assert not any("ELF files" in each.message for each in found)
    assert inspector.rules(spec) == []


@pytest.mark.parametrize(
    "other",
    [
        ElfSpec(defined=("PyInit_x",)),
        ElfSpec(needed=(), undefined=("malloc",), pie=True),
        ElfSpec(needed=(), defined=("f",)),
        MUSL,
    ],
)
def test_another_file_takes_that_away(inspector: Inspector, other: ElfSpec) -> None:
    spec = static("linux_x86_64")
    spec.members["x.so"] = make_elf(other)
    report = inspector.report(spec)
    libcs = {tag.partition("_")[0].rstrip("1") for tag in (report.observed_tag, *report.aliases)}
    assert len(libcs) == 1


def test_both_tags_are_a_lie_for_other_files(inspector: Inspector) -> None:
    both = "manylinux_2_17_x86_64.musllinux_1_2_x86_64"
    spec = module("PyInit__ext", platform=both)
    assert inspector.rules(spec) == ["elf-libc"]
    spec = module("PyInit__ext", needed=MUSL.needed, platform=both)
    assert inspector.rules(spec) == ["elf-libc"]


# Commands and their libraries


def tool(runpath: str, library: str = "", **more: Any) -> WheelSpec:
    made = ElfSpec(
        needed=("libc.so.6", "libtool.so.1"),
        runpath=runpath,
        interpreter="/lib64/ld-linux-x86-64.so.2",
        pie=True,
    )
    spec = WheelSpec(**{"python": "py3", "abi": "none", **more})
    spec.members["demo-1.0.data/scripts/tool"] = make_elf(made)
    if library:
        spec.members[library] = make_elf(ElfSpec(soname="libtool.so.1"))
    return spec


def said(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(each.rule, each.severity) for each in findings]


@pytest.mark.parametrize(
    ("runpath", "library", "found"),
    [
        ("$ORIGIN/../lib", "demo-1.0.data/data/lib/libtool.so.1", True),
        ("$ORIGIN", "demo-1.0.data/scripts/libtool.so.1", True),
        ("$ORIGIN/../lib/python3.12/site-packages/demo.libs", "demo.libs/libtool.so.1", True),
        ("$ORIGIN/../lib64/python3/site-packages/demo.libs", "demo.libs/libtool.so.1", True),
        ("$ORIGIN/../../demo.libs", "demo.libs/libtool.so.1", False),
        ("$ORIGIN/../data/lib", "demo-1.0.data/data/lib/libtool.so.1", False),
        ("", "demo-1.0.data/data/lib/libtool.so.1", False),
    ],
)
def test_a_command_finds_its_libraries_where_they_are_installed(
    inspector: Inspector, runpath: str, library: str, *, found: bool
) -> None:
    findings = inspector.findings(tool(runpath, library))
    assert said(findings) == ([] if found else [("library-unreachable", "error")])
    assert all("the command demo-1.0.data/scripts/tool" in each.message for each in findings)


def test_a_command_whose_library_is_nowhere(inspector: Inspector) -> None:
    assert said(inspector.findings(tool("$ORIGIN"))) == [("external-library", "error")]


def test_the_library_of_a_commands_library_counts(inspector: Inspector) -> None:
    spec = tool("$ORIGIN/../lib")
    inner = ElfSpec(needed=("libinner.so",), soname="libtool.so.1")
    spec.members["demo-1.0.data/data/lib/libtool.so.1"] = make_elf(inner)
    spec.members["demo/libinner.so"] = make_elf(ElfSpec())
    assert said(inspector.findings(spec)) == [("library-unreachable", "error")]


def test_modules_of_site_packages_reach_the_environments_lib(inspector: Inspector) -> None:
    spec = module("PyInit__ext", needed=("libtool.so.1",), runpath="$ORIGIN/../../../..")
    spec.members["demo-1.0.data/data/lib/libtool.so.1"] = make_elf(ElfSpec())
    assert inspector.rules(spec) == ["library-unreachable"]
    spec = module("PyInit__ext", needed=("libtool.so.1",), runpath="$ORIGIN/../../..")
    spec.members["demo-1.0.data/data/lib/libtool.so.1"] = make_elf(ElfSpec())
    assert inspector.rules(spec) == []


def test_libpython_has_a_cure_of_its_own(inspector: Inspector) -> None:
    for library in ("libpython3.12.so.1.0", "libpython3.so", "libpython3.13t.so.1.0"):
        (found,) = inspector.findings(module("PyInit__ext", needed=("libc.so.6", library)))
        assert found.rule == "external-library"
        assert "do not link libpython" in found.message
        assert "graft" not in found.message


# Tables as linkers write them


def test_s390x_hash_tables_have_words_of_either_size() -> None:
    for table in ("sysv", "short", "gnu"):
        spec = ElfSpec(
            arch=Arch.S390X, undefined=("PyList_New",), defined=("PyInit_x",), hash=table
        )
        info = elf.parse(make_elf(replace(spec, sections=False)))
        assert [each.name for each in info.undefined] == ["PyList_New"]
        assert info.inits == ("PyInit_x",)
