"""Which failures may well have passed a little later: pulls, the network, an engine that went away.

One table for all tools. Each pattern has the words of the tool that reports its own failure, so
that a compiler, or a test, that happens to print "connection reset" is not taken for one of them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.models.result import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_KINDS = frozenset(
    {
        FailureKind.IMAGE,
        FailureKind.ENGINE,
        FailureKind.SETUP,
        FailureKind.BUILD,
        FailureKind.REPAIR,
        FailureKind.TEST,
    }
)
"""Kinds that a passing trouble may look like; the others say for themselves what is wrong."""

_CURL = r"(?:5|6|7|16|18|28|35|52|55|56|92)"
"""curl(1), exit codes: no host, no connection, cut off, too slow. Not: refused by the server."""

_BUSY = r"(?:429|50[0234]|52\d)"
"""HTTP statuses of a server, or of a proxy before it, that may answer the next time (RFC 9110)."""

_PASSING = (
    r"i/o timeout|TLS handshake timeout|connection refused|connection reset by peer|\bEOF\b"
    r"|server misbehaving|name resolution|Client\.Timeout|deadline exceeded"
    rf"|network is unreachable|unexpected HTTP status:? {_BUSY}|status code:? {_BUSY}"
)
"""How the network libraries of Go, in which both engines are written, put it."""

_PATTERNS = (
    # pip, and what it brings with it
    (
        r"pip\._vendor\.urllib3\.exceptions\."
        r"(?:ReadTimeout|ConnectTimeout|Protocol|NewConnection|IncompleteRead)"
    ),
    (
        r"pip\._vendor\.requests\.exceptions\."
        r"(?:ConnectionError|ConnectTimeout|ReadTimeout|ChunkedEncodingError)"
    ),
    rf"pip\._vendor\.requests\.exceptions\.HTTPError: {_BUSY} ",
    rf"ERROR: HTTP error {_BUSY} while getting ",
    rf"ERROR: Could not install packages due to an OSError: {_BUSY} Server Error",
    (
        r"ERROR: Could not install packages due to an OSError: HTTPS?ConnectionPool\("
        r"(?!.*(?:CERTIFICATE|certificate))"
    ),
    (
        r"WARNING: Retrying \(Retry\(total=0, .* after connection broken by "
        r"(?!.*(?:CERTIFICATE|certificate))"
    ),
    # uv
    (
        r"(?:Caused by:|\bcause:|[├╰]─▶) .*(?:operation timed out"
        r"|[Cc]onnection (?:reset|refused|closed)"
        rf"|dns error|HTTP status server error \({_BUSY}|\({_BUSY} Too Many Requests)"
    ),
    # downloads by commands of the project
    rf"\bcurl: \({_CURL}\) ",
    rf"\bCurl error \({_CURL}\)",  # dnf
    rf"^\s*\[{_CURL}\] [A-Z]",  # cargo
    rf"^\s*status_code: {_CURL}\b",  # CMake's file(DOWNLOAD)
    r"\bwget: unable to resolve host address",
    r"\bfailed: (?:Connection (?:timed out|refused)|Temporary failure in name resolution)\.?$",
    r"^E: .*(?:Temporary failure resolving|Connection timed out|Could not connect to)",
    rf"^E: Failed to fetch \S+ +{_BUSY} ",
    r": temporary error \(try again later\)$",  # apk
    (
        r"fatal: unable to access '[^']*': (?:Could not resolve host|Failed to connect|Empty reply"
        rf"|GnuTLS recv error|Recv failure|The requested URL returned error: {_BUSY})"
    ),
    rf"error: RPC failed; (?:curl {_CURL}\b|HTTP {_BUSY}\b)",
    # pulls
    (
        rf"(?:initializing source|pinging container registry|reading manifest|copying blob|[Gg]et "
        rf'"https?://).*(?:{_PASSING})'
    ),
    rf"Error response from daemon: .*(?:{_PASSING})",
    r"\btoomanyrequests: ",
    r"error pulling image configuration: download failed after attempts=",
    # an engine, or its container, that went away
    r"Cannot connect to the Docker daemon at ",
    r"error during connect: ",
    r"(?:unable|[Cc]annot|could not) (?:to )?connect to (?:the )?Podman\b",
    r"Failed to read the return code, the container shell has exited",  # cibuildwheel
    r"(?:Error|Error response from daemon): (?:[Nn]o such container|no container with name or ID)",
    (
        r"(?:Error|Error response from daemon): .*(?:container \S+ is not running"
        r"|exec sessions on running containers|exec in a stopped container)"
    ),
    r"Error: conmon exited prematurely",
)

_VERDICTS = (
    r"^\S.*?:\d+(?::\d+)?: (?:fatal )?error: ",  # gcc, clang
    r"^\S.*?\(\d+\): (?:fatal )?error\b",  # nvcc, MSVC
    r"^(?:nvcc|ptxas|cudafe\+\+) (?:fatal|error) ",
    r"^error(?:\[E\d+\])?: (?:could not compile|aborting due to)",  # rustc
    r"^(?:ninja: build stopped|FAILED: )",
    r"^g?make(?:\[\d+\])?: \*\*\* ",
    r"^collect2: error: ",
    r"error: command '[^']*(?:cc|\+\+|clang[-\d.]*|nvcc|ld)' failed",
)
"""What says that sources did not compile: the same again would come of another attempt."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def is_transient(kind: FailureKind, lines: Iterable[str]) -> bool:
    """Whether a build that failed may succeed a little later, by the last lines of its step."""
    return kind in _KINDS and may_pass(lines)


@cache  # they take long to compile, and most runs need none
def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in patterns))


def may_pass(lines: Iterable[str]) -> bool:
    """Whether the output is about a pull, a network or an engine that may work again soon."""
    said = list(_unwrapped(_ANSI.sub("", each) for each in lines))
    if any(map(_any_of(*_VERDICTS).search, map(str.strip, said))):
        return False
    return any(map(_any_of(*_PATTERNS).search, said)) or _lost_its_container(said)


def pull_may_pass(lines: Iterable[str]) -> bool:
    """Whether a failed pull may succeed a little later; `lines` are the engine's output alone."""
    said = tuple(lines)
    return may_pass(said) or any(re.search(_PASSING, line) for line in said)


def _unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines as they were before `build` broke those of an installer to fit a terminal."""
    whole: list[str] = []
    for line in lines:
        if whole and re.match(r" {2}\S", line):
            whole.append(line.strip())
            continue
        if whole:
            yield " ".join(whole)
        whole = [line] if line.startswith("< ") else []
        if not whole:
            yield line
    if whole:
        yield " ".join(whole)


def _lost_its_container(said: list[str]) -> bool:
    """Whether cibuildwheel wrote to a container that was no longer there."""
    inside = any("cibuildwheel/oci_container.py" in each for each in said)
    return inside and any(each.startswith("BrokenPipeError: ") for each in said)
