"""Rules on what is in a wheel, what the user demands, and how much each rule counts."""

from __future__ import annotations

import ast
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator
from orchestrator.config.verify_rules import RULES, parse_size
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel import apply_levels
from orchestrator.wheel.archive import CHUNK
from tests.conftest import REPOSITORY
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_bill, make_elf

INFO = "demo-1.0.dist-info"


# Every rule by name


def emitted() -> set[str]:
    """The names of rules that the source gives to findings."""
    package = Path(orchestrator.__file__).parent
    names = set()
    for path in [
        *package.glob("wheel/*.py"),
        *package.glob("provision/*.py"),
        package / "run/finish.py",
    ]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            values = [key.value for key in node.keywords if key.arg == "rule"]
            values += node.args[:1] if called in {"finding", "_crash"} else []
            if called in {"Finding", "finding", "_crash"}:
                names |= {each.value for each in values if isinstance(each, ast.Constant)}
    return {str(name) for name in names}


def test_every_rule_that_is_emitted_has_a_name_that_can_be_turned() -> None:
    # `planned` names its rules in a table, and provenance is no part of a wheel.
    by_table = {"planned-name", "planned-version", "planned-build-tag", "planned-label"}

    assert emitted() | by_table | {"provenance"} == set(RULES)


def test_every_rule_has_a_line_in_the_docs_with_its_level() -> None:
    page = (REPOSITORY / "docs/reference/verify.md").read_text("utf-8")
    lines = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warn|off) \| \S", page, re.MULTILINE)

    assert lines == [(name, level.value) for name, level in RULES.items()]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (RuleLevel.ERROR, [("no-licence", Severity.ERROR)]),
        (RuleLevel.WARN, [("no-licence", Severity.WARNING)]),
        (RuleLevel.OFF, []),
    ],
)
def test_a_rule_is_turned_by_name(
    spec: WheelSpec,
    inspector: Inspector,
    level: RuleLevel,
    expected: list[tuple[str, Severity]],
) -> None:
    spec.extra_info = {}
    found = inspector.findings(spec, levels=(("no-licence", level),))
    assert [(each.rule, each.severity) for each in found] == expected


def test_rules_that_are_not_named_keep_the_level_they_found() -> None:
    mild = Finding(rule="elf-machine", message="m", severity=Severity.WARNING)
    hard = Finding(rule="elf-machine", message="m")
    for levels, expected in (
        ((), (mild, hard)),
        ((("elf-machine", RuleLevel.ERROR),), (hard, hard)),
        ((("elf-machine", RuleLevel.OFF),), ()),
    ):
        assert apply_levels([mild, hard], VerifyPolicy(levels=levels)) == expected


# Members


def test_names_that_collide(spec: WheelSpec, inspector: Inspector) -> None:
    spec.members |= {"demo/Data": b"1", "demo/DATA": b"3", "demo/xt.h": b"", "demo/XT.h": b""}
    found = inspector.findings(spec)
    assert [(each.rule, each.severity) for each in found] == [
        ("case-collision", Severity.WARNING)
    ] * 2
    assert "demo/DATA, demo/Data" in found[0].message


# Licences


@pytest.mark.parametrize(
    "name",
    ["licenses/LICENSE", "LICENCE.txt", "licenses/sub/COPYING", "NOTICE", "licenses/UNLICENSE"],
)
def test_what_counts_as_a_licence(spec: WheelSpec, inspector: Inspector, name: str) -> None:
    spec.extra_info = {name: b"free"}
    assert inspector.rules(spec) == []


def test_no_licence(spec: WheelSpec, inspector: Inspector) -> None:
    spec.extra_info = {"top_level.txt": b"demo"}
    spec.members["demo/LICENSE"] = b"of something that demo carries"
    (found,) = inspector.findings(spec)
    assert (found.rule, found.severity) == ("no-licence", Severity.WARNING)


@pytest.mark.parametrize(
    ("named", "there", "fine"),
    [
        ("LICENSE", "licenses/LICENSE", True),
        ("a/LICENSE", "licenses/a/LICENSE", True),
        ("a/LICENSE", "LICENSE", True),
        ("LICENSE", "LICENSE", True),
        ("LICENSE", "license_files/LICENSE", True),
        ("NOTICE", "licenses/LICENSE", False),
    ],
)
def test_licences_that_metadata_names(
    spec: WheelSpec, inspector: Inspector, named: str, there: str, *, fine: bool
) -> None:
    text = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nLicense-File: {named}\n"
    spec.extra_info = {there: b"free", "METADATA": text.encode()}
    assert inspector.rules(spec) == ([] if fine else ["licence-missing"])


# Run paths


@pytest.mark.parametrize(
    ("rpath", "said"),
    [
        ("$ORIGIN", ""),
        ("$ORIGIN/../demo.libs:${ORIGIN}/../../nvidia/lib", ""),
        ("", ""),
        ("/usr/local/cuda/lib64", f"the RPATH '/usr/local/cuda/lib64' of {EXTENSION} is absolute"),
        ("$ORIGIN:/opt/x", f"'/opt/x' of {EXTENSION} is absolute"),
        ("lib", f"'lib' of {EXTENSION} is relative to the current directory"),
        ("$ORIGIN:", f"'' of {EXTENSION} is relative to the current directory"),
        ("$ORIGINAL/x", f"'$ORIGINAL/x' of {EXTENSION} is relative"),
    ],
)
@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_run_paths(inspector: Inspector, kind: str, rpath: str, said: str) -> None:
    elf = make_elf(ElfSpec(defined=("PyInit__ext",), **{kind: rpath}))  # type: ignore[arg-type]
    found = inspector.findings(WheelSpec(members={EXTENSION: elf}))
    assert [each.rule for each in found] == (["absolute-rpath"] if said else [])
    if said:
        assert said in found[0].message


@pytest.mark.parametrize(
    ("rpath", "severity"),
    [
        ("/usr/lib/x86_64-linux-gnu/hdf5/serial", Severity.WARNING),
        ("/usr/local/cuda/lib64", Severity.WARNING),
        ("/opt/rocm/lib", Severity.WARNING),
        ("/lib64", Severity.WARNING),
        ("/usr/../srv/ci/lib", Severity.ERROR),
        ("/srv/ci/lib", Severity.ERROR),
        ("/var/build/lib", Severity.ERROR),
        ("/usrlocal", Severity.ERROR),
        ("lib", Severity.ERROR),
    ],
)
def test_run_paths_of_the_system_are_warnings(
    inspector: Inspector, rpath: str, severity: Severity
) -> None:
    elf = make_elf(ElfSpec(defined=("PyInit__ext",), rpath=rpath))
    (found,) = inspector.findings(WheelSpec(members={EXTENSION: elf}))
    assert found.severity is severity


def test_one_run_path_of_many_files_is_one_finding(inspector: Inspector) -> None:
    elf = make_elf(ElfSpec(rpath="/build"))
    members = {f"demo/{number}.so": elf for number in range(9)}
    (found,) = inspector.findings(WheelSpec(members=members))
    assert found.message.startswith("the RPATH '/build' of demo/0.so, demo/1.so")
    assert found.message.endswith("demo/4.so and 4 more is absolute")


# What the user demands


def test_the_size_budget_names_the_ten_largest(spec: WheelSpec, inspector: Inspector) -> None:
    # what does not compress
    noise = b"".join(bytes([number * 7 % 256, number % 251]) for number in range(20000))
    spec.members |= {f"demo/{number}.bin": noise[: 100 * number] for number in range(20)}
    path = spec.write(inspector.folder)
    size = path.stat().st_size
    assert inspector.rules(path, size_budget=size) == []
    (found,) = inspector.findings(path, size_budget=size - 1)
    assert found.rule == "size-budget"
    largest = re.findall(r"(\S+) \(\d+ bytes\)", found.message)
    assert len(largest) == 10
    with zipfile.ZipFile(path) as archive:
        sizes = {name: archive.getinfo(name).compress_size for name in largest}
    assert largest == sorted(largest, key=lambda name: -sizes[name]), "the largest come first"


def test_required_files(spec: WheelSpec, inspector: Inspector) -> None:
    path = spec.write(inspector.folder)
    assert inspector.rules(path, required=("demo/*.so", "*/METADATA")) == []
    (found,) = inspector.findings(path, required=("demo/lib*.so", "demo/*"))
    assert (found.rule, found.message) == ("required-file", "no member matches demo/lib*.so")


@pytest.mark.parametrize("at", [0, CHUNK - 4, CHUNK - 1, CHUNK, 2 * CHUNK - 2])
def test_build_paths_are_found_also_across_chunks(
    spec: WheelSpec, inspector: Inspector, at: int
) -> None:
    spec.members["demo/big.bin"] = bytes(at) + b"/project/src" + bytes(10)
    path = spec.write(inspector.folder)
    assert inspector.rules(path) == []
    assert inspector.rules(path, build_paths=("/projects/",)) == []
    (found,) = inspector.findings(path, build_paths=("/nowhere", "/project/"))
    assert (found.rule, found.message) == ("build-path", "/project/ is in demo/big.bin")


# Bills of materials


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("auditwheel.cdx.json", make_bill("1.0"), ""),
        ("auditwheel.cdx.json", make_bill("1.0.0"), ""),
        ("auditwheel.cdx.json", make_bill("0.9"), "says version 0.9"),
        ("auditwheel.cdx.json", make_bill("?"), ""),
        ("auditwheel.cdx.json", make_bill("x"), "says version x"),
        ("rust.cdx.json", make_bill(purl="pkg:cargo/demo@0.9"), ""),
        ("rust.cdx.json", make_bill(purl="pkg:pypi/other@0.9"), ""),
        ("a.cdx.json", b"{", "is not JSON"),
        ("a.cdx.json", b"\xff", "is not JSON"),
        ("a.cdx.json", b"[" * 100_000, "is not JSON"),
        ("a.cdx.json", b"[]", "is not a CycloneDX file"),
        ("a.spdx.json", b'{"spdxVersion": "SPDX-2.3"}', ""),
        ("a.cdx.json", b'{"bomFormat": "CycloneDX", "metadata": 3}', ""),
        ("a.xml", b"<bom/>", ""),
    ],
)
def test_bills_of_materials(
    spec: WheelSpec, inspector: Inspector, name: str, content: bytes, said: str
) -> None:
    spec.extra_info[f"sboms/{name}"] = content
    found = inspector.findings(spec)
    assert [each.rule for each in found] == (["sbom"] if said else [])
    if said:
        assert said in found[0].message


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("400 MB", 400_000_000),
        ("400MB", 400_000_000),
        ("1.5 GiB", 3 << 29),
        ("100 kB", 100_000),
        ("100 KB", 100_000),
        ("1 KiB", 1024),
        ("2G", 2 * 10**9),
        ("17", 17),
        ("17 B", 17),
        ("lots", None),
        ("-1 MB", None),
        ("1 TB", None),
        ("", None),
        ("1e3", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@given(st.integers(0, 10**15))
def test_whole_bytes_are_sizes(size: int) -> None:
    assert parse_size(str(size)) == size
