from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process, process_tree
from orchestrator.host.process import MAX_LINE, Cancel, Tail, capture, run
from tests.conftest import REPOSITORY, is_alive, ran
from tests.factories import program

ENV = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
PATIENCE = 60.0
"""Seconds after which a test gives up; nothing takes that long."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program has little time to end by itself."""
    monkeypatch.setattr(process, "INTERRUPT_GRACE", 0.3)
    monkeypatch.setattr(process, "TERMINATE_GRACE", 0.3)


def py(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-u", "-c", code]


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def heard(
    argv: list[str], cwd: Path, env: dict[str, str] = ENV, **how: Any
) -> tuple[Any, list[str]]:
    """Run a program; return how it ended, and its lines."""
    lines: list[str] = []
    return run(argv, env=env, cwd=cwd, log=lines.append, **how), lines


def wait_for(path: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text().strip()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def gone(pid: int) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and is_alive(pid):
        time.sleep(0.01)
    return not is_alive(pid)


def test_streams_both_outputs_in_order_to_both_callbacks(tmp_path: Path) -> None:
    log: list[str] = []
    seen: list[str] = []
    done = run(
        sh("echo one; echo two >&2; printf 'three\\r\\n\\nfour'; exit 3"),
        env=ENV,
        cwd=tmp_path,
        log=log.append,
        on_line=seen.append,
    )
    assert (done.returncode, done.timed_out, done.cancelled) == (3, False, False)
    assert log == seen == ["one", "two", "three", "", "four"]


def test_lines_arrive_while_the_program_runs(tmp_path: Path) -> None:
    go = tmp_path / "go"
    done = run(
        sh("echo a; while [ ! -e go ]; do sleep 0.05; done"),
        env=ENV,
        cwd=tmp_path,
        log=lambda _: go.touch(),
        timeout=60,
    )
    assert not done.timed_out


def test_bytes_split_inside_a_character_and_invalid_ones(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "data = '\\u20ac'.encode()\n"
        "os.write(1, data[:1]); time.sleep(0.2); os.write(1, data[1:] + b'\\xff\\n')\n"
        "os.write(1, data[:2])"
    )
    assert heard(py(code), tmp_path)[1] == ["\u20ac\ufffd", "\ufffd"]


def test_endless_line_is_handed_on_in_pieces(tmp_path: Path) -> None:
    size = 3 * MAX_LINE + 5
    _, seen = heard(py(f"print('x' * {size})"), tmp_path)
    assert [len(line) for line in seen] == [MAX_LINE, MAX_LINE, MAX_LINE, 5]


def test_slow_reader_loses_nothing(tmp_path: Path) -> None:
    seen: list[str] = []

    def slow(line: str) -> None:
        if len(seen) == 1:
            time.sleep(process.DRAIN + 0.3)
        seen.append(line)

    run(py("for i in range(9000): print(i)"), env=ENV, cwd=tmp_path, log=slow)
    assert seen == [str(i) for i in range(9000)]


def test_stdin_is_empty_and_environment_is_exactly_the_given_one(tmp_path: Path) -> None:
    code = "import os, sys; print(repr(sys.stdin.read()), sorted(os.environ))"
    _, seen = heard(py(code), tmp_path, {"A": "1"})
    # Python itself sets LC_CTYPE (PEP 538) where the locale is C.
    assert seen in (["'' ['A', 'LC_CTYPE']"], ["'' ['A']"])


def test_program_is_looked_up_on_the_given_path(tmp_path: Path) -> None:
    program(tmp_path / "only-here", "echo found")
    assert heard(["only-here"], tmp_path, {"PATH": str(tmp_path)})[1] == ["found"]


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="no-such-tool: no such program"):
        run(["no-such-tool"], env=ENV, cwd=tmp_path, log=print)


def test_missing_working_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="working directory"):
        run(["/bin/sh"], env=ENV, cwd=tmp_path / "nowhere", log=print)


def test_file_that_cannot_be_executed(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(b"\x00\x01\x02\x03")
    tool.chmod(0o755)
    with pytest.raises(EnvironmentProblemError, match="Exec format error"):
        run([str(tool)], env=ENV, cwd=tmp_path, log=print)


def test_timeout_interrupts_first(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *a: (print('cleaning up'), sys.exit(9)))\n"
        "print('ready'); time.sleep(60)"
    )
    done, lines = heard(py(code), tmp_path, timeout=0.7)
    assert (done.returncode, done.timed_out, done.cancelled) == (9, True, False)
    assert "cleaning up" in "\n".join(lines)


@pytest.mark.usefixtures("impatient")
def test_stubborn_program_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, lambda *a: print('TERM ignored'))\n"
        "print('ready')\n"
        "while True: time.sleep(0.1)"
    )
    done, lines = heard(py(code), tmp_path, timeout=0.5)
    assert (done.returncode, done.timed_out) == (-signal.SIGKILL, True)
    assert "TERM ignored" in "\n".join(lines)


@pytest.mark.usefixtures("impatient")
def test_stubborn_grandchildren_are_killed_whatever_group_they_are_in(tmp_path: Path) -> None:
    script = """
        trap '' INT TERM
        (sleep 60 & echo $! > same; wait) &
        setsid sh -c 'trap "" INT TERM; echo $$ > other; sleep 60; sleep 60' &
        while [ ! -s other ] || [ ! -s same ]; do :; done
        echo ready
        while :; do sleep 0.1; done
    """
    cancel = Cancel()
    done = run(sh(script), env=ENV, cwd=tmp_path, log=lambda _: cancel.set(), cancel=cancel)
    assert done.cancelled
    assert gone(int(wait_for(tmp_path / "same")))
    assert gone(int(wait_for(tmp_path / "other")))


def test_grandchild_that_holds_the_pipe_does_not_hang_us(tmp_path: Path) -> None:
    script = "(trap '' INT TERM; sleep 60; touch slept) & echo $! > pid; echo bye; exit 4"
    done, seen = heard(sh(script), tmp_path)
    assert (done.returncode, seen) == (4, ["bye"])
    assert gone(int(wait_for(tmp_path / "pid")))
    assert not (tmp_path / "slept").exists()


def test_daemon_that_writes_for_ever_does_not_hang_us(tmp_path: Path) -> None:
    # Its parent is gone and so is its session: it is meant to stay, we just stop listening.
    script = (
        "setsid sh -c 'echo $$ > pid; while echo x; do :; done' & while [ ! -s pid ]; do :; done"
    )
    assert heard(sh(script), tmp_path)[0].returncode == 0
    pid = int(wait_for(tmp_path / "pid"))
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def test_late_output_of_a_grandchild_is_read(tmp_path: Path) -> None:
    _, seen = heard(sh("(sleep 0.3; echo late) & echo early"), tmp_path)
    assert seen == ["early", "late"]


def test_cancel_from_another_thread_stops_all(tmp_path: Path) -> None:
    cancel = Cancel()
    everybody = threading.Barrier(6)
    seen: list[str] = []
    results: list[process.Finished] = []

    def log(line: str) -> None:
        seen.append(line)
        everybody.wait(PATIENCE)

    def work() -> None:
        sleeper = sh("echo ready; sleep 60; echo slept")
        results.append(run(sleeper, env=ENV, cwd=tmp_path, log=log, cancel=cancel))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    everybody.wait(PATIENCE)
    cancel.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert seen == ["ready"] * 5
    assert [(r.cancelled, r.timed_out) for r in results] == [(True, False)] * 5
    assert not cancel._trees


def test_cancel_reaches_a_program_whose_reader_is_busy(tmp_path: Path) -> None:
    cancel = Cancel()
    stopped_in_time: list[bool] = []
    code = (
        "import signal, sys, time\n"
        "def stop(*a):\n"
        f"    open({str(tmp_path / 'stopped')!r}, 'w').write('yes'); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "print('ready'); time.sleep(60)"
    )

    def busy(line: str) -> None:
        if line == "ready":
            cancel.set()
            stopped_in_time.append(wait_for(tmp_path / "stopped") == "yes")

    done = run(py(code), env=ENV, cwd=tmp_path, log=busy, cancel=cancel)
    assert stopped_in_time == [True]
    assert (done.returncode, done.cancelled) == (0, True)


def test_cancel_interrupts_once_however_many_look(tmp_path: Path) -> None:
    # `set` signals and so does the watch: a second SIGINT would end a builder that cleans up.
    cancel = Cancel()
    code = (
        "import signal, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *a: got.append(1))\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 60\n"
        "while not got and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "print('interrupted', len(got))"
    )
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if line == "ready":
            cancel.set()

    done = run(py(code), env=ENV, cwd=tmp_path, log=log, cancel=cancel)
    assert (lines, done.returncode) == (["ready", "interrupted 1"], 0)


def test_cancelled_before_it_starts(tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.set()
    assert heard(sh("touch started"), tmp_path, cancel=cancel)[0].cancelled
    assert not (tmp_path / "started").exists()


def test_set_from_a_signal_handler_while_registering(tmp_path: Path) -> None:
    cancel = Cancel()
    with cancel._lock:
        cancel.set()
    assert cancel.is_set()


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_what_a_callback_raises_stops_the_program(tmp_path: Path, error: BaseException) -> None:
    def fail(_line: str) -> None:
        raise error

    with pytest.raises(type(error)):
        run(sh("echo $$ > pid; echo boom; sleep 60"), env=ENV, cwd=tmp_path, log=fail)
    assert gone(int(wait_for(tmp_path / "pid")))


def test_capture_keeps_the_streams_apart() -> None:
    answer = capture(sh("echo out; echo a >&2; echo b >&2; exit 2"), env=ENV)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "out\n", "a\nb\n")
    assert answer.last_line == "b"
    assert not answer.ok


def test_capture_of_a_missing_program() -> None:
    answer = capture(["no-such-tool"], env=ENV)
    assert answer.returncode == 127
    assert answer.last_line == "no-such-tool: No such file or directory"


def test_capture_gives_up_with_the_whole_tree(tmp_path: Path) -> None:
    script = "trap '' INT TERM; sleep 60 & echo $! > pid; echo partly; wait"
    answer = capture(sh(script), env=ENV, cwd=tmp_path, timeout=0.5)
    assert answer.returncode == 124
    assert answer.stdout == "partly\n"
    assert "no answer within 0.5 s" in answer.last_line
    assert gone(int(wait_for(tmp_path / "pid")))


def test_capture_does_not_wait_for_daemons(tmp_path: Path) -> None:
    daemon = "setsid sh -c 'echo $$ > pid; exec sleep 60' & while [ ! -s pid ]; do :; done; echo ok"
    answer = capture(sh(daemon), env=ENV, cwd=tmp_path)
    assert answer.stdout == "ok\n"
    pid = int(wait_for(tmp_path / "pid"))
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_tail_keeps_the_last_lines_with_text() -> None:
    tail = Tail(2)
    for line in ("a", "b", " ", "c  "):
        tail(line)
    assert tail.text == "b\nc"
    assert tail.last == "c"
    assert Tail().last == ""


def test_what_a_dead_run_left_behind_is_killed_and_nothing_else(tmp_path: Path) -> None:
    script = "sleep 600 & setsid sleep 600 & wait"
    runs = {
        name: subprocess.Popen(
            ["sh", "-c", script],
            env={**os.environ, "ORCHESTRATOR_RUN": str(tmp_path / name)},
            start_new_session=True,
        )
        for name in ("dead", "living")
    }
    try:
        until_children(runs["dead"].pid)
        until_children(runs["living"].pid)

        killed = process_tree.kill_left("ORCHESTRATOR_RUN", str(tmp_path / "dead"))

        assert killed >= 3
        assert runs["dead"].wait(30) == -signal.SIGKILL
        assert runs["living"].poll() is None
        assert process_tree.kill_left("ORCHESTRATOR_RUN", str(tmp_path / "dead")) == 0
    finally:
        process_tree.kill_left("ORCHESTRATOR_RUN", str(tmp_path / "living"))
        for each in runs.values():
            each.wait(30)


def until_children(pid: int) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(300):
        if len(children.read_text().split()) >= 2:
            return
        time.sleep(0.05)
    pytest.fail("they did not start")


def test_a_program_gets_no_terminal_where_there_is_none(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from orchestrator.errors import EnvironmentProblemError\n"
        "from orchestrator.host import process\n"
        "try: process.interactive(['true'], env={}, cwd=pathlib.Path('/'))\n"
        "except EnvironmentProblemError as error: print(error)\n"
    )
    said = ran(sys.executable, "-c", script, cwd=tmp_path)
    assert "are not all a terminal" in said.stdout, said


def test_a_cancelled_run_ends_the_program_that_has_the_terminal(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, threading\n"
        "from orchestrator.host import process\n"
        "cancel = process.Cancel()\n"
        "threading.Timer(0.5, cancel.set).start()\n"
        "env = {'PATH': os.defpath}\n"
        "argv = ['sh', '-c', 'trap \"\" INT; sleep 600']\n"
        "print(process.interactive(argv, env=env, cwd=pathlib.Path('/'), cancel=cancel))\n"
        "print('ours again' if os.tcgetpgrp(0) == os.getpgrp() else 'lost')\n"
    )
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        # What started the tests may ignore hangups, as nohup does, and programs inherit that.
        ["env", "--default-signal=HUP", "setsid", "--ctty", sys.executable, "-c", script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
    )
    os.close(theirs)
    assert child.wait(60) == 0
    assert os.read(ours, 1000).decode().split("\r\n")[:2] == [str(-signal.SIGHUP), "ours again"]
    os.close(ours)


def test_programs_cannot_print_the_credentials_they_were_given(tmp_path: Path) -> None:
    env = {"PIP_INDEX_URL": "https://user:hunter2@host/simple"}
    argv = py("import os, sys; print(os.environ, file=sys.stderr); print('it is hunter2')")
    _, lines = heard(argv, tmp_path, env)
    assert len(lines) == 2
    assert "hunter2" not in "".join(lines) + capture(argv, env=env).stderr


def test_the_files_that_output_goes_to_are_known(tmp_path: Path) -> None:
    text = "from orchestrator.host.process import output_files; print(*output_files())"
    (tmp_path / "ask.py").write_text(text)
    command = f'exec "$1" {tmp_path}/ask.py'

    def said(redirection: str) -> str:
        argv = ["sh", "-c", f"{command} {redirection}", "sh", sys.executable]
        return capture(argv, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/bin"}).stdout

    assert said("2>/dev/null | cat") == "\n"
    assert said(f"2>{tmp_path}/error.log | cat") == f"{tmp_path}/error.log\n"
    said(f">{tmp_path}/both.log 2>&1")
    assert (tmp_path / "both.log").read_text() == f"{tmp_path}/both.log\n"
