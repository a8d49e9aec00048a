"""What others wrote: secrets hidden, terminals left alone, the line that says why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.models.result import LogEnd
from orchestrator.models.secret_names import is_secret
from orchestrator.report.logs import TAIL, WIDTH, WINDOW, log_end
from orchestrator.report.text import cleaned, plain, visible


@pytest.mark.parametrize(
    "name",
    [
        *("MY_TOKEN", "token", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD_X", "GITHUBTOKEN", "DB_PW"),
        *("SIGNING_KEY", "API_KEY_2", "NPM_AUTH", "MyPassword", "CLIENT_SECRETS", "HF_PAT"),
    ],
)
def test_a_name_says_that_its_value_is_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("TOKENIZERS_PARALLELISM", "SECRETARY", "KEYBOARD", "CFLAGS", "PWD", "SSH_AUTH_SOCK"),
        *("AUTHOR", "KEYCLOAK_VERSION", "CI_PIPELINE_ID", "MONKEY", "REGISTRY_AUTH_FILE", "PATH"),
    ],
)
def test_a_name_that_only_looks_like_one_is_none(name: str) -> None:
    assert not is_secret(name)


def test_every_string_of_a_document_is_cleaned() -> None:
    found = cleaned({"a": ["http://u:p@h", 1, None], "b\udc80": ("x\udc80",)})

    assert found == {"a": ["http://u:****@h", 1, None], "b?": ["x?"]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("\x1b[1;31merror\x1b[0m: no\r\n", "error: no"),
        (" 10%\r 50%\r100% done", "100% done"),
        ("\x1b]8;;https://host\x07link\x1b]8;;\x07", "link"),
        ("\x1bP1;2q secret \x1b\\after", "after"),
        ("a\tb", "a       b"),
        ("bell\x07 nul\x00", "bell\\x07 nul\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("naïve 中文 🎉", "naïve 中文 🎉"),
        ("\udc80", "\\udc80"),
        ("\x1b]0;title\x07text", "text"),
        ("a\rb\x08c\x9bd", r"b\x08c"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("x" * 5000, "x" * 4096),
    ],
)
def test_a_line_is_what_a_terminal_would_leave_of_it(line: str, expected: str) -> None:
    assert plain(line) == expected


def test_ends_of_lines_stay_visible() -> None:
    assert visible("a\nb\rc\x85") == "a\nb\\rc\\x85"


def write(path: Path, lines: Iterable[str]) -> Path:
    log = path / "t.log"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return log


def marked(end: LogEnd | None) -> str | None:
    """The line that is marked as the first error."""
    assert end is not None
    lines = {each.line + at: line for each in end.excerpts for at, line in enumerate(each.text)}
    return None if end.error is None else lines[end.error]


GCC = "csrc/a.cpp:12:5: error: 'x' was not declared in this scope"
NOISE = [f"[{n}/400] building {n}" for n in range(100)]


@pytest.mark.parametrize(
    "error",
    [
        GCC,
        "/usr/include/x.h:1:10: fatal error: cuda.h: No such file or directory",
        "csrc/kernel.cu(33): error: identifier 'foo' is undefined",
        "error[E0425]: cannot find value `x` in this scope",
        "nvcc fatal   : Unsupported gpu architecture 'compute_999'",
        "ptxas error   : Entry function uses too much shared data",
        "/usr/bin/ld: a.o: in function `f': undefined reference to `g'",
        "g++: fatal error: Killed signal terminated program cc1plus",
        "<command-line>: fatal error: gone.h: No such file or directory",
        "CMake Error at CMakeLists.txt:3 (find_package):",
        "../meson.build:1:0: ERROR: Unknown compiler(s): [['c++']]",
        "c++: error: a.o: No space left on device",
        "      ModuleNotFoundError: No module named 'torch'",
        "ERROR: No matching distribution found for torch==99",
        "E       AssertionError: assert 1 == 2",
        "FAILED tests/test_a.py::test_b - assert 1 == 2",
        "configure: something failed",
    ],
)
def test_the_first_error_is_found_among_what_only_repeats_it(tmp_path: Path, error: str) -> None:
    after = [
        "ninja: build stopped: subcommand",
        "error: subprocess-exited-with-error",
        "error: command '/usr/bin/g++' failed with exit code 1",
        "subprocess.CalledProcessError: Command '['ninja']' returned non-zero exit status 1.",
        "cibuildwheel: error: Command ['python', '-m', 'build'] failed with code 1.",
        "FAILED (build): the project did not build",
    ]
    log = write(tmp_path, ["== build", "-- Performing Test HAS_X - Failed", error, *NOISE, *after])

    end = log_end(log, "build")

    assert marked(end) == plain(error)
    assert end is not None
    assert [each.line for each in end.excerpts] == [2, 110 - TAIL]
    assert end.excerpts[-1].text[-1] == after[-1]


def test_what_an_earlier_step_printed_is_no_cause(tmp_path: Path) -> None:
    log = write(tmp_path, ["== setup", GCC, "== build", *NOISE, "it failed", "== verify", "x"])

    assert marked(log_end(log, "build")) == "it failed"
    assert marked(log_end(log)) is None


def test_a_compiler_says_more_than_a_traceback_before_it(tmp_path: Path) -> None:
    log = write(tmp_path, ["RuntimeError: build failed", GCC])

    assert marked(log_end(log)) == GCC


def test_an_error_near_the_end_is_shown_once(tmp_path: Path) -> None:
    end = log_end(write(tmp_path, [*NOISE, GCC, "make: *** stop"]))

    assert end is not None
    assert len(end.excerpts) == 1
    assert len(end.excerpts[0].text) == TAIL


def test_an_error_just_before_the_end_joins_it(tmp_path: Path) -> None:
    end = log_end(write(tmp_path, [*NOISE, GCC, *NOISE[: TAIL + 2]]))

    assert end is not None
    assert [each.line for each in end.excerpts] == [98]
    assert end.error == 101


def test_a_huge_log_is_read_from_near_its_end_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    log = tmp_path / "t.log"
    with log.open("wb") as stream:
        stream.write(b"early: error: too long ago\n" + b"x" * 1023 + b"\n")
        stream.write(b"x\n" * (WINDOW // 2))
        stream.write(f"{GCC}\nend {'y' * 1000}\n".encode())

    end = log_end(log)

    assert marked(end) == GCC
    assert end is not None
    assert end.error == 3 + WINDOW // 2
    assert len(end.excerpts[-1].text[-1]) == WIDTH


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", None], ids=["empty", "blank", "missing"])
def test_a_log_without_text_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "t.log"
    if content is not None:
        log.write_bytes(content)

    assert log_end(log) is None


def test_a_log_of_bytes_is_no_problem(tmp_path: Path) -> None:
    log = tmp_path / "t.log"
    log.write_bytes(bytes(range(256)) * 20)

    end = log_end(log)

    assert end is not None
    assert all(line.isprintable() for each in end.excerpts for line in each.text)
