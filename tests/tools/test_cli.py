"""Commands that ask git, an engine or a Python of their own."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import orchestrator.cli
from orchestrator.errors import ExitCode
from orchestrator.report.schemas import json_schema
from tests.conftest import REPOSITORY
from tests.unit.cli import test_cli as commands
from tests.unit.cli.test_cli import IDS, MATRIX, Cli, check_refused, python

cli = commands.cli
contained = commands.contained


def test_a_plan_copies_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_beneath(_root: Path, _name: Path, place: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))

    monkeypatch.setattr("orchestrator.source.stage.copy_beneath", copy_beneath)

    assert cli("plan", "--format=json").code == 0
    assert not (cli.root / ".orchestrator").exists()


PLANNED = {
    "id": "cp312-manylinux_s390x-cu130",
    "python": "cp312",
    "arch": "s390x",
    "libc": "manylinux",
    "variant": {"cuda": "13.0"},
    "version": "1.0+cu130",
    "build_tag": "1",
    "image": "manylinux_2_28",
    "runner": "ubuntu-24.04",
    "emulated": True,
    "cost": 8.0,
    "abi3": "",
    "stable_abi": {},
    "baseline": "",
    "derived": {},
    "covers": [{"python": "cp312", "libc": "manylinux", "arch": "s390x", "cuda": "13.0"}],
    "test_pythons": [],
    "needs": [],
    "library": None,
    "publish": [],
    "line": 18,
    "env": {"BUILD_VERSION": "1.0+cu130", "B": "$A/x", "A": "${LITERAL}", "C": "13"},
    "environment": {
        "requires": [],
        "constraints": [],
        "isolation": True,
        "frontend": None,
        "indexes": {},
        "cuda": None,
    },
}
"""A target of `plan --format json` without its keys."""


def test_plan_json_is_the_contract(cli: Cli) -> None:
    said = cli("plan", "--format=json")
    document = json.loads(said.out)

    assert said.code == 0
    assert said.err == ""
    assert list(document) == [
        *("schema", "channel", "matrix", "targets", "undetermined", "excluded", "jobs", "inputs"),
        *("elsewhere", "sdist"),
    ]
    assert document["schema"] == 1
    assert document["matrix"] == "matrix.toml"
    assert [each["id"] for each in document["targets"]] == list(IDS)
    target = document["targets"][5]
    key, host_key = target.pop("key"), target.pop("host_key")
    assert re.fullmatch("[0-9a-f]{64}", host_key)
    assert host_key != key
    assert target == PLANNED
    assert len(key) == len(host_key) == 64
    int(key, 16)
    assert [each["targets"] for each in document["jobs"]] == [[each] for each in IDS]
    assert document["jobs"][5] == {
        "id": "06",
        "name": "cp312-manylinux_s390x-cu130",
        "runner": ["ubuntu-24.04"],
        "emulated": ["s390x"],
        "targets": ["cp312-manylinux_s390x-cu130"],
        "cost": 8.0,
        "sdist": False,
    }
    assert document["excluded"][0] == {
        "cell": {"python": "cp311", "libc": "manylinux", "arch": "x86_64", "cuda": "13.0"},
        "rule": "exclude[0]",
        "reason": "no such torch",
    }


def keys(cli: Cli) -> dict[str, str]:
    document = json.loads(cli("plan", "--format=json").out)
    return {each["id"]: each["key"] for each in document["targets"]}


def test_keys_follow_the_source_and_nothing_else(cli: Cli) -> None:
    before = keys(cli)
    assert len(set(before.values())) == len(IDS)

    os.utime(cli.root / "src" / "pyproject.toml", (1e9, 1e9))
    dated = keys(cli)  # without git, SOURCE_DATE_EPOCH is the newest file's time
    assert keys(cli) == dated
    (cli.root / "src" / "pyproject.toml").chmod(0o600)
    (cli.root / "src" / "build").mkdir()
    (cli.root / "src" / "build" / "temp.linux-x86_64").touch()
    assert keys(cli) == dated

    (cli.root / "src" / "a.c").touch()
    os.utime(cli.root / "src" / "a.c", (1e9, 1e9))
    changed = keys(cli)
    assert not set(changed.values()) & set(dated.values())


def test_plan_writes_nothing_but_what_the_source_was(cli: Cli) -> None:
    cli("plan", "--format=json")

    assert sorted(path.name for path in cli.root.iterdir()) == ["cache", "matrix.toml", "src"]
    assert [path.name for path in (cli.root / "cache").iterdir()] == ["sources"]


def test_what_a_build_leaves_behind_is_no_part_of_the_source(cli: Cli) -> None:
    cli.write(MATRIX.replace('"src"', '"."'))
    (cli.root / "pyproject.toml").write_text((cli.root / "src/pyproject.toml").read_text("utf-8"))
    before = keys(cli)
    for place in ("dist", ".orchestrator/logs"):
        (cli.root / place).mkdir(parents=True)
        (cli.root / place / "new").touch()
    assert keys(cli) == before


# explain


def test_explain_says_everything_about_a_target_and_where_it_comes_from(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(map(len, cli("explain", IDS[3]).out.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "300")
    said = cli("explain", IDS[3])

    assert said.code == 0
    assert said.err == ""
    rows = {line.split("  ")[0].strip(): line for line in said.out.splitlines()}
    for row, words in {
        "target": IDS[3],
        "axis cuda": "13.0 axes.cuda",
        "version": "1.0+cu130",
        "build tag": "1 version.build-tag",
        "image": "manylinux_2_28 cibuildwheel",
        "backend": "cibuildwheel",
        "env A": "${LITERAL} env",
        "env B (shell)": "$A/x matrix.toml:",
        "env C": "13 override[0].env",
        "env BUILD_VERSION": "1.0+cu130 version.inject",
        "test": "none the default",
        "repair": "auditwheel where a library is needed that no policy promises the default",
    }.items():
        for word in words.split(" "):
            assert word in rows[row]
    assert keys(cli)[IDS[3]] in rows["key"]
    assert "--only cp312-manylinux_x86_64" in said.out
    assert "CIBW_ENVIRONMENT" in said.out


FOREIGN = """
[project]
source = "src"
[axes]
python = ["cp312"]
arch = ["{arch}"]
[build]
{build}
"""


def told(cli: Cli, arch: str, build: str) -> dict[str, Any]:
    """What `explain` says of compilers, and of what build systems are told."""
    cli.write(FOREIGN.format(arch=arch, build=build))
    said = cli("explain", "--json", f"cp312-manylinux_{arch}")
    assert said.code == 0, said
    document = json.loads(said.out)
    jsonschema.validate(document, json_schema("explain"))
    return {each["what"]: each["value"] for each in document["rows"]}


@pytest.fixture
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def test_explain_says_what_a_cross_build_tells_build_systems(cli: Cli, on_x86_64: None) -> None:
    rows = told(cli, "riscv64", 'emulation = "cross"')

    assert (rows["compiler"], rows["glibc"]) == ("zig", "2.27")
    assert rows["CC"] == "riscv64-linux-gnu-gcc"
    assert rows["CMAKE_TOOLCHAIN_FILE"] == "SCRATCH/toolchain.cmake"
    assert rows["_PYTHON_HOST_PLATFORM"] == "linux-riscv64"
    table = " ".join(cli("explain", "cp312-manylinux_riscv64").out.split())
    assert "zig cc -target riscv64-linux-gnu.2.27" in table
    assert 'set(CMAKE_SYSTEM_PROCESSOR "riscv64")' in table
    assert "cpu_family = 'riscv64'" in table


def test_explain_says_where_an_emulated_build_finds_native_compilers(
    cli: Cli, on_x86_64: None
) -> None:
    rows = told(cli, "aarch64", "")
    assert rows["PATH"] == "/opt/orchestrator-native/bin"
    assert rows["programs there"][:4] == ["cc", "gcc", "c++", "g++"]
    for arch, build in (("aarch64", 'emulation = "full"'), ("x86_64", "")):
        assert not {"PATH", "CC"} & told(cli, arch, build).keys()
    assert told(cli, "x86_64", 'baseline = "2.17"')["CC"] == "x86_64-linux-gnu-gcc"


def test_the_document_of_explain_has_values(cli: Cli, on_x86_64: None) -> None:
    build = 'timeout = 60\nrepair = "auditwheel"\nrequires = ["a", "b>=1"]'
    rows = told(cli, "x86_64", build)
    assert (rows["timeout"], rows["repair"], rows["requires"]) == (60, "auditwheel", ["a", "b>=1"])
    assert (rows["smoke test"], rows["build tag"], rows["test"]) == (True, None, "none")
    assert isinstance(rows["memory together"], int)


def test_explain_says_where_the_project_has_its_own_commands(cli: Cli) -> None:
    own = '[tool.cibuildwheel]\ntest-command = "pytest"\n'
    cli.write(FOREIGN.format(arch="x86_64", build=""), commands.PYPROJECT + own)
    document = json.loads(cli("explain", "--json", "cp312-manylinux_x86_64").out)

    (test,) = (row for row in document["rows"] if row["what"] == "test")
    assert (test["value"], test["note"]) == (None, "as the project says")
    assert test["origin"] == "pyproject.toml: tool.cibuildwheel.test-command"


def test_explain_says_nothing_of_qemu_where_the_target_runs_natively(
    cli: Cli, on_x86_64: None
) -> None:
    for arch in ("x86_64", "i686"):
        assert "emulation" not in told(cli, arch, "")
        assert "QEMU" not in cli("explain", f"cp312-manylinux_{arch}").out
    assert told(cli, "aarch64", "")["emulation"] == "accelerated"


EXCLUDING = (
    FOREIGN.replace("{arch}", "x86_64").replace("{build}", "")
    + """
[axes.cuda]
values = ["12.6", "13.0"]
label = "cu{cuda|nodot}"
[[exclude]]
when.cuda = "13.0"
reason = "too new"
"""
)


def test_explain_of_an_excluded_cell_names_the_rule(cli: Cli) -> None:
    cli.write(EXCLUDING)
    lost = "cp312-manylinux_x86_64-cu130"
    said = cli("explain", lost)
    assert said.code == 0, said
    lines = [line.split() for line in said.out.splitlines()]
    assert ["excluded", "by", "exclude[0]", "#", "matrix.toml:13:", "exclude[0]"] in lines
    assert ["reason", "too", "new"] in lines

    document = json.loads(cli("explain", lost, "--json").out)
    jsonschema.validate(document, json_schema("explain"))
    rows = {each["what"]: (each["value"], each["line"]) for each in document["rows"]}
    assert document["excluded"]
    assert (rows["excluded by"], rows["axis cuda"][0]) == (("exclude[0]", 13), "13.0")

    check_refused(cli("rebuild", lost), ExitCode.CONFIG, "exclude[0]", "is excluded: too new")
    check_refused(cli("explain", f"{lost}0"), ExitCode.CONFIG, "there is no target")


HEAVY = (
    *("pydantic", "rich", "packaging", "tomllib", "asyncio", "concurrent.futures", "subprocess"),
    "difflib",
)


def test_help_loads_nothing_heavy() -> None:
    """What takes the time; a clock would tell more about the machine."""
    arguments = ["--help", "--version", *(f"{name} --help" for name in orchestrator.cli.COMMANDS)]
    code = (
        "import sys, orchestrator.cli\n"
        f"for argument in {arguments}:\n"
        "    assert orchestrator.cli.run(argument.split()) == 0, argument\n"
        f"    heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "    assert not heavy, (argument, heavy)\n"
    )

    said = python("-c", code)

    assert said.returncode == 0, said.stderr
    assert said.stdout.count("Usage: orchestrator") == len(arguments) - 1


def test_as_a_module(cli: Cli) -> None:
    done = python("-m", "orchestrator", "plan", "--format=ids", cwd=cli.root)

    assert done.returncode == 0
    assert done.stdout.split() == list(IDS)
    assert done.stderr == ""


def test_a_reader_that_goes_away_gets_no_traceback(cli: Cli) -> None:
    """``orchestrator plan | head -1`` with a plan larger than a pipe."""
    values = ", ".join(f'"v{number}"' for number in range(600))
    text = MATRIX.replace("[version]", f"many = [{values}]\n[version]")
    text = text.replace("inject = {", 'inject = { MANY = "{many}",')
    cli.write(text.replace('local = "', 'local = "{many}.'))
    code = "import sys, orchestrator.cli; sys.exit(orchestrator.cli.run(['plan', '--format=ids']))"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cli.root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert said == b""
    assert process.returncode == 0, "a reader that has seen enough is no error"


CONTAINED_ID = "cp311-manylinux_x86_64-a"


def test_a_plan_without_an_engine_says_what_only_an_image_knows(contained: Cli) -> None:
    table = contained("plan")
    assert table.code == 0
    assert "not known yet" in table.out
    assert "2 targets, 0 cells excluded" in table.out
    assert table.err.count("no version yet: ") == 2
    assert "'cuda' is known only in image registry/a:1 (container-env:CUDA_VERSION)" in " ".join(
        table.err.split()
    )
    assert "podman is not installed" in table.err
    assert "env:NAME" in table.err

    ids = contained("plan", "--format=ids")
    assert ids.out.split() == ["cp311-manylinux_x86_64-a", "cp311-manylinux_x86_64-b"]
    assert ids.err == ""

    document = json.loads(contained("plan", "--format=json").out)
    assert document["targets"] == []
    assert [each["id"] for each in document["undetermined"]] == ids.out.split()


@pytest.mark.parametrize(
    "command", [("build",), ("rebuild", CONTAINED_ID), ("explain", CONTAINED_ID)]
)
def test_what_needs_the_version_needs_the_engine(contained: Cli, command: tuple[str, ...]) -> None:
    said = contained(*command)

    check_refused(said, ExitCode.ENVIRONMENT, "is known only in image", "is not installed")


def test_another_source_spares_the_engine(contained: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_CUDA", "13.0")
    (contained.root / "src" / "VERSION").write_text("2.5\n", encoding="utf-8")
    document = json.loads(contained("plan", "--format=json").out)

    assert [each["version"] for each in document["targets"]] == ["2.5+cu130.a", "2.5+cu130.b"]
    assert document["undetermined"] == []


def test_explain_says_what_every_source_said(
    contained: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_VERSION", "<unknown>")
    monkeypatch.setenv("DEMO_CUDA", "13.0")
    monkeypatch.setenv("COLUMNS", "300")
    said = contained("explain", "cp311-manylinux_x86_64-a")
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.out.splitlines()]

    found = {row[0]: row[1] for row in rows if len(row) > 1}
    assert found["version"] == "1.0+cu130.a"
    assert found["base"] == "1.0 (pyproject)"
    assert ["env:DEMO_VERSION", "('<unknown>' is a placeholder)"] in rows
    assert ["file:VERSION", "(VERSION: No such file or directory)"] in rows
    assert found["cuda"] == "13.0 (env:DEMO_CUDA)"
    assert ["container-env:CUDA_VERSION", "(not asked)"] in rows
    assert found["local"] == "cu130.a (cu{cuda|nodot}.{kind})"
