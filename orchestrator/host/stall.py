"""Notice a program that prints nothing and uses no processor; say what it waits for (proc(5))."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.host.process_tree import container_rows, proc_text, process_table
from orchestrator.host.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestrator.host.process_tree import ProcessTree, Row

QUIET = 600.0
"""Seconds without output and without use of a processor after which a program is reported."""

LOOKS = 10
"""Number of looks at its processes in that time."""

IDLE = 0.005
"""Share of a processor that counts as none: a program that waits looks around now and then."""

LEAVES = 3
"""Processes that one line names."""

SHOWN = 60
"""Characters of a command in that line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A program that waits, or did.

    Attributes:
        seconds: for how long.
        waits: its processes and what they wait for, in one line; empty once it moves again.
        processes: a line for each process, indented below the one that started it.
    """

    seconds: float
    waits: str = ""
    processes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What a program does, or did."""
        minutes, seconds = self.seconds / 60, self.seconds
        long = f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"
        if not self.waits:
            return f"moves again, after {long}"
        if self.processes:
            return f"has printed nothing and used no processor for {long}: {self.waits}"
        return f"has printed nothing for {long}, and its processes cannot be seen: {self.waits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The containers that a program waits for: numbers of their first processes on this host.

    `hidden` says why their processes cannot be seen from here; empty where they can.
    """

    pids: tuple[int, ...] = ()
    hidden: str = ""


NO_CONTAINER = Inside()


class StallWatch:
    """Looks at a program's output and processes, and tells when all of it waits."""

    def __init__(
        self,
        tree: ProcessTree,
        tell: Callable[[Stall], object],
        *,
        inside: Callable[[], Inside],
        redact: Callable[[str], str],
    ) -> None:
        """Begin now; `tell` hears of a stall, again when it lasts twice as long, and of its end."""
        self._tree, self._tell, self._inside, self._redact = tree, tell, inside, redact
        self._containers = NO_CONTAINER
        self._since = self._looked = time.monotonic()
        self._cpu: float | None = None
        self._due = QUIET

    def heard(self) -> None:
        """Note that something was printed."""
        now = time.monotonic()
        if self._due > QUIET:
            self._tell(Stall(seconds=now - self._since))
        self._since, self._due, self._cpu = now, QUIET, None

    def look(self) -> None:
        """Tell that it waits, if it has for long enough."""
        now = time.monotonic()
        period = QUIET / LOOKS
        if now - max(self._looked, self._since) < period:
            return
        own, inside = self._rows()
        cpu, before = sum(row.cpu_seconds for row in (*own, *inside)), self._cpu
        # What a process used is lost when nobody waits for it, and the sum falls.
        if before is not None and abs(cpu - before) > IDLE * (now - self._looked):
            self.heard()
        else:
            self._cpu = cpu
        self._looked = now
        if now - self._since >= self._due:
            self._due *= 2
            lines = [] if self._containers.hidden else list(_lines(inside or own))
            self._tell(
                Stall(
                    seconds=now - self._since,
                    waits=self._redact(self._containers.hidden or _in_one_line(inside or own)),
                    processes=tuple(map(self._redact, lines)),
                )
            )

    def _rows(self) -> tuple[Sequence[Row], Sequence[Row]]:
        """Return the program's processes, and those of its containers."""
        if not self._containers.pids:
            self._containers = self._inside()
        table = list(process_table())
        return self._tree.family(table), container_rows(self._containers.pids, table)


def _children(rows: Sequence[Row]) -> tuple[list[Row], dict[int, list[Row]]]:
    """Return the processes that none of these started, and those that each one started."""
    known = {row.pid for row in rows}
    started: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        started[row.parent].append(row)
    return [row for row in rows if row.parent not in known], started


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    first, started = _children(rows)
    waiting = [(row, 0) for row in reversed(first)]
    while waiting:
        row, depth = waiting.pop()
        below = started.get(row.pid, [])
        what = f"{'  ' * depth}{row.pid} {_command(row)}"
        yield what if below else f"{what}: {_waits_for(row)}"
        waiting += [(each, depth + 1) for each in reversed(below)]


def _in_one_line(rows: Sequence[Row]) -> str:
    """Name the processes that wait for no other one, with those that started them."""
    _, started = _children(rows)
    by_pid = {row.pid: row for row in rows}
    leaves = [row for row in rows if row.pid not in started]
    said = []
    for leaf in leaves[:LEAVES]:
        chain, row = [leaf], leaf
        while (row := by_pid.get(row.parent, row)) not in chain:
            chain.append(row)
        commands = (_short(_command(each)) for each in reversed(chain))
        said.append(f"{' > '.join(commands)} {_waits_for(leaf)}")
    more = len(leaves) - LEAVES
    return "; ".join([*said, *([f"{more} more"] if more > 0 else [])]) or "no process is left"


def _short(command: str) -> str:
    """Return a command without the directory of its program, and not all of a long one."""
    program, blank, rest = command.partition(" ")
    text = f"{program.rpartition('/')[2]}{blank}{rest}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _command(row: Row) -> str:
    """Return a command line, without the values that an engine's client gives to variables."""
    words = (proc_text(row.pid, "cmdline") or proc_text(row.pid, "comm")).split("\0")
    shown = (word.partition("=")[0] if word.startswith("--env=") else word for word in words)
    return masked(" ".join(" ".join(shown).split()))


_KERNEL = (
    # parts of the name of the kernel's function (wchan) -> what it means, of which file
    (("futex",), "waits for another thread or process (futex)", ""),
    (("do_wait", "kernel_wait4"), "waits for a child", ""),
    (("nanosleep",), "sleeps", ""),
    (("flock", "locks_lock", "posix_lock", "fcntl_setlk"), "waits for the lock of", "file"),
    (("pipe_read", "tty_read", "wait_for_partner"), "waits for input from", "file"),
    (("pipe_write", "tty_write"), "waits until somebody reads", "file"),
    (("poll", "select", "ep_wait"), "waits for", "sockets"),
    (("tcp_", "inet_", "sk_wait", "skb_", "unix_", "wait_woken"), "waits for", "file"),
    (("sigsuspend", "sigtimedwait", "pause"), "waits for a signal", ""),
    (("nfs", "rpc_", "fuse_", "cifs"), "waits for a network file system", ""),
)

_STATES = {"D": "waits for a disk", "R": "runs", "Z": "has ended, and its parent does not ask how"}


def _waits_for(row: Row) -> str:
    """Say what a process waits for, as far as the kernel tells us."""
    if row.state in "tT":
        return "is stopped by a signal"
    kernel = "" if row.state in "RZ" else proc_text(row.pid, "wchan").strip()
    kernel = "" if kernel == "0" else kernel
    for parts, words, which in _KERNEL:
        if any(part in kernel for part in parts):
            found = {"file": _file, "sockets": _sockets}.get(which, lambda _: "")(row.pid)
            return f"{words} {found}".rstrip()
    return f"waits in {kernel}" if kernel else _STATES.get(row.state, "waits")


def _file(pid: int) -> str:
    """Return the file of the system call that a process is in: its first argument."""
    words = proc_text(pid, "syscall").split()
    with contextlib.suppress(IndexError, ValueError):
        return _named(pid, int(words[1], 16))
    return "a file"


def _sockets(pid: int) -> str:
    """Return the addresses that a process is connected to."""
    found: dict[str, None] = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            name = _named(pid, int(entry.name))
            if ":" in name:
                found[name] = None
    return " or ".join([*found][:LEAVES]) or "one of its files"


def _named(pid: int, descriptor: int) -> str:
    try:
        link = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 - it is no path
    except OSError:
        return "a file"
    if link.startswith("socket:["):
        return _peer(pid, link[8:-1])
    return "a pipe" if link.startswith("pipe:[") else link


def _peer(pid: int, inode: str) -> str:
    """Return the address that a TCP socket is connected to."""
    for name in ("net/tcp", "net/tcp6"):
        for line in proc_text(pid, name).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[9] == inode:  # noqa: PLR2004 - proc_net_tcp(5)
                packed, _, port = fields[2].partition(":")
                # Words of 32 bits, in the machine's order.
                words = (packed[at : at + 8] for at in range(0, len(packed), 8))
                raw = b"".join(struct.pack("=I", int(word, 16)) for word in words)
                family = socket.AF_INET if name == "net/tcp" else socket.AF_INET6
                address = socket.inet_ntop(family, raw)
                shown = address if family == socket.AF_INET else f"[{address}]"
                return f"{shown}:{int(port, 16)}" if any(raw) else "a connection"
    return "a socket"
