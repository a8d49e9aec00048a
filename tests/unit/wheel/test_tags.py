from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.wheel import Reason
from orchestrator.wheel import open_wheel
from orchestrator.wheel.scan import scan
from orchestrator.wheel.tags import observe
from tests.unit.wheel.conftest import Inspector, extension, one_extension
from tests.wheelmaker import EXTENSION, ISA, ElfSpec, WheelSpec, make_elf


def libc6(*versions: str) -> dict[str, dict[str, tuple[str, ...]]]:
    return {"libc.so.6": {version: (f"f_{version}",) for version in versions}}


def test_report(spec: WheelSpec, inspector: Inspector) -> None:
    path = inspector.path(spec)
    got = inspector.report(path)
    assert (got.filename, got.size, got.version) == (path.name, path.stat().st_size, "1.0")
    assert got.declared_tags == ("cp312-cp312-manylinux_2_17_x86_64",)
    assert (got.observed_tag, got.aliases) == ("manylinux_2_17_x86_64", ("manylinux2014_x86_64",))
    assert got.reasons == (
        Reason(
            file=EXTENSION, library="libc.so.6", symbol_version="GLIBC_2.14", symbols=("memcpy",)
        ),
    )
    assert (got.external_libs, got.isa, got.abi3, got.problems) == ((), "", False, ())


@pytest.mark.parametrize(
    ("arch", "version", "tag"),
    [
        (Arch.X86_64, "GLIBC_2.2.5", "manylinux_2_5_x86_64"),
        (Arch.X86_64, "GLIBC_2.29", "manylinux_2_31_x86_64"),
        (Arch.X86_64, "GLIBC_2.99", "linux_x86_64"),
        (Arch.X86_64, "GLIBC_PRIVATE", "linux_x86_64"),
        (Arch.X86_64, "FOO_9", "manylinux_2_5_x86_64"),
        (Arch.X86_64, "GLIBC_ABI_DT_RELR", "manylinux_2_36_x86_64"),
        (Arch.I686, "GLIBC_2.12", "manylinux_2_12_i686"),
        (Arch.AARCH64, "GLIBC_2.17", "manylinux_2_17_aarch64"),
        (Arch.ARMV7L, "GLIBC_2.28", "manylinux_2_28_armv7l"),
        (Arch.PPC64LE, "GLIBC_2.34", "manylinux_2_34_ppc64le"),
        (Arch.S390X, "GLIBC_2.26", "manylinux_2_26_s390x"),
        (Arch.RISCV64, "GLIBC_2.27", "manylinux_2_31_riscv64"),
        (Arch.LOONGARCH64, "GLIBC_2.36", "manylinux_2_36_loongarch64"),
    ],
)
def test_tag_and_auditwheels(inspector: Inspector, arch: Arch, version: str, tag: str) -> None:
    wheel = one_extension(arch=arch, versions=libc6(version))
    wheel.platform = f"linux_{arch}"
    assert inspector.report(wheel).observed_tag == tag
    theirs = inspector.audited(wheel, arch)
    assert (theirs.symbols, theirs.overall) == (tag, tag)


def test_the_newest_of_all_files_and_libraries_rules(inspector: Inspector) -> None:
    cpp: dict[str, dict[str, tuple[str, ...]]] = {
        "libstdc++.so.6": {"GLIBCXX_3.4.26": ("b", "a")},
        "libm.so.6": {"GLIBC_2.27": ("exp",)},
    }
    spec = WheelSpec(
        members={
            "a.so": extension(versions=libc6("GLIBC_2.17")),
            "b.so": extension(versions=cpp),
        }
    )
    got = inspector.report(spec)
    assert got.observed_tag == "manylinux_2_31_x86_64"
    assert got.reasons == (
        Reason(
            file="b.so",
            library="libstdc++.so.6",
            symbol_version="GLIBCXX_3.4.26",
            symbols=("a", "b"),
        ),
    )


def test_no_elf_and_elf_no_tag_names(inspector: Inspector) -> None:
    assert inspector.report(WheelSpec(platform="any")).observed_tag == "any"
    cubin = make_elf(ElfSpec(machine=(190, 64, "<", 0), needed=()))
    spec = WheelSpec(platform="any", members={"kernel.cubin": cubin})
    assert inspector.report(spec).observed_tag == "any"


def test_grafted_libraries(inspector: Inspector) -> None:
    """Found by file name or soname; their own versions are nobody's business, glibc's are."""
    ext = extension(
        needed=("libfoo-1a2b.so.1", "libbar.so.2"),
        versions={**libc6("GLIBC_2.2.5"), "libfoo-1a2b.so.1": {"FOO_1": ("foo",)}},
        rpath="$ORIGIN/demo.libs",
    )
    foo = ElfSpec(versions=libc6("GLIBC_2.12"), soname="libfoo-1a2b.so.1")
    bar = ElfSpec(versions=libc6("GLIBC_2.17"), soname="libbar.so.2")
    spec = WheelSpec(
        members={
            "x.so": ext,
            "demo.libs/libfoo-1a2b.so.1": make_elf(foo),
            "demo.libs/bar-real.so": make_elf(bar),
        }
    )
    got = inspector.report(spec)
    assert (got.observed_tag, got.external_libs) == ("manylinux_2_17_x86_64", ())


def test_external_libraries(inspector: Inspector) -> None:
    outside = ("libcudart.so.12", "libtorch.so", "libgomp.so.1", "ld-linux-x86-64.so.2")
    spec = one_extension(needed=("libc.so.6", *outside))
    spec.members["a.so"] = make_elf(ElfSpec(needed=("libcudart.so.12",)))
    got = inspector.report(spec, external=["cuda", "libtorch.so*"])
    assert got.observed_tag == "manylinux_2_5_x86_64"
    assert got.external_libs == (
        ("libcudart.so.12", ("a.so", "x.so")),
        ("libgomp.so.1", ("x.so",)),
        ("libtorch.so", ("x.so",)),
    )
    (problem,) = got.problems
    assert problem.rule == "external-library"
    for words in ("x.so needs libgomp.so.1", "--external", "build.external"):
        assert words in problem.message
    assert len(inspector.report(spec).problems) == 3
    with pytest.raises(ConfigError):
        inspector.report(spec, external=["nonsense"])


def test_a_library_that_only_newer_policies_promise(inspector: Inspector) -> None:
    """auditwheel: sym_tag says 2_5, overall_tag 2_24; the tag that holds is the second."""
    path = inspector.path(one_extension(needed=("libc.so.6", "libmvec.so.1")))
    got = inspector.report(path)
    assert (got.observed_tag, got.external_libs) == ("manylinux_2_24_x86_64", ())
    assert got.reasons == (
        Reason(file="x.so", library="libmvec.so.1", symbol_version="", symbols=()),
    )
    with open_wheel(path) as archive:
        seen = observe(
            scan(archive), inspector.policies, Libc.MANYLINUX, Arch.X86_64, budget=archive.budget
        )
    theirs = inspector.audited(path)
    assert seen.symbol_tag == theirs.symbols == "manylinux_2_5_x86_64"
    assert theirs.libraries == got.observed_tag


LIBZ = ("libc.so.6", "libz.so.1")


@pytest.mark.parametrize(
    ("elf", "tag", "reasons"),
    [
        ({"versions": libc6("GLIBC_2.2.5")}, "manylinux_2_5_x86_64", []),
        # The newest policy's reasons are those below linux.
        ({"versions": libc6("GLIBC_2.17", "GLIBC_2.99")}, "linux_x86_64", ["GLIBC_2.99"]),
        # Symbols that a policy forbids of a library.
        ({"needed": LIBZ, "undefined": ("inflate",)}, "manylinux_2_5_x86_64", []),
        ({"needed": LIBZ, "undefined": ("uncompress2",)}, "manylinux_2_34_x86_64", ["uncompress2"]),
        ({"needed": LIBZ, "undefined": ("zcfree",)}, "linux_x86_64", ["zcfree"]),
        ({"needed": LIBZ, "weak": ("zcfree",)}, "manylinux_2_5_x86_64", []),
        ({"undefined": ("PyFPE_jbuf",)}, "linux_x86_64", ["PyFPE_jbuf"]),
        ({"isa": 1}, "manylinux_2_5_x86_64", []),
        *(({"isa": bits}, "linux_x86_64", [level]) for level, bits in ISA.items()),
    ],
)
def test_what_decides_the_tag_and_auditwheels(
    inspector: Inspector, elf: dict[str, Any], tag: str, reasons: list[str]
) -> None:
    wheel = one_extension(**elf)
    got = inspector.report(wheel)
    assert got.observed_tag == tag == inspector.audited(wheel).overall
    named = [each for each in got.reasons if each.symbols or each.symbol_version]
    assert [each.symbol_version or "".join(each.symbols) for each in named] == reasons
    assert got.isa == "".join(reason for reason in reasons if reason in ISA)


def test_instruction_sets_of_loaded_libraries_do_not_count(inspector: Inspector) -> None:
    wheel = one_extension(needed=("libc.so.6", "libfast.so"), runpath="$ORIGIN")
    wheel.members["libfast.so"] = make_elf(ElfSpec(isa=7))
    got = inspector.report(wheel)
    assert (got.observed_tag, got.isa) == ("manylinux_2_5_x86_64", "x86-64-v3")
    assert inspector.audited(wheel).overall == got.observed_tag


MUSL = "musllinux_1_2_x86_64"
FREE = ElfSpec(needed=())


def program(interpreter: str) -> ElfSpec:
    return ElfSpec(needed=(), interpreter=interpreter)


@pytest.mark.parametrize(
    ("member", "elf", "platform", "tag"),
    [
        ("x.so", ElfSpec(needed=("libc.musl-x86_64.so.1",)), "linux_x86_64", MUSL),
        ("x.so", ElfSpec(needed=("libc.so",)), "linux_x86_64", MUSL),
        ("x.so", ElfSpec(needed=("libc.so",)), "manylinux_2_28_x86_64", "manylinux_2_5_x86_64"),
        ("x.so", FREE, "musllinux_1_1_x86_64", MUSL),
        ("x.so", FREE, "linux_x86_64", "manylinux_2_5_x86_64"),
        ("x.cpython-312-x86_64-linux-musl.so", FREE, "linux_x86_64", MUSL),
        ("x.cpython-312-x86_64-linux-gnu.so", FREE, "any", "manylinux_2_5_x86_64"),
        ("x.cpython-310-x86_64-linux-gnu.so", FREE, "musllinux_1_1_x86_64", MUSL),
        ("tool", program("/lib/ld-musl-x86_64.so.1"), "any", MUSL),
        ("tool", program("/lib64/ld-linux-x86-64.so.2"), "any", "manylinux_2_5_x86_64"),
        ("x.so", ElfSpec(arch=Arch.S390X, needed=("ld64.so.1",)), "any", "manylinux_2_17_s390x"),
        ("x.so", ElfSpec(arch=Arch.AARCH64), "manylinux_2_17_x86_64", "manylinux_2_17_aarch64"),
    ],
)
def test_platform(inspector: Inspector, member: str, elf: ElfSpec, platform: str, tag: str) -> None:
    wheel = WheelSpec(platform=platform, members={member: make_elf(elf)})
    assert inspector.report(wheel).observed_tag == tag


def test_the_file_name_chooses_between_architectures_and_libcs(inspector: Inspector) -> None:
    members = {
        "arm.so": make_elf(ElfSpec(arch=Arch.AARCH64, versions=libc6("GLIBC_2.34"))),
        "musl.so": make_elf(
            ElfSpec(needed=("libc.musl-x86_64.so.1",), versions={"l": {"GLIBC_9": ()}})
        ),
        "x.so": extension(versions=libc6("GLIBC_2.17")),
    }
    wheel = WheelSpec(platform="manylinux_2_28_x86_64", members=members)
    assert inspector.report(wheel).observed_tag == "manylinux_2_17_x86_64"
    assert inspector.audited(wheel).symbols == "manylinux_2_17_x86_64"
    wheel = WheelSpec(platform=MUSL, members=members)
    assert inspector.report(wheel).observed_tag == MUSL


@pytest.mark.parametrize(
    ("names", "abi3"),
    [
        (("a.abi3.so", "b.abi3.so"), True),
        (("a.abi3t.so",), True),
        (("a.abi3.so", "b.cpython-312-x86_64-linux-gnu.so"), False),
        (("a.so",), False),
        (("libplain.so",), False),
    ],
)
def test_abi3(inspector: Inspector, names: tuple[str, ...], *, abi3: bool) -> None:
    made = make_elf(ElfSpec(defined=("PyInit_a", "PyInit_b")))
    spec = WheelSpec(members=dict.fromkeys(names, made))
    assert inspector.report(spec).abi3 is abi3


def test_a_malformed_file_is_a_finding(inspector: Inspector) -> None:
    spec = WheelSpec(members={"x.so": extension(), "bad.so": extension()[:300]})
    (problem,) = inspector.report(spec).problems
    assert problem.rule == "elf-malformed"
    assert problem.message.startswith("bad.so is not a sound ELF file: section headers")


# Why not lower, and what would help.


def test_each_lower_tag_has_its_own_reasons_and_remedies(inspector: Inspector) -> None:
    versions: dict[str, dict[str, tuple[str, ...]]] = {
        "libc.so.6": {"GLIBC_2.14": ("memcpy",), "GLIBC_2.28": ("fcntl64",)},
        "libstdc++.so.6": {"GLIBCXX_3.4.21": ("_ZNSt",)},
    }
    got = inspector.report(one_extension(versions=versions))
    assert got.observed_tag == "manylinux_2_28_x86_64"
    said = [(step.tag, [reason.symbol_version for reason in step.reasons]) for step in got.steps]
    assert said == [
        ("manylinux_2_27_x86_64", ["GLIBC_2.28"]),
        ("manylinux_2_17_x86_64", ["GLIBCXX_3.4.21"]),
        ("manylinux_2_12_x86_64", ["GLIBC_2.14"]),
    ]
    assert got.reasons == got.steps[0].reasons
    assert "glibc is 2.27 or older" in got.steps[0].remedies[0]
    assert "-static-libstdc++" in got.steps[1].remedies[0]


@pytest.mark.parametrize(
    ("elf", "remedy"),
    [
        (ElfSpec(isa=7, defined=("PyInit_x",)), "no -march"),
        (ElfSpec(undefined=("PyFPE_jbuf",), defined=("PyInit_x",)), "no fpectl"),
        (ElfSpec(needed=("libz.so.1",), undefined=("zcfree",)), "link libz.so.1 statically: its"),
        (ElfSpec(needed=("libmvec.so.1",)), "graft libmvec.so.1 into the wheel"),
        (ElfSpec(versions={"libz.so.1": {"ZLIB_1.2.12": ()}}), "one as old as"),
    ],
)
def test_remedies(inspector: Inspector, elf: ElfSpec, remedy: str) -> None:
    got = inspector.report(WheelSpec(members={"x.so": make_elf(elf)}))
    assert any(remedy in each for step in got.steps for each in step.remedies)


def test_what_matters_of_each_elf_file(inspector: Inspector) -> None:
    ext = ElfSpec(needed=("libc.so.6",), rpath="/old", runpath="$ORIGIN/../lib", isa=3)
    members = {
        "a.abi3.so": make_elf(ext),
        "tool": make_elf(ElfSpec(arch=Arch.S390X, needed=(), rpath="$ORIGIN", soname="tool.1")),
    }
    module, tool = inspector.report(WheelSpec(members=members)).elf_files
    assert (module.file, module.arch, module.libc) == ("a.abi3.so", Arch.X86_64, Libc.MANYLINUX)
    assert (module.needed, module.rpath) == (("libc.so.6",), ("$ORIGIN/../lib",))
    assert (module.python_abi, module.isa, module.soname) == ("abi3", "x86-64-v2", "")
    assert (tool.arch, tool.libc, tool.soname) == (Arch.S390X, None, "tool.1")
    assert (tool.python_abi, tool.rpath, tool.isa) == (None, ("$ORIGIN",), "")


# Which libraries are found in the wheel; auditwheel says the same.


@pytest.mark.parametrize(
    ("rpath", "runpath", "place", "found"),
    [
        ("$ORIGIN/../demo.libs", "", "demo.libs/libin.so", True),
        ("${ORIGIN}/../demo.libs", "", "demo.libs/libin.so", True),
        ("", "$ORIGIN/../demo.libs", "demo.libs/libin.so", True),
        ("/nowhere:$ORIGIN", "", "demo/libin.so", True),
        ("$ORIGIN/..", "", "libin.so", True),
        ("$ORIGIN/../../..", "", "libin.so", False),
        ("$ORIGIN", "", "demo.libs/libin.so", False),
        ("$ORIGIN/../demo.libs", "$ORIGIN", "demo.libs/libin.so", False),
        ("/demo.libs", "", "demo.libs/libin.so", False),
        ("", "", "demo/libin.so", False),
    ],
)
def test_rpaths_decide_what_is_found(
    inspector: Inspector, rpath: str, runpath: str, place: str, *, found: bool
) -> None:
    ext = extension(needed=("libc.so.6", "libin.so"), rpath=rpath, runpath=runpath)
    wheel = WheelSpec(members={"demo/x.so": ext, place: make_elf(ElfSpec(soname="libin.so"))})
    got = inspector.report(wheel)
    assert got.external_libs == ()
    assert [problem.rule for problem in got.problems] == ["library-unreachable"] * (not found)
    if not found:
        message = got.problems[0].message
        assert f"demo/x.so needs libin.so, which is in the wheel as {place}" in message
    assert (inspector.audited(wheel).libraries != "linux_x86_64") is found


def test_the_first_files_paths_serve_what_it_loads(inspector: Inspector) -> None:
    """liba finds libb by the extension's RPATH; liba's own needs count against no other tag."""
    members = {
        "x.so": extension(needed=("liba.so",), rpath="$ORIGIN/lib"),
        "lib/liba.so": make_elf(ElfSpec(needed=("libb.so", "libc.so.6"))),
        "lib/libb.so": make_elf(ElfSpec(needed=("libc.so.6", "libnot.so.1"))),
    }
    outside = inspector.report(WheelSpec(members=members)).external_libs
    assert outside == (("libnot.so.1", ("lib/libb.so",)),)
    del members["lib/libb.so"]
    outside = inspector.report(WheelSpec(members=members)).external_libs
    assert outside == (("libb.so", ("lib/liba.so",)),)


def test_a_file_of_another_machine_is_not_what_is_needed(inspector: Inspector) -> None:
    wheel = one_extension(needed=("libin.so",), rpath="$ORIGIN")
    wheel.members["libin.so"] = make_elf(ElfSpec(arch=Arch.I686))
    assert inspector.report(wheel).external_libs == (("libin.so", ("x.so",)),)


def test_libpython_is_outside_wherever_it_is(inspector: Inspector) -> None:
    wheel = one_extension(needed=("libpython3.12.so.1",), rpath="$ORIGIN")
    wheel.members["libpython3.12.so.1"] = make_elf(ElfSpec())
    assert inspector.audited(wheel).libraries == "linux_x86_64"
    (problem,) = inspector.report(wheel).problems
    assert problem.rule == "library-unreachable"


def test_an_elf_file_counts_whatever_its_name(inspector: Inspector) -> None:
    made = make_elf(ElfSpec(versions=libc6("GLIBC_2.99")))
    wheel = WheelSpec(members={"x.py": made, "y.so": make_elf(ElfSpec())})
    assert inspector.report(wheel).observed_tag == "linux_x86_64"
    # auditwheel does not look into what is named like Python.
    assert inspector.audited(wheel).symbols == "manylinux_2_5_x86_64"


def test_what_cannot_be_read_is_not_for_any_platform(inspector: Inspector) -> None:
    seen = inspector.report(WheelSpec(members={"x.so": b"\x7fELF" + bytes(60)}))
    assert seen.observed_tag == "unknown"
    assert [each.rule for each in seen.problems] == ["elf-malformed"]


def test_names_of_megabytes_do_not_fill_the_screen(inspector: Inspector) -> None:
    long = f"lib{'x' * (1 << 20)}.so"
    (problem,) = inspector.report(
        WheelSpec(members={"x.so": make_elf(ElfSpec(needed=(long,)))})
    ).problems
    assert problem.rule == "external-library"
    assert len(problem.message) < 700
    assert "more characters" in problem.message
