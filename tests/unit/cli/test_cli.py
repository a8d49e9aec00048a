"""The doors: exit codes, what is data and what is talk, and the documents."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

import orchestrator.cli
from orchestrator.builders.backend_choice import Choice
from orchestrator.doctor.check import Check, CheckLevel
from orchestrator.errors import EnvironmentProblemError, ExitCode, OrchestratorError, Problem
from orchestrator.models.result import BuildResult, CompileReport, Failure, FailureKind, Status
from orchestrator.models.target import BackendName, Digest, EmulationMode, TargetId
from orchestrator.models.wheel import WheelReport
from orchestrator.models.wheel_name import WheelFilename
from orchestrator.report import results as results_file
from orchestrator.report import serialize as documents
from orchestrator.report import summary
from tests import factories
from tests.auditor import load_policies
from tests.conftest import REPOSITORY
from tests.factories import WHEEL, result
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

MATRIX = """
[project]
source = "src"
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64", "s390x"]
cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}" }
[version]
local = "cu{cuda|nodot}"
build-tag = "1"
inject = { BUILD_VERSION = "{version}" }
[env]
B = { shell = "$A/x" }
A = "${LITERAL}"
[[exclude]]
when = { cuda = "13.0", python = "cp311" }
reason = "no such torch"
[[override]]
when = { cuda = "13.0" }
env = { C = "13" }
"""
PYPROJECT = '[project]\nname = "demo"\nversion = "1.0"\n'
IDS = (
    "cp311-manylinux_x86_64-cu126",
    "cp311-manylinux_s390x-cu126",
    "cp312-manylinux_x86_64-cu126",
    "cp312-manylinux_x86_64-cu130",
    "cp312-manylinux_s390x-cu126",
    "cp312-manylinux_s390x-cu130",
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Cli:
    """The command line in a directory of its own."""

    root: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Said:
        self.capture.readouterr()
        code = orchestrator.cli.run(arguments)
        said = self.capture.readouterr()
        return Said(code=int(code), out=said.out, err=said.err)

    def write(self, matrix: str | bytes, pyproject: str | None = PYPROJECT) -> None:
        data = matrix if isinstance(matrix, bytes) else matrix.encode()
        (self.root / "matrix.toml").write_bytes(data)
        if pyproject is not None:
            (self.root / "src").mkdir(exist_ok=True)
            (self.root / "src" / "pyproject.toml").write_text(pyproject, encoding="utf-8")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """No toolchain, and nobody may make one."""

    def sync(*_args: object, **_options: object) -> None:
        raise EnvironmentProblemError.of("no toolchain here", hint="make one")

    monkeypatch.setattr("orchestrator.provision.toolchain.sync", sync)
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = Cli(root=tmp_path, capture=capsys)
    made.write(MATRIX)
    return made


# Bad input: one clear message, the right exit code, nothing on stdout


def check_refused(said: Said, code: ExitCode, *messages: str) -> None:
    assert said.code == code, said
    assert said.out == ""
    told = " ".join(said.err.split())
    for message in messages:
        assert " ".join(message.split()) in told
    assert "Traceback" not in said.err
    assert "bug" not in said.err


COMMANDS = (("plan",), ("plan", "--format=json"), ("explain", "x"), ("build",), ("rebuild", "x"))

BAD: dict[str, tuple[str, str | bytes, *tuple[str, ...]]] = {
    "TOML": (MATRIX, "[axes\n", "error: matrix.toml:1:6: not valid TOML"),
    "bytes": (MATRIX, b"\xff", "not valid TOML"),
    "key": ("", "[projct]\n", "error: matrix.toml:21: projct: unknown key", "mean 'project'?"),
    "type": ("", "[build]\ntimeout = '1'\n", "build.timeout: must be an integer"),
    "axis value": ("s390x", "s390", "axes.arch[1]", "did you mean 's390x'?"),
    "python": ("cp312", "cp3.12", "axes.python[1]", "did you mean 'cp312'?"),
    "exclude": ('"13.0", p', '"13.1", p', "exclude[0].when.cuda: matches nothing", "mean '13.0'?"),
    "template": ('"cu{cuda|nodot}"\nb', '"{cud}"\nb', "version.local", "'cud'"),
    "image": (
        "",
        '[images]\nmanylinux_s390x = "manylinux_2_99"\n',
        "images.manylinux_s390x",
        "neither an image reference nor an alias",
    ),
    "missing image": ("s390x", "loongarch64", "images.manylinux_loongarch64: no image"),
    "version": ('build-tag = "1"', 'build-tag = "a"', "version.build-tag"),
    "preset": ("", '[build]\nexternal = ["cudda"]\n', "build.external", "did you mean 'cuda'?"),
    "source": ('"src"', '"gone/src"', "project.source", "neither a directory, nor an sdist"),
    "requirement": ('"src"', '"thing>=1"', "project.source", "not pinned"),
    "sdist": ('"src"', '"x-1.0.tar.gz"', "project.source", "there is no file"),
    "two things": ("", "[projct]\n[enviro]\n", "projct: ", "enviro: "),
}
"""What stands in the matrix, or its end, what stands there instead, and what is said of that."""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("what", BAD)
def test_a_bad_matrix(cli: Cli, what: str, arguments: tuple[str, ...]) -> None:
    old, new, *messages = BAD[what]
    if isinstance(new, bytes):
        cli.write(new)
    else:
        cli.write(MATRIX.replace(old, new) if old else MATRIX + new)

    check_refused(cli(*arguments), ExitCode.CONFIG, *messages)
    assert not (cli.root / "dist").exists()


@pytest.mark.parametrize(
    ("pyproject", "message"),
    [
        ("[tool.x]\n", "no build backend"),
        ("[project\n", "not valid TOML"),
        ("a = " + "[" * 50_000, "not valid TOML"),
        ("a = " + "9" * 10_000, "not valid TOML"),
        (".".join("a" * 1_000_000) + " = 1", "not valid TOML"),
        ('[project]\nname = "x"\ndynamic = ["version"]\n', "set version.base"),
        ('[project]\nname = "x"\nversion = "latest"\n', "is not a PEP 440 version"),
    ],
)
def test_a_bad_source(cli: Cli, pyproject: str, message: str) -> None:
    cli.write(MATRIX, pyproject)

    check_refused(cli("plan"), ExitCode.CONFIG, message)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_matrix(cli: Cli, arguments: tuple[str, ...]) -> None:
    said = cli(*arguments, "--matrix", "gone.toml")

    check_refused(said, ExitCode.CONFIG, "gone.toml: No such file", "say --matrix FILE")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nope",), "No such option"),
        (("nope",), "No such command 'nope'"),
        (("plan", "--format", "xml"), "'xml' is not one of"),
        (("plan", "extra"), "unexpected extra argument"),
        (("plan", "--matrix", "."), "is a directory"),
        (("explain",), "Missing argument"),
        (("build", "-j", "0"), "0 is not in the range"),
        (("build", "-j", "two"), "not a valid integer"),
        (("build", "--backend", "magic"), "'magic' is not one of"),
        (("build", "--output-dir", "matrix.toml"), "is a file"),
        (("inspect",), "Missing argument"),
        (("verify", "gone.whl"), "does not exist"),
        *((("plan", "--excluded", f"--format={form}"), "--excluded") for form in ("ids", "github")),
        (("plan", "--excluded", "--format=markdown"), "--excluded"),
        (("plan", "--select", "cuda>=13 &"), "--select: 'cuda>=13 &' is not an expression"),
        (("plan", "--select", "cud>=13"), "did you mean 'cuda'?"),
        (("explain", "--json", "--why-rebuild", IDS[0]), "has no JSON"),
    ],
)
def test_bad_arguments(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    check_refused(cli(*arguments), ExitCode.CONFIG, message)


NOT_FILES = {
    "matrix": ("plan", "--matrix={}"),
    "explain": ("explain", IDS[0], "--matrix={}"),
    "plan of a build": ("build", "--plan={}", "--job=a"),
    "plan of collect": ("collect", "dist", "--plan={}"),
    "results of a report": ("report", "{}"),
    "results of rebuild": ("rebuild", IDS[0], "--from={}"),
}


@pytest.mark.parametrize("arguments", NOT_FILES.values(), ids=NOT_FILES.keys())
def test_an_argument_that_never_ends(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Neither a pipe nor a device is opened, and the error names it."""
    (cli.root / "dist").mkdir()
    os.mkfifo(cli.root / "pipe")
    (cli.root / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        said = cli(*(each.format(name) for each in arguments))
        check_refused(said, ExitCode.CONFIG, name, "is not a regular file")


@pytest.mark.parametrize("kind", ["pipe", "zero", "huge"])
@pytest.mark.parametrize(
    "name", ["src/pyproject.toml", "src/PKG-INFO", "torch.toml", "src/VERSION"]
)
def test_a_file_that_never_ends_in_a_tree_of_others(cli: Cli, name: str, kind: str) -> None:
    more = {
        "torch.toml": ("[axes]", '[compat]\nfile = "torch.toml"\n[axes]\ntorch = ["2.8"]'),
        "src/VERSION": ("[version]", '[version]\nbase = "file:VERSION"'),
    }
    cli.write(MATRIX.replace(*more.get(name, ("", ""))))
    place = cli.root / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "zero":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as sparse:
            sparse.truncate(1 << 40)

    said = cli("plan")

    if name == "src/PKG-INFO" and kind != "huge":
        assert said.code == ExitCode.OK  # nothing that an unpacked sdist has, and not opened
    else:
        check_refused(said, ExitCode.CONFIG, place.name)


DIGITS = "1" * 5000
"""More than Python makes a number of."""

NUMBERS = {
    "requires-python": (
        "src/pyproject.toml",
        "[project]",
        f'[project]\nrequires-python = ">=3.{DIGITS}"',
    ),
    "version": ("src/pyproject.toml", 'version = "', f'version = "{DIGITS}'),
    "a selection": (
        "src/pyproject.toml",
        "[project]",
        f'[tool.cibuildwheel]\nbuild = "cp3{{1..{DIGITS}}}-*"\n[project]',
    ),
    "a condition": ("matrix.toml", "[axes]", f'[[exclude]]\nwhen = "python>{DIGITS}"\n[axes]'),
    "a Python": ("matrix.toml", '"cp312"', f'"cp3{DIGITS}"'),
    "a requirement": ("matrix.toml", "[axes]", f'[build]\nrequires = ["a>{DIGITS}"]\n[axes]'),
    "a source": ("matrix.toml", 'source = "src"', f'source = "a>{DIGITS}"'),
}


@pytest.mark.parametrize(("name", "old", "new"), NUMBERS.values(), ids=NUMBERS.keys())
def test_a_number_that_python_cannot_hold_is_no_bug(
    cli: Cli, name: str, old: str, new: str
) -> None:
    place = cli.root / name
    assert old in place.read_text()
    place.write_text(place.read_text().replace(old, new, 1))
    assert cli("plan").code in {ExitCode.OK, ExitCode.CONFIG}


@pytest.mark.parametrize("command", [("plan",), ("plan", "--format=ids"), ("build",)])
@pytest.mark.parametrize(
    ("selections", "message"),
    [
        (("cp310-*", "*-cu111"), "no target matches 'cp310-*' or '*-cu111'"),
        (("arch=s390 & cuda>=12",), "arch: did you mean 's390x'?"),
    ],
)
def test_nothing_selected(
    cli: Cli, command: tuple[str, ...], selections: tuple[str, ...], message: str
) -> None:
    said = cli(*command, *(f"--select={each}" for each in selections))

    check_refused(said, ExitCode.NOTHING_SELECTED, message)


def test_everything_excluded(cli: Cli) -> None:
    cli.write(MATRIX.replace('cuda = "13.0", python = "cp311"', 'cuda = "*"').split("[[over")[0])

    said = cli("plan", "--format=ids")
    check_refused(said, ExitCode.NOTHING_SELECTED, "every cell of the matrix is excluded")
    assert "hint: exclude[0]: " in said.err


@pytest.mark.parametrize("command", ["explain", "rebuild"])
def test_an_unknown_target(cli: Cli, command: str) -> None:
    said = cli(command, "cp312-manylinux_x86_64-cu13")

    check_refused(
        said,
        ExitCode.CONFIG,
        "there is no target 'cp312-manylinux_x86_64-cu13'",
        "did you mean 'cp312-manylinux_x86_64-cu130'?",
        "plan --excluded",
    )


@pytest.mark.parametrize("command", [("build",), ("rebuild", IDS[0])])
def test_no_toolchain(cli: Cli, command: tuple[str, ...]) -> None:
    said = cli(*command)

    check_refused(said, ExitCode.ENVIRONMENT, "error: no toolchain here\n  hint: make one")
    assert not (cli.root / "dist").exists()


# What goes wrong otherwise


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def open_workspace(_matrix: Path, _channel: str = "", **_options: bool) -> None:
        raise error

    monkeypatch.setattr("orchestrator.cli.workspace.open_workspace", open_workspace)


@pytest.mark.parametrize(
    ("error", "code"),
    [(kind.of("it is so"), kind.exit_code) for kind in OrchestratorError.__subclasses__()],
    ids=lambda each: type(each).__name__,
)
def test_every_error_has_its_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: OrchestratorError, code: ExitCode
) -> None:
    breaking(monkeypatch, error)

    check_refused(cli("plan"), code, "error: it is so\n")


def test_every_problem_has_its_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(
        monkeypatch,
        EnvironmentProblemError(
            Problem(what="one", where="here", hint="do this"), Problem(what="two")
        ),
    )

    assert cli("plan").err == "error: here: one\n  hint: do this\nerror: two\n"


def test_errors_fit_the_columns_and_break_nothing_that_is_copied(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/a/path/" + "of-many-words/" * 6
    command = "orchestrator build --select 'cp312-* & cuda=13.0' --output-dir a-long-name --jobs=2"
    breaking(monkeypatch, EnvironmentProblemError.of("a b " * 40, where=path, hint=f"`{command}`"))

    for columns in ("80", "60", ""):
        monkeypatch.setenv("COLUMNS", columns)
        lines = cli("plan").err.splitlines()
        assert f"  {path}:" in lines
        assert f"    `{command}`" in lines
        others = [line for line in lines if path not in line and command not in line]
        assert max(map(len, others)) <= int(columns or 80)
        assert " ".join(others).split() == ["error:", *["a", "b"] * 40, "hint:"]


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("oh"), OSError(errno.EBADF, "bad"), KeyError(), RuntimeError("\x1b[m\n::x")],
)
def test_a_bug_keeps_its_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    breaking(monkeypatch, error)

    said = cli("plan")

    assert said.code == ExitCode.BUG
    assert said.out == ""
    assert "Traceback" in said.err
    assert type(error).__name__ in said.err
    assert "this is a bug in orchestrator" in said.err
    assert "\x1b" not in said.err
    assert "\n::" not in said.err


def test_ctrl_c(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, KeyboardInterrupt())

    said = cli("plan")

    assert said.code == ExitCode.INTERRUPTED
    assert said.out == ""
    assert said.err.strip() == "interrupted"


# plan


@pytest.mark.parametrize(
    ("selections", "ids"),
    [
        ((), IDS),
        (("cuda>=13 & arch=s390x",), IDS[5:]),
        (("*-cu130", "cp311-*"), (IDS[0], IDS[1], IDS[3], IDS[5])),
    ],
    ids=["everything", "by axes", "in the order of the plan"],
)
def test_plan_ids(cli: Cli, selections: tuple[str, ...], ids: tuple[str, ...]) -> None:
    said = cli("plan", "--format", "ids", *(f"--select={each}" for each in selections))

    assert said == Said(code=0, out="".join(f"{each}\n" for each in ids), err="")


def test_plan_elsewhere(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths in the file are relative to the file."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert cli("plan", "--format=ids", "--matrix=../matrix.toml").out.split() == list(IDS)


def test_plan_as_a_table(cli: Cli) -> None:
    said = cli("plan")

    assert (said.code, said.err) == (0, "")
    counts = ("6 targets, 2 cells excluded", "exclude[0]: 2 cells: no such torch")
    for each in (*IDS, "1.0+cu130", "ubuntu-24.04 (QEMU)", *counts):
        assert each in said.out


def test_plan_excluded(cli: Cli) -> None:
    text = cli("plan", "--excluded").out

    for each in ("exclude[0]", "no such torch", "x86_64 s390x", "13.0"):
        assert each in text


def test_a_requirement_needs_the_toolchain_for_its_key(cli: Cli) -> None:
    cli.write(MATRIX.replace('"src"', '"thing==1.0"'))

    assert cli("plan", "--format=ids").code == 0
    check_refused(cli("plan", "--format=json"), ExitCode.ENVIRONMENT, "no toolchain here")


# verify and inspect


EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"


@pytest.fixture
def wheels(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a wheel in the current directory; the policies are the installed auditwheel's."""
    monkeypatch.setattr("orchestrator.cli.workspace.load_policies", load_policies)
    no_tools = (load_policies(), lambda *_: ())
    monkeypatch.setattr("orchestrator.cli.verify.checking_tools", lambda: no_tools)
    versions = {"libc.so.6": {"GLIBC_2.17": ("secure_getenv",), "GLIBC_2.2.5": ("free",)}}

    def make(**changes: Any) -> str:
        members = {EXTENSION: make_elf(ElfSpec(versions=versions, defined=("PyInit__ext",)))}
        spec = WheelSpec(**{"members": members, **changes})
        return spec.write(cli.root).name

    return make


def test_verify(cli: Cli, wheels: Callable[..., str]) -> None:
    good, bad = wheels(), wheels(version="2.0", platform="manylinux_2_5_x86_64")

    assert cli("verify", good) == Said(code=0, out=f"{good}: ok\n", err="")
    for order in ((good, bad), (bad, good)):
        said = cli("verify", *order)
        assert said.code == ExitCode.BAD_WHEEL
        assert f"{good}: ok\n" in said.out
        assert f"{bad}: not what it says\n  error: tag-too-low: " in said.out
        assert said.err == ""


def test_inspect_json_is_the_contract(cli: Cli, wheels: Callable[..., str]) -> None:
    name = wheels(platform="linux_x86_64")

    said = cli("inspect", "--json", name)

    assert said.code == 0
    assert said.err == ""
    document = json.loads(said.out)
    assert document["schema"] == 1
    (found,) = document["wheels"]
    contract = {
        "path": name,
        "version": "1.0",
        "declared_tags": ["cp312-cp312-linux_x86_64"],
        "observed_tag": "manylinux_2_17_x86_64",
        "reasons": [
            {
                "file": EXTENSION,
                "library": "libc.so.6",
                "symbol_version": "GLIBC_2.17",
                "symbols": ["secure_getenv"],
            }
        ],
        "external_libs": {},
    }
    assert {key: found[key] for key in contract} == contract
    assert found.keys() >= {"isa", "problems"}


def test_inspect_says_which_symbol_of_which_file_forces_the_tag(
    cli: Cli, wheels: Callable[..., str]
) -> None:
    out = cli("inspect", wheels()).out
    assert all(len(line) <= 80 for line in out.splitlines())
    out = " ".join(out.split())

    assert "observed manylinux_2_17_x86_64, manylinux2014_x86_64" in out
    assert f"because {EXTENSION} needs GLIBC_2.17 of libc.so.6 (secure_getenv)" in out


# doctor


@pytest.mark.parametrize(
    ("level", "code"),
    [
        (CheckLevel.OK, ExitCode.OK),
        (CheckLevel.WARN, ExitCode.OK),
        (CheckLevel.FAIL, ExitCode.ENVIRONMENT),
    ],
)
def test_doctor(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, level: CheckLevel, code: ExitCode
) -> None:
    asked: dict[str, Any] = {}

    def examine(**options: Any) -> tuple[Check, ...]:
        asked.update(options)
        return (
            Check(name="disk", status=CheckLevel.OK, detail="9 GiB", fix=""),
            Check(name="engine", status=level, detail="gone", fix="install it"),
        )

    monkeypatch.setattr("orchestrator.doctor.examine.examine", examine)

    said = cli("doctor", "--json")

    assert said.code == code
    assert json.loads(said.out) == {
        "schema": 1,
        "checks": [
            {"name": "disk", "status": "ok", "detail": "9 GiB", "fix": ""},
            {"name": "engine", "status": str(level), "detail": "gone", "fix": "install it"},
        ],
    }
    targets = asked["targets"]
    assert sorted({str(each.arch) for each in targets}) == ["s390x", "x86_64"]
    assert sorted({each.python for each in targets}) == ["cp311", "cp312"]
    assert "install it" in cli("doctor").out
    cli("doctor", "--select", "arch=x86_64", "-j3")
    assert {str(each.arch) for each in asked["targets"]} == {"x86_64"}
    assert asked["jobs"] == 3
    check_refused(cli("doctor", "--matrix=gone.toml"), ExitCode.CONFIG, "gone.toml: No such file")
    (cli.root / "matrix.toml").unlink()
    assert cli("doctor").code == code, "without a matrix"


# The end of a run


OK = result("t", key="k", duration=1.23456)
FAILED = result("t", Status.FAILED, FailureKind.BUILD)
BAD_WHEEL = result("t", Status.FAILED, FailureKind.BAD_WHEEL)
AUDIT = result("t", Status.FAILED, FailureKind.AUDIT)
BUG = result("t", Status.FAILED, FailureKind.BUG)
LACKING = result("t", Status.UNAVAILABLE, FailureKind.UNAVAILABLE)
CANCELLED = result("t", Status.CANCELLED, FailureKind.CANCELLED)
OUT_OF_TIME = result("t", Status.CANCELLED, FailureKind.OUT_OF_TIME)


@pytest.mark.parametrize(
    ("results", "fail_fast", "code"),
    [
        ((), False, ExitCode.OK),
        ((OK, OK), False, ExitCode.OK),
        ((OK, FAILED), False, ExitCode.TARGET_FAILED),
        ((FAILED, BAD_WHEEL), False, ExitCode.BAD_WHEEL),
        ((AUDIT, OK), False, ExitCode.BAD_WHEEL),
        ((OK, LACKING), False, ExitCode.ENVIRONMENT),
        ((FAILED, LACKING), False, ExitCode.TARGET_FAILED),
        ((BUG, BAD_WHEEL), False, ExitCode.BUG),
        ((OK, CANCELLED), False, ExitCode.INTERRUPTED),
        ((FAILED, CANCELLED), False, ExitCode.INTERRUPTED),
        # Not the user but the failure cancelled the others.
        ((FAILED, CANCELLED), True, ExitCode.TARGET_FAILED),
        ((BAD_WHEEL, CANCELLED, OK), True, ExitCode.BAD_WHEEL),
        ((OK, CANCELLED), True, ExitCode.INTERRUPTED),
        ((OK, OUT_OF_TIME), False, ExitCode.TARGET_FAILED),
        ((LACKING, OUT_OF_TIME), False, ExitCode.TARGET_FAILED),
        ((BAD_WHEEL, OUT_OF_TIME), False, ExitCode.BAD_WHEEL),
    ],
)
def test_the_exit_code_of_a_run(
    results: tuple[BuildResult, ...], code: ExitCode, *, fail_fast: bool
) -> None:
    assert summary.exit_code(results, fail_fast=fail_fast) is code


Places = tuple[Path, Path]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The output and the work directory."""
    for name in ("dist", "work"):
        (tmp_path / name).mkdir()
    return tmp_path / "dist", tmp_path / "work"


def record(places: Places, *results: BuildResult) -> dict[str, Any]:
    """Write results, and return what results.json has then."""
    output, work = places
    made = [documents.result(each, root=output.parent) for each in results]
    results_file.write(made, output=output, work=work)
    document = json.loads((output / "results.json").read_text("utf-8"))
    assert document["schema"] == 1
    return {each["id"]: each for each in document["results"]}


def wheel_named(name: str, data: bytes = b"") -> WheelReport:
    digest = Digest(hashlib.sha256(data).hexdigest())
    return replace(WHEEL, filename=WheelFilename(f"{name}-1-py3-none-any.whl"), sha256=digest)


def test_results_of_earlier_runs_stay_unless_the_target_ran_again(places: Places) -> None:
    one, two = (replace(FAILED, target_id=TargetId(each)) for each in "ba")
    record(places, one, two)
    found = record(places, replace(one, status=Status.OK, failure=None))

    assert [(name, each["status"]) for name, each in found.items()] == [
        ("a", "failed"),
        ("b", "ok"),
    ]


def test_a_run_that_was_stopped_says_nothing_about_earlier_wheels(places: Places) -> None:
    record(places, replace(OK, wheel=WHEEL))

    assert record(places, CANCELLED)["t"]["status"] == "ok"


def test_a_superseded_wheel_goes_aside_and_nobody_else_s(places: Places) -> None:
    output, work = places
    for name in ("old", "changed", "foreign"):
        (output / f"{name}-1-py3-none-any.whl").write_text(name)
    other = replace(OK, target_id=TargetId("u"), wheel=wheel_named("changed", b"old"))
    record(places, replace(OK, wheel=wheel_named("old", b"old")), other)
    failed = replace(FAILED, target_id=TargetId("u"))
    record(places, replace(OK, wheel=wheel_named("new")), failed)

    left = sorted(each.name.partition("-")[0] for each in output.glob("*.whl"))
    assert left == ["changed", "foreign"]
    assert [each.name for each in (work / "superseded").iterdir()] == ["old-1-py3-none-any.whl"]


@pytest.mark.parametrize(
    "earlier", ["", "[]", "null", "{", '{"schema": 99, "results": 3}', '{"a": 1}', "\xff"]
)
def test_a_results_file_of_somebody_else_is_no_crash(places: Places, earlier: str) -> None:
    (places[0] / "results.json").write_text(earlier, encoding="latin-1")

    assert set(record(places, OK)) == {"t"}


# In a process of its own


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        text=True,
        capture_output=True,
        check=False,
        **options,
    )


def test_help_lists_every_command(cli: Cli) -> None:
    out = cli("--help").out

    for name in orchestrator.cli.COMMANDS:
        assert f"\n  {name} " in out
        assert cli(name, "--help").code == 0
    modules = {path.stem for path in Path(orchestrator.cli.__file__).parent.glob("*.py")}
    commands = set(orchestrator.cli.COMMANDS) - {"inspect"} | {"inspect_wheels"}
    others = {"__init__", "completion", "find_matrix", "help", "options", "output", "workspace"}
    assert modules - others == commands


def test_no_arguments_is_help_and_an_error(cli: Cli) -> None:
    said = cli()

    assert said.code == ExitCode.CONFIG
    assert "Usage: orchestrator" in said.err + said.out


def printed(what: RenderableType, width: int = 80) -> str:
    out = io.StringIO()
    Console(width=width, file=out).print(what)
    return out.getvalue()


def test_targets_that_are_built_alike_share_a_line() -> None:
    missing = Problem(what="cannot pull image x: no network", cause="cannot pull its image")
    built = Choice(backend=BackendName.DIRECT, how="this host", why_not=(missing,))
    others = replace(built, why_not=(replace(missing, what="cannot pull image y: no network"),))
    choices = {TargetId(f"t{number}"): built for number in range(4)}
    choices |= {TargetId(f"o{number}"): others for number in range(3)}
    failure = Failure(kind=FailureKind.UNAVAILABLE, message="no engine")
    lost = Choice(backend=None, failure=failure)
    choices |= {TargetId("a"): lost, TargetId("b"): lost}
    lines = summary.choice_lines(choices, map(factories.target, choices), width=80)

    assert list(lines) == [
        "targets  how                   tested",
        "      7  this host             yes",
        "      2  cannot be built here",
        "2 targets cannot be built here: no engine",
        "7 targets not built the preferred way: cannot pull its image",
    ]


def test_targets_with_one_cause_share_a_block() -> None:
    why = Failure(kind=FailureKind.UNAVAILABLE, message="no engine", hint="install one")
    lost = replace(FAILED, status=Status.UNAVAILABLE, log=None, failure=why)
    both = [replace(lost, target_id=TargetId(each)) for each in ("one", "two")]
    said = printed(summary.problems([*both, OK], width=80, again=())).splitlines()

    assert said == [
        "",
        "2 targets cannot be built here: no engine",
        "  one, two",
        "  hint: install one",
    ]


def test_a_failed_build_names_its_log_and_the_command_that_opens_a_shell(tmp_path: Path) -> None:
    why = Failure(kind=FailureKind.BUILD, message="it did not build", step="build")
    failed = replace(FAILED, log=tmp_path / "t.log", failure=why)
    said = printed(
        summary.problems([failed], width=200, again=("o", "rebuild", "{}", "--shell")), 200
    )

    assert f"  log: {tmp_path}/t.log\n  look: o rebuild {failed.target_id} --shell\n" in said


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"not_run": "no engine"}, "NOT IMPORTED, nor tested (2 targets): no engine"),
        ({"not_tested": "no engine"}, "imported, NOT TESTED (2 targets): no engine"),
    ],
)
def test_wheels_that_were_not_tested_are_said_to_be_such(missing: Any, said: str) -> None:
    compiled = CompileReport(emulation=EmulationMode.CROSS, compiler="zig", **missing)
    made = [replace(OK, target_id=TargetId(each), compiled=compiled) for each in ("one", "two")]

    assert f"{said}\n  one, two\n" in printed(summary.untested([*made, OK], width=80))


# Versions and their sources

CONTAINED = """
[project]
source = "src"
[axes]
python = ["cp311"]
arch = ["x86_64"]
kind = ["a", "b"]
[images]
manylinux_x86_64 = "registry/{kind}:1"
[version]
base = ["env:DEMO_VERSION", "file:VERSION", "pyproject"]
parts = { cuda = ["env:DEMO_CUDA", "container-env:CUDA_VERSION"] }
local = "cu{cuda|nodot}.{kind}"
"""


@pytest.fixture
def contained(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """A version that only an image knows, and no engine to ask."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.delenv("DEMO_CUDA", raising=False)
    cli.write(CONTAINED)
    return cli


def test_a_part_that_nothing_knows_is_a_planning_error(contained: Cli) -> None:
    contained.write(CONTAINED.replace(', "container-env:CUDA_VERSION"', ""))
    said = contained("plan")

    check_refused(said, ExitCode.CONFIG, "version.parts.cuda: no source knows 'cuda'", "not set")
