"""A program and everything that it started: find it in /proc, signal it, kill what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KILL_ROUNDS = 20
KILL_PAUSE = 0.05
"""Seconds until the next round."""


class ProcessTree:
    """A program and everything it started, as far as session or descent connect it.

    A shell with job control puts its jobs into groups of their own, and `setsid` leaves the
    session. Both are found while their parents live, and remembered for the next, stronger
    signal. A process that left the session of a program that then ended by itself is a daemon
    and meant to stay.
    """

    __slots__ = ("_interrupt", "_strays", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._strays: set[tuple[int, int]] = set()
        self._interrupt = iter((signal.SIGINT,))

    def interrupt(self) -> None:
        """Send SIGINT, once however many threads ask for it.

        A second one means "now" to most programs: it ends a builder that is removing its
        container, and a Python that is on its way out.
        """
        # The iterator hands out its item once, also to two threads or a signal handler.
        for number in self._interrupt:
            self.signal(number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of them; `pid` must not have been reaped yet."""
        # Look first: as soon as a parent is dead, nothing leads to its children any more.
        table = list(process_table())
        others = (row for row in self.family(table) if row.group != self.pid)
        self._strays |= {(row.pid, row.started) for row in others}
        # A number may belong to another process by now; its start time differs.
        alive = {(row.pid, row.started) for row in table}
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for stray, _ in self._strays & alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray, number)

    def family(self, table: Sequence[Row]) -> list[Row]:
        """Return the processes of our session or descent, this one first."""
        family = {self.pid}
        grown = True
        while grown:
            found = {
                row.pid
                for row in table
                if row.pid not in family and (row.parent in family or row.session == self.pid)
            }
            family |= found
            grown = bool(found)
        return sorted((row for row in table if row.pid in family), key=lambda r: r.pid != self.pid)


def container_rows(pids: Sequence[int], table: Sequence[Row]) -> list[Row]:
    """Return the processes in the containers whose first processes are these.

    A container that shares the host's processes has none of its own.
    """
    places = {_place(pid) for pid in pids} - {_place(os.getpid()), ""}
    return [row for row in table if _place(row.pid) in places] if places else []


def _place(pid: int) -> str:
    """Return what tells a container's processes: their namespace, or else their control group."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - it is no path
    return proc_text(pid, "cgroup")


def proc_text(pid: int, name: str) -> str:
    """Return a file of a process in proc(5); empty if it is gone, or not for us to read."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def kill_left(name: str, value: str) -> int:
    """Kill every process that a dead parent of ours left behind, and return how many there were.

    They all inherited the variable `name` with this value. Each is held by a descriptor while its
    environment is read, so that no other process can get its number in between.
    """
    mark = f"{name}={value}".encode()
    killed = 0
    for _ in range(KILL_ROUNDS):  # one that forks while we look is found the next time
        found = [pid for row in process_table() if _kill_marked(pid := row.pid, mark)]
        if not found:
            break
        killed += len(found)
        time.sleep(KILL_PAUSE)
    return killed


def _kill_marked(pid: int, mark: bytes) -> bool:
    if pid == os.getpid():
        return False
    with contextlib.suppress(OSError):
        held = os.pidfd_open(pid)
        try:
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(held, signal.SIGKILL)
                return True
        finally:
            os.close(held)
    return False


class Row(NamedTuple):
    """A process; its CPU time includes that of the children that it waited for."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    cpu_seconds: float
    started: int


_TICKS = os.sysconf("SC_CLK_TCK")


def process_table() -> Iterator[Row]:
    """Yield every process of this machine, from proc(5); nothing without /proc."""
    with contextlib.suppress(OSError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = (entry / "stat").read_bytes()
                # The command's name is in parentheses and may hold anything, spaces included.
                fields = stat[stat.rindex(b")") + 2 :].split()
                parent, group, session = (int(field) for field in fields[1:4])
                cpu = sum(map(int, fields[11:15])) / _TICKS
                state, started = fields[0].decode(), int(fields[19])
                yield Row(int(entry.name), state, parent, group, session, cpu, started)
