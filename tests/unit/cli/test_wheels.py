"""`verify` and `retag` as a user calls them; the tools of the toolchain are in `integration`."""

from __future__ import annotations

import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import orchestrator.cli
from orchestrator.errors import ExitCode
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding
from tests.auditor import load_policies
from tests.binarymaker import DYLIB, MachOSpec, PeSpec, make_macho, make_pe
from tests.gpumaker import ZSTD, device_library, entry, fatbin
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"
GLIBC = {"libc.so.6": {"GLIBC_2.17": ("secure_getenv",)}}
OBSERVED = "manylinux2014_x86_64.manylinux_2_17_x86_64"


def wheel(**changes: Any) -> str:
    """Write a wheel into the current directory and return its name."""
    members = {EXTENSION: make_elf(ElfSpec(versions=GLIBC, defined=("PyInit__ext",)))}
    spec = WheelSpec(**{"members": members, "platform": "linux_x86_64", **changes})
    return spec.write(Path()).name


@dataclass
class Cli:
    capture: pytest.CaptureFixture[str]
    asked: list[VerifyPolicy]

    def __call__(self, *arguments: str) -> tuple[int, list[str], str]:
        self.capture.readouterr()
        code = orchestrator.cli.run(arguments)
        said = self.capture.readouterr()
        return int(code), said.out.splitlines(), said.err


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = Cli(capture=capsys, asked=[])

    def check(path: Path, demands: VerifyPolicy, _log: object) -> tuple[Finding, ...]:
        assert path.is_absolute()
        made.asked.append(demands)
        return (Finding(rule="twine", message="said by twine"),)

    monkeypatch.setattr("orchestrator.cli.verify.checking_tools", lambda: (load_policies(), check))
    monkeypatch.setattr("orchestrator.cli.workspace.load_policies", load_policies)
    return made


pytestmark = pytest.mark.usefixtures("wide_terminal")


# verify


def test_what_other_tools_say_counts_like_everything_else(cli: Cli) -> None:
    name = wheel()
    assert cli("verify", name)[:2] == (
        ExitCode.BAD_WHEEL,
        [f"{name}: not what it says", "  error: twine: said by twine"],
    )
    assert cli("verify", "--rule", "twine=warn", name)[:2] == (
        ExitCode.OK,
        [f"{name}: ok", "  warning: twine: said by twine"],
    )
    assert cli("verify", "--rule", "twine=off", name)[:2] == (ExitCode.OK, [f"{name}: ok"])


def test_findings_are_folded_and_no_name_is_broken(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    name = wheel(extra_info={})

    _, lines, _ = cli("verify", "--rule=twine=off", "--required=some/very/long/name/*.dat", name)

    assert len(lines) > 2
    assert any(name in line or "some/very/long/name/*.dat" in line for line in lines[1:])
    assert all(len(line) <= 60 for line in lines if "/" not in line)


def test_demands_on_the_command_line(cli: Cli) -> None:
    name = wheel(extra_info={})
    options = ("--rule=twine=off", "--rule=no-licence=error", "--size-budget=100 B")
    code, lines, _ = cli("verify", *options, "--required=*.dat", "--build-path=PyInit", name)
    assert code == ExitCode.BAD_WHEEL
    assert [line.split(": ")[1] for line in lines[1:]] == [
        *("no-licence", "size-budget", "required-file", "build-path")
    ]
    assert cli.asked == [
        VerifyPolicy(
            levels=(("twine", RuleLevel.OFF), ("no-licence", RuleLevel.ERROR)),
            size_budget=100,
            required=("*.dat",),
            build_paths=("PyInit",),
        )
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--rule=no-license=off", "did you mean 'no-licence'?"),
        ("--rule=twine", "unknown level"),
        ("--rule=twine=on", "error, warn, off"),
        ("--size-budget=lots", "for instance 400MB"),
        ("--size-budget=0", "not a size"),
        ("--same", "two wheels, not 1"),
        ("--external=cudda", "did you mean 'cuda'?"),
    ],
)
def test_bad_options(cli: Cli, option: str, message: str) -> None:
    for command in ("verify", "inspect") if option.startswith("--external") else ("verify",):
        code, lines, err = cli(command, option, wheel())
        assert (code, lines) == (ExitCode.CONFIG, [])
        assert message in err


def test_json(cli: Cli) -> None:
    good, bad = wheel(), wheel(version="2.0")
    Path(bad).write_bytes(b"no zip")
    code, lines, _ = cli("verify", "--json", "--rule=twine=warn", good, bad)
    assert code == ExitCode.BAD_WHEEL
    document = json.loads("\n".join(lines))
    assert document["schema"] == 1
    first, second = document["wheels"]
    assert (first["path"], first["ok"], first["observed_tag"]) == (
        *(good, True, "manylinux_2_17_x86_64"),
    )
    assert [each["rule"] for each in first["problems"]] == ["twine"]
    assert (second["path"], second["ok"]) == (bad, False)
    assert [each["rule"] for each in second["problems"]] == ["unreadable"]
    assert "sha256" not in second


MATRIX = """
[axes]
python = ["cp312", "cp313"]
arch = ["x86_64"]

[version]
base = "1.0"

[verify]
rules = { twine = "off", no-licence = "off" }

[[override]]
when = { python = "cp313" }
verify = { required = ["nowhere/*"] }
"""


def test_a_wheel_as_a_target_of_the_matrix(cli: Cli) -> None:
    name = wheel(extra_info={})
    Path("pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    Path("matrix.toml").write_text(MATRIX)
    assert cli("verify", "--target=cp312-manylinux_x86_64", name)[0] == ExitCode.OK
    code, lines, _ = cli("verify", "--target=cp313-manylinux_x86_64", name)
    assert code == ExitCode.BAD_WHEEL
    assert [line.split(": ")[1] for line in lines[1:]] == ["planned-python", "required-file"]
    options = ("--target=cp313-manylinux_x86_64", "--required=demo/*", "--rule=no-licence=warn")
    lines = cli("verify", *options, name)[1]
    assert [line.split(": ")[1] for line in lines[1:]] == ["planned-python", "no-licence"]
    assert cli("verify", "--target=cp311-manylinux_x86_64", name)[0] == ExitCode.CONFIG


def test_no_tool_sees_what_is_no_wheel(cli: Cli) -> None:
    name = wheel()
    Path(name).write_bytes(b"no zip")
    code, lines, _ = cli("verify", name)
    assert code == ExitCode.BAD_WHEEL
    assert lines[1].startswith("  error: unreadable: ")
    assert cli.asked == []


def test_same(cli: Cli) -> None:
    name = wheel()
    assert cli("verify", "--same", name, name) == (0, ["identical, byte for byte"], "")
    cli("retag", name, "--normalise", "--output-dir", "n")
    code, lines, _ = cli("verify", "--same", name, f"n/{name}")
    assert code == ExitCode.BAD_WHEEL
    assert lines[-1] == "identical contents, packed differently"
    assert lines[0] == (f"packing: {EXTENSION}: time 2026-02-03 04:05:06 / 1980-01-01 00:00:00")
    other = cli("retag", name, "--local-version", "x")[1][0]
    code, lines, _ = cli("verify", "--same", name, other)
    assert (code, lines[-1]) == (ExitCode.BAD_WHEEL, "different")
    assert lines[2:5] == [
        "content: demo-1.0.dist-info/METADATA: ",
        "    -Version: 1.0",
        "    +Version: 1.0+x",
    ]


def test_the_growth_of_a_wheel_is_shown_by_file_and_architecture(cli: Cli) -> None:
    code = {sm: entry(sm, os.urandom(40_000)) for sm in (90, 120)}
    files = {"old": fatbin(code[90]), "new": fatbin(code[90], code[120])}
    wheels = [
        WheelSpec(members={"demo/k.fatbin": content}).write(Path(folder))
        for folder, content in files.items()
    ]
    _, lines, _ = cli("verify", "--same", *map(str, wheels))
    sizes = [line for line in lines if line.startswith("size: ")]
    assert re.fullmatch(r"size: 4\d.* KiB → [78]\d.* KiB \(\+39\..* KiB, \+.* %\)", sizes[0])
    assert re.match(r"size: demo/k.fatbin: 39.* KiB → 78.* KiB \(\+39.* KiB", sizes[1])
    assert sizes[2:] == ["size: sm_120: +39.1 KiB in demo/k.fatbin (new architecture)"]


def test_a_long_list_of_differences_is_cut(cli: Cli) -> None:
    name = wheel(members={f"{number}.py": b"" for number in range(50)})
    cli("retag", name, "--normalise", "--output-dir", "n")
    lines = cli("verify", "--same", name, f"n/{name}")[1]
    # 50 members and 4 in dist-info; their order differs too, and RECORD's lines with it
    assert len([line for line in lines if line.startswith("packing: ")]) == 21
    assert "packing: ... and 36 more" in lines


# retag


def test_auto_is_what_the_files_need(cli: Cli) -> None:
    code, lines, err = cli("retag", wheel(), "--platform-tag", "auto", "--output-dir", "new")
    assert (code, err) == (0, "")
    assert lines == [f"new/demo-1.0-cp312-cp312-{OBSERVED}.whl"]
    assert cli("verify", "--rule=twine=off", *lines)[0] == 0
    assert len(list(Path().glob("*.whl"))) == 1, "the original stays"


def test_everything_at_once_beside_the_original(cli: Cli) -> None:
    name = wheel()
    options = ("--build-tag=7", "--local-version=cu130.torch2.9", "--platform-tag=linux_x86_64")
    code, lines, _ = cli("retag", *options, name)
    assert (code, lines) == (0, ["demo-1.0+cu130.torch2.9-7-cp312-cp312-linux_x86_64.whl"])
    assert cli("verify", "--rule=twine=off", *lines)[0] == 0
    back = cli("retag", "--build-tag=", "--local-version=", "--output-dir=back", *lines)[1]
    assert back == [f"back/{name}"]
    assert cli("verify", "--same", name, *back)[0] == 0


@pytest.mark.parametrize(
    "tags", [("manylinux_2_17_x86_64.linux_x86_64",), ("linux_x86_64", "manylinux_2_17_x86_64")]
)
def test_several_tags(cli: Cli, tags: tuple[str, ...]) -> None:
    arguments = [word for tag in tags for word in ("--platform-tag", tag)]
    lines = cli("retag", wheel(), *arguments)[1]
    assert lines == ["demo-1.0-cp312-cp312-linux_x86_64.manylinux_2_17_x86_64.whl"]


def test_inspect_shows_the_code_for_gpus(cli: Cli) -> None:
    linked = fatbin(entry(90, b"x" * 2048, flags=ZSTD, unpacked=1 << 20), entry(90, b"x"))
    more = {"__nv_relfatbin": fatbin(entry(90)), ".rodata": b"NCCL_DEBUG_FILE"}
    members = {"demo.so": device_library("libcublas.so.13", linked=linked, **more)}
    _, lines, _ = cli("inspect", wheel(members=members), "--external", "cuda")
    assert lines[-4:] == [
        "  gpu       sm_90: 72 B",
        "  gpu       sm_90: 2.1 KiB (zstd, 1.0 MiB unpacked)",
        "  runtime   cublas 13",
        "  in        demo.so: sm_90; linked in: nccl; 88 B that only a linker can use",
    ]


def test_inspect_shows_what_files_of_macos_and_windows_need(cli: Cli) -> None:
    needed = ("/usr/lib/libz.1.dylib", "@loader_path/.dylibs/liby.dylib", "/opt/homebrew/x.dylib")
    members = {
        "x.cpython-312-darwin.so": make_macho(MachOSpec(needed=needed, defined=("PyInit_x",))),
        ".dylibs/liby.dylib": make_macho(MachOSpec(kind=DYLIB, needed=(), minimum=(12, 0))),
    }
    name = wheel(members=members, platform="macosx_11_0_arm64")
    _, lines, _ = cli("inspect", name)
    assert lines[1:8] == [
        "  observed  macosx_12_0_arm64",
        "  declared  cp312-cp312-macosx_11_0_arm64",
        "  external  /opt/homebrew/x.dylib, needed by x.cpython-312-darwin.so",
        "  files     1 file for arm64 of macOS 11.0 or newer",
        "  files     1 file for arm64 of macOS 12.0 or newer",
        "  inside    .dylibs/liby.dylib, needed by x.cpython-312-darwin.so",
        "  system    libz.1.dylib",
    ]

    code, lines, _ = cli("retag", name, "--platform-tag", "auto", "--output-dir", "new")
    assert (code, lines) == (0, ["new/demo-1.0-cp312-cp312-macosx_12_0_arm64.whl"])

    name = wheel(members={"x.pyd": make_pe(PeSpec())}, platform="win_amd64")
    assert cli("inspect", name)[1][3:5] == [
        "  files     1 file for amd64 of Windows",
        "  system    KERNEL32.dll",
    ]


def test_what_is_not_examined_is_not_ok(cli: Cli) -> None:
    name = wheel(members={"x.so": b""}, platform="ios_13_0_arm64_iphoneos")
    code, lines, _ = cli("verify", name, "--rule", "twine=off", "--rule", "no-licence=off")
    why = "whether the files fit ios_13_0_arm64_iphoneos: there are no rules for this platform"
    assert code == 0
    assert lines == [f"{name}: nothing wrong in what was examined", f"  not examined: {why}"]
    (seen,) = json.loads("\n".join(cli("verify", name, "--rule", "twine=off", "--json")[1]))[
        "wheels"
    ]
    assert (seen["ok"], seen["problems"]) == (False, [])
    assert seen["not_examined"] == [why]
    assert why in " ".join(" ".join(cli("inspect", name)[1]).split())


def test_a_wheel_without_elf_files_keeps_its_tag(cli: Cli) -> None:
    name = wheel(members={"demo.py": b""})
    code, lines, err = cli("retag", name, "--platform-tag", "auto", "--output-dir", "new")
    assert (code, lines) == (0, [f"new/{name}"])
    assert "it has no compiled file" in err


def test_a_damaged_elf_file_has_no_tag_that_could_be_found(cli: Cli) -> None:
    name = wheel(members={EXTENSION: b"\x7fELF" + bytes(60)})
    code, lines, err = cli("retag", name, "--platform-tag", "auto", "--output-dir", "new")
    assert (code, lines) == (ExitCode.BAD_WHEEL, [])
    assert "is not a sound ELF file" in err
    assert "say the tag instead of auto" in err
    assert not Path("new").exists()


def test_the_time_of_normalised_members(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    (made,) = cli("retag", wheel(), "--normalise", "--output-dir", "new")[1]
    with zipfile.ZipFile(made) as archive:
        assert {info.date_time[:3] for info in archive.infolist()} == {(2023, 11, 14)}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    code, _, err = cli("retag", wheel(), "--normalise")
    assert code == ExitCode.CONFIG
    assert "SOURCE_DATE_EPOCH: not whole seconds" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to change"),
        (("--platform-tag=Linux",), "not platform tags"),
        (("--platform-tag=",), "not platform tags"),
        (("--platform-tag=auto", "--platform-tag=any"), "say one of them"),
        (("--build-tag=x",), "not a build tag"),
        (("--local-version=a b",), "not a local version"),
        (("--local-version=+x",), "not a local version"),
    ],
)
def test_what_cannot_be(cli: Cli, options: tuple[str, ...], message: str) -> None:
    name = wheel()
    code, lines, err = cli("retag", *options, "--output-dir=new", name)
    assert (code, lines) == (ExitCode.CONFIG, [])
    assert message in err
    assert not list(Path().glob("new/*"))


def test_what_is_no_wheel_is_not_retagged(cli: Cli) -> None:
    name = wheel()
    Path(name).write_bytes(b"no zip")
    code, lines, err = cli("retag", "--build-tag=1", "--output-dir=new", name)
    assert (code, lines) == (ExitCode.BAD_WHEEL, [])
    assert "not a readable zip file" in err
    assert not Path("new").exists()


def test_names_in_a_wheel_cannot_forge_lines(cli: Cli) -> None:
    forged = "demo/a\nx.whl: ok\x1b[2J.PY"
    name = wheel(members={forged: b"", forged.replace("PY", "py"): b""})
    _, lines, _ = cli("verify", name)
    (line,) = (line for line in lines if "case-collision" in line)
    assert r"demo/a\nx.whl: ok\x1b[2J.PY" in line
    plain = Path("other", name)
    WheelSpec(platform="linux_x86_64").write(plain.parent)
    _, lines, _ = cli("verify", "--same", name, str(plain))
    assert not [line for line in lines if line.startswith("x.whl")]
    assert not [line for line in lines if "\x1b" in line]


def test_many_findings_are_counted_and_equal_ones_said_once(cli: Cli) -> None:
    spec = WheelSpec(members={f"demo/{number}.dat": b"" for number in range(600)})
    files = spec.files()
    record = "".join(f"/{name},,\n" for name in files)
    spec.write(Path.cwd(), {**files, f"{spec.dist_info}/RECORD": record.encode()})
    _, lines, _ = cli("verify", spec.filename)
    (slashes,) = (line for line in lines if "record-extra" in line)
    assert "603 files in another spelling, such as '/demo/0.dat': write 'demo/0.dat'" in slashes
    record = "".join(f"other/{name},,\n" for name in files)
    spec.write(Path.cwd(), {**files, f"{spec.dist_info}/RECORD": record.encode()})
    _, lines, _ = cli("verify", spec.filename)
    missing = [line for line in lines if "record-missing" in line]
    assert (len(missing), missing[-1]) == (6, "  error: record-missing: ... and 598 more")
    _, text, _ = cli("verify", "--json", spec.filename)
    problems = json.loads("\n".join(text))["wheels"][0]["problems"]
    assert sum(each["rule"] == "record-missing" for each in problems) == 603


def test_tags_letter_by_letter_are_one_finding(cli: Cli) -> None:
    spec = WheelSpec(members={})
    files = spec.files()
    place = f"{spec.dist_info}/WHEEL"
    letters = "".join(f"Tag: {letter}\n" for letter in "cp312-cp312")
    files[place] = files[place].split(b"Tag:")[0] + letters.encode() + b"\n"
    spec.write(Path.cwd(), files)
    _, lines, _ = cli("verify", spec.filename)
    tags = [line for line in lines if "wheel-tags" in line]
    assert [("'c', 'p', '3', '1', '2' and 6 more" in line) for line in tags] == [True, False]
