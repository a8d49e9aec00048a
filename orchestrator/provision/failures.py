"""Run the steps that provide a tool; a step that fails says why, and what to do."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.host.process import PLAIN_UMASK, Tail, run
from orchestrator.host.transient_errors import may_pass
from orchestrator.provision import wheelhouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestrator.host.process import Cancel

STEP_TIMEOUT = 1800.0

NOEXEC_HINT = "is that file system mounted with noexec? set ORCHESTRATOR_CACHE_DIR to another place"
_ROOM_HINT = "make room, or set ORCHESTRATOR_CACHE_DIR to another disk"
_WRITE_HINT = "set ORCHESTRATOR_CACHE_DIR (or XDG_CACHE_HOME) to a directory that can be written"

_HINTS = {
    "CERTIFICATE_VERIFY_FAILED|certificate verify failed|UnknownIssuer": (
        "set SSL_CERT_FILE to the bundle of the certificate authority that the index uses"
    ),
    "No space left on device|Disk quota exceeded": _ROOM_HINT,
    r"Permission denied \(os error 13\)": NOEXEC_HINT,
    "Read-only file system|Permission denied": _WRITE_HINT,
    "DO NOT MATCH THE HASHES": "the package index serves other files than PyPI: they were refused",
    "Hash mismatch|provided package locations|Failed to extract archive": (
        f"the directory of wheels is not what the lock says: {wheelhouse.FILL_HINT}"
    ),
    "NewConnectionError|Failed to establish a new connection|Name or service not known"
    "|Temporary failure in name resolution|Connection refused|Network is unreachable"
    "|ProxyError|ConnectTimeoutError|Read timed out": (
        "the package index cannot be reached: check the network, HTTPS_PROXY and PIP_INDEX_URL"
    ),
    "No matching distribution found": (  # with PIP_RETRIES=0 both look like this
        "the package index cannot be reached, or has no file of the lock for this platform"
    ),
}
"""What pip and uv say, and what to do about it; the first match counts."""

_ERRNO_HINTS: Mapping[int, str] = {
    errno.ENOSPC: _ROOM_HINT,
    errno.EDQUOT: _ROOM_HINT,
    errno.EACCES: _WRITE_HINT,
    errno.EROFS: _WRITE_HINT,
}


def run_step(  # noqa: PLR0913 - mostly keywords
    what: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    cancel: Cancel | None = None,
    pass_fds: Sequence[int] = (),
) -> None:
    """Run a program that provides something; `what` says what it does, after "could not".

    Raises:
        EnvironmentProblemError: it failed.
    """
    tail, timeout = Tail(), STEP_TIMEOUT
    done = run(
        argv,
        env=env,
        cwd=cwd,
        log=tail,
        timeout=timeout,
        cancel=cancel,
        pass_fds=pass_fds,
        umask=PLAIN_UMASK,
    )
    if done.cancelled:
        raise step_error(f"could not {what}: cancelled", tail.text, ErrorKind.CANCELLED)
    if done.timed_out:
        ended = f"still not done after {done.duration:.0f} s"
        raise step_error(f"could not {what}: {ended}", tail.text, ErrorKind.TIMED_OUT)
    if done.returncode != 0:
        raise step_error(f"could not {what} (exit status {done.returncode})", tail.text)


def step_error(
    what: str, output: str = "", kind: ErrorKind = ErrorKind.OTHER
) -> EnvironmentProblemError:
    """Return the error of a step, with the hint that fits what its program said."""
    hint = next((hint for sign, hint in _HINTS.items() if re.search(sign, output)), "")
    last = output.strip().splitlines()[-8:]
    text = "\n  ".join([f"toolchain: {what}", *last])
    return EnvironmentProblemError.of(text, hint=hint, kind=kind, transient=may_pass(last))


def machine_error(error: OSError, place: Path) -> EnvironmentProblemError:
    """Return the error for what the operating system refused in a directory."""
    what = f"{error.filename or place}: {error.strerror or error}"
    return EnvironmentProblemError.of(what, hint=_ERRNO_HINTS.get(error.errno or 0, ""))
