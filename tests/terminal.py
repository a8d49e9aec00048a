"""A real terminal for programs that want one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.conftest import with_own_store


def in_terminal(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    dialogue: Iterable[tuple[str, str]],
    columns: int = 80,
    timeout: float = 120,
) -> tuple[int, str]:
    """Run the command line in the foreground of a terminal of its own, and type into it.

    Args:
        arguments: of the command.
        cwd: its directory.
        env: further variables.
        dialogue: (what to wait for, what to type then).
        columns: of the terminal.
        timeout: seconds for all of it.

    Returns:
        The exit code, and everything that the terminal showed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = with_own_store({"TERM": "dumb", **(env or {})})
    argv = ["setsid", "--ctty", sys.executable, "-m", "orchestrator", *arguments]
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environ)
    os.close(theirs)
    try:
        shown = _talk(ours, list(dialogue), time.monotonic() + timeout)
        return child.wait(timeout), shown
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def _talk(terminal: int, dialogue: list[tuple[str, str]], end: float) -> str:
    shown, seen = "", 0
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        data = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
            data = os.read(terminal, 65536)
        if not data:
            break
        shown += data.decode("utf-8", "replace")
        if dialogue and (at := shown.find(dialogue[0][0], seen)) >= 0:
            expected, typed = dialogue.pop(0)
            seen = at + len(expected)
            os.write(terminal, typed.encode())
    assert not dialogue, f"never said {dialogue[0][0]!r}:\n{shown}"
    return shown
