from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import BadWheelError, ConfigError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.wheel import Reason, WheelReport
from orchestrator.wheel import Policies, open_wheel, report
from orchestrator.wheel.scan import scan
from orchestrator.wheel.tags import observe
from tests.auditor import audited
from tests.wheelmaker import EXTENSION, ISA, ElfSpec, WheelSpec, make_elf


def libc6(*versions: str) -> dict[str, dict[str, tuple[str, ...]]]:
    return {"libc.so.6": {version: (f"f_{version}",) for version in versions}}


def observed(spec: WheelSpec, tmp_path: Path, policies: Policies) -> WheelReport:
    return report(spec.write(tmp_path), policies)


@pytest.fixture
def observe_wheel(tmp_path: Path, policies: Policies) -> Callable[[WheelSpec], str]:
    return lambda spec: observed(spec, tmp_path, policies).observed_tag


def test_report(spec: WheelSpec, tmp_path: Path, policies: Policies) -> None:
    path = spec.write(tmp_path)
    got = report(path, policies)
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
def test_tag_and_auditwheels(
    tmp_path: Path, policies: Policies, arch: Arch, version: str, tag: str
) -> None:
    made = make_elf(ElfSpec(arch=arch, versions=libc6(version), defined=("PyInit_x",)))
    path = WheelSpec(platform=f"linux_{arch}", members={"x.so": made}).write(tmp_path)
    assert report(path, policies).observed_tag == tag
    theirs = audited(path, Libc.MANYLINUX, arch)
    assert (theirs.symbols, theirs.overall) == (tag, tag)


def test_the_newest_of_all_files_and_libraries_rules(tmp_path: Path, policies: Policies) -> None:
    cpp: dict[str, dict[str, tuple[str, ...]]] = {
        "libstdc++.so.6": {"GLIBCXX_3.4.26": ("b", "a")},
        "libm.so.6": {"GLIBC_2.27": ("exp",)},
    }
    spec = WheelSpec(
        members={
            "a.so": make_elf(ElfSpec(versions=libc6("GLIBC_2.17"), defined=("PyInit_a",))),
            "b.so": make_elf(ElfSpec(versions=cpp, defined=("PyInit_b",))),
        }
    )
    got = observed(spec, tmp_path, policies)
    assert got.observed_tag == "manylinux_2_31_x86_64"
    assert got.reasons == (
        Reason(
            file="b.so",
            library="libstdc++.so.6",
            symbol_version="GLIBCXX_3.4.26",
            symbols=("a", "b"),
        ),
    )


def test_reasons_below_linux_are_those_of_the_newest_policy(
    tmp_path: Path, policies: Policies
) -> None:
    made = make_elf(ElfSpec(versions=libc6("GLIBC_2.17", "GLIBC_2.99"), defined=("PyInit_x",)))
    got = observed(WheelSpec(members={"x.so": made}), tmp_path, policies)
    assert (got.observed_tag, got.aliases) == ("linux_x86_64", ())
    assert [reason.symbol_version for reason in got.reasons] == ["GLIBC_2.99"]


def test_nothing_stands_in_the_way_of_less_than_the_lowest(
    tmp_path: Path, policies: Policies
) -> None:
    made = make_elf(ElfSpec(versions=libc6("GLIBC_2.2.5"), defined=("PyInit_x",)))
    assert observed(WheelSpec(members={"x.so": made}), tmp_path, policies).reasons == ()


def test_no_elf_and_elf_no_tag_names(tmp_path: Path, policies: Policies) -> None:
    assert observed(WheelSpec(platform="any"), tmp_path, policies).observed_tag == "any"
    cubin = make_elf(ElfSpec(machine=(190, 64, "<", 0), needed=()))
    spec = WheelSpec(platform="any", members={"kernel.cubin": cubin})
    assert observed(spec, tmp_path, policies).observed_tag == "any"


def test_grafted_libraries(tmp_path: Path, policies: Policies) -> None:
    """Found by file name or soname; their own versions are nobody's business, glibc's are."""
    ext = ElfSpec(
        needed=("libfoo-1a2b.so.1", "libbar.so.2"),
        defined=("PyInit_x",),
        versions={**libc6("GLIBC_2.2.5"), "libfoo-1a2b.so.1": {"FOO_1": ("foo",)}},
        rpath="$ORIGIN/demo.libs",
    )
    foo = ElfSpec(versions=libc6("GLIBC_2.12"), soname="libfoo-1a2b.so.1")
    bar = ElfSpec(versions=libc6("GLIBC_2.17"), soname="libbar.so.2")
    spec = WheelSpec(
        members={
            "x.so": make_elf(ext),
            "demo.libs/libfoo-1a2b.so.1": make_elf(foo),
            "demo.libs/bar-real.so": make_elf(bar),
        }
    )
    got = observed(spec, tmp_path, policies)
    assert (got.observed_tag, got.external_libs) == ("manylinux_2_17_x86_64", ())


def test_external_libraries(tmp_path: Path, policies: Policies) -> None:
    ext = ElfSpec(
        needed=(
            "libc.so.6",
            "libcudart.so.12",
            "libtorch.so",
            "libgomp.so.1",
            "ld-linux-x86-64.so.2",
        ),
        defined=("PyInit_x",),
    )
    other = ElfSpec(needed=("libcudart.so.12",))
    path = WheelSpec(members={"b.so": make_elf(ext), "a.so": make_elf(other)}).write(tmp_path)
    got = report(path, policies, external=["cuda", "libtorch.so*"])
    assert got.observed_tag == "manylinux_2_5_x86_64"
    assert got.external_libs == (
        ("libcudart.so.12", ("a.so", "b.so")),
        ("libgomp.so.1", ("b.so",)),
        ("libtorch.so", ("b.so",)),
    )
    (problem,) = got.problems
    assert problem.rule == "external-library"
    assert "b.so needs libgomp.so.1" in problem.message
    assert "--external" in problem.message
    assert "build.external" in problem.message
    assert len(report(path, policies).problems) == 3
    with pytest.raises(ConfigError):
        report(path, policies, external=["nonsense"])


def test_a_library_that_only_newer_policies_promise(tmp_path: Path, policies: Policies) -> None:
    """auditwheel: sym_tag says 2_5, overall_tag 2_24; the tag that holds is the second."""
    ext = ElfSpec(needed=("libc.so.6", "libmvec.so.1"), defined=("PyInit_x",))
    path = WheelSpec(members={"x.so": make_elf(ext)}).write(tmp_path)
    got = report(path, policies)
    assert (got.observed_tag, got.external_libs) == ("manylinux_2_24_x86_64", ())
    assert got.reasons == (
        Reason(file="x.so", library="libmvec.so.1", symbol_version="", symbols=()),
    )
    with open_wheel(path) as archive:
        seen = observe(scan(archive), policies, Libc.MANYLINUX, Arch.X86_64)
    theirs = audited(path, Libc.MANYLINUX, Arch.X86_64)
    assert seen.symbol_tag == theirs.symbols == "manylinux_2_5_x86_64"
    assert theirs.libraries == got.observed_tag


@pytest.mark.parametrize(
    ("symbol", "tag"),
    [
        ("inflate", "manylinux_2_5_x86_64"),
        ("uncompress2", "manylinux_2_34_x86_64"),
        ("zcfree", "linux_x86_64"),
    ],
)
def test_forbidden_symbols(tmp_path: Path, policies: Policies, symbol: str, tag: str) -> None:
    ext = ElfSpec(
        needed=("libc.so.6", "libz.so.1"),
        undefined=(symbol,),
        weak=("crc32_neon",),
        defined=("PyInit_x",),
    )
    path = WheelSpec(members={"x.so": make_elf(ext)}).write(tmp_path)
    got = report(path, policies)
    assert got.observed_tag == tag == audited(path, Libc.MANYLINUX, Arch.X86_64).overall
    named = [reason for reason in got.reasons if reason.symbols]
    assert [reason.symbols for reason in named] == ([] if symbol == "inflate" else [(symbol,)])


def test_fpectl(tmp_path: Path, policies: Policies) -> None:
    ext = ElfSpec(undefined=("PyFPE_jbuf",), defined=("PyInit_x",))
    path = WheelSpec(members={"x.so": make_elf(ext)}).write(tmp_path)
    assert report(path, policies).observed_tag == "linux_x86_64"
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).overall == "linux_x86_64"


@pytest.mark.parametrize("level", [*ISA, ""])
def test_instruction_sets(tmp_path: Path, policies: Policies, level: str) -> None:
    ext = ElfSpec(isa=ISA.get(level, 1), defined=("PyInit_x",))
    path = WheelSpec(members={"x.so": make_elf(ext)}).write(tmp_path)
    got = report(path, policies)
    assert got.isa == level
    assert got.observed_tag == ("linux_x86_64" if level else "manylinux_2_5_x86_64")
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).overall == got.observed_tag
    assert [reason.symbol_version for reason in got.reasons] == ([level] if level else [])


def test_instruction_sets_of_loaded_libraries_do_not_count(
    tmp_path: Path, policies: Policies
) -> None:
    ext = ElfSpec(needed=("libc.so.6", "libfast.so"), runpath="$ORIGIN", defined=("PyInit_x",))
    spec = WheelSpec(members={"x.so": make_elf(ext), "libfast.so": make_elf(ElfSpec(isa=7))})
    path = spec.write(tmp_path)
    got = report(path, policies)
    assert (got.observed_tag, got.isa) == ("manylinux_2_5_x86_64", "x86-64-v3")
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).overall == got.observed_tag


@pytest.mark.parametrize(
    ("member", "elf", "platform", "tag"),
    [
        (
            "x.so",
            ElfSpec(needed=("libc.musl-x86_64.so.1",)),
            "linux_x86_64",
            "musllinux_1_2_x86_64",
        ),
        ("x.so", ElfSpec(needed=("libc.so",)), "linux_x86_64", "musllinux_1_2_x86_64"),
        ("x.so", ElfSpec(needed=("libc.so",)), "manylinux_2_28_x86_64", "manylinux_2_5_x86_64"),
        ("x.so", ElfSpec(needed=()), "musllinux_1_1_x86_64", "musllinux_1_2_x86_64"),
        ("x.so", ElfSpec(needed=()), "linux_x86_64", "manylinux_2_5_x86_64"),
        (
            "x.cpython-312-x86_64-linux-musl.so",
            ElfSpec(needed=()),
            "linux_x86_64",
            "musllinux_1_2_x86_64",
        ),
        ("x.cpython-312-x86_64-linux-gnu.so", ElfSpec(needed=()), "any", "manylinux_2_5_x86_64"),
        (
            "x.cpython-310-x86_64-linux-gnu.so",
            ElfSpec(needed=()),
            "musllinux_1_1_x86_64",
            "musllinux_1_2_x86_64",
        ),
        (
            "tool",
            ElfSpec(needed=(), interpreter="/lib/ld-musl-x86_64.so.1"),
            "any",
            "musllinux_1_2_x86_64",
        ),
        (
            "tool",
            ElfSpec(needed=(), interpreter="/lib64/ld-linux-x86-64.so.2"),
            "any",
            "manylinux_2_5_x86_64",
        ),
        ("x.so", ElfSpec(arch=Arch.S390X, needed=("ld64.so.1",)), "any", "manylinux_2_17_s390x"),
        ("x.so", ElfSpec(arch=Arch.AARCH64), "manylinux_2_17_x86_64", "manylinux_2_17_aarch64"),
    ],
)
def test_platform(
    observe_wheel: Callable[[WheelSpec], str], member: str, elf: ElfSpec, platform: str, tag: str
) -> None:
    assert observe_wheel(WheelSpec(platform=platform, members={member: make_elf(elf)})) == tag


def test_the_file_name_chooses_between_architectures_and_libcs(
    tmp_path: Path, policies: Policies
) -> None:
    members = {
        "arm.so": make_elf(ElfSpec(arch=Arch.AARCH64, versions=libc6("GLIBC_2.34"))),
        "musl.so": make_elf(
            ElfSpec(needed=("libc.musl-x86_64.so.1",), versions={"l": {"GLIBC_9": ()}})
        ),
        "x.so": make_elf(ElfSpec(versions=libc6("GLIBC_2.17"), defined=("PyInit_x",))),
    }
    path = WheelSpec(platform="manylinux_2_28_x86_64", members=members).write(tmp_path)
    assert report(path, policies).observed_tag == "manylinux_2_17_x86_64"
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).symbols == "manylinux_2_17_x86_64"
    path = WheelSpec(platform="musllinux_1_2_x86_64", members=members).write(tmp_path)
    assert report(path, policies).observed_tag == "musllinux_1_2_x86_64"


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
def test_abi3(tmp_path: Path, policies: Policies, names: tuple[str, ...], *, abi3: bool) -> None:
    made = make_elf(ElfSpec(defined=("PyInit_a", "PyInit_b")))
    spec = WheelSpec(members=dict.fromkeys(names, made))
    assert observed(spec, tmp_path, policies).abi3 is abi3


def test_a_malformed_file_is_a_finding(tmp_path: Path, policies: Policies) -> None:
    made = make_elf(ElfSpec(defined=("PyInit_x",)))
    spec = WheelSpec(members={"x.so": made, "bad.so": made[:300]})
    (problem,) = observed(spec, tmp_path, policies).problems
    assert problem.rule == "elf-malformed"
    assert problem.message.startswith("bad.so is not a sound ELF file: section headers")


def test_not_a_wheel(tmp_path: Path, policies: Policies) -> None:
    with pytest.raises(BadWheelError):
        report(tmp_path / "demo.tar.gz", policies)


# Why not lower, and what would help.


def test_each_lower_tag_has_its_own_reasons_and_remedies(
    tmp_path: Path, policies: Policies
) -> None:
    versions: dict[str, dict[str, tuple[str, ...]]] = {
        "libc.so.6": {"GLIBC_2.14": ("memcpy",), "GLIBC_2.28": ("fcntl64",)},
        "libstdc++.so.6": {"GLIBCXX_3.4.21": ("_ZNSt",)},
    }
    made = make_elf(ElfSpec(versions=versions, defined=("PyInit_x",)))
    got = observed(WheelSpec(members={"x.so": made}), tmp_path, policies)
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
def test_remedies(tmp_path: Path, policies: Policies, elf: ElfSpec, remedy: str) -> None:
    got = observed(WheelSpec(members={"x.so": make_elf(elf)}), tmp_path, policies)
    assert any(remedy in each for step in got.steps for each in step.remedies)


def test_what_matters_of_each_elf_file(tmp_path: Path, policies: Policies) -> None:
    ext = ElfSpec(needed=("libc.so.6",), rpath="/old", runpath="$ORIGIN/../lib", isa=3)
    members = {
        "a.abi3.so": make_elf(ext),
        "tool": make_elf(ElfSpec(arch=Arch.S390X, needed=(), rpath="$ORIGIN", soname="tool.1")),
    }
    module, tool = observed(WheelSpec(members=members), tmp_path, policies).elf_files
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
def test_rpaths_decide_what_is_found(  # noqa: PLR0913 - one for each dimension
    tmp_path: Path,
    policies: Policies,
    rpath: str,
    runpath: str,
    place: str,
    *,
    found: bool,
) -> None:
    ext = ElfSpec(
        needed=("libc.so.6", "libin.so"), rpath=rpath, runpath=runpath, defined=("PyInit_x",)
    )
    members = {"demo/x.so": make_elf(ext), place: make_elf(ElfSpec(soname="libin.so"))}
    path = WheelSpec(members=members).write(tmp_path)
    got = report(path, policies)
    assert got.external_libs == ()
    assert [problem.rule for problem in got.problems] == ["library-unreachable"] * (not found)
    if not found:
        assert f"demo/x.so needs libin.so, which is in the wheel as {place}" in (
            got.problems[0].message
        )
    theirs = audited(path, Libc.MANYLINUX, Arch.X86_64)
    assert (theirs.libraries != "linux_x86_64") is found


def test_the_first_files_paths_serve_what_it_loads(tmp_path: Path, policies: Policies) -> None:
    """liba finds libb by the extension's RPATH; liba's own needs count against no other tag."""
    ext = ElfSpec(needed=("liba.so",), rpath="$ORIGIN/lib", defined=("PyInit_x",))
    members = {
        "x.so": make_elf(ext),
        "lib/liba.so": make_elf(ElfSpec(needed=("libb.so", "libc.so.6"))),
        "lib/libb.so": make_elf(ElfSpec(needed=("libc.so.6", "libnot.so.1"))),
    }
    path = WheelSpec(members=members).write(tmp_path)
    assert report(path, policies).external_libs == (("libnot.so.1", ("lib/libb.so",)),)
    del members["lib/libb.so"]
    path = WheelSpec(members=members).write(tmp_path)
    assert report(path, policies).external_libs == (("libb.so", ("lib/liba.so",)),)


def test_a_file_of_another_machine_is_not_what_is_needed(
    tmp_path: Path, policies: Policies
) -> None:
    ext = ElfSpec(needed=("libin.so",), rpath="$ORIGIN", defined=("PyInit_x",))
    members = {"x.so": make_elf(ext), "libin.so": make_elf(ElfSpec(arch=Arch.I686))}
    path = WheelSpec(members=members).write(tmp_path)
    assert report(path, policies).external_libs == (("libin.so", ("x.so",)),)


def test_libpython_is_outside_wherever_it_is(tmp_path: Path, policies: Policies) -> None:
    ext = ElfSpec(needed=("libpython3.12.so.1",), rpath="$ORIGIN", defined=("PyInit_x",))
    members = {"x.so": make_elf(ext), "libpython3.12.so.1": make_elf(ElfSpec())}
    path = WheelSpec(members=members).write(tmp_path)
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).libraries == "linux_x86_64"
    (problem,) = report(path, policies).problems
    assert problem.rule == "library-unreachable"


def test_an_elf_file_counts_whatever_its_name(tmp_path: Path, policies: Policies) -> None:
    made = make_elf(ElfSpec(versions=libc6("GLIBC_2.99")))
    path = WheelSpec(members={"x.py": made, "y.so": make_elf(ElfSpec())}).write(tmp_path)
    assert report(path, policies).observed_tag == "linux_x86_64"
    # auditwheel does not look into what is named like Python.
    assert audited(path, Libc.MANYLINUX, Arch.X86_64).symbols == "manylinux_2_5_x86_64"


def test_what_cannot_be_read_is_not_for_any_platform(tmp_path: Path, policies: Policies) -> None:
    path = WheelSpec(members={"x.so": b"\x7fELF" + bytes(60)}).write(tmp_path)
    seen = report(path, policies)
    assert seen.observed_tag == "unknown"
    assert [each.rule for each in seen.problems] == ["elf-malformed"]


def test_names_of_megabytes_do_not_fill_the_screen(tmp_path: Path, policies: Policies) -> None:
    long = f"lib{'x' * (1 << 20)}.so"
    path = WheelSpec(members={"x.so": make_elf(ElfSpec(needed=(long,)))}).write(tmp_path)
    (problem,) = report(path, policies).problems
    assert problem.rule == "external-library"
    assert len(problem.message) < 700
    assert "more characters" in problem.message
