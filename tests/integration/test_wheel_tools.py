"""twine and abi3info of the locked toolchain, and real wheels of the package index."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.process import Cancel
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.run.inputs import open_host
from orchestrator.wheel import HARMLESS, Policies, compare, report, retag, verify
from tests.conftest import ran
from tests.factories import program
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

pytestmark = pytest.mark.index

WHEELS = {
    # grafted libraries with auditwheel's own bill, several tags
    "pillow": ("pillow==12.3.0", "manylinux_2_28_x86_64"),
    # abi3, a bill of another tool
    "cryptography": ("cryptography==46.0.3", "manylinux_2_28_x86_64"),
    # grafted before PEP 770: no bill
    "numpy": ("numpy==2.2.6", "manylinux2014_x86_64"),
    # the alias and the tag it stands for
    "markupsafe": ("markupsafe==3.0.2", "manylinux2014_x86_64"),
    # no Python in the tag
    "ninja": ("ninja==1.13.0", "manylinux2014_x86_64"),
    # musl
    "msgpack": ("msgpack==1.1.1", "musllinux_1_2_x86_64"),
    # another architecture
    "kiwisolver": ("kiwisolver==1.4.7", "manylinux2014_aarch64"),
    # pure
    "packaging": ("packaging==24.2", "any"),
}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(params=WHEELS)
def wheel(request: pytest.FixtureRequest, downloads: Path) -> Path:
    """A wheel of the index."""
    requirement, platform = WHEELS[str(request.param)]
    folder: Path = downloads / str(request.param)
    if not folder.exists():
        download = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:")
        where = ("--python-version=312", f"--platform={platform}", f"--dest={folder}")
        ran(sys.executable, *download, *where, requirement, code=0)
    return next(iter(folder.glob("*.whl")))


@pytest.fixture(scope="session")
def tools() -> tuple[Policies, ExternalChecks]:
    host = open_host(os.environ, print)
    env = {**host.env, **host.network.child_env()}
    checker = ExternalChecks(toolchain=host.toolchain, env=env, cancel=Cancel())
    return Policies.from_json(*host.toolchain.policy_texts()), checker


Tools = tuple[Policies, ExternalChecks]


def found_in(path: Path, tools: Tools, **demands: Any) -> tuple[Finding, ...]:
    policies, check = tools
    asked = VerifyPolicy(**demands)
    seen = verify(path, policies, demands=asked)
    return (*seen.problems, *check(path, asked, lambda _line: None))


def errors(findings: tuple[Finding, ...]) -> list[Finding]:
    return [each for each in findings if each.severity == "error"]


# Real wheels


def test_a_wheel_of_the_index_is_what_it_says(wheel: Path, tools: Tools) -> None:
    assert errors(found_in(wheel, tools)) == []


def test_a_wheel_of_the_index_goes_there_and_back(
    wheel: Path, tools: Tools, tmp_path: Path
) -> None:
    with_local = Version(f"{report(wheel, tools[0]).version}+cu130.torch2.9")
    there = retag(wheel, dest_dir=tmp_path / "there", version=with_local, build_tag="7")
    assert errors(found_in(there, tools)) == []
    public = Version(with_local.public)
    back = retag(there, dest_dir=tmp_path / "back", version=public, build_tag="")
    assert back.name == wheel.name
    # auditwheel's bill names the file as it was before the repair; that is put right.
    changed = {each.where for each in compare(wheel, back) if each.kind not in HARMLESS}
    assert {name.rsplit("/", 1)[1] for name in changed} <= {"auditwheel.cdx.json", "RECORD"}
    assert not changed or "pillow" in wheel.name
    again = retag(back, dest_dir=tmp_path / "again", version=with_local, build_tag="7")
    assert again.read_bytes() == there.read_bytes()


def test_a_wheel_of_the_index_can_be_normalised(wheel: Path, tools: Tools, tmp_path: Path) -> None:
    one = retag(wheel, dest_dir=tmp_path / "one", epoch=1_700_000_000)
    assert errors(found_in(one, tools)) == []
    two = retag(one, dest_dir=tmp_path / "two", epoch=1_700_000_000)
    assert two.read_bytes() == one.read_bytes()


# The tools


def demo(folder: Path, metadata: bytes = b"", **changes: Any) -> Path:
    pure = {"python": "py3", "abi": "none", "platform": "any", "purelib": "true"}
    spec = WheelSpec(**{**pure, "members": {"demo.py": b""}, **changes})
    files = spec.files()
    if metadata:
        files[f"{spec.dist_info}/METADATA"] = metadata
    return spec.write(folder, files)


HEAD = b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n"
GOOD = HEAD + b"Description-Content-Type: text/markdown\n\n# Demo\n"
BROKEN = b"\nTitle\n==\n\n.. bad::\n\n`x\n"


@pytest.mark.parametrize(
    ("metadata", "severity", "message"),
    [
        (GOOD, "", ""),
        (HEAD + b"\ntext\n", "warning", "`long_description_content_type` missing"),
        (HEAD + b"License-Expression: nonsense\n\n", "error", "'nonsense' is invalid"),
        (
            HEAD + b"Description-Content-Type: text/x-rst\n" + BROKEN,
            "error",
            "`long_description` has syntax errors in markup",
        ),
    ],
)
def test_twine(tmp_path: Path, tools: Tools, metadata: bytes, severity: str, message: str) -> None:
    found = found_in(demo(tmp_path, metadata), tools)
    assert [(each.rule, each.severity) for each in found] == (
        [("twine", severity)] if severity else []
    )
    if found:
        assert message in found[0].message
        assert "\x1b" not in found[0].message


def abi3(folder: Path, *undefined: str, tag: str = "cp38") -> Path:
    versions = {"libc.so.6": {"GLIBC_2.2.5": ("malloc",)}}
    elf = make_elf(ElfSpec(versions=versions, defined=("PyInit_demo",), undefined=undefined))
    platform = "manylinux_2_17_x86_64"
    changes = {"python": tag, "abi": "abi3", "platform": platform, "purelib": "false"}
    return demo(folder, GOOD, members={"demo.abi3.so": elf}, **changes)


def test_abi3audit(tmp_path: Path, tools: Tools) -> None:
    assert found_in(abi3(tmp_path / "1", "PyFrozenSet_New"), tools) == ()
    private, later = found_in(abi3(tmp_path / "2", "_PyLong_Sign", "PyType_GetModule"), tools)
    assert private.message == "demo.abi3.so uses _PyLong_Sign: not in the stable ABI"
    assert later.message == ("demo.abi3.so is for 3.8 and later, but uses PyType_GetModule (3.10)")
    assert {private.rule, later.rule} == {"abi3audit"}
    assert found_in(abi3(tmp_path / "3", "PyType_GetModule", tag="cp310"), tools) == ()


def test_a_tool_whose_rule_is_off_does_not_run(tmp_path: Path, tools: Tools) -> None:
    _, check = tools
    path = abi3(tmp_path, "_PyLong_Sign")
    said: list[str] = []
    off = VerifyPolicy(levels=(("twine", RuleLevel.OFF),))
    assert check(path, off, said.append) == ()
    assert said == []


def test_a_tool_that_breaks_is_a_finding(tmp_path: Path, tools: Tools) -> None:
    path = abi3(tmp_path)
    check = tools[1]
    path.unlink()
    assert [each.rule for each in errors(check(path, VerifyPolicy(), lambda _line: None))] == [
        "twine"
    ]


def test_a_tool_that_is_stopped_finds_nothing(tmp_path: Path, tools: Tools) -> None:
    _, check = tools
    path = abi3(tmp_path, "_PyLong_Sign")
    cancel = Cancel()
    cancel.set()
    stopped = ExternalChecks(toolchain=check.toolchain, env=check.env, cancel=cancel)
    assert stopped(path, VerifyPolicy(), lambda _line: None) == ()


def test_a_tool_that_is_killed_says_nothing_of_the_wheel(tmp_path: Path, tools: Tools) -> None:
    _, check = tools
    path = abi3(tmp_path)
    python = program(tmp_path / "python", "kill -KILL $$")
    killed = replace(check, toolchain=replace(check.toolchain, python=python))
    with pytest.raises(EnvironmentProblemError, match="twine was killed by signal 9"):
        killed(path, VerifyPolicy(), lambda _line: None)
