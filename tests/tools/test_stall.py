"""A program that waits is told from one that works; the programs are real."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.host import process, stall
from orchestrator.host.process import Cancel
from orchestrator.host.stall import NO_CONTAINER, Inside, Stall

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "QUIET", 0.5)


class Ear:
    """Hears of stalls, and stops the program at one of them."""

    def __init__(self, last: int) -> None:
        self.cancel = Cancel()
        self.heard: list[Stall] = []
        self._last = last

    def __call__(self, said: Stall) -> None:
        self.heard.append(said)
        if len(self.heard) == self._last:
            self.cancel.set()


def heard(
    *argv: str,
    last: int = 1,
    env: dict[str, str] | None = None,
    inside: Callable[[], Inside] = lambda: NO_CONTAINER,
) -> list[Stall]:
    """Run a program until it was told a number of times that it waits; return what was told."""
    ear = Ear(last)
    process.run(
        *(argv,),
        env={**ENV, **(env or {})},
        cwd=Path("/"),
        log=lambda _line: None,
        timeout=30,
        cancel=ear.cancel,
        on_stall=ear,
        inside=inside,
    )
    return ear.heard


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


LOCK = """
import fcntl, subprocess, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
again = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX)"
subprocess.run([sys.executable, "-c", again, sys.argv[1]])
"""

SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
sys.argv[1] == "recv" and client.recv(1)
import select; select.select([client], [], [])
"""

WAITS = {
    "a child that sleeps": (("sh", "-c", "sleep 600; true"), "> sleep 600 sleeps"),
    "a pipe that nobody writes": (
        python("import os; r, w = os.pipe(); os.read(r, 1)"),
        "waits for input from a pipe",
    ),
    "a pipe that nobody reads": (
        python("import os; r, w = os.pipe(); os.write(w, bytes(1 << 20))"),
        "waits until somebody reads a pipe",
    ),
    "a terminal": (
        python("import os, pty; m, s = pty.openpty(); os.read(s, 1)"),
        "waits for /dev/pts/",
    ),
    "a connection": (python(SERVER, "recv"), "waits for 127.0.0.1:"),
    "one of its connections": (python(SERVER, "select"), "waits for 127.0.0.1:"),
    "a thread": (
        python("import threading; threading.Lock().acquire(); threading.Event().wait()"),
        "waits for another thread",
    ),
    "a signal": (python("import signal; signal.pause()"), "waits for a signal"),
    "to be continued": (("sh", "-c", "kill -STOP $$"), "is stopped by a signal"),
    "a poll": (python("import time\nwhile True: time.sleep(0.1)"), "sleeps"),
}


@pytest.mark.parametrize(("argv", "words"), WAITS.values(), ids=WAITS)
def test_what_a_program_waits_for(argv: tuple[str, ...], words: str) -> None:
    (said,) = heard(*argv)

    assert words in said.waits
    assert words.rpartition("> ")[2].partition(" ")[0] in said.processes[-1]
    assert "has printed nothing and used no processor for" in said.sentence


def test_a_lock_is_named_with_its_file(tmp_path: Path) -> None:
    (said,) = heard(*python(LOCK, str(tmp_path / "lock")))

    assert said.waits.endswith(f"waits for the lock of {tmp_path / 'lock'}")
    assert said.processes[1].startswith("  "), "the one that waits stands below the other"


BURN = "import time\nend = time.time() + 2\nwhile time.time() < end: pass"

WORKS = {
    "computes": python(BURN),
    "lets a child compute": ("sh", "-c", f"{sys.executable} -c '{BURN}'; true"),
    "prints": ("sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done"),
    "prints dots": ("sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.3; printf .; done"),
    "compiles file after file": (
        *("sh", "-c", 'for i in 1 2 3 4 5 6 7 8 9; do $0 -c "$1"; sleep 0.1; done'),
        *(sys.executable, "for i in range(2000000): pass"),
    ),
}


@pytest.mark.parametrize("argv", WORKS.values(), ids=WORKS)
def test_what_works_is_no_hang(argv: tuple[str, ...]) -> None:
    assert heard(*argv) == []


def test_it_is_said_again_when_it_lasts_twice_as_long_and_that_it_moves() -> None:
    code = "import time; time.sleep(1.6); print('on', flush=True); time.sleep(600)"
    first, second, moves, again = heard(*python(code), last=4)

    assert 0.5 <= first.seconds < 1.0 <= second.seconds < moves.seconds
    assert first.waits == second.waits
    assert (moves.waits, moves.sentence[:19]) == ("", "moves again, after ")
    assert again.seconds < second.seconds


def test_a_program_that_computes_again_moves() -> None:
    code = "import time; time.sleep(0.8); end = time.time() + 1\nwhile time.time() < end: pass"

    assert [bool(each.waits) for each in heard(*python(code), last=9)] == [True, False]


def test_neither_secrets_nor_what_an_engine_hands_on_are_shown() -> None:
    script = "sleep 600; true"
    (said,) = heard(
        *("sh", "-c", script, "--env=MINE=hunter2", "hunter3", "https://me:hunter4@host/"),
        env={"MY_TOKEN": "hunter3"},
    )

    assert "hunter" not in f"{said}"
    assert "--env=MINE" not in said.waits
    assert "--env **** https://me:****@host/" in said.processes[0]


def test_processes_elsewhere_cannot_be_seen() -> None:
    (said,) = heard("sleep", "600", inside=lambda: Inside(hidden="docker runs elsewhere"))

    assert said.processes == ()
    assert said.sentence.endswith("its processes cannot be seen: docker runs elsewhere")
