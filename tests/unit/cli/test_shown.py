"""What people see of names that others chose: on both streams, by every command."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator.cli
from orchestrator.cli import COMMANDS, output
from orchestrator.errors import ExitCode
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import TargetId
from orchestrator.report import plans
from orchestrator.report import serialize as documents
from orchestrator.report.progress import LiveProgress, PlainProgress
from orchestrator.report.text import code, escape, markdown_table, shown
from tests.auditor import load_policies
from tests.conftest import REPOSITORY
from tests.factories import plan_of, result
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2Jgone",
    "a\n::error::forged",
    "a\r::error::forged",
    "x ##[error]y",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "\N{LEFT-TO-RIGHT ISOLATE}x",
    "a\N{LINE SEPARATOR}::error::b",
    "a\x85::error::b",
    "\x7f\x08\x08hidden",
    os.fsdecode(b"\xff\xfe"),
    "| www.example.org | [x](http://y) |",
]


def harmless(text: str) -> bool:
    """Whether a terminal shows this as text, and no line of it is obeyed."""
    lines = text.split("\n")
    return all(each.isprintable() for each in lines) and not any(
        re.match(r"\s*::", each) or "##[" in each for each in lines
    )


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_every_hostile_text_is_spelled_out(text: str) -> None:
    seen = shown(f"x\n{text}\ny")
    assert harmless(seen)
    assert shown(seen) == seen
    assert "\n" not in output.printable(text)


def sources() -> Iterator[Path]:
    for path in (REPOSITORY / "orchestrator").rglob("*.py"):
        if "scripts" not in path.parts and path.name != "output.py":
            yield path


def test_only_one_module_prints() -> None:
    """Scripts that run elsewhere, whose output is a log, are another matter."""
    doors = {"echo", "secho", "Console", "print", "print_exc", "excepthook"}
    streams = {"stdout", "stderr", "__stdout__", "__stderr__"}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name(id=name) if name in doors:
                    pytest.fail(f"{path}:{node.lineno} prints by itself: {name}")
                case ast.Attribute(value=ast.Name(id="click" | "sys" | "traceback"), attr=name):
                    assert name not in doors, f"{path}:{node.lineno}"
                case ast.Attribute(value=ast.Attribute(attr=name), attr="write"):
                    assert name not in streams, f"{path}:{node.lineno}"


@pytest.fixture
def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[str, str]]:
    """Run a command, and return what it said on both streams once that is known to be harmless."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(
        "orchestrator.cli.verify.checking_tools", lambda *_: (load_policies(), lambda *_: ())
    )
    monkeypatch.setattr("orchestrator.cli.workspace.load_policies", load_policies)

    def run(*arguments: str, data: bool = False) -> tuple[str, str]:
        capsys.readouterr()
        assert orchestrator.cli.run(arguments) != ExitCode.BUG, capsys.readouterr().err
        out, err = capsys.readouterr()
        assert harmless(err), err
        assert data or harmless(out), out
        return out, err

    return run


def hostile_wheel(folder: Path, name: str) -> Path:
    """Write a wheel whose texts, members and libraries have this name, as far as each can."""
    plain = name.encode("utf-8", "replace").decode()
    library = make_elf(
        ElfSpec(
            needed=(plain.replace("\0", ""),),
            rpath=f"/{plain}",
            versions={"libc.so.6": {"GLIBC_2.17": ("secure_getenv",), f"GLIBC_{plain}": (plain,)}},
        )
    )
    member = plain.replace("/", "_").replace("\\", "_")
    spec = WheelSpec(
        members={f"demo/{member}.so": library, f"demo/{member}": plain.encode()},
        extra_info={
            f"sboms/{member}.json": json.dumps(
                {
                    "bomFormat": "CycloneDX",
                    "metadata": {"component": {"purl": f"pkg:pypi/demo@{name}"}},
                }
            ).encode()
        },
    )
    files = spec.files()
    info = spec.dist_info
    text = f"Metadata-Version: 2.4\nName: {plain}\nVersion: {plain}\nLicense-File: {plain}\n\n"
    files[f"{info}/METADATA"] = text.encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: {plain}\nTag: {plain}\nBuild: {plain}\n\n".encode()
    files[f"{info}/RECORD"] = f'"{plain}",{plain},{plain}\n'.encode()
    return spec.write(folder, files)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_wheels_and_directories(
    name: str, tmp_path: Path, said: Callable[..., tuple[str, str]]
) -> None:
    folder = tmp_path / name.replace("/", "_")
    folder.mkdir()
    bad = hostile_wheel(folder, name)
    good = WheelSpec().write(folder / "good")
    other = WheelSpec(members={"demo/x.py": name.encode("utf-8", "replace")}).write(
        folder / "other"
    )
    damaged = folder / "demo-2-py3-none-any.whl"
    damaged.write_bytes(b"PK")
    for wheel in (bad, good, damaged, folder / "missing-1-py3-none-any.whl"):
        said("inspect", str(wheel))
        said("verify", str(wheel))
        said("retag", str(wheel), "--platform-tag", "auto")
        said("retag", str(wheel), "--build-tag", "1", "--output-dir", str(folder / "new"))
    said("verify", "--same", str(good), str(bad))
    said("verify", "--same", str(good), str(other))
    said("index", str(folder / "good"), "--output", str(folder / "site"))
    said("index", str(folder), "--output", str(folder / "site"))
    said("index", str(folder / "good"), "--output", str(good))
    said("report", str(folder))
    for document in ("inspect", "verify"):
        out, _ = said(document, "--json", str(bad), str(good), data=True)
        if out:
            json.loads(out)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_every_command_with_a_hostile_file_or_option(
    name: str, tmp_path: Path, said: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name.replace("/", "_")
    folder.mkdir()
    monkeypatch.chdir(folder)
    matrix = folder / f"{name.replace('/', '_')}.toml"
    quoted = json.dumps(name.encode("utf-8", "replace").decode())
    matrix.write_text(f"[project]\nsource = {quoted}\n[axes]\npython = [{quoted}]\n{quoted} = 1\n")
    with_matrix = {"plan", "explain", "build", "rebuild", "coverage", "publish", "doctor", "github"}
    for command in COMMANDS:
        said(command, f"--{name}")
        said(command, name)
        if command in with_matrix:
            arguments = {"github": ["init"], "explain": [name], "rebuild": [name]}.get(command, [])
            said(command, *arguments, "--matrix", str(matrix))
            if command != "doctor":
                said(command, *arguments, "--matrix", str(folder / "no" / name))
    results = folder / "results.json"
    results.write_text(quoted)
    said("report", str(results))
    said("collect", str(folder), "--plan", str(results), "--output-dir", str(folder / "x"))
    said("cache", "info", "--matrix", str(matrix))
    said("toolchain", "path", name)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_plan_with_hostile_texts(
    name: str, tmp_path: Path, said: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(name.encode("utf-8", "replace").decode())
    matrix = (
        '[project]\nsource = "."\n[axes]\npython = ["cp311"]\narch = ["x86_64"]\n'
        f'kind = ["a", "b"]\n[[exclude]]\nwhen = {{ kind = "b" }}\nreason = {text}\n'
        f"[env]\nX = {text.replace('{', '{{').replace('}', '}}')}\n"
    )
    folder = tmp_path / name.replace("/", "_")
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "1"\n')
    (folder / "matrix.toml").write_text(matrix)
    monkeypatch.chdir(folder)
    for arguments in (
        ("plan",),
        ("plan", "--excluded"),
        ("plan", "--format", "markdown"),
        ("explain", "cp311-manylinux_x86_64-a"),
        ("cache", "info"),
        ("github", "init", "--output", "w.yml"),
    ):
        said(*arguments)


def failed(name: str, log: Path) -> BuildResult:
    return result(
        TargetId(f"cp312-{name}"),
        status=Status.FAILED,
        wheel=None,
        log=log,
        failure=Failure(kind=FailureKind.BUILD, message=name, step=name, hint=name),
    )


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_consoles_show_progress_logs_and_tables(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    terminal: bool,
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    log = tmp_path / "log"
    log.write_text(f"{name}\n", encoding="utf-8", errors="replace")
    console = output.stderr()
    kind = LiveProgress if terminal else PlainProgress
    with kind(console=console, total=2) as progress:
        progress.started(TargetId(name))
        progress.step(TargetId(name), name)
        progress.ended(failed(name, log))
    console.print(name, style="dim")
    output.print_table(output.stdout(), [(name, name)], "check", "what")
    out, err = capsys.readouterr()
    own = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
    assert harmless(own.sub("", err) if terminal else err)
    assert harmless(own.sub("", out) if terminal else out)
    if terminal:
        assert "\x1b[31m" not in f"{out}{err}"


def test_folds_of_our_own_stay(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    log.write_text("::error::x\n")
    with PlainProgress(console=output.stderr(), total=1, grouped=True) as progress:
        progress.ended(failed("a", log))
    assert capsys.readouterr().err.splitlines()[1:] == [
        "::group::cp312-a: the log's end",
        "  log: log",
        "  | ::error::x",
        "::endgroup::",
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_markdown_has_one_line_a_row_and_no_links(name: str) -> None:
    rows = list(markdown_table([("head", "b"), (name, "x")]))
    assert len(rows) == 3
    assert all("\n" not in row for row in rows)
    for text in (*rows, escape(name), code(name)):
        outside = re.sub(r"(`+)[^`]*\1", "", text)
        assert "www." not in outside
        assert "](" not in outside
        assert "http:" not in outside
    unescaped = re.sub(r"\\.|`[^`]*`", "", rows[2])
    assert unescaped.count("|") == 3


def test_markdown_of_ordinary_names_stays_readable() -> None:
    assert list(markdown_table([("variant", "cp312"), ("cu126", "xa·"), ("a_b", "")])) == [
        "| variant | cp312 |",
        "|---|---|",
        "| cu126 | xa· |",
        "| `a_b` |  |",
    ]


def test_markdown_of_a_plan_escapes_reasons() -> None:
    plan = plan_of(
        '[project]\nsource = "demo==1.0"\n[axes]\npython = ["cp311"]\narch = ["x86_64"]\n'
        'kind = ["a", "b"]\n[version]\nbase = "1.0"\n'
        '[[exclude]]\nwhen = { kind = "b" }\nreason = "see www.example.org <b>"\n'
    )
    text = plans.markdown(plan)
    assert "www\\.example.org &lt;b" in text


def test_json_keeps_names_as_they_are(tmp_path: Path, said: Callable[..., tuple[str, str]]) -> None:
    folder = tmp_path / "\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}\n"
    path = WheelSpec().write(folder)
    out, _ = said("inspect", "--json", str(path), data=True)
    assert json.loads(out)["wheels"][0]["path"] == str(path)
    half = documents.dumps({"a": "\udcff"})
    assert json.loads(half) == {"a": "?"}


@pytest.mark.parametrize("code", sorted(orchestrator.cli._MACHINE))
def test_errors_of_the_machine_are_one_line_that_names_the_files(
    code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise OSError(code, os.strerror(code), "from\n::error::x", None, "to")

    monkeypatch.setattr(orchestrator.cli.cli, "main", fail)
    assert orchestrator.cli.run([]) == ExitCode.ENVIRONMENT
    assert capsys.readouterr().err == f"error: from\\n::error::x -> to: {os.strerror(code)}\n"
