"""The useful end of a failed target's log: the first error of the step that failed, and the end.

What a compiler says first is the cause; what stands at the end, some thousand lines later, is that
ninja, setuptools, pip and cibuildwheel each noticed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.models.result import Excerpt, LogEnd
from orchestrator.report.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WINDOW = 8 << 20
"""Bytes at the end of a log that are looked at."""

TAIL = 25
"""Lines at the end that are kept."""

BEFORE, AFTER = 3, 10
"""Lines kept around the first error."""

WIDTH = 400
"""Characters of a line that are kept."""

CHUNK = 1 << 20

_STEP = re.compile(r"== (\S+)$")
"""How the worker marks in the log that a step begins."""

_RANKS = (
    # Somebody says where: compilers, linkers, build systems.
    re.compile(
        r"\S:\d+(?::\d+)?: (?:fatal |internal compiler )?error\b"  # gcc, clang
        r"|\S\(\d+\): (?:catastrophic )?error\b"  # nvcc
        r"|^\s*error\[E\d+\]"  # rustc
        r"|\binternal compiler error:|^\s*\S+: (?:fatal )?error: "  # g++: fatal error: no input
        r"|\bundefined reference to\b|\bcannot find -l|\bld(?:\.\w+)?: error:"
        r"|\bnvcc (?:fatal|error)\b|\bptxas (?:fatal|error|.*; error)"
        r"|^\s*CMake Error\b|\S:\d+:\d+: ERROR: "  # CMake, Meson
        r"|\bNo space left on device\b|\bvirtual memory exhausted\b|\bKilled (?:signal|process)\b"
        r"|\bCannot allocate memory\b"
    ),
    # Python, pytest, pip.
    re.compile(
        r"^E {2,}\S|^\s*FAILED \S+::|^\s*ERROR \S+::"
        r"|^\s*(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)(?::|$)"
        r"|\bNo matching distribution found\b|\bcommand not found\b|: No such file or directory$"
    ),
    re.compile(r"(?i)\b(?:error|fatal|failed|failure)\b"),
)
"""What an error looks like; the first line that matches the first possible rank is shown."""

_SUMMARY = re.compile(
    r"subprocess-exited-with-error|^FAILED \(|originates from a subprocess|^\s*cibuildwheel: "
    r"|error: command '.*' failed with|Failed to build \S+$|CalledProcessError"
    r"| - Failed$|\b0 (?:errors?|failed)\b"
)
"""Lines which only repeat that something failed, or that something was not there to be found."""


def log_end(log: Path, step: str = "") -> LogEnd | None:
    """Return the useful end of a log; None where it cannot be read or has nothing in it.

    A large log is read from near its end, in bounded memory. What steps before the one that failed
    printed is no cause; without its name, the last one counts.
    """
    try:
        first, lines = _read(log)
    except OSError:
        return None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return None
    begin = _begin(lines, step)
    error = _first_error(lines, begin)
    tail = max(len(lines) - TAIL, 0)
    if error is None or error >= tail:
        spans = [(tail, len(lines))]
    else:
        around = (max(error - BEFORE, begin), min(error + AFTER, len(lines)))
        joined = around[1] >= tail
        spans = [(around[0], len(lines))] if joined else [around, (tail, len(lines))]
    return LogEnd(
        error=None if error is None else first + error,
        excerpts=tuple(
            Excerpt(line=first + start, text=tuple(map(_cut, lines[start:stop])))
            for start, stop in spans
        ),
    )


def _read(log: Path) -> tuple[int, list[str]]:
    """Return the number of the first line read, and the lines of the window."""
    with log.open("rb") as stream:
        skip = max(stream.seek(0, 2) - WINDOW, 0)
        stream.seek(0)
        first, left = 1, skip
        while left:
            chunk = stream.read(min(left, CHUNK))
            if not chunk:
                break
            first += chunk.count(b"\n")
            left -= len(chunk)
        text = stream.read(WINDOW).decode("utf-8", "replace")
    # Not splitlines: it also splits at characters which nobody else counts as an end of line.
    return first, text.split("\n")


def _begin(lines: Sequence[str], step: str) -> int:
    """Return the index after the header of the step, or of the last step there is."""
    headers = [(n, found[1]) for n, line in enumerate(lines) if (found := _STEP.match(line))]
    named = [number for number, name in headers if name == step]
    every = named or [number for number, _ in headers]
    return every[-1] + 1 if every else 0


def _first_error(lines: Sequence[str], begin: int) -> int | None:
    best: tuple[int, int] | None = None
    for number in range(begin, len(lines)):
        line = plain(lines[number])[:WIDTH]
        if _SUMMARY.search(line):
            continue
        rank = next((n for n, each in enumerate(_RANKS) if each.search(line)), None)
        if rank is not None and (best is None or rank < best[0]):
            best = (rank, number)
            if rank == 0:
                break
    return None if best is None else best[1]


def _cut(line: str) -> str:
    text = plain(line)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
