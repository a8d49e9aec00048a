"""What pip, uv and the operating system say when something cannot be provided, with hints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, OrchestratorError, Problem
from orchestrator.provision import wheelhouse

if TYPE_CHECKING:
    from orchestrator.host.process import Finished


def ending(done: Finished) -> str:
    """Say how a program ended, after what it did not do."""
    if done.cancelled:
        return ": cancelled"
    if done.timed_out:
        return f": still not done after {done.duration:.0f} s"
    return f" (exit status {done.returncode})"


_HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "UnknownIssuer"),
        "set SSL_CERT_FILE to the bundle of the certificate authority that the index uses",
    ),
    (
        ("No space left on device", "Disk quota exceeded"),
        "make room, or set ORCHESTRATOR_CACHE_DIR to another disk",
    ),
    (
        ("does not run", "Permission denied (os error 13)"),
        "is that file system mounted with noexec? set ORCHESTRATOR_CACHE_DIR to another place",
    ),
    (
        ("Read-only file system", "Permission denied"),
        "set ORCHESTRATOR_CACHE_DIR (or XDG_CACHE_HOME) to a directory that can be written",
    ),
    (
        ("DO NOT MATCH THE HASHES",),
        "the package index serves other files than PyPI: they were refused",
    ),
    (
        ("Hash mismatch", "provided package locations", "Failed to extract archive"),
        f"the directory of wheels is not what the lock says: {wheelhouse.FILL_HINT}",
    ),
    (
        (
            "NewConnectionError",
            "Failed to establish a new connection",
            "Name or service not known",
            "Temporary failure in name resolution",
            "Connection refused",
            "Network is unreachable",
            "ProxyError",
            "ConnectTimeoutError",
            "Read timed out",
        ),
        "the package index cannot be reached: check the network, HTTPS_PROXY and PIP_INDEX_URL",
    ),
    (
        ("No matching distribution found",),  # with PIP_RETRIES=0 both look like this
        "the package index cannot be reached, or has no file of the lock for this platform",
    ),
)
"""What pip, uv and the operating system say, and what to do about it; the first match counts."""


def failed(what: str, output: str) -> OrchestratorError:
    """Return an error with the hint that fits what a program said."""
    hint = next((hint for signs, hint in _HINTS if any(sign in output for sign in signs)), "")
    last = "" if output == what else "\n  ".join(output.strip().splitlines()[-8:])
    return EnvironmentProblemError(
        Problem(what=f"toolchain: {what}" + (f"\n  {last}" if last else ""), hint=hint)
    )
